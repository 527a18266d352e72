//! The fields of an ENVELOPE, read back from its wire form.

use std::borrow::Cow;

use memchr::memchr2;

/// Where a field stands in the envelope (RFC 9051 §7.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeField {
    Date = 0,
    Subject = 1,
    From = 2,
    To = 5,
    Cc = 6,
}

/// The first address of a list; for a group, its mark. What is NIL is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirstAddress<'a> {
    pub name: Option<Cow<'a, [u8]>>,
    pub mailbox: Option<Cow<'a, [u8]>>,
    pub host: Option<Cow<'a, [u8]>>,
}

/// A text field, as it stands in the header but unfolded; `None` for NIL and in an envelope that is damaged.
pub fn envelope_text(envelope: &[u8], field: EnvelopeField) -> Option<Cow<'_, [u8]>> {
    string(item(envelope, field)?)
}

/// The first address of an address field; `None` when it has none.
pub fn first_address(envelope: &[u8], field: EnvelopeField) -> Option<FirstAddress<'_>> {
    let mut items = Items::of(item(envelope, field)?);
    let mut parts = Items::of(items.next()?);
    let (name, _, mailbox, host) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(FirstAddress { name: string(name), mailbox: string(mailbox), host: string(host) })
}

fn item(envelope: &[u8], field: EnvelopeField) -> Option<&[u8]> {
    Items::of(envelope).nth(field as usize)
}

/// The items of a parenthesised list; a string's bytes are never taken for the list's.
struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Items<'a> {
    /// Nothing when it is no list.
    fn of(list: &'a [u8]) -> Self {
        Items { rest: list.strip_prefix(b"(").unwrap_or_default() }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.strip_prefix(b" ").unwrap_or(self.rest);
        if matches!(rest.first(), None | Some(b')')) {
            return None;
        }
        let (item, rest) = rest.split_at_checked(item_length(rest)?)?;
        self.rest = rest;
        Some(item)
    }
}

fn item_length(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0);
    loop {
        at += match bytes.get(at)? {
            b'"' | b'{' => string_length(&bytes[at..])?,
            b'(' => {
                depth += 1;
                1
            }
            b')' => {
                depth -= 1;
                1
            }
            b' ' => 1,
            _ => bytes[at..].iter().position(|byte| b" ()".contains(byte))?,
        };
        if depth == 0 {
            return Some(at);
        }
    }
}

fn string_length(bytes: &[u8]) -> Option<usize> {
    if bytes.first() == Some(&b'{') {
        let (start, size) = literal(bytes)?;
        return start.checked_add(size);
    }
    let mut at = 1;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Where a literal's bytes begin, and how many they are.
fn literal(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = memchr::memchr(b'}', bytes)?;
    let size = std::str::from_utf8(bytes.get(1..end)?).ok()?.parse().ok()?;
    Some((end + 3, size))
}

/// What a string says; `None` for NIL.
fn string(item: &[u8]) -> Option<Cow<'_, [u8]>> {
    match item.first()? {
        b'"' => item.get(1..item.len().checked_sub(1)?).map(unescaped),
        b'{' => item.get(literal(item)?.0..).map(Cow::Borrowed),
        _ => None,
    }
}

fn unescaped(quoted: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', quoted).is_none() {
        return Cow::Borrowed(quoted);
    }
    let mut plain = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter().copied();
    while let Some(byte) = bytes.next() {
        plain.extend(if byte == b'\\' { bytes.next() } else { Some(byte) });
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::super::{envelope::envelope, index::Header};
    use super::*;

    fn of(header: &str) -> Vec<u8> {
        let mut out = Vec::new();
        envelope(&Header::read(header.as_bytes()), &mut out);
        out
    }

    fn text(envelope: &[u8], field: EnvelopeField) -> Option<String> {
        envelope_text(envelope, field).map(|text| String::from_utf8_lossy(&text).into_owned())
    }

    /// `name mailbox host`
    fn address(envelope: &[u8], field: EnvelopeField) -> Option<[Option<String>; 3]> {
        let text = |bytes: Option<Cow<'_, [u8]>>| bytes.map(|b| String::from_utf8_lossy(&b).into_owned());
        first_address(envelope, field).map(|found| [text(found.name), text(found.mailbox), text(found.host)])
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn what_was_written_is_read() {
        use EnvelopeField::{Cc, Date, From, Subject, To};
        let envelope = of("Date: now\r\nSubject: a \"q\" \\ (b\r\nFrom: \"Ad(a\" <a@x>, b@y\r\n\
             To: team: c@z;\r\nSender: caf\u{e9}@x\r\nReply-To: \u{e9} ) <r@x>\r\n\r\n");
        assert_eq!(text(&envelope, Date), some("now"));
        assert_eq!(text(&envelope, Subject), some("a \"q\" \\ (b"));
        assert_eq!(address(&envelope, From), Some([some("Ad(a"), some("a"), some("x")]));
        assert_eq!(address(&envelope, To), Some([None, some("team"), None]));
        assert_eq!(address(&envelope, Cc), None);
        let literal = of("Subject: caf\u{e9}\"\r\nTo: \u{e9} <a@x>\r\n\r\n");
        assert_eq!(text(&literal, Date), None);
        assert_eq!(text(&literal, Subject), some("caf\u{e9}\""));
        assert_eq!(address(&literal, To), Some([some("\u{e9}"), some("a"), some("x")]));
    }

    #[test]
    fn damage_ends_an_envelope() {
        let whole = of("Subject: \u{e9}\r\nFrom: \"a \\\" b\" <a@x>\r\nCc: c@x\r\n\r\n");
        for length in 0..whole.len() {
            for field in [EnvelopeField::Subject, EnvelopeField::Cc] {
                let cut = &whole[..length];
                assert!(text(cut, field).is_none_or(|found| Some(found) == text(&whole, field)));
                let found = address(cut, field);
                assert!(found.is_none() || found == address(&whole, field));
            }
        }
        for garbage in ["({99999999999999999999}", "({18446744073709551615}\r\n", "((((", "(\"\\", "()))"] {
            assert_eq!(text(garbage.as_bytes(), EnvelopeField::Subject), None, "{garbage}");
        }
    }
}
