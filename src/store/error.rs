//! What can go wrong in the store, and whose fault it is.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A call into the store failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The request cannot be met; nothing is wrong with the store.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The disk or its contents failed; the log has the details.
    #[error("{context} {}: {source}", path.display())]
    Io { context: &'static str, path: PathBuf, source: io::Error },
    /// A directory of the store is a link, or belongs to somebody else: it could lead anywhere.
    #[error("{} {problem}", path.display())]
    Foreign { path: PathBuf, problem: &'static str },
    /// A file of the store is not what it has to be.
    #[error("{} at offset {offset}: {problem}; run `heliograph reconstruct`", path.display())]
    Damaged { path: PathBuf, offset: u64, problem: &'static str },
}

/// Why a request cannot be met, in the terms of RFC 5530 and RFC 9051 §7.1.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    #[error("no such mailbox")]
    NonExistent,
    #[error("mailbox already exists")]
    AlreadyExists,
    #[error("INBOX cannot be deleted")]
    InboxUndeletable,
    #[error("not a valid mailbox name")]
    BadName,
    #[error("a mailbox cannot be moved beneath itself")]
    BeneathItself,
    #[error("too many mailboxes")]
    TooManyMailboxes,
    #[error("too many keywords in this mailbox")]
    TooManyKeywords,
    #[error("message is too large")]
    TooBig,
    #[error("too many messages in one command")]
    TooManyMessages,
    #[error("mailbox has no unique identifiers left")]
    UidsExhausted,
    #[error("mailbox is open read-only")]
    ReadOnly,
    /// Not only from its mailbox: its space has been given back (RFC 2180 §4.1).
    #[error("message was expunged")]
    Expunged,
}

impl Error {
    /// Whether a file is not there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether this process or the system has as many files open as it may have.
    pub(super) fn is_out_of_descriptors(&self) -> bool {
        let code = if let Error::Io { source, .. } = self { source.raw_os_error() } else { None };
        matches!(code, Some(libc::EMFILE | libc::ENFILE))
    }

    /// For `map_err`; the path is only copied when there is an error.
    pub(crate) fn io(context: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { context, path: path.into(), source }
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;
