//! Header fields as they stand: a linear walk over raw lines, with unfolding and selection by name.

use std::{borrow::Cow, collections::HashSet};

use memchr::memchr;
use smallvec::SmallVec;

use super::octets;
use crate::spare::Lent;

/// One header field, borrowed from the raw header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name without the white space before its colon; empty for a line that has no colon.
    pub name: &'a [u8],
    /// What follows the colon, still folded, without the last line end.
    pub value: &'a [u8],
    /// The whole field: all of its lines with their line ends.
    pub raw: &'a [u8],
}

impl<'a> Field<'a> {
    /// Compares the name without regard to case.
    pub fn is(&self, name: &[u8]) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The value on one line, without white space at its ends.
    pub fn text(&self) -> Cow<'a, [u8]> {
        unfold(self.value)
    }

    fn parse(raw: &'a [u8]) -> Self {
        let line = trim_line_end(raw);
        match octets::position(line, b':') {
            Some(colon) => Self { name: line[..colon].trim_ascii_end(), value: &line[colon + 1..], raw },
            None => Self { name: &[], value: line, raw },
        }
    }
}

/// Walks the fields of a header up to its blank line or its end. Linear in the header's size.
pub fn fields(header: &[u8]) -> Fields<'_> {
    Fields { rest: header }
}

/// See [`fields`].
#[derive(Clone, Debug, Default)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// What was not walked yet: at the end, the blank line and the body.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn next_raw(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() || blank_line(self.rest).is_some() {
            return None;
        }
        let (raw, rest) = self.rest.split_at(field_end(self.rest));
        self.rest = rest;
        Some(raw)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        self.next_raw().map(Field::parse)
    }
}

/// The fields of a header that have this name. Others are passed by without being read.
pub(crate) fn fields_named<'a>(header: &'a [u8], name: &[u8]) -> impl Iterator<Item = Field<'a>> {
    let mut fields = fields(header);
    let raws = std::iter::from_fn(move || fields.next_raw()).filter(move |raw| may_be(raw, name));
    raws.map(Field::parse).filter(move |field| field.is(name))
}

/// Whether a look at two bytes does not rule out that a field has this name.
fn may_be(raw: &[u8], name: &[u8]) -> bool {
    let (Some(first), Some(wanted)) = (raw.first(), name.first()) else { return true };
    let after = raw.get(name.len());
    first.eq_ignore_ascii_case(wanted)
        && after.is_some_and(|&byte| byte == b':' || byte.is_ascii_whitespace())
}

/// `HEADER.FIELDS` and, with `invert`, `HEADER.FIELDS.NOT` (RFC 9051 §6.4.5): the matching fields as they
/// stand in `header`, then the blank line that every such subset ends with.
pub fn header_fields(header: &[u8], names: &FieldNames, invert: bool, out: &mut Vec<u8>) {
    // A few fields are asked for, of a header that is a few times as long.
    out.reserve(header.len().min(512) + 2);
    let mut fields = fields(header);
    while let Some(raw) = fields.next_raw() {
        if names.hold(raw) == invert {
            continue;
        }
        out.extend_from_slice(raw);
        if !raw.ends_with(b"\n") {
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Names of fields, one behind the other, to look fields up in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldNames {
    bytes: Lent<u8>,
    ends: SmallVec<[u32; 8]>,
    first: FirstLetters,
    /// In lower case, when there are more than [`FEW`](Self::FEW): both sides may be hostile.
    #[expect(clippy::box_collection, reason = "hardly anybody asks for so many")]
    hashed: Option<Box<HashSet<Vec<u8>>>>,
}

impl FieldNames {
    const FEW: usize = 8;

    pub fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len() as u32);
        self.first.add(name);
        if let Some(hashed) = &mut self.hashed {
            hashed.insert(name.to_ascii_lowercase());
        } else if self.len() > Self::FEW {
            self.hashed = Some(Box::new(self.iter().map(<[u8]>::to_ascii_lowercase).collect()));
        }
    }

    /// What holds them has to wait for long.
    pub fn rest(&mut self) {
        self.bytes.rest();
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The names as they were given.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|(start, end)| self.bytes.get(start as usize..*end as usize))
    }

    /// Whether the name of the field is one of these.
    fn hold(&self, raw: &[u8]) -> bool {
        if !self.first.may_be(raw) {
            return false;
        }
        match &self.hashed {
            None => self.iter().any(|name| may_be(raw, name) && Field::parse(raw).is(name)),
            Some(names) => names.contains(&Field::parse(raw).name.to_ascii_lowercase()),
        }
    }
}

