//! A cursor over one command and the words of the grammar that every family shares (RFC 9051 §9).

use std::borrow::Cow;

use super::error::{ParseErrorKind, Parsed, Syntax};
use crate::imap::chars::Class;
use crate::imap::sequence::SequenceSet;
use crate::imap::types::{Dialect, MailboxName};
use crate::store::ModSeq;

/// The longest word of the grammar fits (`HEADER.FIELDS.NOT`, `SAVEDATESUPPORTED`).
const MAX_WORD: usize = 20;

/// A word in capitals; empty when it is longer than every word of the grammar.
pub(super) struct Upper {
    bytes: [u8; MAX_WORD],
    length: usize,
}

impl Upper {
    fn new(word: &[u8]) -> Self {
        let mut bytes = [0; MAX_WORD];
        let length = if word.len() > MAX_WORD { 0 } else { word.len() };
        for (upper, byte) in bytes.iter_mut().zip(word) {
            *upper = byte.to_ascii_uppercase();
        }
        Upper { bytes, length }
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// A position in the bytes of one command.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    pub dialect: Dialect,
}

impl<'a> Reader<'a> {
    pub fn new(input: &'a [u8], dialect: Dialect) -> Self {
        Reader { input, at: 0, dialect }
    }

    pub fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.input.len()
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    /// An error here.
    pub fn expected<T>(&self, what: &'static str) -> Parsed<T> {
        self.error(ParseErrorKind::Expected(what))
    }

    pub fn error<T>(&self, kind: ParseErrorKind) -> Parsed<T> {
        Err(Syntax { kind, at: self.at })
    }

    /// Fails when a count has passed its limit.
    pub fn limit(&self, count: usize, max: usize, what: &'static str) -> Parsed<()> {
        if count > max { self.error(ParseErrorKind::TooMany(max, what)) } else { Ok(()) }
    }

    /// Reads this byte if it comes next.
    pub fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub fn byte(&mut self, byte: u8, what: &'static str) -> Parsed<()> {
        if self.accept(byte) { Ok(()) } else { self.expected(what) }
    }

    pub fn space(&mut self) -> Parsed<()> {
        self.byte(b' ', "a space")
    }

    pub fn open(&mut self) -> Parsed<()> {
        self.byte(b'(', "\"(\"")
    }

    pub fn close(&mut self) -> Parsed<()> {
        self.byte(b')', "\")\" or a space and one more")
    }

    pub fn end(&self) -> Parsed<()> {
        if self.is_at_end() { Ok(()) } else { self.expected("the end of the command") }
    }

    fn take_class(&mut self, class: Class) -> &'a [u8] {
        self.take(class.span(self.rest()))
    }

