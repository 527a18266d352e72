//! STORE and UID STORE (RFC 9051 §6.4.6, RFC 7162 §3.1.3).

use super::flag_list;
use crate::imap::code::Failure;
use crate::imap::fetch::{Cursor, Plan};
use crate::imap::session::{
    Completion, Detail, Enabled, ImapSession, Started, Sync, View, Work, seq_ranges, write_uids,
};
use crate::imap::types::{self, FetchAttributes, StoreAction};
use crate::imap::write;
use crate::session::Io;
use crate::store::{FlagChange, UidSet};

impl ImapSession {
    /// Every message of the set is answered, changed or not, unless `.SILENT` was asked for: another session's
    /// change may have been the same.
    pub(in crate::imap) fn store(
        &mut self,
        command: &types::Store<'_>,
        io: &mut Io<'_>,
    ) -> Result<Started, Failure> {
        self.view()?.writable()?;
        if command.unchanged_since.is_some() {
            self.enable_condstore(io.output);
        }
        let enabled = self.enabled;
        let view = self.view()?;
        let uids = view.resolve(&command.set, command.uid)?;
        let how = match command.action {
            StoreAction::Replace => FlagChange::Replace,
            StoreAction::Add => FlagChange::Add,
            StoreAction::Remove => FlagChange::Remove,
        };
        let stored = view.selected.store(&uids, how, &flag_list(&command.flags), command.unchanged_since)?;
        view.note_look();
        if command.silent {
            view.selected.tell_contested(stored.contested);
        }
        view.announced_keywords(io.output);
        let detail = modified(view, &stored.modified, command.uid);
        let (sync, text) = if command.uid {
            (Sync::Report, "UID STORE completed")
        } else {
            (Sync::Defer, "STORE completed")
        };
        let mut answer = answer(stored.done, command, enabled);
        let step = answer.as_mut().map_or(Ok(None), |cursor| cursor.run(view, enabled, io))?;
        let work = || answer.map_or(Work::None, |cursor| Work::Fetch(Box::new(cursor)));
        Ok(Started::after(step, work, sync, Completion { detail, text }))
    }
}

/// `.SILENT` leaves FLAGS out; the new mod-sequences are told nevertheless.
fn answer(done: UidSet, command: &types::Store<'_>, enabled: Enabled) -> Option<Cursor> {
    let mut items = FetchAttributes::NONE;
    if !command.silent {
        items.insert(FetchAttributes::FLAGS);
    }
    if enabled.condstore {
        items.insert(FetchAttributes::MODSEQ);
    }
    if items.is_empty() {
        return None;
    }
    if command.uid || enabled.rev2 {
        items.insert(FetchAttributes::UID);
    }
    Some(Cursor::new(done, Plan::of(items, enabled), UidSet::new()))
}

/// `MODIFIED` with what UNCHANGEDSINCE has spared.
fn modified(view: &View, spared: &UidSet, uid: bool) -> Detail {
    if spared.is_empty() {
        return Detail::None;
    }
    let mut code = b"MODIFIED ".to_vec();
    if uid {
        write_uids(&mut code, spared);
    } else {
        write::ranges(&mut code, seq_ranges(view.selected.uids(), spared));
    }
    Detail::Bytes(code)
}
