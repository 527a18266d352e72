//! Eight octets at a time, for names and words: most are over before a search with SIMD has started.
//!
//! What is looked for leaves the highest bit of its octet set. The lowest of these marks is always right; above it,
//! there may be some too many.

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGHEST: u64 = ONES << 7;

/// Marks octets that are controls (but for DEL) or above ASCII.
#[inline]
pub(crate) fn controls_and_8bit(word: u64) -> u64 {
    (word | word.wrapping_sub(ONES * 0x20)) & HIGHEST
}

/// Marks octets that are `octet`.
#[inline]
pub(crate) fn equal(word: u64, octet: u8) -> u64 {
    let difference = word ^ (ONES * u64::from(octet));
    difference.wrapping_sub(ONES) & !difference & HIGHEST
}

/// Whether `check` holds for all octets, which it gets in words of eight; some come twice.
pub(crate) fn all(bytes: &[u8], check: impl Fn(u64) -> bool) -> bool {
    let check = |word| check(u64::from_le_bytes(word));
    match (bytes, bytes.last_chunk(), bytes.first_chunk(), bytes.last_chunk()) {
        (_, Some(&end), ..) => check(end) && bytes.as_chunks().0.iter().all(|&word| check(word)),
        (_, _, Some(&[a, b, c, d]), Some(&[e, f, g, h])) => check([a, b, c, d, e, f, g, h]),
        (&[a, .., c], ..) => check([a, bytes[1], c, a, a, a, a, a]),
        (&[a], ..) => check([a; 8]),
        _ => true,
    }
}

/// The index of the lowest mark.
#[inline]
pub(crate) fn lowest(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
}

/// Where `octet` is first, which is probably near.
#[inline]
pub(crate) fn position(bytes: &[u8], octet: u8) -> Option<usize> {
    let mut rest = bytes;
    while let Some((&word, tail)) = rest.split_first_chunk() {
        let marks = equal(u64::from_le_bytes(word), octet);
        if marks != 0 {
            return Some(bytes.len() - rest.len() + lowest(marks));
        }
        rest = tail;
    }
    rest.iter().position(|&byte| byte == octet).map(|at| bytes.len() - rest.len() + at)
}

/// Whether `name` is `known` but for case. `known` is made of small letters, digits and hyphens.
#[inline]
pub(crate) fn is_name(name: &[u8], known: &[u8]) -> bool {
    if name.len() != known.len() {
        return false;
    }
    if let (Some(end), Some(known_end)) = (name.last_chunk(), known.last_chunk()) {
        let (words, known_words) = (name.as_chunks().0, known.as_chunks().0);
        eight_match(*end, *known_end) && words.iter().zip(known_words).all(|(&a, &b)| eight_match(a, b))
    } else {
        name.iter().zip(known).all(|(&a, &b)| (a ^ b) & !(b >> 1 & 0x20) == 0)
    }
}

/// Letters differ in one bit from their other case, and bit 6 is set in them alone.
#[inline]
fn eight_match(word: [u8; 8], known: [u8; 8]) -> bool {
    let (word, known) = (u64::from_le_bytes(word), u64::from_le_bytes(known));
    (word ^ known) & !(known >> 1 & (ONES * 0x20)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_name_the_first() {
        for octet in 0..=u8::MAX {
            for place in 0..8 {
                let mut bytes = [b'!'; 8];
                bytes[place] = octet;
                let word = u64::from_le_bytes(bytes);
                let marks = controls_and_8bit(word);
                assert_eq!(marks != 0, !(0x20..0x80).contains(&octet));
                assert!(marks == 0 || lowest(marks) == place);
                assert_eq!(lowest(equal(word, octet)), if octet == b'!' { 0 } else { place });
            }
        }
    }

    #[test]
    fn positions_are_those_of_the_first() {
        for length in 0..80 {
            for place in 0..length {
                let mut bytes = vec![b'x'; length];
                assert_eq!(position(&bytes, b':'), None);
                bytes[place..].fill(b':');
                assert_eq!(position(&bytes, b':'), Some(place));
            }
        }
    }

    #[test]
    fn names_match_in_any_case_and_no_other_way() {
        for known in ["to", "content-md5", "in-reply-to", "content-transfer-encoding"] {
            let mut name = known.to_uppercase().into_bytes();
            assert!(is_name(&name, known.as_bytes()) && !is_name(&name[1..], known.as_bytes()));
            for at in 0..name.len() {
                for octet in 0..=u8::MAX {
                    let before = std::mem::replace(&mut name[at], octet);
                    assert_eq!(is_name(&name, known.as_bytes()), name.eq_ignore_ascii_case(known.as_bytes()));
                    name[at] = before;
                }
            }
        }
    }
}
