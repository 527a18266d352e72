//! Telling of changes, in their order: at once what need not be on stable storage, and all else after the sync that it
//! shares with what came together with it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::change::{Change, Counters, FlagStep, What};
use super::message::LogPos;
use super::names::{MailboxId, ModSeq};
use super::uid_set::UidSet;
use super::user::User;

/// Changes that nobody has heard of yet, in the order in which they were written: they are told when they are on stable
/// storage, so that commands which came together share a sync although somebody listens.
#[derive(Default)]
pub(super) struct Untold {
    queue: Mutex<VecDeque<Notice>>,
    /// Whether there are any, or one is being told.
    is_filled: AtomicBool,
    /// Held by the one that tells, so that the order stays.
    telling: Mutex<()>,
}

struct Notice {
    /// Where the change ends in the log.
    end: LogPos,
    mailbox: MailboxId,
    modseq: ModSeq,
    what: Kept,
}

/// As [`What`], for a change that has to wait.
pub(super) enum Kept {
    Arrived(UidSet),
    Flags(Vec<FlagStep>),
    Expunged(UidSet),
}

impl Kept {
    fn what(&self) -> What<'_> {
        match self {
            Kept::Arrived(uids) => What::Arrived(uids),
            Kept::Flags(steps) => What::Flags(steps),
            Kept::Expunged(uids) => What::Expunged(uids),
        }
    }
}

impl Untold {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Notice>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, notice: Notice) {
        let mut queue = self.queue();
        queue.push_back(notice);
        self.is_filled.store(true, SeqCst);
    }

    /// Takes the oldest out if `is_due` says so of its end. When it does not, all before has been told.
    fn take(&self, is_due: impl Fn(LogPos) -> bool) -> Option<Notice> {
        let mut queue = self.queue();
        let is_due = queue.front().is_some_and(|notice| is_due(notice.end));
        if !is_due {
            self.is_filled.store(!queue.is_empty(), SeqCst);
        }
        is_due.then(|| queue.pop_front()).flatten()
    }
}

impl User {
    /// Whether somebody wants to hear what happens.
    pub(super) fn is_heard(&self) -> bool {
        self.shared.listener.asks()
    }

    /// Tells what happened to a mailbox, in a change that ends at `end`, when that is on stable storage: at the next
    /// [`settle`](User::settle), or when the housekeeper comes by. Nothing to tell without an end.
    pub(super) fn tell_settled(
        &self,
        end: Option<LogPos>,
        mailbox: MailboxId,
        modseq: ModSeq,
        what: impl FnOnce() -> Kept,
    ) {
        if let Some(end) = end.filter(|_| self.is_heard()) {
            self.untold.push(Notice { end, mailbox, modseq, what: what() });
        }
    }

    /// As [`tell_settled`](Self::tell_settled), of a change that need not be on stable storage: at once, unless others
    /// have to be told before.
    pub(super) fn tell_in_turn(
        self: &Arc<Self>,
        end: Option<LogPos>,
        mailbox: MailboxId,
        modseq: ModSeq,
        what: Kept,
    ) {
        self.tell_durable();
        if self.untold.is_filled.load(SeqCst) {
            self.tell_settled(end, mailbox, modseq, || what);
        } else {
            self.tell_now(mailbox, Some(modseq), what.what());
        }
    }

    /// Tells of all that is on stable storage.
    pub(super) fn tell_durable(self: &Arc<Self>) {
        if !self.untold.is_filled.load(SeqCst) {
            return;
        }
        let _telling = self.untold.telling.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(notice) = self.untold.take(|end| self.is_durable(end)) {
            self.tell_now(notice.mailbox, Some(notice.modseq), notice.what.what());
        }
    }

    /// Tells what happened to a mailbox that still exists.
    pub(super) fn tell(self: &Arc<Self>, mailbox: MailboxId, modseq: Option<ModSeq>, what: What<'_>) {
        self.tell_durable();
        self.tell_now(mailbox, modseq, what);
    }

    fn tell_now(self: &Arc<Self>, mailbox: MailboxId, modseq: Option<ModSeq>, what: What<'_>) {
        if !self.is_heard() {
            return;
        }
        let known = self.known().ok().and_then(|inner| {
            let mailbox = inner.state.mailboxes.get(&mailbox)?;
            Some((mailbox.name.clone(), Counters::of(mailbox)))
        });
        let Some((name, counters)) = known else { return };
        self.shared.listener.happened(&Change { user: self, mailbox, name: &name, modseq, counters, what });
    }

    /// Tells that a mailbox is gone.
    pub(super) fn tell_deleted(self: &Arc<Self>, mailbox: MailboxId, name: &str) {
        self.tell_durable();
        if self.is_heard() {
            let counters = Counters::default();
            let what = What::Deleted;
            let change = Change { user: self, mailbox, name, modseq: None, counters, what };
            self.shared.listener.happened(&change);
        }
    }
}
