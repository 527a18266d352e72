//! The items of a FETCH response that are not bytes of the message.

use super::plan::Plan;
use crate::imap::types::{FetchAttributes, InternalDate};
use crate::imap::write;
use crate::store::{Flags, KeywordTable, Message, Meta};

/// Writes items with a space between each two.
pub(super) struct Items<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Items<'a> {
    /// Opens `* seq FETCH (`.
    pub(super) fn open(out: &'a mut Vec<u8>, seq: u32) -> Self {
        out.extend_from_slice(b"* ");
        write::number(out, u64::from(seq));
        out.extend_from_slice(b" FETCH (");
        let start = out.len();
        Items { out, start }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.out.len() == self.start
    }

    /// The item's name with the space before and behind it; the value follows.
    fn item(&mut self, name: &str) -> &mut Vec<u8> {
        if self.out.len() > self.start {
            self.out.push(b' ');
        }
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b' ');
        self.out
    }

    /// All attributes of the plan; `implied` are those that a change of flags adds.
    pub(super) fn attributes(
        &mut self,
        plan: &Plan,
        implied: FetchAttributes,
        message: &Message,
        known: &Known<'_>,
    ) {
        let asked = plan.items.attributes | implied;
        if asked.contains(FetchAttributes::UID) {
            write::number(self.item("UID"), u64::from(message.uid.get()));
        }
        if asked.contains(FetchAttributes::FLAGS) {
            let recent = plan.recent && known.is_recent;
            flags(self.item("FLAGS"), message, recent, known.keywords);
        }
        if asked.contains(FetchAttributes::MODSEQ) {
            let out = self.item("MODSEQ");
            out.push(b'(');
            write::number(out, message.modseq.0);
            out.push(b')');
        }
        self.dates_and_sizes(asked, message);
        self.identities(asked, message);
        if let Some(meta) = known.meta {
            self.structure(asked, meta);
        }
    }

    fn dates_and_sizes(&mut self, asked: FetchAttributes, message: &Message) {
        if asked.contains(FetchAttributes::INTERNALDATE) {
            let date = message.internal_date;
            let date = InternalDate { timestamp: date.timestamp, offset_minutes: date.offset_minutes };
            write::internal_date(self.item("INTERNALDATE"), date);
        }
        if asked.contains(FetchAttributes::RFC822_SIZE) {
            write::number(self.item("RFC822.SIZE"), u64::from(message.size));
        }
        if asked.contains(FetchAttributes::SAVEDATE) {
            let date = InternalDate { timestamp: message.save_date, offset_minutes: 0 };
            write::internal_date(self.item("SAVEDATE"), date);
        }
    }

    fn identities(&mut self, asked: FetchAttributes, message: &Message) {
        if asked.contains(FetchAttributes::EMAILID) {
            let out = self.item("EMAILID");
            out.push(b'(');
            object_id(out, EMAIL_PREFIX, message.email);
            out.push(b')');
        }
        if asked.contains(FetchAttributes::THREADID) {
            let out = self.item("THREADID");
            if message.thread == 0 {
                return out.extend_from_slice(b"NIL");
            }
            out.push(b'(');
            object_id(out, THREAD_PREFIX, message.thread);
            out.push(b')');
        }
    }

    fn structure(&mut self, asked: FetchAttributes, meta: &Meta) {
        if asked.contains(FetchAttributes::ENVELOPE) {
            self.item("ENVELOPE").extend_from_slice(meta.envelope());
        }
        if asked.contains(FetchAttributes::BODY) {
            self.item("BODY").extend_from_slice(meta.body());
        }
        if asked.contains(FetchAttributes::BODYSTRUCTURE) {
            self.item("BODYSTRUCTURE").extend_from_slice(meta.body_structure());
        }
        if asked.intersects(FetchAttributes::PREVIEW | FetchAttributes::PREVIEW_LAZY) {
            // A message without text has an empty preview; NIL would say that there is none yet (RFC 8970 §3.1).
            write::quoted_or_literal(self.item("PREVIEW"), meta.preview().unwrap_or_default().as_bytes());
        }
    }
}

