//! The UIDs of a mailbox, which every session that has it open shares.
//!
//! A mailbox that has lost messages here and there has as many runs as gaps: a million messages, half of them gone, half a
//! million. A change must not copy them, nor look at each to see what is gone. So the runs stand in blocks: a copy shares
//! them all, a change makes a new one of the blocks that it touches, and what differs between two copies is in the blocks that
//! they do not share. The last run, which grows with every message that arrives, stands beside them: neither a copy nor a
//! message that follows it asks for memory.

use std::sync::Arc;

use smallvec::SmallVec;

use super::names::{SeqNo, Uid};
use super::uid_set::UidSet;

/// Most runs of a block. A change copies a block, 6 KiB at most, and the list of blocks: 16 bytes for 256 to 512 runs.
const MAX_RUNS: usize = 512;

/// A sorted set of UIDs that knows the rank of each member, as [`UidSet`] does. Copying it takes no time; adding and removing
/// take time that grows with the blocks, of 512 runs at most.
#[derive(Clone, Debug, Default)]
pub struct UidIndex {
    /// All runs but the last, or all of them.
    blocks: Option<Arc<Vec<Block>>>,
    tail: Option<Tail>,
}

/// Never empty; behind all of the blocks before it.
#[derive(Clone, Debug)]
struct Block {
    uids: Arc<UidSet>,
    last: Uid,
    /// Members in the blocks before.
    before: u32,
}

/// The last run.
#[derive(Clone, Copy, Debug)]
struct Tail {
    first: Uid,
    last: Uid,
    /// Members in the blocks.
    before: u32,
}

impl Block {
    /// `None` when there is nothing in it.
    fn of(mut uids: UidSet, before: u32) -> Option<Block> {
        uids.rest();
        uids.last().map(|last| Block { last, before, uids: Arc::new(uids) })
    }

    /// This block with other members, in the same memory if nobody shares it.
    fn with(mut self, mut uids: UidSet) -> Option<Block> {
        uids.rest();
        self.last = uids.last()?;
        match Arc::get_mut(&mut self.uids) {
            Some(own) => *own = uids,
            None => self.uids = Arc::new(uids),
        }
        Some(self)
    }

    fn end(&self) -> u32 {
        self.before + self.uids.len()
    }
}

impl Tail {
    fn end(&self) -> u32 {
        self.before + (self.last.get() - self.first.get()) + 1
    }

    fn set(&self) -> UidSet {
        UidSet::from_ranges([(self.first, self.last)])
    }
}

impl UidIndex {
    /// How many UIDs are in the set.
    pub fn len(&self) -> u32 {
        self.tail.map_or_else(|| self.in_blocks(), |tail| tail.end())
    }

    pub fn is_empty(&self) -> bool {
        self.last().is_none()
    }

    pub fn last(&self) -> Option<Uid> {
        self.tail.map(|tail| tail.last).or_else(|| self.blocks().last().map(|block| block.last))
    }

    fn blocks(&self) -> &[Block] {
        self.blocks.as_ref().map_or(&[], |blocks| blocks.as_slice())
    }

    /// The first block that does not end before `uid`; as many as there are when all do.
    fn block_of(&self, uid: Uid) -> usize {
        self.blocks().partition_point(|block| block.last < uid)
    }

    /// The last run, if no block can have `uid`.
    fn tail_from(&self, uid: Uid) -> Option<Tail> {
        self.tail.filter(|tail| tail.first <= uid)
    }

    pub fn contains(&self, uid: Uid) -> bool {
        if let Some(tail) = self.tail_from(uid) {
            return uid <= tail.last;
        }
        self.blocks().get(self.block_of(uid)).is_some_and(|block| block.uids.contains(uid))
    }

    /// The rank of `uid`, from 1.
    pub fn seq_of(&self, uid: Uid) -> Option<SeqNo> {
        if let Some(tail) = self.tail_from(uid) {
            let seq = tail.before + (uid.get() - tail.first.get()) + 1;
            return SeqNo::new(seq).filter(|_| uid <= tail.last);
        }
        let block = self.blocks().get(self.block_of(uid))?;
        SeqNo::new(block.before + block.uids.seq_of(uid)?.get())
    }

    /// The UID at a rank.
    pub fn uid_at(&self, seq: SeqNo) -> Option<Uid> {
        if let Some(tail) = self.tail.filter(|tail| seq.get() > tail.before) {
            let uid = tail.first.get().checked_add(seq.get() - tail.before - 1)?;
            return Uid::new(uid).filter(|uid| *uid <= tail.last);
        }
        let at = self.blocks().partition_point(|block| block.end() < seq.get());
        let block = self.blocks().get(at)?;
        block.uids.uid_at(SeqNo::new(seq.get() - block.before)?)
    }

