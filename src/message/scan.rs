//! Finds the parts of a message: one pass over the raw bytes, with an explicit stack.
//!
//! A line is a delimiter only when it is exactly `--boundary` or `--boundary--` (white space may follow), so
//! that a boundary that is the prefix of another, or of a line of text, does no harm. The innermost open
//! multipart wins. A line that looks like one costs a hash and a comparison of hashes, however many are open.
//! Multiparts without a usable boundary or without parts are text; what is nested too deep is opaque.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter, memmem};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    content::{Encoding, MediaType},
    header::{blank_line, fields, line_end},
    limits::{MAX_BOUNDARY, MAX_NESTING, MAX_PARTS},
    parts::{Kind, Part, Parts},
};

/// The parts, and for each the number of lines of its body.
pub(crate) struct Scan {
    pub(crate) parts: Parts,
    pub(crate) lines: Vec<u64>,
}

/// Scans a message.
pub(crate) fn scan(raw: &[u8]) -> Scan {
    let mut scanner = Scanner::new(raw);
    let mut next = Some(Entity { at: 0, in_digest: false });
    while let Some(entity) = next {
        next = scanner.enter(entity);
    }
    scanner.finish()
}

/// Describes a message as one opaque part, for one whose structure takes too much room.
pub(crate) fn opaque(raw: &[u8]) -> Scan {
    let scanner = Scanner::new(raw);
    let body = scanner.header_end(0) as u64;
    let part = Part {
        kind: Kind::Other,
        encoding: Encoding::SevenBit,
        depth: 0,
        header: 0,
        body,
        end: raw.len() as u64,
    };
    Scan { parts: Parts::new(vec![part]), lines: vec![0] }
}

/// The type of a part that is described by `header`, or the default of its place.
pub(crate) fn media_type(header: &[u8], in_digest: bool) -> MediaType<'_> {
    let declared = fields(header).find(|field| field.is(b"content-type"));
    let default = if in_digest { MediaType::MESSAGE } else { MediaType::TEXT };
    declared.and_then(|field| MediaType::parse(field.value)).unwrap_or(default)
}

/// The start of a part's header.
struct Entity {
    at: usize,
    in_digest: bool,
}

/// A boundary that is being looked for.
struct Delimiter<'a> {
    hash: u64,
    boundary: Cow<'a, [u8]>,
    /// How many parts are open when its multipart is the innermost.
    depth: usize,
    digest: bool,
}

/// A delimiter line that was found.
struct Hit {
    delimiter: usize,
    closes: bool,
    after: usize,
}

struct Scanner<'a> {
    raw: &'a [u8],
    parts: Vec<Part>,
    lines: Vec<u64>,
    /// Indices of the part being read and its ancestors.
    open: Vec<usize>,
    delimiters: Vec<Delimiter<'a>>,
    dashes: memmem::Finder<'static>,
    counter: LineCounter<'a>,
}

impl<'a> Scanner<'a> {
    fn new(raw: &'a [u8]) -> Self {
        Self {
            raw,
            parts: Vec::with_capacity(4),
            lines: Vec::with_capacity(4),
            open: Vec::with_capacity(4),
            delimiters: Vec::new(),
            dashes: memmem::Finder::new(b"\n--"),
            counter: LineCounter { raw, at: 0, lines: 0 },
        }
    }

    /// Reads one header, opens its part, and finds where the next part starts.
    fn enter(&mut self, entity: Entity) -> Option<Entity> {
        let body = self.header_end(entity.at);
        let raw = self.raw;
        let header = &raw[entity.at..body];
        let media = media_type(header, entity.in_digest);
        let kind = self.open_part(entity.at, body, &media, header);
        match kind {
            Kind::Message => return Some(Entity { at: body, in_digest: false }),
            Kind::Multipart => self.expect(&media),
            _ => (),
        }
        self.seek(body)
    }

    fn open_part(&mut self, at: usize, body: usize, media: &MediaType<'_>, header: &[u8]) -> Kind {
        let kind = self.kind_of(media);
        let encoding = fields(header).find(|field| field.is(b"content-transfer-encoding"));
        let encoding = encoding.map_or(Encoding::SevenBit, |field| Encoding::parse(field.value));
        let depth = self.open.len() as u8;
        self.open.push(self.parts.len());
        self.lines.push(self.counter.up_to(body));
        self.parts.push(Part {
            kind,
            encoding,
            depth,
            header: at as u64,
            body: body as u64,
            end: body as u64,
        });
        kind
    }

    fn kind_of(&self, media: &MediaType<'_>) -> Kind {
        let container = media.is_message() || media.is_kind("multipart");
        if container && (self.open.len() >= MAX_NESTING || self.parts.len() + 1 >= MAX_PARTS) {
            Kind::Other
        } else if media.is_message() {
            Kind::Message
        } else if media.is_kind("multipart") {
            Kind::Multipart
        } else if media.is_kind("text") {
            Kind::Text
        } else {
            Kind::Other
        }
    }