/// What the view and the store know of a message beyond [`Message`].
pub(super) struct Known<'a> {
    pub(super) keywords: Option<&'a KeywordTable>,
    pub(super) is_recent: bool,
    pub(super) meta: Option<&'a Meta>,
}

/// First letters of EMAILID and THREADID: the kinds must not be mistaken for each other (RFC 8474 §5).
pub(in crate::imap) const EMAIL_PREFIX: u8 = b'M';
pub(in crate::imap) const THREAD_PREFIX: u8 = b'T';

fn object_id(out: &mut Vec<u8>, prefix: u8, id: u64) {
    out.push(prefix);
    for shift in (0..64).step_by(4).rev() {
        let digit = (id >> shift & 15) as u8;
        out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
}

/// The id in an EMAILID or THREADID search key; `None` when no message can have it.
pub(in crate::imap) fn parse_object_id(text: &str, prefix: u8) -> Option<u64> {
    let digits = text.strip_prefix(char::from(prefix)).filter(|digits| digits.len() == 16)?;
    let lower = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if lower { u64::from_str_radix(digits, 16).ok() } else { None }
}

/// A parenthesised flag list.
fn flags(out: &mut Vec<u8>, message: &Message, recent: bool, keywords: Option<&KeywordTable>) {
    out.push(b'(');
    let start = out.len();
    out.extend_from_slice(FLAG_TEXTS[usize::from(message.flags.bits())].as_bytes());
    let mut name = |name: &str| {
        if out.len() > start {
            out.push(b' ');
        }
        out.extend_from_slice(name.as_bytes());
    };
    if recent {
        name("\\Recent");
    }
    if let Some(keywords) = keywords.filter(|_| !message.keywords.is_empty()) {
        message.keywords.iter().filter_map(|index| keywords.name(index)).for_each(name);
    }
    out.push(b')');
}

/// System flags as a list shows them.
struct FlagText {
    bytes: [u8; Self::MOST],
    len: usize,
}

/// The text of every set of system flags, by its bits.
static FLAG_TEXTS: [FlagText; Flags::SETS] = {
    let mut texts = [const { FlagText { bytes: [0; FlagText::MOST], len: 0 } }; Flags::SETS];
    let mut bits = 0;
    while bits < Flags::SETS {
        texts[bits] = FlagText::of(Flags::from_bits(bits as u16));
        bits += 1;
    }
    texts
};

impl FlagText {
    /// Of all of them.
    const MOST: usize = {
        let (mut most, mut at) = (0, 0);
        while at < Flags::NAMED.len() {
            most += Flags::NAMED[at].1.len() + 1;
            at += 1;
        }
        most
    };

    const fn of(flags: Flags) -> FlagText {
        let mut text = FlagText { bytes: [0; Self::MOST], len: 0 };
        let mut at = 0;
        while at < Flags::NAMED.len() {
            let (flag, name) = Flags::NAMED[at];
            if flags.contains(flag) {
                if text.len > 0 {
                    text.bytes[text.len] = b' ';
                    text.len += 1;
                }
                let (_, rest) = text.bytes.split_at_mut(text.len);
                let (room, _) = rest.split_at_mut(name.len());
                room.copy_from_slice(name.as_bytes());
                text.len += name.len();
            }
            at += 1;
        }
        text
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_of_flags_has_its_text() {
        for (bits, text) in FLAG_TEXTS.iter().enumerate() {
            let flags = Flags::from_bits(bits as u16);
            let names: Vec<&str> = Flags::NAMED
                .iter()
                .filter(|(flag, _)| flags.contains(*flag))
                .map(|(_, name)| *name)
                .collect();
            assert_eq!(text.as_bytes(), names.join(" ").as_bytes());
        }
    }

    #[test]
    fn object_ids_come_back() {
        for id in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            let mut out = Vec::new();
            object_id(&mut out, EMAIL_PREFIX, id);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(parse_object_id(&text, EMAIL_PREFIX), Some(id));
            assert_eq!(parse_object_id(&text, THREAD_PREFIX), None);
        }
        for bad in ["", "M", "M+000000000000000", "M00000000000000AA", "M00000000000000000"] {
            assert_eq!(parse_object_id(bad, EMAIL_PREFIX), None, "{bad}");
        }
    }
}
