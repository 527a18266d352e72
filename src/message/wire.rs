//! Strings as IMAP writes them (RFC 9051 §4.3).

use memchr::memchr_iter;

use super::{limits::MAX_QUOTED, octets};

/// Appends a quoted string, or a literal where quoting cannot hold the bytes: 8-bit, CR, LF, or too long.
/// NUL has no place on the wire (RFC 9051 §4.3.1 allows it in literal8 only) and is dropped.
pub(crate) fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() > MAX_QUOTED {
        literal(out, bytes);
    } else if is_plain(bytes) {
        out.reserve(bytes.len() + 2);
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
    } else if bytes.iter().all(|&byte| quotable(byte)) {
        quoted(out, bytes);
    } else {
        literal(out, bytes);
    }
}

/// [`string`], or NIL.
pub(crate) fn nstring(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => string(out, bytes),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Appends a decimal number.
pub(crate) fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Whether a quoted string holds the bytes as they are.
fn is_plain(bytes: &[u8]) -> bool {
    octets::all(bytes, |word| {
        octets::controls_and_8bit(word) | octets::equal(word, b'"') | octets::equal(word, b'\\') == 0
    })
}

fn quotable(byte: u8) -> bool {
    !matches!(byte, 0 | b'\r' | b'\n' | 0x80..)
}

fn quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    for &byte in bytes {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn literal(out: &mut Vec<u8>, bytes: &[u8]) {
    let nuls = memchr_iter(0, bytes).count();
    out.push(b'{');
    number(out, (bytes.len() - nuls) as u64);
    out.extend_from_slice(b"}\r\n");
    if nuls == 0 {
        out.extend_from_slice(bytes);
    } else {
        out.extend(bytes.iter().filter(|&&byte| byte != 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        string(&mut out, bytes);
        out
    }

    #[test]
    fn each_string_takes_the_form_that_holds_it() {
        for (bytes, wire) in [
            (&b""[..], &b"\"\""[..]),
            (b"a \"b\" \\c\t", b"\"a \\\"b\\\" \\\\c\t\""),
            (b"longer than eight", b"\"longer than eight\""),
            (b"at the very end\"", b"\"at the very end\\\"\""),
            (b"caf\xc3\xa9", b"{5}\r\ncaf\xc3\xa9"),
            (b"bare\rreturn", b"{11}\r\nbare\rreturn"),
            (b"n\0u\0l", b"{3}\r\nnul"),
        ] {
            assert_eq!(written(bytes), wire);
        }
    }

    #[test]
    fn no_place_hides_a_byte() {
        for byte in 0..=u8::MAX {
            for place in 0..20 {
                let mut bytes = [b'~'; 20];
                bytes[place] = byte;
                let plain = (b' '..=0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
                assert_eq!(is_plain(&bytes), plain, "{byte} at {place}");
                assert_eq!(is_plain(&bytes[place / 3..]), plain, "{byte} at {place}, cut");
                assert_eq!(is_plain(&bytes[place..]), plain, "{byte} in front of {}", 19 - place);
            }
        }
    }

    #[test]
    fn long_strings_are_literals() {
        assert!(written(&[b'x'; MAX_QUOTED]).starts_with(b"\"x"));
        assert!(written(&[b'x'; MAX_QUOTED + 1]).starts_with(b"{1001}\r\nx"));
    }

    #[test]
    fn numbers_reach_both_ends() {
        let mut out = Vec::new();
        number(&mut out, 0);
        number(&mut out, u64::MAX);
        assert_eq!(out, b"018446744073709551615");
    }
}
