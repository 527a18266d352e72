//! What messages are sorted by, and their order (RFC 5256 §3, RFC 5957).
//!
//! Keys are numbers: dates and sizes as they are, texts as the number under which each different text is kept once. When
//! all are known, the texts are sorted, and their ranks take the place of the numbers. So each message costs a few
//! words, and sorting compares nothing but numbers.

use std::collections::HashMap;

use super::error::{Error, Result};
use super::limits::{MAX_SORT_BYTES, TEXT_COST};
use crate::message::{self, EnvelopeField, FirstAddress, envelope_text, fold_into};
use crate::store::{InternalDate, Message, Uid};

/// What a message is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// INTERNALDATE with its time.
    Arrival,
    /// The mailbox of the first Cc address.
    Cc,
    /// The sent date (RFC 5256 §2.2).
    Date,
    /// The name, failing that the address, of the first From address (RFC 5957).
    DisplayFrom,
    /// The same of To.
    DisplayTo,
    From,
    Size,
    /// The base subject (RFC 5256 §2.1).
    Subject,
    To,
}

impl SortKey {
    /// Whether it comes from ENVELOPE and not from memory.
    fn needs_envelope(self) -> bool {
        !matches!(self, SortKey::Arrival | SortKey::Size)
    }
}

/// One criterion; later ones decide where the earlier ones do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Criterion {
    pub key: SortKey,
    pub reverse: bool,
}

/// The sent date in seconds since 1970: the Date field in UTC, or else INTERNALDATE (RFC 5256 §2.2).
pub(super) fn sent(date: Option<&[u8]>, internal: InternalDate) -> i64 {
    date.and_then(message::parse_date).map_or(internal.timestamp, |sent| sent.timestamp)
}

/// The keys of the messages so far.
pub(super) struct Keys {
    /// At least one.
    criteria: Box<[Criterion]>,
    uids: Vec<Uid>,
    /// As many as there are criteria for each message.
    rows: Vec<i64>,
    texts: Texts,
    /// For the text at hand.
    scratch: String,
}

impl Keys {
    pub fn new(criteria: Box<[Criterion]>) -> Self {
        Keys { criteria, uids: Vec::new(), rows: Vec::new(), texts: Texts::default(), scratch: String::new() }
    }

    /// Whether [`push`](Self::push) wants an ENVELOPE.
    pub fn need_envelopes(&self) -> bool {
        self.criteria.iter().any(|criterion| criterion.key.needs_envelope())
    }

    /// Adds the next message of the mailbox.
    ///
    /// # Errors
    /// [`Error::TooMany`].
    pub fn push(&mut self, message: &Message, envelope: &[u8]) -> Result<()> {
        self.uids.push(message.uid);
        for index in 0..self.criteria.len() {
            let key = match self.criteria[index].key {
                SortKey::Arrival => message.internal_date.timestamp,
                SortKey::Size => i64::from(message.size),
                SortKey::Date => {
                    sent(envelope_text(envelope, EnvelopeField::Date).as_deref(), message.internal_date)
                }
                text => {
                    self.scratch.clear();
                    write_text(text, envelope, &mut self.scratch);
                    self.texts.number(&self.scratch)
                }
            };
            self.rows.push(key);
        }
        self.check()
    }

    fn check(&self) -> Result<()> {
        let bytes = 24 * self.uids.len() + 8 * (self.rows.len() - self.uids.len()) + self.texts.bytes;
        if bytes > MAX_SORT_BYTES { Err(Error::TooMany) } else { Ok(()) }
    }

    /// The messages in order; where all criteria are equal, in that of the mailbox.
    pub fn order(mut self) -> Vec<Uid> {
        self.compare_by_value();
        let width = self.criteria.len();
        let rest = |index: u32| &self.rows[index as usize * width + 1..(index as usize + 1) * width];
        let firsts = self.rows.iter().step_by(width).zip(0..);
        let mut order: Vec<(i64, u32)> = firsts.map(|(first, index)| (*first, index)).collect();
        if width == 1 {
            order.sort_unstable();
        } else {
            order.sort_unstable_by(|a, b| {
                a.0.cmp(&b.0).then_with(|| rest(a.1).cmp(rest(b.1))).then(a.1.cmp(&b.1))
            });
        }
        order.into_iter().map(|(_, index)| self.uids[index as usize]).collect()
    }

    /// Puts ranks in place of the numbers of texts, and turns around what is asked for in reverse.
    fn compare_by_value(&mut self) {
        let ranks = std::mem::take(&mut self.texts).ranks();
        let width = self.criteria.len();
        for (column, criterion) in self.criteria.iter().enumerate() {
            let is_text = criterion.key.needs_envelope() && criterion.key != SortKey::Date;
            for key in self.rows.iter_mut().skip(column).step_by(width) {
                if is_text {
                    *key = i64::from(ranks[*key as usize]);
                }
                // Unlike negation, this takes every number.
                *key = if criterion.reverse { !*key } else { *key };
            }
        }
    }
}

