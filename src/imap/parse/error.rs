//! Why a command was not understood, in words that help the author of the client.

use thiserror::Error;

use crate::imap::types::{MailboxNameError, Tag};

/// A command that could not be parsed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{kind} at byte {position} of the command")]
pub struct ParseError<'a> {
    /// The command's tag; without one the answer is untagged.
    pub tag: Option<Tag<'a>>,
    pub kind: ParseErrorKind,
    /// Where, counted from 1 at the tag, literals included.
    pub position: usize,
}

/// What is wrong with a command.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ParseErrorKind {
    #[error("unknown command")]
    UnknownCommand,
    #[error("expected {0}")]
    Expected(&'static str),
    #[error("more than {0} {1}")]
    TooMany(usize, &'static str),
    #[error("{0}")]
    Mailbox(#[from] MailboxNameError),
}

impl ParseError<'_> {
    /// Whether the syntax is right and the answer is NO (`[CANNOT]`), not BAD: no mailbox can have that name.
    pub fn is_refusal(&self) -> bool {
        matches!(self.kind, ParseErrorKind::Mailbox(_))
    }
}

/// An error before the tag is put to it; positions count from 0 here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Syntax {
    pub kind: ParseErrorKind,
    pub at: usize,
}

impl Syntax {
    pub fn with_tag(self, tag: Option<Tag<'_>>) -> ParseError<'_> {
        ParseError { tag, kind: self.kind, position: self.at + 1 }
    }
}

/// What every piece of the grammar returns.
pub(super) type Parsed<T> = Result<T, Syntax>;
