//! A user's log as files: segments, the lock between writers, large messages beside the log.
//!
//! This file moves bytes and knows nothing of what they mean. Everything that changes the log is called with the
//! lock held; reading needs none.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::{Disk, Open};
use super::error::{Error, Result};
use super::files::{LogFiles, segment_path};
use super::limits::MAX_RESERVE;
use super::message::LogPos;
use super::notes::Notes;
use super::pack::Unit;
use super::record::{HEADER, segment_header};
use super::user::unix_now;
use crate::sys::{LockMode, OfdLock, about_to_block, append_from, read_at};

/// Sealed segments and packs whose descriptors a user keeps open.
const OPEN_SEALED: usize = 4;

/// How often a reader looks for a pack that was there a moment ago.
const PACK_LOOKS: usize = 8;

/// What a reserve is written from.
static ZEROS: [u8; MAX_RESERVE + PAGE as usize] = [0; MAX_RESERVE + PAGE as usize];

/// What a file grows by.
const PAGE: u64 = 4096;

pub(super) struct Log {
    disk: Arc<dyn Disk>,
    dir: Arc<Path>,
    mark: u128,
    lock: Arc<File>,
    active: Arc<File>,
    segment: u32,
    /// The active segment has at least so many bytes, or had until somebody cut it.
    len: u64,
    /// The size of the reserve that this process made last.
    last_reserve: u64,
    sealed: Mutex<Vec<Arc<Unit>>>,
}

