//! What a change was, for listeners that ask: the events of the Event Notification Service are made of it.
//!
//! Nothing here is done, and nothing is copied, while [`ChangeListener::asks`](super::ChangeListener::asks) says no.

use std::sync::Arc;

use super::error::Result;
use super::flags::{FlagChange, Flags};
use super::mailbox::Mailbox;
use super::message::Message;
use super::names::{MailboxId, ModSeq, Uid, UserName};
use super::uid_set::UidSet;
use super::user::User;

/// The mailbox that every user has.
pub const INBOX: &str = "INBOX";

/// One change of one mailbox, told when it is as durable as it gets before the client hears OK.
pub struct Change<'a> {
    pub(super) user: &'a Arc<User>,
    pub(super) mailbox: MailboxId,
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
    pub(super) fn of(mailbox: &Mailbox) -> Self {
        let status = mailbox.status();
        Counters {
            messages: status.messages,
            seen: status.messages - status.unseen,
            deleted: status.deleted,
            seen_deleted: mailbox.seen_deleted(),
            uid_validity: status.uid_validity,
            last_uid: (status.uid_next - 1) as u32,
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
