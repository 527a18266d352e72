//! The header of a message of which only the first bytes are at hand.

use memchr::{memchr, memchr_iter};

use super::header::blank_line;

/// The header with its blank line, exactly as [`Parts`](super::Parts) places it; `None` when that cannot be told from
/// these first bytes of the message.
pub fn leading_header(bytes: &[u8]) -> Option<&[u8]> {
    // A message that does not begin with a field may have no header at all: see `scan`.
    let first_line = &bytes[..memchr(b'\n', bytes)?];
    memchr(b':', first_line)?;
    let end = memchr_iter(b'\n', bytes).find_map(|at| Some(at + 1 + blank_line(&bytes[at + 1..])?))?;
    Some(&bytes[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::{Which, analyze};

    #[test]
    fn a_header_is_told_when_it_is_all_there() {
        for (bytes, expected) in [
            ("A: b\r\n\r\nbody", Some("A: b\r\n\r\n")),
            ("A: b\n\nbody", Some("A: b\n\n")),
            ("A: b\r\n\r", None),
            ("A: b\r\n c\r\n", None),
            ("\r\nA: b\r\n\r\n", None),
            ("no field\r\nA: b\r\n\r\n", None),
            ("", None),
        ] {
            assert_eq!(leading_header(bytes.as_bytes()), expected.map(str::as_bytes), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn as_the_parts_have_it(message in "([aA:\r\n \t-]|\r\n|A: |\r\n\r\n|--a\r\n){0,24}", cut in 0usize..40) {
            let whole = message.as_bytes();
            let parts = analyze(whole).parts;
            let header = parts.locate(&[], Which::Header).unwrap();
            let header = &whole[header.start as usize..header.end as usize];
            if let Some(found) = leading_header(&whole[..whole.len().min(cut)]) {
                prop_assert_eq!(found, header);
            }
        }
    }
}
