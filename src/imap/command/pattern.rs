//! LIST patterns (RFC 9051 §6.3.9): `*` matches anything, `%` anything but the delimiter.
//!
//! All positions of the pattern are tried at once, a bit each, so that the time grows with the name's length and never
//! explodes, whatever the pattern. Patterns without wildcards and with nothing else are simply compared.

use smallvec::{SmallVec, smallvec};

use crate::imap::types::INBOX;

/// Bits, lowest first, as many words as the pattern needs.
type Bits = SmallVec<[u64; 2]>;

/// The bytes of a pattern; those of most fit.
type Text = SmallVec<[u8; 32]>;

/// A pattern made ready for many names.
pub(super) struct Pattern {
    /// Without needless wildcards; `*` and `%` never stand side by side.
    text: Text,
    matcher: Matcher,
}

enum Matcher {
    /// `*`
    All,
    /// `%`
    OneLevel,
    /// No wildcard.
    Name,
    Positions(Positions),
}

/// Where the pattern has what.
struct Positions {
    /// For each byte, the positions where the pattern has it.
    literals: Vec<u64>,
    stars: Bits,
    percents: Bits,
    /// Its length.
    end: usize,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        let text = simplified(text);
        let matcher = match &*text {
            b"*" => Matcher::All,
            b"%" => Matcher::OneLevel,
            text if !text.iter().any(|byte| matches!(byte, b'*' | b'%')) => Matcher::Name,
            text => Matcher::Positions(Positions::of(text)),
        };
        Pattern { text, matcher }
    }

    /// The levels that every match begins with: all of a pattern without wildcards, otherwise those before the first.
    pub(super) fn branch(&self) -> &[u8] {
        let Some(wild) = self.text.iter().position(|byte| matches!(byte, b'*' | b'%')) else {
            return &self.text;
        };
        let levels = self.text[..wild].iter().rposition(|byte| *byte == b'/');
        &self.text[..levels.unwrap_or(0)]
    }

    /// Whether the last level of a match may be the last that exists: parents that are no mailboxes are shown then
    /// (RFC 3501 §6.3.8).
    pub(super) fn ends_in_percent(&self) -> bool {
        self.text.last() == Some(&b'%')
    }

    /// Whether the whole name matches. The first level `INBOX` matches in any case.
    pub(super) fn matches(&self, name: &str) -> bool {
        let inbox = if is_inbox(name) { INBOX.len() } else { 0 };
        match &self.matcher {
            Matcher::All => true,
            Matcher::OneLevel => !name.as_bytes().contains(&b'/'),
            Matcher::Name => {
                self.text.len() == name.len() && {
                    let ((first, rest), (name, tail)) =
                        (self.text.split_at(inbox), name.as_bytes().split_at(inbox));
                    first.eq_ignore_ascii_case(name) && rest == tail
                }
            }
            Matcher::Positions(positions) => positions.match_all(name, inbox),
        }
    }
}

impl Positions {
    fn of(text: &[u8]) -> Self {
        let words = text.len() / 64 + 1;
        let mut literals = vec![0; words * 256];
        let (mut stars, mut percents): (Bits, Bits) = (smallvec![0; words], smallvec![0; words]);
        for (at, byte) in text.iter().enumerate() {
            let (word, bit) = (at / 64, 1u64 << (at % 64));
            match byte {
                b'*' => stars[word] |= bit,
                b'%' => percents[word] |= bit,
                literal => literals[usize::from(*literal) * words + word] |= bit,
            }
        }
        Positions { literals, stars, percents, end: text.len() }
    }

    /// Whether the whole name matches, its first `inbox` bytes in any case.
    fn match_all(&self, name: &str, inbox: usize) -> bool {
        let mut active: Bits = smallvec![0; self.stars.len()];
        active[0] = 1;
        self.pass_wildcards(&mut active);
        for (at, byte) in name.bytes().enumerate() {
            if !self.advance(&mut active, byte, at < inbox) {
                return false;
            }
        }
        active[self.end / 64] >> (self.end % 64) & 1 == 1
    }

