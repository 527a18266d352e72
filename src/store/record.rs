//! The envelope of every record in the log: header, checksums, transactions (`docs/store-format.md`, "Segments").

use super::message::LogPos;
use super::wire::{Fields, PutFields};
use crate::spare::Lent;

/// Bytes of a record header.
pub(super) const HEADER: usize = 16;

/// Payload of the next record belongs to the same transaction.
const CONTINUED: u8 = 1;
const IGNORABLE: u8 = 2;

/// The types of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Blob,
    Meta,
    Append,
    Flags,
    Expunge,
    MailboxCreate,
    MailboxRename,
    MailboxDelete,
    Subscribe,
    Recent,
    Epoch,
    Seal,
    // These five stand in checkpoints only.
    Base,
    Mailbox,
    Messages,
    Lost,
    Gone,
    Floor,
    /// A type of a newer minor version, which says itself that it may be skipped.
    Ignorable,
}

impl Kind {
    const KNOWN: [Kind; 18] = [
        Kind::Blob,
        Kind::Meta,
        Kind::Append,
        Kind::Flags,
        Kind::Expunge,
        Kind::MailboxCreate,
        Kind::MailboxRename,
        Kind::MailboxDelete,
        Kind::Subscribe,
        Kind::Recent,
        Kind::Epoch,
        Kind::Seal,
        Kind::Base,
        Kind::Mailbox,
        Kind::Messages,
        Kind::Lost,
        Kind::Gone,
        Kind::Floor,
    ];

    fn code(self) -> u8 {
        Kind::KNOWN.iter().position(|known| *known == self).map_or(u8::MAX, |at| at as u8 + 1)
    }

    fn from_code(code: u8, options: u8) -> Option<Kind> {
        let known = usize::from(code).checked_sub(1).and_then(|at| Kind::KNOWN.get(at)).copied();
        known.or((options & IGNORABLE != 0).then_some(Kind::Ignorable))
    }

    /// Whether a replay steps over the payload: message bytes are read when somebody asks for them.
    pub fn is_bulk(self) -> bool {
        matches!(self, Kind::Blob | Kind::Meta | Kind::Ignorable)
    }
}

/// A header that passed its check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub kind: Kind,
    pub continued: bool,
    pub len: u32,
    crc: u32,
}

/// Why bytes are not a record header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// The check fails: torn, or not a header at all.
    NotWhole,
    /// A newer version wrote it, and it must not be skipped.
    Unknown,
}

impl Header {
    /// Reads the header that should stand at `offset`.
    pub fn decode(bytes: &[u8; HEADER], offset: u32) -> Result<Header, BadHeader> {
        Self::decode_fields(bytes, offset).ok_or(BadHeader::NotWhole).and_then(|(header, code, options)| {
            let kind = Kind::from_code(code, options).ok_or(BadHeader::Unknown)?;
            Ok(Header { kind, ..header })
        })
    }

    fn decode_fields(bytes: &[u8; HEADER], offset: u32) -> Option<(Header, u8, u8)> {
        let mut fields = Fields(bytes);
        let len = fields.u32()?;
        let code = fields.u8()?;
        let options = fields.u8()?;
        let check = fields.u16()?;
        let own = fields.u32()?;
        let crc = fields.u32()?;
        let sound =
            own == offset && check == header_check(bytes) && len <= u32::MAX - offset - HEADER as u32 - 8;
        sound.then_some((
            Header { kind: Kind::Ignorable, continued: options & CONTINUED != 0, len, crc },
            code,
            options,
        ))
    }

    /// Bytes from this header to the next.
    pub fn stride(&self) -> u32 {
        HEADER as u32 + self.len.next_multiple_of(8)
    }

    pub fn matches(&self, payload: &[u8]) -> bool {
        crc32fast::hash(payload) == self.crc
    }
}

