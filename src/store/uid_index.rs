//! The UIDs of a mailbox, which every session that has it open shares.
//!
//! A mailbox that has lost messages here and there has as many runs as gaps: a million messages, half of them gone, half a
//! million. A change must not copy them, nor look at each to see what is gone. So the runs stand in blocks: a copy shares
//! them all, a change makes a new one of the blocks that it touches, and what differs between two copies is in the blocks that
//! they do not share.

use std::sync::Arc;

use smallvec::SmallVec;

use super::names::{SeqNo, Uid};
use super::uid_set::UidSet;

/// Most runs of a block. A change copies a block, 6 KiB at most, and the list of blocks: 16 bytes for 256 to 512 runs.
const MAX_RUNS: usize = 512;

/// A sorted set of UIDs that knows the rank of each member, as [`UidSet`] does. Copying it, adding and removing take time
/// that grows with the blocks, of 512 runs at most.
#[derive(Clone, Debug, Default)]
pub struct UidIndex {
    blocks: SmallVec<[Block; 1]>,
}

/// Never empty; behind all of the blocks before it.
#[derive(Clone, Debug)]
struct Block {
    uids: Arc<UidSet>,
    last: Uid,
    /// Members in the blocks before.
    before: u32,
}

impl Block {
    fn end(&self) -> u32 {
        self.before + self.uids.len()
    }
}

impl UidIndex {
    /// How many UIDs are in the set.
    pub fn len(&self) -> u32 {
        self.blocks.last().map_or(0, Block::end)
    }

    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub fn last(&self) -> Option<Uid> {
        self.blocks.last().map(|block| block.last)
    }

    pub fn contains(&self, uid: Uid) -> bool {
        self.blocks.get(self.block_of(uid)).is_some_and(|block| block.uids.contains(uid))
    }

    /// The rank of `uid`, from 1.
    pub fn seq_of(&self, uid: Uid) -> Option<SeqNo> {
        let block = self.blocks.get(self.block_of(uid))?;
        SeqNo::new(block.before + block.uids.seq_of(uid)?.get())
    }

    /// The UID at a rank.
    pub fn uid_at(&self, seq: SeqNo) -> Option<Uid> {
        let at = self.blocks.partition_point(|block| block.end() < seq.get());
        let block = self.blocks.get(at)?;
        block.uids.uid_at(SeqNo::new(seq.get() - block.before)?)
    }

    /// How many members are smaller than `uid`.
    pub fn count_before(&self, uid: Uid) -> u32 {
        let block = self.blocks.get(self.block_of(uid));
        block.map_or(self.len(), |block| block.before + block.uids.count_before(uid))
    }

    /// How many members are in `other`.
    pub fn count_among(&self, other: &UidSet) -> u32 {
        let up_to = |last: Uid| self.count_before(last) + u32::from(self.contains(last));
        other.ranges().map(|(first, last)| up_to(last) - self.count_before(first)).sum()
    }

    /// The runs, ascending, both ends included.
    pub fn ranges(&self) -> impl Iterator<Item = (Uid, Uid)> + '_ {
        self.blocks.iter().flat_map(|block| block.uids.ranges())
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Uid> + '_ {
        self.blocks.iter().flat_map(|block| block.uids.iter())
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
        for block in self.blocks[self.block_of(first)..].iter() {
            block.uids.extend_between(first, last, out);
            if block.last >= last {
                break;
            }
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
        let mut rest = newer.blocks.iter().peekable();
        for block in &self.blocks {
            let Some(first) = block.uids.first() else { continue };
            while rest.next_if(|block| block.last < first).is_some() {}
            if rest.peek().is_some_and(|found| Arc::ptr_eq(&found.uids, &block.uids)) {
                continue;
            }
            let left = newer.between(first, block.last);
            for (first, last) in block.uids.difference(&left).ranges() {
                gone.push_range(first, last);
            }
        }
        gone
    }

    /// Adds a UID greater than all in the set.
    pub fn push(&mut self, uid: Uid) {
        self.push_range(uid, uid);
    }

    /// Adds UIDs greater than all in the set.
    pub fn push_range(&mut self, first: Uid, last: Uid) {
        match self.blocks.last_mut() {
            Some(block) if block.uids.run_count() < MAX_RUNS || continues(block.last, first) => {
                Arc::make_mut(&mut block.uids).push_range(first, last);
                block.last = last;
            }
            _ => {
                let before = self.len();
                let uids = Arc::new(UidSet::from_ranges([(first, last)]));
                self.blocks.push(Block { uids, last, before });
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
        let from = self.block_of(first);
        let touched: SmallVec<[Block; 1]> = self.blocks.drain(from..).collect();
        let (mut next, count) = (first, touched.len());
        for (at, block) in touched.into_iter().enumerate() {
            let end = if at + 1 == count { Uid::MAX } else { block.last };
            self.add_changed(block.uids, &more.between(next, end), UidSet::union);
            next = Uid::new(block.last.get().saturating_add(1)).unwrap_or(Uid::MAX);
        }
    }

    /// Takes out all members of `gone`.
    pub fn remove_all(&mut self, gone: &UidSet) {
        let Some(first) = gone.first().filter(|_| !self.is_empty()) else { return };
        let from = self.block_of(first);
        let touched: SmallVec<[Block; 1]> = self.blocks.drain(from..).collect();
        for block in touched {
            let here = block.uids.first().map(|first| gone.between(first, block.last)).unwrap_or_default();
            self.add_changed(block.uids, &here, UidSet::difference);
        }
    }

    /// Adds a block behind all others, after a change of it by `other`; in several when it has become too many runs.
    fn add_changed(&mut self, block: Arc<UidSet>, other: &UidSet, change: fn(&UidSet, &UidSet) -> UidSet) {
        if other.is_empty() {
            return self.add_block(block);
        }
        let changed = change(&block, other);
        if changed.run_count() <= MAX_RUNS {
            return self.add_block(Arc::new(changed));
        }
        // Halves, which have room for the next changes.
        changed.chunks(MAX_RUNS / 2).for_each(|part| self.add_block(Arc::new(part)));
    }

    fn add_block(&mut self, uids: Arc<UidSet>) {
        let before = self.len();
        if let Some(last) = uids.last() {
            self.blocks.push(Block { uids, last, before });
        }
    }

    /// The first block that does not end before `uid`; as many as there are when all do.
    fn block_of(&self, uid: Uid) -> usize {
        match &self.blocks[..] {
            // Of nearly all mailboxes, and asked for each message that is fetched.
            [only] => usize::from(only.last < uid),
            blocks => blocks.partition_point(|block| block.last < uid),
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
        let shared = |block: &&Block| old.blocks.iter().any(|known| Arc::ptr_eq(&known.uids, &block.uids));
        assert_eq!(old.blocks.len(), 10);
        assert_eq!(new.blocks.iter().filter(shared).count(), 9, "one was touched, one is new");
        assert_eq!(members(&old.gone(&new)), [1400]);
        assert_eq!(old.len(), 10 * MAX_RUNS as u32, "the copy is as it was");
    }

    #[test]
    fn a_run_that_falls_apart_becomes_blocks() {
        let mut index = UidIndex::default();
        index.push_range(uid(1), uid(10_000));
        let odd: UidSet = (1..=10_000).step_by(2).map(uid).collect();
        index.remove_all(&odd);
        assert!(index.blocks.len() >= 5000 / MAX_RUNS);
        assert!(index.blocks.iter().all(|block| block.uids.run_count() <= MAX_RUNS));
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
