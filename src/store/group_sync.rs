//! One `fdatasync` for all threads that wait for the same log.
//!
//! The first that comes syncs what has been written up to then; the others wait for it, or for the next round.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::disk::Disk;
use super::message::LogPos;
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
    /// A sync failed, and the kernel may have forgotten which pages it concerned: they have to be written anew.
    suspect: bool,
}

impl GroupSync {
    /// `durable`: how much of the log is known to be on stable storage.
    pub fn new(disk: Arc<dyn Disk>, durable: LogPos) -> Self {
        let progress = Progress { durable, written: durable, syncing: false, suspect: false };
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

    /// Says that all before `end` has been synced.
    pub fn note_durable(&self, end: LogPos) {
        let mut progress = self.progress();
        progress.durable = progress.durable.max(end);
        progress.written = progress.written.max(end);
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
                progress = self.done.wait(progress).unwrap_or_else(PoisonError::into_inner);
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
        let rewritten = if suspect { self.rewrite(file, from, target) } else { Ok(()) };
        let result = rewritten.and_then(|()| self.disk.sync_data(file));
        let mut progress = self.progress();
        progress.syncing = false;
        progress.suspect = result.is_err();
        if result.is_ok() {
            progress.durable = progress.durable.max(target);
        }
        self.done.notify_all();
        result.map(|()| progress)
    }

    /// Writes what the page cache holds once more, so that the next sync has to take it to the disk.
    fn rewrite(&self, file: &File, from: LogPos, to: LogPos) -> io::Result<()> {
        let start = if from.segment == to.segment { from.offset } else { 0 };
        let mut bytes = vec![0; (to.offset - start) as usize];
        file.read_exact_at(&mut bytes, start.into())?;
        self.disk.write_at(file, &bytes, start.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::Local;
    use super::*;

    #[test]
    fn waiters_behind_the_durable_end_do_not_sync() {
        let dir = tempfile::tempdir().unwrap();
        let read_only = File::open(dir.path()).unwrap();
        let group = GroupSync::new(Arc::new(Local), LogPos::new(1, 64));
        group.note_durable(LogPos::new(2, 64));
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
    fn after_a_failure_the_bytes_are_written_anew() {
        let pipe = File::from(std::os::fd::OwnedFd::from(std::io::pipe().unwrap().1));
        let group = GroupSync::new(Arc::new(Local), LogPos::new(1, 64));
        group.note_written(LogPos::new(1, 128));
        assert!(group.wait(&pipe, LogPos::new(1, 128)).is_err(), "a pipe cannot be synced");
        assert!(group.progress().suspect);
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 128], 0).unwrap();
        group.wait(&file, LogPos::new(1, 128)).unwrap();
        assert!(!group.progress().suspect);
    }
}
