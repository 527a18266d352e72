//! Sequence sets: what a client asked for ([`SequenceSet`]) and which numbers that means ([`NumberSet`]).
//!
//! Neither is ever expanded: `1:4294967295` is one range, and work grows with ranges and matching messages only.

use std::ops::RangeInclusive;

use crate::few::Few;

/// Stands for `*` in a bound: no message has the number 0.
const STAR: u32 = 0;

/// Ranges of a set. A few, which is what most commands name, stand in place.
type Ranges = Few<(u32, u32), 4>;

/// A sequence set as written (RFC 9051 §9), or `$`, the saved result (RFC 5182). Numbers and `*` become ranges of
/// real numbers by [`resolve`](SequenceSet::resolve).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceSet(Repr);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Repr {
    Saved,
    Ranges(Ranges),
}

/// Distinct numbers as sorted ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberSet(Ranges);

impl SequenceSet {
    /// Reads the set at the start of `input`; the number of bytes read comes with it. `None` when there is none or
    /// when it is broken (`0`, `1:`, a number of 2^32 or more).
    pub fn parse_prefix(input: &[u8]) -> Option<(Self, usize)> {
        if input.first() == Some(&b'$') {
            return Some((SequenceSet(Repr::Saved), 1));
        }
        let mut ranges = Ranges::new();
        let mut at = 0;
        loop {
            let (first, next) = parse_number(input, at)?;
            at = next;
            let mut last = first;
            if input.get(at) == Some(&b':') {
                (last, at) = parse_number(input, at + 1)?;
            }
            push_range(&mut ranges, first, last);
            if input.get(at) != Some(&b',') {
                return Some((SequenceSet(Repr::Ranges(ranges)), at));
            }
            at += 1;
        }
    }

    /// The whole input as a set.
    pub fn parse(input: &[u8]) -> Option<Self> {
        Self::parse_prefix(input).filter(|(_, length)| *length == input.len()).map(|(set, _)| set)
    }

    /// Whether this is `$`: the caller takes the saved result instead of resolving.
    pub fn is_saved(&self) -> bool {
        matches!(self.0, Repr::Saved)
    }

    /// Whether `*` occurs.
    pub fn has_star(&self) -> bool {
        self.ranges().iter().any(|(first, last)| *first == STAR || *last == STAR)
    }

    /// The largest number that stands in the set, apart from `*`; 0 when there is none.
    pub fn max_number(&self) -> u32 {
        self.ranges().iter().map(|(first, last)| *first.max(last)).max().unwrap_or(0)
    }

    /// The set's numbers when `largest` is the number that `*` means: the largest in use, 0 in an empty mailbox,
    /// where `*` means nothing. Numbers above `largest` stay in; `$` resolves to nothing.
    pub fn resolve(&self, largest: u32) -> NumberSet {
        let bound = |number: u32| if number == STAR { largest } else { number };
        let mut ordered = Ranges::with_capacity(self.ranges().len());
        ordered.extend(self.ranges().iter().filter_map(|(first, last)| {
            let (first, last) = (bound(*first), bound(*last));
            let (low, high) = (first.min(last), first.max(last));
            (high > 0).then_some((low.max(1), high))
        }));
        NumberSet::from_unsorted(ordered)
    }

    /// The numbers in the order in which the client wrote them, for sets that must not contain `*` (the
    /// sequence-match data of QRESYNC pairs two sets by position). Lazy: a range costs nothing until it is walked.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges().iter().flat_map(|(first, last)| (*first).min(*last)..=(*first).max(*last))
    }

    fn ranges(&self) -> &[(u32, u32)] {
        match &self.0 {
            Repr::Saved => &[],
            Repr::Ranges(ranges) => ranges,
        }
    }
}

/// Appends a range, or widens the last one when the new one continues it: `1,2,3,…` stays one range.
fn push_range(ranges: &mut Ranges, first: u32, last: u32) {
    if let Some((low, high)) = ranges.last_mut() {
        let plain = *low != STAR && *high != STAR && first != STAR && last != STAR;
        if plain && *low <= *high && first <= last && first == high.saturating_add(1) {
            *high = last;
            return;
        }
        if (*low, *high) == (first, last) {
            return;
        }
    }
    ranges.push((first, last));
}

/// `*` or a number from 1 to 2^32-1 at `at`, and where it ends.
fn parse_number(input: &[u8], at: usize) -> Option<(u32, usize)> {
    let rest = input.get(at..)?;
    if rest.first() == Some(&b'*') {
        return Some((STAR, at + 1));
    }
    let mut value = 0u32;
    let mut digits = 0;
    for byte in rest.iter().take_while(|byte| byte.is_ascii_digit()) {
        value = value.checked_mul(10)?.checked_add(u32::from(byte - b'0'))?;
        digits += 1;
    }
    (value != 0 && rest.first() != Some(&b'0')).then_some((value, at + digits))
}

