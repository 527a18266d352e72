//! The message store: one append-only log per user.

mod names;

pub use names::{MAX_USER_NAME, MailboxId, ModSeq, SeqNo, Uid, UserName, UserNameError};
