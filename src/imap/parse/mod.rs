//! The grammar: the bytes of one whole command, as framing hands them over, to a [`Command`].
//!
//! Zero-copy and without recursion on anything that a client controls. Strict in what has one right spelling, since a
//! guess may delete the wrong message; lenient only where clients are known to be: 8-bit bytes in quoted strings, a
//! missing leading zero in dates.
//!
//! | file | family |
//! |---|---|
//! | `reader` | cursor; atoms, strings, numbers, sets, mailbox names |
//! | `flags`, `date` | arguments that several families share |
//! | `session` | ID, AUTHENTICATE, LOGIN, ENABLE |
//! | `mailbox` | SELECT, CREATE, RENAME, STATUS … |
//! | `list` | LIST and LSUB |
//! | `fetch`, `store`, `search`, `append` | as they say |
//! | `charset` | the strings of SEARCH to UTF-8 |
//!
//! A new command family is a file here, one in [`types`](super::types), a variant of [`CommandBody`] and an arm below.

mod append;
mod charset;
mod date;
mod error;
mod fetch;
mod flags;
mod list;
mod mailbox;
mod reader;
mod search;
mod session;
mod sort;
mod store;
#[cfg(test)]
mod tests;

pub use append::{parse_append, parse_append_next};
pub use charset::{Charset, CharsetError};
pub use error::{ParseError, ParseErrorKind};
pub use session::{InvalidBase64, SaslLine, decode_sasl, is_done};

use error::Parsed;
use reader::Reader;

use super::types::{Command, CommandBody, Dialect, Tag};

/// Parses a command, without its final line end, with the bytes of its literals in place. APPEND is not among the
/// commands: see [`parse_append`].
pub fn parse_command(input: &[u8], dialect: Dialect) -> Result<Command<'_>, ParseError<'_>> {
    let mut reader = Reader::new(input, dialect);
    let tag = tag(&mut reader).map_err(|error| error.with_tag(None))?;
    let body = body(&mut reader).map_err(|error| error.with_tag(Some(tag)))?;
    Ok(Command { tag, body })
}

/// The tag at the start of a command that could not be read as a whole.
pub fn tag_of(input: &[u8]) -> Option<Tag<'_>> {
    Tag::new(Reader::new(input, Dialect::REV1).until_space())
}

fn tag<'a>(reader: &mut Reader<'a>) -> Parsed<Tag<'a>> {
    let mut ahead = reader.clone();
    let Some(tag) = Tag::new(ahead.until_space()) else { return reader.expected("a tag") };
    *reader = ahead;
    Ok(tag)
}

fn body<'a>(reader: &mut Reader<'a>) -> Parsed<CommandBody<'a>> {
    reader.space()?;
    let body = named(reader)?;
    reader.end()?;
    Ok(body)
}

fn named<'a>(reader: &mut Reader<'a>) -> Parsed<CommandBody<'a>> {
    let start = reader.clone();
    Ok(match reader.word().as_bytes() {
        b"NOOP" => CommandBody::Noop,
        b"FETCH" => fetch::fetch(reader, false)?,
        b"UID" => uid(reader)?,
        b"STORE" => store::store(reader, false)?,
        b"SEARCH" => search::search(reader, false)?,
        b"SORT" => sort::sort(reader, false)?,
        b"THREAD" => sort::thread(reader, false)?,
        b"IDLE" => CommandBody::Idle,
        b"SELECT" => mailbox::select(reader, false)?,
        b"EXAMINE" => mailbox::select(reader, true)?,
        b"STATUS" => mailbox::status(reader)?,
        b"LIST" => list::list(reader)?,
        b"LSUB" => list::lsub(reader)?,
        b"COPY" => store::copy(reader, false)?,
        b"MOVE" => store::move_(reader, false)?,
        b"EXPUNGE" => CommandBody::Expunge { uids: None },
        b"CLOSE" => CommandBody::Close,
        b"UNSELECT" => CommandBody::Unselect,
        b"CHECK" => CommandBody::Check,
        b"CREATE" => mailbox::create(reader)?,
        b"DELETE" => CommandBody::Delete(mailbox::name(reader)?),
        b"RENAME" => mailbox::rename(reader)?,
        b"SUBSCRIBE" => CommandBody::Subscribe(mailbox::name(reader)?),
        b"UNSUBSCRIBE" => CommandBody::Unsubscribe(mailbox::name(reader)?),
        b"NAMESPACE" => CommandBody::Namespace,
        b"CAPABILITY" => CommandBody::Capability,
        b"ENABLE" => session::enable(reader)?,
        b"ID" => session::id(reader)?,
        b"STARTTLS" => CommandBody::StartTls,
        b"AUTHENTICATE" => session::authenticate(reader)?,
        b"LOGIN" => session::login(reader)?,
        b"LOGOUT" => CommandBody::Logout,
        // A complete APPEND never comes here; what does lacks its message.
        b"APPEND" => return start.expected("a message literal"),
        _ => return start.error(ParseErrorKind::UnknownCommand),
    })
}

fn uid<'a>(reader: &mut Reader<'a>) -> Parsed<CommandBody<'a>> {
    reader.space()?;
    let start = reader.clone();
    match reader.word().as_bytes() {
        b"FETCH" => fetch::fetch(reader, true),
        b"STORE" => store::store(reader, true),
        b"SEARCH" => search::search(reader, true),
        b"SORT" => sort::sort(reader, true),
        b"THREAD" => sort::thread(reader, true),
        b"COPY" => store::copy(reader, true),
        b"MOVE" => store::move_(reader, true),
        b"EXPUNGE" => store::uid_expunge(reader),
        _ => start.expected("FETCH, STORE, SEARCH, SORT, THREAD, COPY, MOVE or EXPUNGE"),
    }
}
