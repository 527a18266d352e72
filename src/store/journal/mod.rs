//! One sync for several users.
//!
//! Those who wait for the same log share its sync (`group_sync.rs`). When many users write at once, each in a log of its
//! own, what they have written is copied into a journal of this process, and one `fdatasync` of the journal serves all who
//! wait for it; the logs are synced within a second, when more has come together. Whoever opens the store after a loss of
//! power puts back what the logs have lost (`recovery.rs`).
//!
//! A journal is written by its process alone, by one thread at a time: the first that comes leads, those who come
//! meanwhile leave a number and hear of it. Where that does not pay, and wherever it fails, each log is synced by itself.

mod batch;
mod files;
mod recovery;

use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::disk::Disk;
use super::durable::LogEnd;
use super::group_sync::{GroupSync, Waiter};
use super::limits::{JOURNAL_BATCH, JOURNAL_MEMBER, JOURNAL_OTHERS, JOURNAL_SIZE};
use super::log::Log;
use super::message::LogPos;
use super::names::UserName;
use super::record::segment_header;
use super::store::ChangeListener;
use crate::sys::about_to_block;

pub(super) use recovery::recover;

use batch::Batch;
use files::Files;

/// How long each log is synced by itself after the journal has failed, or has not paid.
const PAUSE: Duration = Duration::from_secs(10);

/// When a journal is used, and how large it gets.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Bounds {
    /// As many logs have to be at their own sync for another one to go to the journal.
    pub others: usize,
    /// Bytes of each of the two files of a journal.
    pub size: u64,
}

impl Default for Bounds {
    /// A few syncs at a time are soon done, and cost little more than copying what they sync.
    fn default() -> Self {
        Bounds { others: JOURNAL_OTHERS, size: JOURNAL_SIZE }
    }
}

pub(super) struct Journal {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    listener: Arc<dyn ChangeListener>,
    bounds: Bounds,
    /// Threads that sync a log by itself.
    alone: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Who waits for the next batch.
    queue: Vec<Member>,
    /// A thread writes a batch; it has taken the files.
    is_led: bool,
    files: Option<Files>,
    /// Room for the next batch.
    spare: Batch,
    /// Not before then.
    paused_until: Option<Instant>,
}

/// A log that has to be on stable storage up to some place.
struct Member {
    sync: Arc<GroupSync>,
    user: UserName,
    end: LogEnd,
    waiter: Waiter,
}

/// Held by a thread that syncs a log by itself.
pub(super) struct Alone<'a>(&'a AtomicUsize);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Journal {
    /// The journal of a process that uses the store in `root`. No file is made before it is needed.
    pub fn new(root: &Path, disk: Arc<dyn Disk>, listener: Arc<dyn ChangeListener>, bounds: Bounds) -> Self {
        let (alone, state) = Default::default();
        Journal { root: root.to_owned(), disk, listener, bounds, alone, state }
    }