fn header_check(bytes: &[u8; HEADER]) -> u16 {
    let mut covered = [0; 10];
    covered[..6].copy_from_slice(&bytes[..6]);
    covered[6..].copy_from_slice(&bytes[8..12]);
    crc32fast::hash(&covered) as u16
}

/// Records being put together for one write.
#[derive(Debug)]
pub(super) struct Transaction {
    start: LogPos,
    bytes: Lent<u8>,
    last: Option<usize>,
}

impl Transaction {
    /// `start` is the end of the log; the writer holds its lock.
    pub fn new(start: LogPos) -> Self {
        Transaction { start, bytes: Lent::new(), last: None }
    }

    /// Makes room for payloads of so many bytes in all.
    pub fn reserve(&mut self, payloads: usize, records: usize) {
        self.bytes.reserve(payloads + records * (HEADER + 7));
    }

    /// Adds a record whose payload `write` appends; returns its place.
    pub fn record(&mut self, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) -> LogPos {
        if let Some(last) = self.last {
            self.bytes[last + 5] |= CONTINUED;
            self.seal_header(last);
        }
        let at = self.bytes.len();
        let place = LogPos::new(self.start.segment, self.start.offset + at as u32);
        self.bytes.extend_from_slice(&[0; HEADER]);
        write(&mut self.bytes);
        let len = self.bytes.len() - at - HEADER;
        self.bytes[at..at + 4].copy_from_slice(&(len as u32).to_le_bytes());
        self.bytes[at + 4] = kind.code();
        self.bytes[at + 8..at + 12].copy_from_slice(&place.offset.to_le_bytes());
        let crc = crc32fast::hash(&self.bytes[at + HEADER..]);
        self.bytes[at + 12..at + 16].copy_from_slice(&crc.to_le_bytes());
        self.seal_header(at);
        self.bytes.resize(at + HEADER + len.next_multiple_of(8), 0);
        self.last = Some(at);
        place
    }

    fn seal_header(&mut self, at: usize) {
        if let Some(header) = self.bytes[at..].first_chunk::<HEADER>() {
            let check = header_check(header);
            self.bytes[at + 6..at + 8].copy_from_slice(&check.to_le_bytes());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn start(&self) -> LogPos {
        self.start
    }

    /// Where the next one goes.
    pub fn end(&self) -> LogPos {
        LogPos::new(self.start.segment, self.start.offset + self.bytes.len() as u32)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its records, in order.
    pub fn records(&self) -> impl Iterator<Item = (Kind, &[u8])> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let header = rest.first_chunk::<HEADER>()?;
            let mut fields = Fields(header);
            let len = fields.u32()? as usize;
            let kind = Kind::from_code(fields.u8()?, IGNORABLE)?;
            let payload = rest.get(HEADER..HEADER + len)?;
            rest = rest.get(HEADER + len.next_multiple_of(8)..)?;
            Some((kind, payload))
        })
    }
}

/// The first 64 bytes of a segment.
pub(super) mod segment_header {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    use super::{Fields, PutFields};
    use crate::store::upload::random;

    pub const LEN: usize = 64;
    const MAGIC: &[u8; 8] = b"HELIOLOG";
    const MAJOR: u16 = 1;
    const MINOR: u16 = 0;

    pub fn encode(segment: u32, user: u128, created: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.put(MAGIC);
        bytes.put_u16(MAJOR);
        bytes.put_u16(MINOR);
        bytes.put_u32(segment);
        bytes.put_u128(user);
        bytes.put_u64(created);
        bytes.put_u64(random());
        bytes.resize(LEN - 4, 0);
        bytes.put_u32(crc32fast::hash(&bytes));
        bytes
    }

    /// What tells a segment from others of its number and its user: its checksum, which its random bytes are in.
    pub fn stamp(header: &[u8; LEN]) -> u32 {
        Fields(&header[LEN - 4..]).u32().unwrap_or_default()
    }

