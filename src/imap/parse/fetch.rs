//! FETCH.

use std::num::NonZeroU64;

use super::error::Parsed;
use super::reader::Reader;
use crate::imap::limits::{MAX_FETCH_SECTIONS, MAX_HEADER_FIELDS, MAX_SECTION_DEPTH};
use crate::imap::types::{
    CommandBody, Fetch, FetchAttributes, FetchItems, FetchSection, PartPath, Partial, SectionKind,
    SectionText,
};
use crate::message::FieldNames;

pub(super) fn fetch<'a>(reader: &mut Reader<'a>, uid: bool) -> Parsed<CommandBody<'a>> {
    reader.space()?;
    let set = reader.sequence_set()?;
    reader.space()?;
    let items = items(reader)?;
    let mut fetch = Fetch { uid, set, items, changed_since: None, vanished: false };
    if reader.accept(b' ') {
        modifiers(reader, &mut fetch)?;
    }
    if uid {
        fetch.items.attributes.insert(FetchAttributes::UID);
    }
    if fetch.changed_since.is_some() {
        fetch.items.attributes.insert(FetchAttributes::MODSEQ);
    }
    Ok(CommandBody::Fetch(fetch))
}

/// RFC 7162 §3.1.4.1 and §3.2.6.
fn modifiers(reader: &mut Reader<'_>, fetch: &mut Fetch) -> Parsed<()> {
    let start = reader.clone();
    reader.list(|reader| {
        let start = reader.clone();
        match reader.word().as_bytes() {
            b"CHANGEDSINCE" => {
                reader.space()?;
                fetch.changed_since = Some(reader.mod_seq()?);
            }
            b"VANISHED" => fetch.vanished = true,
            _ => return start.expected("CHANGEDSINCE or VANISHED"),
        }
        Ok(())
    })?;
    if fetch.vanished && !(fetch.uid && fetch.changed_since.is_some()) {
        return start.expected("VANISHED in UID FETCH and beside CHANGEDSINCE only");
    }
    Ok(())
}

fn items(reader: &mut Reader<'_>) -> Parsed<FetchItems> {
    let mut items = FetchItems::default();
    if reader.peek() == Some(b'(') {
        reader.list(|reader| item(reader, &mut items))?;
    } else if !macro_items(reader, &mut items) {
        item(reader, &mut items)?;
    }
    Ok(items)
}

/// Reads ALL, FAST or FULL if one comes next. They stand alone (RFC 9051 §6.4.5).
fn macro_items(reader: &mut Reader<'_>, items: &mut FetchItems) -> bool {
    let mut ahead = reader.clone();
    items.attributes = match ahead.word().as_bytes() {
        b"ALL" => FetchAttributes::MACRO_ALL,
        b"FAST" => FetchAttributes::MACRO_FAST,
        b"FULL" => FetchAttributes::MACRO_FULL,
        _ => return false,
    };
    *reader = ahead;
    true
}

fn item(reader: &mut Reader<'_>, items: &mut FetchItems) -> Parsed<()> {
    let start = reader.clone();
    let word = reader.word();
    if reader.peek() == Some(b'[') {
        let section = bracketed(reader, word.as_bytes(), &start)?;
        return add_section(reader, items, section);
    }
    items.attributes.insert(match word.as_bytes() {
        b"FLAGS" => FetchAttributes::FLAGS,
        b"UID" => FetchAttributes::UID,
        b"INTERNALDATE" => FetchAttributes::INTERNALDATE,
        b"RFC822.SIZE" => FetchAttributes::RFC822_SIZE,
        b"ENVELOPE" => FetchAttributes::ENVELOPE,
        b"BODY" => FetchAttributes::BODY,
        b"BODYSTRUCTURE" => FetchAttributes::BODYSTRUCTURE,
        b"MODSEQ" => FetchAttributes::MODSEQ,
        b"EMAILID" => FetchAttributes::EMAILID,
        b"THREADID" => FetchAttributes::THREADID,
        b"SAVEDATE" => FetchAttributes::SAVEDATE,
        b"PREVIEW" => preview(reader)?,
        b"RFC822" => return add_section(reader, items, rfc822(SectionKind::Rfc822, false)),
        b"RFC822.HEADER" => return add_section(reader, items, rfc822(SectionKind::Rfc822Header, true)),
        b"RFC822.TEXT" => return add_section(reader, items, rfc822(SectionKind::Rfc822Text, false)),
        _ => return start.expected("a FETCH item"),
    });
    Ok(())
}

