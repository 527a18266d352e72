//! Making room: what was expunged longer ago than `store.cleanupage` leaves the disk.
//!
//! ```text
//!   begin a segment ── write a checkpoint in front of it ── pack what is needed of the older ones ── remove those
//! ```
//!
//! Only the first step takes the lock of the log, for as long as any writer does that begins a segment. The others read
//! what does not change any more and write new files; each may be the last one (`docs/store-format.md`, "Making room").

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::checkpoint;
use super::disk::Open;
use super::error::{Error, Result};
use super::files::{LogFiles, PackName, len_and_time, segment_path};
use super::limits::{MAX_PACKED, ORPHAN_AGE, UNFINISHED_AGE};
use super::log::{blob_path, sync_dir};
use super::message::{BlobRef, LogPos, Message};
use super::pack;
use super::record::{HEADER, Header};
use super::snapshot;
use super::state::State;
use super::upkeep::{Reading, Upkeep};
use super::user::User;
use crate::sys::read_at;

/// What making room for a user did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes that were given back, and that were written for it.
    pub freed: u64,
    pub written: u64,
    /// Bytes of messages that are live or may come back.
    pub needed: u64,
    /// When there may be more to do even if nothing changes: a grace time ends, in seconds since 1970.
    pub look_again: Option<i64>,
    /// The longest time for which nobody else could use the log.
    pub longest_hold: Duration,
}

impl Compacted {
    fn look_again_at(&mut self, time: i64) {
        self.look_again = Some(self.look_again.map_or(time, |known| known.min(time)));
    }
}

/// Bytes that are collected before they are written to a pack.
const WRITE_SIZE: usize = 1 << 20;

impl User {
    /// Gives back the space of what was expunged more than `grace` ago, when it is worth the work. Sessions go on
    /// meanwhile. Nothing is done while somebody else works on the same user.
    ///
    /// # Errors
    /// The disk's errors; the log is damaged. Nothing is lost then.
    pub fn compact(self: &Arc<Self>, grace: Duration) -> Result<Compacted> {
        let now = self.now();
        let Some(upkeep) = Upkeep::try_begin(self)? else {
            return Ok(Compacted { look_again: Some(now), ..Compacted::default() });
        };
        let horizon = now.saturating_sub(i64::try_from(grace.as_secs()).unwrap_or(i64::MAX));
        // Listed first: a message that comes in later cannot be taken for one that nobody needs.
        let blobs = self.blob_files()?;
        let reading = Reading::begin(self, horizon, &upkeep)?;
        // What counts as gone must not come back with the next boot.
        drop(self.fresh()?);
        self.sync_all()?;
        let needed = Needed::of(&reading.state);
        let files = LogFiles::list(&self.dir)?;
        let mut done = Compacted {
            needed: needed.bytes(),
            look_again: reading
                .archive()
                .and_then(|archive| archive.first())
                .map(|first| first + (now - horizon)),
            ..Compacted::default()
        };
        if self.is_worth_it(self.log_len(&files)?, needed.bytes()) {
            Pass { user: self, reading, now, done: &mut done }.run()?;
        }
        self.remove_orphans(&blobs, &needed, &files, now, &mut done)?;
        Ok(done)
    }

    /// Bytes of segments and packs.
    pub(super) fn log_len(&self, files: &LogFiles) -> Result<u64> {
        let mut total = 0;
        for path in files.paths(&self.dir) {
            total += len_and_time(&path)?.map_or(0, |(len, _)| len);
        }
        Ok(total)
    }

    /// Small users never pay, and others a constant factor: what is written to packs was preceded by half as much garbage.
    fn is_worth_it(&self, len: u64, needed: u64) -> bool {
        len.saturating_sub(needed) > self.shared.options.min_garbage.max(needed / 2)
    }

