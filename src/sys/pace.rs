//! How often the log says the same.

use std::time::{Duration, Instant};

/// Pause between two lines about the same trouble.
const PAUSE: Duration = Duration::from_secs(10);

/// When something was last said; a flood of clients must not become a flood of lines.
#[derive(Debug, Default)]
pub struct Pace(Option<Instant>);

impl Pace {
    /// Whether it may be said now; then it counts as said.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.0.is_none_or(|at| now.saturating_duration_since(at) >= PAUSE);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_not_said_twice_within_the_pause() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let half = PAUSE / 2;
        let said: Vec<bool> = (0..5).map(|times| pace.is_due(start + half * times)).collect();
        assert_eq!(said, [true, false, true, false, true]);
    }
}
