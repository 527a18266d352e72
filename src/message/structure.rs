//! BODY and BODYSTRUCTURE, ready for the wire (RFC 9051 §7.5.2). Octets and lines are those of the raw part.

use super::{
    content::{MediaType, Params, encoding_name},
    envelope::envelope,
    header::{Field, fields},
    limits::MAX_STRUCTURE,
    parts::{Kind, Part},
    scan::{Scan, media_type},
    wire,
};

/// The structure needs more than [`MAX_STRUCTURE`] octets.
#[derive(Debug)]
pub(crate) struct TooLarge;

/// Appends the structure of a message; with `extended`, all extension data.
pub(crate) fn structure(raw: &[u8], scan: &Scan, extended: bool, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    let (parts, lines) = (scan.parts.as_slice(), &scan.lines);
    Writer { raw, parts, lines, extended, out }.part(0, false).map(drop)
}

/// Appends the structure of a message that is one opaque part; nothing of its header is shown.
pub(crate) fn opaque(scan: &Scan, extended: bool, out: &mut Vec<u8>) {
    let root = scan.parts.root();
    out.extend_from_slice(b"(\"application\" \"octet-stream\" NIL NIL NIL \"7bit\" ");
    wire::number(out, root.end - root.body);
    out.extend_from_slice(if extended { b" NIL NIL NIL NIL)" } else { b")" });
}

struct Writer<'a, 'o> {
    raw: &'a [u8],
    parts: &'a [Part],
    lines: &'a [u64],
    extended: bool,
    out: &'o mut Vec<u8>,
}

/// The fields of a part's header that a structure shows, each at its first occurrence.
#[derive(Default)]
struct Described<'a> {
    id: Option<Field<'a>>,
    description: Option<Field<'a>>,
    encoding: Option<Field<'a>>,
    md5: Option<Field<'a>>,
    disposition: Option<Field<'a>>,
    language: Option<Field<'a>>,
    location: Option<Field<'a>>,
}

impl<'a> Described<'a> {
    fn collect(header: &'a [u8]) -> Self {
        let mut described = Self::default();
        for field in fields(header) {
            if let Some(slot) = described.slot(field.name) {
                slot.get_or_insert(field);
            }
        }
        described
    }

    fn slot(&mut self, name: &[u8]) -> Option<&mut Option<Field<'a>>> {
        let (prefix, rest) = name.split_at_checked(8)?;
        if !prefix.eq_ignore_ascii_case(b"content-") {
            return None;
        }
        let slots: [(&[u8], _); 7] = [
            (b"id", &mut self.id),
            (b"description", &mut self.description),
            (b"transfer-encoding", &mut self.encoding),
            (b"md5", &mut self.md5),
            (b"disposition", &mut self.disposition),
            (b"language", &mut self.language),
            (b"location", &mut self.location),
        ];
        slots.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(rest)).map(|(_, slot)| slot)
    }
}

