//! Percentiles of durations. All samples are kept: a run has at most some millions.

use std::time::Duration;

use crate::row::Row;

/// Samples of one kind.
#[derive(Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    pub fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    pub fn merge(&mut self, mut other: Samples) {
        self.0.append(&mut other.0);
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest sample that `share` of all samples do not exceed, in microseconds; 0 without samples.
    pub fn percentile(&mut self, share: f64) -> f64 {
        let count = self.0.len();
        if count == 0 {
            return 0.0;
        }
        let rank = (share * count as f64).ceil() as usize;
        let (_, found, _) = self.0.select_nth_unstable(rank.clamp(1, count) - 1);
        found.as_nanos() as f64 / 1e3
    }

    /// Adds the usual percentiles in microseconds to a result.
    pub fn write(&mut self, mut row: Row) -> Row {
        for (name, share) in [("p50_us", 0.5), ("p90_us", 0.9), ("p99_us", 0.99), ("max_us", 1.0)] {
            row = row.number(name, self.percentile(share));
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_sample_that_was_seen() {
        let mut samples = Samples::default();
        assert_eq!(samples.percentile(0.5), 0.0);
        (1..=200).rev().for_each(|n| samples.add(Duration::from_micros(n)));
        for (share, expected) in [(0.0, 1.0), (0.5, 100.0), (0.99, 198.0), (1.0, 200.0)] {
            assert_eq!(samples.percentile(share), expected, "{share}");
        }
    }
}