    /// How many members are smaller than `uid`.
    pub fn count_before(&self, uid: Uid) -> u32 {
        if let Some(tail) = self.tail_from(uid) {
            return if uid > tail.last { tail.end() } else { tail.before + (uid.get() - tail.first.get()) };
        }
        let block = self.blocks().get(self.block_of(uid));
        block.map_or_else(|| self.in_blocks(), |block| block.before + block.uids.count_before(uid))
    }

    /// How many members are in `other`.
    pub fn count_among(&self, other: &UidSet) -> u32 {
        let up_to = |last: Uid| self.count_before(last) + u32::from(self.contains(last));
        other.ranges().map(|(first, last)| up_to(last) - self.count_before(first)).sum()
    }

    /// The runs, ascending, both ends included.
    pub fn ranges(&self) -> impl Iterator<Item = (Uid, Uid)> + '_ {
        let tail = self.tail.map(|tail| (tail.first, tail.last));
        self.blocks().iter().flat_map(|block| block.uids.ranges()).chain(tail)
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Uid> + '_ {
        self.ranges().flat_map(|(first, last)| (first.get()..=last.get()).filter_map(Uid::new))
    }

    /// All members as a set of their own.
    pub fn to_set(&self) -> UidSet {
        let mut all = UidSet::new();
        self.ranges().for_each(|(first, last)| all.push_range(first, last));
        all
    }

    /// The members from `first` to `last`.
    pub fn between(&self, first: Uid, last: Uid) -> UidSet {
        let mut part = UidSet::new();
        self.extend_between(first, last, &mut part);
        part
    }

    fn extend_between(&self, first: Uid, last: Uid, out: &mut UidSet) {
        for block in &self.blocks()[self.block_of(first)..] {
            block.uids.extend_between(first, last, out);
            if block.last >= last {
                return;
            }
        }
        if let Some(tail) = self.tail.filter(|tail| tail.first <= last && first <= tail.last) {
            out.push_range(first.max(tail.first), last.min(tail.last));
        }
    }

    /// Appends the members of rank `first` to `last` to `out`, which has none behind them; ranks beyond the end are
    /// left out.
    pub fn extend_between_seqs(&self, first: SeqNo, last: SeqNo, out: &mut UidSet) {
        let Some(from) = self.uid_at(first) else { return };
        if first == last {
            return out.push(from);
        }
        let end = SeqNo::new(last.get().min(self.len()));
        if let Some(to) = end.and_then(|seq| self.uid_at(seq)) {
            self.extend_between(from, to, out);
        }
    }

    /// What is in both sets.
    pub fn intersection(&self, other: &UidSet) -> UidSet {
        let mut both = UidSet::new();
        other.ranges().for_each(|(first, last)| self.extend_between(first, last, &mut both));
        both
    }

    /// What is in `other` and not in this set.
    pub fn missing(&self, other: &UidSet) -> UidSet {
        other.difference(&self.intersection(other))
    }

    /// What is in this set and not in `newer`. Blocks that both share are not looked into.
    pub fn gone(&self, newer: &UidIndex) -> UidSet {
        let mut gone = UidSet::new();
        let mut lacks = |first: Uid, last: Uid, part: &UidSet| {
            let left = newer.between(first, last);
            part.difference(&left).ranges().for_each(|(first, last)| gone.push_range(first, last));
        };
        let mut rest = newer.blocks().iter().peekable();
        for block in self.blocks() {
            let Some(first) = block.uids.first() else { continue };
            while rest.next_if(|block| block.last < first).is_some() {}
            if rest.peek().is_none_or(|found| !Arc::ptr_eq(&found.uids, &block.uids)) {
                lacks(first, block.last, &block.uids);
            }
        }
        if let Some(tail) = &self.tail {
            lacks(tail.first, tail.last, &tail.set());
        }
        gone
    }

    /// Adds a UID greater than all in the set.
    pub fn push(&mut self, uid: Uid) {
        self.push_range(uid, uid);
    }

    /// Adds UIDs greater than all in the set.
    pub fn push_range(&mut self, first: Uid, last: Uid) {
        if self.tail.is_none() && self.last().is_some_and(|last| continues(last, first)) {
            self.raise_tail();
        }
        match &mut self.tail {
            Some(tail) if continues(tail.last, first) => tail.last = last,
            _ => {
                self.bury_tail();
                self.tail = Some(Tail { first, last, before: self.in_blocks() });
            }
        }
    }

    /// Adds all members of `more`, wherever they belong.
    pub fn add_all(&mut self, more: &UidSet) {
        let Some(first) = more.first() else { return };
        if self.last().is_none_or(|last| last < first) {
            return more.ranges().for_each(|(first, last)| self.push_range(first, last));
        }
        // A block takes all up to its end, the last one all that is left.
        self.bury_tail();
        let mut next = first;
        self.change_blocks(first, |block, is_last| {
            let end = if is_last { Uid::MAX } else { block.last };
            let here = more.between(next, end);
            next = Uid::new(block.last.get().saturating_add(1)).unwrap_or(Uid::MAX);
            (!here.is_empty()).then(|| block.uids.union(&here))
        });
    }

    /// Takes out all members of `gone`.
    pub fn remove_all(&mut self, gone: &UidSet) {
        let Some(first) = gone.first() else { return };
        if self.tail_from(first).is_none() {
            self.change_blocks(first, |block, _| {
                let here =
                    block.uids.first().map(|first| gone.between(first, block.last)).unwrap_or_default();
                (!here.is_empty()).then(|| block.uids.difference(&here))
            });
        }
        let Some(tail) = self.tail.take() else { return };
        for (first, last) in tail.set().difference(&gone.between(tail.first, tail.last)).ranges() {
            self.push_range(first, last);
        }
    }

    /// Members in the blocks.
    fn in_blocks(&self) -> u32 {
        self.blocks().last().map_or(0, Block::end)
    }

    /// Puts the last run into the blocks: another one follows.
    fn bury_tail(&mut self) {
        let Some(tail) = self.tail.take() else { return };
        let blocks = Arc::make_mut(self.blocks.get_or_insert_default());
        match blocks.last_mut() {
            Some(block) if block.uids.run_count() < MAX_RUNS => {
                Arc::make_mut(&mut block.uids).push_range(tail.first, tail.last);
                block.last = tail.last;
            }
            _ => blocks.extend(Block::of(tail.set(), tail.before)),
        }
    }

    /// Takes the last run out of the blocks: it goes on.
    fn raise_tail(&mut self) {
        let Some(list) = &mut self.blocks else { return };
        let blocks = Arc::make_mut(list);
        let Some(block) = blocks.last_mut() else { return };
        let run = Arc::make_mut(&mut block.uids).pop_run();
        match block.uids.last() {
            Some(last) => block.last = last,
            None => drop(blocks.pop()),
        }
        let before = self.in_blocks();
        self.tail = run.map(|(first, last)| Tail { first, last, before });
    }

    /// Gives each block from that of `uid` on to `change`, and whether it is the last one; what it returns stands in its
    /// place, in several blocks when it has become too many runs.
    fn change_blocks(&mut self, uid: Uid, mut change: impl FnMut(&Block, bool) -> Option<UidSet>) {
        let from = self.block_of(uid);
        let Some(list) = &mut self.blocks else { return };
        let blocks = Arc::make_mut(list);
        let touched: SmallVec<[Block; 4]> = blocks.drain(from..).collect();
        let count = touched.len();
        for (at, mut block) in touched.into_iter().enumerate() {
            let changed = change(&block, at + 1 == count);
            block.before = blocks.last().map_or(0, Block::end);
            match changed {
                None => blocks.push(block),
                Some(changed) if changed.run_count() <= MAX_RUNS => blocks.extend(block.with(changed)),
                // Halves, which have room for the next changes.
                Some(changed) => {
                    for part in changed.chunks(MAX_RUNS / 2) {
                        let before = blocks.last().map_or(0, Block::end);
                        blocks.extend(Block::of(part, before));
                    }
                }
            }
        }
    }
}

