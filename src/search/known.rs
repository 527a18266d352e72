//! What is known of the messages of a mailbox that sorting and threading ask for.
//!
//! It never changes for a message, so it outlives the command that read it, in the [`Cache`](super::cache::Cache): the
//! next one reads what is new. Each kind of key has a column, which has the messages that somebody has asked about.
//! Texts and message ids are kept once each, and go by numbers.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_128;

use super::limits::{ID_COST, TEXT_COST};
use super::order::SortKey;
use crate::store::Uid;

/// A message id, hashed: 128 bits, so that no two are taken for one.
type Hash = (u64, u64);

/// The column of a key.
const COLUMNS: usize = 10;
const LINKS: usize = COLUMNS - 1;

/// See the module.
#[derive(Default)]
pub(super) struct Known {
    /// By [`SortKey`], then that of links.
    columns: [Column; COLUMNS],
    pub texts: Texts,
    links: Vec<Link>,
    references: Vec<u32>,
    ids: HashMap<Hash, u32>,
}

/// What a message says about its place among others.
#[derive(Clone, Copy)]
struct Link {
    /// Its own id.
    own: Option<u32>,
    /// Its references: where they are among all, and how many.
    first: u32,
    count: u32,
}

impl Known {
    /// A date in seconds, or what [`Texts`] gave.
    pub fn key(&mut self, key: SortKey, uid: Uid) -> Option<i64> {
        self.columns[key as usize].find(uid)
    }

    pub fn set_key(&mut self, key: SortKey, uid: Uid, value: i64) -> i64 {
        self.columns[key as usize].added.push((uid.get(), value));
        value
    }

    /// The message's own id and those that it refers to.
    pub fn link(&mut self, uid: Uid) -> Option<(Option<u32>, &[u32])> {
        let link = self.links.get(self.columns[LINKS].find(uid)? as usize)?;
        let first = link.first as usize;
        Some((link.own, self.references.get(first..first + link.count as usize)?))
    }

    pub fn set_link(&mut self, uid: Uid, own: Option<u32>, references: &[u32]) {
        self.columns[LINKS].added.push((uid.get(), self.links.len() as i64));
        let (first, count) = (self.references.len() as u32, references.len() as u32);
        self.links.push(Link { own, first, count });
        self.references.extend_from_slice(references);
    }

    /// The number of a message id.
    pub fn id(&mut self, id: &[u8]) -> u32 {
        let hash = xxh3_128(id);
        let next = self.ids.len() as u32;
        *self.ids.entry(((hash >> 64) as u64, hash as u64)).or_insert(next)
    }

    /// The bytes that it takes, more or less.
    pub fn bytes(&self) -> usize {
        let columns: usize = self.columns.iter().map(Column::bytes).sum();
        let links = size_of::<Link>() * self.links.len() + 4 * self.references.len();
        size_of::<Known>() + columns + links + ID_COST * self.ids.len() + self.texts.bytes
    }

    /// Lets go of what only THREAD=REFERENCES asks for: more than half of all where that has been.
    pub fn forget_links(&mut self) {
        self.columns[LINKS] = Column::default();
        self.links = Vec::new();
        self.references = Vec::new();
        self.ids = HashMap::new();
    }

    /// Ends a command: what it has added is found from now on.
    pub fn settle(&mut self) {
        self.columns.iter_mut().for_each(Column::settle);
    }

    /// The messages of the largest column; those that are expunged are still among them.
    pub fn messages(&self) -> usize {
        self.columns.iter().map(|column| column.uids.len()).max().unwrap_or(0)
    }
}

/// Values of messages, by UID.
#[derive(Default)]
struct Column {
    uids: Vec<u32>,
    values: Vec<i64>,
    /// By the command on its way, ascending.
    added: Vec<(u32, i64)>,
    /// Where the next message is, if all are asked about in turn.
    next: usize,
}

impl Column {
    fn find(&mut self, uid: Uid) -> Option<i64> {
        if self.uids.get(self.next) != Some(&uid.get()) {
            self.next = self.uids.binary_search(&uid.get()).ok()?;
        }
        self.next += 1;
        self.values.get(self.next - 1).copied()
    }