    /// Says that this thread syncs a log by itself now.
    pub fn sync_alone(&self) -> Alone<'_> {
        self.alone.fetch_add(1, Relaxed);
        Alone(&self.alone)
    }

    /// Sees to it that all of a user's log before `end` survives a loss of power: `true` then. `false`: another thread
    /// is at it, and `waiter` will be told. `None`: the log is to be synced by itself.
    pub fn commit(
        &self,
        sync: &Arc<GroupSync>,
        user: &UserName,
        end: &LogEnd,
        waiter: Waiter,
    ) -> Option<bool> {
        let mut state = self.state();
        if !self.is_worth_it(&mut state) || !is_suited(sync, end) {
            drop(state);
            // It may have been called to lead.
            self.pass_on();
            return None;
        }
        state.queue.push(Member { sync: sync.clone(), user: user.clone(), end: end.clone(), waiter });
        if state.is_led {
            return Some(false);
        }
        state.is_led = true;
        let (files, mut members) = (state.files.take(), std::mem::take(&mut state.queue));
        let mut batch = std::mem::take(&mut state.spare);
        drop(state);
        about_to_block();
        let write = || {
            let taken = gather(&mut members, &mut batch)?;
            let files = files.map_or_else(|| Files::make(&self.disk, &self.root, self.bounds.size), Ok);
            let mut files = files?;
            files.write(&mut batch, &members[..taken])?;
            Ok((files, taken))
        };
        // Others wait for this thread: they must not do so for ever, whatever happens to it.
        let written = catch_unwind(AssertUnwindSafe(write));
        let written = written.unwrap_or_else(|_| Err(io::Error::other("an internal error")));
        let rest = members.split_off(written.as_ref().map_or(members.len(), |(_, taken)| *taken));
        self.finish(written.map(|(files, _)| (files, batch)), members, rest, waiter)
    }

    /// Others may be at it already; while they are, who comes joins them.
    fn is_worth_it(&self, state: &mut State) -> bool {
        if state.paused_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        state.paused_until = None;
        state.is_led || !state.queue.is_empty() || self.alone.load(Relaxed) >= self.bounds.others
    }

    /// Ends a turn as the leader: tells those whose batch was written, and one of those who wait for the next, as `rest`
    /// does, for whom this one had no room.
    fn finish(
        &self,
        written: io::Result<(Files, Batch)>,
        members: Vec<Member>,
        rest: Vec<Member>,
        leader: Waiter,
    ) -> Option<bool> {
        let is_kept = written.is_ok();
        let is_served = members.iter().any(|member| member.waiter == leader);
        if is_kept {
            members.iter().for_each(|member| member.sync.promise(member.end.at));
        }
        let mut state = self.state();
        state.is_led = false;
        state.queue.extend(rest);
        match written {
            Ok((mut files, batch)) => {
                state.spare = batch.cleared();
                state.paused_until = (!files.pays()).then(|| Instant::now() + PAUSE);
                state.files = Some(files);
            }
            // The files stay behind: they may have what the logs do not. Whoever opens the store next sees to them.
            Err(error) => {
                log::error!(error = error.to_string(); "cannot write a journal; each log is synced by itself for a while");
                state.paused_until = Some(Instant::now() + PAUSE);
            }
        }
        // While the journal rests, nobody may be left waiting for it.
        let left = if state.paused_until.is_some() { std::mem::take(&mut state.queue) } else { Vec::new() };
        drop(state);
        members.iter().chain(&left).filter(|member| member.waiter != leader).for_each(|member| {
            self.listener.synced(member.waiter);
        });
        self.pass_on();
        is_kept.then_some(is_served)
    }

    /// Has one of those who wait lead next, unless somebody does already; a session that is gone does not come. The
    /// housekeeper calls it too, so that nobody waits for a leader whose session ended when it had been called.
    pub fn pass_on(&self) {
        loop {
            let mut state = self.state();
            if state.is_led {
                return;
            }
            let Some(next) = state.queue.pop() else { return };
            drop(state);
            if self.listener.syncs_next(next.waiter) {
                return;
            }
        }
    }

    /// Syncs all logs that the journal speaks of, and removes it. When that fails it stays, for whoever opens the store
    /// next.
    pub fn close(&self) {
        let files = self.state().files.take();
        if let Some(Err(error)) = files.map(Files::remove) {
            log::error!(error = error.to_string(); "cannot close the journal; it is looked at when the store is opened");
        }
    }

    /// What is left of it when its process dies.
    #[cfg(test)]
    pub fn die(&self) {
        drop(self.state().files.take());
    }

    #[cfg(test)]
    pub fn is_paused(&self) -> bool {
        self.state().paused_until.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a log may go to the journal: not where much of it is to be synced, nor where nothing has been written to the
/// segment, so that it is the one before that matters.
fn is_suited(sync: &GroupSync, end: &LogEnd) -> bool {
    let lack = if end.at == Log::start_of(end.at.segment) { None } else { sync.lack(end.at) };
    lack.is_some_and(|lack| lack.len() <= JOURNAL_MEMBER)
}

/// Copies what the members' logs lack into a batch; how many of them it has room for.
fn gather(members: &mut [Member], batch: &mut Batch) -> io::Result<usize> {
    // Of several who wait for one log, the one who waits for most comes first and speaks for the others.
    let order = |member: &Member| (Arc::as_ptr(&member.sync) as usize, std::cmp::Reverse(member.end.at));
    members.sort_unstable_by_key(order);
    let mut last = None;
    for (at, Member { sync, user, end, .. }) in members.iter().enumerate() {
        if last.replace(Arc::as_ptr(sync)) == Some(Arc::as_ptr(sync)) {
            continue;
        }
        if batch.len() > JOURNAL_BATCH {
            return Ok(at);
        }
        let lack = sync.lack(end.at).ok_or_else(|| io::Error::other("a log could not be synced"))?;
        let from = LogPos::new(end.at.segment, lack.start);
        let stamp = segment_header::stamp_of(&end.file)?;
        batch.add(user.as_str(), (from, stamp), lack.end - lack.start, |out| {
            end.file.read_exact_at(out, lack.start.into())
        })?;
    }
    Ok(members.len())
}

/// Where journals are.
pub(super) fn directory(root: &Path) -> PathBuf {
    root.join("journal")
}

/// The file whose lock those hold who make journals, or recover from them.
pub(super) fn lock_path(root: &Path) -> PathBuf {
    directory(root).join("lock")
}
