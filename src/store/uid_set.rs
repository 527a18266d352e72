//! A set of UIDs as runs, which knows the rank of each member: what a command names, and what changed.
//!
//! UIDs are mostly contiguous, so a set of 100,000 is a handful of runs. Searching is logarithmic, adding at the end
//! constant. What is large and changes often is a [`UidIndex`](super::UidIndex).

use std::cell::RefCell;
use std::thread::LocalKey;

use super::names::{SeqNo, Uid};
use crate::few::Few;
use crate::spare::{Lend, Spares};

/// UIDs `first` to `last`, of which `before` smaller ones are in the set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Run {
    first: u32,
    last: u32,
    before: u32,
}

impl Run {
    fn len(&self) -> u32 {
        self.last - self.first + 1
    }
}

impl Lend for Run {
    const MOST: usize = 512;

    fn spares() -> &'static LocalKey<Spares<Run>> {
        thread_local!(static SPARES: Spares<Run> = const { RefCell::new(Vec::new()) });
        &SPARES
    }
}

/// Sorted, disjoint, maximal runs. A few, which is what most commands name, stand in place; more are in room that a thread
/// lends, of which a set that is kept gives back what it has no use for ([`rest`](Self::rest)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UidSet {
    runs: Few<Run, 4>,
}

impl UidSet {
    pub fn new() -> Self {
        UidSet::default()
    }

    /// An empty set with room for so many runs.
    pub(crate) fn with_room_for(runs: usize) -> Self {
        UidSet { runs: Few::with_capacity(runs) }
    }

    /// The set of one UID.
    pub fn single(uid: Uid) -> Self {
        let mut set = UidSet::new();
        set.push(uid);
        set
    }

    /// Any ranges, in any order, overlapping or not.
    pub fn from_ranges(ranges: impl IntoIterator<Item = (Uid, Uid)>) -> Self {
        let mut sorted: Few<(u32, u32), 4> =
            ranges.into_iter().map(|(a, b)| (a.min(b).get(), a.max(b).get())).collect();
        sorted.sort_unstable();
        let mut set = UidSet::new();
        for (first, last) in sorted.iter() {
            set.push_run(*first, *last);
        }
        set
    }

    /// Gives back what it has no use for: it is kept for long.
    pub fn rest(&mut self) {
        self.runs.rest();
    }

    /// How many UIDs are in the set.
    pub fn len(&self) -> u32 {
        self.runs.last().map_or(0, |run| run.before + run.len())
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub fn first(&self) -> Option<Uid> {
        self.runs.first().and_then(|run| Uid::new(run.first))
    }

    pub fn last(&self) -> Option<Uid> {
        self.runs.last().and_then(|run| Uid::new(run.last))
    }

    /// Adds a UID greater than all in the set, or already in it.
    pub fn push(&mut self, uid: Uid) {
        self.push_run(uid.get(), uid.get());
    }

    /// Adds a range that begins at or after the beginning of the last run.
    pub(crate) fn push_range(&mut self, first: Uid, last: Uid) {
        self.push_run(first.get(), last.get());
    }

    #[inline(never)]
    fn push_run(&mut self, first: u32, last: u32) {
        let before = self.len();
        match self.runs.last_mut() {
            Some(run) if first <= run.last.saturating_add(1) => run.last = run.last.max(last),
            _ => self.runs.push(Run { first, last, before }),
        }
    }

    /// Takes out the last run.
    pub(super) fn pop_run(&mut self) -> Option<(Uid, Uid)> {
        let run = self.runs.pop()?;
        Uid::new(run.first).zip(Uid::new(run.last))
    }

    #[inline]
    pub fn contains(&self, uid: Uid) -> bool {
        // Most sets that are asked about every message are empty: `\Recent` ones, those that a FETCH has read.
        !self.is_empty() && self.run_of(uid.get()).is_ok()
    }

    /// The run that holds `uid`, or the place of the first run behind it.
    fn run_of(&self, uid: u32) -> Result<usize, usize> {
        let at = self.runs.partition_point(|run| run.last < uid);
        match self.runs.get(at) {
            Some(run) if run.first <= uid => Ok(at),
            _ => Err(at),
        }
    }

    /// The rank of `uid`, from 1.
    pub fn seq_of(&self, uid: Uid) -> Option<SeqNo> {
        let run = self.runs[self.run_of(uid.get()).ok()?];
        SeqNo::new(run.before + (uid.get() - run.first) + 1)
    }

    /// The UID at a rank.
    pub fn uid_at(&self, seq: SeqNo) -> Option<Uid> {
        let index = seq.get() - 1;
        let at = self.runs.partition_point(|run| run.before + run.len() <= index);
        self.runs.get(at).and_then(|run| Uid::new(run.first + (index - run.before)))
    }

    /// How many members are smaller than `uid`.
    pub fn count_before(&self, uid: Uid) -> u32 {
        let at = self.runs.partition_point(|run| run.last < uid.get());
        self.runs.get(at).map_or(self.len(), |run| run.before + uid.get().saturating_sub(run.first))
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Uid> + '_ {
        self.runs.iter().flat_map(|run| (run.first..=run.last).filter_map(Uid::new))
    }

    /// The members from `from` on, ascending.
    pub fn iter_from(&self, from: Uid) -> impl Iterator<Item = Uid> + '_ {
        let from_there =
            move |(first, last): (Uid, Uid)| (first.max(from).get()..=last.get()).filter_map(Uid::new);
        self.ranges_from(from).flat_map(from_there)
    }

