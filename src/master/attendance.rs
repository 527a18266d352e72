//! `local.enablelastaccess`: a worker notes when each user logs in and leaves.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use crate::store::{self, UserName};

/// Who comes and goes.
pub(super) struct Attendance {
    partition: PathBuf,
    is_on: AtomicBool,
}

impl Attendance {
    pub fn new(partition: PathBuf, is_on: bool) -> Arc<Self> {
        Arc::new(Attendance { partition, is_on: AtomicBool::new(is_on) })
    }

    pub fn switch(&self, is_on: bool) {
        self.is_on.store(is_on, Relaxed);
    }

    /// A user has come, and leaves when this is dropped.
    pub fn arrive(self: &Arc<Self>, user: &UserName) -> Option<Visit> {
        if !self.is_on.load(Relaxed) {
            return None;
        }
        let visit = Visit { attendance: self.clone(), user: user.clone() };
        visit.note();
        Some(visit)
    }
}

pub(super) struct Visit {
    attendance: Arc<Attendance>,
    user: UserName,
}

impl Visit {
    fn note(&self) {
        if let Err(error) = store::note_access(&self.attendance.partition, &self.user) {
            log::warn!(error:% = error; "cannot note when a user was connected; see local.enablelastaccess");
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.note();
    }
}