/// The modifiers of PREVIEW (RFC 8970 §3.1); LAZY is the only one.
fn preview(reader: &mut Reader<'_>) -> Parsed<FetchAttributes> {
    if !reader.rest().starts_with(b" (") {
        return Ok(FetchAttributes::PREVIEW);
    }
    // `PREVIEW (CHANGEDSINCE 7)` outside of parentheses: the list is not the item's.
    let mut ahead = reader.clone();
    ahead.space()?;
    ahead.open()?;
    if ahead.word().as_bytes() != b"LAZY" {
        return Ok(FetchAttributes::PREVIEW);
    }
    ahead.byte(b')', "\")\"")?;
    *reader = ahead;
    Ok(FetchAttributes::PREVIEW | FetchAttributes::PREVIEW_LAZY)
}

fn rfc822(kind: SectionKind, peek: bool) -> FetchSection {
    FetchSection { kind, path: PartPath::new(), text: SectionText::Full, partial: None, peek }
}

fn add_section(reader: &Reader<'_>, items: &mut FetchItems, section: FetchSection) -> Parsed<()> {
    if !items.sections.contains(&section) {
        items.sections.push(section);
    }
    reader.limit(items.sections.len(), MAX_FETCH_SECTIONS, "sections")
}

/// `[…]` and `<…>` after BODY, BINARY and their variants.
fn bracketed(reader: &mut Reader<'_>, name: &[u8], start: &Reader<'_>) -> Parsed<FetchSection> {
    let (kind, peek) = match name {
        b"BODY" => (SectionKind::Body, false),
        b"BODY.PEEK" => (SectionKind::Body, true),
        b"BINARY" => (SectionKind::Binary, false),
        b"BINARY.PEEK" => (SectionKind::Binary, true),
        b"BINARY.SIZE" => (SectionKind::BinarySize, true),
        _ => return start.expected("a FETCH item"),
    };
    reader.byte(b'[', "\"[\"")?;
    let (path, text) = section(reader, kind)?;
    reader.byte(b']', "\"]\"")?;
    let partial = if kind == SectionKind::BinarySize { None } else { partial(reader)? };
    Ok(FetchSection { kind, path, text, partial, peek })
}

fn section(reader: &mut Reader<'_>, kind: SectionKind) -> Parsed<(PartPath, SectionText)> {
    let mut path = PartPath::new();
    while let Some(b'0'..=b'9') = reader.peek() {
        path.push(reader.nz_number()?);
        reader.limit(path.len(), MAX_SECTION_DEPTH, "numbers in a section")?;
        if !reader.accept(b'.') {
            return Ok((path, SectionText::Full));
        }
    }
    if path.is_empty() && reader.peek() == Some(b']') {
        return Ok((path, SectionText::Full));
    }
    if kind != SectionKind::Body {
        return reader.expected("a part number");
    }
    let text = section_text(reader, !path.is_empty())?;
    Ok((path, text))
}

fn section_text(reader: &mut Reader<'_>, in_part: bool) -> Parsed<SectionText> {
    let start = reader.clone();
    Ok(match reader.word().as_bytes() {
        b"HEADER" => SectionText::Header,
        b"HEADER.FIELDS" => SectionText::HeaderFields(header_fields(reader)?),
        b"HEADER.FIELDS.NOT" => SectionText::HeaderFieldsNot(header_fields(reader)?),
        b"TEXT" => SectionText::Text,
        b"MIME" if in_part => SectionText::Mime,
        _ if in_part => return start.expected("a part number, HEADER, TEXT or MIME"),
        _ => return start.expected("a part number, HEADER or TEXT"),
    })
}

fn header_fields(reader: &mut Reader<'_>) -> Parsed<FieldNames> {
    reader.space()?;
    let mut fields = FieldNames::default();
    reader.list(|reader| {
        reader.limit(fields.len() + 1, MAX_HEADER_FIELDS, "header fields")?;
        fields.push(&reader.astring("a header field name")?);
        Ok(())
    })?;
    Ok(fields)
}

fn partial(reader: &mut Reader<'_>) -> Parsed<Option<Partial>> {
    if !reader.accept(b'<') {
        return Ok(None);
    }
    let offset = reader.number64()?;
    reader.byte(b'.', "\".\" and a length")?;
    let start = reader.clone();
    let Some(length) = NonZeroU64::new(reader.number64()?) else { return start.expected("a length above 0") };
    reader.byte(b'>', "\">\"")?;
    Ok(Some(Partial { offset, length }))
}
