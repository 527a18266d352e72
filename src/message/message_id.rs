//! The message ids of References, In-Reply-To and Message-ID (RFC 5322 §3.6.4), in the form in which RFC 5256 compares
//! them: without quoting.

use std::borrow::Cow;

use memchr::{memchr, memchr3};

/// The valid ids in the value of a field, without angle brackets. Linear in the value's length.
pub fn message_ids(value: &[u8]) -> MessageIds<'_> {
    MessageIds { rest: value, reads_quotes: true }
}

/// See [`message_ids`].
pub struct MessageIds<'a> {
    rest: &'a [u8],
    /// Off once a quote was seen that nothing ends.
    reads_quotes: bool,
}

impl<'a> Iterator for MessageIds<'a> {
    type Item = Cow<'a, [u8]>;

    fn next(&mut self) -> Option<Cow<'a, [u8]>> {
        loop {
            let open = memchr(b'<', self.rest)?;
            self.rest = &self.rest[open + 1..];
            let end = self.end_of_id()?;
            let (id, rest) = self.rest.split_at(end);
            self.rest = rest;
            if rest.first() == Some(&b'>')
                && let Some(id) = normalized(id)
            {
                return Some(id);
            }
        }
    }
}

impl MessageIds<'_> {
    /// Where the next `>` is, or the `<` of another id before it.
    fn end_of_id(&mut self) -> Option<usize> {
        let mut at = 0;
        loop {
            at += memchr3(b'<', b'>', b'"', &self.rest[at..])?;
            if self.rest[at] != b'"' {
                return Some(at);
            }
            at += 1;
            if self.reads_quotes {
                match end_of_quoted(&self.rest[at..]) {
                    Some(length) => at += length,
                    None => self.reads_quotes = false,
                }
            }
        }
    }
}

/// The length of a quoted string behind its first quote.
fn end_of_quoted(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', &bytes[at..])?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
        if at > bytes.len() {
            return None;
        }
    }
}

/// The id without quotes, escapes and white space; `None` unless something stands on both sides of an `@`.
fn normalized(id: &[u8]) -> Option<Cow<'_, [u8]>> {
    if id.iter().any(|&byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\\')) {
        return unquoted(id).map(Cow::Owned);
    }
    let sign = memchr(b'@', id)?;
    (sign > 0 && sign + 1 < id.len()).then_some(Cow::Borrowed(id))
}

fn unquoted(id: &[u8]) -> Option<Vec<u8>> {
    let (mut plain, mut quoted, mut sign) = (Vec::with_capacity(id.len()), false, None);
    let mut bytes = id.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' => plain.extend(bytes.next()),
            _ if !quoted && byte.is_ascii_whitespace() => {}
            _ => {
                if byte == b'@' && !quoted {
                    sign.get_or_insert(plain.len());
                }
                plain.push(byte);
            }
        }
    }
    sign.is_some_and(|sign| sign > 0 && sign + 1 < plain.len()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(value: &str) -> Vec<String> {
        message_ids(value.as_bytes()).map(|id| String::from_utf8_lossy(&id).into_owned()).collect()
    }

    #[test]
    fn ids_are_found_and_unquoted() {
        for (value, expected) in [
            ("<1@x>", &["1@x"][..]),
            (" <1@x>\r\n <2@x><3@x> ", &["1@x", "2@x", "3@x"]),
            ("Your mail of Monday <1@x> (comment)", &["1@x"]),
            ("<\"01KF8J\"@xxx.yyy.com>", &["01KF8J@xxx.yyy.com"]),
            ("<\"a\\\"b>@c\"@x>", &["a\"b>@c@x"]),
            ("< 1 @\r\n\tx >", &["1@x"]),
            ("<A@x> <a@x>", &["A@x", "a@x"]),
            ("<1@[10.0.0.1]>", &["1@[10.0.0.1]"]),
        ] {
            assert_eq!(ids(value), expected, "{value}");
        }
    }

    #[test]
    fn what_is_no_id_is_passed_over() {
        for (value, expected) in [
            ("", &[][..]),
            ("1@x", &[]),
            ("<>", &[]),
            ("<1>", &[]),
            ("<@x> <1@> <@>", &[]),
            ("<\"1@x\">", &[]),
            ("<1@x", &[]),
            ("<1@x <2@x>", &["2@x"]),
            ("<\"1@x <2@x>", &["2@x"]),
            ("<\" <2@x> <3@x>", &["2@x", "3@x"]),
            ("<\"\\", &[]),
        ] {
            assert_eq!(ids(value), expected, "{value}");
        }
    }

    #[test]
    fn hostile_fields_take_linear_time() {
        for piece in ["<", "<\"", "<\"\\", "<a@", "\"<"] {
            assert!(ids(&piece.repeat(1 << 20)).len() < 2, "{piece}");
        }
    }
}
