//! Finds the parts of a message: one pass over the raw bytes, with an explicit stack.
//!
//! A line is a delimiter only when it is exactly `--boundary` or `--boundary--` (white space may follow), so
//! that a boundary that is the prefix of another, or of a line of text, does no harm. The innermost open
//! multipart wins. Where many are open, a line that looks like a delimiter costs a hash and a comparison of hashes
//! for each. Multiparts without a usable boundary or without parts are text; what is nested too deep is opaque.

use std::{borrow::Cow, sync::LazyLock};

use memchr::{memchr, memchr_iter, memmem};
use smallvec::{SmallVec, smallvec};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    content::{Encoding, MediaType},
    header::{blank_line, line_end},
    index::{Header, Name},
    limits::{MAX_BOUNDARY, MAX_NESTING, MAX_PARTS},
    parts::{Kind, Part, PartList, Parts},
};

/// The parts, and for each what else was found out about it.
pub(crate) struct Scan<'a> {
    /// The header of the message.
    pub(crate) header: Header<'a>,
    pub(crate) parts: Parts,
    pub(crate) described: SmallVec<[Described<'a>; 4]>,
}

/// What a part says about itself, and the number of lines of its body if it is shown.
#[derive(Clone, Debug)]
pub(crate) struct Described<'a> {
    pub(crate) media: MediaType<'a>,
    pub(crate) id: Option<&'a [u8]>,
    pub(crate) description: Option<&'a [u8]>,
    pub(crate) encoding: Option<&'a [u8]>,
    pub(crate) md5: Option<&'a [u8]>,
    pub(crate) disposition: Option<&'a [u8]>,
    pub(crate) language: Option<&'a [u8]>,
    pub(crate) location: Option<&'a [u8]>,
    pub(crate) lines: u64,
}

/// Scans a message.
pub(crate) fn scan(raw: &[u8]) -> Scan<'_> {
    let mut scanner = Scanner::new(raw);
    let mut next = Some(Entity { at: 0, in_digest: false });
    while let Some(entity) = next {
        next = scanner.enter(entity);
    }
    scanner.finish()
}

impl Scan<'_> {
    /// The message as one opaque part, for one whose structure takes too much room.
    pub(crate) fn opaque(&self) -> Parts {
        let (kind, encoding) = (Kind::Other, Encoding::SevenBit);
        Parts::new(smallvec![Part { kind, encoding, ..*self.parts.root() }])
    }
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
    /// Octets of its line.
    length: usize,
}

/// What stands before every boundary.
static DASHES: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\n--"));

