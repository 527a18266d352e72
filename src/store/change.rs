//! What a change was, for listeners that ask: the events of the Event Notification Service are made of it.
//!
//! Nothing here is done, and nothing is copied, while [`ChangeListener::asks`](super::ChangeListener::asks) says no.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::Result;
use super::flags::{FlagChange, Flags};
use super::mailbox::Mailbox;
use super::message::{LogPos, Message};
use super::names::{MailboxId, ModSeq, Uid, UserName};
use super::uid_set::UidSet;
use super::user::User;

/// The mailbox that every user has.
pub const INBOX: &str = "INBOX";

/// One change of one mailbox, told when it is as durable as it gets before the client hears OK.
pub struct Change<'a> {
    user: &'a Arc<User>,
    mailbox: MailboxId,
    /// The mailbox's name.
    pub name: &'a str,
    /// The change's mod-sequence; `None` for one that has none.
    pub modseq: Option<ModSeq>,
    /// The mailbox as it is after the change, or later.
    pub counters: Counters,
    pub what: What<'a>,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// Messages came in.
    Arrived(&'a UidSet),
    /// System flags of messages changed.
    Flags(&'a [FlagStep]),
    /// Messages were expunged.
    Expunged(&'a UidSet),
    Created,
    Deleted,
    Renamed {
        from: &'a str,
    },
}

/// What happened to the flags of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlagStep {
    pub uid: Uid,
    pub before: Flags,
    pub after: Flags,
}

/// How many messages a mailbox has, and of which kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub messages: u32,
    pub seen: u32,
    pub deleted: u32,
    /// With both flags.
    pub seen_deleted: u32,
    pub uid_validity: u32,
    /// The largest UID that was ever given; 0 for none.
    pub last_uid: u32,
}

impl Change<'_> {
    pub fn user(&self) -> &UserName {
        self.user.name()
    }

    /// One of the mailbox's messages; `None` when it is gone.
    pub fn message(&self, uid: Uid) -> Option<Message> {
        let inner = self.user.known().ok()?;
        inner.state.mailboxes.get(&self.mailbox)?.messages_between(uid, uid).next().cloned()
    }

    /// Bytes of a message's header; `None` when that cannot be read.
    pub fn header_len(&self, message: &Message) -> Option<u64> {
        Some(self.user.meta(message).ok()?.parts()?.root().header().end)
    }

    /// Appends `range` of a message, cut to its size, to `out`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, message: &Message, range: std::ops::Range<u64>, out: &mut Vec<u8>) -> Result<()> {
        self.user.read(message, range, out)
    }
}

impl Counters {
    fn of(mailbox: &Mailbox) -> Self {
        let status = mailbox.status();
        let deleted = mailbox.deleted().to_set();
        let deleted = mailbox.messages_among(&deleted);
        Counters {
            messages: status.messages,
            seen: status.messages - status.unseen,
            deleted: status.deleted,
            seen_deleted: deleted.filter(|message| message.flags.contains(Flags::SEEN)).count() as u32,
            uid_validity: status.uid_validity,
            last_uid: (status.uid_next - 1) as u32,
        }
    }
}

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

/// What a change of flags would do to the system flags of messages.
pub(super) fn flag_steps(mailbox: &Mailbox, uids: &UidSet, how: FlagChange, flags: Flags) -> Vec<FlagStep> {
    let step = |message: &Message| {
        let (before, after) = (message.flags, message.flags.changed(how, flags));
        FlagStep { uid: message.uid, before, after }
    };
    mailbox.messages_among(uids).map(step).filter(|step| step.before != step.after).collect()
}
