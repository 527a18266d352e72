//! The scoreboard of a server, read from outside.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use thiserror::Error;

use super::limits::MAX_WORKERS;
use super::scoreboard::{Counter, HEADER, Head, MAGIC, STRIDE, WORDS};

/// Name of the scoreboard's file in `data/proc`.
pub const SCOREBOARD: &str = "scoreboard";

/// What the counters said when they were read.
pub struct Snapshot {
    words: Vec<u64>,
}

/// Why there are no counters.
#[derive(Debug, Error)]
pub enum SnapshotError {
    #[error("cannot read {path}: {source}; start the server first")]
    Read { path: std::path::PathBuf, source: io::Error },
    #[error("{0} was written by another version; use the commands of the server that runs")]
    Layout(std::path::PathBuf),
}

impl Snapshot {
    /// Reads the counters of the server whose `data/proc` is given. They stay after its end.
    ///
    /// # Errors
    /// When there was no server yet, or one of another version.
    pub fn read(directory: &Path) -> Result<Self, SnapshotError> {
        let path = directory.join(SCOREBOARD);
        let mut bytes = Vec::with_capacity(WORDS * 8);
        let read = |file: File| file.take(WORDS as u64 * 8).read_to_end(&mut bytes);
        match File::open(&path).and_then(read) {
            Err(source) => Err(SnapshotError::Read { path, source }),
            Ok(_) => {
                let words: Vec<u64> =
                    bytes.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word)).collect();
                let is_known = words.len() == WORDS && words[0] == MAGIC;
                if is_known { Ok(Snapshot { words }) } else { Err(SnapshotError::Layout(path)) }
            }
        }
    }

    fn head(&self, word: Head) -> u64 {
        self.words[word as usize]
    }

    /// The master that the counters are of.
    pub fn master(&self) -> u64 {
        self.head(Head::Pid)
    }

    /// How many workers there should be.
    pub fn workers(&self) -> usize {
        self.head(Head::Workers) as usize
    }

    /// The numbers of the workers that live, also of those that only finish their sessions.
    pub fn living(&self) -> impl Iterator<Item = usize> {
        let rows = (self.head(Head::Rows) as usize).min(MAX_WORKERS);
        (0..rows).filter(|&worker| self.value(worker, Counter::Pid) != 0)
    }

    pub fn value(&self, worker: usize, counter: Counter) -> u64 {
        self.words.get(HEADER + worker * STRIDE + counter as usize).copied().unwrap_or_default()
    }

    /// The server's number: of all workers the first start and the latest connection, the sum of all others. A
    /// sum of maxima is at least the maximum of the sums.
    pub fn value_of_all(&self, counter: Counter) -> u64 {
        let values = (0..MAX_WORKERS).map(|worker| self.value(worker, counter));
        match counter {
            Counter::StartTime => self.head(Head::StartTime),
            Counter::LastConnection => values.max().unwrap_or_default(),
            _ => values.sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Scoreboard;

    #[test]
    fn another_process_reads_what_workers_count() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(SCOREBOARD);
        assert!(matches!(Snapshot::read(directory.path()), Err(SnapshotError::Read { .. })));
        std::fs::write(&path, vec![1; WORDS * 8]).unwrap();
        assert!(matches!(Snapshot::read(directory.path()), Err(SnapshotError::Layout(_))));

        let board = Scoreboard::create(&path, 2, 10).unwrap();
        board.start(1, 77);
        assert!(board.admit(0) && board.admit(1) && board.admit(1));
        let snapshot = Snapshot::read(directory.path()).unwrap();
        assert_eq!(snapshot.master(), u64::from(std::process::id()));
        assert_eq!(snapshot.living().collect::<Vec<_>>(), [1]);
        assert_eq!(snapshot.value_of_all(Counter::Accepted), 3);
        assert_eq!(snapshot.value(1, Counter::Sessions), 2);
        assert_eq!(snapshot.workers(), 2);
    }
}
