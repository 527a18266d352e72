//! STORE and EXPUNGE: what a session does to the messages of its view.

use std::sync::Arc;

use smallvec::SmallVec;

use super::change::flag_steps;
use super::error::{Refusal, Result};
use super::flags::{FlagChange, FlagList, Keyword, KeywordSet};
use super::mailbox::Mailbox;
use super::message::Message;
use super::names::{MailboxId, ModSeq};
use super::payload::{Expunge, FlagsChange};
use super::record::{Kind, Transaction};
use super::state::State;
use super::telling::Kept;
use super::transfer::check_keywords;
use super::uid_index::UidIndex;
use super::uid_set::UidSet;
use super::view::Selected;

/// What STORE did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Messages that now have the flags.
    pub done: UidSet,
    /// Messages that changed after UNCHANGEDSINCE (RFC 7162 §3.1.3).
    pub modified: UidSet,
    /// Messages of `done` that others have changed before since the last sync: their flags are not what a client
    /// makes of its own change.
    pub contested: UidSet,
    /// A keyword came up that the client does not know.
    pub keywords: bool,
    /// The mod-sequence of the change; `None` when nothing had to be changed.
    pub modseq: Option<ModSeq>,
}

/// What EXPUNGE did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Messages that are gone.
    pub count: u32,
    /// The mod-sequence up to which a client knows all that knows of this, and was told nothing since the last sync.
    pub known: ModSeq,
}

impl Selected {
    /// STORE (RFC 9051 §6.4.6). The session tells its client itself; `sync` will not tell this change again, unless
    /// `tell_contested` asks for it.
    ///
    /// # Errors
    /// [`Refusal::ReadOnly`], [`Refusal::TooManyKeywords`], [`Refusal::NonExistent`].
    pub fn store(
        &mut self,
        uids: &UidSet,
        how: FlagChange,
        flags: &FlagList,
        unchanged_since: Option<ModSeq>,
    ) -> Result<Stored> {
        self.check_writable()?;
        let (id, synced) = (self.id, self.synced);
        let user = self.user.clone();
        let heard = user.is_heard();
        let written = user.transact(|state, txn| {
            let mailbox = state.mailboxes.get(&id).ok_or(Refusal::NonExistent)?;
            let bounds = Bounds { unchanged_since, synced };
            let mut stored = record_flags(mailbox, uids, how, flags, bounds, txn)?;
            stored.keywords |= stored.modseq.is_some() && !Arc::ptr_eq(&self.keywords, &mailbox.keywords);
            let is_told = heard && stored.modseq.is_some();
            let steps = is_told.then(|| flag_steps(mailbox, &stored.done, how, flags.system));
            Ok((stored, mailbox.highest_modseq, steps.unwrap_or_default()))
        })?;
        user.settle_flags(&written)?;
        let end = written.ends_at();
        let (mut stored, before, steps) = written.value;
        if let Some(modseq) = stored.modseq {
            // Nothing else happened in between: the view is at this change already.
            if before == self.synced {
                self.synced = modseq;
            } else {
                self.own.push(modseq);
            }
            user.changed(id, modseq);
            if !steps.is_empty() {
                user.tell_in_turn(end, id, modseq, Kept::Flags(steps));
            }
            stored.keywords = stored.keywords && self.learn_keywords()?;
        }
        Ok(stored)
    }

    /// Has the next `sync` tell the flags of these messages, whoever changed them last (RFC 9051 §6.4.6: a change by
    /// others is told even where `.SILENT` was asked for).
    pub fn tell_contested(&mut self, mut uids: UidSet) {
        uids.rest();
        self.contested = (!uids.is_empty()).then(|| Box::new(uids));
    }

    /// Takes in keywords that the mailbox has got; whether there are any.
    fn learn_keywords(&mut self) -> Result<bool> {
        let inner = self.user.known()?;
        let mailbox = inner.state.mailboxes.get(&self.id).ok_or(Refusal::NonExistent)?;
        let new = !Arc::ptr_eq(&self.keywords, &mailbox.keywords);
        if new {
            self.keywords = mailbox.keywords.clone();
        }
        Ok(new)
    }

