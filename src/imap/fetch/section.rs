//! The bytes behind a section (RFC 9051 §6.4.5, RFC 3516 §4.2).

use std::borrow::Cow;
use std::ops::Range;

use crate::imap::code::{Code, Failure};
use crate::imap::limits::{MAX_DECODED, MAX_HEADER_READ};
use crate::imap::types::{FetchSection, Partial, SectionKind, SectionText};
use crate::message::{self, Encoding, FieldNames, Part, Parts, UnknownEncoding, Which};
use crate::spare::Lent;
use crate::store::{Message, Meta, Result, Selected};

/// What a section consists of.
pub(super) enum Source {
    /// There is no such part.
    Nil,
    /// BINARY.SIZE, bytes.
    Size(u64),
    /// Bytes as they are in the message.
    Range(Range<u64>),
    /// Bytes that had to be made.
    Bytes(Lent<u8>),
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
    if !part.encoding.is_none() && body.end - body.start > MAX_DECODED {
        return Err(Failure::no(Code::Limit, "part is too large to be decoded here, fetch it with BODY"));
    }
    Ok(())
}

/// Finds a section that [`check`] let pass. `meta` is there for every section but the whole message.
pub(super) fn find(
    section: &FetchSection,
    message: &Message,
    meta: Option<&Meta>,
    mailbox: &Selected,
) -> Result<Source> {
    let known = meta.and_then(|meta| Some(Known { meta, parts: meta.parts()?, message, mailbox }));
    let source = match (section.kind, known) {
        (SectionKind::Body, Some(known)) => known.body(section)?,
        (SectionKind::Rfc822Header, Some(known)) => range(known.parts.locate(&[], Which::Header)),
        (SectionKind::Rfc822Text, Some(known)) => range(known.parts.locate(&[], Which::Text)),
        (SectionKind::Binary, Some(known)) => known.binary(section)?,
        (SectionKind::BinarySize, Some(known)) => size_of(known.binary(section)?),
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

/// A message of which more is asked than all its bytes.
struct Known<'a> {
    message: &'a Message,
    meta: &'a Meta,
    parts: &'a Parts,
    mailbox: &'a Selected,
}

impl Known<'_> {
    fn body(&self, section: &FetchSection) -> Result<Source> {
        let path = section.path.as_slice();
        match &section.text {
            SectionText::Full if path.is_empty() => Ok(Source::Range(0..u64::from(self.message.size))),
            SectionText::Full => Ok(range(self.parts.locate(path, Which::Full))),
            SectionText::Header => Ok(range(self.parts.locate(path, Which::Header))),
            SectionText::Text => Ok(range(self.parts.locate(path, Which::Text))),
            SectionText::Mime => Ok(range(self.parts.locate(path, Which::Mime))),
            SectionText::HeaderFields(names) => self.fields(path, names, false),
            SectionText::HeaderFieldsNot(names) => self.fields(path, names, true),
        }
    }

    /// HEADER.FIELDS and HEADER.FIELDS.NOT.
    fn fields(&self, path: &[u32], names: &FieldNames, invert: bool) -> Result<Source> {
        let Some(header) = self.header(path)? else { return Ok(Source::Nil) };
        let mut matching = Lent::new();
        message::header_fields(&header, names, invert, &mut matching);
        Ok(Source::Bytes(matching))
    }

    /// The header of the message, or of one within it; of a very long one the beginning.
    fn header(&self, path: &[u32]) -> Result<Option<Cow<'_, [u8]>>> {
        let Some(header) = self.parts.locate(path, Which::Header) else { return Ok(None) };
        let end = header.end.min(header.start.saturating_add(MAX_HEADER_READ));
        if path.is_empty() && end == header.end {
            return self.mailbox.header(self.message, self.meta).map(Some);
        }
        let mut bytes = Vec::new();
        self.mailbox.read(self.message, header.start..end, &mut bytes)?;
        Ok(Some(bytes.into()))
    }

    /// A part without its transfer encoding. What has none (the message itself, multiparts, text as it is) comes as it is.
    fn binary(&self, section: &FetchSection) -> Result<Source> {
        let path = section.path.as_slice();
        if path.is_empty() {
            return Ok(Source::Range(0..u64::from(self.message.size)));
        }
        let Some(part) = self.parts.part(path) else { return Ok(Source::Nil) };
        let body = self.parts.locate(path, Which::Full).unwrap_or_else(|| part.body());
        if part.is_multipart() || part.encoding.is_none() {
            return Ok(Source::Range(body));
        }
        self.decode(part, body)
    }

    fn decode(&self, part: &Part, body: Range<u64>) -> Result<Source> {
        let mut raw = Lent::new();
        self.mailbox.read(self.message, body, &mut raw)?;
        let mut decoded = Lent::new();
        match message::decode_transfer(part.encoding, &raw, &mut decoded) {
            Ok(()) => Ok(Source::Bytes(decoded)),
            Err(UnknownEncoding) => Ok(Source::Nil),
        }
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