    fn blob_files(&self) -> Result<Vec<BlobFile>> {
        let dir = self.dir.join("blob");
        let mut files = Vec::new();
        for entry in fs::read_dir(&dir).map_err(Error::io("cannot read", &dir))? {
            let name = entry.map_err(Error::io("cannot read", &dir))?.file_name();
            let Some(name) = name.to_str() else { continue };
            let number = u64::from_str_radix(name, 16).ok().filter(|_| name.len() == 16);
            if number.is_some() || name.starts_with("new-") {
                files.push(BlobFile { path: dir.join(name), number });
            }
        }
        Ok(files)
    }

    /// Removes files that no record names, and what processes left behind that died.
    fn remove_orphans(
        &self,
        blobs: &[BlobFile],
        needed: &Needed,
        files: &LogFiles,
        now: i64,
        done: &mut Compacted,
    ) -> Result<()> {
        for blob in blobs {
            match blob.number {
                Some(number) if needed.files.contains(&number) => {}
                Some(_) => self.remove_if_older(&blob.path, now - ORPHAN_AGE, done)?,
                None => self.remove_if_older(&blob.path, now - UNFINISHED_AGE, done)?,
            }
        }
        files.unfinished.iter().try_for_each(|path| self.remove_if_older(path, now - UNFINISHED_AGE, done))
    }

    fn remove_if_older(&self, path: &PathBuf, than: i64, done: &mut Compacted) -> Result<()> {
        match len_and_time(path)? {
            Some((len, written)) if written < than => {
                self.shared.options.disk.remove(path).map_err(Error::io("cannot remove", path))?;
                done.freed += len;
            }
            Some((_, written)) => done.look_again_at(self.now() + written - than),
            None => {}
        }
        Ok(())
    }
}

/// A file in `blob`; without a number an upload.
struct BlobFile {
    path: PathBuf,
    number: Option<u64>,
}

/// What messages that are live, or may come back, need of the log.
struct Needed {
    /// Blob and Meta records with their lengths, headers included, ascending.
    records: Vec<(LogPos, u32)>,
    /// Numbers of large messages.
    files: HashSet<u64>,
}

impl Needed {
    fn of(state: &State) -> Needed {
        let mut needed = Needed { records: Vec::new(), files: HashSet::new() };
        state.mailboxes.values().for_each(|mailbox| mailbox.live_messages().for_each(|m| needed.add(m)));
        if let Some(archive) = &state.archive {
            archive.gone.iter().for_each(|gone| needed.add(&gone.message));
        }
        // Copies share their records.
        needed.records.sort_unstable();
        needed.records.dedup();
        needed
    }

    fn add(&mut self, message: &Message) {
        self.records.push((message.meta, stride(message.meta_len)));
        match message.blob {
            BlobRef::Inline(place) => self.records.push((place, stride(message.size))),
            BlobRef::File(number) => {
                self.files.insert(number);
            }
        }
    }

    fn bytes(&self) -> u64 {
        sum(&self.records)
    }

    /// The records that were written to segments from `first` to `last`.
    fn within(&self, first: u32, last: u32) -> &[(LogPos, u32)] {
        let from = self.records.partition_point(|(place, _)| place.segment < first);
        let to = self.records.partition_point(|(place, _)| place.segment <= last);
        self.records.get(from..to).unwrap_or_default()
    }
}

fn stride(payload: u32) -> u32 {
    payload.saturating_add(HEADER as u32 + 7) & !7
}

fn sum(records: &[(LogPos, u32)]) -> u64 {
    records.iter().map(|(_, len)| u64::from(*len)).sum()
}

/// A sealed segment or a pack.
#[derive(Clone, Debug)]
struct Piece {
    name: PackName,
    path: PathBuf,
    len: u64,
    needed: u64,
}

impl Piece {
    fn has_garbage(&self) -> bool {
        self.len - self.needed.min(self.len) > self.len / 4
    }
}

/// One pass over a user's log.
struct Pass<'a> {
    user: &'a Arc<User>,
    reading: Reading,
    now: i64,
    done: &'a mut Compacted,
}

