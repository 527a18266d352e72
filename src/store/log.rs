//! A user's log as files: segments, the lock between writers, large messages beside the log.
//!
//! This file moves bytes and knows nothing of what they mean. Everything that changes the log is called with the
//! lock held; reading needs none.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::disk::{Disk, Open};
use super::error::{Error, Result};
use super::message::LogPos;
use super::record::segment_header;
use crate::sys::{LockMode, OfdLock, about_to_block, read_at};

/// Sealed segments whose descriptors a user keeps open.
const OPEN_SEALED: usize = 4;

pub(super) struct Log {
    disk: Arc<dyn Disk>,
    dir: Arc<Path>,
    mark: u128,
    lock: Arc<File>,
    active: Arc<File>,
    segment: u32,
    sealed: Mutex<Vec<(u32, Arc<File>)>>,
}

impl Log {
    /// Opens the log in a user's directory; `None` when there is none.
    pub fn open(disk: &Arc<dyn Disk>, dir: &Path, mark: u128) -> Result<Option<Log>> {
        let lock_path = dir.join("lock");
        let lock = match disk.open(&lock_path, Open::Existing) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io("cannot open", lock_path))?,
        };
        let first = segment_path(dir, 1);
        match open_segment(&**disk, dir, 1, mark) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound && !first.exists() => {
                Ok(None)
            }
            Err(error) => Err(error),
            Ok(active) => {
                let sealed = Mutex::default();
                Ok(Some(Log {
                    disk: disk.clone(),
                    dir: dir.into(),
                    mark,
                    lock: Arc::new(lock),
                    active: Arc::new(active),
                    segment: 1,
                    sealed,
                }))
            }
        }
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
            if !segment_path(dir, 1).exists() {
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
        }
        Ok(())
    }

    pub fn active(&self) -> &Arc<File> {
        &self.active
    }

    /// Bytes in the segment that this log stands in.
    pub fn size(&self) -> Result<u64> {
        let size = self.active.metadata().map_err(self.io("cannot stat"))?;
        Ok(size.len())
    }

    /// Writes a transaction at `at`, which is the end of the active segment.
    pub fn append(&self, at: LogPos, bytes: &[u8]) -> Result<()> {
        self.disk.write_at(&self.active, bytes, at.offset.into()).map_err(self.io("cannot write"))
    }

    /// Cuts off what follows `at`.
    pub fn cut(&self, at: LogPos) -> Result<()> {
        self.disk.set_len(&self.active, at.offset.into()).map_err(self.io("cannot cut"))
    }

    /// Copies what follows `at` to a file of its own, before it is cut off.
    pub fn set_aside(&self, at: LogPos) -> Result<PathBuf> {
        let path = self.dir.join("log").join(format!("{:010}.torn-{}", at.segment, at.offset));
        let mut tail = vec![0; (self.size()?.saturating_sub(at.offset.into())) as usize];
        self.active.read_exact_at(&mut tail, at.offset.into()).map_err(self.io("cannot read"))?;
        write_new(&*self.disk, &path, &tail)?;
        sync_dir(&*self.disk, &self.dir.join("log"))?;
        Ok(path)
    }

    /// Makes the segment after the active one; the caller has sealed and synced that.
    pub fn make_next(&self) -> Result<u32> {
        let next = self.segment + 1;
        make_segment(&*self.disk, &self.dir, next, self.mark)?;
        Ok(next)
    }

    /// Reads exactly `out.len()` bytes at `at`, in whatever segment.
    pub fn read(&self, at: LogPos, out: &mut [u8]) -> Result<()> {
        self.reader(at.segment)?.read(at, out)
    }

    /// Reads a segment after the log has been let go of.
    pub fn reader(&self, segment: u32) -> Result<Reader> {
        let file = if segment == self.segment { self.active.clone() } else { self.sealed(segment)? };
        Ok(Reader { file, dir: self.dir.clone(), segment })
    }

    /// The file that holds `segment`, kept open for the next reader.
    fn sealed(&self, segment: u32) -> Result<Arc<File>> {
        let mut open = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, file)) = open.iter().find(|(number, _)| *number == segment) {
            return Ok(file.clone());
        }
        let file = Arc::new(open_segment(&*self.disk, &self.dir, segment, self.mark)?);
        if open.len() >= OPEN_SEALED {
            open.remove(0);
        }
        open.push((segment, file.clone()));
        Ok(file)
    }

    fn io(&self, context: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { context, path: segment_path(&self.dir, self.segment), source }
    }

    pub fn damaged(&self, at: LogPos, problem: &'static str) -> Error {
        Error::Damaged { path: segment_path(&self.dir, at.segment), offset: at.offset.into(), problem }
    }
}

/// An open segment.
pub(super) struct Reader {
    file: Arc<File>,
    dir: Arc<Path>,
    segment: u32,
}

impl Reader {
    /// The file and where it ends.
    pub fn into_parts(self) -> Result<(Arc<File>, u64)> {
        let len = self.file.metadata().map_err(|error| self.io("cannot stat", error))?.len();
        Ok((self.file, len))
    }

    /// Fills `out` from `at` on, which is in this segment.
    pub fn read(&self, at: LogPos, out: &mut [u8]) -> Result<()> {
        read_at(&self.file, out, at.offset.into()).map_err(|error| self.io("cannot read", error))
    }

    fn io(&self, context: &'static str, source: io::Error) -> Error {
        Error::Io { context, path: segment_path(&self.dir, self.segment), source }
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

fn segment_path(dir: &Path, segment: u32) -> PathBuf {
    dir.join("log").join(format!("{segment:010}"))
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
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    write_durably(disk, &segment_path(dir, segment), &segment_header::encode(segment, mark, created))
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
