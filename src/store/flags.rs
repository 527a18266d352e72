//! Flags of a message: the five system flags as bits, keywords as bits of a table that each mailbox has.

use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::limits::{MAX_KEYWORD, MAX_KEYWORDS};

/// System flags (RFC 9051 §2.3.2). `\Recent` is not one: it belongs to a session's view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u16);

impl Flags {
    pub const NONE: Flags = Flags(0);
    pub const SEEN: Flags = Flags(1);
    pub const ANSWERED: Flags = Flags(2);
    pub const FLAGGED: Flags = Flags(4);
    pub const DELETED: Flags = Flags(8);
    pub const DRAFT: Flags = Flags(16);

    /// Flags with their names, in the order in which they are shown.
    pub const NAMED: [(Flags, &'static str); 5] = [
        (Flags::ANSWERED, "\\Answered"),
        (Flags::FLAGGED, "\\Flagged"),
        (Flags::DELETED, "\\Deleted"),
        (Flags::SEEN, "\\Seen"),
        (Flags::DRAFT, "\\Draft"),
    ];

    /// How many sets of them there are; the bits of each are smaller.
    pub(crate) const SETS: usize = 32;

    pub(crate) const fn bits(self) -> u16 {
        self.0
    }

    /// Unknown bits are dropped: a newer version may have written them.
    pub(crate) const fn from_bits(bits: u16) -> Flags {
        Flags(bits & (Self::SETS as u16 - 1))
    }

    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether both have a flag in common.
    pub const fn intersects(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Flags) {
        self.0 |= other.0;
    }
}

impl BitAnd for Flags {
    type Output = Flags;
    fn bitand(self, other: Flags) -> Flags {
        Flags(self.0 & other.0)
    }
}

impl Not for Flags {
    type Output = Flags;
    fn not(self) -> Flags {
        Flags::from_bits(!self.0)
    }
}

/// Which bytes an atom has (RFC 9051 §9 ATOM-CHAR).
const ATOM: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        table[byte as usize] = !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']');
        byte += 1;
    }
    table
};

/// A keyword: an atom of at most [`MAX_KEYWORD`] bytes. Two that differ only in ASCII case are the same keyword;
/// a mailbox shows the spelling that it saw first.
#[derive(Clone, Debug)]
pub struct Keyword(SmolStr);

impl Keyword {
    /// `None` when `name` is not an atom or too long.
    pub fn new(name: &str) -> Option<Keyword> {
        let is_atom = name.bytes().all(|byte| ATOM[usize::from(byte)]);
        (is_atom && !name.is_empty() && name.len() <= MAX_KEYWORD).then(|| Keyword(SmolStr::new(name)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Keyword) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Keyword {}

/// Flags as a client names them: in APPEND and STORE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagList {
    pub system: Flags,
    pub keywords: SmallVec<[Keyword; 2]>,
}

/// What STORE does with the flags it names (RFC 9051 §6.4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagChange {
    Replace,
    Add,
    Remove,
}

/// The keywords of one message: bit `n` stands for the `n`th keyword of the mailbox's [`KeywordTable`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeywordSet {
    low: u64,
    /// Bits from 64 up, without trailing zero words; absent in nearly every message, hence one word and not three.
    #[allow(clippy::box_collection)]
    high: Option<Box<Vec<u64>>>,
}

impl KeywordSet {
    pub fn is_empty(&self) -> bool {
        self.low == 0 && self.high.is_none()
    }

    pub fn contains(&self, index: usize) -> bool {
        match index.checked_sub(64) {
            None => self.low >> index & 1 == 1,
            Some(rest) => self
                .high
                .as_ref()
                .and_then(|words| words.get(rest / 64))
                .is_some_and(|word| word >> (rest % 64) & 1 == 1),
        }
    }

