//! Packs: what is still needed of some segments, each record under the place that it has always had
//! (`docs/store-format.md`, "Packs").
//!
//! Since no place changes, neither the state of a process nor a snapshot has to hear of it, and a reader that still has
//! the old file open reads the same bytes there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, Open};
use super::error::{Error, Result};
use super::files::PackName;
use super::limits::MAX_PACKED;
use super::message::LogPos;
use super::wire::{Fields, PutFields};
use crate::sys::read_at;

const MAGIC: &[u8; 8] = b"HELIOPAK";
const VERSION: u32 = 1;
/// Bytes of the header, which the index follows.
pub(super) const HEADER: usize = 64;
/// Bytes of a record in the index.
const INDEXED: usize = 16;

/// A sealed segment or a pack, open for reading.
#[derive(Debug)]
pub(super) struct Unit {
    pub file: Arc<File>,
    name: PackName,
    /// Place and offset in the file of each record, ascending; `None` for a segment.
    index: Option<Vec<(u64, u64)>>,
}

impl Unit {
    pub fn segment(segment: u32, file: File) -> Unit {
        Unit { file: Arc::new(file), name: PackName { first: segment, last: segment }, index: None }
    }

    pub fn open_pack(disk: &dyn Disk, dir: &Path, name: PackName, mark: u128) -> Result<Unit> {
        let path = name.path(dir);
        let file = disk.open(&path, Open::Existing).map_err(Error::io("cannot open", &path))?;
        let index = read_index(&file, name, mark).map_err(Error::io("cannot read", &path))?;
        let damaged = Error::Damaged { path, offset: 0, problem: "not a pack of this user, or damaged" };
        Ok(Unit { file: Arc::new(file), name, index: Some(index.ok_or(damaged)?) })
    }

    pub fn covers(&self, segment: u32) -> bool {
        self.name.covers(segment, segment)
    }

    pub fn is_segment(&self) -> bool {
        self.index.is_none()
    }

    /// Where in the file the header of a record is; `None` when the record is not there.
    pub fn find(&self, record: LogPos) -> Option<u64> {
        let Some(index) = &self.index else { return Some(record.offset.into()) };
        let at = index.binary_search_by_key(&record.to_u64(), |(place, _)| *place).ok()?;
        index.get(at).map(|(_, offset)| *offset)
    }
}

/// The header and the index of a pack with these records, in the order of their places, and how many bytes each has.
pub(super) fn encode_head(name: PackName, mark: u128, made: i64, records: &[(LogPos, u32)]) -> Vec<u8> {
    let mut index = Vec::with_capacity(records.len() * INDEXED);
    let mut offset = (HEADER + records.len() * INDEXED) as u64;
    for (place, len) in records {
        index.put_u64(place.to_u64());
        index.put_u64(offset);
        offset += u64::from(*len);
    }
    let mut out = Vec::with_capacity(HEADER + index.len());
    out.put(MAGIC);
    out.put_u32(VERSION);
    out.put_u32(name.first);
    out.put_u128(mark);
    out.put_i64(made);
    out.put_u32(name.last);
    out.put_u32(records.len() as u32);
    out.put_u32(crc32fast::hash(&index));
    out.resize(HEADER - 4, 0);
    out.put_u32(crc32fast::hash(&out));
    out.put(&index);
    out
}

/// `None` when it is not what it has to be.
fn read_index(file: &File, name: PackName, mark: u128) -> io::Result<Option<Vec<(u64, u64)>>> {
    let mut header = [0; HEADER];
    match file.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let Some((count, crc)) = decode_header(&header, name, mark) else { return Ok(None) };
    let mut bytes = vec![0; count * INDEXED];
    if file.metadata()?.len() < (HEADER + bytes.len()) as u64 {
        return Ok(None);
    }
    read_at(file, &mut bytes, HEADER as u64)?;
    Ok((crc32fast::hash(&bytes) == crc).then(|| decode_index(&bytes)).flatten())
}

/// How many records there are, and the checksum of the index.
fn decode_header(header: &[u8; HEADER], name: PackName, mark: u128) -> Option<(usize, u32)> {
    let mut fields = Fields(header);
    let body = fields.bytes(HEADER - 4)?;
    if fields.u32()? != crc32fast::hash(body) {
        return None;
    }
    let mut fields = Fields(body);
    let known = fields.bytes(8)? == MAGIC && fields.u32()? == VERSION;
    let first = fields.u32()?;
    let own = fields.u128()? == mark;
    fields.i64()?;
    let last = fields.u32()?;
    let (count, crc) = (fields.u32()? as usize, fields.u32()?);
    (known && own && (first, last) == (name.first, name.last) && count <= MAX_PACKED).then_some((count, crc))
}

fn decode_index(bytes: &[u8]) -> Option<Vec<(u64, u64)>> {
    let mut fields = Fields(bytes);
    (0..bytes.len() / INDEXED).map(|_| Some((fields.u64()?, fields.u64()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::disk::Local;
    use super::*;

    #[test]
    fn a_pack_finds_its_records_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("log")).unwrap();
        let name = PackName { first: 2, last: 4 };
        let records = [(LogPos::new(2, 64), 24), (LogPos::new(2, 640), 32), (LogPos::new(4, 64), 16)];
        let bytes = encode_head(name, 7, 1, &records);
        std::fs::write(name.path(dir.path()), &bytes).unwrap();
        let unit = Unit::open_pack(&Local, dir.path(), name, 7).unwrap();
        let start = (HEADER + 3 * INDEXED) as u64;
        for (place, expected) in [
            (LogPos::new(2, 64), Some(start)),
            (LogPos::new(2, 640), Some(start + 24)),
            (LogPos::new(4, 64), Some(start + 56)),
            (LogPos::new(3, 64), None),
            (LogPos::new(2, 72), None),
        ] {
            assert_eq!(unit.find(place), expected, "{place:?}");
        }
        assert!(unit.covers(3) && !unit.covers(5) && !unit.is_segment());
        assert!(Unit::open_pack(&Local, dir.path(), name, 8).is_err(), "another user's");
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            std::fs::write(name.path(dir.path()), &bad).unwrap();
            assert!(Unit::open_pack(&Local, dir.path(), name, 7).is_err(), "byte {at}");
            std::fs::write(name.path(dir.path()), &bytes[..at]).unwrap();
            assert!(Unit::open_pack(&Local, dir.path(), name, 7).is_err(), "cut at {at}");
        }
    }
}
