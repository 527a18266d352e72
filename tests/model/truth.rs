//! The reference: mailboxes as the acknowledged commands have left them.
//!
//! Mod-sequences are the server's choice: an observer reads them after each change, and they have to grow.

use std::collections::BTreeSet;

use super::op::{DELETED, How, KEYWORDS, NAMES, SEEN};

/// A message; kept when it is expunged.
#[derive(Clone, Debug)]
pub struct Message {
    pub uid: u32,
    /// What its flags were and are, each with its mod-sequence; 0 until the observer has read it.
    pub history: Vec<(u64, u8)>,
    pub body: usize,
    /// The view that has it as `\Recent`.
    pub owner: Owner,
    /// HIGHESTMODSEQ after it was expunged; `u64::MAX` until the observer has read it.
    pub gone: Option<u64>,
}

/// Who has a message as `\Recent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// No session yet.
    Nobody,
    /// One of the sessions that were told at the same time, or that are gone.
    Somebody,
    View(u64),
}

impl Message {
    pub fn flags(&self) -> u8 {
        self.history.last().map_or(0, |(_, flags)| *flags)
    }

    pub fn modseq(&self) -> u64 {
        self.history.last().map_or(0, |(modseq, _)| *modseq)
    }

    fn set_flags(&mut self, flags: u8) {
        if flags != self.flags() {
            self.history.push((0, flags));
        }
    }
}

#[derive(Clone, Debug)]
pub struct Mailbox {
    pub validity: Option<u32>,
    pub next: u32,
    /// HIGHESTMODSEQ after each change.
    pub highs: Vec<u64>,
    /// All that have ever been here, by UID.
    pub all: Vec<Message>,
    /// Keywords that messages have or had.
    pub keywords: u8,
    pub is_deleted: bool,
}

impl Mailbox {
    fn new() -> Self {
        Mailbox {
            validity: None,
            next: 1,
            highs: Vec::new(),
            all: Vec::new(),
            keywords: 0,
            is_deleted: false,
        }
    }

    pub fn highest(&self) -> u64 {
        self.highs.last().copied().unwrap_or_default()
    }

    pub fn live(&self) -> impl Iterator<Item = &Message> {
        self.all.iter().filter(|message| message.gone.is_none())
    }

    pub fn live_uids(&self) -> Vec<u32> {
        self.live().map(|message| message.uid).collect()
    }

    pub fn message(&self, uid: u32) -> Option<&Message> {
        self.all.binary_search_by_key(&uid, |message| message.uid).ok().map(|at| &self.all[at])
    }

    pub fn message_mut(&mut self, uid: u32) -> Option<&mut Message> {
        self.all.binary_search_by_key(&uid, |message| message.uid).ok().map(|at| &mut self.all[at])
    }

    pub fn is_live(&self, uid: u32) -> bool {
        self.message(uid).is_some_and(|message| message.gone.is_none())
    }

    fn push(&mut self, flags: u8, body: usize) -> u32 {
        let uid = self.next;
        self.next += 1;
        self.keywords |= flags & KEYWORDS;
        self.all.push(Message { uid, history: vec![(0, flags)], body, owner: Owner::Nobody, gone: None });
        uid
    }

    fn expunge(&mut self, uids: &[u32]) {
        for &uid in uids {
            if let Some(message) = self.message_mut(uid) {
                message.gone = Some(u64::MAX);
            }
        }
    }

    pub fn count(&self, flag: u8, has: bool) -> usize {
        self.live().filter(|message| (message.flags() & flag != 0) == has).count()
    }
}

/// All mailboxes of a user. A mailbox keeps its place in `boxes` for ever; names come and go.
pub struct Truth {
    pub boxes: Vec<Mailbox>,
    pub names: [Option<usize>; NAMES.len()],
    /// The messages ever appended.
    pub bodies: Vec<Vec<u8>>,
}