    /// Moves every active position past one byte; false when none is left.
    fn advance(&self, active: &mut Bits, byte: u8, any_case: bool) -> bool {
        let words = self.stars.len();
        let literal = &self.literals[usize::from(byte) * words..][..words];
        let lower = &self.literals[usize::from(byte.to_ascii_lowercase()) * words..][..words];
        let (mut carry, mut any) = (0, 0);
        for word in 0..words {
            let here = active[word];
            let fits = if any_case { literal[word] | lower[word] } else { literal[word] };
            let wild = self.stars[word] | if byte == b'/' { 0 } else { self.percents[word] };
            let moved = here & fits;
            active[word] = moved << 1 | carry | here & wild;
            carry = moved >> 63;
            any |= active[word];
        }
        self.pass_wildcards(active);
        any != 0
    }

    /// A wildcard matches nothing, too: a position at one is also the position behind it.
    fn pass_wildcards(&self, active: &mut Bits) {
        let mut carry = 0;
        for word in 0..active.len() {
            let wild = (active[word] | carry) & (self.stars[word] | self.percents[word]);
            active[word] |= carry | wild << 1;
            carry = wild >> 63;
        }
    }
}

/// Runs of wildcards are one: `*` when it holds a `*`, otherwise `%`.
fn simplified(text: &str) -> Text {
    let mut simple = Text::with_capacity(text.len());
    for byte in text.bytes() {
        match (simple.last_mut(), byte) {
            (Some(last @ (b'*' | b'%')), b'*') => *last = b'*',
            (Some(b'*' | b'%'), b'%') => {}
            _ => simple.push(byte),
        }
    }
    simple
}

fn is_inbox(name: &str) -> bool {
    name.strip_prefix(INBOX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards_stop_where_they_should() {
        for (pattern, name, expected) in [
            ("*", "a/b", true),
            ("%", "a/b", false),
            ("%", "a", true),
            ("%/%", "a/b", true),
            ("a%", "a", true),
            ("a/%", "a", false),
            ("%b*", "ab/c", true),
            ("*%", "a/b", true),
            ("inbox", "INBOX", true),
            ("in%x/C", "INBOX/C", true),
            ("inbox/c", "INBOX/C", false),
            ("inb*", "INBOXES", false),
            ("", "", true),
            ("", "a", false),
            ("%t*4", "test3/test4", true),
            ("\u{e4}%", "\u{e4}\u{f6}", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn a_branch_holds_all_matches() {
        for (pattern, expected) in
            [("a/b", "a/b"), ("a/b*", "a"), ("a/b/%", "a/b"), ("a%/b", ""), ("*", ""), ("", ""), ("/%", "")]
        {
            assert_eq!(Pattern::new(pattern).branch(), expected.as_bytes(), "{pattern}");
        }
    }

    #[test]
    fn a_hostile_pattern_is_as_fast_as_any_threat_14() {
        let pattern = Pattern::new(&"*a%".repeat(340));
        assert!(!pattern.matches(&"a/".repeat(300)));
        assert!(Pattern::new(&"%*".repeat(500)).matches(&"x".repeat(1000)));
    }

    /// The definition, too slow for use.
    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => naive(rest, name) || !name.is_empty() && naive(pattern, &name[1..]),
            (Some((b'%', rest)), _) => {
                naive(rest, name) || name.first().is_some_and(|c| *c != b'/') && naive(pattern, &name[1..])
            }
            (Some((p, rest)), Some((c, tail))) => p == c && naive(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matches_as_defined(pattern in "[ab/*%]{0,8}", name in "[ab/]{0,8}", pad in 0usize..2) {
            let filler = "c".repeat(pad * 62);
            let (pattern, name) = (format!("{filler}{pattern}"), format!("{filler}{name}"));
            prop_assert_eq!(Pattern::new(&pattern).matches(&name), naive(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
