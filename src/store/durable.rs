//! When what was written counts: a user's log is brought to stable storage before anybody is told, in one sync for all
//! that wait for it.

use std::fs::File;
use std::sync::Arc;

use super::FlagSync;
use super::error::{Error, Result};
use super::group_sync::Waiter;
use super::log::Log;
use super::message::LogPos;
use super::notes::Notes;
use super::user::{User, Written};

/// How far a log reached at some moment.
#[derive(Clone, Debug)]
pub struct LogEnd {
    /// The file that the end is in.
    pub(super) file: Arc<File>,
    pub(super) at: LogPos,
}

impl<T> Written<T> {
    /// Where the log ended after it; `None` when nothing was written.
    pub fn ends_at(&self) -> Option<LogPos> {
        self.end.as_ref().map(|end| end.at)
    }
}

impl User {
    /// Waits until a transaction is on stable storage.
    pub(super) fn wait_durable<T>(&self, written: &Written<T>) -> Result<()> {
        let Some(LogEnd { file, at }) = &written.end else { return Ok(()) };
        self.wait(file, *at, None).map(drop)
    }

    /// How far this process knows the log.
    ///
    /// # Errors
    /// When the state is lost and cannot be read again.
    pub fn log_end(&self) -> Result<LogEnd> {
        Ok(self.known()?.end())
    }

    /// Waits until all that was written before `end` is on stable storage: before a client hears OK for it. One sync
    /// serves everything that waits for it, from whatever session. Where another thread is at it, a `waiter` is left
    /// behind instead: `false` then. The listener is told of it when that one is done, and `waiter` has to ask again.
    ///
    /// # Errors
    /// When the disk fails. What was written since the last success may be lost with the next loss of power.
    pub fn settle(self: &Arc<Self>, end: &LogEnd, waiter: Option<Waiter>) -> Result<bool> {
        let is_durable = match waiter.and_then(|waiter| self.share_sync(end, waiter)) {
            Some(is_durable) => is_durable,
            None => {
                let _alone = self.shared.journal.sync_alone();
                self.sync_to(end, waiter)?
            }
        };
        if is_durable {
            self.tell_durable();
        }
        Ok(is_durable)
    }

    /// As [`settle`](Self::settle), through the journal that the users of this process share; `None` when the log is to be
    /// synced by itself.
    fn share_sync(self: &Arc<Self>, end: &LogEnd, waiter: Waiter) -> Option<bool> {
        let journal = &self.shared.journal;
        let is_kept = if self.sync.reaches(end.at) {
            // It may have been called to lead those who wait, and has no need to any more: another one has to.
            journal.pass_on();
            true
        } else {
            journal.commit(&self.sync, self.name(), end, waiter)?
        };
        if is_kept && !self.sync.has_synced(end.at) {
            self.shared.defer_sync(self);
        }
        Some(is_kept)
    }

    /// As [`settle`](Self::settle), soon, with nobody waiting for it.
    pub fn settle_soon(self: &Arc<Self>) {
        self.shared.defer_sync(self);
    }

    /// Whether all before `end` is on stable storage.
    pub(super) fn is_durable(&self, end: LogPos) -> bool {
        self.sync.reaches(end)
    }

    /// What need not be done at once: makes everything durable, tells of it, and writes a snapshot when one is due.
    pub(super) fn do_chores(self: &Arc<Self>) -> Result<()> {
        self.sync_all()?;
        self.tell_durable();
        self.save_snapshot()
    }

    /// `false`: `waiter` will be told.
    fn wait(&self, file: &File, end: LogPos, waiter: Option<Waiter>) -> Result<bool> {
        let was_suspect = self.sync.suspect_from();
        let result = self.sync.wait(file, end, waiter);
        let suspect = self.sync.suspect_from();
        if was_suspect != suspect {
            self.leave(Notes { suspect, ..Notes::read(&self.lock) });
        }
        result.map_err(Error::io("cannot sync the log of", &*self.dir))
    }

    /// Sees to it that a change of flags gets durable as `store.flagsync` asks.
    pub(super) fn settle_flags<T>(self: &Arc<Self>, written: &Written<T>) -> Result<()> {
        match self.shared.tuning.load().flag_sync {
            FlagSync::Immediate => self.wait_durable(written),
            FlagSync::Deferred if written.end.is_some() => {
                self.shared.defer_sync(self);
                Ok(())
            }
            FlagSync::Deferred => Ok(()),
        }
    }

    /// Makes everything durable that this process knows of.
    pub(super) fn sync_all(&self) -> Result<()> {
        self.sync_to(&self.log_end()?, None).map(drop)
    }

    /// Makes all before `end` durable; `false`: `waiter` will be told.
    pub(super) fn sync_to(&self, end: &LogEnd, waiter: Option<Waiter>) -> Result<bool> {
        // Without the lock on the log: a sealed segment does not change any more.
        let before = sealed_before(&self.known()?.log, end.at)?;
        if let Some(before) = before {
            self.wait(&before.file, before.at, None)?;
        }
        self.wait(&end.file, end.at, waiter)
    }

    /// Syncs the segment before the active one while that is empty: nothing may be written to a segment before all that
    /// is in front of it is on stable storage, whoever wrote it.
    pub(super) fn sync_sealed(&self, log: &Log, end: LogPos) -> Result<()> {
        match sealed_before(log, end)? {
            Some(before) => self.wait(&before.file, before.at, None).map(drop),
            None => Ok(()),
        }
    }
}

/// The end of the segment before the one that `at` is in, while that is empty.
fn sealed_before(log: &Log, at: LogPos) -> Result<Option<LogEnd>> {
    if at.segment == 1 || at != Log::start_of(at.segment) {
        return Ok(None);
    }
    let segment = at.segment - 1;
    let sealed = log.sealed_file(segment)?;
    Ok(sealed
        .map(|(file, len)| LogEnd { file, at: LogPos::new(segment, u32::try_from(len).unwrap_or(u32::MAX)) }))
}
