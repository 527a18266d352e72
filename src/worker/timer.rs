//! A slot's deadline, shared between the thread that runs the session and the one that holds the wheel.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use super::wheel::{Due, Tick};

const NEVER: Tick = Tick::MAX;

/// Two numbers: when the session must be looked at, and when its entry in the wheel comes up at the latest.
///
/// The runner stores the deadline, then reads the entry's time; the wheel clears the entry's time, then reads the
/// deadline. So one of them at least sees the other's, and no deadline goes without an entry.
pub struct Timer {
    deadline: AtomicU32,
    armed: AtomicU32,
}

impl Timer {
    pub fn new() -> Self {
        Timer { deadline: AtomicU32::new(NEVER), armed: AtomicU32::new(NEVER) }
    }

    /// Sets the deadline. `true`: the wheel has no entry that comes up in time; ask for one.
    pub fn set(&self, deadline: Tick) -> bool {
        self.deadline.store(deadline, SeqCst);
        deadline < self.armed.load(SeqCst)
    }

    /// The session is gone.
    pub fn clear(&self) {
        self.deadline.store(NEVER, SeqCst);
    }

    /// The tick at which the wheel's entry is to come up; `None` when there is no session.
    pub fn arm(&self) -> Option<Tick> {
        self.armed.store(NEVER, SeqCst);
        let deadline = self.deadline.load(SeqCst);
        if deadline == NEVER {
            return None;
        }
        self.armed.store(deadline, SeqCst);
        Some(deadline)
    }

    /// The entry has come up: fires when the deadline has passed, otherwise says when to ask again.
    pub fn come_up(&self, now: Tick, fire: impl FnOnce()) -> Due {
        self.armed.store(NEVER, SeqCst);
        match self.deadline.load(SeqCst) {
            NEVER => Due::Done,
            deadline if deadline <= now => {
                fire();
                Due::Done
            }
            deadline => {
                self.armed.store(deadline, SeqCst);
                Due::At(deadline)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_for_an_entry_only_when_none_comes_up_in_time() {
        let timer = Timer::new();
        assert!(timer.set(60), "no entry yet");
        assert_eq!(timer.arm(), Some(60));
        assert!(!timer.set(1800), "activity only moves the deadline");
        assert!(timer.set(5), "an earlier deadline needs a new entry");
        assert_eq!(timer.arm(), Some(5));
        assert_eq!(timer.come_up(5, || ()), Due::Done);
        assert!(timer.set(90), "fired: needs an entry again");
    }

    #[test]
    fn a_former_holders_entry_serves_the_next() {
        let timer = Timer::new();
        timer.set(60);
        timer.arm();
        timer.clear();
        assert!(!timer.set(100), "the old entry comes up before that");
        assert_eq!(timer.come_up(60, || panic!("too early")), Due::At(100));
        timer.clear();
        assert_eq!(timer.come_up(100, || panic!("gone")), Due::Done);
    }
}