    /// EXPUNGE and UID EXPUNGE (RFC 9051 §6.4.3): takes the `\Deleted` messages of the view, or those of `only`, out of
    /// the mailbox; `sync` tells the client. That is on stable storage after [`User::settle`].
    ///
    /// # Errors
    /// [`Refusal::ReadOnly`], [`Refusal::NonExistent`].
    pub fn expunge(&mut self, only: Option<&UidSet>) -> Result<Removed> {
        self.check_writable()?;
        let id = self.id;
        if self.user.fresh()?.state.mailboxes.get(&id).is_some_and(|mailbox| mailbox.deleted().is_empty()) {
            return Ok(Removed { count: 0, known: self.known_modseq() });
        }
        let when = self.user.now();
        let written =
            self.user.transact(|state, txn| record_expunge(state, id, &self.uids, only, when, txn))?;
        let (gone, modseq) = &written.value;
        if !gone.is_empty() {
            self.user.changed(id, *modseq);
        }
        if !gone.is_empty() {
            self.user.tell_settled(written.ends_at(), id, *modseq, || Kept::Expunged(gone.clone()));
        }
        let is_next = !gone.is_empty() && !self.has_deferred() && modseq.0 == self.synced.0 + 1;
        let known = if is_next { *modseq } else { self.known_modseq() };
        Ok(Removed { count: gone.len(), known })
    }
}

/// Mod-sequences that a STORE looks at.
#[derive(Clone, Copy)]
struct Bounds {
    /// Messages that changed later are left alone.
    unchanged_since: Option<ModSeq>,
    /// The client knows all changes up to here.
    synced: ModSeq,
}

fn record_flags(
    mailbox: &Mailbox,
    uids: &UidSet,
    how: FlagChange,
    flags: &FlagList,
    bounds: Bounds,
    txn: &mut Transaction,
) -> Result<Stored> {
    let mut keywords: SmallVec<[_; 4]> = flags.keywords.iter().map(Keyword::as_str).collect();
    match check_keywords(mailbox, keywords.iter().copied()) {
        // What no message can have need not be made to be taken away.
        Err(_) if how == FlagChange::Remove => {
            keywords.retain(|keyword| mailbox.keywords.position(keyword).is_some())
        }
        checked => checked?,
    }
    let named = Named::new(mailbox, how, flags, &keywords);
    let mut stored = Stored::default();
    let mut changed = UidSet::new();
    for message in mailbox.messages_among(uids) {
        if bounds.unchanged_since.is_some_and(|since| message.modseq > since) {
            stored.modified.push(message.uid);
            continue;
        }
        stored.done.push(message.uid);
        if named.changes(message) {
            changed.push(message.uid);
            if message.modseq > bounds.synced {
                stored.contested.push(message.uid);
            }
        }
    }
    // Whoever takes away a keyword that the mailbox does not know makes it known, as with other servers: a client that
    // toggles it finds it among the FLAGS from then on.
    if !changed.is_empty() || (named.has_new_keyword && !stored.done.is_empty()) {
        let modseq = mailbox.next_modseq();
        let change =
            FlagsChange { mailbox: mailbox.id, modseq, how, flags: flags.system, keywords, uids: changed };
        txn.record(Kind::Flags, |out| change.put(out));
        stored.modseq = Some(modseq);
        stored.keywords = named.has_new_keyword;
    }
    Ok(stored)
}

/// Flags of a STORE command, in the terms of a mailbox.
struct Named<'a> {
    how: FlagChange,
    flags: &'a FlagList,
    keywords: KeywordSet,
    has_new_keyword: bool,
}

impl<'a> Named<'a> {
    fn new(mailbox: &Mailbox, how: FlagChange, flags: &'a FlagList, keywords: &[&str]) -> Self {
        let mut set = KeywordSet::default();
        let mut has_new_keyword = false;
        for keyword in keywords {
            match mailbox.keywords.position(keyword) {
                Some(index) => set.insert(index),
                None => has_new_keyword = true,
            }
        }
        Named { how, flags, keywords: set, has_new_keyword }
    }

    /// Whether the command gives the message other flags than it has.
    fn changes(&self, message: &Message) -> bool {
        let adds_new = self.has_new_keyword && self.how != FlagChange::Remove;
        if adds_new || message.flags != message.flags.changed(self.how, self.flags.system) {
            return true;
        }
        if self.keywords.is_empty() && self.how != FlagChange::Replace {
            return false;
        }
        let mut keywords = message.keywords.clone();
        keywords.change(self.how, &self.keywords);
        keywords != message.keywords
    }
}

fn record_expunge(
    state: &State,
    id: MailboxId,
    view: &UidIndex,
    only: Option<&UidSet>,
    when: i64,
    txn: &mut Transaction,
) -> Result<(UidSet, ModSeq)> {
    let mailbox = state.mailboxes.get(&id).ok_or(Refusal::NonExistent)?;
    let uids = match only {
        Some(only) => mailbox.deleted().intersection(only),
        None => view.intersection(&mailbox.deleted().to_set()),
    };
    let expunge = Expunge { mailbox: id, modseq: mailbox.next_modseq(), uids, when };
    if !expunge.uids.is_empty() {
        txn.record(Kind::Expunge, |out| expunge.put(out));
    }
    Ok((expunge.uids, expunge.modseq))
}
