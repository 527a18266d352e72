//! The payloads of records (`docs/store-format.md`, "Payloads"): one writer and one reader each.

use smallvec::SmallVec;

use super::flags::{FlagChange, Flags};
use super::message::{BlobRef, InternalDate, LogPos};
use super::names::{MailboxId, ModSeq, Uid};
use super::uid_set::UidSet;
use super::wire::{Fields, PutFields};

/// One message of an Append record.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    pub uid: Uid,
    pub flags: Flags,
    pub size: u32,
    pub internal_date: InternalDate,
    pub save_date: i64,
    pub sent_day: Option<i32>,
    pub email: u64,
    pub thread: u64,
    pub has_no_nul: bool,
    pub blob: BlobRef,
    pub meta: LogPos,
    pub meta_len: u32,
    pub keywords: SmallVec<[&'a str; 4]>,
}

const NO_SENT_DAY: i32 = i32::MIN;
/// What is known of a message's bytes.
const HAS_NO_NUL: u8 = 1;

impl<'a> Entry<'a> {
    /// Bytes before the keywords.
    pub const HEAD: usize = 72;

    pub fn put(&self, out: &mut Vec<u8>) {
        self.put_fixed(out, self.keywords.len());
        for keyword in &self.keywords {
            out.put_text8(keyword);
        }
    }

    /// The 72 bytes before the keywords.
    pub fn put_fixed(&self, out: &mut Vec<u8>, keywords: usize) {
        let (place, kind) = match self.blob {
            BlobRef::Inline(place) => (place.to_u64(), 0),
            BlobRef::File(number) => (number, 1),
        };
        out.put_u32(self.uid.get());
        out.put_u16(self.flags.bits());
        out.put_u16(keywords as u16);
        out.put_u32(self.size);
        out.put_i16(self.internal_date.offset_minutes);
        out.put_u8(kind);
        out.put_u8(if self.has_no_nul { HAS_NO_NUL } else { 0 });
        out.put_i64(self.internal_date.timestamp);
        out.put_i64(self.save_date);
        out.put_i32(self.sent_day.unwrap_or(NO_SENT_DAY));
        out.put_u32(self.meta_len);
        out.put_u64(self.email);
        out.put_u64(self.thread);
        out.put_u64(place);
        out.put_u64(self.meta.to_u64());
    }

    pub fn take(fields: &mut Fields<'a>) -> Option<Entry<'a>> {
        let (mut entry, count) = Self::take_fixed(fields)?;
        for _ in 0..count {
            entry.keywords.push(fields.text8()?);
        }
        Some(entry)
    }

    pub fn take_fixed(fields: &mut Fields<'a>) -> Option<(Entry<'a>, u16)> {
        let uid = Uid::new(fields.u32()?)?;
        let flags = Flags::from_bits(fields.u16()?);
        let keywords = fields.u16()?;
        let size = fields.u32()?;
        let offset_minutes = fields.i16()?;
        let kind = fields.u8()?;
        let known = fields.u8()?;
        let timestamp = fields.i64()?;
        let save_date = fields.i64()?;
        let sent_day = fields.i32()?;
        let meta_len = fields.u32()?;
        let email = fields.u64()?;
        let thread = fields.u64()?;
        let place = fields.u64()?;
        let blob = if kind == 0 { BlobRef::Inline(LogPos::from_u64(place)) } else { BlobRef::File(place) };
        let entry = Entry {
            uid,
            flags,
            size,
            internal_date: InternalDate { timestamp, offset_minutes },
            save_date,
            sent_day: (sent_day != NO_SENT_DAY).then_some(sent_day),
            email,
            thread,
            has_no_nul: known & HAS_NO_NUL != 0,
            blob,
            meta: LogPos::from_u64(fields.u64()?),
            meta_len,
            keywords: SmallVec::new(),
        };
        Some((entry, keywords))
    }
}

/// Messages come into a mailbox.
#[derive(Clone, Debug)]
pub(super) struct Append<'a> {
    pub mailbox: MailboxId,
    pub modseq: ModSeq,
    pub claims_recent: bool,
    count: u32,
    entries: Fields<'a>,
}

impl<'a> Append<'a> {
    /// Bytes before the entries.
    pub const HEAD: usize = 32;

    /// Writes the part before the entries.
    pub fn put_head(mailbox: MailboxId, modseq: ModSeq, count: u32, claims_recent: bool, out: &mut Vec<u8>) {
        out.put_u128(mailbox.0);
        out.put_u64(modseq.0);
        out.put_u32(count);
        out.put_u32(claims_recent.into());
    }

    pub fn take(payload: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        Some(Append {
            mailbox: MailboxId(fields.u128()?),
            modseq: ModSeq(fields.u64()?),
            count: fields.u32()?,
            claims_recent: fields.u32()? & 1 == 1,
            entries: fields,
        })
    }

    /// The entries; an unreadable one comes as `None`.
    pub fn entries(&self) -> impl Iterator<Item = Option<Entry<'a>>> {
        let mut fields = self.entries;
        (0..self.count).map(move |_| Entry::take(&mut fields))
    }
}

/// Flags of messages change.
#[derive(Clone, Debug)]
pub(super) struct FlagsChange<'a> {
    pub mailbox: MailboxId,
    pub modseq: ModSeq,
    pub how: FlagChange,
    pub flags: Flags,
    pub keywords: SmallVec<[&'a str; 4]>,
    pub uids: UidSet,
}

