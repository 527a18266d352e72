//! Response codes and refusals: who is at fault, said in the words of RFC 9051 §7.1 and RFC 5530.

use std::borrow::Cow;
use std::io;

use crate::search;
use crate::store::{self, Refusal};

/// A response code with nothing in it that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    AlreadyExists,
    AuthenticationFailed,
    BadCharset,
    Cannot,
    ExpungeIssued,
    Limit,
    NonExistent,
    OverQuota,
    PrivacyRequired,
    ReadOnly,
    ReadWrite,
    ServerBug,
    TooBig,
    TryCreate,
    Unavailable,
    UnknownCte,
    UseAttr,
}

impl Code {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Code::AlreadyExists => "ALREADYEXISTS",
            Code::AuthenticationFailed => "AUTHENTICATIONFAILED",
            Code::BadCharset => "BADCHARSET (UTF-8 US-ASCII)",
            Code::Cannot => "CANNOT",
            Code::ExpungeIssued => "EXPUNGEISSUED",
            Code::Limit => "LIMIT",
            Code::NonExistent => "NONEXISTENT",
            Code::OverQuota => "OVERQUOTA",
            Code::PrivacyRequired => "PRIVACYREQUIRED",
            Code::ReadOnly => "READ-ONLY",
            Code::ReadWrite => "READ-WRITE",
            Code::ServerBug => "SERVERBUG",
            Code::TooBig => "TOOBIG",
            Code::TryCreate => "TRYCREATE",
            Code::Unavailable => "UNAVAILABLE",
            Code::UnknownCte => "UNKNOWN-CTE",
            Code::UseAttr => "USEATTR",
        }
    }
}

/// Why a command is not carried out.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Refused: the command was understood (NO).
    No(Option<Code>, Cow<'static, str>),
    /// The client's syntax or order of commands is wrong (BAD).
    Bad(Cow<'static, str>),
    /// The store cannot or will not.
    Store(store::Error),
    /// The session cannot go on: what the client is told, and the word for the log.
    Bye(&'static str, &'static str),
    /// Half a response is with the client already; only closing the connection is left.
    Broken(store::Error),
}

impl Failure {
    pub(crate) fn no(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Failure::No(Some(code), text.into())
    }

    pub(crate) fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Failure::Bad(text.into())
    }

    /// For the target of APPEND, COPY and MOVE: says that CREATE would help (RFC 9051 §6.3.12).
    pub(crate) fn of_target(error: store::Error) -> Self {
        match error {
            store::Error::Refused(Refusal::NonExistent) => no_target(),
            error => Failure::Store(error),
        }
    }
}

/// The refusal of a target mailbox that is not there.
pub(crate) fn no_target() -> Failure {
    Failure::no(Code::TryCreate, "no such mailbox; CREATE it first")
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Failure::Store(error)
    }
}

impl From<search::Error> for Failure {
    fn from(error: search::Error) -> Self {
        match error {
            search::Error::Store(error) => Failure::Store(error),
            search::Error::TooMany => Failure::no(Code::Limit, error.to_string()),
        }
    }
}

/// What a client is told of trouble with the store, which the log has in full.
pub(crate) fn of_trouble(error: &store::Error) -> (Code, &'static str) {
    match error {
        store::Error::Io { source, .. } => match source.kind() {
            io::ErrorKind::StorageFull => (Code::Unavailable, "the disk is full, try again later"),
            io::ErrorKind::QuotaExceeded => {
                (Code::OverQuota, "the mail store has used up its disk quota, try again later")
            }
            _ => (Code::Unavailable, "the store cannot be reached now, try again later"),
        },
        store::Error::Foreign { .. } => (
            Code::Unavailable,
            "the store cannot be used as it is, its administrator can see more in the log",
        ),
        _ => (Code::ServerBug, "the store is damaged here, its administrator can see more in the log"),
    }
}

/// The code that goes with a refusal of the store.
pub(crate) fn of_refusal(refusal: Refusal) -> Code {
    match refusal {
        Refusal::NonExistent => Code::NonExistent,
        Refusal::AlreadyExists => Code::AlreadyExists,
        Refusal::InboxUndeletable | Refusal::BadName | Refusal::BeneathItself => Code::Cannot,
        Refusal::TooManyMailboxes | Refusal::TooManyKeywords | Refusal::TooManyMessages => Code::Limit,
        Refusal::UidsExhausted => Code::Limit,
        Refusal::TooBig => Code::TooBig,
        Refusal::ReadOnly => Code::ReadOnly,
        Refusal::Expunged => Code::ExpungeIssued,
    }
}
