//! When a child that died is started again. Time is passed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::limits::{FIRST_PAUSE, GIVE_UP_AFTER, LONGEST_PAUSE, WELL_AFTER};

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By its own fault: a crash, or an exit that nobody asked for.
    Failed,
    /// By somebody's hand: SIGKILL or SIGTERM from outside. Does not count against it.
    Killed,
}

/// The history of one child.
pub struct Restarts {
    window: Duration,
    failures: VecDeque<Instant>,
    in_a_row: u32,
}

impl Restarts {
    /// Gives up after [`GIVE_UP_AFTER`] failures within `window`.
    pub fn new(window: Duration) -> Self {
        Restarts { window, failures: VecDeque::new(), in_a_row: 0 }
    }

    /// Failures count within this time from now on.
    pub fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    /// How long to wait before the next start; `None`: give up.
    pub fn pause(&mut self, end: End, started: Instant, now: Instant) -> Option<Duration> {
        if end == End::Killed {
            return Some(FIRST_PAUSE);
        }
        if now.duration_since(started) >= WELL_AFTER {
            self.in_a_row = 0;
        }
        self.failures.push_back(now);
        while self.failures.front().is_some_and(|&at| now.duration_since(at) > self.window) {
            self.failures.pop_front();
        }
        if self.failures.len() >= GIVE_UP_AFTER {
            return None;
        }
        let pause = FIRST_PAUSE * (1 << self.in_a_row.min(10));
        self.in_a_row += 1;
        Some(pause.min(LONGEST_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(600);

    #[test]
    fn pauses_grow_and_end() {
        let (mut restarts, mut now) = (Restarts::new(WINDOW), Instant::now());
        let mut pauses = Vec::new();
        while let Some(pause) = restarts.pause(End::Failed, now, now) {
            pauses.push(pause.as_millis());
            now += pause;
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000]);
    }

    #[test]
    fn a_child_that_was_well_starts_afresh() {
        let (mut restarts, mut now) = (Restarts::new(WINDOW), Instant::now());
        for _ in 0..100 {
            let started = now;
            now += Duration::from_secs(120);
            assert_eq!(restarts.pause(End::Failed, started, now), Some(FIRST_PAUSE));
        }
    }

    #[test]
    fn kills_from_outside_are_not_its_fault() {
        let (mut restarts, now) = (Restarts::new(WINDOW), Instant::now());
        for _ in 0..1000 {
            assert_eq!(restarts.pause(End::Killed, now, now), Some(FIRST_PAUSE));
        }
    }
}
