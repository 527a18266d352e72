//! What frames say (`docs/backup-format.md`, "Frames"): one writer and one reader each.

use super::super::flags::{FlagList, Flags, Keyword, KeywordTable};
use super::super::mailbox::Mailbox;
use super::super::message::{InternalDate, Message};
use super::super::names::{MailboxId, ModSeq, Uid};
use super::super::payload::{put_ranges, take_ranges};
use super::super::uid_set::UidSet;
use super::super::wire::{Fields, PutFields};

/// A user's part begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UserFrame<'a> {
    /// All mailboxes are listed, not only chosen ones.
    pub is_complete: bool,
    /// The instant, as a place in the user's log.
    pub place: u64,
    pub name: &'a str,
}

impl<'a> UserFrame<'a> {
    pub fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(self.is_complete.into());
        out.put_u64(self.place);
        out.put_text16(self.name);
    }

    pub fn take(payload: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        Some(UserFrame { is_complete: fields.u8()? == 1, place: fields.u64()?, name: fields.text16()? })
    }
}

/// What an earlier backup had of a mailbox: UIDNEXT and HIGHESTMODSEQ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// 0: it had nothing.
    pub uid_next: u64,
    pub modseq: ModSeq,
}

impl Counted {
    pub fn of(mailbox: &Mailbox) -> Self {
        Counted { uid_next: mailbox.uid_next, modseq: mailbox.highest_modseq }
    }
}

/// A mailbox.
#[derive(Clone, Debug)]
pub(super) struct MailboxFrame {
    pub id: MailboxId,
    pub uid_validity: u32,
    pub uses: u16,
    pub now: Counted,
    /// What the predecessor had.
    pub former: Counted,
    pub recent_from: u64,
    pub name: String,
    pub keywords: Vec<Keyword>,
    pub live: UidSet,
}

impl MailboxFrame {
    pub fn of(mailbox: &Mailbox, former: Counted) -> Self {
        MailboxFrame {
            id: mailbox.id,
            uid_validity: mailbox.uid_validity,
            uses: mailbox.uses.bits(),
            now: Counted::of(mailbox),
            former,
            recent_from: mailbox.recent_from,
            name: mailbox.name.clone(),
            keywords: mailbox.keywords.names().filter_map(Keyword::new).collect(),
            live: mailbox.live.to_set(),
        }
    }

    pub fn put(&self, out: &mut Vec<u8>) {
        out.put_u128(self.id.0);
        out.put_u32(self.uid_validity);
        out.put_u16(self.uses);
        for counted in [self.now, self.former] {
            out.put_u64(counted.uid_next);
            out.put_u64(counted.modseq.0);
        }
        out.put_u64(self.recent_from);
        out.put_text16(&self.name);
        out.put_u32(self.keywords.len() as u32);
        self.keywords.iter().for_each(|keyword| out.put_text8(keyword.as_str()));
        out.put_u32(self.live.ranges().count() as u32);
        put_ranges(&self.live, out);
    }

    pub fn take(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let id = MailboxId(fields.u128()?);
        let (uid_validity, uses) = (fields.u32()?, fields.u16()?);
        let mut counted = || Some(Counted { uid_next: fields.u64()?, modseq: ModSeq(fields.u64()?) });
        let (now, former) = (counted()?, counted()?);
        let recent_from = fields.u64()?;
        let name = fields.text16()?.to_owned();
        let keywords = (0..fields.u32()?).map(|_| Keyword::new(fields.text8()?)).collect::<Option<_>>()?;
        let ranges = fields.u32()?;
        let live = take_ranges(&mut fields, ranges)?;
        Some(MailboxFrame { id, uid_validity, uses, now, former, recent_from, name, keywords, live })
    }
}

/// Flags of a message, by name.
fn put_flags(flags: Flags, keywords: &[&str], out: &mut Vec<u8>) {
    out.put_u16(flags.bits());
    out.put_u16(keywords.len() as u16);
    keywords.iter().for_each(|keyword| out.put_text8(keyword));
}

fn take_flags(fields: &mut Fields<'_>) -> Option<FlagList> {
    let system = Flags::from_bits(fields.u16()?);
    let count = fields.u16()?;
    let keywords = (0..count).map(|_| Keyword::new(fields.text8()?)).collect::<Option<_>>()?;
    Some(FlagList { system, keywords })
}

fn names<'a>(message: &Message, table: &'a KeywordTable) -> Vec<&'a str> {
    message.keywords.iter().filter_map(|index| table.name(index)).collect()
}

