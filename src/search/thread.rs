//! THREAD: a search, then what each message it has found says about its thread, then the threads (RFC 5256 §3).

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_128;

use super::error::{Error, Result};
use super::evaluate::Search;
use super::forest::Forest;
use super::limits::{MAX_REFERENCES, MAX_THREAD_NODES};
use super::link_cut::NONE;
use super::order::sent;
use super::program::Program;
use super::references::{self, Id, Nodes, Subject};
use super::walk::Walk;
use crate::message::header::{Field, fields};
use crate::message::{self, EnvelopeField, envelope_text, message_ids};
use crate::store::{Message, Selected, Uid};

/// How messages belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// By base subject.
    OrderedSubject,
    /// By References, In-Reply-To and base subject.
    References,
}

/// A threading on its way.
pub struct Thread {
    algorithm: Algorithm,
    collected: Collected,
    stage: Stage,
}

#[expect(clippy::large_enum_variant, reason = "the threading is boxed as a whole")]
enum Stage {
    Find(Search),
    Collect(Walk),
}

impl Thread {
    pub fn new(program: Program, algorithm: Algorithm) -> Self {
        let stage = Stage::Find(Search::new(program, false));
        Thread { algorithm, collected: Collected::default(), stage }
    }

    /// Goes on until the threads are known, and then returns them, or until `is_over` says to stop for now (`None`).
    /// Reading messages stops after each, what follows does not: a million take a few tenths of a second.
    ///
    /// # Errors
    /// As reading messages has; [`Error::TooMany`].
    pub fn run(&mut self, mailbox: &Selected, is_over: impl Fn() -> bool) -> Result<Option<Forest>> {
        if let Stage::Find(search) = &mut self.stage {
            if !search.run(mailbox, &is_over)? {
                return Ok(None);
            }
            self.stage = Stage::Collect(Walk::new(search.take_found()));
        }
        let Stage::Collect(walk) = &mut self.stage else { return Ok(None) };
        let (algorithm, collected) = (self.algorithm, &mut self.collected);
        let is_done = walk.run(mailbox, true, is_over, |message| {
            let meta = mailbox.meta(message)?;
            match algorithm {
                Algorithm::OrderedSubject => collected.push_envelope(message, meta.envelope()),
                Algorithm::References => collected.push_header(message, &mailbox.header(message, &meta)?),
            }
        })?;
        let finish = || std::mem::take(&mut self.collected).forest(algorithm);
        Ok(is_done.then(finish))
    }
}

/// What the messages so far say.
#[derive(Default)]
pub(super) struct Collected {
    uids: Vec<Uid>,
    /// Sent dates.
    dates: Vec<i64>,
    subjects: Vec<Subject>,
    /// The number of each different base subject, hashed, from 1 on.
    numbers: HashMap<Id, u32>,
    nodes: Nodes,
    text: String,
    ids: Vec<Id>,
}

impl Collected {
    fn push_envelope(&mut self, message: &Message, envelope: &[u8]) -> Result<()> {
        let text = |field| envelope_text(envelope, field);
        let date = text(EnvelopeField::Date);
        let subject = text(EnvelopeField::Subject).unwrap_or_default();
        self.push(message.uid, sent(date.as_deref(), message.internal_date), &subject);
        self.check()
    }

    fn push_header(&mut self, message: &Message, header: &[u8]) -> Result<()> {
        let found = Found::collect(header);
        let subject = found.subject.map(|field| field.text()).unwrap_or_default();
        self.push(message.uid, sent(found.date.map(|field| field.value), message.internal_date), &subject);
        self.link(&found);
        self.check()
    }

    fn link(&mut self, found: &Found<'_>) {
        let own = found.message_id.and_then(|field| message_ids(field.value).next());
        self.collect_references(found.references, found.in_reply_to);
        self.nodes.add(own.map(|id| hash(&id)), &self.ids);
    }

    /// The ids of References, or else the first of In-Reply-To.
    fn collect_references(&mut self, references: Option<Field<'_>>, in_reply_to: Option<Field<'_>>) {
        self.ids.clear();
        for id in references.into_iter().flat_map(|field| message_ids(field.value)) {
            if self.ids.len() == 2 * MAX_REFERENCES {
                self.ids.drain(1..=MAX_REFERENCES);
            }
            self.ids.push(hash(&id));
        }
        if self.ids.len() > MAX_REFERENCES {
            self.ids.drain(1..=self.ids.len() - MAX_REFERENCES);
        }
        if self.ids.is_empty() {
            let parent = in_reply_to.and_then(|field| message_ids(field.value).next());
            self.ids.extend(parent.map(|id| hash(&id)));
        }
    }

    pub fn push(&mut self, uid: Uid, date: i64, subject: &[u8]) {
        self.uids.push(uid);
        self.dates.push(date);
        self.text.clear();
        let is_reply = message::base_subject(subject, &mut self.text);
        let next = self.numbers.len() as u32 + 1;
        let number = match self.text.as_str() {
            "" => 0,
            text => *self.numbers.entry(hash(text.as_bytes())).or_insert(next),
        };
        self.subjects.push(Subject { number, is_reply });
    }

