//! Flags in STORE and APPEND.

use super::error::Parsed;
use super::reader::Reader;
use crate::imap::limits::MAX_FLAGS;
use crate::imap::types::{FlagList, Keyword, SystemFlags};

/// `(flag …)` or `()`.
pub(super) fn flag_list<'a>(reader: &mut Reader<'a>) -> Parsed<FlagList<'a>> {
    let mut flags = FlagList::default();
    let mut count = 0;
    reader.list_or_empty(|reader| flag(reader, &mut flags, &mut count))?;
    Ok(flags)
}

/// A flag list, or flags without parentheses up to the end of the command (STORE allows both).
pub(super) fn flag_list_or_flags<'a>(reader: &mut Reader<'a>) -> Parsed<FlagList<'a>> {
    if reader.peek() == Some(b'(') {
        return flag_list(reader);
    }
    let mut flags = FlagList::default();
    let mut count = 0;
    loop {
        flag(reader, &mut flags, &mut count)?;
        if !reader.accept(b' ') {
            return Ok(flags);
        }
    }
}

fn flag<'a>(reader: &mut Reader<'a>, flags: &mut FlagList<'a>, count: &mut usize) -> Parsed<()> {
    *count += 1;
    reader.limit(*count, MAX_FLAGS, "flags")?;
    let start = reader.clone();
    if reader.accept(b'\\') {
        return system_flag(reader, &start).map(|flag| flags.system.insert(flag));
    }
    let keyword = keyword(reader)?;
    if !flags.keywords.contains(&keyword) {
        flags.keywords.push(keyword);
    }
    Ok(())
}

/// Any other `\Flag`, `\Recent` among them, is refused: to ignore it would acknowledge what does not happen.
fn system_flag(reader: &mut Reader<'_>, start: &Reader<'_>) -> Parsed<SystemFlags> {
    let length = 1 + reader.word().as_bytes().len();
    let known = start.rest().get(..length).and_then(SystemFlags::from_name);
    known.map_or_else(|| start.expected("\\Answered, \\Flagged, \\Deleted, \\Seen or \\Draft"), Ok)
}

pub(super) fn keyword<'a>(reader: &mut Reader<'a>) -> Parsed<Keyword<'a>> {
    let start = reader.clone();
    let name = reader.atom("a keyword")?;
    Keyword::of_atom(name).map_or_else(|| start.expected("a keyword of at most 255 bytes"), Ok)
}
