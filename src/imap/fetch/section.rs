//! The bytes behind a section (RFC 9051 §6.4.5, RFC 3516 §4.2).

use std::ops::Range;

use crate::imap::code::{Code, Failure};
use crate::imap::limits::{MAX_DECODED, MAX_HEADER_READ};
use crate::imap::types::{FetchSection, HeaderFields, Partial, SectionKind, SectionText};
use crate::message::{self, Encoding, Part, Parts, UnknownEncoding, Which};
use crate::store::{Message, Result, Selected};

/// What a section consists of.
pub(super) enum Source {
    /// There is no such part.
    Nil,
    /// BINARY.SIZE, bytes.
    Size(u64),
    /// Bytes as they are in the message.
    Range(Range<u64>),
    /// Bytes that had to be made.
    Bytes(Vec<u8>),
}

/// Refuses what cannot be sent, before anything is.
pub(super) fn check(section: &FetchSection, parts: Option<&Parts>) -> std::result::Result<(), Failure> {
    let is_decoded = matches!(section.kind, SectionKind::Binary | SectionKind::BinarySize);
    let part =
        parts.filter(|_| is_decoded && !section.path.is_empty()).and_then(|parts| parts.part(&section.path));
    let Some(part) = part.filter(|part| !part.is_multipart()) else { return Ok(()) };
    if part.encoding == Encoding::Unknown {
        return Err(Failure::no(
            Code::UnknownCte,
            "part has an unknown transfer encoding, fetch it with BODY",
        ));
    }
    let body = part.body();
    if body.end - body.start > MAX_DECODED {
        return Err(Failure::no(Code::Limit, "part is too large to be decoded here, fetch it with BODY"));
    }
    Ok(())
}

/// Finds a section that [`check`] let pass. `parts` is there for every section but the whole message.
pub(super) fn find(
    section: &FetchSection,
    message: &Message,
    parts: Option<&Parts>,
    mailbox: &Selected,
) -> Result<Source> {
    let source = match (section.kind, parts) {
        (SectionKind::Body, Some(parts)) => body(section, parts, message, mailbox)?,
        (SectionKind::Rfc822Header, Some(parts)) => range(parts.locate(&[], Which::Header)),
        (SectionKind::Rfc822Text, Some(parts)) => range(parts.locate(&[], Which::Text)),
        (SectionKind::Binary, Some(parts)) => binary(section, parts, message, mailbox)?,
        (SectionKind::BinarySize, Some(parts)) => size_of(binary(section, parts, message, mailbox)?),
        (SectionKind::BinarySize, None) => Source::Size(u64::from(message.size)),
        _ => Source::Range(0..u64::from(message.size)),
    };
    Ok(match section.partial {
        Some(partial) => cut(source, partial),
        None => source,
    })
}

fn range(range: Option<Range<u64>>) -> Source {
    range.map_or(Source::Nil, Source::Range)
}

fn body(section: &FetchSection, parts: &Parts, message: &Message, mailbox: &Selected) -> Result<Source> {
    let path = section.path.as_slice();
    match &section.text {
        SectionText::Full if path.is_empty() => Ok(Source::Range(0..u64::from(message.size))),
        SectionText::Full => Ok(range(parts.locate(path, Which::Full))),
        SectionText::Header => Ok(range(parts.locate(path, Which::Header))),
        SectionText::Text => Ok(range(parts.locate(path, Which::Text))),
        SectionText::Mime => Ok(range(parts.locate(path, Which::Mime))),
        SectionText::HeaderFields(names) => {
            fields(parts.locate(path, Which::Header), names, false, message, mailbox)
        }
        SectionText::HeaderFieldsNot(names) => {
            fields(parts.locate(path, Which::Header), names, true, message, mailbox)
        }
    }
}

/// HEADER.FIELDS and HEADER.FIELDS.NOT.
fn fields(
    header: Option<Range<u64>>,
    names: &HeaderFields,
    invert: bool,
    message: &Message,
    mailbox: &Selected,
) -> Result<Source> {
    let Some(header) = header else { return Ok(Source::Nil) };
    let end = header.end.min(header.start.saturating_add(MAX_HEADER_READ));
    let mut bytes = Vec::new();
    mailbox.read(message, header.start..end, &mut bytes)?;
    let names: Vec<&[u8]> = names.iter().collect();
    let mut matching = Vec::new();
    message::header_fields(&bytes, &names, invert, &mut matching);
    Ok(Source::Bytes(matching))
}

/// A part without its transfer encoding. What has none (the message itself, multiparts, nested messages) comes as it
/// is.
fn binary(section: &FetchSection, parts: &Parts, message: &Message, mailbox: &Selected) -> Result<Source> {
    let path = section.path.as_slice();
    if path.is_empty() {
        return Ok(Source::Range(0..u64::from(message.size)));
    }
    let Some(part) = parts.part(path) else { return Ok(Source::Nil) };
    let body = parts.locate(path, Which::Full).unwrap_or_else(|| part.body());
    if part.is_multipart() {
        return Ok(Source::Range(body));
    }
    decode(part, body, message, mailbox)
}

fn decode(part: &Part, body: Range<u64>, message: &Message, mailbox: &Selected) -> Result<Source> {
    let mut raw = Vec::new();
    mailbox.read(message, body, &mut raw)?;
    let mut decoded = Vec::new();
    match message::decode_transfer(part.encoding, &raw, &mut decoded) {
        Ok(()) => Ok(Source::Bytes(decoded)),
        Err(UnknownEncoding) => Ok(Source::Nil),
    }
}

fn size_of(source: Source) -> Source {
    match source {
        Source::Range(range) => Source::Size(range.end - range.start),
        Source::Bytes(bytes) => Source::Size(bytes.len() as u64),
        Source::Nil => Source::Size(0),
        size => size,
    }
}

/// `<offset.length>`; what lies behind the end is left out.
fn cut(source: Source, partial: Partial) -> Source {
    let (offset, length) = (partial.offset, partial.length.get());
    match source {
        Source::Range(range) => {
            let start = range.start.saturating_add(offset).min(range.end);
            Source::Range(start..start.saturating_add(length).min(range.end))
        }
        Source::Bytes(mut bytes) => {
            let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            let (start, end) = (clamp(offset), clamp(offset.saturating_add(length)));
            bytes.truncate(end);
            bytes.drain(..start);
            Source::Bytes(bytes)
        }
        source => source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary() -> FetchSection {
        FetchSection {
            kind: SectionKind::Binary,
            path: [1].into_iter().collect(),
            text: SectionText::Full,
            partial: None,
            peek: true,
        }
    }

    #[test]
    fn what_is_decoded_fits_into_memory() {
        for (body, fits) in [(MAX_DECODED, true), (MAX_DECODED + 1, false)] {
            let mut raw = b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n".to_vec();
            raw.resize(raw.len() + body as usize, b'A');
            let parts = message::analyze(&raw).parts;
            assert_eq!(check(&binary(), Some(&parts)).is_ok(), fits, "{body} bytes");
        }
    }
}
