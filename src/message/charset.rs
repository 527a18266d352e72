//! Text in any charset as UTF-8. The tables of other charsets are mail-parser's.

use std::borrow::Cow;

use mail_parser::decoders::charsets::map::charset_decoder;

/// Decodes text. Never fails: unknown charsets are read as UTF-8 or else Windows-1252, and what cannot be
/// decoded becomes U+FFFD. Text that says nothing, or says US-ASCII and is not, is read the same way.
pub(crate) fn decode<'a>(charset: Option<&[u8]>, bytes: &'a [u8]) -> Cow<'a, str> {
    let name = charset.map(<[u8]>::trim_ascii).unwrap_or_default();
    if is_utf8(name) {
        return utf8(bytes);
    }
    if is_ascii(name) {
        return undeclared(bytes);
    }
    match charset_decoder(name) {
        Some(decoder) if !(bytes.is_ascii() && extends_ascii(name)) => Cow::Owned(decoder(bytes)),
        _ => undeclared(bytes),
    }
}

/// The longest start of `bytes` that [`decode`] certainly shows as it stands, whatever follows it.
pub(crate) fn certain_start<'a>(charset: Option<&[u8]>, bytes: &'a [u8]) -> &'a str {
    let name = charset.map(<[u8]>::trim_ascii).unwrap_or_default();
    let valid = valid_start(bytes);
    if is_utf8(name) {
        valid
    } else if is_ascii(name) || extends_ascii(name) || charset_decoder(name).is_none() {
        let plain = if valid.is_ascii() { None } else { valid.bytes().position(|byte| !byte.is_ascii()) };
        &valid[..plain.unwrap_or(valid.len())]
    } else {
        ""
    }
}

fn is_utf8(name: &[u8]) -> bool {
    is_any(name, &["utf-8", "utf8"])
}

/// Names that say no more than that there is text.
fn is_ascii(name: &[u8]) -> bool {
    is_any(name, &["", "us-ascii", "ascii", "unknown-8bit"])
}

/// Checking text that is whole is much faster than looking for what is broken, which mostly is the end.
fn utf8(bytes: &[u8]) -> Cow<'_, str> {
    let whole = valid_start(bytes);
    match &bytes[whole.len()..] {
        [] => Cow::Borrowed(whole),
        broken => Cow::Owned([whole, &String::from_utf8_lossy(broken)].concat()),
    }
}

fn valid_start(bytes: &[u8]) -> &str {
    let valid =
        std::str::from_utf8(bytes).or_else(|error| std::str::from_utf8(&bytes[..error.valid_up_to()]));
    valid.unwrap_or_default()
}

/// Families whose ASCII bytes always mean ASCII: no tables are needed for mail that only declares them.
fn extends_ascii(name: &[u8]) -> bool {
    let families: [&[u8]; 6] = [b"iso-8859-", b"windows-", b"koi8-", b"gb", b"big5", b"euc-"];
    families
        .iter()
        .any(|family| name.get(..family.len()).is_some_and(|start| start.eq_ignore_ascii_case(family)))
}

/// [`decode`] for text that need not be borrowed.
pub(crate) fn decode_owned(charset: Option<&[u8]>, bytes: Vec<u8>) -> String {
    match decode(charset, &bytes) {
        Cow::Owned(text) => text,
        Cow::Borrowed(_) => String::from_utf8(bytes).unwrap_or_default(),
    }
}

/// Decodes text whose charset a client names, as in `SEARCH CHARSET`. `None` when the charset is unknown:
/// `NO [BADCHARSET]` (RFC 9051 §6.4.4).
pub fn decode_charset<'a>(charset: &[u8], bytes: &'a [u8]) -> Option<Cow<'a, str>> {
    let known =
        is_any(charset, &["utf-8", "utf8", "us-ascii", "ascii"]) || charset_decoder(charset).is_some();
    known.then(|| decode(Some(charset), bytes))
}

fn undeclared(bytes: &[u8]) -> Cow<'_, str> {
    let error = match std::str::from_utf8(bytes) {
        Ok(text) => return Cow::Borrowed(text),
        Err(error) => error,
    };
    // UTF-8 up to a character that is cut off at the end.
    let cut = error.error_len().is_none() && !bytes[..error.valid_up_to()].is_ascii();
    match charset_decoder(b"windows-1252") {
        Some(decoder) if !cut => Cow::Owned(decoder(bytes)),
        _ => utf8(bytes),
    }
}

fn is_any(name: &[u8], known: &[&str]) -> bool {
    known.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charsets_become_utf8() {
        for (charset, bytes, text) in [
            (Some("UTF-8"), &b"caf\xc3\xa9"[..], "café"),
            (Some("utf-8"), b"caf\xe9", "caf\u{fffd}"),
            (Some("ISO-8859-1"), b"caf\xe9", "café"),
            (Some("koi8-r"), b"\xcd\xc9\xd2", "мир"),
            (Some("iso-2022-jp"), b"\x1b$B$\"\x1b(B", "あ"),
            (None, b"caf\xc3\xa9", "café"),
            (None, b"caf\xe9", "café"),
            (None, b"caf\xc3\xa9 \xe2\x82", "café \u{fffd}"),
            (Some("utf8"), b"\xffcaf\xc3\xa9 \xe2\x82 \xc3", "\u{fffd}café \u{fffd} \u{fffd}"),
            (Some("us-ascii"), b"caf\xe9", "café"),
            (Some("no-such-charset"), b"caf\xc3\xa9", "café"),
        ] {
            assert_eq!(decode(charset.map(str::as_bytes), bytes), text, "{charset:?}");
        }
    }

    #[test]
    fn clients_may_name_known_charsets_only() {
        assert_eq!(decode_charset(b"iso-8859-15", b"\xa4").as_deref(), Some("€"));
        assert_eq!(decode_charset(b"us-ascii", b"x").as_deref(), Some("x"));
        assert_eq!(decode_charset(b"no-such-charset", b"x"), None);
        assert_eq!(decode_charset(b"", b"x"), None);
    }
}
