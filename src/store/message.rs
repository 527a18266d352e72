//! A message as the store keeps it in memory: what commands ask for all the time. The rest is read from the log.

use std::cell::RefCell;
use std::thread::LocalKey;

use smallvec::SmallVec;

use super::flags::{Flags, KeywordSet};
use super::names::{ModSeq, Uid};
use super::payload::Entry;
use crate::spare::{Lend, Spares};

/// A place in a user's log: segment and byte offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPos {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

impl LogPos {
    pub(crate) fn new(segment: u32, offset: u32) -> Self {
        LogPos { segment, offset }
    }

    pub(crate) fn from_u64(packed: u64) -> Self {
        LogPos { segment: (packed >> 32) as u32, offset: packed as u32 }
    }

    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.segment) << 32 | u64::from(self.offset)
    }
}

/// Where the bytes of a message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlobRef {
    /// In the log, beginning here.
    Inline(LogPos),
    /// In a file of its own beside the log.
    File(u64),
}

/// When a message was received, as APPEND gave it (RFC 9051 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InternalDate {
    /// Seconds since 1970-01-01 UTC.
    pub timestamp: i64,
    /// East of UTC.
    pub offset_minutes: i16,
}

impl InternalDate {
    /// Days since 1970-01-01 of the date as shown, which is what SEARCH compares (RFC 9051 §6.4.4).
    pub fn day(self) -> i32 {
        (self.timestamp + i64::from(self.offset_minutes) * 60).div_euclid(86_400) as i32
    }
}

impl Lend for Message {
    /// As many as any command looks up at once.
    const MOST: usize = 512;

    fn spares() -> &'static LocalKey<Spares<Message>> {
        thread_local!(static SPARES: Spares<Message> = const { RefCell::new(Vec::new()) });
        &SPARES
    }
}

/// One message of a mailbox.
#[derive(Clone, Debug)]
pub struct Message {
    pub uid: Uid,
    pub flags: Flags,
    pub keywords: KeywordSet,
    pub modseq: ModSeq,
    /// RFC822.SIZE, octets.
    pub size: u32,
    pub internal_date: InternalDate,
    /// Seconds since 1970-01-01 UTC when the message came into this mailbox (RFC 8514).
    pub save_date: i64,
    /// Days since 1970-01-01 of the Date header field as written, `None` when it has none that can be read.
    pub sent_day: Option<i32>,
    /// EMAILID (RFC 8474): equal for copies of a message.
    pub email: u64,
    /// THREADID (RFC 8474).
    pub thread: u64,
    /// Whether it is known to have no NUL, so that it can be sent in a literal as it is (RFC 9051 §4.3).
    pub has_no_nul: bool,
    pub(crate) blob: BlobRef,
    pub(crate) meta: LogPos,
    pub(crate) meta_len: u32,
    /// The mod-sequence of its expunge; such a message is kept while a session's view still has it.
    pub(crate) expunged: Option<ModSeq>,
}

impl Message {
    /// The message that an entry describes.
    pub(super) fn of(entry: &Entry<'_>, keywords: KeywordSet, modseq: ModSeq) -> Message {
        Message {
            uid: entry.uid,
            flags: entry.flags,
            keywords,
            modseq,
            size: entry.size,
            internal_date: entry.internal_date,
            save_date: entry.save_date,
            sent_day: entry.sent_day,
            email: entry.email,
            thread: entry.thread,
            has_no_nul: entry.has_no_nul,
            blob: entry.blob,
            meta: entry.meta,
            meta_len: entry.meta_len,
            expunged: None,
        }
    }

    /// As an entry, but for its keywords: those have names in one mailbox only.
    pub(super) fn entry<'a>(&self) -> Entry<'a> {
        Entry {
            uid: self.uid,
            flags: self.flags,
            size: self.size,
            internal_date: self.internal_date,
            save_date: self.save_date,
            sent_day: self.sent_day,
            email: self.email,
            thread: self.thread,
            has_no_nul: self.has_no_nul,
            blob: self.blob,
            meta: self.meta,
            meta_len: self.meta_len,
            keywords: SmallVec::new(),
        }
    }
}