/// A message; its bytes follow in frames of their own.
#[derive(Clone, Debug)]
pub(super) struct MessageFrame {
    /// Number of the mailbox among the user's.
    pub mailbox: u32,
    pub uid: Uid,
    pub size: u32,
    pub internal_date: InternalDate,
    pub save_date: i64,
    pub email: u64,
    pub thread: u64,
    pub flags: FlagList,
}

impl MessageFrame {
    pub fn put(mailbox: u32, message: &Message, table: &KeywordTable, out: &mut Vec<u8>) {
        out.put_u32(mailbox);
        out.put_u32(message.uid.get());
        out.put_u64(message.modseq.0);
        out.put_u32(message.size);
        out.put_i16(message.internal_date.offset_minutes);
        out.put_i64(message.internal_date.timestamp);
        out.put_i64(message.save_date);
        out.put_u64(message.email);
        out.put_u64(message.thread);
        put_flags(message.flags, &names(message, table), out);
    }

    pub fn take(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let mailbox = fields.u32()?;
        let uid = Uid::new(fields.u32()?)?;
        // The mod-sequence is for readers of the stream: a message that comes back gets a new one.
        fields.u64()?;
        let size = fields.u32()?;
        let offset_minutes = fields.i16()?;
        Some(MessageFrame {
            mailbox,
            uid,
            size,
            internal_date: InternalDate { timestamp: fields.i64()?, offset_minutes },
            save_date: fields.i64()?,
            email: fields.u64()?,
            thread: fields.u64()?,
            flags: take_flags(&mut fields)?,
        })
    }
}

/// The flags of a message that the predecessor has.
#[derive(Clone, Debug)]
pub(super) struct FlagsFrame {
    pub mailbox: u32,
    pub uid: Uid,
    pub flags: FlagList,
}

impl FlagsFrame {
    pub fn put(mailbox: u32, message: &Message, table: &KeywordTable, out: &mut Vec<u8>) {
        out.put_u32(mailbox);
        out.put_u32(message.uid.get());
        out.put_u64(message.modseq.0);
        put_flags(message.flags, &names(message, table), out);
    }

    pub fn take(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let mailbox = fields.u32()?;
        let uid = Uid::new(fields.u32()?)?;
        fields.u64()?;
        Some(FlagsFrame { mailbox, uid, flags: take_flags(&mut fields)? })
    }
}

/// A message that is not in the backup, though its mailbox lists it.
#[derive(Clone, Debug)]
pub(super) struct LostFrame<'a> {
    pub mailbox: u32,
    pub uid: Uid,
    pub why: &'a str,
}

impl<'a> LostFrame<'a> {
    pub fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.mailbox);
        out.put_u32(self.uid.get());
        put_reason(self.why, out);
    }

    pub fn take(payload: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        Some(LostFrame { mailbox: fields.u32()?, uid: Uid::new(fields.u32()?)?, why: fields.text16()? })
    }
}

/// A user who is not in the backup.
pub(super) fn put_skipped(name: &str, why: &str, out: &mut Vec<u8>) {
    out.put_text16(name);
    put_reason(why, out);
}

pub(super) fn take_skipped(payload: &[u8]) -> Option<(&str, &str)> {
    let mut fields = Fields(payload);
    Some((fields.text16()?, fields.text16()?))
}

/// Paths in an error message can make it long.
fn put_reason(why: &str, out: &mut Vec<u8>) {
    let end = why.floor_char_boundary(u16::MAX.into());
    out.put_text16(&why[..end]);
}

/// What was counted, for the end of a user's part and of the stream: so that nothing is missed unnoticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub users: u64,
    pub mailboxes: u64,
    pub messages: u64,
    /// Bytes of messages.
    pub bytes: u64,
    pub flags: u64,
    pub lost: u64,
}

impl Totals {
    pub fn put(&self, out: &mut Vec<u8>) {
        let all = [self.users, self.mailboxes, self.messages, self.bytes, self.flags, self.lost];
        all.into_iter().for_each(|value| out.put_u64(value));
    }

    pub fn take(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        Some(Totals {
            users: fields.u64()?,
            mailboxes: fields.u64()?,
            messages: fields.u64()?,
            bytes: fields.u64()?,
            flags: fields.u64()?,
            lost: fields.u64()?,
        })
    }

    pub fn add(&mut self, other: &Totals) {
        self.users += other.users;
        self.mailboxes += other.mailboxes;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.flags += other.flags;
        self.lost += other.lost;
    }
}
