//! APPEND, in pieces: what comes before each message literal, since messages go to the store as they arrive.

use super::error::{ParseError, Parsed};
use super::flags::flag_list;
use super::reader::Reader;
use super::{date, tag};
use crate::imap::types::{Append, AppendPrefix, Dialect, MessageLiteral, Tag};

/// Reads a command up to and including the announcement of a literal (`{n}` and the line end), as framing shows it
/// when the literal comes. `None` when the command is not APPEND.
pub fn parse_append(head: &[u8], dialect: Dialect) -> Result<Option<Append<'_>>, ParseError<'_>> {
    let mut reader = Reader::new(head, dialect);
    let tag = tag(&mut reader).map_err(|error| error.with_tag(None))?;
    if !reader.accept(b' ') || reader.word().as_bytes() != b"APPEND" {
        return Ok(None);
    }
    append(&mut reader, tag).map(Some).map_err(|error| error.with_tag(Some(tag)))
}

/// Reads what follows a message: the head of the next one (MULTIAPPEND, RFC 3502), or `None` at the command's end.
pub fn parse_append_next(
    line: &[u8],
    dialect: Dialect,
) -> Result<Option<MessageLiteral<'_>>, ParseError<'_>> {
    if line.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader::new(line, dialect);
    message(&mut reader).map(Some).map_err(|error| error.with_tag(None))
}

fn append<'a>(reader: &mut Reader<'a>, tag: Tag<'a>) -> Parsed<Append<'a>> {
    reader.space()?;
    if is_announcement(reader) {
        return Ok(Append::Name);
    }
    let mailbox = reader.mailbox()?;
    message(reader).map(|message| Append::Message(AppendPrefix { tag, mailbox, message }))
}

/// Whether nothing but the announcement of a literal is left: the bytes of that literal are yet to come.
fn is_announcement(reader: &Reader<'_>) -> bool {
    let mut ahead = reader.clone();
    ahead.literal_header().is_ok() && ahead.is_at_end()
}

fn message<'a>(reader: &mut Reader<'a>) -> Parsed<MessageLiteral<'a>> {
    reader.space()?;
    let mut message = MessageLiteral { flags: Default::default(), date: None, size: 0, binary: false };
    if reader.peek() == Some(b'(') {
        message.flags = flag_list(reader)?;
        reader.space()?;
    }
    if reader.peek() == Some(b'"') {
        message.date = Some(date::date_time(reader)?);
        reader.space()?;
    }
    message.binary = reader.accept(b'~');
    message.size = reader.literal_header().or_else(|_| reader.expected("a message literal"))?;
    reader.end()?;
    Ok(message)
}
