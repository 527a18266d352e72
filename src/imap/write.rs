//! The primitives of responses, appended to a session's output without allocating.

use std::ops::RangeInclusive;

use super::chars::Class;
use super::types::{Dialect, InternalDate, Keyword, SystemFlags};
use super::utf7;

/// Longest string sent quoted; longer ones are literals, which cost the client less to read.
const MAX_QUOTED: usize = 1024;

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

const DIGIT_PAIRS: &[u8; 200] =
    b"00010203040506070809101112131415161718192021222324252627282930313233343536373839\
40414243444546474849505152535455565758596061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

/// A number in decimal.
pub fn number(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    let mut rest = value;
    while rest >= 100 {
        start -= 2;
        digits[start..start + 2].copy_from_slice(pair((rest % 100) as usize));
        rest /= 100;
    }
    if rest >= 10 {
        start -= 2;
        digits[start..start + 2].copy_from_slice(pair(rest as usize));
    } else {
        start -= 1;
        digits[start] = b'0' + rest as u8;
    }
    out.extend_from_slice(&digits[start..]);
}

/// The two digits of a number below 100.
fn pair(value: usize) -> &'static [u8] {
    &DIGIT_PAIRS[value * 2..value * 2 + 2]
}

/// A literal of known size, announced; the bytes follow.
pub fn literal_header(out: &mut Vec<u8>, size: u64) {
    out.push(b'{');
    number(out, size);
    out.extend_from_slice(b"}\r\n");
}

/// As [`literal_header`], for bytes that may contain NUL (RFC 3516).
pub fn literal8_header(out: &mut Vec<u8>, size: u64) {
    out.push(b'~');
    literal_header(out, size);
}

