//! SEARCH (RFC 9051 §6.4.4; WITHIN RFC 5032, SEARCHRES RFC 5182, MODSEQ RFC 7162, OBJECTID RFC 8474, SAVEDATE
//! RFC 8514).
//!
//! The key tree is normalised, so that whoever evaluates it has fewer cases: FROM, TO, CC, BCC and SUBJECT are HEADER,
//! UNSEEN and the like are their flag with `set: false`, NEW is `RECENT UNSEEN`, OLD is `NOT RECENT`; AND in AND and
//! OR in OR are flat, double NOT is gone. It is at most [`MAX_SEARCH_NESTING`](crate::imap::limits) deep.

use std::borrow::Cow;

use super::{Keyword, NaiveDay, SequenceSet, SystemFlags};
use crate::store::ModSeq;

/// A SEARCH or UID SEARCH command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search<'a> {
    /// Whether the result consists of UIDs.
    pub uid: bool,
    /// The result options; `None` asks for the untagged SEARCH of RFC 3501 (under IMAP4rev2 for ESEARCH with ALL).
    pub returns: Option<SearchReturn>,
    /// Encoding of every string in the key; without it, UTF-8 (of which US-ASCII is a part).
    pub charset: Option<&'a str>,
    pub key: SearchKey<'a>,
}

/// `RETURN (…)`; `RETURN ()` has `all` set (RFC 4731 §3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchReturn {
    pub min: bool,
    pub max: bool,
    pub all: bool,
    pub count: bool,
    /// Keep the result for `$` (RFC 5182).
    pub save: bool,
}

/// A condition on a message. Strings are in the command's charset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchKey<'a> {
    All,
    /// All of these; two or more, none of them `And`.
    And(Vec<SearchKey<'a>>),
    /// One of these; two or more, none of them `Or`.
    Or(Vec<SearchKey<'a>>),
    Not(Box<SearchKey<'a>>),
    Sequence(SequenceSet),
    Uids(SequenceSet),
    /// One system flag is set, or is not.
    System {
        flag: SystemFlags,
        set: bool,
    },
    Keyword {
        keyword: Keyword<'a>,
        set: bool,
    },
    Recent,
    /// A field with this name holds the value; an empty value asks whether there is such a field.
    Header {
        field: Cow<'a, [u8]>,
        value: Cow<'a, [u8]>,
    },
    Body(Cow<'a, [u8]>),
    Text(Cow<'a, [u8]>),
    /// More bytes than this.
    Larger(u64),
    /// Fewer bytes than this.
    Smaller(u64),
    Date {
        field: DateField,
        test: DateTest,
        day: NaiveDay,
    },
    /// Received this many seconds ago, or longer (RFC 5032).
    Older(u32),
    /// Received within this many seconds.
    Younger(u32),
    /// The mailbox keeps save dates (RFC 8514): true for all messages or for none.
    SaveDateSupported,
    EmailId(&'a str),
    ThreadId(&'a str),
    /// Changed at or after this. The entry is parsed and has no influence (RFC 7162 §3.1.5: servers with one
    /// mod-sequence per message ignore it).
    ModSeq {
        since: ModSeq,
        entry: Option<ModSeqEntry<'a>>,
    },
}

/// The metadata item of `MODSEQ "/flags/…" all 7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModSeqEntry<'a> {
    pub name: Cow<'a, [u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateField {
    /// INTERNALDATE
    Internal,
    /// The Date: header field
    Sent,
    /// When the message came into the mailbox (RFC 8514)
    Saved,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateTest {
    Before,
    On,
    /// On this day or later.
    Since,
}
