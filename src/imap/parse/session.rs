//! Commands about the session itself, and the lines that clients send within AUTHENTICATE and IDLE.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use smallvec::SmallVec;
use thiserror::Error;

use super::error::Parsed;
use super::reader::Reader;
use crate::imap::limits::{MAX_ENABLE, MAX_ID_FIELD, MAX_ID_PAIRS, MAX_ID_VALUE};
use crate::imap::types::{CommandBody, IdPairs};
use crate::sys::Secret;

/// What a client answers to a SASL challenge (RFC 9051 §6.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaslLine {
    /// `*`: the client gives up.
    Cancel,
    Data(Secret),
}

/// A SASL answer was not base64; the exchange ends with BAD.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected base64 or \"*\"")]
pub struct InvalidBase64;

/// Reads the line after a SASL challenge.
pub fn decode_sasl(line: &[u8]) -> Result<SaslLine, InvalidBase64> {
    if line == b"*" {
        return Ok(SaslLine::Cancel);
    }
    base64(line).map(SaslLine::Data)
}

/// Whether a line ends IDLE (RFC 2177).
pub fn is_done(line: &[u8]) -> bool {
    line.eq_ignore_ascii_case(b"DONE")
}

fn base64(text: &[u8]) -> Result<Secret, InvalidBase64> {
    STANDARD.decode(text).map(Secret::new).map_err(|_| InvalidBase64)
}

pub(super) fn authenticate<'a>(reader: &mut Reader<'a>) -> Parsed<CommandBody<'a>> {
    reader.space()?;
    let mechanism = reader.atom("a SASL mechanism")?;
    let initial = if reader.accept(b' ') { Some(initial_response(reader)?) } else { None };
    Ok(CommandBody::Authenticate { mechanism, initial })
}

/// RFC 4959 §3: `=` is the empty response, which base64 cannot show.
fn initial_response(reader: &mut Reader<'_>) -> Parsed<Secret> {
    let start = reader.clone();
    match reader.until_space() {
        b"=" => Ok(Secret::new(Vec::new())),
        b"" => start.expected("base64 or \"=\""),
        text => base64(text).or_else(|_| start.expected("base64 or \"=\"")),
    }
}

pub(super) fn login<'a>(reader: &mut Reader<'a>) -> Parsed<CommandBody<'a>> {
    reader.space()?;
    let user = reader.astring("a user name")?;
    reader.space()?;
    let password = Secret::new(reader.astring("a password")?.into_owned());
    Ok(CommandBody::Login { user, password })
}

pub(super) fn enable<'a>(reader: &mut Reader<'a>) -> Parsed<CommandBody<'a>> {
    let mut capabilities = SmallVec::new();
    reader.space()?;
    loop {
        capabilities.push(reader.atom("a capability")?);
        reader.limit(capabilities.len(), MAX_ENABLE, "capabilities")?;
        if !reader.accept(b' ') {
            return Ok(CommandBody::Enable(capabilities));
        }
    }
}

pub(super) fn id<'a>(reader: &mut Reader<'a>) -> Parsed<CommandBody<'a>> {
    reader.space()?;
    let mut pairs = IdPairs::new();
    if !reader.nil() {
        reader.list_or_empty(|reader| id_pair(reader, &mut pairs))?;
    }
    Ok(CommandBody::Id(pairs))
}

fn id_pair<'a>(reader: &mut Reader<'a>, pairs: &mut IdPairs<'a>) -> Parsed<()> {
    reader.limit(pairs.len() + 1, MAX_ID_PAIRS, "ID fields")?;
    let field = reader.string("a field name in quotes")?;
    reader.limit(field.len(), MAX_ID_FIELD, "bytes in an ID field name")?;
    reader.space()?;
    let value = reader.nstring("a value in quotes or NIL")?;
    reader.limit(value.as_ref().map_or(0, |value| value.len()), MAX_ID_VALUE, "bytes in an ID value")?;
    pairs.push((field, value));
    Ok(())
}
