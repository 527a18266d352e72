//! One mailbox in memory: its messages, counters, and a short memory of what changed.
//!
//! Invariants: `messages` is sorted by UID and holds every live message, and expunged ones as long as a view may
//! still show them; `live` is the set of the live ones; the counters count the live ones.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use super::error::Refusal;
use super::flags::{Flags, KeywordSet, KeywordTable};
use super::limits::{MAX_REMEMBERED_CHANGES, MAX_REMEMBERED_EXPUNGES};
use super::message::Message;
use super::names::{IdHasher, MailboxId, ModSeq, SeqNo, Uid};
use super::payload::{Append, Entry, Expunge, FlagsChange, Floor};
use super::tree::SpecialUses;
use super::uid_index::UidIndex;
use super::uid_set::UidSet;

/// Fewest tombstones that are swept.
const SWEEP_MIN: usize = 64;

/// Flags of some messages changed; which ones, their mod-sequences tell.
#[derive(Clone, Copy, Debug)]
struct FlagsChanged {
    modseq: ModSeq,
    first: Uid,
    last: Uid,
}

/// Messages that were expunged together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expunged {
    pub modseq: ModSeq,
    pub first: Uid,
    pub last: Uid,
}

/// Tells a view from all others of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ViewId(pub u64);

/// Up to where each view has told its client of expunges.
pub(super) type Views = HashMap<ViewId, ModSeq, BuildHasherDefault<IdHasher>>;

/// STATUS items (RFC 9051 §6.3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub id: MailboxId,
    pub messages: u32,
    pub recent: u32,
    /// 2³² when no UID is left.
    pub uid_next: u64,
    pub uid_validity: u32,
    pub unseen: u32,
    pub deleted: u32,
    /// Sum of RFC822.SIZE, octets.
    pub size: u64,
    pub highest_modseq: ModSeq,
}

/// Sums over the live messages.
#[derive(Debug, Default)]
struct Tally {
    unseen: u32,
    /// With both flags.
    seen_deleted: u32,
    size: u64,
}

#[derive(Debug)]
pub(super) struct Mailbox {
    pub id: MailboxId,
    pub name: String,
    pub uid_validity: u32,
    /// The next UID; 2³² when none is left.
    pub uid_next: u64,
    pub highest_modseq: ModSeq,
    pub uses: SpecialUses,
    /// Messages from this UID on are `\Recent` for the next session that asks.
    pub recent_from: u64,
    pub keywords: Arc<KeywordTable>,
    pub live: UidIndex,
    pub expunged: VecDeque<Expunged>,
    /// Expunges up to this one are forgotten.
    pub expunges_forgotten: ModSeq,
    pub last_expunge: ModSeq,
    messages: Vec<Message>,
    tombstones: usize,
    /// As many tombstones make the next walk over the messages worth its time.
    sweep_at: usize,
    tally: Tally,
    deleted: UidIndex,
    /// No live message before this place in `messages` is unseen.
    first_unseen: usize,
    flag_changes: VecDeque<FlagsChanged>,
    /// Flag changes up to this one are forgotten.
    flag_changes_forgotten: ModSeq,
    pub views: Views,
}

impl Tally {
    fn add(&mut self, message: &Message) {
        self.unseen += u32::from(!message.flags.contains(Flags::SEEN));
        self.seen_deleted += u32::from(message.flags.contains(Flags::SEEN | Flags::DELETED));
        self.size += u64::from(message.size);
    }

    fn remove(&mut self, message: &Message) {
        self.unseen -= u32::from(!message.flags.contains(Flags::SEEN));
        self.seen_deleted -= u32::from(message.flags.contains(Flags::SEEN | Flags::DELETED));
        self.size -= u64::from(message.size);
    }
}

impl Mailbox {
    pub fn new(id: MailboxId, name: String, uid_validity: u32, uses: SpecialUses) -> Self {
        Mailbox {
            id,
            name,
            uid_validity,
            uid_next: 1,
            highest_modseq: ModSeq(1),
            uses,
            recent_from: 1,
            keywords: Arc::default(),
            live: UidIndex::default(),
            expunged: VecDeque::new(),
            expunges_forgotten: ModSeq(0),
            last_expunge: ModSeq(0),
            messages: Vec::new(),
            tombstones: 0,
            sweep_at: SWEEP_MIN,
            tally: Tally::default(),
            deleted: UidIndex::default(),
            first_unseen: 0,
            flag_changes: VecDeque::new(),
            flag_changes_forgotten: ModSeq(0),
            views: Views::default(),
        }
    }

    pub fn status(&self) -> Status {
        Status {
            id: self.id,
            messages: self.live.len(),
            recent: uid(self.recent_from).map_or(0, |from| self.live.len() - self.live.count_before(from)),
            uid_next: self.uid_next,
            uid_validity: self.uid_validity,
            unseen: self.tally.unseen,
            deleted: self.deleted.len(),
            size: self.tally.size,
            highest_modseq: self.highest_modseq,
        }
    }

