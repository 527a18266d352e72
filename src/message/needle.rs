//! Substring matching without regard to case.
//!
//! The collation is i;unicode-casemap (RFC 5051) with full case mapping: each character is put in upper case
//! and then decomposed (NFKD). So `STRASSE` finds `straße`, `σ` finds `ς`, `é` finds its decomposed twin, and
//! `e` finds both, since the accent follows as a character of its own.

use memchr::memmem::Finder;
use unicode_normalization::char::decompose_compatible;

/// A text to look for, folded once. Searching is linear in the haystack whatever either side holds, and takes
/// memory for a window of it only.
#[derive(Clone, Debug)]
pub struct Needle {
    finder: Finder<'static>,
}

impl Needle {
    /// Octets of a haystack that are folded at a time; they stay in the first-level cache. Windows are at
    /// least as long as the needle, so that what they share is looked at twice at most.
    const WINDOW: usize = 8192;

    /// Octets of an ASCII text that is folded on the stack.
    const SHORT: usize = 256;

    /// Folds `text`. The empty needle is in every text.
    pub fn new(text: &str) -> Self {
        let mut room = [0; Self::SHORT];
        let finder = match fold_short(text, &mut room) {
            Some(folded) => Finder::new(folded).into_owned(),
            None => Finder::new(fold(text).as_bytes()).into_owned(),
        };
        Self { finder }
    }

    /// Whether this is the empty needle.
    pub fn is_empty(&self) -> bool {
        self.finder.needle().is_empty()
    }

    /// Whether `text` holds the needle.
    pub fn matches(&self, text: &str) -> bool {
        let length = self.finder.needle().len();
        // Most fields of headers are short.
        if let Some(folded) = fold_short(text, &mut [0; Self::SHORT]) {
            return self.finder.find(folded).is_some();
        }
        let mut window = String::new();
        let mut rest = text;
        loop {
            let (piece, tail) = rest.split_at(rest.floor_char_boundary(Self::WINDOW.max(length)));
            fold_into(piece, &mut window);
            if self.finder.find(window.as_bytes()).is_some() {
                return true;
            }
            if tail.is_empty() {
                return false;
            }
            // A match may begin in this window and end in the next.
            let shared = (window.len() + 1).saturating_sub(length);
            window.drain(..window.floor_char_boundary(shared));
            rest = tail;
        }
    }
}

/// The folded form of a text that needs no more than capitals; `None` when it does, or has no room.
fn fold_short<'r>(text: &str, room: &'r mut [u8]) -> Option<&'r [u8]> {
    let folded = room.get_mut(..text.len()).filter(|_| text.is_ascii())?;
    folded.copy_from_slice(text.as_bytes());
    folded.make_ascii_uppercase();
    Some(folded)
}

/// The form in which texts are compared.
pub fn fold(text: &str) -> String {
    let mut folded = String::new();
    fold_into(text, &mut folded);
    folded
}

/// Appends what [`fold`] returns.
pub fn fold_into(text: &str, folded: &mut String) {
    folded.reserve(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (plain, tail) = rest.split_at(ascii_prefix(rest));
        let start = folded.len();
        folded.push_str(plain);
        folded[start..].make_ascii_uppercase();
        let length = tail.bytes().position(|byte| byte.is_ascii()).unwrap_or(tail.len());
        let (other, tail) = tail.split_at(length);
        for upper in other.chars().flat_map(char::to_uppercase) {
            decompose_compatible(upper, |character| folded.push(character));
        }
        rest = tail;
    }
}

fn ascii_prefix(text: &str) -> usize {
    if text.is_ascii() {
        return text.len();
    }
    text.bytes().position(|byte| !byte.is_ascii()).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matching_ignores_case_in_every_script() {
        for (needle, text, expected) in [
            ("", "", true),
            ("", "x", true),
            ("SUN", "the sunlight", true),
            ("sunn", "the sunlight", false),
            ("strasse", "Hauptstraße 1", true),
            ("Straße", "HAUPTSTRASSE", true),
            ("ΟΔΟΣ", "οδος", true),
            ("e\u{301}", "CAFÉ", true),
            ("cafe", "café", true),
            ("é", "cafe", false),
            ("МИР", "всему миру", true),
            ("ﬁn", "FINAL", true),
            ("x", "é x", true),
        ] {
            assert_eq!(Needle::new(needle).matches(text), expected, "{needle} in {text}");
        }
    }

    #[test]
    fn short_and_long_texts_are_found_alike() {
        for length in [Needle::SHORT - 1, Needle::SHORT, Needle::SHORT + 1] {
            let text = format!("{}Needle", "x".repeat(length - 6));
            assert!(Needle::new("nEEDLE").matches(&text) && Needle::new(&text).matches(&text));
            assert!(
                !Needle::new("needles").matches(&text) && !Needle::new(&format!("{text}s")).matches(&text)
            );
        }
    }

    #[test]
    fn matches_across_windows() {
        for (small, large) in [("n", "N"), ("é", "É"), ("ﷺ", "ﷺ")] {
            for length in [1, 2, 100, Needle::WINDOW / 3, Needle::WINDOW] {
                let needle = Needle::new(&small.repeat(length));
                let longer = Needle::new(&small.repeat(length + 1));
                for before in [0, Needle::WINDOW - 2, Needle::WINDOW - 1, Needle::WINDOW, Needle::WINDOW + 1]
                {
                    let text = format!("{}{}y", "x".repeat(before), large.repeat(length));
                    assert!(needle.matches(&text), "{length} {small} after {before}");
                    assert!(!longer.matches(&text), "{length} {small} after {before}");
                }
            }
        }
    }
}