impl Log {
    /// Opens the log in a user's directory; `None` when there is none and, by what the lock file says, never was.
    pub fn open(disk: &Arc<dyn Disk>, dir: &Path, mark: u128) -> Result<Option<Log>> {
        let lock_path = dir.join("lock");
        let lock = match disk.open(&lock_path, Open::Existing) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io("cannot open", lock_path))?,
        };
        let Some((segment, active)) = open_first(&**disk, dir, mark)? else {
            return never_was(&lock, dir).map(|()| None);
        };
        Ok(Some(Log {
            disk: disk.clone(),
            dir: dir.into(),
            mark,
            lock: Arc::new(lock),
            active: Arc::new(active),
            segment,
            len: 0,
            last_reserve: 0,
            sealed: Mutex::default(),
        }))
    }

    /// Makes the directories and the first segment. Several processes may do so at once; each ends with the
    /// same log.
    pub fn create(disk: &Arc<dyn Disk>, dir: &Path, mark: u128) -> Result<Log> {
        for part in ["log", "blob"].map(|name| dir.join(name)) {
            disk.make_dirs(&part).map_err(Error::io("cannot make", part))?;
        }
        let lock_path = dir.join("lock");
        let lock = disk.open(&lock_path, Open::Shared).map_err(Error::io("cannot make", &lock_path))?;
        {
            let _held =
                OfdLock::lock(&lock, LockMode::Exclusive).map_err(Error::io("cannot lock", &lock_path))?;
            if LogFiles::list(dir)?.is_empty() {
                make_segment(&**disk, dir, 1, mark)?;
            }
            sync_dirs(&**disk, dir)?;
        }
        drop(lock);
        Log::open(disk, dir, mark)?
            .ok_or_else(|| Error::io("cannot open", dir)(io::ErrorKind::NotFound.into()))
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the first record of a segment stands.
    pub fn start_of(segment: u32) -> LogPos {
        LogPos::new(segment, segment_header::LEN as u32)
    }

    /// The file whose lock orders writers of all processes; see [`lock`].
    pub fn lock_file(&self) -> Arc<File> {
        self.lock.clone()
    }

    /// Syncs the directories that lead to the log: whoever made them may have died before.
    pub fn sync_dirs(&self) -> Result<()> {
        sync_dirs(&*self.disk, &self.dir)
    }

    /// Goes on to a segment: the one that a Seal record or a snapshot names.
    pub fn advance(&mut self, segment: u32) -> Result<()> {
        if segment != self.segment {
            self.active = Arc::new(open_segment(&*self.disk, &self.dir, segment, self.mark)?);
            self.segment = segment;
            self.len = 0;
        }
        Ok(())
    }

    pub fn active(&self) -> &Arc<File> {
        &self.active
    }

    /// Whether anything is written at `at`, where the log ended when it was last read.
    pub fn has_grown(&self, at: LogPos) -> Result<bool> {
        let mut head = [0; HEADER];
        let count = self.active.read_at(&mut head, at.offset.into()).map_err(self.io("cannot read"))?;
        Ok(head != [0; HEADER] || count < HEADER && self.size()? != u64::from(at.offset))
    }

    /// Bytes in the segment that this log stands in, the reserve included.
    pub fn size(&self) -> Result<u64> {
        let size = self.active.metadata().map_err(self.io("cannot stat"))?;
        Ok(size.len())
    }

    /// Writes a transaction at `at`, which is the end of the log.
    pub fn append(&mut self, at: LogPos, bytes: &[u8]) -> Result<()> {
        self.disk.write_at(&self.active, bytes, at.offset.into()).map_err(self.io("cannot write"))?;
        let end = u64::from(at.offset) + bytes.len() as u64;
        if end > self.len {
            self.reserve(end);
        }
        Ok(())
    }

    /// Puts zero bytes behind `end`, the end of the log, when there are none. A write into them changes neither the
    /// file's length nor its blocks, so that its sync is one write of a few pages, and nothing about the file. A log that
    /// this process goes on writing to gets twice as many each time; one that sleeps keeps a quarter of its length.
    ///
    /// They are a convenience: where the disk refuses them, the log grows without.
    fn reserve(&mut self, end: u64) {
        self.len = self.size().unwrap_or(end);
        if self.len <= end {
            let wanted = (end / 4).max(2 * self.last_reserve).min(MAX_RESERVE as u64);
            let goal = (end + wanted).next_multiple_of(PAGE);
            let zeros = ZEROS.get(..(goal - end) as usize).unwrap_or_default();
            if self.disk.write_at(&self.active, zeros, end).is_ok() {
                self.len = goal;
                self.last_reserve = goal - end;
            }
        }
    }

    /// Cuts off what follows `at`.
    pub fn cut(&self, at: LogPos) -> Result<()> {
        self.disk.set_len(&self.active, at.offset.into()).map_err(self.io("cannot cut"))
    }

    /// What stands in the active segment from `at` on, without the reserve: up to the last word that is not zero.
    pub fn tail(&self, at: LogPos) -> Result<Vec<u8>> {
        let mut tail = vec![0; (self.size()?.saturating_sub(at.offset.into())) as usize];
        // Whoever does not hold the lock may see the reserve go.
        let mut filled = 0;
        while let Some(rest) = tail.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = u64::from(at.offset) + filled as u64;
            match self.active.read_at(rest, at).map_err(self.io("cannot read"))? {
                0 => break,
                count => filled += count,
            }
        }
        tail.truncate(filled);
        let written = tail.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        tail.truncate(written.next_multiple_of(8));
        Ok(tail)
    }

    /// Keeps `tail`, which stands at `at`, in a file of its own, before it is cut off.
    pub fn set_aside(&self, at: LogPos, tail: &[u8]) -> Result<PathBuf> {
        let path = self.dir.join("log").join(format!("{:010}.torn-{}", at.segment, at.offset));
        write_new(&*self.disk, &path, tail)?;
        sync_dir(&*self.disk, &self.dir.join("log"))?;
        Ok(path)
    }

    /// Makes the segment after the active one; the caller has sealed and synced that.
    pub fn make_next(&self) -> Result<u32> {
        let next = self.segment + 1;
        make_segment(&*self.disk, &self.dir, next, self.mark)?;
        Ok(next)
    }

    /// Finds a record, in whatever segment, to read it after the log has been let go of.
    ///
    /// # Errors
    /// [`Error::is_missing`] when its space has been given back.
    pub fn reader(&self, record: LogPos) -> Result<Reader> {
        let (file, at) = if record.segment == self.segment {
            (self.active.clone(), u64::from(record.offset))
        } else {
            let unit = self.unit(record.segment)?;
            (unit.file.clone(), unit.find(record).ok_or_else(|| self.missing(record.segment))?)
        };
        Ok(Reader { file, at: at + HEADER as u64, dir: self.dir.clone(), segment: record.segment })
    }

    /// The file of a segment that was sealed, and where it ends; `None` when it has been packed, which is done with what
    /// is on stable storage only.
    pub fn sealed_file(&self, segment: u32) -> Result<Option<(Arc<File>, u64)>> {
        let unit = match self.unit(segment) {
            Err(error) if error.is_missing() => return Ok(None),
            other => other?,
        };
        let len = unit.file.metadata().map_err(self.io("cannot stat"))?.len();
        Ok(unit.is_segment().then(|| (unit.file.clone(), len)))
    }

    /// The file that holds what is left of `segment`, kept open for the next reader.
    pub fn unit(&self, segment: u32) -> Result<Arc<Unit>> {
        let mut open = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(unit) = open.iter().find(|unit| unit.covers(segment)) {
            return Ok(unit.clone());
        }
        let unit = Arc::new(self.open_unit(segment)?);
        if open.len() >= OPEN_SEALED {
            open.remove(0);
        }
        open.push(unit.clone());
        Ok(unit)
    }

    fn open_unit(&self, segment: u32) -> Result<Unit> {
        match open_segment(&*self.disk, &self.dir, segment, self.mark) {
            Err(error) if error.is_missing() => {}
            other => return Ok(Unit::segment(segment, other?)),
        }
        // A pack may be merged into a wider one while its name is on the way here.
        for _ in 0..PACK_LOOKS {
            let name = LogFiles::list(&self.dir)?.pack_of(segment);
            match name.map(|name| Unit::open_pack(&*self.disk, &self.dir, name, self.mark)) {
                Some(Err(error)) if error.is_missing() => {}
                Some(opened) => return opened,
                None => break,
            }
        }
        Err(self.missing(segment))
    }

    fn missing(&self, segment: u32) -> Error {
        let path = segment_path(&self.dir, segment);
        Error::Io { context: "nothing is left of", path, source: io::ErrorKind::NotFound.into() }
    }

    /// Lets go of files that have been removed: an open one keeps its space.
    pub fn close_removed(&self) {
        let mut open = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|unit| !is_removed(&unit.file));
    }

    /// Whether the segment that this log stands in has been removed.
    pub fn is_left_behind(&self) -> bool {
        is_removed(&self.active)
    }

    fn io(&self, context: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { context, path: segment_path(&self.dir, self.segment), source }
    }

    pub fn damaged(&self, at: LogPos, problem: &'static str) -> Error {
        Error::Damaged { path: segment_path(&self.dir, at.segment), offset: at.offset.into(), problem }
    }
}