impl<'a> Writer<'a, '_> {
    /// Writes a part and all below it; returns the index of the part that follows. The depth of the recursion
    /// is bounded by `MAX_NESTING`.
    fn part(&mut self, at: usize, in_digest: bool) -> Result<usize, TooLarge> {
        let part = self.parts[at];
        let header = self.bytes(part.header, part.body);
        let media = shown_type(part.kind, media_type(header, in_digest));
        let described = Described::collect(header);
        self.out.push(b'(');
        let next = match part.kind {
            Kind::Multipart => self.multipart(at, &media, &described)?,
            _ => self.single(at, &media, &described)?,
        };
        self.out.push(b')');
        if self.out.len() > MAX_STRUCTURE { Err(TooLarge) } else { Ok(next) }
    }

    fn multipart(
        &mut self,
        at: usize,
        media: &MediaType<'a>,
        described: &Described<'a>,
    ) -> Result<usize, TooLarge> {
        let in_digest = media.is("multipart", "digest");
        let mut next = at + 1;
        while self.parts.get(next).is_some_and(|child| child.depth > self.parts[at].depth) {
            next = self.part(next, in_digest)?;
        }
        self.out.push(b' ');
        wire::string(self.out, media.subtype);
        if self.extended {
            self.out.push(b' ');
            params(self.out, media.params.clone());
            self.common_extensions(described);
        }
        Ok(next)
    }

    fn single(
        &mut self,
        at: usize,
        media: &MediaType<'a>,
        described: &Described<'a>,
    ) -> Result<usize, TooLarge> {
        self.basic_fields(at, media, described);
        let mut next = at + 1;
        if self.parts[at].kind == Kind::Message {
            next = self.message_inside(next)?;
        }
        if matches!(self.parts[at].kind, Kind::Message | Kind::Text) {
            self.out.push(b' ');
            wire::number(self.out, self.lines[at]);
        }
        if self.extended {
            self.field(described.md5);
            self.common_extensions(described);
        }
        Ok(next)
    }

    /// `"type" "subtype" params id description encoding octets`
    fn basic_fields(&mut self, at: usize, media: &MediaType<'a>, described: &Described<'a>) {
        wire::string(self.out, media.kind);
        self.out.push(b' ');
        wire::string(self.out, media.subtype);
        self.out.push(b' ');
        params(self.out, media.params.clone());
        self.field(described.id);
        self.field(described.description);
        self.out.push(b' ');
        let encoding = described.encoding.map(|field| encoding_name(field.value));
        wire::string(self.out, encoding.filter(|name| !name.is_empty()).unwrap_or(b"7bit"));
        self.out.push(b' ');
        wire::number(self.out, self.parts[at].end - self.parts[at].body);
    }

    /// The envelope and the structure of the message whose root is at `root`.
    fn message_inside(&mut self, root: usize) -> Result<usize, TooLarge> {
        let part = self.parts[root];
        self.out.push(b' ');
        envelope(self.bytes(part.header, part.body), self.out);
        self.out.push(b' ');
        self.part(root, false)
    }

    /// Disposition, language and location.
    fn common_extensions(&mut self, described: &Described<'a>) {
        self.out.push(b' ');
        disposition(self.out, described.disposition);
        self.out.push(b' ');
        languages(self.out, described.language);
        self.field(described.location);
    }

    fn field(&mut self, field: Option<Field<'a>>) {
        self.out.push(b' ');
        wire::nstring(self.out, field.map(|field| field.text()).as_deref());
    }

    fn bytes(&self, start: u64, end: u64) -> &'a [u8] {
        self.raw.get(start as usize..end as usize).unwrap_or_default()
    }
}

/// The type to show: the declared one, unless the scan found that it does not hold.
fn shown_type<'a>(kind: Kind, declared: MediaType<'a>) -> MediaType<'a> {
    let container = declared.is_message() || declared.is_kind("multipart");
    match kind {
        Kind::Text if container => MediaType::TEXT,
        Kind::Other if container => MediaType::OPAQUE,
        _ => declared,
    }
}

fn params(out: &mut Vec<u8>, params: Params<'_>) {
    let start = out.len();
    for (name, value) in params {
        out.push(if out.len() == start { b'(' } else { b' ' });
        wire::string(out, name);
        out.push(b' ');
        wire::string(out, &value);
    }
    out.extend_from_slice(if out.len() == start { b"NIL" } else { b")" });
}

fn disposition(out: &mut Vec<u8>, field: Option<Field<'_>>) {
    let Some((kind, rest)) =
        field.map(|field| Params::after_token(field.value)).filter(|(kind, _)| !kind.is_empty())
    else {
        return out.extend_from_slice(b"NIL");
    };
    out.push(b'(');
    wire::string(out, kind);
    out.push(b' ');
    params(out, rest);
    out.push(b')');
}

/// RFC 3282 §2: tags separated by commas; always written as a list.
fn languages(out: &mut Vec<u8>, field: Option<Field<'_>>) {
    let text = field.map(|field| field.text()).unwrap_or_default();
    let start = out.len();
    for tag in text.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|tag| !tag.is_empty()) {
        out.push(if out.len() == start { b'(' } else { b' ' });
        wire::string(out, tag);
    }
    out.extend_from_slice(if out.len() == start { b"NIL" } else { b")" });
}
