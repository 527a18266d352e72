//! Snapshots: the state in one file, so that opening a user does not replay the whole log
//! (`docs/store-format.md`, "Snapshot"). Derived data: whatever is wrong with one, the log has it all.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use smallvec::SmallVec;

use super::disk::{Disk, open_for_reading};
use super::error::Result;
use super::flags::{Keyword, KeywordSet, KeywordTable};
use super::limits::SNAPSHOT_AFTER;
use super::log::write_durably;
use super::mailbox::{Expunged, Mailbox};
use super::message::{LogPos, Message};
use super::names::{MailboxId, ModSeq, Uid};
use super::payload::Entry;
use super::state::State;
use super::tree::SpecialUses;
use super::wire::{Fields, PutFields};

const MAGIC: &[u8; 8] = b"HELIOSNP";
const VERSION: u32 = 1;
const FILE: &str = "snapshot";

/// Whether enough was logged since the last snapshot. Each is paid for by half as many bytes of log records, so
/// that snapshots cost a constant factor however large the user is.
pub(super) fn is_due(state: &State) -> bool {
    state.since_snapshot > SNAPSHOT_AFTER.max(state.snapshot_len / 2)
}

/// Writes the snapshot of a user; the log up to its place is durable.
pub(super) fn save(disk: &dyn Disk, dir: &Path, bytes: &[u8]) -> Result<()> {
    write_durably(disk, &dir.join(FILE), bytes)
}

/// Reads the snapshot of a user, if there is one that can be used.
pub(super) fn load(dir: &Path, mark: u128) -> Option<State> {
    let path = dir.join(FILE);
    let mut bytes = Vec::new();
    open_for_reading(&path).ok()?.read_to_end(&mut bytes).ok()?;
    let state = decode(&bytes, mark);
    if state.is_none() {
        log::warn!(file = path.display().to_string(); "ignoring a snapshot that is damaged or of another version");
    }
    state
}

pub(super) fn encode(state: &State, mark: u128) -> Vec<u8> {
    let mut out = Vec::new();
    out.put(MAGIC);
    out.put_u32(VERSION);
    out.put_u32(0);
    out.put_u128(mark);
    out.put_u64(state.position.to_u64());
    out.put_u64(state.epoch);
    out.put_u32(state.last_uid_validity);
    out.put_u32(state.subscriptions.len() as u32);
    state.subscriptions.iter().for_each(|name| out.put_text16(name));
    out.put_u32(state.mailboxes.len() as u32);
    state.mailboxes.values().for_each(|mailbox| put_mailbox(mailbox, &mut out));
    let crc = crc32fast::hash(&out[16..]);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    out
}

fn put_mailbox(mailbox: &Mailbox, out: &mut Vec<u8>) {
    out.put_u128(mailbox.id.0);
    out.put_u32(mailbox.uid_validity);
    out.put_u64(mailbox.uid_next);
    out.put_u64(mailbox.highest_modseq.0);
    out.put_u64(mailbox.recent_from);
    out.put_u16(mailbox.uses.bits());
    out.put_text16(&mailbox.name);
    out.put_u32(mailbox.keywords.len() as u32);
    mailbox.keywords.names().for_each(|name| out.put_text8(name));
    out.put_u64(mailbox.expunges_forgotten.0);
    out.put_u32(mailbox.expunged.len() as u32);
    for gone in &mailbox.expunged {
        out.put_u64(gone.modseq.0);
        out.put_u32(gone.first.get());
        out.put_u32(gone.last.get());
    }
    out.put_u32(mailbox.live.len());
    mailbox.live_messages().for_each(|message| put_message(message, out));
}

fn put_message(message: &Message, out: &mut Vec<u8>) {
    out.put_u64(message.modseq.0);
    let entry = Entry {
        uid: message.uid,
        flags: message.flags,
        size: message.size,
        internal_date: message.internal_date,
        save_date: message.save_date,
        sent_day: message.sent_day,
        email: message.email,
        thread: message.thread,
        blob: message.blob,
        meta: message.meta,
        meta_len: message.meta_len,
        keywords: SmallVec::new(),
    };
    entry.put_fixed(out, message.keywords.iter().count());
    message.keywords.iter().for_each(|index| out.put_u16(index as u16));
}

fn decode(bytes: &[u8], mark: u128) -> Option<State> {
    let mut fields = Fields(bytes);
    let sound = fields.bytes(8)? == MAGIC
        && fields.u32()? == VERSION
        && fields.u32()? == crc32fast::hash(bytes.get(16..)?)
        && fields.u128()? == mark;
    if !sound {
        return None;
    }
    let mut state = State::new(LogPos::from_u64(fields.u64()?));
    state.snapshot_len = bytes.len() as u64;
    state.epoch = fields.u64()?;
    state.last_uid_validity = fields.u32()?;
    for _ in 0..fields.u32()? {
        state.subscriptions.insert(fields.text16()?.to_owned());
    }
    for _ in 0..fields.u32()? {
        let mailbox = take_mailbox(&mut fields)?;
        state.insert(mailbox);
    }
    Some(state)
}

fn take_mailbox(fields: &mut Fields<'_>) -> Option<Mailbox> {
    let id = MailboxId(fields.u128()?);
    let uid_validity = fields.u32()?;
    let uid_next = fields.u64()?;
    let highest_modseq = ModSeq(fields.u64()?);
    let recent_from = fields.u64()?;
    let uses = SpecialUses::from_bits(fields.u16()?);
    let mut mailbox = Mailbox::new(id, fields.text16()?.to_owned(), uid_validity, uses);
    mailbox.keywords = Arc::new(take_keywords(fields)?);
    let forgotten = ModSeq(fields.u64()?);
    for _ in 0..fields.u32()? {
        let modseq = ModSeq(fields.u64()?);
        let (first, last) = (Uid::new(fields.u32()?)?, Uid::new(fields.u32()?)?);
        mailbox.remember_expunge(Expunged { modseq, first, last });
    }
    mailbox.expunges_forgotten = mailbox.expunges_forgotten.max(forgotten);
    let count = fields.u32()?;
    take_messages(&mut mailbox, count, fields)?;
    mailbox.restore_counters(uid_next, highest_modseq, recent_from);
    Some(mailbox)
}

fn take_keywords(fields: &mut Fields<'_>) -> Option<KeywordTable> {
    let mut table = KeywordTable::default();
    for _ in 0..fields.u32()? {
        table.intern(&Keyword::new(fields.text8()?)?)?;
    }
    Some(table)
}

fn take_messages(mailbox: &mut Mailbox, count: u32, fields: &mut Fields<'_>) -> Option<()> {
    for _ in 0..count {
        let modseq = ModSeq(fields.u64()?);
        let (entry, keyword_count) = Entry::take_fixed(fields)?;
        let mut keywords = KeywordSet::default();
        for _ in 0..keyword_count {
            let index = usize::from(fields.u16()?);
            mailbox.keywords.name(index)?;
            keywords.insert(index);
        }
        mailbox.push_message(entry, keywords, modseq);
    }
    Some(())
}