/// The payload of a record in an open file.
pub(super) struct Reader {
    file: Arc<File>,
    at: u64,
    dir: Arc<Path>,
    segment: u32,
}

impl Reader {
    /// Bytes from the start of this payload to that of another; `None` when it is in another file, or in front of it.
    pub fn distance_to(&self, other: &Reader) -> Option<u64> {
        if Arc::ptr_eq(&self.file, &other.file) { other.at.checked_sub(self.at) } else { None }
    }

    /// The file, and where the payload begins in it.
    pub fn place(&self) -> (&Arc<File>, u64) {
        (&self.file, self.at)
    }

    /// The record's header.
    pub fn header(&self) -> Result<[u8; HEADER]> {
        let mut header = [0; HEADER];
        let path = || segment_path(&self.dir, self.segment);
        let read = read_at(&self.file, &mut header, self.at - HEADER as u64);
        read.map_err(|source| Error::Io { context: "cannot read", path: path(), source })?;
        Ok(header)
    }

    /// Appends `count` bytes of the payload from `from` on to `out`.
    pub fn read(&self, from: u64, count: usize, out: &mut Vec<u8>) -> Result<()> {
        let path = || segment_path(&self.dir, self.segment);
        let read = append_from(&self.file, self.at + from, count, out);
        read.map_err(|source| Error::Io { context: "cannot read", path: path(), source })
    }
}

/// Whether a file that is open has no name any more.
fn is_removed(file: &File) -> bool {
    file.metadata().is_ok_and(|found| found.nlink() == 0)
}

/// A segment that was made without the lock of the log, so that nobody has to wait for its sync. Until a Seal names it, it
/// is nothing: whoever has the lock and needs one of this number replaces it.
pub(super) struct PreparedSegment {
    pub segment: u32,
    path: PathBuf,
    file: File,
}

impl PreparedSegment {
    /// `None` when the name is taken: somebody is faster, or died.
    pub fn make(disk: &dyn Disk, dir: &Path, segment: u32, mark: u128) -> Result<Option<Self>> {
        let path = segment_path(dir, segment);
        let file = match disk.open(&path, Open::New) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            other => other.map_err(Error::io("cannot make", &path))?,
        };
        let header = segment_header::encode(segment, mark, unix_now() as u64);
        disk.write_at(&file, &header, 0).map_err(Error::io("cannot write", &path))?;
        disk.sync_all(&file).map_err(Error::io("cannot sync", &path))?;
        sync_dir(disk, &dir.join("log"))?;
        Ok(Some(PreparedSegment { segment, path, file }))
    }

    /// Whether its name still means this file; it stays so while the lock is held.
    pub fn is_in_place(&self) -> bool {
        let inode = |found: std::fs::Metadata| (found.dev(), found.ino());
        let named = std::fs::symlink_metadata(&self.path).map(inode).ok();
        named.is_some() && named == self.file.metadata().map(inode).ok()
    }
}

