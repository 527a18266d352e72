//! Snapshots: the state in one file, so that opening a user does not replay the whole log
//! (`docs/store-format.md`, "Snapshot"). Derived data: whatever is wrong with one, the log has it all.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, open_for_reading};
use super::error::Result;
use super::flags::{Keyword, KeywordSet, KeywordTable};
use super::limits::SNAPSHOT_AFTER;
use super::log::{Log, write_durably};
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
/// Where the place of the first record behind a snapshot is, and the end of that.
const PLACE_AT: usize = 32;
const HEAD: usize = 40;

/// Whether enough was logged since the last snapshot. Each is paid for by half as many bytes of log records, so
/// that snapshots cost a constant factor however large the user is.
pub(super) fn is_due(state: &State) -> bool {
    state.since_snapshot > SNAPSHOT_AFTER.max(state.snapshot_len / 2)
}

/// Writes the snapshot of a user; the log up to its place is durable.
pub(super) fn save(disk: &dyn Disk, dir: &Path, bytes: &[u8]) -> Result<()> {
    write_durably(disk, &dir.join(FILE), bytes)
}

/// Removes a snapshot that begins in front of `segment`, where the log may have made room: the checkpoint says more.
pub(super) fn remove_before(disk: &dyn Disk, dir: &Path, segment: u32) {
    let path = dir.join(FILE);
    let mut head = [0; HEAD];
    let read = open_for_reading(&path).and_then(|mut file| file.read_exact(&mut head));
    let place = Fields(&head[PLACE_AT..]).u64().map(LogPos::from_u64);
    if read.is_ok() && place.is_some_and(|place| place.segment < segment) {
        // Where it cannot be removed, it is ignored.
        let _ = disk.remove(&path);
    }
}

/// Whether two states are the same, as far as a snapshot tells.
pub(super) fn says_the_same(one: &State, two: &State) -> bool {
    let text = |state: &State, mailbox: &Mailbox| {
        let mut out = Vec::new();
        if let Some(mailbox) = state.mailboxes.get(&mailbox.id) {
            put_mailbox(mailbox, &mut out);
            mailbox.live_messages().for_each(|message| put_message(message, &mut out));
        }
        out
    };
    (one.epoch, one.last_uid_validity, one.mailboxes.len())
        == (two.epoch, two.last_uid_validity, two.mailboxes.len())
        && one.subscriptions == two.subscriptions
        && one.mailboxes.values().all(|mailbox| text(one, mailbox) == text(two, mailbox))
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
    for mailbox in state.mailboxes.values() {
        put_mailbox(mailbox, &mut out);
        out.put_u32(mailbox.live.len());
        mailbox.live_messages().for_each(|message| put_message(message, &mut out));
    }
    let crc = crc32fast::hash(&out[16..]);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    out
}

/// A mailbox without its messages.
pub(super) fn put_mailbox(mailbox: &Mailbox, out: &mut Vec<u8>) {
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
}

pub(super) fn put_message(message: &Message, out: &mut Vec<u8>) {
    out.put_u64(message.modseq.0);
    message.entry().put_fixed(out, message.keywords.iter().count());
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
    let place = LogPos::from_u64(fields.u64()?);
    if !is_place_of_a_record(place) {
        return None;
    }
    let mut state = State::new(place);
    state.snapshot_len = bytes.len() as u64;
    state.epoch = fields.u64()?;
    state.last_uid_validity = fields.u32()?;
    for _ in 0..fields.u32()? {
        state.subscriptions.insert(fields.text16()?.to_owned());
    }
    for _ in 0..fields.u32()? {
        let mut mailbox = take_mailbox(&mut fields)?;
        take_messages(&mut mailbox, &mut fields)?;
        state.insert(mailbox);
    }
    Some(state)
}

/// The live messages of a mailbox, by UID.
fn take_messages(mailbox: &mut Mailbox, fields: &mut Fields<'_>) -> Option<()> {
    let (mut least, end) = (1, mailbox.uid_next);
    for _ in 0..fields.u32()? {
        let (entry, keywords, modseq) = take_message(&mailbox.keywords, fields)?;
        let uid = u64::from(entry.uid.get());
        if uid < least || uid >= end {
            return None;
        }
        least = uid + 1;
        mailbox.push_message(entry, keywords, modseq);
    }
    Some(())
}

/// A writer cuts the log behind its last whole record, so that a snapshot must not send it into a segment's header.
fn is_place_of_a_record(place: LogPos) -> bool {
    place.segment > 0 && place.offset >= Log::start_of(place.segment).offset && place.offset.is_multiple_of(8)
}

/// A mailbox without its messages; they may follow.
pub(super) fn take_mailbox(fields: &mut Fields<'_>) -> Option<Mailbox> {
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

/// A message of a mailbox with these keywords.
pub(super) fn take_message<'a>(
    known: &KeywordTable,
    fields: &mut Fields<'a>,
) -> Option<(Entry<'a>, KeywordSet, ModSeq)> {
    let modseq = ModSeq(fields.u64()?);
    let (entry, keyword_count) = Entry::take_fixed(fields)?;
    let mut keywords = KeywordSet::default();
    for _ in 0..keyword_count {
        let index = usize::from(fields.u16()?);
        known.name(index)?;
        keywords.insert(index);
    }
    Some((entry, keywords, modseq))
}