    /// The runs, ascending, both ends included.
    pub fn ranges(&self) -> impl DoubleEndedIterator<Item = (Uid, Uid)> + '_ {
        self.runs.iter().filter_map(|run| Some((Uid::new(run.first)?, Uid::new(run.last)?)))
    }

    /// The runs from the one on that holds `from`, or is the first behind it.
    pub(super) fn ranges_from(&self, from: Uid) -> impl Iterator<Item = (Uid, Uid)> + '_ {
        let at = self.runs.partition_point(|run| run.last < from.get());
        self.runs[at..].iter().filter_map(|run| Some((Uid::new(run.first)?, Uid::new(run.last)?)))
    }

    /// How many runs there are.
    pub(super) fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// Sets of up to so many runs, together this one.
    pub(super) fn chunks(&self, runs: usize) -> impl Iterator<Item = UidSet> + '_ {
        self.runs.chunks(runs).map(|runs| {
            let mut part = UidSet::new();
            runs.iter().for_each(|run| part.push_run(run.first, run.last));
            part
        })
    }

    /// The members from `first` to `last`.
    pub fn between(&self, first: Uid, last: Uid) -> UidSet {
        let mut part = UidSet::new();
        self.extend_between(first, last, &mut part);
        part
    }

    /// Appends the members from `first` to `last` to `out`, which has none behind them.
    pub(super) fn extend_between(&self, first: Uid, last: Uid, out: &mut UidSet) {
        let (first, last) = (first.get(), last.get());
        let from = self.runs.partition_point(|run| run.last < first);
        for run in self.runs[from..].iter().take_while(|run| run.first <= last) {
            out.push_run(run.first.max(first), run.last.min(last));
        }
    }

    /// What is in both sets.
    pub fn intersection(&self, other: &UidSet) -> UidSet {
        let (small, large) = if self.runs.len() <= other.runs.len() { (self, other) } else { (other, self) };
        let mut both = UidSet::new();
        small.ranges().for_each(|(first, last)| large.extend_between(first, last, &mut both));
        both
    }

    /// What is in this set and not in `other`.
    pub fn difference(&self, other: &UidSet) -> UidSet {
        let mut rest = UidSet::new();
        for run in self.runs.iter() {
            let mut next = u64::from(run.first);
            let from = other.runs.partition_point(|r| r.last < run.first);
            for hole in other.runs[from..].iter().take_while(|r| r.first <= run.last) {
                if u64::from(hole.first) > next {
                    rest.push_run(next as u32, hole.first - 1);
                }
                next = u64::from(hole.last) + 1;
            }
            if next <= u64::from(run.last) {
                rest.push_run(next as u32, run.last);
            }
        }
        rest
    }

    /// What is in either set.
    pub fn union(&self, other: &UidSet) -> UidSet {
        UidSet::from_ranges(self.ranges().chain(other.ranges()))
    }
}

impl FromIterator<Uid> for UidSet {
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> Self {
        UidSet::from_ranges(uids.into_iter().map(|uid| (uid, uid)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    pub fn uid(n: u32) -> Uid {
        Uid::new(n).unwrap()
    }

    pub fn set(uids: &BTreeSet<u32>) -> UidSet {
        uids.iter().map(|n| uid(*n)).collect()
    }

    pub fn members(set: &UidSet) -> Vec<u32> {
        set.iter().map(Uid::get).collect()
    }

    #[test]
    fn the_greatest_uid_is_an_ordinary_member() {
        let all = UidSet::from_ranges([(Uid::MIN, Uid::MAX)]);
        assert_eq!(all.len(), u32::MAX);
        assert_eq!(all.difference(&UidSet::single(Uid::MAX)).last(), Uid::new(u32::MAX - 1));
        assert_eq!(all.seq_of(Uid::MAX).map(SeqNo::get), Some(u32::MAX));
    }

    proptest! {
        #[test]
        fn behaves_like_a_sorted_set(
            a in prop::collection::btree_set(1u32..60, 0..40),
            b in prop::collection::btree_set(1u32..60, 0..40),
            from in 1u32..60, to in 1u32..60,
        ) {
            let (x, y) = (set(&a), set(&b));
            prop_assert_eq!(members(&x), a.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(x.len() as usize, a.len());
            prop_assert_eq!(members(&x.intersection(&y)), a.intersection(&b).copied().collect::<Vec<_>>());
            prop_assert_eq!(members(&x.difference(&y)), a.difference(&b).copied().collect::<Vec<_>>());
            prop_assert_eq!(members(&x.union(&y)), a.union(&b).copied().collect::<Vec<_>>());
            for (index, member) in a.iter().enumerate() {
                let seq = SeqNo::new(index as u32 + 1).unwrap();
                prop_assert_eq!(x.seq_of(uid(*member)), Some(seq));
                prop_assert_eq!(x.uid_at(seq), Some(uid(*member)));
            }
            let (low, high) = (from.min(to), from.max(to));
            prop_assert_eq!(members(&x.between(uid(low), uid(high))), a.range(low..=high).copied().collect::<Vec<_>>());
            prop_assert_eq!(x.count_before(uid(from)) as usize, a.range(..from).count());
            let pieces: Vec<UidSet> = x.chunks(3).collect();
            prop_assert!(pieces.iter().all(|piece| piece.run_count() <= 3));
            prop_assert_eq!(pieces.iter().flat_map(members).collect::<Vec<_>>(), members(&x));
            let last = x.ranges_from(uid(from)).next().map(|(_, last)| last.get());
            prop_assert_eq!(x.iter_from(uid(from)).map(Uid::get).collect::<Vec<_>>(), a.range(from..).copied().collect::<Vec<_>>());
            prop_assert_eq!(last, x.ranges().map(|(_, last)| last.get()).find(|last| *last >= from));
        }
    }
}
