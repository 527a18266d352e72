//! What messages are sorted by, and their order (RFC 5256 §3, RFC 5957).
//!
//! Keys are numbers: dates and sizes as they are, texts as the number under which each different text is known. When
//! all are there, the texts' ranks take the place of their numbers. So each message costs a few words, and sorting
//! compares nothing but numbers.

use std::sync::Arc;

use super::error::{Error, Result};
use super::known::{Known, Texts};
use super::limits::{MAX_KNOWN_BYTES, MAX_SORTED};
use crate::message::{self, EnvelopeField, FirstAddress, envelope_text, fold_into};
use crate::store::{self, InternalDate, Message, Meta, Uid};

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
    fn is_text(self) -> bool {
        !matches!(self, SortKey::Arrival | SortKey::Date | SortKey::Size)
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

/// The base subject of a subject as a key: twice the number of its text, and one more for a reply or forward.
pub(super) fn subject_key(subject: &[u8], texts: &mut Texts, scratch: &mut String) -> i64 {
    scratch.clear();
    let is_reply = message::base_subject(subject, scratch);
    i64::from(texts.number(scratch)) << 1 | i64::from(is_reply)
}

/// The keys of the messages so far.
pub(super) struct Keys {
    /// At least one.
    criteria: Box<[Criterion]>,
    uids: Vec<Uid>,
    /// As many as there are criteria for each message.
    rows: Vec<i64>,
    /// For the text at hand.
    scratch: String,
}

impl Keys {
    pub fn new(criteria: Box<[Criterion]>) -> Self {
        Keys { criteria, uids: Vec::new(), rows: Vec::new(), scratch: String::new() }
    }

    /// Adds the next message of the mailbox; `read` is called for what is not known of it. Returns whether it was.
    ///
    /// # Errors
    /// Those of `read`; [`Error::TooMany`].
    pub fn push(
        &mut self,
        message: &Message,
        known: &mut Known,
        read: impl Fn() -> store::Result<Arc<Meta>>,
    ) -> Result<bool> {
        let mut meta = None;
        self.uids.push(message.uid);
        for criterion in &self.criteria {
            let value = match criterion.key {
                SortKey::Arrival => message.internal_date.timestamp,
                SortKey::Size => i64::from(message.size),
                key => match known.key(key, message.uid) {
                    Some(value) => value,
                    None => {
                        if meta.is_none() {
                            meta = Some(read()?);
                        }
                        let envelope = meta.as_ref().map_or(&[][..], |meta| meta.envelope());
                        let value = value(key, message, envelope, &mut known.texts, &mut self.scratch);
                        known.set_key(key, message.uid, value)
                    }
                },
            };
            self.rows.push(value);
        }
        check(self.uids.len(), known)?;
        Ok(meta.is_some())
    }

    /// The messages in order; where all criteria are equal, in that of the mailbox.
    pub fn order(mut self, texts: &mut Texts) -> Vec<Uid> {
        self.compare_by_value(texts);
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
    fn compare_by_value(&mut self, texts: &mut Texts) {
        let has_texts = self.criteria.iter().any(|criterion| criterion.key.is_text());
        let ranks = if has_texts { texts.ranks() } else { &[] };
        let width = self.criteria.len();
        for (column, criterion) in self.criteria.iter().enumerate() {
            let is_text = criterion.key.is_text();
            for key in self.rows.iter_mut().skip(column).step_by(width) {
                if is_text {
                    *key = i64::from(ranks[(*key >> 1) as usize]);
                }
                // Unlike negation, this takes every number.
                *key = if criterion.reverse { !*key } else { *key };
            }
        }
    }
}

/// Whether so many messages may be sorted. What they take is looked at now and then only.
fn check(messages: usize, known: &Known) -> Result<()> {
    let is_too_large =
        messages > MAX_SORTED || messages.is_multiple_of(256) && known.bytes() > MAX_KNOWN_BYTES;
    if is_too_large { Err(Error::TooMany) } else { Ok(()) }
}

/// A key that comes from ENVELOPE.
fn value(key: SortKey, message: &Message, envelope: &[u8], texts: &mut Texts, scratch: &mut String) -> i64 {
    match key {
        SortKey::Date => sent(envelope_text(envelope, EnvelopeField::Date).as_deref(), message.internal_date),
        SortKey::Subject => {
            let subject = envelope_text(envelope, EnvelopeField::Subject).unwrap_or_default();
            subject_key(&subject, texts, scratch)
        }
        key => {
            scratch.clear();
            write_text(key, envelope, scratch);
            i64::from(texts.number(scratch)) << 1
        }
    }
}

/// Appends what is compared of an address, in the form in which texts are compared (RFC 5256 §3, RFC 5957 §3).
fn write_text(key: SortKey, envelope: &[u8], out: &mut String) {
    let address = |field| message::first_address(envelope, field).unwrap_or_default();
    match key {
        SortKey::From => write_mailbox(&address(EnvelopeField::From), out),
        SortKey::To => write_mailbox(&address(EnvelopeField::To), out),
        SortKey::Cc => write_mailbox(&address(EnvelopeField::Cc), out),
        SortKey::DisplayFrom => write_display(&address(EnvelopeField::From), out),
        SortKey::DisplayTo => write_display(&address(EnvelopeField::To), out),
        SortKey::Arrival | SortKey::Date | SortKey::Size | SortKey::Subject => {}
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

#[cfg(test)]
mod tests {
    use super::*;

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
            let analysis = message::analyze(raw.as_bytes());
            for (key, expected) in [
                (SortKey::From, mailbox),
                (SortKey::To, mailbox),
                (SortKey::Cc, mailbox),
                (SortKey::DisplayFrom, display),
                (SortKey::DisplayTo, display),
            ] {
                let mut text = String::new();
                write_text(key, analysis.envelope(), &mut text);
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
    fn sorts_take_bounded_memory() {
        let mut known = Known::default();
        assert!(check(MAX_SORTED, &known).is_ok());
        assert!(matches!(check(MAX_SORTED + 1, &known), Err(Error::TooMany)));
        known.texts.bytes = MAX_KNOWN_BYTES;
        assert!(matches!(check(256, &known), Err(Error::TooMany)));
    }
}
