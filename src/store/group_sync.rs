//! One `fdatasync` for all threads that wait for the same log.
//!
//! The first that comes syncs what has been written up to then; the others wait for it, or for the next round.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::disk::Disk;
use super::log::Log;
use super::message::LogPos;
use super::replay::are_whole;
use crate::sys::about_to_block;

#[derive(Debug)]
pub(super) struct GroupSync {
    disk: Arc<dyn Disk>,
    progress: Mutex<Progress>,
    done: Condvar,
}

#[derive(Debug)]
struct Progress {
    /// All before this is on stable storage.
    durable: LogPos,
    /// The end of what this process has written or read.
    written: LogPos,
    syncing: bool,
    /// Threads that wait for the one that syncs: without any, nobody is to be told, which would be a system call.
    waiting: usize,
    /// A sync failed, and the kernel may have forgotten which pages it concerned: they have to be written anew.
    suspect: bool,
}

impl GroupSync {
    /// `durable`: how much of the log is known to be on stable storage.
    pub fn new(disk: Arc<dyn Disk>, durable: LogPos) -> Self {
        let progress = Progress { durable, written: durable, syncing: false, waiting: 0, suspect: false };
        GroupSync { disk, progress: Mutex::new(progress), done: Condvar::new() }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the log now reaches to `end`.
    pub fn note_written(&self, end: LogPos) {
        let mut progress = self.progress();
        progress.written = progress.written.max(end);
    }

    /// Bytes before `end` that are not known to be on stable storage. A segment is begun only when the one before it
    /// has been synced, so that only the last one counts.
    pub fn lag(&self, end: LogPos) -> u32 {
        let durable = self.progress().durable;
        if durable.segment == end.segment { end.offset.saturating_sub(durable.offset) } else { end.offset }
    }

    /// Says that a sync failed in another process, all before `durable` being on stable storage.
    pub fn suspect(&self, durable: LogPos) {
        let mut progress = self.progress();
        progress.durable = durable;
        progress.suspect = true;
    }

    /// Where the bytes begin of which the kernel may have forgotten that it has to write them.
    pub fn suspect_from(&self) -> Option<LogPos> {
        let progress = self.progress();
        progress.suspect.then_some(progress.durable)
    }

    /// Waits until all before `end`, which is in `segment`'s file `file`, is on stable storage.
    pub fn wait(&self, file: &File, end: LogPos) -> io::Result<()> {
        let mut progress = self.progress();
        if progress.durable >= end {
            return Ok(());
        }
        drop(progress);
        about_to_block();
        progress = self.progress();
        while progress.durable < end {
            if progress.syncing {
                progress.waiting += 1;
                progress = self.done.wait(progress).unwrap_or_else(PoisonError::into_inner);
                progress.waiting -= 1;
            } else {
                progress = self.sync(progress, file, end)?;
            }
        }
        Ok(())
    }

    fn sync<'a>(
        &'a self,
        mut progress: MutexGuard<'a, Progress>,
        file: &File,
        end: LogPos,
    ) -> io::Result<MutexGuard<'a, Progress>> {
        let same_segment = progress.written.segment == end.segment;
        let target = if same_segment { progress.written.max(end) } else { end };
        let (from, suspect) = (progress.durable, progress.suspect);
        progress.syncing = true;
        drop(progress);
        let synced = if suspect { Err(None) } else { self.disk.sync_data(file).map_err(Some) };
        // The bytes of a failed sync are written once more, at once: what was wrong may be over, or have concerned
        // another process.
        let result = synced.or_else(|first| {
            let again = self.rewrite(file, from, target).and_then(|()| self.disk.sync_data(file));
            again.map_err(|error| first.unwrap_or(error))
        });
        let mut progress = self.progress();
        progress.syncing = false;
        progress.suspect = result.is_err();
        if result.is_ok() {
            progress.durable = progress.durable.max(target);
        }
        if progress.waiting > 0 {
            self.done.notify_all();
        }
        result.map(|()| progress)
    }

    /// Writes what the page cache holds once more, so that the next sync has to take it to the disk. What the cache has
    /// lost as well must not pass for something that was written.
    fn rewrite(&self, file: &File, from: LogPos, to: LogPos) -> io::Result<()> {
        let start = if from.segment == to.segment { from } else { Log::start_of(to.segment) };
        let mut bytes = vec![0; to.offset.saturating_sub(start.offset) as usize];
        file.read_exact_at(&mut bytes, start.offset.into())?;
        if !are_whole(&bytes, start.offset) {
            return Err(io::Error::other("what was written is lost after a failed sync"));
        }
        self.disk.write_at(file, &bytes, start.offset.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::Local;
    use super::*;

    use crate::store::record::{Kind, Transaction};

    fn transaction(start: LogPos, len: usize) -> Vec<u8> {
        let mut txn = Transaction::new(start, Vec::new());
        txn.record(Kind::Subscribe, |out| out.resize(out.len() + len, b'x'));
        txn.into_buffer()
    }

    #[test]
    fn waiters_behind_the_durable_end_do_not_sync() {
        let dir = tempfile::tempdir().unwrap();
        let read_only = File::open(dir.path()).unwrap();
        let group = GroupSync::new(Arc::new(Local), LogPos::new(2, 64));
        assert!(group.wait(&read_only, LogPos::new(1, 4096)).is_ok());
        assert!(group.wait(&read_only, LogPos::new(2, 64)).is_ok());
    }

    #[test]
    fn one_sync_covers_what_others_wrote() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 300], 0).unwrap();
        let group = GroupSync::new(Arc::new(Local), LogPos::new(1, 64));
        group.note_written(LogPos::new(1, 300));
        group.wait(&file, LogPos::new(1, 100)).unwrap();
        assert_eq!(group.progress().durable, LogPos::new(1, 300));
    }

    #[test]
    fn who_waits_for_anothers_sync_is_told() {
        const WRITERS: u32 = 8;
        const WRITES: u32 = 100;
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 16).unwrap();
        let group = GroupSync::new(Arc::new(Local), LogPos::new(1, 64));
        let end = std::sync::atomic::AtomicU32::new(64);
        std::thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| {
                    for _ in 0..WRITES {
                        let end = LogPos::new(1, end.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1);
                        file.write_all_at(b"x", end.offset.into()).unwrap();
                        group.note_written(end);
                        group.wait(&file, end).unwrap();
                    }
                });
            }
        });
        let progress = group.progress();
        assert_eq!(progress.durable, LogPos::new(1, 64 + WRITERS * WRITES));
        assert!(progress.waiting == 0 && !progress.syncing);
    }

    #[test]
    fn after_a_failure_the_bytes_are_written_anew() {
        let pipe = File::from(std::os::fd::OwnedFd::from(std::io::pipe().unwrap().1));
        let start = LogPos::new(1, 64);
        let group = GroupSync::new(Arc::new(Local), start);
        let written = transaction(start, 40);
        let end = LogPos::new(1, 64 + written.len() as u32);
        group.note_written(end);
        assert!(group.wait(&pipe, end).is_err(), "a pipe cannot be synced");
        assert_eq!(group.suspect_from(), Some(start));
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![0; end.offset as usize], 0).unwrap();
        assert!(group.wait(&file, end).is_err(), "what the cache has lost is not written again");
        file.write_all_at(&written, 64).unwrap();
        group.wait(&file, end).unwrap();
        assert_eq!(group.suspect_from(), None);
    }
}