/// Appends the text of a key in the form in which texts are compared (RFC 5256 §4, RFC 5957 §3).
fn write_text(key: SortKey, envelope: &[u8], out: &mut String) {
    let address = |field| message::first_address(envelope, field).unwrap_or_default();
    match key {
        SortKey::Subject => {
            let subject = envelope_text(envelope, EnvelopeField::Subject).unwrap_or_default();
            message::base_subject(&subject, out);
        }
        SortKey::From => write_mailbox(&address(EnvelopeField::From), out),
        SortKey::To => write_mailbox(&address(EnvelopeField::To), out),
        SortKey::Cc => write_mailbox(&address(EnvelopeField::Cc), out),
        SortKey::DisplayFrom => write_display(&address(EnvelopeField::From), out),
        SortKey::DisplayTo => write_display(&address(EnvelopeField::To), out),
        SortKey::Arrival | SortKey::Date | SortKey::Size => {}
    }
}

fn write_mailbox(address: &FirstAddress<'_>, out: &mut String) {
    fold_into(&String::from_utf8_lossy(address.mailbox.as_deref().unwrap_or_default()), out);
}

fn write_display(address: &FirstAddress<'_>, out: &mut String) {
    let name = message::decode_words(address.name.as_deref().unwrap_or_default());
    fold_into(&name, out);
    if !out.is_empty() {
        return;
    }
    write_mailbox(address, out);
    if let Some(host) = address.host.as_deref().filter(|host| !host.is_empty()) {
        out.push('@');
        fold_into(&String::from_utf8_lossy(host), out);
    }
}

/// Texts, each kept once.
#[derive(Default)]
struct Texts {
    numbers: HashMap<Box<str>, u32>,
    /// What they take.
    bytes: usize,
}

impl Texts {
    fn number(&mut self, text: &str) -> i64 {
        if let Some(&number) = self.numbers.get(text) {
            return i64::from(number);
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(text.into(), number);
        self.bytes += text.len() + TEXT_COST;
        i64::from(number)
    }

    /// The place of each among the others, by number.
    fn ranks(self) -> Vec<u32> {
        let mut sorted: Vec<_> = self.numbers.into_iter().collect();
        sorted.sort_unstable();
        let mut ranks = vec![0; sorted.len()];
        for ((_, number), rank) in sorted.into_iter().zip(0..) {
            ranks[number as usize] = rank;
        }
        ranks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_rank_by_value_and_are_kept_once() {
        let mut texts = Texts::default();
        let numbers: Vec<i64> = ["b", "", "c", "b", "a"].into_iter().map(|text| texts.number(text)).collect();
        let bytes = texts.bytes;
        let ranks = texts.ranks();
        let ranked: Vec<u32> = numbers.into_iter().map(|number| ranks[number as usize]).collect();
        assert_eq!(ranked, [2, 0, 3, 2, 1]);
        assert_eq!(bytes, 4 * TEXT_COST + 3);
    }

    #[test]
    fn what_is_compared_of_an_address() {
        for (from, mailbox, display) in [
            ("Ada <ada@x.org>", "ADA", "ADA"),
            ("ada@x.org", "ADA", "ADA@X.ORG"),
            ("\"\" <ada@x.org>", "ADA", "ADA@X.ORG"),
            ("=?utf-8?q?=C3=84?= <b@y>", "B", "A\u{308}"),
            ("=?utf-8?q??= <b@y>", "B", "B@Y"),
            ("ada", "ADA", "ADA"),
            ("team: a@x, b@y;", "TEAM", "TEAM"),
            ("b@y, ada@x", "B", "B@Y"),
            ("", "", ""),
        ] {
            let raw = format!("From: {from}\r\nTo: {from}\r\nCc: {from}\r\n\r\n");
            let envelope = message::analyze(raw.as_bytes()).envelope;
            for (key, expected) in [
                (SortKey::From, mailbox),
                (SortKey::To, mailbox),
                (SortKey::Cc, mailbox),
                (SortKey::DisplayFrom, display),
                (SortKey::DisplayTo, display),
            ] {
                let mut text = String::new();
                write_text(key, &envelope, &mut text);
                assert_eq!(text, expected, "{key:?} of {from}");
            }
        }
    }

    #[test]
    fn a_missing_date_is_that_of_arrival() {
        let internal = InternalDate { timestamp: 7, offset_minutes: 60 };
        for (date, expected) in [
            (None, 7),
            (Some("soon"), 7),
            (Some("31 Dec 2000 16:01:33 -0800"), 978_307_293),
            (Some("31 Dec 2000 16:01:33 nowhere"), 978_278_493),
            (Some("31 Dec 2000 66:01:33 +0000"), 978_220_800),
        ] {
            assert_eq!(sent(date.map(str::as_bytes), internal), expected, "{date:?}");
        }
    }

    #[test]
    fn keys_take_bounded_memory() {
        let mut keys = Keys::new([Criterion { key: SortKey::Subject, reverse: false }].into());
        keys.texts.bytes = MAX_SORT_BYTES - TEXT_COST - 3;
        keys.texts.number("sun");
        assert!(keys.check().is_ok());
        keys.uids.push(Uid::MIN);
        keys.rows.push(0);
        assert!(matches!(keys.check(), Err(Error::TooMany)));
    }
}