/// A quoted string where the bytes allow it (7-bit, no CR, LF or NUL), otherwise a literal.
pub fn quoted_or_literal(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= MAX_QUOTED
        && bytes.iter().all(|byte| matches!(byte, 0x01..=0x7f) && !b"\r\n".contains(byte))
    {
        quoted(out, bytes);
    } else {
        literal_header(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

/// A quoted string in UTF-8, for IMAP4rev2 (RFC 9051 §4.3); a literal where CR, LF, NUL or length forbid it.
pub fn quoted_utf8_or_literal(out: &mut Vec<u8>, text: &str) {
    if text.len() <= MAX_QUOTED && !text.bytes().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        quoted(out, text.as_bytes());
    } else {
        literal_header(out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    }
}

fn quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let mut rest = bytes;
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        out.push(b'\\');
        out.extend(special.first());
        rest = special.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// An atom where the bytes allow it, otherwise as [`quoted_or_literal`]. The word NIL is quoted.
pub fn astring(out: &mut Vec<u8>, bytes: &[u8]) {
    if !bytes.is_empty() && Class::ASTRING.has_all(bytes) && !bytes.eq_ignore_ascii_case(b"NIL") {
        out.extend_from_slice(bytes);
    } else {
        quoted_or_literal(out, bytes);
    }
}

/// A string or NIL.
pub fn nstring(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => quoted_or_literal(out, bytes),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// A mailbox name in the client's dialect: UTF-8 or modified UTF-7.
pub fn mailbox(out: &mut Vec<u8>, name: &str, dialect: Dialect) {
    if !dialect.utf8 && (!name.is_ascii() || name.contains('&')) {
        let mut encoded = Vec::with_capacity(name.len() * 2);
        utf7::encode(name, &mut encoded);
        astring(out, &encoded);
    } else if name.is_ascii() {
        astring(out, name.as_bytes());
    } else {
        quoted_utf8_or_literal(out, name);
    }
}

/// A parenthesised flag list; `\Recent` comes last of the system flags.
pub fn flags<'a>(
    out: &mut Vec<u8>,
    system: SystemFlags,
    recent: bool,
    keywords: impl IntoIterator<Item = &'a str>,
) {
    out.push(b'(');
    let start = out.len();
    let named = SystemFlags::NAMES.iter().filter(|(flag, _)| system.contains(*flag)).map(|(_, name)| *name);
    for name in named.chain(recent.then_some("\\Recent")).chain(keywords) {
        if out.len() > start {
            out.push(b' ');
        }
        out.extend_from_slice(name.as_bytes());
    }
    out.push(b')');
}

/// The keywords of a list as [`flags`] takes them.
pub fn keyword_names<'a>(keywords: &'a [Keyword<'a>]) -> impl Iterator<Item = &'a str> {
    keywords.iter().map(|keyword| keyword.as_str())
}

/// A set from ranges in ascending order, which may touch: `1:3,5`. Nothing for no ranges.
pub fn ranges(out: &mut Vec<u8>, ranges: impl IntoIterator<Item = RangeInclusive<u32>>) {
    let mut ranges = ranges.into_iter();
    let Some(mut current) = ranges.next() else { return };
    for next in ranges {
        if *next.start() == current.end().saturating_add(1) {
            current = *current.start()..=*next.end();
            continue;
        }
        range(out, &current);
        out.push(b',');
        current = next;
    }
    range(out, &current);
}

/// A set from numbers in ascending order.
pub fn numbers(out: &mut Vec<u8>, numbers: impl IntoIterator<Item = u32>) {
    ranges(out, numbers.into_iter().map(|number| number..=number));
}

fn range(out: &mut Vec<u8>, range: &RangeInclusive<u32>) {
    number(out, u64::from(*range.start()));
    if range.start() != range.end() {
        out.push(b':');
        number(out, u64::from(*range.end()));
    }
}

/// `"dd-Mon-yyyy hh:mm:ss +zzzz"` with a space for the day's leading zero (RFC 9051 §9 date-time). Years outside 0 to
/// 9999 and zones outside ±99:59, which no stored date has, are clamped to the format.
pub fn internal_date(out: &mut Vec<u8>, date: InternalDate) {
    let (year, month, day) = date.day().to_date();
    let (hour, minute, second) = date.time();
    let year = year.clamp(0, 9999) as usize;
    let mut text = *b"\"dd-Mon-yyyy hh:mm:ss +zzzz\"";
    text[1..3].copy_from_slice(pair(usize::from(day)));
    if text[1] == b'0' {
        text[1] = b' ';
    }
    text[4..7].copy_from_slice(MONTHS[usize::from(month - 1) % 12]);
    text[8..10].copy_from_slice(pair(year / 100));
    text[10..12].copy_from_slice(pair(year % 100));
    text[13..15].copy_from_slice(pair(usize::from(hour)));
    text[16..18].copy_from_slice(pair(usize::from(minute)));
    text[19..21].copy_from_slice(pair(usize::from(second)));
    text[22] = if date.offset_minutes < 0 { b'-' } else { b'+' };
    let offset = usize::from(date.offset_minutes.unsigned_abs()).min(99 * 60 + 59);
    text[23..25].copy_from_slice(pair(offset / 60));
    text[25..27].copy_from_slice(pair(offset % 60));
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn strings_take_the_smallest_safe_form() {
        for (bytes, as_astring, as_string) in [
            (&b"INBOX"[..], "INBOX", "\"INBOX\""),
            (b"", "\"\"", "\"\""),
            (b"nil", "\"nil\"", "\"nil\""),
            (b"a b", "\"a b\"", "\"a b\""),
            (b"q\"\\", "\"q\\\"\\\\\"", "\"q\\\"\\\\\""),
            (b"a\r\nb", "{4}\r\na\r\nb", "{4}\r\na\r\nb"),
            ("\u{e4}".as_bytes(), "{2}\r\n\u{e4}", "{2}\r\n\u{e4}"),
            (b"x]", "x]", "\"x]\""),
            (b"\\Seen", "\"\\\\Seen\"", "\"\\\\Seen\""),
        ] {
            assert_eq!(written(|out| astring(out, bytes)), as_astring);
            assert_eq!(written(|out| quoted_or_literal(out, bytes)), as_string);
        }
        assert_eq!(written(|out| nstring(out, None)), "NIL");
        assert!(written(|out| quoted_or_literal(out, &[b'x'; MAX_QUOTED + 1])).starts_with("{1025}\r\n"));
    }

    #[test]
    fn mailbox_names_speak_the_clients_dialect() {
        for (name, rev1, rev2) in [
            ("INBOX", "INBOX", "INBOX"),
            ("a b", "\"a b\"", "\"a b\""),
            ("p\u{e4}", "p&AOQ-", "\"p\u{e4}\""),
            ("A&B", "A&-B", "A&B"),
        ] {
            assert_eq!(written(|out| mailbox(out, name, Dialect::REV1)), rev1);
            assert_eq!(written(|out| mailbox(out, name, Dialect::REV2)), rev2);
        }
    }

    #[test]
    fn flags_are_listed_in_one_order() {
        let system = SystemFlags::SEEN | SystemFlags::ANSWERED;
        assert_eq!(written(|out| flags(out, system, true, ["$Junk"])), "(\\Answered \\Seen \\Recent $Junk)");
        assert_eq!(written(|out| flags(out, SystemFlags::NONE, false, [])), "()");
        assert_eq!(written(|out| flags(out, SystemFlags::NONE, false, ["a", "b"])), "(a b)");
    }

    #[test]
    fn sets_are_compressed() {
        assert_eq!(written(|out| numbers(out, [1, 2, 3, 5, 7, 8, u32::MAX])), "1:3,5,7:8,4294967295");
        assert_eq!(written(|out| ranges(out, [1..=2, 3..=9, 11..=11])), "1:9,11");
        assert_eq!(written(|out| numbers(out, [])), "");
    }

    #[test]
    fn dates_have_fixed_width() {
        for (timestamp, offset_minutes, expected) in [
            (0, 0, "\" 1-Jan-1970 00:00:00 +0000\""),
            (837_570_205, -420, "\"16-Jul-1996 19:23:25 -0700\""),
            (253_402_300_799, 0, "\"31-Dec-9999 23:59:59 +0000\""),
        ] {
            let date = InternalDate { timestamp, offset_minutes };
            assert_eq!(written(|out| internal_date(out, date)), expected);
        }
        for timestamp in [i64::MIN, i64::MAX] {
            let extreme = InternalDate { timestamp, offset_minutes: i16::MAX };
            assert_eq!(written(|out| internal_date(out, extreme)).len(), 28);
        }
    }

    proptest! {
        #[test]
        fn numbers_read_as_rust_prints_them(value: u64, shift in 0u32..64) {
            prop_assert_eq!(written(|out| number(out, value >> shift)), (value >> shift).to_string());
        }
    }
}
