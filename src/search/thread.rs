//! THREAD: a search, then what each message it has found says about its thread, then the threads (RFC 5256 §3).

use std::sync::Arc;

use super::cache::{Cache, Key};
use super::error::{Error, Result};
use super::evaluate::Search;
use super::forest::Forest;
use super::known::Known;
use super::limits::{MAX_KNOWN_BYTES, MAX_REFERENCES, MAX_THREAD_NODES};
use super::link_cut::NONE;
use super::order::{SortKey, sent, subject_key};
use super::program::Program;
use super::references::{self, Nodes, Subject};
use super::walk::Walk;
use crate::message::header::{Field, fields};
use crate::message::{EnvelopeField, envelope_text, message_ids};
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
    cache: Arc<Cache>,
    algorithm: Algorithm,
    stage: Stage,
}

enum Stage {
    Find(Search),
    Collect(Walk, Box<(Collected, Known)>),
    Done,
}

impl Thread {
    pub fn new(program: Program, algorithm: Algorithm, cache: Arc<Cache>) -> Self {
        Thread { cache, algorithm, stage: Stage::Find(Search::new(program, false)) }
    }

    /// Goes on until the threads are known, and then returns them, or until `is_over` says to stop for now (`None`).
    /// Looking at messages stops after every one that had to be read, what follows does not: a million take a few tenths
    /// of a second.
    ///
    /// # Errors
    /// As reading messages has; [`Error::TooMany`].
    pub fn run(&mut self, mailbox: &Selected, is_over: impl Fn() -> bool) -> Result<Option<Forest>> {
        if let Stage::Find(search) = &mut self.stage {
            if !search.run(mailbox, &is_over)? {
                return Ok(None);
            }
            let both = (Collected::default(), self.cache.take(Key::of(mailbox)));
            self.stage = Stage::Collect(Walk::new(search.take_found()), Box::new(both));
        }
        let Stage::Collect(walk, both) = &mut self.stage else { return Ok(None) };
        let ((collected, known), algorithm) = (both.as_mut(), self.algorithm);
        let is_done = walk.run(mailbox, is_over, |message| {
            let is_known = collected.push_known(message.uid, algorithm, known);
            if !is_known {
                collected.read(message, algorithm, mailbox, known)?;
            }
            collected.check(known).map(|()| !is_known)
        })?;
        Ok(if is_done { self.finish(mailbox) } else { None })
    }

    fn finish(&mut self, mailbox: &Selected) -> Option<Forest> {
        let Stage::Collect(_, both) = std::mem::replace(&mut self.stage, Stage::Done) else { return None };
        let (collected, mut known) = *both;
        known.settle();
        let forest = collected.forest(self.algorithm);
        self.cache.keep(Key::of(mailbox), known, mailbox.exists());
        Some(forest)
    }
}

/// What the messages so far say.
#[derive(Default)]
pub(super) struct Collected {
    uids: Vec<Uid>,
    /// Sent dates.
    dates: Vec<i64>,
    subjects: Vec<Subject>,
    pub nodes: Nodes,
    /// For the message at hand.
    text: String,
    ids: Vec<u32>,
}

impl Collected {
    /// Adds the next message of the mailbox if nothing need be read for that.
    fn push_known(&mut self, uid: Uid, algorithm: Algorithm, known: &mut Known) -> bool {
        let (date, subject) = (known.key(SortKey::Date, uid), known.key(SortKey::Subject, uid));
        let Some((date, subject)) = date.zip(subject) else { return false };
        if algorithm == Algorithm::References {
            let Some((own, references)) = known.link(uid) else { return false };
            self.nodes.add(own, references);
        }
        self.push(uid, date, subject);
        true
    }

    /// Reads the next message of the mailbox and adds it.
    fn read(
        &mut self,
        message: &Message,
        algorithm: Algorithm,
        mailbox: &Selected,
        known: &mut Known,
    ) -> Result<()> {
        let meta = mailbox.meta(message)?;
        if algorithm == Algorithm::OrderedSubject {
            let text = |field| envelope_text(meta.envelope(), field);
            let date = text(EnvelopeField::Date);
            let subject = text(EnvelopeField::Subject).unwrap_or_default();
            self.learn(message, date.as_deref(), &subject, known);
            return Ok(());
        }
        let header = mailbox.header(message, &meta)?;
        let found = Found::collect(&header);
        let own = self.learn_link(&found, known);
        known.set_link(message.uid, own, &self.ids);
        let subject = found.subject.map(|field| field.text()).unwrap_or_default();
        self.learn(message, found.date.map(|field| field.value), &subject, known);
        Ok(())
    }

    fn learn(&mut self, message: &Message, date: Option<&[u8]>, subject: &[u8], known: &mut Known) {
        let uid = message.uid;
        let date = match known.key(SortKey::Date, uid) {
            Some(date) => date,
            None => known.set_key(SortKey::Date, uid, sent(date, message.internal_date)),
        };
        let subject = match known.key(SortKey::Subject, uid) {
            Some(subject) => subject,
            None => {
                let key = subject_key(subject, &mut known.texts, &mut self.text);
                known.set_key(SortKey::Subject, uid, key)
            }
        };
        self.push(uid, date, subject);
    }

