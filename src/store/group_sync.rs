//! One `fdatasync` for all threads that wait for the same log.
//!
//! The first that comes syncs what has been written up to then; the others wait for it, or for the next round. A session
//! needs no thread for that: it leaves its number, and comes again when it is told.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::disk::Disk;
use super::log::Log;
use super::message::LogPos;
use super::replay::are_whole;
use super::store::ChangeListener;
use crate::sys::about_to_block;

/// Who waits for a sync without a thread: a number that means something to the [`ChangeListener`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter(pub u64);

pub(super) struct GroupSync {
    disk: Arc<dyn Disk>,
    listener: Arc<dyn ChangeListener>,
    progress: Mutex<Progress>,
    done: Condvar,
}

#[derive(Debug)]
struct Progress {
    /// All before this is on stable storage.
    durable: LogPos,
    /// All before this survives a loss of power, since it is there or in the journal.
    promised: LogPos,
    /// The end of what this process has written or read.
    written: LogPos,
    syncing: bool,
    /// Threads that wait for the one that syncs: without any, nobody is to be told, which would be a system call.
    waiting: usize,
    /// Those who wait for it without a thread, and up to where.
    parked: Vec<(LogPos, Waiter)>,
    /// A sync failed, and the kernel may have forgotten which pages it concerned: they have to be written anew.
    suspect: bool,
}

impl GroupSync {
    /// `durable`: how much of the log is known to be on stable storage.
    pub fn new(disk: Arc<dyn Disk>, listener: Arc<dyn ChangeListener>, durable: LogPos) -> Self {
        let progress = Progress {
            durable,
            promised: durable,
            written: durable,
            syncing: false,
            waiting: 0,
            parked: Vec::new(),
            suspect: false,
        };
        GroupSync { disk, listener, progress: Mutex::new(progress), done: Condvar::new() }
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

    /// Whether all before `end` survives a loss of power.
    pub fn reaches(&self, end: LogPos) -> bool {
        self.progress().promised >= end
    }

    /// Whether all before `end` is on stable storage in the log itself.
    pub fn has_synced(&self, end: LogPos) -> bool {
        self.progress().durable >= end
    }

    /// Says that all before `end` is in the journal, or on stable storage.
    pub fn promise(&self, end: LogPos) {
        let mut progress = self.progress();
        progress.promised = progress.promised.max(end);
    }

    /// The bytes of `end`'s segment that a loss of power may take, up to `end`; a segment is begun only when the one
    /// before it has been synced. `None` when the kernel may have lost some of them already.
    pub fn lack(&self, end: LogPos) -> Option<Range<u32>> {
        let progress = self.progress();
        let promised = progress.promised.min(end);
        let start = if promised.segment == end.segment { promised } else { Log::start_of(end.segment) };
        (!progress.suspect).then_some(start.offset..end.offset)
    }

    /// Says that a sync failed in another process, all before `durable` being on stable storage.
    pub fn suspect(&self, durable: LogPos) {
        let mut progress = self.progress();
        (progress.durable, progress.promised) = (durable, durable);
        progress.suspect = true;
    }

    /// Where the bytes begin of which the kernel may have forgotten that it has to write them.
    pub fn suspect_from(&self) -> Option<LogPos> {
        let progress = self.progress();
        progress.suspect.then_some(progress.durable)
    }

    /// Waits until all before `end`, which is in `segment`'s file `file`, is on stable storage. Where another thread syncs,
    /// a `waiter` is left behind instead: `false` then, and the listener hears when it has to come again.
    pub fn wait(&self, file: &File, end: LogPos, waiter: Option<Waiter>) -> io::Result<bool> {
        let mut progress = self.progress();
        if progress.must_wait(end, waiter) {
            drop(progress);
            about_to_block();
            progress = self.progress();
        }
        while progress.must_wait(end, waiter) {
            if progress.syncing {
                progress.waiting += 1;
                progress = self.done.wait(progress).unwrap_or_else(PoisonError::into_inner);
                progress.waiting -= 1;
            } else {
                progress = self.sync(progress, file, end)?;
            }
        }
        let is_durable = progress.durable >= end;
        if !is_durable {
            progress.parked.extend(waiter.map(|waiter| (end, waiter)));
        }
        Ok(is_durable)
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
            progress.promised = progress.promised.max(target);
        }
        if progress.waiting > 0 {
            self.done.notify_all();
        }
        self.tell_parked(&mut progress);
        result.map(|()| progress)
    }

