//! Checkpoints: what all segments before one say, in a file beside them, so that these need not be kept for it
//! (`docs/store-format.md`, "Checkpoints").
//!
//! Segments before the active one never change, so a checkpoint is made without any lock.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::archive::{Archive, Gone, Lost};
use super::disk::{Disk, open_for_reading};
use super::error::{Error, Result};
use super::files::{LogFiles, checkpoint_path};
use super::flags::KeywordTable;
use super::limits::CHECKPOINT_BATCH;
use super::log::{Log, write_durably};
use super::mailbox::Mailbox;
use super::message::Message;
use super::names::MailboxId;
use super::record::{Kind, Transaction, segment_header};
use super::replay::whole_transaction;
use super::snapshot::{put_mailbox, put_message, take_mailbox, take_message};
use super::state::State;
use super::wire::{Fields, PutFields};

/// The newest checkpoint of a user that can be read, with what is gone where an archive is given to keep it; `None`
/// when there is none.
///
/// # Errors
/// When there are some and all are damaged.
pub(super) fn newest(dir: &Path, mark: u128, horizon: Option<i64>) -> Result<Option<State>> {
    let mut damage = None;
    for segment in LogFiles::list(dir)?.checkpoints.into_iter().rev() {
        match load(dir, segment, mark, horizon) {
            Ok(state) => return Ok(Some(state)),
            // A newer one took its place.
            Err(error) if error.is_missing() => {}
            Err(error) => {
                log::error!(error = error.to_string(); "cannot use a checkpoint");
                damage = damage.or(Some(error));
            }
        }
    }
    damage.map_or(Ok(None), Err)
}

/// The checkpoint in front of `segment`.
pub(super) fn load(dir: &Path, segment: u32, mark: u128, horizon: Option<i64>) -> Result<State> {
    let path = checkpoint_path(dir, segment);
    let mut bytes = Vec::new();
    let read = open_for_reading(&path).and_then(|mut file| io::Read::read_to_end(&mut file, &mut bytes));
    read.map_err(Error::io("cannot read", &path))?;
    let mut state = State::new(Log::start_of(segment));
    state.archive = horizon.map(|horizon| Box::new(Archive::new(horizon)));
    decode(&bytes, segment, mark, &mut state).map_err(|problem| Error::Damaged {
        path,
        offset: 0,
        problem,
    })?;
    Ok(state)
}

fn decode(bytes: &[u8], segment: u32, mark: u128, state: &mut State) -> Result<(), &'static str> {
    segment_header::check(bytes, segment, mark)?;
    let records = bytes.get(segment_header::LEN..).unwrap_or_default();
    let whole = whole_transaction(records, segment_header::LEN as u32, |kind, payload| {
        apply(state, kind, payload).is_some()
    });
    if whole { Ok(()) } else { Err("a checkpoint is damaged") }
}

/// Writes a checkpoint of `state`, which stands at the start of a segment. All before it is on stable storage.
///
/// # Errors
/// When it cannot be written, or is beyond what places in a file can name: the segments before it have to stay.
pub(super) fn save(disk: &dyn Disk, dir: &Path, state: &State, mark: u128, made: i64) -> Result<()> {
    let bytes = encode(state, mark, made);
    let path = checkpoint_path(dir, state.position.segment);
    check_size(bytes.len(), &path)?;
    write_durably(disk, &path, &bytes)
}

fn check_size(len: usize, path: &Path) -> Result<()> {
    let too_large =
        |_| Error::io("a checkpoint has 4 GiB at most:", path)(io::ErrorKind::FileTooLarge.into());
    u32::try_from(len).map(drop).map_err(too_large)
}

/// Removes the checkpoints in front of older segments than `segment`.
pub(super) fn remove_before(disk: &dyn Disk, dir: &Path, segment: u32) -> Result<()> {
    for older in LogFiles::list(dir)?.checkpoints.into_iter().filter(|older| *older < segment) {
        let path = checkpoint_path(dir, older);
        disk.remove(&path).map_err(Error::io("cannot remove", path))?;
    }
    Ok(())
}

fn encode(state: &State, mark: u128, made: i64) -> Vec<u8> {
    let segment = state.position.segment;
    let mut txn = Transaction::new(Log::start_of(segment));
    for mailbox in state.mailboxes.values() {
        txn.record(Kind::Mailbox, |out| put_mailbox(mailbox, out));
        let messages: Vec<&Message> = mailbox.live_messages().collect();
        for batch in messages.chunks(CHECKPOINT_BATCH) {
            txn.record(Kind::Messages, |out| put_messages(mailbox.id, batch, out));
        }
    }
    if let Some(archive) = &state.archive {
        put_archive(archive, &mut txn);
    }
    // The last one: a checkpoint without it is cut short.
    txn.record(Kind::Base, |out| put_base(state, out));
    let mut file = segment_header::encode(segment, mark, made as u64);
    file.put(txn.bytes());
    file
}

