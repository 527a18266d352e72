//! The two files of a journal. One is written to while the logs that the other one speaks of are synced; then it is begun
//! anew, with the next generation.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::disk::{Disk, Open};
use super::super::durable::LogEnd;
use super::super::group_sync::GroupSync;
use super::super::limits::MAX_RESERVE;
use super::super::upload::random;
use super::batch::Batch;
use super::{Member, directory, lock_path};
use crate::sys::{LockMode, OfdLock};

/// After so many members it is seen whether the journal saves syncs.
const PROBE: usize = 1024;

/// Zero bytes behind the batches, for those to come: see `docs/store-format.md`, "Why a reserve".
static ZEROS: [u8; MAX_RESERVE] = [0; MAX_RESERVE];

pub(super) struct Files {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    size: u64,
    halves: [Half; 2],
    current: usize,
    generation: u64,
    /// Members written since the last look, and how many of their logs have to be synced for them later.
    members: usize,
    syncs: usize,
}

struct Half {
    path: PathBuf,
    /// Locked for as long as the process lives: nobody else takes it for one that was left behind.
    file: File,
    /// Where the next batch goes, and the length of the file.
    end: u64,
    len: u64,
    /// The logs that it speaks of, and up to where.
    logs: HashMap<usize, (Arc<GroupSync>, LogEnd)>,
}

impl Files {
    /// Makes two files that nobody has, with names that are on stable storage.
    pub fn make(disk: &Arc<dyn Disk>, root: &Path, size: u64) -> io::Result<Files> {
        let dir = directory(root);
        disk.make_dirs(&dir)?;
        let lock = disk.open(&lock_path(root), Open::Shared)?;
        // Whoever recovers holds it too: a file that has no lock yet would pass for one that was left behind.
        let _held = OfdLock::lock(&lock, LockMode::Exclusive)?;
        let halves = [Half::make(&**disk, &dir)?, Half::make(&**disk, &dir)?];
        disk.sync_dir(&dir)?;
        disk.sync_dir(root)?;
        let (disk, members, syncs) = (disk.clone(), 0, 0);
        Ok(Files { disk, dir, size, halves, current: 0, generation: 1, members, syncs })
    }

    /// Writes a batch that speaks of these logs, and syncs it.
    pub fn write(&mut self, batch: &mut Batch, members: &[Member]) -> io::Result<()> {
        if self.halves[self.current].end + batch.len() as u64 > self.size {
            self.turn()?;
        }
        let half = &mut self.halves[self.current];
        half.write(&*self.disk, batch, (self.generation, self.size))?;
        for member in members {
            self.syncs += usize::from(half.note(member));
        }
        self.members += members.len();
        Ok(())
    }

    /// Goes on in the other file, once nothing that it speaks of is needed any more.
    fn turn(&mut self) -> io::Result<()> {
        let other = 1 - self.current;
        self.halves[other].settle()?;
        self.halves[other].end = 0;
        self.current = other;
        self.generation += 1;
        Ok(())
    }

    /// Whether it saves syncs: a log that is written to only now and then has to be synced as often as without it.
    pub fn pays(&mut self) -> bool {
        if self.members < PROBE {
            return true;
        }
        let (members, syncs) = (std::mem::take(&mut self.members), std::mem::take(&mut self.syncs));
        members >= 2 * syncs
    }

    /// Syncs all logs that the journal speaks of, and removes it.
    pub fn remove(mut self) -> io::Result<()> {
        self.halves.iter_mut().try_for_each(Half::settle)?;
        self.halves.iter().try_for_each(|half| self.disk.remove(&half.path))?;
        self.disk.sync_dir(&self.dir)
    }
}

impl Half {
    fn make(disk: &dyn Disk, dir: &Path) -> io::Result<Half> {
        let path = dir.join(format!("{:016x}", random()));
        let file = disk.open(&path, Open::New)?;
        OfdLock::lock(&file, LockMode::Exclusive)?.keep();
        Ok(Half { path, file, end: 0, len: 0, logs: HashMap::new() })
    }

    fn write(
        &mut self,
        disk: &dyn Disk,
        batch: &mut Batch,
        (generation, size): (u64, u64),
    ) -> io::Result<()> {
        let bytes = batch.seal(generation, self.end as u32);
        disk.write_at(&self.file, bytes, self.end)?;
        let end = self.end + bytes.len() as u64;
        if end > self.len {
            // As much again as there is, so that a small journal stays small, and not more than it may need.
            let most = size.saturating_sub(end).min(16 * MAX_RESERVE as u64);
            let goal = end + end.max(MAX_RESERVE as u64).min(most);
            self.len = end;
            while let Some(zeros) = ZEROS.get(..(goal - self.len).min(MAX_RESERVE as u64) as usize)
                && !zeros.is_empty()
                && disk.write_at(&self.file, zeros, self.len).is_ok()
            {
                self.len += zeros.len() as u64;
            }
        }
        disk.sync_data(&self.file)?;
        self.end = end;
        Ok(())
    }

    /// Notes that the journal speaks of a log; whether that has to be synced once more for it.
    fn note(&mut self, member: &Member) -> bool {
        let (sync, end) = (&member.sync, &member.end);
        let before = self.logs.get(&(Arc::as_ptr(sync) as usize)).map(|(_, end)| end.at);
        if before.is_none_or(|before| before < end.at) {
            self.logs.insert(Arc::as_ptr(sync) as usize, (sync.clone(), end.clone()));
        }
        before.is_none_or(|before| sync.has_synced(before))
    }

    /// Syncs the logs that it speaks of, those that nobody has synced meanwhile.
    fn settle(&mut self) -> io::Result<()> {
        for (sync, end) in self.logs.values() {
            sync.wait(&end.file, end.at, None)?;
        }
        self.logs.clear();
        Ok(())
    }
}
