//! `local.enablelastaccess`: a worker notes when each user logs in and leaves.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use crate::store::{self, UserName};

/// What was noted within this time is not noted again: a client that connects for every command costs little.
const PRECISION: Duration = Duration::from_secs(1);

/// Who comes and goes.
pub(super) struct Attendance {
    partition: PathBuf,
    is_on: AtomicBool,
    noted: Noted,
}

/// Who was noted lately, as far as nobody took the place since.
struct Noted {
    start: Instant,
    keys: RandomState,
    places: [AtomicU64; 256],
}

impl Noted {
    fn new() -> Self {
        Noted {
            start: Instant::now(),
            keys: RandomState::new(),
            places: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Whether the user was not noted in the present piece of time; from now on they are.
    fn is_new(&self, user: &UserName, now: Instant) -> bool {
        let hash = self.keys.hash_one(user);
        let piece = now.duration_since(self.start).as_secs() / PRECISION.as_secs() + 1;
        let entry = hash << 24 | piece & 0xff_ffff;
        let place = &self.places[(hash >> 56) as usize];
        place.swap(entry, Relaxed) != entry
    }
}

impl Attendance {
    pub fn new(partition: PathBuf, is_on: bool) -> Arc<Self> {
        Arc::new(Attendance { partition, is_on: AtomicBool::new(is_on), noted: Noted::new() })
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
        if !self.attendance.noted.is_new(&self.user, Instant::now()) {
            return;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_again_within_seconds_is_noted_once() {
        let noted = Noted::new();
        let [ada, eve] = ["ada", "eve"].map(|name| UserName::new(name).unwrap());
        let now = noted.start;
        assert!(noted.is_new(&ada, now));
        assert!(noted.is_new(&eve, now));
        let (soon, later) = (now + PRECISION / 2, now + PRECISION);
        assert!(!noted.is_new(&eve, soon));
        assert!(noted.is_new(&ada, later));
    }
}