impl NumberSet {
    /// Sorts and merges. Ranges must have their bounds in order and no zero.
    fn from_unsorted(mut ranges: Ranges) -> Self {
        let is_in_order = ranges.windows(2).all(|pair| pair[0].1.saturating_add(1) < pair[1].0);
        if !is_in_order {
            ranges.sort_unstable();
            ranges.dedup_by(|next, previous| {
                let joins = next.0 <= previous.1.saturating_add(1);
                if joins {
                    previous.1 = previous.1.max(next.1);
                }
                joins
            });
        }
        NumberSet(ranges)
    }

    /// Appends a number that is larger than all in the set; smaller ones are ignored.
    pub fn push(&mut self, number: u32) {
        match self.0.last_mut() {
            Some((_, last)) if number <= *last => {}
            Some((_, last)) if number - *last == 1 => *last = number,
            _ if number == 0 => {}
            _ => self.0.push((number, number)),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Binary search over the ranges.
    pub fn contains(&self, number: u32) -> bool {
        let index = self.0.partition_point(|(_, last)| *last < number);
        self.0.get(index).is_some_and(|(first, _)| *first <= number)
    }

    /// The ranges in ascending order.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = RangeInclusive<u32>> + DoubleEndedIterator + '_ {
        self.0.iter().map(|(first, last)| *first..=*last)
    }

    /// How many numbers there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    pub fn first(&self) -> Option<u32> {
        self.0.first().map(|(first, _)| *first)
    }

    pub fn last(&self) -> Option<u32> {
        self.0.last().map(|(_, last)| *last)
    }
}

/// From numbers in ascending order.
impl FromIterator<u32> for NumberSet {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut set = NumberSet::default();
        numbers.into_iter().for_each(|number| set.push(number));
        set
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolved(text: &str, largest: u32) -> Option<Vec<(u32, u32)>> {
        let set = SequenceSet::parse(text.as_bytes())?;
        Some(set.resolve(largest).ranges().map(|range| (*range.start(), *range.end())).collect())
    }

    #[test]
    fn sets_resolve_to_sorted_ranges() {
        let cases = [
            ("1", 9, &[(1, 1)][..]),
            ("1:3,5", 9, &[(1, 3), (5, 5)]),
            ("4:2", 9, &[(2, 4)]),
            ("*", 9, &[(9, 9)]),
            ("*", 0, &[]),
            ("*:*", 9, &[(9, 9)]),
            ("*:3", 9, &[(3, 9)]),
            ("12:*", 9, &[(9, 12)]),
            ("1:*", 0, &[(1, 1)]),
            ("3,1,2,7:5,6", 9, &[(1, 3), (5, 7)]),
            ("1:4294967295", 9, &[(1, u32::MAX)]),
            ("4294967295:1,4294967295", 9, &[(1, u32::MAX)]),
            ("$", 9, &[]),
        ];
        for (text, largest, expected) in cases {
            assert_eq!(resolved(text, largest).as_deref(), Some(expected), "{text} with {largest} messages");
        }
    }

    #[test]
    fn broken_sets_threat_15() {
        for text in [
            "",
            "0",
            "01",
            "1:",
            ":1",
            "1,",
            ",1",
            "1,,2",
            "4294967296",
            "1:99999999999",
            "-1",
            "1 2",
            "$,1",
            "**",
        ] {
            assert_eq!(SequenceSet::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn many_items_stay_small_threat_15() {
        let ones = vec!["1"; 30_000].join(",");
        let stars = vec!["1:*"; 16_000].join(",");
        let counting = (1..10_000).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
        for text in [ones, stars, counting] {
            let Some(set) = SequenceSet::parse(text.as_bytes()) else { panic!("{}", &text[..20]) };
            assert_eq!(set.ranges().len(), 1);
        }
    }

    #[test]
    fn numbers_keep_the_written_order() {
        let Some(set) = SequenceSet::parse(b"9,3:5,1") else { panic!("set") };
        assert_eq!(set.numbers().collect::<Vec<_>>(), [9, 3, 4, 5, 1]);
        assert_eq!(set.max_number(), 9);
        assert!(!set.has_star());
    }

    proptest! {
        #[test]
        fn a_resolved_set_holds_what_was_asked(
            ranges in prop::collection::vec((1u32..60, 1u32..60), 1..12),
            star in prop::bool::ANY,
        ) {
            let mut text = ranges.iter().map(|(a, b)| format!("{a}:{b}")).collect::<Vec<_>>().join(",");
            if star {
                text.push_str(",*");
            }
            let set = SequenceSet::parse(text.as_bytes()).map(|set| set.resolve(70)).unwrap_or_default();
            for number in 0..80 {
                let asked = ranges.iter().any(|(a, b)| (*a.min(b)..=*a.max(b)).contains(&number));
                prop_assert_eq!(set.contains(number), asked || star && number == 70);
            }
            let bounds: Vec<_> = set.ranges().collect();
            prop_assert!(bounds.windows(2).all(|pair| *pair[0].end() + 1 < *pair[1].start()));
        }
    }
}
