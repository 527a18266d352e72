//! Tells a client what others did to its mailbox: the end of most commands, and all of IDLE.

use super::view::{Enabled, View};
use crate::imap::code::Failure;
use crate::imap::fetch::{Cursor, Plan};
use crate::imap::session::reply;
use crate::imap::write;
use crate::session::{Io, Step};
use crate::store::{Changes, ModSeq, SeqNo, UidSet};

/// Changes on their way to the client; suspended when it reads slowly.
#[derive(Default)]
pub(in crate::imap) struct Report {
    /// Sequence numbers to send, in this order.
    expunged: Vec<SeqNo>,
    next_expunged: usize,
    vanished: Vec<u8>,
    keywords: bool,
    exists: Option<u32>,
    recent: Option<u32>,
    flags: Option<Box<Cursor>>,
    /// HIGHESTMODSEQ for a client that must not take a MODSEQ of this command for it.
    known: Option<ModSeq>,
}

impl Report {
    pub(in crate::imap) fn new(changes: Changes, enabled: Enabled) -> Self {
        let mut vanished = Vec::new();
        let mut expunged = changes.expunged_seqs;
        if enabled.qresync && !changes.expunged.is_empty() {
            expunged.clear();
            vanished.extend_from_slice(b"* VANISHED ");
            write::ranges(&mut vanished, changes.expunged.ranges().map(|(a, b)| a.get()..=b.get()));
            vanished.extend_from_slice(b"\r\n");
        }
        let flags = (!changes.flags.is_empty())
            .then(|| Box::new(Cursor::new(changes.flags, Plan::unsolicited(enabled), UidSet::new())));
        let recent = changes.recent.filter(|_| !enabled.rev2);
        Report {
            expunged,
            next_expunged: 0,
            vanished,
            keywords: changes.keywords,
            exists: changes.exists,
            recent,
            flags,
            known: None,
        }
    }

    /// While expunges are deferred, a client with QRESYNC is told to go on from before them when it comes back
    /// (RFC 7162 §6).
    pub(in crate::imap) fn deferring(mut self, view: &View, enabled: Enabled) -> Self {
        self.known = (enabled.qresync && view.selected.has_deferred()).then(|| view.selected.known_modseq());
        self
    }

    /// Goes on; `None` when all is told.
    pub(in crate::imap) fn run(
        &mut self,
        view: &mut View,
        enabled: Enabled,
        io: &mut Io<'_>,
    ) -> Result<Option<Step>, Failure> {
        io.output.append(&mut self.vanished);
        while let Some(seq) = self.expunged.get(self.next_expunged) {
            if io.is_above_high_water() {
                return Ok(Some(Step::Flush));
            }
            reply::count(io.output, seq.get(), "EXPUNGE");
            self.next_expunged += 1;
        }
        if std::mem::take(&mut self.keywords) {
            view.announced_keywords(io.output);
        }
        if let Some(count) = self.exists.take() {
            reply::count(io.output, count, "EXISTS");
        }
        if let Some(count) = self.recent.take() {
            reply::count(io.output, count, "RECENT");
        }
        if let Some(cursor) = &mut self.flags
            && let Some(step) = cursor.run(view, enabled, io)?
        {
            return Ok(Some(step));
        }
        self.flags = None;
        if let Some(known) = self.known.take() {
            reply::ok_number(io.output, "HIGHESTMODSEQ", known.0, "expunges are still to be told");
        }
        Ok(None)
    }
}