    /// Live messages with both `\Seen` and `\Deleted`.
    pub fn seen_deleted(&self) -> u32 {
        self.tally.seen_deleted
    }

    /// A range with all messages that no session has taken as `\Recent` yet; empty when there is none.
    pub fn recent(&self) -> UidSet {
        let range = uid(self.recent_from).zip(self.live.last()).filter(|(from, last)| from <= last);
        UidSet::from_ranges(range)
    }

    /// Live messages from `from` on.
    pub fn live_from(&self, from: u64) -> UidSet {
        uid(from).map_or_else(UidSet::new, |from| self.live.between(from, Uid::MAX))
    }

    /// All kept messages with UIDs from `first` to `last`, expunged ones included.
    pub fn messages_between(&self, first: Uid, last: Uid) -> impl Iterator<Item = &Message> {
        let from = self.messages.partition_point(|message| message.uid < first);
        self.messages[from..].iter().take_while(move |message| message.uid <= last)
    }

    /// All kept messages of `uids`, ascending, expunged ones included.
    pub fn messages_among<'a>(&'a self, uids: &'a UidSet) -> impl Iterator<Item = &'a Message> {
        self.runs_among(uids, Uid::MIN).flatten()
    }

    /// The same from UID `from` on, together those whose UIDs are in one run.
    pub fn runs_among<'a>(&'a self, uids: &'a UidSet, from: Uid) -> impl Iterator<Item = &'a [Message]> {
        let mut rest = &self.messages[..];
        uids.ranges_from(from).map(move |(first, last)| {
            rest = &rest[place_of(rest, first.max(from))..];
            let end = place_of(rest, last);
            let run;
            (run, rest) = rest.split_at(end + usize::from(rest.get(end).is_some_and(|m| m.uid == last)));
            run
        })
    }

    /// Takes all live messages out of a mailbox that nobody uses any more.
    pub fn take_live(&mut self) -> Vec<Message> {
        let mut messages = std::mem::take(&mut self.messages);
        messages.retain(|message| message.expunged.is_none());
        messages
    }

    /// The live messages, ascending.
    pub fn live_messages(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(|message| message.expunged.is_none())
    }

    /// The first live message without `\Seen`. Amortised constant: the search goes on where it last stopped.
    pub fn first_unseen(&mut self) -> Option<SeqNo> {
        if self.tally.unseen == 0 {
            return None;
        }
        let rest = &self.messages[self.first_unseen..];
        let found = rest.iter().position(|m| m.expunged.is_none() && !m.flags.contains(Flags::SEEN))?;
        self.first_unseen += found;
        self.live.seq_of(self.messages[self.first_unseen].uid)
    }

    /// Messages of `within` that changed after `since`, in time that grows with the changes where they are
    /// remembered.
    pub fn changed_since(&self, since: ModSeq, within: &UidIndex) -> UidSet {
        if since >= self.highest_modseq {
            return UidSet::new();
        }
        let mut changed = UidSet::new();
        if since < self.flag_changes_forgotten {
            within.ranges().for_each(|(first, last)| self.collect_changed(since, first, last, &mut changed));
            return changed;
        }
        let from = self.flag_changes.partition_point(|change| change.modseq <= since);
        let ranges = self.flag_changes.range(from..).map(|change| (change.first, change.last));
        for (first, last) in UidSet::from_ranges(ranges).ranges() {
            self.collect_changed(since, first, last, &mut changed);
        }
        within.intersection(&changed)
    }

    /// As `changed_since`, for messages that are new as well (RFC 7162 CHANGEDSINCE). What came after `since` is
    /// behind everything that did not, so that nobody else need be looked at.
    pub fn newer_than(&self, since: ModSeq, within: &UidIndex) -> UidSet {
        let changed = self.changed_since(since, within);
        if since >= self.highest_modseq || since < self.flag_changes_forgotten {
            return changed;
        }
        let older = self.messages.iter().rposition(|message| message.modseq <= since);
        let came = &self.messages[older.map_or(0, |at| at + 1)..];
        let came: UidSet = came.iter().map(|message| message.uid).collect();
        changed.union(&within.intersection(&came))
    }

    fn collect_changed(&self, since: ModSeq, first: Uid, last: Uid, out: &mut UidSet) {
        self.messages_between(first, last).filter(|m| m.modseq > since).for_each(|m| out.push(m.uid));
    }

    /// UIDs of `within` that were expunged after `since`; where that is forgotten, all that do not exist, which
    /// RFC 7162 §3.2.10.1 allows.
    pub fn vanished_since(&self, since: ModSeq, within: &UidSet) -> UidSet {
        if since < self.expunges_forgotten {
            return self.live.missing(within);
        }
        let recent = self.expunged.iter().rev().take_while(|gone| gone.modseq > since);
        let gone = UidSet::from_ranges(recent.map(|gone| (gone.first, gone.last)));
        self.live.missing(&gone.intersection(within))
    }