fn continues(last: Uid, next: Uid) -> bool {
    last.get().checked_add(1) == Some(next.get())
}

impl PartialEq<UidSet> for UidIndex {
    fn eq(&self, other: &UidSet) -> bool {
        self.to_set() == *other
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::store::uid_set::tests::{members, set, uid};

    fn index(uids: &BTreeSet<u32>) -> UidIndex {
        let mut index = UidIndex::default();
        uids.iter().for_each(|n| index.push(uid(*n)));
        index
    }

    /// UIDs with gaps, in many blocks.
    fn gappy(count: u32) -> UidIndex {
        let mut index = UidIndex::default();
        (1..=count).for_each(|n| index.push(uid(2 * n)));
        index
    }

    #[test]
    fn a_change_leaves_most_of_a_copy_shared() {
        let old = gappy(10 * MAX_RUNS as u32);
        let mut new = old.clone();
        new.remove_all(&UidSet::single(uid(2 * 700)));
        new.push(uid(100_000));
        let shared = |block: &&Block| old.blocks().iter().any(|known| Arc::ptr_eq(&known.uids, &block.uids));
        assert_eq!(old.blocks().len(), 10);
        assert_eq!(
            new.blocks().iter().filter(shared).count(),
            8,
            "one was touched, one has the run that was last"
        );
        assert_eq!(members(&old.gone(&new)), [1400]);
        assert_eq!(old.len(), 10 * MAX_RUNS as u32, "the copy is as it was");
    }

    #[test]
    fn a_run_that_falls_apart_becomes_blocks() {
        let mut index = UidIndex::default();
        index.push_range(uid(1), uid(10_000));
        let odd: UidSet = (1..=10_000).step_by(2).map(uid).collect();
        index.remove_all(&odd);
        assert!(index.blocks().len() >= 5000 / MAX_RUNS);
        assert!(index.blocks().iter().all(|block| block.uids.run_count() <= MAX_RUNS));
        assert_eq!(index.len(), 5000);
        assert_eq!(index.uid_at(SeqNo::new(2500).unwrap()), Some(uid(5000)));
        assert_eq!(index.seq_of(uid(5000)).map(SeqNo::get), Some(2500));
        index.remove_all(&index.to_set());
        assert!(index.is_empty() && index.last().is_none());
    }

    #[test]
    fn the_greatest_uid_is_an_ordinary_member() {
        let mut index = gappy(MAX_RUNS as u32);
        index.push(Uid::MAX);
        assert_eq!(index.last(), Some(Uid::MAX));
        assert_eq!(index.seq_of(Uid::MAX).map(SeqNo::get), Some(MAX_RUNS as u32 + 1));
        assert_eq!(index.count_before(Uid::MAX), MAX_RUNS as u32);
    }

    proptest! {
        /// Steps are far enough apart to make blocks of the numbers, each of which stands for a few.
        #[test]
        fn behaves_like_a_sorted_set(
            start in prop::collection::btree_set(1u32..4000, 0..3000),
            gone in prop::collection::btree_set(1u32..4000, 0..400),
            more in prop::collection::btree_set(4000u32..4100, 0..50),
            asked in prop::collection::btree_set(1u32..4100, 0..200),
            from in 1u32..4100, to in 1u32..4100,
        ) {
            let old = index(&start);
            let mut new = old.clone();
            new.remove_all(&set(&gone));
            more.iter().for_each(|n| new.push(uid(*n)));
            let left: BTreeSet<u32> = start.difference(&gone).chain(&more).copied().collect();
            prop_assert_eq!(&old, &set(&start));
            prop_assert_eq!(&new, &set(&left));
            prop_assert_eq!(new.len() as usize, left.len());
            prop_assert_eq!(new.last().map(Uid::get), left.last().copied());
            prop_assert_eq!(members(&old.gone(&new)), start.intersection(&gone).copied().collect::<Vec<_>>());
            let wanted = set(&asked);
            let mut all = new.clone();
            all.add_all(&wanted);
            prop_assert_eq!(&all, &set(&left.union(&asked).copied().collect()));
            prop_assert_eq!(all.len() as usize, left.union(&asked).count());
            prop_assert_eq!(members(&new.intersection(&wanted)), left.intersection(&asked).copied().collect::<Vec<_>>());
            prop_assert_eq!(new.count_among(&wanted) as usize, left.intersection(&asked).count());
            prop_assert_eq!(members(&new.missing(&wanted)), asked.difference(&left).copied().collect::<Vec<_>>());
            for (index, member) in left.iter().enumerate().step_by(37) {
                let seq = SeqNo::new(index as u32 + 1).unwrap();
                prop_assert_eq!(new.seq_of(uid(*member)), Some(seq));
                prop_assert_eq!(new.uid_at(seq), Some(uid(*member)));
            }
            prop_assert_eq!(new.contains(uid(from)), left.contains(&from));
            prop_assert_eq!(new.seq_of(uid(from)).is_some(), left.contains(&from));
            prop_assert_eq!(new.count_before(uid(from)) as usize, left.range(..from).count());
            let (low, high) = (from.min(to), from.max(to));
            prop_assert_eq!(members(&new.between(uid(low), uid(high))), left.range(low..=high).copied().collect::<Vec<_>>());
            let mut between = UidSet::new();
            new.extend_between_seqs(SeqNo::new(low).unwrap(), SeqNo::new(high).unwrap(), &mut between);
            prop_assert_eq!(
                members(&between),
                left.iter().copied().skip(low as usize - 1).take((high + 1 - low) as usize).collect::<Vec<_>>()
            );
        }
    }
}