impl<'a> FromIterator<&'a [u8]> for FieldNames {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(names: I) -> Self {
        let mut all = FieldNames::default();
        names.into_iter().for_each(|name| all.push(name));
        all
    }
}

/// The bytes that fields of some names begin with, a bit for each: most other fields begin with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct FirstLetters([u64; 4]);

impl FirstLetters {
    fn add(&mut self, name: &[u8]) {
        let Some(letter) = name.first() else {
            // A field without a name begins with any byte.
            self.0 = [u64::MAX; 4];
            return;
        };
        for letter in [letter.to_ascii_lowercase(), letter.to_ascii_uppercase()] {
            self.0[usize::from(letter >> 6)] |= 1 << (letter & 63);
        }
    }

    fn may_be(&self, raw: &[u8]) -> bool {
        raw.first().is_some_and(|byte| self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1)
    }
}

/// Joins folded lines (RFC 5322 §2.2.3): line ends go, the white space after them stays. Ends are trimmed.
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    let value = value.trim_ascii();
    if memchr(b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut joined = Vec::with_capacity(value.len());
    for line in value.split_inclusive(|&byte| byte == b'\n') {
        joined.extend_from_slice(trim_line_end(line));
    }
    Cow::Owned(joined)
}

/// The length of the blank line at the start of `bytes`, if there is one.
#[inline]
pub(crate) fn blank_line(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        _ => None,
    }
}

/// Where the line at the start of `bytes` ends, its line end included.
#[inline]
pub(crate) fn line_end(bytes: &[u8]) -> usize {
    memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1)
}

/// A line without its CRLF or LF.
#[inline]
pub(crate) fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn field_end(bytes: &[u8]) -> usize {
    let mut end = line_end(bytes);
    while matches!(bytes.get(end), Some(b' ' | b'\t')) {
        end += line_end(&bytes[end..]);
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] =
        b"From: a@x\r\nX-Long : one\r\n\ttwo\r\nno colon here\r\nSUBJECT: s\n\r\nBody: no\r\n";

    fn select(names: &[&str], invert: bool) -> String {
        let names = names.iter().map(|name| name.as_bytes()).collect();
        let mut out = Vec::new();
        header_fields(HEADER, &names, invert, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_stop_at_the_blank_line() {
        let names: Vec<_> = fields(HEADER).map(|field| field.name).collect();
        assert_eq!(names, [&b"From"[..], b"X-Long", b"", b"SUBJECT"]);
        let long = fields_named(HEADER, b"x-LONG").next().unwrap();
        assert_eq!(long.text().as_ref(), b"one\ttwo");
        assert_eq!(long.raw, b"X-Long : one\r\n\ttwo\r\n");
    }

    #[test]
    fn selection_keeps_raw_lines_and_ends_blank() {
        assert_eq!(select(&["subject", "x-LONG"], false), "X-Long : one\r\n\ttwo\r\nSUBJECT: s\n\r\n");
        assert_eq!(select(&["subject", "x-long"], true), "From: a@x\r\nno colon here\r\n\r\n");
        assert_eq!(select(&["none"], false), "\r\n");
        assert_eq!(select(&["", "x-lon", "x-long ", "SUBJECT:"], false), "no colon here\r\n\r\n");
    }

    #[test]
    fn many_names_select_like_few() {
        let mut names = vec!["y"; FieldNames::FEW];
        names.push("From");
        assert_eq!(select(&names, false), "From: a@x\r\n\r\n");
    }

    #[test]
    fn cut_off_header_still_gives_whole_lines() {
        let mut out = Vec::new();
        header_fields(b"Subject: cut", &[&b"subject"[..]].into_iter().collect(), false, &mut out);
        assert_eq!(out, b"Subject: cut\r\n\r\n");
    }
}
