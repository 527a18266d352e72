//! STORE, COPY, MOVE and UID EXPUNGE.

use super::error::Parsed;
use super::flags::flag_list_or_flags;
use super::reader::Reader;
use crate::imap::sequence::SequenceSet;
use crate::imap::types::{CommandBody, MailboxName, Store, StoreAction};
use crate::store::ModSeq;

pub(super) fn store<'a>(reader: &mut Reader<'a>, uid: bool) -> Parsed<CommandBody<'a>> {
    reader.space()?;
    let set = reader.sequence_set()?;
    reader.space()?;
    let unchanged_since = unchanged_since(reader)?;
    let (action, silent) = action(reader)?;
    reader.space()?;
    let flags = flag_list_or_flags(reader)?;
    Ok(CommandBody::Store(Store { uid, set, action, silent, flags, unchanged_since }))
}

/// `(UNCHANGEDSINCE n)` and the space after it (RFC 7162 §3.1.3).
fn unchanged_since(reader: &mut Reader<'_>) -> Parsed<Option<ModSeq>> {
    if !reader.accept(b'(') {
        return Ok(None);
    }
    let start = reader.clone();
    if reader.word().as_bytes() != b"UNCHANGEDSINCE" {
        return start.expected("UNCHANGEDSINCE");
    }
    reader.space()?;
    let modseq = reader.mod_seq()?;
    reader.byte(b')', "\")\"")?;
    reader.space()?;
    Ok(Some(modseq))
}

fn action(reader: &mut Reader<'_>) -> Parsed<(StoreAction, bool)> {
    let start = reader.clone();
    let action = if reader.accept(b'+') {
        StoreAction::Add
    } else if reader.accept(b'-') {
        StoreAction::Remove
    } else {
        StoreAction::Replace
    };
    match reader.word().as_bytes() {
        b"FLAGS" => Ok((action, false)),
        b"FLAGS.SILENT" => Ok((action, true)),
        _ => start.expected("FLAGS, +FLAGS or -FLAGS, with or without .SILENT"),
    }
}

pub(super) fn copy<'a>(reader: &mut Reader<'a>, uid: bool) -> Parsed<CommandBody<'a>> {
    let (set, mailbox) = set_and_mailbox(reader)?;
    Ok(CommandBody::Copy { uid, set, mailbox })
}

pub(super) fn move_<'a>(reader: &mut Reader<'a>, uid: bool) -> Parsed<CommandBody<'a>> {
    let (set, mailbox) = set_and_mailbox(reader)?;
    Ok(CommandBody::Move { uid, set, mailbox })
}

pub(super) fn uid_expunge<'a>(reader: &mut Reader<'a>) -> Parsed<CommandBody<'a>> {
    reader.space()?;
    Ok(CommandBody::Expunge { uids: Some(reader.sequence_set()?) })
}

fn set_and_mailbox<'a>(reader: &mut Reader<'a>) -> Parsed<(SequenceSet, MailboxName<'a>)> {
    reader.space()?;
    let set = reader.sequence_set()?;
    reader.space()?;
    Ok((set, reader.mailbox()?))
}
