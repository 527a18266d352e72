//! Modified UTF-7 (RFC 3501 §5.1.3), both ways. Strict: a name has exactly one accepted spelling, so that no two
//! spellings can name one mailbox.

use thiserror::Error;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// Bytes are not the canonical modified UTF-7 of anything.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not canonical modified UTF-7")]
pub struct Utf7Error;

/// Decodes to UTF-8. Refused: 8-bit and control bytes, unterminated or empty shifts, bits left over, unpaired
/// surrogates, printable US-ASCII in a shift, and a shift right after a shift.
pub fn decode(encoded: &[u8]) -> Result<String, Utf7Error> {
    let mut decoded = String::with_capacity(encoded.len());
    let mut rest = encoded;
    let mut after_shift = false;
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'&' {
            if !(0x20..0x7f).contains(&byte) {
                return Err(Utf7Error);
            }
            decoded.push(char::from(byte));
            (rest, after_shift) = (tail, false);
            continue;
        }
        let end = memchr::memchr(b'-', tail).ok_or(Utf7Error)?;
        let (shift, remaining) = (tail.get(..end).ok_or(Utf7Error)?, tail.get(end + 1..).ok_or(Utf7Error)?);
        if shift.is_empty() {
            decoded.push('&');
        } else if after_shift {
            return Err(Utf7Error);
        } else {
            decode_shift(shift, &mut decoded)?;
        }
        (rest, after_shift) = (remaining, !shift.is_empty());
    }
    Ok(decoded)
}

/// Decodes the base64 between `&` and `-`.
fn decode_shift(shift: &[u8], decoded: &mut String) -> Result<(), Utf7Error> {
    let mut bits = 0u32;
    let mut held = 0;
    let mut high_surrogate = None;
    for byte in shift {
        bits = bits << 6 | value_of(*byte).ok_or(Utf7Error)?;
        held += 6;
        if held >= 16 {
            held -= 16;
            let unit = (bits >> held) as u16;
            bits &= (1 << held) - 1;
            push_unit(unit, &mut high_surrogate, decoded)?;
        }
    }
    // Fewer than six bits of padding, all zero, and no half character.
    if held >= 6 || bits != 0 || high_surrogate.is_some() { Err(Utf7Error) } else { Ok(()) }
}

fn push_unit(unit: u16, high_surrogate: &mut Option<u16>, decoded: &mut String) -> Result<(), Utf7Error> {
    let character = match (high_surrogate.take(), unit) {
        (None, 0xd800..=0xdbff) => {
            *high_surrogate = Some(unit);
            return Ok(());
        }
        (Some(high), 0xdc00..=0xdfff) => {
            0x10000 + (u32::from(high - 0xd800) << 10 | u32::from(unit - 0xdc00))
        }
        (None, 0x20..=0x7e) | (Some(_), _) => return Err(Utf7Error),
        (None, _) => u32::from(unit),
    };
    decoded.push(char::from_u32(character).ok_or(Utf7Error)?);
    Ok(())
}

fn value_of(byte: u8) -> Option<u32> {
    match byte {
        b'A'..=b'Z' => Some(u32::from(byte - b'A')),
        b'a'..=b'z' => Some(u32::from(byte - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(byte - b'0') + 52),
        b'+' => Some(62),
        b',' => Some(63),
        _ => None,
    }
}

/// Appends the modified UTF-7 of `name`.
pub fn encode(name: &str, out: &mut Vec<u8>) {
    let mut shift = Shift { bits: 0, held: 0, open: false };
    for character in name.chars() {
        if matches!(character, ' '..='~') {
            shift.close(out);
            out.push(character as u8);
            if character == '&' {
                out.push(b'-');
            }
        } else {
            let mut units = [0; 2];
            character.encode_utf16(&mut units).iter().for_each(|unit| shift.push(*unit, out));
        }
    }
    shift.close(out);
}

/// Base64 being written.
struct Shift {
    bits: u32,
    held: u32,
    open: bool,
}

impl Shift {
    fn push(&mut self, unit: u16, out: &mut Vec<u8>) {
        if !self.open {
            out.push(b'&');
            self.open = true;
        }
        self.bits = self.bits << 16 | u32::from(unit);
        self.held += 16;
        while self.held >= 6 {
            self.held -= 6;
            push_digit(self.bits >> self.held, out);
        }
        self.bits &= (1 << self.held) - 1;
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.held > 0 {
            push_digit(self.bits << (6 - self.held), out);
        }
        if self.open {
            out.push(b'-');
        }
        *self = Shift { bits: 0, held: 0, open: false };
    }
}

fn push_digit(value: u32, out: &mut Vec<u8>) {
    out.push(ALPHABET[(value & 63) as usize]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode(name, &mut out);
        out
    }

    #[test]
    fn known_names() {
        for (name, wire) in [
            ("plain", "plain"),
            ("A&B", "A&-B"),
            ("&&", "&-&-"),
            ("p\u{e4}\u{e4}", "p&AOQA5A-"),
            ("\u{e4}-\u{e4}", "&AOQ--&AOQ-"),
            ("\u{65e5}\u{672c}\u{8a9e}/x", "&ZeVnLIqe-/x"),
            ("\u{1f600}", "&2D3eAA-"),
            ("\u{e4}&", "&AOQ-&-"),
        ] {
            assert_eq!(String::from_utf8_lossy(&encoded(name)), wire);
            assert_eq!(decode(wire.as_bytes()).as_deref(), Ok(name));
        }
    }

    #[test]
    fn other_spellings_are_refused_threat_13() {
        for (wire, why) in [
            (&b"&"[..], "unterminated"),
            (b"&AOQ", "unterminated"),
            (b"&AOQ/", "unterminated"),
            (b"&AGE-", "printable in a shift"),
            (b"&ACY-", "ampersand in a shift"),
            (b"&AOQ-&AOQ-", "two shifts where one does"),
            (b"&AOR-", "padding bits not zero"),
            (b"&AOQA-", "six bits too many"),
            (b"&A-", "no whole character"),
            (b"&2D0-", "lone high surrogate"),
            (b"&3gA-", "lone low surrogate"),
            (b"&2D0AYQ-", "high surrogate without low"),
            (b"&2D3YPQ-", "two high surrogates"),
            (b"&AO Q-", "space in a shift"),
            (b"&AO/k-", "slash is a comma here"),
            (b"&AOQ=-", "base64 padding"),
            (b"\xc3\xa4", "8-bit"),
            (b"a\x01", "control"),
        ] {
            assert_eq!(decode(wire), Err(Utf7Error), "{why}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in "\\PC{0,20}") {
            prop_assert_eq!(decode(&encoded(&name)), Ok(name));
        }

        #[test]
        fn what_decodes_is_canonical(wire in "[&A-Ca-c01+,/ -]{0,14}") {
            if let Ok(name) = decode(wire.as_bytes()) {
                prop_assert_eq!(String::from_utf8_lossy(&encoded(&name)).into_owned(), wire);
            }
        }
    }
}