impl Truth {
    /// INBOX and the first of the others.
    pub fn new() -> Self {
        let mut truth = Truth { boxes: Vec::new(), names: [None; NAMES.len()], bodies: Vec::new() };
        truth.create(0);
        truth.create(1);
        truth
    }

    pub fn create(&mut self, name: usize) {
        self.names[name] = Some(self.boxes.len());
        self.boxes.push(Mailbox::new());
    }

    pub fn delete(&mut self, name: usize) {
        if let Some(at) = self.names[name].take() {
            self.boxes[at].is_deleted = true;
        }
    }

    pub fn name_of(&self, mailbox: usize) -> Option<&'static str> {
        self.names.iter().position(|known| *known == Some(mailbox)).map(|at| NAMES[at])
    }

    /// A message that differs from all others, in size, too.
    pub fn compose(&mut self) -> usize {
        let number = self.bodies.len();
        let text = "x".repeat(number * 7 % 50);
        self.bodies.push(format!("Subject: {number}\r\n\r\nmessage {number} {text}\r\n").into_bytes());
        number
    }

    pub fn append(&mut self, mailbox: usize, messages: &[(u8, usize)]) -> Vec<u32> {
        messages.iter().map(|(flags, body)| self.boxes[mailbox].push(*flags, *body)).collect()
    }

    /// STORE on live messages; what it does to expunged ones nobody but their viewers can see.
    /// Returns the live messages that UNCHANGEDSINCE has spared.
    pub fn store(
        &mut self,
        mailbox: usize,
        uids: &[u32],
        how: How,
        flags: u8,
        since: Option<u64>,
    ) -> BTreeSet<u32> {
        let mailbox = &mut self.boxes[mailbox];
        let mut spared = BTreeSet::new();
        for &uid in uids {
            let Some(message) = mailbox.message_mut(uid).filter(|message| message.gone.is_none()) else {
                continue;
            };
            if since.is_some_and(|since| message.modseq() > since) {
                spared.insert(uid);
                continue;
            }
            let changed = how.apply(message.flags(), flags);
            message.set_flags(changed);
            mailbox.keywords |= changed & KEYWORDS;
        }
        spared
    }

    pub fn mark_seen(&mut self, mailbox: usize, uids: &[u32]) {
        self.store(mailbox, uids, How::Add, SEEN, None);
    }

    /// Removes the messages marked `\Deleted` among these, and names them.
    pub fn expunge(&mut self, mailbox: usize, among: &[u32]) -> Vec<u32> {
        let mailbox = &mut self.boxes[mailbox];
        let doomed = |message: &&Message| message.flags() & DELETED != 0 && among.contains(&message.uid);
        let gone: Vec<u32> = mailbox.live().filter(doomed).map(|message| message.uid).collect();
        mailbox.expunge(&gone);
        gone
    }

    /// COPY or MOVE of the live messages among these: old and new UIDs.
    pub fn transfer(&mut self, from: usize, uids: &[u32], to: usize, moves: bool) -> (Vec<u32>, Vec<u32>) {
        let taken: Vec<Message> =
            self.boxes[from].live().filter(|message| uids.contains(&message.uid)).cloned().collect();
        let source: Vec<u32> = taken.iter().map(|message| message.uid).collect();
        let target = taken.iter().map(|message| self.boxes[to].push(message.flags(), message.body)).collect();
        if moves {
            self.boxes[from].expunge(&source);
        }
        (source, target)
    }

    /// RENAME of INBOX moves its messages (RFC 9051 §6.3.6); any other mailbox takes those below it along.
    pub fn rename(&mut self, from: usize, to: usize) {
        if from != 0 {
            self.names[to] = self.names[from].take();
            return;
        }
        self.create(to);
        if let (Some(inbox), Some(target)) = (self.names[0], self.names[to]) {
            let all = self.boxes[inbox].live_uids();
            self.transfer(inbox, &all, target, true);
        }
    }
}
