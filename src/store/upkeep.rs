//! Work on a user's log as a whole: making room, and bringing back what is gone. One at a time, in whatever process.
//!
//! Sessions are not concerned: they read and write meanwhile.

use std::fs::File;
use std::path::Path;

use super::archive::Archive;
use super::checkpoint;
use super::disk::{Disk, Open};
use super::error::{Error, Result};
use super::log::Log;
use super::replay::{catch_up, catch_up_to};
use super::state::State;
use super::user::User;
use crate::sys::{LockMode, OfdLock, about_to_block};

const LOCK_FILE: &str = "upkeep";

/// The right to work on a user's log, as long as it lives.
pub(super) struct Upkeep {
    /// Its lock is the right.
    _lock: File,
}

impl Upkeep {
    /// `None` while somebody else works on it.
    pub fn try_begin(user: &User) -> Result<Option<Upkeep>> {
        let file = open_lock(user)?;
        let held = OfdLock::try_lock(&file, LockMode::Exclusive);
        let held = held.map_err(Error::io("cannot lock", user.dir.join(LOCK_FILE)))?.map(OfdLock::keep);
        Ok(held.map(|()| Upkeep { _lock: file }))
    }

    /// Waits for whoever works on it.
    pub fn begin(user: &User) -> Result<Upkeep> {
        Self::begin_in(&*user.shared.options.disk, &user.dir)
    }

    /// As [`begin`](Self::begin), for a user who may not be open.
    pub fn begin_in(disk: &dyn Disk, dir: &Path) -> Result<Upkeep> {
        let path = dir.join(LOCK_FILE);
        let file = disk.open(&path, Open::Shared).map_err(Error::io("cannot open", &path))?;
        about_to_block();
        OfdLock::lock(&file, LockMode::Exclusive).map_err(Error::io("cannot lock", path))?.keep();
        Ok(Upkeep { _lock: file })
    }
}

fn open_lock(user: &User) -> Result<File> {
    let path = user.dir.join(LOCK_FILE);
    user.shared.options.disk.open(&path, Open::Shared).map_err(Error::io("cannot open", path))
}

/// A user's log as it is read for upkeep: with all that can still be brought back.
pub(super) struct Reading {
    pub log: Log,
    pub state: State,
}

impl Reading {
    /// Reads to the end of the log. What went before `horizon`, in seconds since 1970, is left out.
    pub fn begin(user: &User, horizon: i64, _: &Upkeep) -> Result<Reading> {
        let (dir, mark) = (&*user.dir, user.mark());
        let missing = || Error::io("cannot open the log in", dir)(std::io::ErrorKind::NotFound.into());
        let mut log = Log::open(&user.shared.options.disk, dir, mark)?.ok_or_else(missing)?;
        let state = checkpoint::newest(dir, mark, Some(horizon))?.unwrap_or_else(|| {
            let mut state = State::new(Log::start_of(1));
            state.archive = Some(Box::new(Archive::new(horizon)));
            state
        });
        log.advance(state.position.segment)?;
        let mut reading = Reading { log, state };
        catch_up(&mut reading.log, &mut reading.state, false)?;
        Ok(reading)
    }

    /// Reads on, up to the start of `segment`.
    pub fn read_to(&mut self, segment: u32) -> Result<()> {
        catch_up_to(&mut self.log, &mut self.state, segment, false)?;
        if self.state.position == Log::start_of(segment) {
            Ok(())
        } else {
            Err(self.log.damaged(self.state.position, "the log does not come to its last segment"))
        }
    }

    /// What can still be brought back.
    pub fn archive(&self) -> Option<&Archive> {
        self.state.archive.as_deref()
    }
}
