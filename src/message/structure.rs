//! BODY and BODYSTRUCTURE, ready for the wire (RFC 9051 §7.5.2). Octets and lines are those of the raw part.

use std::ops::Range;

use smallvec::SmallVec;

use super::{
    content::{MediaType, Params, encoding_name},
    envelope::envelope,
    header::unfold,
    index::Header,
    limits::MAX_STRUCTURE,
    parts::{Kind, Part},
    scan::{Described, Scan},
    wire,
};

/// Appends BODY and BODYSTRUCTURE of a message, and says where the latter begins; `None`, and nothing appended, when it
/// needs more than [`MAX_STRUCTURE`] octets.
pub(crate) fn structures(raw: &[u8], scan: &Scan<'_>, out: &mut Vec<u8>) -> Option<usize> {
    let (start, parts) = (out.len(), scan.parts.as_slice());
    let extensions = SmallVec::with_capacity(parts.len());
    let mut writer = Writer { raw, parts, described: &scan.described, out, start, extensions };
    if writer.part(0).is_err() {
        out.truncate(start);
        return None;
    }
    let extensions = writer.extensions;
    Some(put_in_front_without(out, start, &extensions))
}

/// As [`structures`], of a message that is one opaque part; nothing of its header is shown.
pub(crate) fn opaque(root: &Part, out: &mut Vec<u8>) -> usize {
    let mut shown = |extensions: &[u8]| {
        let start = out.len();
        out.extend_from_slice(b"(\"application\" \"octet-stream\" NIL NIL NIL \"7bit\" ");
        wire::number(out, root.end - root.body);
        out.extend_from_slice(extensions);
        start
    };
    shown(b")");
    shown(b" NIL NIL NIL NIL)")
}

/// The structure needs more than [`MAX_STRUCTURE`] octets.
struct TooLarge;

struct Writer<'a, 's> {
    raw: &'a [u8],
    parts: &'s [Part],
    described: &'s [Described<'a>],
    /// BODYSTRUCTURE, from `start` on.
    out: &'s mut Vec<u8>,
    start: usize,
    /// Where in it the extension data is, which BODY has not.
    extensions: SmallVec<[Range<usize>; 4]>,
}

impl<'a, 's> Writer<'a, 's> {
    /// Writes a part and all below it; returns the index of the part that follows. The depth of the recursion
    /// is bounded by `MAX_NESTING`.
    fn part(&mut self, at: usize) -> Result<usize, TooLarge> {
        let (kind, described) = (self.parts[at].kind, &self.described[at]);
        let media = shown_type(kind, &described.media);
        self.out.push(b'(');
        let next = match kind {
            Kind::Multipart => self.multipart(at, &media, described)?,
            _ => self.single(at, &media, described)?,
        };
        self.out.push(b')');
        if self.out.len() - self.start > MAX_STRUCTURE { Err(TooLarge) } else { Ok(next) }
    }

    fn multipart(
        &mut self,
        at: usize,
        media: &MediaType<'a>,
        described: &Described<'_>,
    ) -> Result<usize, TooLarge> {
        let mut next = at + 1;
        while self.parts.get(next).is_some_and(|child| child.depth > self.parts[at].depth) {
            next = self.part(next)?;
        }
        self.out.push(b' ');
        wire::string(self.out, media.subtype);
        let extension = self.out.len();
        self.out.push(b' ');
        params(self.out, media.params.clone());
        self.common_extensions(described);
        self.extensions.push(extension..self.out.len());
        Ok(next)
    }

    fn single(
        &mut self,
        at: usize,
        media: &MediaType<'a>,
        described: &Described<'_>,
    ) -> Result<usize, TooLarge> {
        self.basic_fields(at, media, described);
        let mut next = at + 1;
        if self.parts[at].kind == Kind::Message {
            next = self.message_inside(next)?;
        }
        if matches!(self.parts[at].kind, Kind::Message | Kind::Text) {
            self.out.push(b' ');
            wire::number(self.out, described.lines);
        }
        let extension = self.out.len();
        self.field(described.md5);
        self.common_extensions(described);
        self.extensions.push(extension..self.out.len());
        Ok(next)
    }

    /// `"type" "subtype" params id description encoding octets`
    fn basic_fields(&mut self, at: usize, media: &MediaType<'a>, described: &Described<'_>) {
        wire::string(self.out, media.kind);
        self.out.push(b' ');
        wire::string(self.out, media.subtype);
        self.out.push(b' ');
        params(self.out, media.params.clone());
        self.field(described.id);
        self.field(described.description);
        self.out.push(b' ');
        let encoding = described.encoding.map(encoding_name);
        wire::string(self.out, encoding.filter(|name| !name.is_empty()).unwrap_or(b"7bit"));
        self.out.push(b' ');
        wire::number(self.out, self.parts[at].end - self.parts[at].body);
    }

    /// The envelope and the structure of the message whose root is at `root`.
    fn message_inside(&mut self, root: usize) -> Result<usize, TooLarge> {
        let part = self.parts[root];
        self.out.push(b' ');
        let header = self.raw.get(part.header as usize..part.body as usize).unwrap_or_default();
        envelope(&Header::read(header), self.out);
        self.out.push(b' ');
        self.part(root)
    }

    /// Disposition, language and location.
    fn common_extensions(&mut self, described: &Described<'_>) {
        self.out.push(b' ');
        disposition(self.out, described.disposition);
        self.out.push(b' ');
        languages(self.out, described.language);
        self.field(described.location);
    }

    fn field(&mut self, value: Option<&[u8]>) {
        self.out.push(b' ');
        wire::nstring(self.out, value.map(unfold).as_deref());
    }
}

/// The type to show: the declared one, unless the scan found that it does not hold.
fn shown_type<'a>(kind: Kind, declared: &MediaType<'a>) -> MediaType<'a> {
    let container = declared.is_message() || declared.is_kind("multipart");
    match kind {
        Kind::Text if container => MediaType::TEXT,
        Kind::Other if container => MediaType::OPAQUE,
        _ => declared.clone(),
    }
}

/// Puts what is left of the structure at `start` when its extension data is cut out, which lies in order, in front of it,
/// and says where the structure begins then.
fn put_in_front_without(out: &mut Vec<u8>, start: usize, extensions: &[Range<usize>]) -> usize {
    let end = out.len();
    let mut at = start;
    for extension in extensions {
        out.extend_from_within(at..extension.start);
        at = extension.end;
    }
    out.extend_from_within(at..end);
    let moved = out.len() - end;
    out[start..].rotate_right(moved);
    start + moved
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

fn disposition(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let Some((kind, rest)) = value.map(Params::after_token).filter(|(kind, _)| !kind.is_empty()) else {
        return out.extend_from_slice(b"NIL");
    };
    out.push(b'(');
    wire::string(out, kind);
    out.push(b' ');
    params(out, rest);
    out.push(b')');
}

/// RFC 3282 §2: tags separated by commas; always written as a list.
fn languages(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let text = value.map(unfold).unwrap_or_default();
    let start = out.len();
    for tag in text.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|tag| !tag.is_empty()) {
        out.push(if out.len() == start { b'(' } else { b' ' });
        wire::string(out, tag);
    }
    out.extend_from_slice(if out.len() == start { b"NIL" } else { b")" });
}
