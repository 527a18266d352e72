//! SELECT, EXAMINE, CLOSE, UNSELECT (RFC 9051 §6.3.2, §6.3.3, §6.4.1, §6.4.2; RFC 7162 §3.2.5).

use std::io::Write as _;

use crate::imap::code::{Code, Failure};
use crate::imap::fetch::{Cursor, Plan};
use crate::imap::session::{
    Completion, Detail, Enabled, ImapSession, Started, Sync, View, Work, reply, write_uids,
};
use crate::imap::types::{self, FetchAttributes, Qresync, SequenceMatch};
use crate::imap::write;
use crate::session::Io;
use crate::store::{Access, SeqNo, Uid, UidIndex, UidSet};

impl ImapSession {
    /// Whatever comes of it, the mailbox that was selected before is not any more.
    pub(in crate::imap) fn select(
        &mut self,
        command: &types::Select<'_>,
        io: &mut Io<'_>,
    ) -> Result<Started, Failure> {
        let user = self.user()?.clone();
        if command.qresync.is_some() && !self.enabled.qresync {
            return Err(Failure::bad("ENABLE QRESYNC first"));
        }
        let before = self.view.take();
        if before.is_some() {
            io.output.extend_from_slice(b"* OK [CLOSED] previous mailbox is closed\r\n");
        }
        self.enabled.condstore |= command.condstore;
        let access = if command.read_only { Access::ReadOnly } else { Access::ReadWrite };
        let selected = user.select(command.mailbox.as_str(), access, !self.enabled.rev2)?;
        let mut view = View::new(selected);
        describe(&mut view, self.enabled, command.mailbox.as_str(), io.output);
        let work = match &command.qresync {
            Some(known) => resync(&view, known, self.enabled, io.output)?,
            None => Work::None,
        };
        self.view = Some(match before {
            Some(mut room) => {
                *room = view;
                room
            }
            None => Box::new(view),
        });
        self.selects += 1;
        let done = if command.read_only {
            Completion::code(Code::ReadOnly, "EXAMINE completed")
        } else {
            Completion::code(Code::ReadWrite, "SELECT completed")
        };
        Ok(Started::Run { work, sync: Sync::No, done })
    }

    /// Removes what is marked `\Deleted`, silently. HIGHESTMODSEQ covers nothing that others have changed and the client
    /// was not told of: with QRESYNC it asks from there the next time (RFC 7162 §6).
    pub(in crate::imap) fn close_mailbox(&mut self) -> Result<Started, Failure> {
        let enabled = self.enabled;
        let view = self.view()?;
        let (mut detail, mut has_changed) = (Detail::None, false);
        if !view.is_read_only() {
            let expunged = view.selected.expunge(None)?;
            has_changed = expunged.count > 0;
            if enabled.qresync && has_changed {
                detail = Detail::Bytes(format!("HIGHESTMODSEQ {}", expunged.known).into_bytes());
            }
        }
        self.view = None;
        Ok(Started::written(has_changed, Sync::No, Completion { detail, text: "CLOSE completed" }))
    }

    pub(in crate::imap) fn unselect(&mut self) -> Result<Started, Failure> {
        self.view()?;
        self.view = None;
        Ok(Started::done(Sync::No, Completion::plain("UNSELECT completed")))
    }
}

/// The untagged responses of RFC 9051 §6.3.2.
fn describe(view: &mut View, enabled: Enabled, name: &str, out: &mut Vec<u8>) {
    let keywords = view.selected.keywords().clone();
    view.announce(&keywords, out);
    let selected = &view.selected;
    reply::count(out, selected.exists(), "EXISTS");
    if enabled.rev2 {
        out.extend_from_slice(b"* LIST () \"/\" ");
        write::mailbox(out, name, enabled.dialect());
        out.extend_from_slice(b"\r\n");
    } else {
        reply::count(out, selected.recent(), "RECENT");
        if let Some(first) = selected.first_unseen() {
            reply::ok_number(out, "UNSEEN", u64::from(first.get()), "first message that was not read");
        }
    }
    reply::ok_number(out, "UIDVALIDITY", u64::from(selected.uid_validity()), "UIDs are valid");
    reply::ok_number(out, "UIDNEXT", selected.uid_next(), "predicted next UID");
    reply::ok_number(out, "HIGHESTMODSEQ", selected.highest_modseq().0, "highest mod-sequence");
    // Writing to memory does not fail.
    let _ = write!(out, "* OK [MAILBOXID (F{})] mailbox id\r\n", selected.id());
}

/// What has happened since the client last saw the mailbox (RFC 7162 §3.2.5.1): VANISHED now, then the changed
/// messages.
fn resync(view: &View, known: &Qresync, enabled: Enabled, out: &mut Vec<u8>) -> Result<Work, Failure> {
    let selected = &view.selected;
    if known.uid_validity != selected.uid_validity() {
        return Ok(Work::None);
    }
    let within = known.known_uids.as_ref().map(|set| numbers(&set.resolve(u32::MAX)));
    let mut vanished = selected.vanished_since(known.modseq, within.as_ref())?;
    if let Some(pairs) = &known.sequence_match {
        let matching = matching_prefix(pairs, selected.uids());
        vanished = vanished.difference(&matching);
    }
    if !vanished.is_empty() {
        out.extend_from_slice(b"* VANISHED (EARLIER) ");
        write_uids(out, &vanished);
        out.extend_from_slice(b"\r\n");
    }
    let mut changed = selected.changed_since(known.modseq)?;
    if let Some(within) = &within {
        changed = changed.intersection(within);
    }
    let items = FetchAttributes::UID | FetchAttributes::FLAGS | FetchAttributes::MODSEQ;
    Ok(Work::Fetch(Box::new(Cursor::new(changed, Plan::of(items, enabled), UidSet::new()))))
}

/// UIDs that need no VANISHED, because the client's sequence numbers prove that it has not missed their expunge
/// (RFC 7162 §3.2.5.2): all up to the last pair that still holds.
fn matching_prefix(pairs: &SequenceMatch, uids: &UidIndex) -> UidSet {
    let mut last = None;
    for (seq, uid) in pairs.sequence.numbers().zip(pairs.uids.numbers()) {
        let holds = SeqNo::new(seq).and_then(|seq| uids.uid_at(seq)).is_some_and(|found| found.get() == uid);
        if !holds {
            break;
        }
        last = Uid::new(uid);
    }
    last.map(|last| UidSet::from_ranges([(Uid::MIN, last)])).unwrap_or_default()
}

fn numbers(set: &types::NumberSet) -> UidSet {
    UidSet::from_ranges(
        set.ranges().filter_map(|range| Some((Uid::new(*range.start())?, Uid::new(*range.end())?))),
    )
}
