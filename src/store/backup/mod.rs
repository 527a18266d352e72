//! Backups: a stream of users with their mailboxes and messages, written while the server runs, and brought back.
//!
//! `docs/backup-format.md` is exact about the stream; this room mirrors it.
//!
//! ```text
//!   Dump ── Frozen (a user at one instant) ──▶ content ──▶ frame ──▶ bytes
//!   Restorer ◀── Stream ◀── content ◀── frame ◀── bytes
//!     └─ Section (one user) ── Plan (one mailbox): what is there stays, what is missing comes back
//! ```

mod content;
mod dump;
mod error;
mod former;
mod frame;
mod limits;
mod plan;
mod restorer;
mod section;
mod selection;
mod stream;

pub use dump::{Dump, Dumped, Since};
pub use error::BackupError;
pub use former::{Aim, Former};
pub use frame::{Input, Scope, StreamHeader};
pub use restorer::{Event, Restored, Restorer};
pub use selection::{Path, PathError, Selection};
pub use stream::{Listed, Stream, list, verify};