    /// Of the message that was pushed last.
    #[cfg(test)]
    pub fn refer(&mut self, own: Option<&str>, references: &[&str]) {
        let references: Vec<Id> = references.iter().map(|id| hash(id.as_bytes())).collect();
        self.nodes.add(own.map(|id| hash(id.as_bytes())), &references);
    }

    fn check(&self) -> Result<()> {
        let is_too_large = self.nodes.len().max(self.uids.len()) > MAX_THREAD_NODES;
        if is_too_large { Err(Error::TooMany) } else { Ok(()) }
    }

    pub fn forest(self, algorithm: Algorithm) -> Forest {
        let mut by_date: Vec<(i64, u32)> = self.dates.iter().copied().zip(0..).collect();
        by_date.sort_unstable();
        let order: Vec<u32> = by_date.into_iter().map(|(_, message)| message).collect();
        let parents = match algorithm {
            Algorithm::OrderedSubject => ordered_subject(&self.subjects, self.numbers.len(), &order),
            Algorithm::References => references::thread(self.nodes, &self.subjects, &order),
        };
        Forest::new(self.uids, &parents, order.into_iter())
    }
}

/// The first message of each subject is the parent of the others.
fn ordered_subject(subjects: &[Subject], numbers: usize, order: &[u32]) -> Vec<u32> {
    let mut firsts = vec![NONE; numbers + 1];
    let mut parents = vec![NONE; subjects.len()];
    for &message in order {
        let first = &mut firsts[subjects[message as usize].number as usize];
        parents[message as usize] = *first;
        if *first == NONE {
            *first = message;
        }
    }
    parents
}

fn hash(bytes: &[u8]) -> Id {
    let hash = xxh3_128(bytes);
    ((hash >> 64) as u64, hash as u64)
}

/// The first field of each name that threads are made from.
#[derive(Default)]
struct Found<'a> {
    date: Option<Field<'a>>,
    subject: Option<Field<'a>>,
    message_id: Option<Field<'a>>,
    in_reply_to: Option<Field<'a>>,
    references: Option<Field<'a>>,
}

impl<'a> Found<'a> {
    fn collect(header: &'a [u8]) -> Self {
        let mut found = Found::default();
        for field in fields(header) {
            if let Some(slot) = found.slot(field.name) {
                slot.get_or_insert(field);
            }
        }
        found
    }

    fn slot(&mut self, name: &[u8]) -> Option<&mut Option<Field<'a>>> {
        // Most fields are others, and have a length of their own.
        let (known, slot): (&[u8], _) = match name.len() {
            4 => (b"date", &mut self.date),
            7 => (b"subject", &mut self.subject),
            10 if name[0].eq_ignore_ascii_case(&b'm') => (b"message-id", &mut self.message_id),
            10 => (b"references", &mut self.references),
            11 => (b"in-reply-to", &mut self.in_reply_to),
            _ => return None,
        };
        known.eq_ignore_ascii_case(name).then_some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(header: &str) -> Vec<Id> {
        let mut collected = Collected::default();
        collected.link(&Found::collect(header.as_bytes()));
        collected.ids
    }

    #[test]
    fn parents_are_in_references_or_else_in_reply_to() {
        let [a, b] = [hash(b"a@x"), hash(b"b@x")];
        for (header, expected) in [
            ("References: <a@x>\r\n <b@x>\r\nIn-Reply-To: <c@x>\r\n", &[a, b][..]),
            ("IN-REPLY-TO: mail of <a@x> and <b@x>\r\n", &[a]),
            ("References: none\r\nIn-Reply-To: <b@x>\r\n", &[b]),
            ("References: <a@x>\r\nReferences: <b@x>\r\n", &[a]),
            ("Resent-To: <a@x>\r\nMessage-ID: <b@x>\r\n\r\nReferences: <a@x>\r\n", &[]),
        ] {
            assert_eq!(ids(header), expected, "{header}");
        }
    }

    #[test]
    fn the_first_and_the_last_references_count() {
        for count in [MAX_REFERENCES, MAX_REFERENCES + 1, 2 * MAX_REFERENCES, 5 * MAX_REFERENCES + 7] {
            let references: String = (0..count).map(|n| format!(" <{n}@x>\r\n")).collect();
            let kept = ids(&format!("References:{references}"));
            let expected = (0..count).filter(|&n| n == 0 || n > count - MAX_REFERENCES);
            let expected: Vec<Id> = expected.map(|n| hash(format!("{n}@x").as_bytes())).collect();
            assert_eq!(kept, expected, "{count}");
        }
    }

    #[test]
    fn threads_take_bounded_memory() {
        let mut collected = Collected { uids: vec![Uid::MIN; MAX_THREAD_NODES], ..Collected::default() };
        assert!(collected.check().is_ok());
        collected.uids.push(Uid::MIN);
        assert!(matches!(collected.check(), Err(Error::TooMany)));
    }
}