/// Waits for the lock of a log. A thread that has to wait says so first.
pub(super) fn lock(file: &File) -> Result<OfdLock<'_>> {
    let held = match OfdLock::try_lock(file, LockMode::Exclusive) {
        Ok(None) => {
            about_to_block();
            OfdLock::lock(file, LockMode::Exclusive)
        }
        Ok(Some(held)) => Ok(held),
        Err(error) => Err(error),
    };
    held.map_err(Error::io("cannot lock", "lock"))
}

/// Where the large message of this number is.
pub(super) fn blob_path(dir: &Path, number: u64) -> PathBuf {
    dir.join("blob").join(format!("{number:016x}"))
}

/// The first segment that is left to read from; `None` when there is no log. What is in front of it is in the
/// checkpoint.
fn open_first(disk: &dyn Disk, dir: &Path, mark: u128) -> Result<Option<(u32, File)>> {
    match open_segment(disk, dir, 1, mark) {
        Err(error) if error.is_missing() => {}
        other => return other.map(|file| Some((1, file))),
    }
    let files = LogFiles::list(dir)?;
    let from = files.checkpoints.last().copied().unwrap_or(1);
    match files.segments.iter().find(|segment| **segment >= from) {
        Some(segment) => open_segment(disk, dir, *segment, mark).map(|file| Some((*segment, file))),
        None if files.is_empty() => Ok(None),
        None => {
            Err(Error::Damaged { path: segment_path(dir, from), offset: 0, problem: "segment is missing" })
        }
    }
}

/// A log that was synced once does not go away: to begin another would hide all of the user's mail.
fn never_was(lock: &File, dir: &Path) -> Result<()> {
    if Notes::read(lock).epoch == 0 {
        return Ok(());
    }
    Err(Error::Damaged { path: segment_path(dir, 1), offset: 0, problem: "the log is missing" })
}

fn open_segment(disk: &dyn Disk, dir: &Path, segment: u32, mark: u128) -> Result<File> {
    let path = segment_path(dir, segment);
    let file = disk.open(&path, Open::Existing).map_err(Error::io("cannot open", &path))?;
    let mut header = [0; segment_header::LEN];
    let complete = file.read_exact_at(&mut header, 0);
    let checked = complete.map_err(|_| "segment header is cut short");
    match checked.and_then(|()| segment_header::check(&header, segment, mark)) {
        Ok(()) => Ok(file),
        Err(problem) => Err(Error::Damaged { path, offset: 0, problem }),
    }
}

fn make_segment(disk: &dyn Disk, dir: &Path, segment: u32, mark: u128) -> Result<()> {
    let header = segment_header::encode(segment, mark, unix_now() as u64);
    write_durably(disk, &segment_path(dir, segment), &header)
}

/// Writes a file under a temporary name, syncs it, renames it, syncs the directory.
pub(super) fn write_durably(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let written = write_new(disk, &temporary, bytes)
        .and_then(|()| disk.rename(&temporary, path).map_err(Error::io("cannot rename", &temporary)));
    if written.is_err() {
        // Worthless, and often not even made.
        let _ = disk.remove(&temporary);
    }
    written?;
    path.parent().map_or(Ok(()), |dir| sync_dir(disk, dir))
}

fn write_new(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<()> {
    let file = disk.open(path, Open::Empty).map_err(Error::io("cannot make", path))?;
    disk.write_at(&file, bytes, 0).map_err(Error::io("cannot write", path))?;
    disk.sync_all(&file).map_err(Error::io("cannot sync", path))
}

pub(super) fn sync_dir(disk: &dyn Disk, dir: &Path) -> Result<()> {
    disk.sync_dir(dir).map_err(Error::io("cannot sync", dir))
}

/// Syncs a user's new directories and the hash levels above them, so that a loss of power cannot take the path away.
fn sync_dirs(disk: &dyn Disk, dir: &Path) -> Result<()> {
    dir.join("log").ancestors().take(6).try_for_each(|dir| sync_dir(disk, dir))
}