impl<'a> FlagsChange<'a> {
    pub fn put(&self, out: &mut Vec<u8>) {
        out.put_u128(self.mailbox.0);
        out.put_u64(self.modseq.0);
        out.put_u8(match self.how {
            FlagChange::Replace => 0,
            FlagChange::Add => 1,
            FlagChange::Remove => 2,
        });
        out.put_u8(0);
        out.put_u16(self.flags.bits());
        out.put_u32(self.keywords.len() as u32);
        out.put_u32(self.uids.ranges().count() as u32);
        for keyword in &self.keywords {
            out.put_text8(keyword);
        }
        put_ranges(&self.uids, out);
    }

    pub fn take(payload: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let mailbox = MailboxId(fields.u128()?);
        let modseq = ModSeq(fields.u64()?);
        let how = match fields.u8()? {
            0 => FlagChange::Replace,
            1 => FlagChange::Add,
            2 => FlagChange::Remove,
            _ => return None,
        };
        fields.u8()?;
        let flags = Flags::from_bits(fields.u16()?);
        let keyword_count = fields.u32()?;
        let range_count = fields.u32()?;
        let mut keywords = SmallVec::new();
        for _ in 0..keyword_count {
            keywords.push(fields.text8()?);
        }
        let uids = take_ranges(&mut fields, range_count)?;
        Some(FlagsChange { mailbox, modseq, how, flags, keywords, uids })
    }
}

/// Messages leave a mailbox.
#[derive(Clone, Debug)]
pub(super) struct Expunge {
    pub mailbox: MailboxId,
    pub modseq: ModSeq,
    pub uids: UidSet,
    /// Seconds since 1970; 0: they live on in another place, or nobody knows, and the expunge cannot be undone.
    pub when: i64,
}

impl Expunge {
    pub fn put(&self, out: &mut Vec<u8>) {
        out.put_u128(self.mailbox.0);
        out.put_u64(self.modseq.0);
        out.put_u32(self.uids.ranges().count() as u32);
        put_ranges(&self.uids, out);
        out.put_i64(self.when);
    }

    pub fn take(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let mailbox = MailboxId(fields.u128()?);
        let modseq = ModSeq(fields.u64()?);
        let count = fields.u32()?;
        let uids = take_ranges(&mut fields, count)?;
        Some(Expunge { mailbox, modseq, uids, when: fields.i64().unwrap_or(0) })
    }
}

/// A mailbox and its messages go.
#[derive(Clone, Copy, Debug)]
pub(super) struct MailboxDelete {
    pub mailbox: MailboxId,
    /// Seconds since 1970; 0 when nobody knows.
    pub when: i64,
}

impl MailboxDelete {
    pub fn put(self, out: &mut Vec<u8>) {
        out.put_u128(self.mailbox.0);
        out.put_i64(self.when);
    }

    pub fn take(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        Some(MailboxDelete { mailbox: MailboxId(fields.u128()?), when: fields.i64().unwrap_or(0) })
    }
}

pub(super) fn put_ranges(uids: &UidSet, out: &mut Vec<u8>) {
    for (first, last) in uids.ranges() {
        out.put_u32(first.get());
        out.put_u32(last.get());
    }
}

pub(super) fn take_ranges(fields: &mut Fields<'_>, count: u32) -> Option<UidSet> {
    let mut uids = UidSet::new();
    for _ in 0..count {
        let (first, last) = (Uid::new(fields.u32()?)?, Uid::new(fields.u32()?)?);
        if first > last || uids.last().is_some_and(|end| end >= first) {
            return None;
        }
        uids.push_range(first, last);
    }
    Some(uids)
}

/// A mailbox comes into being.
#[derive(Clone, Debug)]
pub(super) struct MailboxCreate<'a> {
    pub mailbox: MailboxId,
    pub uid_validity: u32,
    pub uses: u16,
    pub name: &'a str,
}

impl<'a> MailboxCreate<'a> {
    pub fn put(&self, out: &mut Vec<u8>) {
        out.put_u128(self.mailbox.0);
        out.put_u32(self.uid_validity);
        out.put_u16(self.uses);
        out.put_text16(self.name);
    }

    pub fn take(payload: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        Some(MailboxCreate {
            mailbox: MailboxId(fields.u128()?),
            uid_validity: fields.u32()?,
            uses: fields.u16()?,
            name: fields.text16()?,
        })
    }
}

/// Mailboxes get new names, all at once.
pub(super) struct MailboxRename<'a>(pub Vec<(MailboxId, &'a str)>);

impl<'a> MailboxRename<'a> {
    pub fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.0.len() as u32);
        for (mailbox, name) in &self.0 {
            out.put_u128(mailbox.0);
            out.put_text16(name);
        }
    }

    pub fn take(payload: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let count = fields.u32()?;
        (0..count)
            .map(|_| Some((MailboxId(fields.u128()?), fields.text16()?)))
            .collect::<Option<Vec<_>>>()
            .map(MailboxRename)
    }
}

/// The counters of a mailbox are at least these, and its expunges up to the mod-sequence are forgotten: it was restored,
/// and nobody knows what its clients saw before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    pub mailbox: MailboxId,
    pub uid_next: u64,
    pub modseq: ModSeq,
}

impl Floor {
    pub fn put(self, out: &mut Vec<u8>) {
        out.put_u128(self.mailbox.0);
        out.put_u64(self.uid_next);
        out.put_u64(self.modseq.0);
    }

    pub fn take(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        Some(Floor {
            mailbox: MailboxId(fields.u128()?),
            uid_next: fields.u64()?,
            modseq: ModSeq(fields.u64()?),
        })
    }
}