    /// As [`stamp`], of an open segment.
    pub fn stamp_of(segment: &File) -> io::Result<u32> {
        let mut header = [0; LEN];
        segment.read_exact_at(&mut header, 0)?;
        Ok(stamp(&header))
    }

    /// What is wrong with a header, in words for an administrator.
    pub fn check(bytes: &[u8], segment: u32, user: u128) -> Result<(), &'static str> {
        let (Some(body), Some(mut crc)) = (bytes.get(..LEN - 4), bytes.get(LEN - 4..LEN).map(Fields)) else {
            return Err("segment header is cut short");
        };
        let mut fields = Fields(body);
        if fields.bytes(8) != Some(MAGIC) {
            return Err("not a log segment");
        }
        if crc.u32() != Some(crc32fast::hash(body)) {
            return Err("segment header has a wrong checksum");
        }
        if fields.u16() != Some(MAJOR) {
            return Err("written by a newer version of this program, which must be used to read it");
        }
        fields.u16();
        if fields.u32() != Some(segment) {
            return Err("segment has another segment's number");
        }
        if fields.u128() != Some(user) {
            return Err("segment belongs to another user");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_at(bytes: &[u8], at: usize) -> &[u8; HEADER] {
        bytes[at..].first_chunk().unwrap()
    }

    #[test]
    fn a_transaction_chains_its_records() {
        let mut txn = Transaction::new(LogPos::new(3, 64));
        let blob = txn.record(Kind::Blob, |out| out.put(b"hello"));
        let append = txn.record(Kind::Append, |out| out.put(b"12345678"));
        assert_eq!((blob, append), (LogPos::new(3, 64), LogPos::new(3, 64 + 24)));
        let first = Header::decode(header_at(txn.bytes(), 0), 64).unwrap();
        assert_eq!((first.kind, first.continued, first.len, first.stride()), (Kind::Blob, true, 5, 24));
        assert!(first.matches(b"hello") && !first.matches(b"hellp"));
        let second = Header::decode(header_at(txn.bytes(), 24), 88).unwrap();
        assert_eq!((second.kind, second.continued), (Kind::Append, false));
        let records: Vec<_> = txn.records().collect();
        assert_eq!(records, [(Kind::Blob, &b"hello"[..]), (Kind::Append, b"12345678")]);
    }

    #[test]
    fn a_header_does_not_survive_a_flipped_bit_nor_a_move() {
        let mut txn = Transaction::new(LogPos::new(1, 64));
        txn.record(Kind::Subscribe, |out| out.put(b"x"));
        let good = *header_at(txn.bytes(), 0);
        for bit in 0..12 * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bad, 64), Err(BadHeader::NotWhole), "bit {bit}");
        }
        assert_eq!(Header::decode(&good, 72), Err(BadHeader::NotWhole));
    }

    #[test]
    fn unknown_types_are_skipped_only_when_they_say_so() {
        let mut txn = Transaction::new(LogPos::new(1, 64));
        txn.record(Kind::Ignorable, |_| ());
        let unknown = *header_at(txn.bytes(), 0);
        assert_eq!(Header::decode(&unknown, 64), Err(BadHeader::Unknown));
        txn.bytes[5] |= IGNORABLE;
        txn.seal_header(0);
        let skippable = Header::decode(header_at(txn.bytes(), 0), 64).unwrap();
        assert_eq!(skippable.kind, Kind::Ignorable);
    }

    #[test]
    fn a_segment_header_says_what_is_wrong() {
        let good = segment_header::encode(7, 99, 1);
        assert_eq!(segment_header::check(&good, 7, 99), Ok(()));
        assert!(segment_header::check(&good, 8, 99).is_err());
        assert!(segment_header::check(&good, 7, 98).is_err());
        assert!(segment_header::check(&good[..63], 7, 99).is_err());
        let mut flipped = good.clone();
        flipped[35] ^= 1;
        assert!(segment_header::check(&flipped, 7, 99).is_err());
    }
}