    fn expect(&mut self, media: &MediaType<'a>) {
        let Some(boundary) = media.param("boundary").map(trimmed) else { return };
        if !boundary.is_empty() && boundary.len() <= MAX_BOUNDARY {
            let (hash, depth) = (xxh3_64(&boundary), self.open.len());
            let digest = media.is("multipart", "digest");
            self.delimiters.push(Delimiter { hash, boundary, depth, digest });
        }
    }

    /// Where the body starts: after the blank line; at a delimiter, or the end, when there is none. When
    /// neither the first line nor the second could be a field, all of it is body.
    fn header_end(&self, start: usize) -> usize {
        let mut at = start;
        loop {
            let rest = &self.raw[at..];
            if let Some(length) = blank_line(rest) {
                return at + length;
            }
            let length = line_end(rest);
            let no_header =
                at == start && memchr(b':', &rest[..length]).is_none() && !is_field(&rest[length..]);
            if length == 0 || no_header || self.delimiter_at(at).is_some() {
                return at;
            }
            at += length;
        }
    }

    /// Looks for a delimiter from a start of line on, and closes what it ends.
    fn seek(&mut self, from: usize) -> Option<Entity> {
        let mut at = from;
        while !self.delimiters.is_empty() {
            if let Some(hit) = self.delimiter_at(at) {
                if let Some(entity) = self.pass(at, &hit) {
                    return (self.parts.len() < MAX_PARTS).then_some(entity);
                }
                at = hit.after;
                continue;
            }
            at += self.dashes.find(&self.raw[at..])? + 1;
        }
        None
    }

    fn pass(&mut self, at: usize, hit: &Hit) -> Option<Entity> {
        let Delimiter { depth, digest, .. } = self.delimiters[hit.delimiter];
        self.close(depth, before_line_end(self.raw, at));
        // RFC 2046 §5.1.2: an outer delimiter also ends every multipart inside.
        self.delimiters.truncate(hit.delimiter + usize::from(!hit.closes));
        (!hit.closes).then_some(Entity { at: hit.after, in_digest: digest })
    }

    fn delimiter_at(&self, at: usize) -> Option<Hit> {
        let line = self.raw[at..].strip_prefix(b"--")?;
        if self.delimiters.is_empty() {
            return None;
        }
        let length = line_end(line);
        let text = line[..length].trim_ascii_end();
        if text.len() > MAX_BOUNDARY + 2 {
            return None;
        }
        let closing = text.strip_suffix(b"--");
        let (hash, closing_hash) = (xxh3_64(text), closing.map(xxh3_64));
        let after = at + 2 + length;
        self.delimiters.iter().enumerate().rev().find_map(|(delimiter, known)| {
            let opens = known.hash == hash && *known.boundary == *text;
            let closes = Some(known.hash) == closing_hash && closing == Some(&*known.boundary);
            (opens || closes).then_some(Hit { delimiter, closes: !opens, after })
        })
    }

    /// Ends every open part beyond `depth`. The line end before a delimiter belongs to it, unless the part's
    /// blank line or its last header line needs it.
    fn close(&mut self, depth: usize, end: usize) {
        let mut end = end as u64;
        while self.open.len() > depth {
            let Some(at) = self.open.pop() else { return };
            let last = at + 1 == self.parts.len();
            let part = &mut self.parts[at];
            end = end.max(part.body);
            part.end = end;
            self.lines[at] = self.counter.up_to(end as usize) - self.lines[at];
            if last && part.kind == Kind::Multipart {
                part.kind = Kind::Text;
            }
        }
    }

    fn finish(mut self) -> Scan {
        self.close(0, self.raw.len());
        Scan { parts: Parts::new(self.parts), lines: self.lines }
    }
}

/// Counts lines from the start of the message; each byte is looked at once, since positions only grow.
struct LineCounter<'a> {
    raw: &'a [u8],
    at: usize,
    lines: u64,
}

impl LineCounter<'_> {
    fn up_to(&mut self, position: usize) -> u64 {
        self.lines += memchr_iter(b'\n', &self.raw[self.at..position]).count() as u64;
        self.at = position;
        self.lines
    }
}

/// Whether the line at the start of `bytes` is a field (RFC 5322 §2.2).
fn is_field(bytes: &[u8]) -> bool {
    let name = memchr(b':', &bytes[..line_end(bytes)]).map(|colon| &bytes[..colon]);
    name.is_some_and(|name| !name.is_empty() && name.iter().all(u8::is_ascii_graphic))
}

/// RFC 2046 §5.1.1: a boundary does not end in white space, which transport may add.
fn trimmed(boundary: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match boundary {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_ascii_end()),
        Cow::Owned(text) => Cow::Owned(text.trim_ascii_end().to_vec()),
    }
}

fn before_line_end(raw: &[u8], at: usize) -> usize {
    let before = &raw[..at];
    before.strip_suffix(b"\r\n").or(before.strip_suffix(b"\n")).unwrap_or(before).len()
}
