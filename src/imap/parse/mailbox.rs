//! Commands that name mailboxes: SELECT, CREATE, RENAME, STATUS.

use smallvec::SmallVec;

use super::error::Parsed;
use super::reader::Reader;
use crate::imap::limits::MAX_SPECIAL_USES;
use crate::imap::types::{CommandBody, MailboxName, Qresync, Select, SequenceMatch, SpecialUse, StatusItems};

/// A space and a mailbox name.
pub(super) fn name<'a>(reader: &mut Reader<'a>) -> Parsed<MailboxName<'a>> {
    reader.space()?;
    reader.mailbox()
}

pub(super) fn select<'a>(reader: &mut Reader<'a>, read_only: bool) -> Parsed<CommandBody<'a>> {
    let mailbox = name(reader)?;
    let mut select = Select { mailbox, read_only, condstore: false, qresync: None };
    if reader.accept(b' ') {
        reader.list(|reader| select_parameter(reader, &mut select))?;
    }
    Ok(CommandBody::Select(select))
}

fn select_parameter(reader: &mut Reader<'_>, select: &mut Select<'_>) -> Parsed<()> {
    let start = reader.clone();
    match reader.word().as_bytes() {
        b"CONDSTORE" => select.condstore = true,
        b"QRESYNC" if select.qresync.is_none() => select.qresync = Some(qresync(reader)?),
        _ => return start.expected("CONDSTORE or QRESYNC, each once"),
    }
    Ok(())
}

/// RFC 7162 §7: `(uidvalidity modseq [known-uids] [(known-sequence-set known-uid-set)])`.
fn qresync(reader: &mut Reader<'_>) -> Parsed<Qresync> {
    reader.space()?;
    reader.open()?;
    let uid_validity = reader.nz_number()?;
    reader.space()?;
    let modseq = reader.mod_seq()?;
    let mut qresync = Qresync { uid_validity, modseq, known_uids: None, sequence_match: None };
    let mut more = reader.accept(b' ');
    if more && reader.peek() != Some(b'(') {
        qresync.known_uids = Some(reader.plain_set()?);
        more = reader.accept(b' ');
    }
    if more {
        qresync.sequence_match = Some(sequence_match(reader)?);
    }
    reader.close()?;
    Ok(qresync)
}

fn sequence_match(reader: &mut Reader<'_>) -> Parsed<SequenceMatch> {
    reader.open()?;
    let sequence = reader.plain_set()?;
    reader.space()?;
    let uids = reader.plain_set()?;
    reader.close()?;
    Ok(SequenceMatch { sequence, uids })
}

/// CREATE, with the USE parameter of RFC 6154 §3.
pub(super) fn create<'a>(reader: &mut Reader<'a>) -> Parsed<CommandBody<'a>> {
    let mailbox = name(reader)?;
    let mut special_use = SmallVec::new();
    if reader.accept(b' ') {
        reader.list(|reader| create_parameter(reader, &mut special_use))?;
    }
    Ok(CommandBody::Create { mailbox, special_use })
}

fn create_parameter(reader: &mut Reader<'_>, special_use: &mut SmallVec<[SpecialUse; 1]>) -> Parsed<()> {
    let start = reader.clone();
    if reader.word().as_bytes() != b"USE" {
        return start.expected("USE");
    }
    reader.space()?;
    reader.list_or_empty(|reader| {
        reader.limit(special_use.len() + 1, MAX_SPECIAL_USES, "special-use attributes")?;
        let start = reader.rest();
        reader.byte(b'\\', "a special-use attribute")?;
        let length = 1 + reader.atom("a special-use attribute")?.len();
        special_use.push(SpecialUse::from_name(start.get(..length).unwrap_or_default()));
        Ok(())
    })
}

pub(super) fn rename<'a>(reader: &mut Reader<'a>) -> Parsed<CommandBody<'a>> {
    let from = name(reader)?;
    let to = name(reader)?;
    Ok(CommandBody::Rename { from, to })
}

pub(super) fn status<'a>(reader: &mut Reader<'a>) -> Parsed<CommandBody<'a>> {
    let mailbox = name(reader)?;
    reader.space()?;
    let items = status_items(reader)?;
    Ok(CommandBody::Status { mailbox, items })
}

/// The parenthesised items of STATUS. Asking twice is asking once.
pub(super) fn status_items(reader: &mut Reader<'_>) -> Parsed<StatusItems> {
    let mut items = StatusItems::NONE;
    reader.list(|reader| {
        let start = reader.clone();
        let word = reader.word();
        match StatusItems::NAMES.iter().find(|(_, name)| name.as_bytes() == word.as_bytes()) {
            Some((item, _)) => items.insert(*item),
            None => return start.expected("a STATUS item"),
        }
        Ok(())
    })?;
    Ok(items)
}