struct Scanner<'a> {
    raw: &'a [u8],
    /// The header of the message, once it is read.
    header: Option<Header<'a>>,
    parts: PartList,
    described: SmallVec<[Described<'a>; 4]>,
    /// Indices of the part being read and its ancestors.
    open: SmallVec<[usize; 4]>,
    delimiters: SmallVec<[Delimiter<'a>; 2]>,
    counter: LineCounter<'a>,
}

impl<'a> Scanner<'a> {
    fn new(raw: &'a [u8]) -> Self {
        Self {
            raw,
            header: None,
            parts: PartList::new(),
            described: SmallVec::new(),
            open: SmallVec::new(),
            delimiters: SmallVec::new(),
            counter: LineCounter { raw, at: 0, lines: 0 },
        }
    }

    /// Reads one header, opens its part, and finds where the next part starts.
    fn enter(&mut self, entity: Entity) -> Option<Entity> {
        let (header, body) = self.header(entity.at);
        self.count_lines(body);
        let described = Described::new(&header, entity.in_digest, self.counter.lines);
        self.header.get_or_insert(header);
        let kind = self.open_part(entity.at, body, &described);
        if kind == Kind::Multipart {
            self.expect(&described.media);
        }
        self.described.push(described);
        match kind {
            Kind::Message => Some(Entity { at: body, in_digest: false }),
            _ => self.seek(body),
        }
    }

    fn open_part(&mut self, at: usize, body: usize, described: &Described<'_>) -> Kind {
        let kind = self.kind_of(&described.media);
        let encoding = described.encoding.map_or(Encoding::SevenBit, Encoding::parse);
        let depth = self.open.len() as u8;
        self.open.push(self.parts.len());
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

    /// Reads the header, and says where the body starts: after the blank line; at a delimiter, or the end, when
    /// there is none. When neither the first line nor the second could be a field, all of it is body.
    fn header(&self, start: usize) -> (Header<'a>, usize) {
        let rest = &self.raw[start..];
        let first = &rest[..line_end(rest)];
        if blank_line(rest).is_none() && memchr(b':', first).is_none() && !is_field(&rest[first.len()..]) {
            return (Header::read(&[]), start);
        }
        let header =
            Header::read_until(rest, |line| line.starts_with(b"--") && self.delimiter_in(line).is_some());
        let end = start + header.len();
        let blank = blank_line(&self.raw[end..]);
        (header, end + blank.unwrap_or(0))
    }

    /// Looks for a delimiter from a start of line on, and closes what it ends.
    fn seek(&mut self, from: usize) -> Option<Entity> {
        let mut at = from;
        while !self.delimiters.is_empty() {
            if let Some(hit) = self.delimiter_in(&self.raw[at..]) {
                let after = at + hit.length;
                if let Some(digest) = self.pass(at, &hit) {
                    let entity = Entity { at: after, in_digest: digest };
                    return (self.parts.len() < MAX_PARTS).then_some(entity);
                }
                at = after;
                continue;
            }
            at += DASHES.find(&self.raw[at..])? + 1;
        }
        None
    }

    /// Closes what a delimiter at `at` ends. Where it opens a part, says whether that is one of a digest.
    fn pass(&mut self, at: usize, hit: &Hit) -> Option<bool> {
        let Delimiter { depth, digest, .. } = self.delimiters[hit.delimiter];
        self.close(depth, before_line_end(self.raw, at));
        // RFC 2046 §5.1.2: an outer delimiter also ends every multipart inside.
        self.delimiters.truncate(hit.delimiter + usize::from(!hit.closes));
        (!hit.closes).then_some(digest)
    }

    /// The delimiter that `rest` starts with.
    fn delimiter_in(&self, rest: &[u8]) -> Option<Hit> {
        let line = rest.strip_prefix(b"--")?;
        if self.delimiters.is_empty() {
            return None;
        }
        let length = line_end(line);
        let text = line[..length].trim_ascii_end();
        if text.len() > MAX_BOUNDARY + 2 {
            return None;
        }
        let (delimiter, closes) = self.delimiter_of(text)?;
        Some(Hit { delimiter, closes, length: 2 + length })
    }

    /// The innermost delimiter that this text opens a part of, or closes.
    fn delimiter_of(&self, text: &[u8]) -> Option<(usize, bool)> {
        const FEW: usize = 4;
        let closing = text.strip_suffix(b"--");
        let many = self.delimiters.len() > FEW;
        let (hash, closing_hash) =
            if many { (xxh3_64(text), xxh3_64(closing.unwrap_or(text))) } else { Default::default() };
        self.delimiters.iter().enumerate().rev().find_map(|(delimiter, known)| {
            if many && known.hash != hash && known.hash != closing_hash {
                return None;
            }
            let opens = *known.boundary == *text;
            let closes = closing == Some(&*known.boundary);
            (opens || closes).then_some((delimiter, !opens))
        })
    }

    /// Ends every open part beyond `depth`. The line end before a delimiter belongs to it, unless the part's
    /// blank line or its last header line needs it.
    fn close(&mut self, depth: usize, end: usize) {
        let Some(&innermost) = self.open.last() else { return };
        let end = self.parts[innermost].body.max(end as u64);
        self.count_lines(end as usize);
        while self.open.len() > depth {
            let Some(at) = self.open.pop() else { return };
            let last = at + 1 == self.parts.len();
            let part = &mut self.parts[at];
            part.end = end;
            let lines = &mut self.described[at].lines;
            *lines = self.counter.lines - *lines;
            if last && part.kind == Kind::Multipart {
                part.kind = Kind::Text;
            }
        }
    }

    /// Counts lines up to a position, unless no open part shows how many it has. A multipart does if it stays without
    /// parts.
    fn count_lines(&mut self, position: usize) {
        let counts = self.open.iter().any(|&at| match self.parts[at].kind {
            Kind::Text | Kind::Message => true,
            Kind::Multipart => at + 1 == self.parts.len(),
            Kind::Other => false,
        });
        self.counter.move_to(position, counts);
    }

    fn finish(mut self) -> Scan<'a> {
        self.close(0, self.raw.len());
        let header = self.header.unwrap_or_else(|| Header::read(&[]));
        Scan { header, parts: Parts::new(self.parts), described: self.described }
    }
}

impl<'a> Described<'a> {
    fn new(header: &Header<'a>, in_digest: bool, lines: u64) -> Self {
        let default = if in_digest { MediaType::MESSAGE } else { MediaType::TEXT };
        Self {
            media: header.first(Name::ContentType).and_then(MediaType::parse).unwrap_or(default),
            id: header.first(Name::ContentId),
            description: header.first(Name::ContentDescription),
            encoding: header.first(Name::ContentTransferEncoding),
            md5: header.first(Name::ContentMd5),
            disposition: header.first(Name::ContentDisposition),
            language: header.first(Name::ContentLanguage),
            location: header.first(Name::ContentLocation),
            lines,
        }
    }
}

/// Counts lines from the start of the message, where asked to; each byte is looked at once, since positions only
/// grow.
struct LineCounter<'a> {
    raw: &'a [u8],
    at: usize,
    lines: u64,
}

impl LineCounter<'_> {
    fn move_to(&mut self, position: usize, counts: bool) {
        if counts {
            self.lines += memchr_iter(b'\n', &self.raw[self.at..position]).count() as u64;
        }
        self.at = position;
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
