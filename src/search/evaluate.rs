//! Carries a program out, a slice at a time.

use std::mem;
use std::sync::Arc;

use super::program::{HeaderTest, Program, Test};
use crate::message;
use crate::spare::Lent;
use crate::store::limits::HOT_METAS;
use crate::store::{Headers, Message, Meta, Result, Selected, Uid, UidSet};

/// Messages that are looked up at once.
const BATCH: usize = 256;

/// A search on its way.
pub struct Search {
    program: Program,
    /// The first UID that is not in a batch yet; `None` after the last.
    next: Option<Uid>,
    /// In reverse order.
    batch: Lent<Message>,
    found: UidSet,
    /// Stop at the first message.
    only_first: bool,
}

impl Search {
    /// `only_first` for a caller that wants to know nothing but the smallest UID.
    pub fn new(program: Program, only_first: bool) -> Self {
        Search { next: program.within.first(), program, batch: Lent::new(), found: UidSet::new(), only_first }
    }

    /// What was found, once [`run`](Self::run) says that all is looked at.
    pub fn take_found(&mut self) -> UidSet {
        mem::take(&mut self.found)
    }

    /// Goes on until all is looked at (true) or `is_over` says to stop for now (false). It is asked after every
    /// message that may have to be read, otherwise after every batch.
    pub fn run(&mut self, mailbox: &Selected, is_over: impl Fn() -> bool) -> Result<bool> {
        if !self.sift(mailbox, &is_over)? {
            return Ok(false);
        }
        if matches!(self.program.test, Test::All) {
            self.found = mem::take(&mut self.program.within);
            return Ok(true);
        }
        let mut reader = Reader::new(mailbox, self.program.within.len());
        loop {
            let Some(message) = self.batch.pop() else {
                if self.next.is_none() {
                    return Ok(true);
                }
                if is_over() {
                    return Ok(false);
                }
                self.load(mailbox)?;
                continue;
            };
            if reader.meets(&self.program.test, &message, &self.batch)? {
                self.found.push(message.uid);
                if self.only_first {
                    return Ok(true);
                }
            }
            if is_over() {
                return Ok(self.batch.is_empty() && self.next.is_none());
            }
        }
    }

    /// As `run`, for what needs no reading: leaves in the field what meets it.
    fn sift(&mut self, mailbox: &Selected, is_over: impl Fn() -> bool) -> Result<bool> {
        let Program { within, sieve, test } = &mut self.program;
        if matches!(sieve, Test::All) {
            return Ok(true);
        }
        let is_enough = |found: &UidSet| self.only_first && matches!(test, Test::All) && !found.is_empty();
        while let Some(from) = self.next.filter(|_| !is_enough(&self.found)) {
            if is_over() {
                return Ok(false);
            }
            let found = &mut self.found;
            self.next = match sieve.system_flags() {
                Some((with, without)) => {
                    let meets = |message: &Message| {
                        message.flags.contains(with) && !message.flags.intersects(without)
                    };
                    mailbox.choose(within, from, BATCH, meets, found)?
                }
                None => {
                    let meets = |message: &Message| sieve.in_memory(message, mailbox);
                    mailbox.choose(within, from, BATCH, meets, found)?
                }
            };
        }
        (*within, *sieve) = (mem::take(&mut self.found), Test::All);
        self.next = within.first();
        Ok(true)
    }

    fn load(&mut self, mailbox: &Selected) -> Result<()> {
        let Some(from) = self.next else { return Ok(()) };
        mailbox.messages(&self.program.within, from, BATCH, &mut self.batch)?;
        self.next = self.batch.last().and_then(|last| last.uid.get().checked_add(1)).and_then(Uid::new);
        self.batch.reverse();
        Ok(())
    }
}

/// Reads what tests ask for, each thing once per message, into buffers that serve all messages of a slice.
struct Reader<'a> {
    mailbox: &'a Selected,
    /// Whose Meta and bytes are held.
    meta: Option<(Uid, Arc<Meta>)>,
    raw_of: Option<Uid>,
    raw: Vec<u8>,
    /// Absent where the store keeps in memory what it has read of so few messages.
    headers: Option<Headers>,
}

impl<'a> Reader<'a> {
    /// For a search of so many messages. One that would take more than a quarter of what the store keeps would push out what
    /// others need.
    fn new(mailbox: &'a Selected, count: u32) -> Self {
        let headers = (count as usize > HOT_METAS / 4).then(Headers::default);
        Reader { mailbox, meta: None, raw_of: None, raw: Vec::new(), headers }
    }

    /// `ahead` are the messages that come next, in reverse order. Recurses as deep as the grammar's bound on nesting.
    fn meets(&mut self, test: &Test, message: &Message, ahead: &[Message]) -> Result<bool> {
        match test {
            Test::And(tests) => {
                for test in tests {
                    if !self.meets(test, message, ahead)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Test::Or(tests) => {
                for test in tests {
                    if self.meets(test, message, ahead)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Test::Not(test) => Ok(!self.meets(test, message, ahead)?),
            Test::Header(wanted) => {
                let HeaderTest { field, needle } = &**wanted;
                let next = ahead.iter().rev();
                let headers = self.headers.as_mut();
                if let Some(header) = headers.and_then(|h| self.mailbox.header_ahead(message, next, h)) {
                    return Ok(message::search_header(header, field, needle));
                }
                let meta = self.meta(message)?;
                let header = self.mailbox.header(message, &meta)?;
                Ok(message::search_header(&header, field, needle))
            }
            Test::Text { needle, scope } => {
                let meta = self.meta(message)?;
                self.read_all(message)?;
                let Some(parts) = meta.parts() else { return Ok(false) };
                Ok(message::search_text(&self.raw, parts, needle, *scope))
            }
            test => Ok(test.in_memory(message, self.mailbox)),
        }
    }

    fn meta(&mut self, message: &Message) -> Result<Arc<Meta>> {
        match &self.meta {
            Some((uid, meta)) if *uid == message.uid => Ok(meta.clone()),
            _ => {
                let meta = self.mailbox.meta(message)?;
                self.meta = Some((message.uid, meta.clone()));
                Ok(meta)
            }
        }
    }

    fn read_all(&mut self, message: &Message) -> Result<()> {
        if self.raw_of == Some(message.uid) {
            return Ok(());
        }
        self.raw_of = None;
        self.raw.clear();
        self.mailbox.read(message, 0..u64::from(message.size), &mut self.raw)?;
        self.raw_of = Some(message.uid);
        Ok(())
    }
}
