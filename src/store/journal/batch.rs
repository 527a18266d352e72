//! A batch: what several logs lack, in one write (`docs/store-format.md`, "Journals").

use std::io;

use super::super::message::LogPos;
use super::super::wire::{Fields, PutFields};

const MAGIC: &[u8; 8] = b"HELIOJNL";
/// Bytes of a batch's header.
const HEADER: usize = 32;
/// Everything begins at a multiple of this, as records do.
const ALIGN: usize = 8;

/// A batch that is being put together; room for its header stands in front.
pub(super) struct Batch {
    bytes: Vec<u8>,
}

impl Default for Batch {
    fn default() -> Self {
        Batch { bytes: vec![0; HEADER] }
    }
}

/// What a log may have lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lack<'a> {
    pub user: &'a str,
    pub at: LogPos,
    /// The checksum of the segment's header, which tells it from another of its number.
    pub stamp: u32,
    /// Whole transactions.
    pub bytes: &'a [u8],
}

impl Batch {
    /// Its room for the next one.
    pub fn cleared(mut self) -> Batch {
        self.bytes.truncate(HEADER);
        self
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds `len` bytes of a log, which `read` fills in.
    pub fn add(
        &mut self,
        user: &str,
        (at, stamp): (LogPos, u32),
        len: u32,
        read: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let out = &mut self.bytes;
        out.put_u32(at.segment);
        out.put_u32(at.offset);
        out.put_u32(len);
        out.put_u32(stamp);
        out.put_u32(user.len() as u32);
        out.put_u32(0);
        out.put(user.as_bytes());
        out.resize(out.len().next_multiple_of(ALIGN), 0);
        let from = out.len();
        out.resize(from + len as usize, 0);
        read(&mut out[from..])?;
        out.resize(out.len().next_multiple_of(ALIGN), 0);
        Ok(())
    }

    /// The batch as it stands at `offset` of a file in its `generation`.
    pub fn seal(&mut self, generation: u64, offset: u32) -> &[u8] {
        let mut head = Vec::with_capacity(HEADER);
        head.put(MAGIC);
        head.put_u64(generation);
        head.put_u32(offset);
        head.put_u32((self.bytes.len() - HEADER) as u32);
        head.put_u32(crc32fast::hash(&self.bytes[HEADER..]));
        head.put_u32(crc32fast::hash(&head));
        self.bytes[..HEADER].copy_from_slice(&head);
        &self.bytes
    }
}

/// What the batches of a file hold, in their order: those of the generation that the first one is of, up to one that is
/// not whole, which nobody was told of.
pub(super) fn lacks(file: &[u8]) -> Vec<Lack<'_>> {
    let mut found = Vec::new();
    let (mut at, mut first) = (0, None);
    while let Some((generation, members)) = next(file, at) {
        if *first.get_or_insert(generation) != generation {
            break;
        }
        let mut fields = Fields(members);
        while let Some(lack) = member(&mut fields) {
            found.push(lack);
        }
        at += HEADER + members.len();
    }
    found
}

/// The generation and the members of the batch at `at`.
fn next(file: &[u8], at: usize) -> Option<(u64, &[u8])> {
    let bytes = file.get(at..)?;
    let head = bytes.get(..HEADER)?;
    let mut fields = Fields(head);
    if fields.bytes(MAGIC.len())? != MAGIC {
        return None;
    }
    let generation = fields.u64()?;
    let (offset, len, crc) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let is_sound = fields.u32()? == crc32fast::hash(&head[..HEADER - 4]) && offset as usize == at;
    let members = bytes.get(HEADER..HEADER + len as usize).filter(|_| is_sound)?;
    (crc32fast::hash(members) == crc).then_some((generation, members))
}

fn member<'a>(fields: &mut Fields<'a>) -> Option<Lack<'a>> {
    let at = LogPos::new(fields.u32()?, fields.u32()?);
    let (len, stamp, name, _) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
    let mut padded = |len: u32| {
        let whole = fields.bytes((len as usize).next_multiple_of(ALIGN))?;
        whole.get(..len as usize)
    };
    let user = std::str::from_utf8(padded(name)?).ok()?;
    Some(Lack { user, at, stamp, bytes: padded(len)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(generation: u64, offset: u32, members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut batch = Batch::default();
        for (index, (user, bytes)) in members.iter().enumerate() {
            let place = (LogPos::new(3, 64 + index as u32), 7);
            let read = |out: &mut [u8]| {
                out.copy_from_slice(bytes);
                Ok(())
            };
            batch.add(user, place, bytes.len() as u32, read).unwrap();
        }
        batch.seal(generation, offset).to_vec()
    }

    fn users(file: &[u8]) -> Vec<&str> {
        lacks(file).iter().map(|lack| lack.user).collect()
    }

    #[test]
    fn batches_are_read_back_in_their_order() {
        let mut file = batch(5, 0, &[("ada", b"12345678"), ("bob", b"x")]);
        file.extend(batch(5, file.len() as u32, &[("ö", b"")]));
        let first = Lack { user: "ada", at: LogPos::new(3, 64), stamp: 7, bytes: b"12345678" };
        assert_eq!(lacks(&file)[0], first);
        assert_eq!(users(&file), ["ada", "bob", "ö"]);
        file.extend([0; 4096]);
        assert_eq!(users(&file), ["ada", "bob", "ö"], "a reserve follows");
    }

    #[test]
    fn what_is_left_of_an_older_generation_is_not_read() {
        let old = batch(1, 0, &[("old", b"1")]);
        let (len, mut file) = (old.len(), old);
        file.extend(batch(1, len as u32, &[("older", b"2")]));
        let new = batch(2, 0, &[("new", b"3")]);
        assert_eq!(new.len(), len);
        file[..len].copy_from_slice(&new);
        assert_eq!(users(&file), ["new"]);
    }

    #[test]
    fn a_batch_that_is_not_whole_is_nothing_and_ends_the_file() {
        let first = batch(1, 0, &[("ada", b"12345678")]);
        let second = batch(1, first.len() as u32, &[("bob", b"12345678")]);
        let file = [&first[..], &second].concat();
        for at in 0..file.len() {
            let mut torn = file.clone();
            torn[at] ^= 1;
            let expected: &[&str] = if at < first.len() { &[] } else { &["ada"] };
            assert_eq!(users(&torn), expected, "byte {at}");
            assert_eq!(users(&file[..at]), expected, "cut at {at}");
        }
    }
}
