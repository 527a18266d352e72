//! Content-Transfer-Encodings (RFC 2045 §6), read the forgiving way that clients do.

use memchr::memchr;

use super::{
    content::Encoding,
    header::{line_end, trim_line_end},
};

/// The part's Content-Transfer-Encoding is none of those that we know: `NO [UNKNOWN-CTE]` (RFC 3516 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("content-transfer-encoding is unknown; fetch the part with BODY instead of BINARY")]
pub struct UnknownEncoding;

/// Appends the decoded body. Bytes that do not belong to the encoding are skipped (base64) or kept
/// (quoted-printable); it never fails on them. The result is never longer than `raw`.
pub fn decode_transfer(encoding: Encoding, raw: &[u8], out: &mut Vec<u8>) -> Result<(), UnknownEncoding> {
    match encoding {
        Encoding::SevenBit | Encoding::EightBit | Encoding::Binary => out.extend_from_slice(raw),
        Encoding::Base64 => base64(raw, out),
        Encoding::QuotedPrintable => quoted_printable(raw, out),
        Encoding::Unknown => return Err(UnknownEncoding),
    }
    Ok(())
}

/// Decodes base64; padding ends a group, after which another may start.
pub(crate) fn base64(raw: &[u8], out: &mut Vec<u8>) {
    out.reserve(raw.len() / 4 * 3 + 3);
    let (mut group, mut count) = (0_u32, 0);
    let mut rest = raw;
    loop {
        if count == 0 {
            rest = whole_groups(rest, out);
        }
        let Some((&byte, tail)) = rest.split_first() else { break };
        rest = tail;
        if let Some(digit) = base64_digit(byte) {
            group = group << 6 | digit;
            count += 1;
        }
        if count == 4 || byte == b'=' {
            flush(group, count, out);
            (group, count) = (0, 0);
        }
    }
    flush(group, count, out);
}

/// Decodes quoted-printable: drops white space at the ends of lines and soft line breaks, keeps what is no
/// escape.
pub(crate) fn quoted_printable(raw: &[u8], out: &mut Vec<u8>) {
    out.reserve(raw.len());
    let mut rest = raw;
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(line_end(rest));
        rest = tail;
        let content = trim_line_end(line);
        let text = content.trim_ascii_end();
        match text.strip_suffix(b"=") {
            Some(text) => escapes(text, out),
            None => {
                escapes(text, out);
                out.extend_from_slice(&line[content.len()..]);
            }
        }
    }
}

/// Replaces `=XX` by the byte it stands for.
pub(crate) fn escapes(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr(b'=', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = match rest[at..] {
            [_, high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(high) << 4 | hex(low));
                &rest[at + 3..]
            }
            _ => {
                out.push(b'=');
                &rest[at + 1..]
            }
        };
    }
    out.extend_from_slice(rest);
}

/// The fast path: groups of four digits without anything in between.
fn whole_groups<'a>(raw: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let mut rest = raw;
    while let Some((&[a, b, c, d], tail)) = rest.split_first_chunk() {
        let [a, b, c, d] = [a, b, c, d].map(|byte| DIGITS[usize::from(byte)]);
        if (a | b | c | d) & NO_DIGIT != 0 {
            break;
        }
        out.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]);
        rest = tail;
    }
    rest
}

/// Writes the whole octets of a group of `count` digits.
fn flush(group: u32, count: u32, out: &mut Vec<u8>) {
    let octets = (group << (6 * (4 - count))).to_be_bytes();
    let whole = (count * 6 / 8) as usize;
    out.extend_from_slice(&octets[1..][..whole]);
}

const NO_DIGIT: u8 = 0x80;

/// The value of each base64 digit.
const DIGITS: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [NO_DIGIT; 256];
    let mut value = 0;
    while value < alphabet.len() {
        table[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    table
};

fn base64_digit(byte: u8) -> Option<u32> {
    let digit = DIGITS[usize::from(byte)];
    (digit != NO_DIGIT).then_some(u32::from(digit))
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(encoding: Encoding, raw: &str) -> String {
        let mut out = Vec::new();
        decode_transfer(encoding, raw.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn base64_skips_what_is_not_base64() {
        for (raw, text) in [
            ("c3VubGlnaHQ=", "sunlight"),
            ("\r\n c3V\r\n\tubGl  n\r\naHQ=\r\n\r\n", "sunlight"),
            ("c3Vu!bGln*aHQ", "sunlight"),
            ("c3U=bmxpZ2h0", "sunlight"),
            ("c", ""),
            ("====", ""),
            ("", ""),
        ] {
            assert_eq!(decoded(Encoding::Base64, raw), text, "{raw}");
        }
    }

    #[test]
    fn quoted_printable_keeps_lines_and_repairs() {
        for (raw, text) in [
            ("one  \r\ntwo=\r\n three\r\n", "one\r\ntwo three\r\n"),
            ("soft =  \t\r\nbreak", "soft break"),
            ("=41=62=3D", "Ab="),
            ("=4x =", "=4x "),
            ("= in the middle\n", "= in the middle\n"),
            ("end=\r\n", "end"),
            ("blank  ", "blank"),
        ] {
            assert_eq!(decoded(Encoding::QuotedPrintable, raw), text, "{raw}");
        }
    }

    #[test]
    fn unknown_encodings_are_refused() {
        assert_eq!(decode_transfer(Encoding::Unknown, b"x", &mut Vec::new()), Err(UnknownEncoding));
        assert_eq!(decoded(Encoding::Binary, "a\r\n"), "a\r\n");
    }
}