    /// A view begins, or has told its client of expunges up to here; later ones are kept for it.
    pub fn watch(&mut self, view: ViewId, told: ModSeq) {
        self.views.insert(view, told);
    }

    pub fn unwatch(&mut self, view: ViewId) {
        self.views.remove(&view);
        self.drop_tombstones();
    }

    /// Applies an Append record; `None` when it does not fit the mailbox.
    pub fn append(&mut self, append: &Append<'_>) -> Option<()> {
        for entry in append.entries() {
            self.push(entry?, append.modseq)?;
        }
        self.highest_modseq = self.highest_modseq.max(append.modseq);
        if append.claims_recent {
            self.recent_from = self.uid_next;
        }
        Some(())
    }

    fn push(&mut self, entry: Entry<'_>, modseq: ModSeq) -> Option<()> {
        if u64::from(entry.uid.get()) < self.uid_next {
            return None;
        }
        let mut keywords = KeywordSet::default();
        for name in &entry.keywords {
            keywords.insert(self.intern(name)?);
        }
        self.push_message(entry, keywords, modseq);
        Some(())
    }

    /// Adds a message behind all others.
    pub fn push_message(&mut self, entry: Entry<'_>, keywords: KeywordSet, modseq: ModSeq) {
        let message = Message::of(&entry, keywords, modseq);
        self.uid_next = self.uid_next.max(u64::from(entry.uid.get()) + 1);
        self.tally.add(&message);
        if message.flags.contains(Flags::DELETED) {
            self.deleted.push(message.uid);
        }
        self.live.push(message.uid);
        self.messages.push(message);
    }

    fn intern(&mut self, name: &str) -> Option<usize> {
        if let Some(known) = self.keywords.position(name) {
            return Some(known);
        }
        let keyword = super::flags::Keyword::new(name)?;
        Arc::make_mut(&mut self.keywords).intern(&keyword)
    }

    /// Applies a Flags record; `None` when it does not fit the mailbox.
    pub fn change_flags(&mut self, change: &FlagsChange<'_>) -> Option<()> {
        let mut named = KeywordSet::default();
        for keyword in &change.keywords {
            named.insert(self.intern(keyword)?);
        }
        let mut deleted = UidSet::new();
        let mut next = 0;
        for (first, last) in change.uids.ranges() {
            next += place_of(&self.messages[next..], first);
            for at in next..self.messages.len() {
                if self.messages[at].uid > last {
                    break;
                }
                self.change_message(at, change, &named, &mut deleted);
            }
            self.remember_flags(FlagsChanged { modseq: change.modseq, first, last });
        }
        self.set_deleted(&change.uids, &deleted);
        self.highest_modseq = self.highest_modseq.max(change.modseq);
        Some(())
    }

    fn change_message(
        &mut self,
        at: usize,
        change: &FlagsChange<'_>,
        named: &KeywordSet,
        deleted: &mut UidSet,
    ) {
        let message = &mut self.messages[at];
        let is_live = message.expunged.is_none();
        if is_live {
            self.tally.remove(message);
        }
        message.flags = message.flags.changed(change.how, change.flags);
        message.keywords.change(change.how, named);
        message.modseq = change.modseq;
        if !is_live {
            return;
        }
        self.tally.add(message);
        if message.flags.contains(Flags::DELETED) {
            deleted.push(message.uid);
        }
        if !message.flags.contains(Flags::SEEN) {
            self.first_unseen = self.first_unseen.min(at);
        }
    }

    /// Of the messages `touched`, those in `deleted` have `\Deleted` now and the others have not.
    fn set_deleted(&mut self, touched: &UidSet, deleted: &UidSet) {
        self.deleted.remove_all(touched);
        self.deleted.add_all(deleted);
    }

    /// Live messages with `\Deleted`.
    pub fn deleted(&self) -> &UidIndex {
        &self.deleted
    }

    fn remember_flags(&mut self, change: FlagsChanged) {
        self.flag_changes.push_back(change);
        if self.flag_changes.len() > MAX_REMEMBERED_CHANGES
            && let Some(oldest) = self.flag_changes.pop_front()
        {
            self.flag_changes_forgotten = oldest.modseq;
        }
    }

    /// Applies an Expunge record.
    pub fn expunge(&mut self, expunge: &Expunge) {
        let gone = self.live.intersection(&expunge.uids);
        for (first, last) in gone.ranges() {
            self.bury(first, last, expunge.modseq);
            self.remember_expunge(Expunged { modseq: expunge.modseq, first, last });
        }
        if !gone.is_empty() {
            self.live.remove_all(&gone);
            self.deleted.remove_all(&gone);
        }
        self.last_expunge = self.last_expunge.max(expunge.modseq);
        self.highest_modseq = self.highest_modseq.max(expunge.modseq);
        self.drop_tombstones();
    }

