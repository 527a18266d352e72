//! The store's listener: wakes sessions through the hub, and makes events of changes.

use std::sync::Arc;

use super::event::{Kind, Writer, mailbox_name};
use super::hub::Hub;
use super::publisher::Publisher;
use crate::store::{
    Change, ChangeListener, FlagStep, Flags, MailboxId, Message, ModSeq, Uid, UserName, Waiter, What,
};

/// Hears every change of this process.
pub struct Listener {
    hub: Arc<Hub>,
    /// `None` when no publisher is loaded.
    publisher: Option<Arc<Publisher>>,
}

impl Listener {
    pub fn new(hub: Arc<Hub>, publisher: Option<Arc<Publisher>>) -> Self {
        Listener { hub, publisher }
    }
}

impl ChangeListener for Listener {
    fn changed(&self, user: &UserName, mailbox: MailboxId, modseq: ModSeq) {
        self.hub.changed(user, mailbox, modseq);
        if let Some(publisher) = &self.publisher {
            publisher.changed(user, mailbox);
        }
    }

    fn synced(&self, waiter: Waiter) {
        self.hub.synced(waiter);
    }

    fn syncs_next(&self, waiter: Waiter) -> bool {
        self.hub.syncs_next(waiter)
    }

    fn asks(&self) -> bool {
        self.publisher.as_ref().is_some_and(|publisher| publisher.is_followed())
    }

    fn happened(&self, change: &Change<'_>) {
        if let Some(publisher) = &self.publisher {
            Story { publisher, change, mailbox: mailbox_name(change.user().as_str(), change.name) }.tell();
        }
    }
}

/// A change that is told as events.
struct Story<'a> {
    publisher: &'a Publisher,
    change: &'a Change<'a>,
    mailbox: String,
}

impl Story<'_> {
    fn tell(&self) {
        match self.change.what {
            What::Arrived(uids) => uids.iter().for_each(|uid| self.arrived(uid)),
            What::Flags(steps) => self.flags(steps),
            What::Expunged(uids) => uids.iter().for_each(|uid| self.expunged(uid)),
            What::Created => self.folder(Kind::CreateFolder, None),
            What::Deleted => self.folder(Kind::DeleteFolder, None),
            What::Renamed { from } => self.folder(Kind::RenameFolder, Some(from)),
        }
    }

    fn arrived(&self, uid: Uid) {
        let Some(mut event) = self.event(Kind::UpdateMsg) else { return };
        // One that is gone already has told its end, too.
        let Some(message) = self.change.message(uid) else { return };
        let header_len = self.change.header_len(&message);
        event.counters(&self.change.counters, true);
        event.number("imapUid", uid.get().into());
        event.number("size", message.size.into());
        if let Some(len) = header_len {
            event.number("hdrLen", len);
        }
        let data = self.part(&message, header_len.unwrap_or_default());
        self.finish(event, data);
    }

    /// As much of a message as `maxheadersize` and `maxbodysize` allow.
    fn part(&self, message: &Message, header_len: u64) -> Vec<u8> {
        let (header, body) = (self.publisher.header_size as u64, self.publisher.body_size as u64);
        let mut data = Vec::new();
        for range in [0..header.min(header_len), header_len..header_len.saturating_add(body)] {
            if !range.is_empty()
                && let Err(error) = self.change.read(message, range, &mut data)
            {
                log::warn!(user = self.change.user().as_str(), error:% = error; "an event goes without its message");
            }
        }
        data
    }

    fn flags(&self, steps: &[FlagStep]) {
        let gained = |flag| move |step: &FlagStep| step.after.contains(flag) && !step.before.contains(flag);
        let changed = |step: &FlagStep| step.after.contains(Flags::SEEN) != step.before.contains(Flags::SEEN);
        if steps.iter().any(changed) {
            self.counted(Kind::ReadMsg);
        }
        if steps.iter().any(gained(Flags::DELETED)) {
            self.counted(Kind::TrashMsg);
        }
        if self.publisher.kinds.contains(Kind::MsgFlags) {
            steps.iter().for_each(|step| self.step(step));
        }
    }

    fn counted(&self, kind: Kind) {
        let Some(mut event) = self.event(kind) else { return };
        event.counters(&self.change.counters, false);
        event.text("userid", self.change.user().as_str());
        self.finish(event, Vec::new());
    }

    fn step(&self, step: &FlagStep) {
        let Some(mut event) = self.event(Kind::MsgFlags) else { return };
        event.number("imapUid", step.uid.get().into());
        event.flags("newflags", step.after);
        event.flags("oldflags", step.before);
        let message = self.change.message(step.uid);
        if let Some(len) = message.and_then(|message| self.change.header_len(&message)) {
            event.number("hdrLen", len);
        }
        self.finish(event, Vec::new());
    }

    fn expunged(&self, uid: Uid) {
        let Some(mut event) = self.event(Kind::DeleteMsg) else { return };
        event.number("imapUid", uid.get().into());
        event.number("lastUid", self.change.counters.last_uid.into());
        event.number("numMsgs", self.change.counters.messages.into());
        event.number("uidValidity", self.change.counters.uid_validity.into());
        self.finish(event, Vec::new());
    }

    fn folder(&self, kind: Kind, from: Option<&str>) {
        let Some(mut event) = self.event(kind) else { return };
        if let Some(from) = from {
            event.text("oldMailboxName", &mailbox_name(self.change.user().as_str(), from));
        }
        event.text("userid", self.change.user().as_str());
        self.finish(event, Vec::new());
    }

    /// An event of this kind, if it is published, and there is room.
    fn event(&self, kind: Kind) -> Option<Writer> {
        let is_wanted = self.publisher.kinds.contains(kind) && self.publisher.has_room();
        is_wanted.then(|| Writer::new(&self.publisher.origin, kind, &self.mailbox))
    }

    fn finish(&self, mut event: Writer, data: Vec<u8>) {
        if let Some(modseq) = self.change.modseq {
            event.number("modseq", modseq.0);
        }
        self.publisher.publish(event, data);
    }
}