impl Pass<'_> {
    fn run(mut self) -> Result<()> {
        let (disk, dir) = (&*self.user.shared.options.disk, &self.user.dir);
        let (active, held) = self.user.begin_segment()?;
        self.done.longest_hold = held;
        self.reading.read_to(active)?;
        checkpoint::save(disk, dir, &self.reading.state, self.user.mark(), self.now)?;
        // All that is needed in front of the active segment; what went since is needed by nobody later than now.
        let needed = Needed::of(&self.reading.state);
        snapshot::remove_before(disk, dir, active);
        checkpoint::remove_before(disk, dir, active)?;
        let pieces = self.pieces(active, &needed)?;
        for run in self.runs(&pieces, &needed) {
            if self.replace_or_leave(run, &needed)? {
                continue;
            }
            for piece in run.iter().filter(|piece| piece.has_garbage() && run.len() > 1) {
                self.replace_or_leave(std::slice::from_ref(piece), &needed)?;
            }
        }
        Ok(())
    }

    /// What there is in front of the active segment, ascending. What a pack stands for as well was left behind by a
    /// pass that was cut short, and goes.
    fn pieces(&mut self, active: u32, needed: &Needed) -> Result<Vec<Piece>> {
        let (disk, dir) = (&*self.user.shared.options.disk, &self.user.dir);
        let files = LogFiles::list(dir)?;
        let segments = files.segments.iter().filter(|segment| **segment < active).map(|segment| {
            (PackName { first: *segment, last: *segment }, segment_path(dir, *segment), false)
        });
        let packs = files.packs.iter().map(|pack| (*pack, pack.path(dir), true));
        let (mut pieces, mut leftovers) = (Vec::new(), Vec::new());
        for (name, path, is_pack) in segments.chain(packs) {
            let wider = |pack: &PackName| pack.covers(name.first, name.last) && !(is_pack && *pack == name);
            if files.packs.iter().any(wider) {
                leftovers.push(path);
            } else if let Some((len, _)) = len_and_time(&path)? {
                let needed = sum(needed.within(name.first, name.last));
                pieces.push(Piece { name, path, len, needed });
            }
        }
        if !leftovers.is_empty() {
            sync_dir(disk, &dir.join("log"))?;
        }
        leftovers.iter().try_for_each(|path| self.remove(path))?;
        pieces.sort_unstable_by_key(|piece| piece.name);
        Ok(pieces)
    }

    /// Neighbours that become one pack: those with much garbage, and small ones.
    fn runs<'p>(&self, pieces: &'p [Piece], needed: &Needed) -> Vec<&'p [Piece]> {
        let full = u64::from(self.user.shared.options.segment_size);
        let is_candidate = |piece: &Piece| piece.has_garbage() || piece.len < full / 8;
        let mut runs = Vec::new();
        for group in pieces.chunk_by(|a, b| is_candidate(a) == is_candidate(b)) {
            if group.first().is_some_and(is_candidate) {
                split(group, full, needed, &mut runs);
            }
        }
        runs.retain(|run| run.len() > 1 || run.iter().any(Piece::has_garbage));
        runs
    }

    /// Puts one pack in the place of neighbours, unless a record of theirs is damaged: that is not for a compaction to
    /// judge, and they stay as they are.
    fn replace_or_leave(&mut self, run: &[Piece], needed: &Needed) -> Result<bool> {
        match self.replace(run, needed) {
            Err(error @ Error::Damaged { .. }) => {
                log::error!(user = self.user.name().as_str(), error = error.to_string(); "cannot make room here");
                Ok(false)
            }
            other => other.map(|()| true),
        }
    }

    /// Puts one pack in the place of neighbours.
    fn replace(&mut self, run: &[Piece], needed: &Needed) -> Result<()> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(()) };
        let name = PackName { first: first.name.first, last: last.name.last };
        let records = needed.within(name.first, name.last);
        let path = name.path(&self.user.dir);
        if !records.is_empty() {
            self.write_pack(name, records)?;
        }
        for piece in run {
            if piece.path == path && !records.is_empty() {
                self.done.freed += piece.len;
            } else {
                self.remove(&piece.path)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, path: &PathBuf) -> Result<()> {
        self.done.freed += len_and_time(path)?.map_or(0, |(len, _)| len);
        self.user.shared.options.disk.remove(path).map_err(Error::io("cannot remove", path))
    }

    fn write_pack(&mut self, name: PackName, records: &[(LogPos, u32)]) -> Result<()> {
        let (disk, dir) = (&*self.user.shared.options.disk, &self.user.dir);
        let path = name.path(dir);
        let temporary = path.with_extension(format!("new-{}", std::process::id()));
        let written = self.copy_records(name, records, &temporary).and_then(|len| {
            disk.rename(&temporary, &path).map_err(Error::io("cannot rename", &temporary))?;
            Ok(len)
        });
        let len = written.inspect_err(|_| {
            // Worthless, and perhaps not even made.
            let _ = disk.remove(&temporary);
        })?;
        self.done.written += len;
        self.done.freed = self.done.freed.saturating_sub(len);
        sync_dir(disk, &dir.join("log"))
    }

    fn copy_records(&self, name: PackName, records: &[(LogPos, u32)], to: &PathBuf) -> Result<u64> {
        let disk = &*self.user.shared.options.disk;
        let file = disk.open(to, Open::Empty).map_err(Error::io("cannot make", to))?;
        let mut bytes = pack::encode_head(name, self.user.mark(), self.now, records);
        let mut offset = 0;
        for (place, len) in records {
            self.copy_record(*place, *len, &mut bytes)?;
            if bytes.len() >= WRITE_SIZE {
                disk.write_at(&file, &bytes, offset).map_err(Error::io("cannot write", to))?;
                offset += bytes.len() as u64;
                bytes.clear();
            }
        }
        disk.write_at(&file, &bytes, offset).map_err(Error::io("cannot write", to))?;
        disk.sync_all(&file).map_err(Error::io("cannot sync", to))?;
        Ok(offset + bytes.len() as u64)
    }

    /// Appends a record to `out`, header and padding included, after checking that it is what it should be.
    fn copy_record(&self, place: LogPos, len: u32, out: &mut Vec<u8>) -> Result<()> {
        let log = &self.reading.log;
        let damaged = |problem| log.damaged(place, problem);
        let unit = log.unit(place.segment)?;
        let at = unit.find(place).ok_or_else(|| damaged("a record that a message needs is not there"))?;
        let start = out.len();
        out.resize(start + len as usize, 0);
        let record = out.get_mut(start..).unwrap_or_default();
        read_at(&unit.file, record, at).map_err(|_| damaged("a record that a message needs is cut short"))?;
        let whole = record.split_first_chunk::<HEADER>().is_some_and(|(header, rest)| {
            let header = Header::decode(header, place.offset).ok();
            header.is_some_and(|header| {
                let payload = rest.get(..header.len as usize);
                header.stride() == len && payload.is_some_and(|payload| header.matches(payload))
            })
        });
        if whole { Ok(()) } else { Err(damaged("a record that a message needs is damaged")) }
    }
}

/// Cuts neighbours into runs of which each fits into one pack.
fn split<'p>(group: &'p [Piece], full: u64, needed: &Needed, runs: &mut Vec<&'p [Piece]>) {
    let (mut from, mut bytes, mut records) = (0, 0, 0);
    for (at, piece) in group.iter().enumerate() {
        let count = needed.within(piece.name.first, piece.name.last).len();
        if at > from && (bytes + piece.needed > full || records + count > MAX_PACKED) {
            runs.extend(group.get(from..at));
            (from, bytes, records) = (at, 0, 0);
        }
        bytes += piece.needed;
        records += count;
    }
    runs.extend(group.get(from..));
}

/// Whether the file of a large message is there.
pub(super) fn has_blob(user: &User, number: u64) -> bool {
    blob_path(&user.dir, number).exists()
}