    /// The message's own id; those that it refers to are then in `ids`.
    fn learn_link(&mut self, found: &Found<'_>, known: &mut Known) -> Option<u32> {
        let own = found.message_id.and_then(|field| message_ids(field.value).next());
        let own = own.map(|id| known.id(&id));
        self.collect_references(found, known);
        self.nodes.add(own, &self.ids);
        own
    }

    /// The ids of References, or else the first of In-Reply-To.
    fn collect_references(&mut self, found: &Found<'_>, known: &mut Known) {
        self.ids.clear();
        for id in found.references.into_iter().flat_map(|field| message_ids(field.value)) {
            if self.ids.len() == 2 * MAX_REFERENCES {
                self.ids.drain(1..=MAX_REFERENCES);
            }
            self.ids.push(known.id(&id));
        }
        if self.ids.len() > MAX_REFERENCES {
            self.ids.drain(1..=self.ids.len() - MAX_REFERENCES);
        }
        if self.ids.is_empty() {
            let parent = found.in_reply_to.and_then(|field| message_ids(field.value).next());
            self.ids.extend(parent.map(|id| known.id(&id)));
        }
    }

    /// `subject` is as [`subject_key`] has it.
    pub fn push(&mut self, uid: Uid, date: i64, subject: i64) {
        self.uids.push(uid);
        self.dates.push(date);
        self.subjects.push(Subject { number: (subject >> 1) as u32, is_reply: subject & 1 == 1 });
    }

    /// Whether so much may be known. What it takes is looked at now and then only.
    fn check(&self, known: &Known) -> Result<()> {
        let count = self.uids.len();
        let is_too_large = self.nodes.len().max(count) > MAX_THREAD_NODES
            || count.is_multiple_of(256) && known.bytes() > MAX_KNOWN_BYTES;
        if is_too_large { Err(Error::TooMany) } else { Ok(()) }
    }

    pub fn forest(self, algorithm: Algorithm) -> Forest {
        let mut by_date: Vec<(i64, u32)> = self.dates.iter().copied().zip(0..).collect();
        by_date.sort_unstable();
        let order: Vec<u32> = by_date.into_iter().map(|(_, message)| message).collect();
        let parents = match algorithm {
            Algorithm::OrderedSubject => ordered_subject(&self.subjects, &order),
            Algorithm::References => references::thread(self.nodes, &self.subjects, &order),
        };
        Forest::new(self.uids, &parents, order.into_iter())
    }
}

/// The first message of each subject is the parent of the others.
fn ordered_subject(subjects: &[Subject], order: &[u32]) -> Vec<u32> {
    let numbers = subjects.iter().map(|subject| subject.number as usize + 1).max().unwrap_or(0);
    let mut firsts = vec![NONE; numbers];
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

    fn ids(header: &str, known: &mut Known) -> Vec<u32> {
        let mut collected = Collected::default();
        collected.learn_link(&Found::collect(header.as_bytes()), known);
        collected.ids
    }

    #[test]
    fn parents_are_in_references_or_else_in_reply_to() {
        let mut known = Known::default();
        let [a, b] = [known.id(b"a@x"), known.id(b"b@x")];
        for (header, expected) in [
            ("References: <a@x>\r\n <b@x>\r\nIn-Reply-To: <c@x>\r\n", &[a, b][..]),
            ("IN-REPLY-TO: mail of <a@x> and <b@x>\r\n", &[a]),
            ("References: none\r\nIn-Reply-To: <b@x>\r\n", &[b]),
            ("References: <a@x>\r\nReferences: <b@x>\r\n", &[a]),
            ("Resent-To: <a@x>\r\nMessage-ID: <b@x>\r\n\r\nReferences: <a@x>\r\n", &[]),
        ] {
            assert_eq!(ids(header, &mut known), expected, "{header}");
        }
    }

    #[test]
    fn the_first_and_the_last_references_count() {
        for count in [MAX_REFERENCES, MAX_REFERENCES + 1, 2 * MAX_REFERENCES, 5 * MAX_REFERENCES + 7] {
            let references: String = (0..count).map(|n| format!(" <{n}@x>\r\n")).collect();
            let kept = ids(&format!("References:{references}"), &mut Known::default());
            let expected = (0..count).filter(|&n| n == 0 || n > count - MAX_REFERENCES);
            let expected: Vec<u32> = expected.map(|n| n as u32).collect();
            assert_eq!(kept, expected, "{count}");
        }
    }

    #[test]
    fn threads_take_bounded_memory() {
        let mut known = Known::default();
        let mut collected = Collected { uids: vec![Uid::MIN; MAX_THREAD_NODES], ..Collected::default() };
        assert!(collected.check(&known).is_ok());
        known.texts.bytes = MAX_KNOWN_BYTES;
        assert!(matches!(collected.check(&known), Err(Error::TooMany)));
        collected.uids.push(Uid::MIN);
        assert!(matches!(collected.check(&Known::default()), Err(Error::TooMany)));
    }
}
