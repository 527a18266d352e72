//! The message store: one append-only log per user.
//!
//! What is on disk is in `docs/store-format.md`; this room mirrors it.
//!
//! ```text
//!   Store ── users of this process, the housekeeper
//!     └─ User ── one mutex: the log and what it says ─┬─ Log      segments, lock, large messages
//!          └─ Selected ── a session's view            └─ State    mailboxes, messages, counters
//! ```
//!
//! A change goes one way: `User::transact` locks, catches up with other processes, lets a command record what it wants
//! against the state, appends that with one write, and applies it through the same code as a replay. So the state never
//! says anything that the log does not.
//!
//! What was promised is synced by `User::settle`: one sync for all who wait for a log (`group_sync`), or, when many users
//! write at once, one for several logs (`journal`).

mod ahead;
mod archive;
pub mod backup;
mod change;
pub mod check;
mod checkpoint;
mod compact;
mod content;
mod disk;
mod durable;
mod epoch;
mod error;
mod files;
mod flags;
mod frozen;
mod group_sync;
mod hot;
mod journal;
mod last_access;
pub mod limits;
mod log;
mod mailbox;
mod mailboxes;
mod marking;
mod message;
mod meta;
mod names;
mod notes;
mod open_users;
mod pack;
mod path;
mod payload;
mod record;
mod remake;
mod replay;
mod restore;
mod snapshot;
mod state;
#[allow(clippy::module_inception)]
mod store;
mod telling;
mod tend;
#[cfg(test)]
mod tests;
mod transfer;
mod tree;
mod uid_index;
mod uid_set;
mod upkeep;
mod upload;
mod user;
mod users;
mod view;
mod window;
mod wire;

pub use ahead::Headers;
pub use change::{Change, Counters, FlagStep, INBOX, What};
pub use compact::Compacted;
pub use content::Content;
#[cfg(test)]
pub(crate) use disk::Counting;
pub use durable::LogEnd;
pub use epoch::{begin_epoch, close_epoch};
pub use error::{Error, Refusal, Result};
pub use flags::{FlagChange, FlagList, Flags, Keyword, KeywordSet, KeywordTable};
pub use group_sync::Waiter;
pub use last_access::{last_access, note_access};
pub use mailbox::Status;
pub use marking::{Removed, Stored};
pub use message::{BlobRef, InternalDate, LogPos, Message};
pub use meta::Meta;
pub use names::{MAX_USER_NAME, MailboxId, ModSeq, SeqNo, Uid, UserName, UserNameError};
pub use restore::Restored;
pub use store::{ChangeListener, FlagSync, Options, Store, Tuning};
pub use tend::Keeper;
pub use transfer::{Appended, Copied};
pub use tree::{DELIMITER, SpecialUses, Tree, TreeEntry, canonical_inbox, is_beneath};
pub use uid_index::UidIndex;
pub use uid_set::UidSet;
pub use upload::{NewMessage, Upload};
pub use user::User;
pub use users::{UserDir, has_mail, user_dirs};
pub use view::{Access, Changes, Expunges, Selected};
pub use window::Window;
