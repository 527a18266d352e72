//! The MIME tree of a message, flattened: where each part lies in the raw bytes, and how IMAP numbers it.

use std::ops::Range;

use smallvec::SmallVec;

use super::{
    content::Encoding,
    limits::{MAX_NESTING, MAX_PARTS},
};

/// What a part holds, as far as its place in the tree goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `text/*`, or a multipart that turned out to have no parts.
    Text,
    /// Any other leaf.
    Other,
    /// `multipart/*`, with at least one part.
    Multipart,
    /// `message/rfc822` or `message/global`: its one child is the root of the message inside.
    Message,
}

/// One part: offsets into the raw message, `header <= body <= end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it holds.
    pub kind: Kind,
    /// How its body is encoded.
    pub encoding: Encoding,
    /// Distance from the root.
    pub depth: u8,
    pub(crate) header: u64,
    pub(crate) body: u64,
    pub(crate) end: u64,
}

impl Part {
    /// Its header with the blank line. For the root, or the root of a message inside, that is the message's
    /// header; for others the MIME header.
    pub fn header(&self) -> Range<u64> {
        self.header..self.body
    }

    /// Its body as it stands in the message, still encoded.
    pub fn body(&self) -> Range<u64> {
        self.body..self.end
    }

    /// Multiparts have no contents of their own to decode (RFC 3516 §4.2).
    pub fn is_multipart(&self) -> bool {
        self.kind == Kind::Multipart
    }
}

/// Which bytes of a part (RFC 9051 §6.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `BODY[]` or `BODY[1]`
    Full,
    /// `HEADER`, with its blank line; of the message itself or of a message part only.
    Header,
    /// `TEXT`, what follows that header.
    Text,
    /// `MIME`, the header of a part.
    Mime,
}

/// The parts of one message in preorder; never empty. Made by [`analyze`](super::analyze), or read back with
/// [`Parts::decode`]. Invariants: every range lies in its parent's body and behind its elder sibling; a
/// multipart has children, a message part exactly one, a leaf none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    parts: PartList,
}

/// Parts in preorder. Those of most messages, a text and its HTML with an attachment, take no memory of their own.
pub(crate) type PartList = SmallVec<[Part; 4]>;

/// Why stored bytes are no parts table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartsError {
    /// The bytes stop early.
    #[error("parts table is cut short")]
    Truncated,
    /// A later version of this format wrote it.
    #[error("parts table has unknown version {0}; it was written by a newer release")]
    Version(u8),
    /// A value contradicts another, or the limits.
    #[error("parts table is damaged at part {0}; analyze the message again")]
    Damaged(usize),
}

impl Parts {
    const VERSION: u8 = 1;

    /// The caller keeps the invariants of [`Parts`].
    pub(crate) fn new(parts: PartList) -> Self {
        debug_assert!(check(&parts).is_ok());
        Self { parts }
    }

    /// All parts in preorder, the root first.
    pub fn iter(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter()
    }

    pub(crate) fn as_slice(&self) -> &[Part] {
        &self.parts
    }

    /// The message itself.
    pub fn root(&self) -> &Part {
        &self.parts[0]
    }

    /// Octets of the message that this table describes.
    pub fn message_len(&self) -> u64 {
        self.root().end
    }

    /// Finds a section by its path; an empty path is the message itself. `None` when there is no such part, or
    /// when the part has no such section.
    pub fn locate(&self, path: &[u32], which: Which) -> Option<Range<u64>> {
        if path.is_empty() {
            return message_section(self.root(), which);
        }
        let at = self.resolve(path)?;
        match which {
            Which::Full => Some(self.parts[at].body()),
            Which::Mime => Some(self.parts[at].header()),
            Which::Header | Which::Text if self.parts[at].kind == Kind::Message => {
                message_section(self.parts.get(at + 1)?, which)
            }
            Which::Header | Which::Text => None,
        }
    }

    /// The part that a path names; an empty path is the root.
    pub fn part(&self, path: &[u32]) -> Option<&Part> {
        if path.is_empty() { Some(self.root()) } else { self.parts.get(self.resolve(path)?) }
    }