    /// The set bits, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let high = self.high.as_deref().map_or(&[][..], Vec::as_slice);
        std::iter::once(self.low).chain(high.iter().copied()).enumerate().flat_map(|(at, word)| {
            std::iter::successors((word != 0).then_some(word), |w| {
                let rest = w & (w - 1);
                (rest != 0).then_some(rest)
            })
            .map(move |w| at * 64 + w.trailing_zeros() as usize)
        })
    }

    pub(crate) fn insert(&mut self, index: usize) {
        match index.checked_sub(64) {
            None => self.low |= 1 << index,
            Some(rest) => {
                let words = self.high.get_or_insert_default();
                if words.len() <= rest / 64 {
                    words.resize(rest / 64 + 1, 0);
                }
                words[rest / 64] |= 1 << (rest % 64);
            }
        }
    }

    fn remove(&mut self, index: usize) {
        match index.checked_sub(64) {
            None => self.low &= !(1 << index),
            Some(rest) => {
                if let Some(word) = self.high.as_mut().and_then(|words| words.get_mut(rest / 64)) {
                    *word &= !(1 << (rest % 64));
                }
                self.trim();
            }
        }
    }

    fn trim(&mut self) {
        if let Some(words) = &mut self.high {
            while words.last() == Some(&0) {
                words.pop();
            }
            if words.is_empty() {
                self.high = None;
            }
        }
    }

    /// Applies a change of the keywords `named`.
    pub(crate) fn change(&mut self, how: FlagChange, named: &KeywordSet) {
        match how {
            FlagChange::Replace => *self = named.clone(),
            FlagChange::Add => named.iter().for_each(|index| self.insert(index)),
            FlagChange::Remove => named.iter().for_each(|index| self.remove(index)),
        }
    }
}

impl Flags {
    /// The flags after a change of the flags `named`.
    pub(crate) fn changed(self, how: FlagChange, named: Flags) -> Flags {
        match how {
            FlagChange::Replace => named,
            FlagChange::Add => self | named,
            FlagChange::Remove => self & !named,
        }
    }
}

/// The keywords that a mailbox knows; a position in it never changes its meaning.
#[derive(Clone, Debug, Default)]
pub struct KeywordTable {
    names: Vec<Keyword>,
}

impl KeywordTable {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(Keyword::as_str)
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub fn name(&self, index: usize) -> Option<&str> {
        self.names.get(index).map(Keyword::as_str)
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        // Nearly always it is spelled as it was the first time.
        let same = self.names.iter().position(|known| known.as_str() == name);
        same.or_else(|| self.names.iter().position(|known| known.as_str().eq_ignore_ascii_case(name)))
    }

    /// Finds or adds a keyword; `None` when the table is full.
    pub(crate) fn intern(&mut self, keyword: &Keyword) -> Option<usize> {
        self.position(keyword.as_str()).or_else(|| {
            (self.names.len() < MAX_KEYWORDS).then(|| {
                self.names.push(keyword.clone());
                self.names.len() - 1
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_beyond_the_first_word_come_and_go() {
        let mut set = KeywordSet::default();
        for index in [0, 63, 64, 200] {
            set.insert(index);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 200]);
        let mut gone = KeywordSet::default();
        gone.insert(200);
        gone.insert(64);
        set.change(FlagChange::Remove, &gone);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63]);
        let mut low = KeywordSet::default();
        low.insert(0);
        low.insert(63);
        assert_eq!(set, low, "no empty words stay behind");
    }

    #[test]
    fn a_keyword_is_an_atom() {
        for good in ["$Junk", "a", "x-y.z", "Label1"] {
            assert!(Keyword::new(good).is_some(), "{good}");
        }
        for bad in ["", "a b", "\\Seen", "a(", "a]", "é", "a\r", &"k".repeat(256)] {
            assert!(Keyword::new(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn the_table_ignores_case_and_has_an_end() {
        let mut table = KeywordTable::default();
        let junk = Keyword::new("$Junk").unwrap();
        assert_eq!(table.intern(&junk), Some(0));
        assert_eq!(table.intern(&Keyword::new("$JUNK").unwrap()), Some(0));
        for n in 1..MAX_KEYWORDS {
            assert_eq!(table.intern(&Keyword::new(&format!("k{n}")).unwrap()), Some(n));
        }
        assert_eq!(table.intern(&Keyword::new("more").unwrap()), None);
    }
}
