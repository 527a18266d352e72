//! FETCH and UID FETCH (RFC 9051 §6.4.5, RFC 7162 §3.1.4 and §3.2.6).

use crate::imap::code::Failure;
use crate::imap::fetch::{Cursor, Plan};
use crate::imap::session::{Completion, ImapSession, Started, Sync, View, Work, write_uids};
use crate::imap::types::{self, FetchAttributes};
use crate::session::Io;
use crate::store::{FlagChange, FlagList, Flags, Message, ModSeq, Uid, UidSet};

/// Messages whose flags are looked at in one go.
const BATCH: usize = 256;

impl ImapSession {
    pub(in crate::imap) fn fetch(
        &mut self,
        command: types::Fetch,
        io: &mut Io<'_>,
    ) -> Result<Started, Failure> {
        self.view()?;
        if command.vanished && !self.enabled.qresync {
            return Err(Failure::bad("ENABLE QRESYNC first"));
        }
        if command.changed_since.is_some() || command.items.attributes.contains(FetchAttributes::MODSEQ) {
            self.enable_condstore(io.output);
        }
        let enabled = self.enabled;
        let view = self.view()?;
        let mut uids = view.resolve(&command.set, command.uid)?;
        if let Some(since) = command.changed_since {
            tell_vanished(view, &command, since, io.output)?;
            uids = uids.intersection(&view.selected.changed_since(since)?);
        }
        let mut seen = UidSet::new();
        if command.items.sections.iter().any(|section| !section.peek) && !view.is_read_only() {
            seen = mark_seen(view, &uids)?;
        }
        let mut cursor = Cursor::new(uids, Plan::new(command.items, enabled), seen);
        let step = cursor.run(view, enabled, io)?;
        let (sync, text) = if command.uid {
            (Sync::Report, "UID FETCH completed")
        } else {
            (Sync::Defer, "FETCH completed")
        };
        Ok(Started::after(step, || Work::Fetch(Box::new(cursor)), sync, Completion::plain(text)))
    }
}

/// With VANISHED, the UIDs of the set that are gone since then. The set may name UIDs that the view has not.
fn tell_vanished(
    view: &View,
    command: &types::Fetch,
    since: ModSeq,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    if !command.vanished {
        return Ok(());
    }
    let largest = view.selected.uids().last().map_or(0, Uid::get);
    let asked = command.set.resolve(largest);
    let ranges =
        asked.ranges().filter_map(|range| Some((Uid::new(*range.start())?, Uid::new(*range.end())?)));
    let within = UidSet::from_ranges(ranges);
    let vanished = view.selected.vanished_since(since, Some(&within))?;
    if !vanished.is_empty() {
        out.extend_from_slice(b"* VANISHED (EARLIER) ");
        write_uids(out, &vanished);
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

/// Sets `\Seen` on those that lack it, in one change of the log; they are returned.
fn mark_seen(view: &mut View, uids: &UidSet) -> Result<UidSet, Failure> {
    let mut unseen = UidSet::new();
    let mut next = uids.first();
    while let Some(from) = next {
        let lacks = |message: &Message| !message.flags.contains(Flags::SEEN);
        next = view.selected.choose(uids, from, BATCH, lacks, &mut unseen)?;
    }
    if unseen.is_empty() {
        return Ok(unseen);
    }
    let seen = FlagList { system: Flags::SEEN, keywords: Default::default() };
    Ok(view.selected.store(&unseen, FlagChange::Add, &seen, None)?.done)
}