    /// Reads bytes that are known to be there; at most what is left.
    fn take(&mut self, length: usize) -> &'a [u8] {
        let rest = self.rest();
        let taken = rest.get(..length).unwrap_or(rest);
        self.at += taken.len();
        taken
    }

    /// Bytes up to a space or the end: a tag, or base64.
    pub fn until_space(&mut self) -> &'a [u8] {
        let rest = self.rest();
        self.take(memchr::memchr(b' ', rest).unwrap_or(rest.len()))
    }

    /// The name of a command, item or option, in capitals. Empty when none comes next.
    pub fn word(&mut self) -> Upper {
        Upper::new(self.take_class(Class::WORD))
    }

    pub fn atom(&mut self, what: &'static str) -> Parsed<&'a str> {
        let start = self.at;
        match std::str::from_utf8(self.take_class(Class::ATOM)) {
            Ok(atom) if !atom.is_empty() => Ok(atom),
            _ => Err(Syntax { kind: ParseErrorKind::Expected(what), at: start }),
        }
    }

    /// A string or an atom that may hold `]`.
    pub fn astring(&mut self, what: &'static str) -> Parsed<Cow<'a, [u8]>> {
        self.string_or_class(Class::ASTRING, what)
    }

    /// A LIST pattern, undecoded.
    pub fn list_mailbox(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.string_or_class(Class::LIST, "a pattern")
    }

    fn string_or_class(&mut self, class: Class, what: &'static str) -> Parsed<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(what),
            _ => match self.take_class(class) {
                [] => self.expected(what),
                bytes => Ok(Cow::Borrowed(bytes)),
            },
        }
    }

    pub fn string(&mut self, what: &'static str) -> Parsed<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal().map(Cow::Borrowed),
            _ => self.expected(what),
        }
    }

    /// NIL or a string.
    pub fn nstring(&mut self, what: &'static str) -> Parsed<Option<Cow<'a, [u8]>>> {
        if self.nil() { Ok(None) } else { self.string(what).map(Some) }
    }

    /// Reads NIL if it comes next.
    pub fn nil(&mut self) -> bool {
        let found = self.rest().get(..3).is_some_and(|word| word.eq_ignore_ascii_case(b"NIL"));
        self.at += if found { 3 } else { 0 };
        found
    }

    fn quoted(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.byte(b'"', "a quoted string")?;
        let plain = self.take_class(Class::QUOTED);
        if self.accept(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_vec();
        loop {
            match (self.peek(), self.input.get(self.at + 1)) {
                (Some(b'"'), _) => {
                    self.at += 1;
                    return Ok(Cow::Owned(text));
                }
                (Some(b'\\'), Some(escaped @ (b'"' | b'\\'))) => text.push(*escaped),
                (Some(b'\\'), _) => return self.expected("\\\" or \\\\"),
                _ => return self.expected("a closing quote"),
            }
            self.at += 2;
            text.extend_from_slice(self.take_class(Class::QUOTED));
        }
    }

    /// A literal whose bytes follow in the command.
    fn literal(&mut self) -> Parsed<&'a [u8]> {
        let size = self.literal_header()?;
        let start = self.at;
        let bytes = self.take(usize::try_from(size).unwrap_or(usize::MAX));
        if bytes.len() as u64 != size {
            return self.expected("the rest of a literal");
        }
        if memchr::memchr(0, bytes).is_some() {
            return Err(Syntax { kind: ParseErrorKind::Expected("a literal without NUL"), at: start });
        }
        Ok(bytes)
    }

    /// `{n}` or `{n+}` and the line end; the size.
    pub fn literal_header(&mut self) -> Parsed<u64> {
        self.byte(b'{', "a literal")?;
        let size = self.number64()?;
        self.accept(b'+');
        self.byte(b'}', "\"}\"")?;
        self.accept(b'\r');
        self.byte(b'\n', "the literal's line end")?;
        Ok(size)
    }

    /// 0 to 2^63-1: number64, and mod-sequences (RFC 7162 §7).
    pub fn number64(&mut self) -> Parsed<u64> {
        let start = self.at;
        let mut value = 0u64;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            let next = value.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit - b'0')));
            match next {
                Some(next) if next <= i64::MAX as u64 => value = next,
                _ => return self.expected("a number below 2^63"),
            }
            self.at += 1;
        }
        if self.at == start { self.expected("a number") } else { Ok(value) }
    }

    pub fn number(&mut self) -> Parsed<u32> {
        let start = self.at;
        let too_large = Syntax { kind: ParseErrorKind::Expected("a number below 2^32"), at: start };
        self.number64().and_then(|value| u32::try_from(value).map_err(|_| too_large))
    }

    pub fn nz_number(&mut self) -> Parsed<u32> {
        let start = self.at;
        match self.number()? {
            0 => Err(Syntax { kind: ParseErrorKind::Expected("a number above 0"), at: start }),
            value => Ok(value),
        }
    }

    pub fn mod_seq(&mut self) -> Parsed<ModSeq> {
        self.number64().map(ModSeq)
    }

    pub fn sequence_set(&mut self) -> Parsed<SequenceSet> {
        match SequenceSet::parse_prefix(self.rest()) {
            Some((set, length)) => {
                self.at += length;
                Ok(set)
            }
            None => self.expected("a sequence set"),
        }
    }

    /// A sequence set without `*` and `$`.
    pub fn plain_set(&mut self) -> Parsed<SequenceSet> {
        let start = self.at;
        let set = self.sequence_set()?;
        if set.is_saved() || set.has_star() {
            return Err(Syntax { kind: ParseErrorKind::Expected("a set without * and $"), at: start });
        }
        Ok(set)
    }

    pub fn mailbox(&mut self) -> Parsed<MailboxName<'a>> {
        let start = self.at;
        let wire = self.astring("a mailbox name")?;
        MailboxName::from_wire(wire, self.dialect).map_err(|error| Syntax { kind: error.into(), at: start })
    }

    /// `(` at least one item `)`, items separated by one space.
    pub fn list(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<()>) -> Parsed<()> {
        self.open()?;
        loop {
            item(self)?;
            if !self.accept(b' ') {
                return self.close();
            }
        }
    }

    /// As [`list`](Self::list), and `()` is one too.
    pub fn list_or_empty(&mut self, item: impl FnMut(&mut Self) -> Parsed<()>) -> Parsed<()> {
        if self.rest().starts_with(b"()") {
            self.at += 2;
            return Ok(());
        }
        self.list(item)
    }
}
