//! What becomes of one mailbox of a backup: decided against the store as it is, without a change.
//!
//! What is there stays as it is. A message is there when its mailbox has one of its UID and EMAILID, or one of its
//! EMAILID that the backup does not know: it came back before, under another UID.

use std::collections::HashMap;

use super::super::flags::FlagList;
use super::super::mailbox::Mailbox;
use super::super::message::Message;
use super::super::payload::Floor;
use super::super::remake::is_pristine;
use super::super::state::State;
use super::content::{Counted, FlagsFrame, MailboxFrame, MessageFrame};
use crate::store::limits::{EPOCH_MODSEQ_JUMP, EPOCH_UID_JUMP};
use crate::store::{INBOX, MailboxId, ModSeq, Uid, UidSet};

/// Where the messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The mailbox itself is there.
    Same,
    /// Another one has its name.
    Named(MailboxId),
    /// It has to be made, in place of an INBOX that nobody has used when there is one.
    New { replaces: Option<MailboxId> },
}

/// What becomes of a mailbox of a backup.
#[derive(Debug)]
pub(super) struct Plan {
    pub frame: MailboxFrame,
    pub place: Place,
    /// Only these messages are wanted.
    only: Option<UidSet>,
    /// It is as the predecessor of the stream left it: what has happened since can happen to it too.
    pub rolls: bool,
    /// Messages that the backup does not know under their UIDs.
    spare: HashMap<(u64, u32), Vec<Uid>>,
    pub flags: Vec<(FlagList, UidSet)>,
    pub tally: Tally,
}

/// What was done, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub back: u64,
    pub present: u64,
    pub renumbered: u64,
    /// Messages of the backup came under their own UIDs.
    pub kept_uids: bool,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Unwanted,
    Present,
    /// It comes back, under this UID if it can.
    Missing(Option<Uid>),
}

impl Plan {
    /// `left` is how the predecessor's restoration left the mailbox, when that happened just now.
    pub fn new(frame: MailboxFrame, only: Option<UidSet>, left: Option<Counted>, state: &State) -> Plan {
        let place = place(&frame, state);
        let target = target(place, &frame).and_then(|id| state.mailboxes.get(&id));
        let rolls =
            only.is_none() && place == Place::Same && target.map(Counted::of) == left && left.is_some();
        let spare = target.map(|target| spare(place, &frame, target)).unwrap_or_default();
        Plan { frame, place, only, rolls, spare, flags: Vec::new(), tally: Tally::default() }
    }

    /// The mailbox that the messages go to.
    pub fn target(&self) -> MailboxId {
        target(self.place, &self.frame).unwrap_or(self.frame.id)
    }

    /// Whether messages come under the UIDs that they had.
    pub fn keeps_uids(&self) -> bool {
        !matches!(self.place, Place::Named(_))
    }

    /// Decides about a message, and counts it.
    pub fn judge(&mut self, message: &MessageFrame, state: &State) -> Verdict {
        let is_wanted = self.only.as_ref().is_none_or(|only| only.contains(message.uid));
        if !is_wanted || !self.frame.live.contains(message.uid) {
            return Verdict::Unwanted;
        }
        let key = (message.email, message.size);
        if self.is_there(message.uid, key, state) || self.take_spare(key) {
            self.tally.present += 1;
            return Verdict::Present;
        }
        self.tally.back += 1;
        Verdict::Missing(self.keeps_uids().then_some(message.uid))
    }

    fn is_there(&self, uid: Uid, key: (u64, u32), state: &State) -> bool {
        let mailbox = state.mailboxes.get(&self.frame.id).filter(|_| self.place == Place::Same);
        let found = mailbox.and_then(|mailbox| mailbox.messages_between(uid, uid).next());
        found.is_some_and(|found| found.expunged.is_none() && (found.email, found.size) == key)
    }

    fn take_spare(&mut self, key: (u64, u32)) -> bool {
        self.spare.get_mut(&key).and_then(Vec::pop).is_some()
    }

    /// Remembers a change of flags since the predecessor, if it is to happen.
    pub fn note_flags(&mut self, change: FlagsFrame) {
        if !self.rolls {
            return;
        }
        match self.flags.last_mut() {
            Some((list, uids))
                if *list == change.flags && uids.last().is_some_and(|last| last < change.uid) =>
            {
                uids.push(change.uid);
            }
            _ => self.flags.push((change.flags, UidSet::single(change.uid))),
        }
    }

    /// Counts a message that came back.
    pub fn note_back(&mut self, had: Uid, has: Uid) {
        if had == has && self.keeps_uids() {
            self.tally.kept_uids = true;
        } else {
            self.tally.renumbered += 1;
        }
    }

    /// What the mailbox's counters have to be at least: clients may have seen numbers that were given after the backup.
    /// Nothing when the mailbox itself knows what it gave.
    pub fn floor(&self, state: &State) -> Option<Floor> {
        let mailbox = state.mailboxes.get(&self.frame.id).filter(|_| self.keeps_uids())?;
        let is_behind = mailbox.uid_next <= self.frame.now.uid_next;
        (is_behind || self.place != Place::Same || self.tally.kept_uids).then(|| Floor {
            mailbox: mailbox.id,
            uid_next: mailbox.uid_next.max(self.frame.now.uid_next) + u64::from(EPOCH_UID_JUMP),
            modseq: ModSeq(mailbox.highest_modseq.max(self.frame.now.modseq).0 + EPOCH_MODSEQ_JUMP),
        })
    }

    /// Only what [`floor`](Self::floor) needs.
    pub fn without_messages(mut self) -> Plan {
        self.spare = HashMap::new();
        self.frame.live = UidSet::new();
        self
    }

    /// How the mailbox was left, if it now has what the backup has, no more and no less.
    pub fn left(&self, state: &State) -> Option<Counted> {
        let mailbox = state.mailboxes.get(&self.frame.id).filter(|_| self.keeps_uids())?;
        (mailbox.live == self.frame.live).then(|| Counted::of(mailbox))
    }
}

fn place(frame: &MailboxFrame, state: &State) -> Place {
    let same = state.mailboxes.get(&frame.id).filter(|found| found.uid_validity == frame.uid_validity);
    match (same, state.by_name(&frame.name)) {
        (Some(_), _) => Place::Same,
        (None, None) => Place::New { replaces: None },
        (None, Some(inbox)) if inbox.name == INBOX && is_pristine(inbox) => {
            Place::New { replaces: Some(inbox.id) }
        }
        (None, Some(other)) => Place::Named(other.id),
    }
}

fn target(place: Place, frame: &MailboxFrame) -> Option<MailboxId> {
    match place {
        Place::Same => Some(frame.id),
        Place::Named(other) => Some(other),
        Place::New { .. } => None,
    }
}

fn spare(place: Place, frame: &MailboxFrame, target: &Mailbox) -> HashMap<(u64, u32), Vec<Uid>> {
    let is_spare = |message: &&Message| place != Place::Same || !frame.live.contains(message.uid);
    let mut spare: HashMap<(u64, u32), Vec<Uid>> = HashMap::new();
    for message in target.live_messages().filter(is_spare) {
        spare.entry((message.email, message.size)).or_default().push(message.uid);
    }
    spare
}