    /// Appends the stored form: a version, the number of parts, then for each its kind and encoding, depth,
    /// and three varints: distance of its header from the last one's, length of header, length of body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(Self::VERSION);
        put_varint(out, self.parts.len() as u64);
        let mut last = 0;
        for part in &self.parts {
            out.push(part.kind as u8 | (part.encoding as u8) << 4);
            out.push(part.depth);
            put_varint(out, part.header - last);
            put_varint(out, part.body - part.header);
            put_varint(out, part.end - part.body);
            last = part.header;
        }
    }

    /// Bytes that [`encode`](Self::encode) appends, or some more.
    pub fn most_len(&self) -> usize {
        MAX_VARINT + 1 + self.parts.len() * (2 + 3 * MAX_VARINT)
    }

    /// Reads the stored form, which must fill `bytes`, and checks every invariant.
    pub fn decode(bytes: &[u8]) -> Result<Self, PartsError> {
        let mut input = bytes;
        match take(&mut input)? {
            Self::VERSION => (),
            version => return Err(PartsError::Version(version)),
        }
        let count = take_varint(&mut input)?;
        if count == 0 || count > MAX_PARTS as u64 {
            return Err(PartsError::Damaged(0));
        }
        let mut parts = PartList::with_capacity(count as usize);
        let mut last = 0;
        for index in 0..count as usize {
            let part = decode_part(&mut input, last, index)?;
            last = part.header;
            parts.push(part);
        }
        check(&parts)?;
        if input.is_empty() { Ok(Self { parts }) } else { Err(PartsError::Damaged(parts.len())) }
    }

    fn resolve(&self, path: &[u32]) -> Option<usize> {
        let (&first, rest) = path.split_first()?;
        let mut at = self.in_message(0, first)?;
        for &number in rest {
            at = match self.parts[at].kind {
                Kind::Multipart => self.child(at, number)?,
                Kind::Message => self.in_message(at + 1, number)?,
                Kind::Text | Kind::Other => return None,
            };
        }
        Some(at)
    }

    /// A message that is no multipart has one part, its body.
    fn in_message(&self, root: usize, number: u32) -> Option<usize> {
        match self.parts.get(root)?.kind {
            Kind::Multipart => self.child(root, number),
            _ => (number == 1).then_some(root),
        }
    }

    fn child(&self, parent: usize, number: u32) -> Option<usize> {
        let depth = self.parts[parent].depth;
        let below = self.parts.iter().enumerate().skip(parent + 1).take_while(|(_, part)| part.depth > depth);
        let mut children = below.filter(|(_, part)| part.depth == depth + 1);
        children.nth(number.checked_sub(1)? as usize).map(|(at, _)| at)
    }
}

fn message_section(root: &Part, which: Which) -> Option<Range<u64>> {
    match which {
        Which::Full => Some(root.header..root.end),
        Which::Header => Some(root.header()),
        Which::Text => Some(root.body()),
        Which::Mime => None,
    }
}

fn decode_part(input: &mut &[u8], last: u64, index: usize) -> Result<Part, PartsError> {
    let damaged = PartsError::Damaged(index);
    let tag = take(input)?;
    let kind = match tag & 0xf {
        0 => Kind::Text,
        1 => Kind::Other,
        2 => Kind::Multipart,
        3 => Kind::Message,
        _ => return Err(damaged),
    };
    let encoding = match tag >> 4 {
        0 => Encoding::SevenBit,
        1 => Encoding::EightBit,
        2 => Encoding::Binary,
        3 => Encoding::QuotedPrintable,
        4 => Encoding::Base64,
        5 => Encoding::Unknown,
        _ => return Err(damaged),
    };
    let depth = take(input)?;
    let mut advance = |from: u64| from.checked_add(take_varint(input)?).ok_or(damaged);
    let header = advance(last)?;
    let body = advance(header)?;
    let end = advance(body)?;
    Ok(Part { kind, encoding, depth, header, body, end })
}

/// Checks the invariants of [`Parts`] with a stack of open ancestors.
fn check(parts: &[Part]) -> Result<(), PartsError> {
    let mut open: SmallVec<[Open; 4]> = SmallVec::new();
    for (index, part) in parts.iter().enumerate() {
        let damaged = PartsError::Damaged(index);
        let depth = usize::from(part.depth);
        if depth > MAX_NESTING || depth > open.len() || (depth == 0) != (index == 0) {
            return Err(damaged);
        }
        open.drain(depth..).try_for_each(|closed| closed.finish(damaged))?;
        match open.last_mut() {
            Some(parent) => parent.adopt(part, damaged)?,
            None if part.header != 0 => return Err(damaged),
            None => (),
        }
        open.push(Open { kind: part.kind, children: 0, free: part.body..part.end });
    }
    open.into_iter().try_for_each(|closed| closed.finish(PartsError::Damaged(parts.len())))
}

/// A part whose children are still being read.
struct Open {
    kind: Kind,
    children: usize,
    /// Where the next child may lie.
    free: Range<u64>,
}

impl Open {
    fn adopt(&mut self, child: &Part, damaged: PartsError) -> Result<(), PartsError> {
        let fits = self.free.start <= child.header && child.end <= self.free.end;
        let allowed = match self.kind {
            Kind::Multipart => true,
            Kind::Message => self.children == 0,
            Kind::Text | Kind::Other => false,
        };
        self.children += 1;
        self.free.start = child.end;
        if fits && allowed { Ok(()) } else { Err(damaged) }
    }

    fn finish(self, damaged: PartsError) -> Result<(), PartsError> {
        let childless = matches!(self.kind, Kind::Multipart | Kind::Message) && self.children == 0;
        if childless { Err(damaged) } else { Ok(()) }
    }
}

fn take(input: &mut &[u8]) -> Result<u8, PartsError> {
    let (&byte, rest) = input.split_first().ok_or(PartsError::Truncated)?;
    *input = rest;
    Ok(byte)
}

/// Bytes of the longest varint.
const MAX_VARINT: usize = 10;

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(input: &mut &[u8]) -> Result<u64, PartsError> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let byte = take(input)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(PartsError::Truncated)
}