    /// Tells those that this sync has served, and one that has written since: it syncs for the others. The listener takes
    /// no lock of the store's.
    fn tell_parked(&self, progress: &mut Progress) {
        let durable = progress.durable;
        progress.parked.retain(|(end, waiter)| {
            let is_served = *end <= durable;
            if is_served {
                self.listener.synced(*waiter);
            }
            !is_served
        });
        // A session that is gone does not come.
        while let Some((_, waiter)) = progress.parked.pop()
            && !self.listener.syncs_next(waiter)
        {}
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

impl Progress {
    /// Whether a thread has something to do here, or to wait for: not where all is done, and not where another one is at
    /// it and `waiter` will be told.
    fn must_wait(&self, end: LogPos, waiter: Option<Waiter>) -> bool {
        self.durable < end && !(self.syncing && waiter.is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::SeqCst;

    use super::super::disk::{Counting, Local};
    use super::super::names::{MailboxId, ModSeq, UserName};
    use super::super::tests::Deaf;
    use super::*;

    use crate::store::record::{Kind, Transaction};

    fn transaction(start: LogPos, len: usize) -> Vec<u8> {
        let mut txn = Transaction::new(start);
        txn.record(Kind::Subscribe, |out| out.resize(out.len() + len, b'x'));
        txn.bytes().to_vec()
    }

    #[test]
    fn waiters_behind_the_durable_end_do_not_sync() {
        let dir = tempfile::tempdir().unwrap();
        let read_only = File::open(dir.path()).unwrap();
        let group = GroupSync::new(Arc::new(Local), Arc::new(Deaf), LogPos::new(2, 64));
        assert!(group.wait(&read_only, LogPos::new(1, 4096), None).is_ok());
        assert!(group.wait(&read_only, LogPos::new(2, 64), None).is_ok());
    }

    #[test]
    fn one_sync_covers_what_others_wrote() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 300], 0).unwrap();
        let group = GroupSync::new(Arc::new(Local), Arc::new(Deaf), LogPos::new(1, 64));
        group.note_written(LogPos::new(1, 300));
        group.wait(&file, LogPos::new(1, 100), None).unwrap();
        assert_eq!(group.progress().durable, LogPos::new(1, 300));
    }

    #[test]
    fn who_waits_for_anothers_sync_is_told() {
        const WRITERS: u32 = 8;
        const WRITES: u32 = 100;
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 16).unwrap();
        let group = GroupSync::new(Arc::new(Local), Arc::new(Deaf), LogPos::new(1, 64));
        let end = std::sync::atomic::AtomicU32::new(64);
        std::thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| {
                    for _ in 0..WRITES {
                        let end = LogPos::new(1, end.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1);
                        file.write_all_at(b"x", end.offset.into()).unwrap();
                        group.note_written(end);
                        group.wait(&file, end, None).unwrap();
                    }
                });
            }
        });
        let progress = group.progress();
        assert_eq!(progress.durable, LogPos::new(1, 64 + WRITERS * WRITES));
        assert!(progress.waiting == 0 && !progress.syncing);
    }

    /// Notes what it is told: who is served, and who syncs next.
    #[derive(Default)]
    struct Recorder(Mutex<(Vec<u64>, Vec<u64>)>);

    impl ChangeListener for Recorder {
        fn changed(&self, _: &UserName, _: MailboxId, _: ModSeq) {}

        fn synced(&self, waiter: Waiter) {
            self.0.lock().unwrap().0.push(waiter.0);
        }

        fn syncs_next(&self, waiter: Waiter) -> bool {
            self.0.lock().unwrap().1.push(waiter.0);
            true
        }
    }

    impl Recorder {
        fn take(&self) -> (Vec<u64>, Vec<u64>) {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    #[test]
    fn of_those_that_a_sync_came_too_early_for_one_makes_the_next() {
        let (disk, recorder) = (Arc::new(Counting::default()), Arc::new(Recorder::default()));
        let file = tempfile::tempfile().unwrap();
        let end = |end| LogPos::new(1, end);
        let group = GroupSync::new(disk.clone(), recorder.clone(), end(64));
        let park = |at, waiter| group.wait(&file, end(at), Some(Waiter(waiter))).unwrap();
        let sync_of = |before: &dyn Fn()| {
            let (busy, begun) = (disk.busy.lock().unwrap(), disk.syncs.load(SeqCst));
            std::thread::scope(|scope| {
                let syncing = scope.spawn(|| park(200, 0));
                while disk.syncs.load(SeqCst) == begun {
                    std::thread::yield_now();
                }
                before();
                drop(busy);
                syncing.join().unwrap()
            })
        };
        group.note_written(end(300));
        let is_durable = sync_of(&|| {
            assert!(!park(300, 1));
            group.note_written(end(500));
            assert!(!park(400, 2) && !park(500, 3));
        });
        assert!(is_durable);
        assert_eq!(recorder.take(), (vec![1], vec![3]));
        assert!(park(300, 1) && park(500, 3));
        assert_eq!(recorder.take(), (vec![2], vec![]));
        assert!(park(400, 2));
        assert_eq!(disk.syncs.load(SeqCst), 2);
    }

    #[test]
    fn a_failed_sync_is_told_to_one_waiter_after_the_other() {
        let (disk, recorder) = (Arc::new(Counting::default()), Arc::new(Recorder::default()));
        let group = GroupSync::new(disk.clone(), recorder.clone(), LogPos::new(1, 64));
        let (file, end) = (tempfile::tempfile().unwrap(), LogPos::new(1, 200));
        let wait = |waiter| group.wait(&file, end, Some(Waiter(waiter)));
        disk.fails.store(true, SeqCst);
        let busy = disk.busy.lock().unwrap();
        std::thread::scope(|scope| {
            let syncing = scope.spawn(|| wait(0));
            while disk.syncs.load(SeqCst) == 0 {
                std::thread::yield_now();
            }
            assert!(!wait(1).unwrap() && !wait(2).unwrap());
            drop(busy);
            assert!(syncing.join().unwrap().is_err());
        });
        assert_eq!(recorder.take(), (vec![], vec![2]));
        assert!(wait(2).is_err());
        assert_eq!(recorder.take(), (vec![], vec![1]));
        assert!(wait(1).is_err());
        assert_eq!(recorder.take(), (vec![], vec![]));
    }

    #[test]
    fn after_a_failure_the_bytes_are_written_anew() {
        let pipe = File::from(std::os::fd::OwnedFd::from(std::io::pipe().unwrap().1));
        let start = LogPos::new(1, 64);
        let group = GroupSync::new(Arc::new(Local), Arc::new(Deaf), start);
        let written = transaction(start, 40);
        let end = LogPos::new(1, 64 + written.len() as u32);
        group.note_written(end);
        assert!(group.wait(&pipe, end, None).is_err(), "a pipe cannot be synced");
        assert_eq!(group.suspect_from(), Some(start));
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![0; end.offset as usize], 0).unwrap();
        assert!(group.wait(&file, end, None).is_err(), "what the cache has lost is not written again");
        file.write_all_at(&written, 64).unwrap();
        group.wait(&file, end, None).unwrap();
        assert_eq!(group.suspect_from(), None);
    }
}