    fn settle(&mut self) {
        let added = std::mem::take(&mut self.added);
        self.next = 0;
        let is_behind = self.uids.last().zip(added.first()).is_none_or(|(last, (first, _))| last < first);
        if !is_behind {
            return self.merge(added);
        }
        self.uids.extend(added.iter().map(|(uid, _)| *uid));
        self.values.extend(added.iter().map(|(_, value)| *value));
    }

    /// Two runs, each in order: sorting them takes linear time.
    fn merge(&mut self, added: Vec<(u32, i64)>) {
        let former = std::mem::take(&mut self.uids).into_iter().zip(std::mem::take(&mut self.values));
        let mut all: Vec<(u32, i64)> = former.chain(added).collect();
        all.sort_by_key(|(uid, _)| *uid);
        (self.uids, self.values) = all.into_iter().unzip();
    }

    fn bytes(&self) -> usize {
        12 * self.uids.len() + 16 * self.added.len()
    }
}

/// Texts, each kept once.
pub(super) struct Texts {
    numbers: HashMap<Box<str>, u32>,
    /// What they take.
    pub bytes: usize,
    /// The place of each among the others, by number, as long as there is no new one.
    ranks: Vec<u32>,
}

impl Default for Texts {
    fn default() -> Self {
        Texts { numbers: HashMap::from([("".into(), 0)]), bytes: 0, ranks: Vec::new() }
    }
}

impl Texts {
    /// The number of a text; the empty one has 0.
    pub fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(text.into(), number);
        self.bytes += text.len() + TEXT_COST;
        number
    }

    /// By number.
    pub fn ranks(&mut self) -> &[u32] {
        if self.ranks.len() != self.numbers.len() {
            let mut sorted: Vec<(&str, u32)> = self.numbers.iter().map(|(text, n)| (&**text, *n)).collect();
            sorted.sort_unstable();
            self.ranks.resize(sorted.len(), 0);
            for ((_, number), rank) in sorted.into_iter().zip(0..) {
                self.ranks[number as usize] = rank;
            }
        }
        &self.ranks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(uid: u32) -> Uid {
        Uid::new(uid).unwrap()
    }

    #[test]
    fn texts_rank_by_value_and_are_kept_once() {
        let mut texts = Texts::default();
        let ranked = |texts: &mut Texts, all: &[&str]| -> Vec<u32> {
            let numbers: Vec<u32> = all.iter().map(|text| texts.number(text)).collect();
            numbers.iter().map(|&number| texts.ranks()[number as usize]).collect()
        };
        assert_eq!(ranked(&mut texts, &["b", "", "c", "b", "a"]), [2, 0, 3, 2, 1]);
        assert_eq!(texts.bytes, 3 * TEXT_COST + 3);
        assert_eq!(ranked(&mut texts, &["aa", "c"]), [2, 4], "a new one moves the others");
    }

    #[test]
    fn what_was_read_of_some_messages_and_then_of_others_is_found() {
        let mut known = Known::default();
        for uids in [&[2, 5, 9][..], &[10, 11], &[1, 3, 12], &[4]] {
            for &n in uids {
                assert_eq!(known.key(SortKey::Date, uid(n)), None);
                known.set_key(SortKey::Date, uid(n), i64::from(n) * 10);
            }
            known.settle();
        }
        for n in [1, 2, 3, 4, 5, 9, 10, 11, 12, 3, 12, 1] {
            assert_eq!(known.key(SortKey::Date, uid(n)), Some(i64::from(n) * 10), "{n}");
        }
        assert_eq!([6, 13].map(|n| known.key(SortKey::Date, uid(n))), [None; 2]);
        assert_eq!(known.key(SortKey::From, uid(1)), None);
        assert_eq!(known.messages(), 9);
    }

    #[test]
    fn links_are_found_with_their_references() {
        let mut known = Known::default();
        let [a, b] = [known.id(b"a"), known.id(b"b")];
        assert_eq!(known.id(b"a"), a);
        known.set_link(uid(1), Some(a), &[]);
        known.set_link(uid(2), None, &[a, b]);
        known.settle();
        assert_eq!(known.link(uid(1)), Some((Some(a), &[][..])));
        assert_eq!(known.link(uid(2)), Some((None, &[a, b][..])));
        assert_eq!(known.link(uid(3)), None);
    }
}
