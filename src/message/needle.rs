//! Substring matching without regard to case.
//!
//! The collation is i;unicode-casemap (RFC 5051) with full case mapping: each character is put in upper case
//! and then decomposed (NFKD). So `STRASSE` finds `straße`, `σ` finds `ς`, `é` finds its decomposed twin, and
//! `e` finds both, since the accent follows as a character of its own.

use memchr::memmem::Finder;
use unicode_normalization::char::decompose_compatible;

/// A text to look for, folded once. Searching is linear in the haystack whatever either side holds.
#[derive(Clone, Debug)]
pub struct Needle {
    finder: Finder<'static>,
    ascii: bool,
}

impl Needle {
    /// Haystacks are folded through a window of this size, which stays in the first-level cache.
    const WINDOW: usize = 4096;
    /// Longer needles would make windows overlap too much.
    const HALF: usize = Self::WINDOW / 2;
    /// What a header field mostly fits in.
    const SMALL: usize = 256;

    /// Folds `text`. The empty needle is in every text.
    pub fn new(text: &str) -> Self {
        let folded = fold(text);
        Self { ascii: folded.is_ascii(), finder: Finder::new(folded.as_bytes()).into_owned() }
    }

    /// Whether this is the empty needle.
    pub fn is_empty(&self) -> bool {
        self.finder.needle().is_empty()
    }

    /// Whether `text` holds the needle.
    pub fn matches(&self, text: &str) -> bool {
        if !text.is_ascii() {
            return self.finder.find(fold(text).as_bytes()).is_some();
        }
        if !self.ascii {
            return false;
        }
        match (text.len(), self.finder.needle().len()) {
            (..=Self::SMALL, _) => self.matches_ascii(text.as_bytes(), &mut [0; Self::SMALL]),
            (_, ..=Self::HALF) => self.matches_ascii(text.as_bytes(), &mut [0; Self::WINDOW]),
            _ => self.finder.find(&text.as_bytes().to_ascii_uppercase()).is_some(),
        }
    }

    /// Looks through one window after the other; they overlap by one octet less than the needle has. The
    /// buffer is longer than the needle, or holds all of the text.
    fn matches_ascii(&self, text: &[u8], buffer: &mut [u8]) -> bool {
        let overlap = self.finder.needle().len().saturating_sub(1);
        let mut start = 0;
        loop {
            let length = (text.len() - start).min(buffer.len());
            let window = &mut buffer[..length];
            window.copy_from_slice(&text[start..start + length]);
            window.make_ascii_uppercase();
            if self.finder.find(window).is_some() {
                return true;
            }
            if start + length == text.len() {
                return false;
            }
            start += length - overlap;
        }
    }
}

/// The form in which texts are compared.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len() + text.len() / 4);
    let mut rest = text;
    while !rest.is_empty() {
        let ascii = rest.bytes().position(|byte| !byte.is_ascii()).unwrap_or(rest.len());
        let (plain, tail) = rest.split_at(ascii);
        let start = folded.len();
        folded.push_str(plain);
        folded[start..].make_ascii_uppercase();
        let other = tail.bytes().position(|byte| byte.is_ascii()).unwrap_or(tail.len());
        let (other, tail) = tail.split_at(other);
        for upper in other.chars().flat_map(char::to_uppercase) {
            decompose_compatible(upper, |character| folded.push(character));
        }
        rest = tail;
    }
    folded
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
    fn matches_across_windows() {
        for length in [2, 100, Needle::WINDOW / 2, Needle::WINDOW] {
            let needle = "n".repeat(length);
            for before in [Needle::WINDOW - 1, Needle::WINDOW, 2 * Needle::WINDOW - length] {
                let text = format!("{}{}y", "x".repeat(before), "N".repeat(length));
                assert!(Needle::new(&needle).matches(&text), "{length} after {before}");
                assert!(!Needle::new(&format!("{needle}n")).matches(&text), "{length} after {before}");
            }
        }
    }
}