    fn bury(&mut self, first: Uid, last: Uid, modseq: ModSeq) {
        let from = self.messages.partition_point(|message| message.uid < first);
        for at in from..self.messages.len() {
            let message = &mut self.messages[at];
            if message.uid > last {
                break;
            }
            if message.expunged.replace(modseq).is_none() {
                self.tombstones += 1;
                self.tally.remove(message);
            }
        }
    }

    pub fn remember_expunge(&mut self, expunged: Expunged) {
        self.last_expunge = self.last_expunge.max(expunged.modseq);
        self.expunged.push_back(expunged);
        if self.expunged.len() > MAX_REMEMBERED_EXPUNGES
            && let Some(oldest) = self.expunged.pop_front()
        {
            self.expunges_forgotten = oldest.modseq;
        }
    }

    /// Lets go of the expunged messages that no view shows any more, when they are so many that the walk over all
    /// messages is paid for.
    fn drop_tombstones(&mut self) {
        if self.tombstones < self.sweep_at {
            return;
        }
        let told = self.views.values().min().copied().unwrap_or(ModSeq(u64::MAX));
        self.messages.retain(|message| message.expunged.is_none_or(|modseq| modseq > told));
        self.tombstones = self.messages.iter().filter(|message| message.expunged.is_some()).count();
        self.sweep_at = self.tombstones * 2 + SWEEP_MIN + self.messages.len() / 8;
        self.first_unseen = 0;
    }

    /// Sets what a snapshot says beyond its messages. Flag changes before it are not remembered.
    pub fn restore_counters(&mut self, uid_next: u64, highest_modseq: ModSeq, recent_from: u64) {
        self.uid_next = self.uid_next.max(uid_next);
        self.highest_modseq = highest_modseq;
        self.recent_from = recent_from;
        self.flag_changes_forgotten = highest_modseq;
    }

    /// A loss of power may have taken messages and changes that clients saw: none of their numbers comes again.
    pub fn jump(&mut self, uids: u32, modseqs: u64) {
        self.uid_next = (self.uid_next + u64::from(uids)).min(1 << 32);
        self.highest_modseq = ModSeq(self.highest_modseq.0 + modseqs);
    }

    /// Changes what is known of where messages are.
    pub fn amend(&mut self, change: impl FnMut(&mut Message)) {
        self.messages.iter_mut().for_each(change);
    }

    /// Applies a Floor record.
    pub fn raise(&mut self, floor: &Floor) {
        self.uid_next = self.uid_next.max(floor.uid_next.min(1 << 32));
        self.highest_modseq = self.highest_modseq.max(floor.modseq);
        self.expunges_forgotten = self.expunges_forgotten.max(floor.modseq);
    }

    /// Whether `count` more messages can get a UID.
    pub fn room_for(&self, count: usize) -> Result<(), Refusal> {
        let left = (1u64 << 32) - self.uid_next;
        if count as u64 <= left { Ok(()) } else { Err(Refusal::UidsExhausted) }
    }

    /// The mod-sequence of the next change.
    pub fn next_modseq(&self) -> ModSeq {
        ModSeq(self.highest_modseq.0 + 1)
    }
}

/// As `partition_point`, in time that grows with how far from the start it is.
fn place_near<T>(sorted: &[T], is_before: impl Fn(&T) -> bool) -> usize {
    let mut end = 1;
    while sorted.get(end - 1).is_some_and(&is_before) {
        end *= 2;
    }
    let near = &sorted[end / 2..end.min(sorted.len())];
    end / 2 + near.partition_point(is_before)
}

/// How many of these messages have smaller UIDs.
fn place_of(messages: &[Message], uid: Uid) -> usize {
    let Some(first) = messages.first() else { return 0 };
    // It is this far behind the first, less the gaps between them; most often there are none.
    let at = uid.get().saturating_sub(first.uid.get()) as usize;
    if messages.get(at).is_some_and(|message| message.uid == uid) {
        return at;
    }
    place_near(messages, |message| message.uid < uid)
}

/// A UID from a counter that may have run out.
pub(super) fn uid(value: u64) -> Option<Uid> {
    u32::try_from(value).ok().and_then(Uid::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_near_the_start_is_the_place() {
        for count in 0..40 {
            let sorted: Vec<u32> = (0..count).map(|n| 2 * n).collect();
            for wanted in 0..2 * count + 2 {
                let expected = sorted.partition_point(|n| *n < wanted);
                assert_eq!(place_near(&sorted, |n| *n < wanted), expected, "{wanted} of {count}");
            }
        }
    }
}
