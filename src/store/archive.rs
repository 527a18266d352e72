//! What was expunged or deleted, and can still be brought back (`store.cleanupage`).
//!
//! A worker has no use for it. Whoever restores messages or makes room asks for it when it reads the log; its memory is
//! the checkpoint, since the log before that is gone.

use std::collections::HashMap;

use super::mailbox::Mailbox;
use super::message::Message;
use super::names::MailboxId;
use super::payload::Expunge;

/// A message that was expunged, or whose mailbox was deleted.
#[derive(Clone, Debug)]
pub(super) struct Gone {
    pub mailbox: MailboxId,
    /// Seconds since 1970.
    pub when: i64,
    /// Its keywords are those of its mailbox, which may be lost as well.
    pub message: Message,
}

/// A mailbox that was deleted; its messages are [`Gone`].
#[derive(Debug)]
pub(super) struct Lost {
    pub when: i64,
    pub mailbox: Mailbox,
}

#[derive(Debug)]
pub(super) struct Archive {
    /// What went before this, in seconds since 1970, went for ever.
    pub horizon: i64,
    pub gone: Vec<Gone>,
    pub lost: HashMap<MailboxId, Lost>,
}

impl Archive {
    pub fn new(horizon: i64) -> Archive {
        Archive { horizon: horizon.max(1), gone: Vec::new(), lost: HashMap::new() }
    }

    /// When the first of what can come back went.
    pub fn first(&self) -> Option<i64> {
        let lost = self.lost.values().map(|lost| lost.when);
        self.gone.iter().map(|gone| gone.when).chain(lost).min()
    }

    fn keeps(&self, when: i64) -> bool {
        when >= self.horizon
    }

    /// A record is about to take messages out of `mailbox`.
    pub fn expunge(&mut self, mailbox: &Mailbox, expunge: &Expunge) {
        if self.keeps(expunge.when) {
            let uids = mailbox.live.intersection(&expunge.uids);
            let messages = mailbox.messages_among(&uids).filter(|message| message.expunged.is_none());
            let gone = |message: &Message| Gone {
                mailbox: mailbox.id,
                when: expunge.when,
                message: message.clone(),
            };
            self.gone.extend(messages.map(gone));
        }
    }

    /// A record has taken `mailbox` away.
    pub fn delete(&mut self, mut mailbox: Mailbox, when: i64) {
        let (id, messages) = (mailbox.id, mailbox.take_live());
        if self.keeps(when) {
            self.gone.extend(messages.into_iter().map(|message| Gone { mailbox: id, when, message }));
            self.lost.insert(id, Lost { when, mailbox });
        } else {
            self.gone.retain(|gone| gone.mailbox != id);
        }
    }

    /// A checkpoint names a mailbox that was lost before it.
    pub fn add_lost(&mut self, lost: Lost) {
        if self.keeps(lost.when) {
            self.lost.insert(lost.mailbox.id, lost);
        }
    }

    /// A checkpoint names a message that was gone before it.
    pub fn add_gone(&mut self, gone: Gone) {
        if self.keeps(gone.when) {
            self.gone.push(gone);
        }
    }
}
