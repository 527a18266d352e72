//! The tokens that structured header fields are made of (RFC 5322 §3.2): white space, comments, quoted strings,
//! runs of other characters. Forgiving: whatever is not terminated ends with the field. Every call moves
//! forward over what it reads, so that a walk over a field is linear.

use std::borrow::Cow;

/// A cursor over one field's value, which may still be folded.
#[derive(Clone, Debug)]
pub(crate) struct Lexer<'a> {
    rest: &'a [u8],
}

impl<'a> Lexer<'a> {
    pub(crate) const fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Bytes that are left.
    #[inline]
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(crate) fn bump(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    #[inline]
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.bump();
        }
        found
    }

    /// The bytes up to one of these.
    pub(crate) fn run(&mut self, stop: &Set) -> &'a [u8] {
        let length = self.rest.iter().position(|&byte| stop.holds(byte)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(length);
        self.rest = rest;
        run
    }

    /// Skips white space and line ends; says whether there was any.
    pub(crate) fn skip_space(&mut self) -> bool {
        let length = self.rest.iter().position(|&byte| !is_space(byte)).unwrap_or(self.rest.len());
        self.rest = &self.rest[length..];
        length > 0
    }

    /// Skips white space and comments: mostly nothing, or one space.
    #[inline]
    pub(crate) fn skip_cfws(&mut self) {
        match *self.rest {
            [b' ', b'!'..=b'\'' | b'*'..=b'~', ..] => self.bump(),
            [byte, ..] if is_space(byte) || byte == b'(' => self.skip_some_cfws(),
            _ => (),
        }
    }

    fn skip_some_cfws(&mut self) {
        self.skip_space();
        while self.peek() == Some(b'(') {
            self.comment();
            self.skip_space();
        }
    }

    /// Reads a comment that starts here: its text without the outer parentheses. Nested ones are counted, not
    /// descended into.
    pub(crate) fn comment(&mut self) -> Cow<'a, [u8]> {
        let mut depth = 1_usize;
        self.delimited(|byte| {
            match byte {
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => (),
            }
            depth == 0
        })
    }

    /// Reads a quoted string that starts here, without its quotes and escapes.
    pub(crate) fn quoted(&mut self) -> Cow<'a, [u8]> {
        self.delimited(|byte| byte == b'"')
    }

    /// Reads from after the opening byte up to the byte that `closes`, which is taken but not returned.
    fn delimited(&mut self, mut closes: impl FnMut(u8) -> bool) -> Cow<'a, [u8]> {
        self.bump();
        let (mut escaped, mut plain) = (false, true);
        let end = self.rest.iter().position(|&byte| {
            plain &= !matches!(byte, b'\\' | b'\r' | b'\n');
            if escaped {
                escaped = false;
                return false;
            }
            escaped = byte == b'\\';
            closes(byte)
        });
        let (text, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        self.bump();
        if plain { Cow::Borrowed(text) } else { Cow::Owned(unescape(text)) }
    }
}

/// A set of bytes.
pub(crate) struct Set([bool; 256]);

impl Set {
    pub(crate) const fn new(bytes: &[u8]) -> Self {
        let mut set = [false; 256];
        let mut at = 0;
        while at < bytes.len() {
            set[bytes[at] as usize] = true;
            at += 1;
        }
        Self(set)
    }

    #[inline]
    fn holds(&self, byte: u8) -> bool {
        self.0[usize::from(byte)]
    }
}

/// White space inside a field, line ends included.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Removes backslashes, and the line ends that folding put in.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut escaped = false;
    for &byte in text {
        match byte {
            b'\r' | b'\n' => (),
            b'\\' if !escaped => {
                escaped = true;
                continue;
            }
            _ => plain.push(byte),
        }
        escaped = false;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_strings_lose_quotes_escapes_and_folds() {
        for (input, text, rest) in [
            (&b"\"plain\" x"[..], &b"plain"[..], &b" x"[..]),
            (b"\"a\\\"b\\\\\"c", b"a\"b\\", b"c"),
            (b"\"foo\r\n bar\"", b"foo bar", b""),
            (b"\"open", b"open", b""),
            (b"\"ends in \\", b"ends in ", b""),
        ] {
            let mut lexer = Lexer::new(input);
            assert_eq!(lexer.quoted(), text);
            assert_eq!(lexer.rest, rest);
        }
    }

    #[test]
    fn comments_nest_and_may_stay_open() {
        for (input, rest) in [
            (&b" (a (b) \\) c) (d) x"[..], &b"x"[..]),
            (b"((((", b""),
            (b"(ends in \\", b""),
            (b"none", b"none"),
        ] {
            let mut lexer = Lexer::new(input);
            lexer.skip_cfws();
            assert_eq!(lexer.rest, rest);
        }
    }
}
