//! The selected mailbox as a session has it, and what its client has enabled.

use std::mem;
use std::sync::Arc;

use crate::imap::code::{Code, Failure};
use crate::imap::types::{Dialect, SequenceSet};
use crate::imap::write;
use crate::store::{Access, Changes, Expunges, Flags, KeywordTable, Selected, SeqNo, Uid, UidIndex, UidSet};

/// What the client has enabled, by ENABLE or by using it (RFC 5161, RFC 7162 §3.1).
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::imap) struct Enabled {
    pub(in crate::imap) condstore: bool,
    /// Implies `condstore`.
    pub(in crate::imap) qresync: bool,
    pub(in crate::imap) rev2: bool,
}

impl Enabled {
    /// With what ENABLE names; what is unknown has no effect.
    pub(in crate::imap) fn with(self, name: &str) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let qresync = is("QRESYNC");
        Enabled {
            condstore: self.condstore || qresync || is("CONDSTORE"),
            qresync: self.qresync || qresync,
            rev2: self.rev2 || is("IMAP4rev2"),
        }
    }

    pub(in crate::imap) fn dialect(self) -> Dialect {
        if self.rev2 { Dialect::REV2 } else { Dialect::REV1 }
    }
}

/// A selected mailbox.
pub(in crate::imap) struct View {
    pub(in crate::imap) selected: Selected,
    /// The result of the last SEARCH with SAVE (RFC 5182).
    saved: Option<Box<UidSet>>,
    /// How many of the mailbox's keywords the client has seen in FLAGS.
    announced: usize,
    /// Whether the log has been looked at since the session last got input: all that anybody had been told by then is known.
    has_looked: bool,
}

impl View {
    pub(in crate::imap) fn new(selected: Selected) -> Self {
        View { selected, saved: None, announced: 0, has_looked: false }
    }

    /// Input has come, or time has gone by: the next `sync` looks at the log.
    pub(in crate::imap) fn look_again(&mut self) {
        self.has_looked = false;
    }

    /// A transaction has looked at the log.
    pub(in crate::imap) fn note_look(&mut self) {
        self.has_looked = true;
    }

    /// Catches up with the mailbox. Commands that came together share one look at the log: none of them can have been sent
    /// in the knowledge of what was written after they arrived.
    pub(in crate::imap) fn sync(&mut self, expunges: Expunges) -> crate::store::Result<Changes> {
        match mem::replace(&mut self.has_looked, true) {
            true => self.selected.sync_known(expunges),
            false => self.selected.sync(expunges),
        }
    }

    pub(in crate::imap) fn is_read_only(&self) -> bool {
        self.selected.access() == Access::ReadOnly
    }

    /// The messages of the view that a set names. A sequence number that the client has not been told of is its
    /// mistake (RFC 9051 §9 seq-number); a UID is not. In an empty mailbox `*` names nothing.
    pub(in crate::imap) fn resolve(&self, set: &SequenceSet, uid: bool) -> Result<UidSet, Failure> {
        let uids = self.selected.uids();
        if set.is_saved() {
            return Ok(self.saved());
        }
        if uid {
            return Ok(self.resolve_uids(set));
        }
        let exists = uids.len();
        if set.max_number() > exists && !(exists == 0 && set.has_star()) {
            return Err(Failure::bad(format!("no such message, the mailbox has {exists}")));
        }
        Ok(self.resolve_numbers(set))
    }

    /// As `resolve`, for SEARCH: a message that is not there does not match, and that is all.
    pub(in crate::imap) fn resolve_key(&self, set: &SequenceSet, uid: bool) -> UidSet {
        if set.is_saved() {
            return self.saved();
        }
        if uid { self.resolve_uids(set) } else { self.resolve_numbers(set) }
    }

    fn saved(&self) -> UidSet {
        self.saved.as_ref().map_or_else(UidSet::new, |saved| self.selected.uids().intersection(saved))
    }

    /// Keeps the result of a search for `$` (RFC 5182).
    pub(in crate::imap) fn save(&mut self, mut found: UidSet) {
        found.rest();
        self.saved = (!found.is_empty()).then(|| Box::new(found));
    }

    fn resolve_uids(&self, set: &SequenceSet) -> UidSet {
        let uids = self.selected.uids();
        let asked = set.resolve(uids.last().map_or(0, Uid::get));
        let ranges =
            asked.ranges().filter_map(|range| Some((Uid::new(*range.start())?, Uid::new(*range.end())?)));
        uids.intersection(&UidSet::from_ranges(ranges))
    }

    fn resolve_numbers(&self, set: &SequenceSet) -> UidSet {
        let uids = self.selected.uids();
        let asked = set.resolve(uids.len());
        let mut named = UidSet::with_room_for(asked.ranges().len());
        for range in asked.ranges() {
            if let (Some(first), Some(last)) = (SeqNo::new(*range.start()), SeqNo::new(*range.end())) {
                uids.extend_between_seqs(first, last, &mut named);
            }
        }
        named
    }

    /// Refuses what changes a mailbox that was opened by EXAMINE.
    pub(in crate::imap) fn writable(&mut self) -> Result<&mut Selected, Failure> {
        if self.is_read_only() {
            return Err(Failure::no(Code::ReadOnly, "mailbox is open read-only, SELECT it instead"));
        }
        Ok(&mut self.selected)
    }

    /// The mailbox's keywords; the client is told of those that it does not know yet, since no FETCH may use a
    /// keyword before FLAGS has named it.
    pub(in crate::imap) fn announced_keywords(&mut self, out: &mut Vec<u8>) -> Arc<KeywordTable> {
        let table = self.selected.keywords().clone();
        if table.len() > self.announced {
            self.announce(&table, out);
        }
        table
    }

    /// FLAGS and PERMANENTFLAGS (RFC 9051 §7.3.5 and §7.1).
    pub(in crate::imap) fn announce(&mut self, table: &KeywordTable, out: &mut Vec<u8>) {
        self.announced = table.len();
        out.extend_from_slice(b"* FLAGS (");
        write_all(out, table);
        out.extend_from_slice(b")\r\n* OK [PERMANENTFLAGS (");
        if self.is_read_only() {
            out.extend_from_slice(b")] no flag can be changed\r\n");
        } else {
            write_all(out, table);
            out.extend_from_slice(b" \\*)] flags can be changed, keywords made\r\n");
        }
    }
}

fn write_all(out: &mut Vec<u8>, table: &KeywordTable) {
    let names = Flags::NAMED.iter().map(|(_, name)| *name).chain(table.names());
    for (index, name) in names.enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(name.as_bytes());
    }
}

/// `first:last,…` of UIDs.
pub(in crate::imap) fn write_uids(out: &mut Vec<u8>, uids: &UidSet) {
    write::ranges(out, uids.ranges().map(|(first, last)| first.get()..=last.get()));
}

/// The ranks of `part` in `whole`.
pub(in crate::imap) fn seq_ranges(
    whole: &UidIndex,
    part: &UidSet,
) -> impl Iterator<Item = std::ops::RangeInclusive<u32>> {
    part.ranges().filter_map(|(first, last)| {
        let first = whole.seq_of(first)?;
        let last = whole.seq_of(last)?;
        Some(first.get()..=last.get())
    })
}