fn put_base(state: &State, out: &mut Vec<u8>) {
    out.put_u64(state.epoch);
    out.put_u32(state.last_uid_validity);
    out.put_u32(state.subscriptions.len() as u32);
    state.subscriptions.iter().for_each(|name| out.put_text16(name));
}

fn put_messages(mailbox: MailboxId, messages: &[&Message], out: &mut Vec<u8>) {
    out.put_u128(mailbox.0);
    out.put_u32(messages.len() as u32);
    messages.iter().for_each(|message| put_message(message, out));
}

fn put_archive(archive: &Archive, txn: &mut Transaction) {
    for lost in archive.lost.values() {
        txn.record(Kind::Lost, |out| {
            out.put_i64(lost.when);
            put_mailbox(&lost.mailbox, out);
        });
    }
    for batch in
        archive.gone.chunk_by(|a, b| a.mailbox == b.mailbox).flat_map(|of| of.chunks(CHECKPOINT_BATCH))
    {
        txn.record(Kind::Gone, |out| put_gone(batch, out));
    }
}

fn put_gone(batch: &[Gone], out: &mut Vec<u8>) {
    out.put_u128(batch.first().map_or(0, |gone| gone.mailbox.0));
    out.put_u32(batch.len() as u32);
    for gone in batch {
        out.put_i64(gone.when);
        put_message(&gone.message, out);
    }
}

/// Applies one record of a checkpoint; `None` when it makes no sense.
fn apply(state: &mut State, kind: Kind, payload: &[u8]) -> Option<()> {
    let mut fields = Fields(payload);
    match kind {
        Kind::Mailbox => state.insert(take_mailbox(&mut fields)?),
        Kind::Messages => {
            let mailbox = state.mailboxes.get_mut(&MailboxId(fields.u128()?))?;
            take_messages(mailbox, &mut fields)?;
        }
        Kind::Lost => {
            let when = fields.i64()?;
            let mailbox = take_mailbox(&mut fields)?;
            if let Some(archive) = &mut state.archive {
                archive.add_lost(Lost { when, mailbox });
            }
        }
        Kind::Gone => take_gone(state, &mut fields)?,
        Kind::Base => take_base(state, &mut fields)?,
        Kind::Ignorable => {}
        _ => return None,
    }
    Some(())
}

fn take_messages(mailbox: &mut Mailbox, fields: &mut Fields<'_>) -> Option<()> {
    for _ in 0..fields.u32()? {
        let (entry, keywords, modseq) = take_message(&mailbox.keywords, fields)?;
        mailbox.push_message(entry, keywords, modseq);
    }
    Some(())
}

fn take_gone(state: &mut State, fields: &mut Fields<'_>) -> Option<()> {
    let mailbox = MailboxId(fields.u128()?);
    let Some(archive) = &mut state.archive else { return Some(()) };
    let keywords: Arc<KeywordTable> = match (state.mailboxes.get(&mailbox), archive.lost.get(&mailbox)) {
        (Some(mailbox), _) => mailbox.keywords.clone(),
        (None, Some(lost)) => lost.mailbox.keywords.clone(),
        // Its mailbox has been lost for too long.
        (None, None) => return Some(()),
    };
    for _ in 0..fields.u32()? {
        let when = fields.i64()?;
        let (entry, set, modseq) = take_message(&keywords, fields)?;
        archive.add_gone(Gone { mailbox, when, message: Message::of(&entry, set, modseq) });
    }
    Some(())
}

fn take_base(state: &mut State, fields: &mut Fields<'_>) -> Option<()> {
    state.epoch = fields.u64()?;
    state.last_uid_validity = state.last_uid_validity.max(fields.u32()?);
    for _ in 0..fields.u32()? {
        state.subscriptions.insert(fields.text16()?.to_owned());
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_that_no_place_can_name_is_refused() {
        let path = Path::new("log/checkpoint");
        assert!(check_size(u32::MAX as usize, path).is_ok());
        let refused = check_size(u32::MAX as usize + 1, path).unwrap_err().to_string();
        assert!(refused.contains("4 GiB") && refused.contains("log/checkpoint"), "{refused}");
    }
}
