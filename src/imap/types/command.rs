//! Commands and the arguments that have no family of their own.

use std::borrow::Cow;
use std::fmt;

use smallvec::SmallVec;

use super::{
    Fetch, FlagList, InternalDate, List, MailboxName, Search, SequenceSet, Sort, SpecialUse, StatusItems,
    Thread,
};
use crate::imap::chars::Class;
use crate::imap::limits::MAX_TAG;
use crate::store::ModSeq;
use crate::sys::Secret;

/// How strings are to be read, by what the client has enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Mailbox names are UTF-8, not modified UTF-7: after `ENABLE IMAP4rev2` or `UTF8=ACCEPT`.
    pub utf8: bool,
}

impl Dialect {
    /// Before ENABLE.
    pub const REV1: Dialect = Dialect { utf8: false };
    /// After `ENABLE IMAP4rev2`.
    pub const REV2: Dialect = Dialect { utf8: true };
}

/// A client's name for a command: 1 to [`MAX_TAG`] bytes of ASTRING-CHAR without `+`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tag<'a>(&'a str);

impl<'a> Tag<'a> {
    /// Checks a tag.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let valid = !bytes.is_empty() && bytes.len() <= MAX_TAG && Class::TAG.has_all(bytes);
        if valid { std::str::from_utf8(bytes).ok().map(Tag) } else { None }
    }

    pub fn as_str(self) -> &'a str {
        self.0
    }
}

impl fmt::Debug for Tag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One whole command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    pub tag: Tag<'a>,
    pub body: CommandBody<'a>,
}

/// Every command but APPEND, which is parsed in pieces ([`AppendPrefix`]) because its messages never stand in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandBody<'a> {
    // Any state
    Capability,
    Noop,
    Logout,
    /// RFC 2971; empty for NIL.
    Id(IdPairs<'a>),
    // Not authenticated
    StartTls,
    Authenticate {
        mechanism: &'a str,
        /// Decoded; empty for `=` (RFC 4959).
        initial: Option<Secret>,
    },
    Login {
        user: Cow<'a, [u8]>,
        password: Secret,
    },
    // Authenticated
    Enable(SmallVec<[&'a str; 4]>),
    Select(Select<'a>),
    Create {
        mailbox: MailboxName<'a>,
        special_use: SmallVec<[SpecialUse; 1]>,
    },
    Delete(MailboxName<'a>),
    Rename {
        from: MailboxName<'a>,
        to: MailboxName<'a>,
    },
    Subscribe(MailboxName<'a>),
    Unsubscribe(MailboxName<'a>),
    List(List<'a>),
    Lsub {
        reference: Cow<'a, str>,
        /// `None` when no mailbox name can match it.
        pattern: Option<Cow<'a, str>>,
    },
    Namespace,
    Status {
        mailbox: MailboxName<'a>,
        items: StatusItems,
    },
    Idle,
    // Selected
    Check,
    Close,
    Unselect,
    Expunge {
        /// The set of UID EXPUNGE (RFC 4315).
        uids: Option<SequenceSet>,
    },
    Search(Search<'a>),
    Sort(Sort<'a>),
    Thread(Thread<'a>),
    Fetch(Fetch),
    Store(Store<'a>),
    Copy {
        uid: bool,
        set: SequenceSet,
        mailbox: MailboxName<'a>,
    },
    Move {
        uid: bool,
        set: SequenceSet,
        mailbox: MailboxName<'a>,
    },
}

/// Field-value pairs of ID, in bounds of RFC 2971 §3.3.
pub type IdPairs<'a> = Vec<(Cow<'a, [u8]>, Option<Cow<'a, [u8]>>)>;

/// SELECT or EXAMINE with the parameters of RFC 7162.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select<'a> {
    pub mailbox: MailboxName<'a>,
    /// Whether the command was EXAMINE.
    pub read_only: bool,
    pub condstore: bool,
    pub qresync: Option<Qresync>,
}

/// What a client remembers of a mailbox (RFC 7162 §3.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qresync {
    pub uid_validity: u32,
    pub modseq: ModSeq,
    /// Without `*`.
    pub known_uids: Option<SequenceSet>,
    pub sequence_match: Option<SequenceMatch>,
}

/// Sequence numbers and the UIDs that they had: two sets without `*` (RFC 7162 §3.2.5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceMatch {
    pub sequence: SequenceSet,
    pub uids: SequenceSet,
}

/// STORE or UID STORE (RFC 9051 §6.4.6, UNCHANGEDSINCE RFC 7162).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store<'a> {
    pub uid: bool,
    pub set: SequenceSet,
    pub action: StoreAction,
    pub silent: bool,
    pub flags: FlagList<'a>,
    /// Leave messages alone that changed after this; 0 can match a message only when it has never changed.
    pub unchanged_since: Option<ModSeq>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreAction {
    Replace,
    Add,
    Remove,
}

/// What the bytes up to a literal of an APPEND say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Append<'a> {
    /// The literal is the mailbox's name: accept it like that of any other command.
    Name,
    /// The literal is the first message.
    Message(AppendPrefix<'a>),
}

/// An APPEND up to its first message (RFC 9051 §6.3.12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendPrefix<'a> {
    pub tag: Tag<'a>,
    pub mailbox: MailboxName<'a>,
    pub message: MessageLiteral<'a>,
}

/// One message of an APPEND, up to its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageLiteral<'a> {
    pub flags: FlagList<'a>,
    pub date: Option<InternalDate>,
    /// In bytes.
    pub size: u64,
    /// Whether the literal is a literal8 and may contain NUL (RFC 3516).
    pub binary: bool,
}
