//! What the processes know of each other: counters in memory that the master shares with its children.
//!
//! A server keeps them in a file of `data/proc`, so that commands can read them ([`Snapshot`](super::Snapshot)):
//!
//! ```text
//! words 0..16    MAGIC, master's pid, its start, workers wanted, rows ever used, sessions per worker
//! words 16..     a row of 16 words per worker, MAX_WORKERS of them: see Counter
//! ```

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;

use super::limits::{LEAD, MAX_WORKERS};

use crate::sys::SharedWords;

/// A number that a worker keeps; the names in brackets are those of the original's `imapstat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// The process, 0 when the worker is down.
    Pid,
    /// Sessions now [numCurrentConnections].
    Sessions,
    /// The most sessions at one time [maxConnections].
    MaxSessions,
    /// Connections accepted, ever [numConnections].
    Accepted,
    /// Connections turned away because every worker was full [numFailedConnections].
    Refused,
    /// When the process started, seconds since 1970 [currentStartTime].
    StartTime,
    /// When the last connection came, seconds since 1970 [lastConnectionTime].
    LastConnection,
    /// [numGoodLogins].
    GoodLogins,
    /// [numFailedLogins].
    FailedLogins,
    /// Sessions that ended in a panic.
    Panics,
    /// 1 when the worker is not started any more.
    GivenUp,
}

/// Words per worker: two cache lines, so that workers do not disturb each other.
pub(super) const STRIDE: usize = 16;

/// Words before the first row.
pub(super) const HEADER: usize = 16;

/// Words of a board.
pub(super) const WORDS: usize = HEADER + MAX_WORKERS * STRIDE;

/// The first word; its last digit is the version of the layout.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"HELIOSB1");

/// The words of the header.
#[derive(Clone, Copy)]
pub(super) enum Head {
    Magic,
    /// The master.
    Pid,
    /// When the master started, seconds since 1970.
    StartTime,
    /// `service.imap.numprocesses`.
    Workers,
    /// Rows that were ever used: workers above the wanted number may still finish their sessions.
    Rows,
    /// `service.imap.maxsessions`.
    SessionsPerWorker,
}

/// One row of counters per worker.
pub struct Scoreboard {
    words: SharedWords,
}

impl Scoreboard {
    /// A board for workers `0..workers`, each with room for `sessions_per_worker` sessions, without a file.
    pub fn new(workers: usize, sessions_per_worker: usize) -> Result<Self, Errno> {
        Ok(Scoreboard::on(SharedWords::new(WORDS)?, workers, sessions_per_worker))
    }

    /// A board in a new file, which replaces an old one.
    pub fn create(path: &Path, workers: usize, sessions_per_worker: usize) -> io::Result<Self> {
        Ok(Scoreboard::on(SharedWords::create(path, WORDS)?, workers, sessions_per_worker))
    }

    fn on(words: SharedWords, workers: usize, sessions_per_worker: usize) -> Self {
        let board = Scoreboard { words };
        board.head(Head::Pid).store(u64::from(std::process::id()), SeqCst);
        board.head(Head::StartTime).store(unix_seconds(), SeqCst);
        board.resize(workers, sessions_per_worker);
        board.head(Head::Magic).store(MAGIC, SeqCst);
        board
    }

    /// From now on there is room in `workers` workers, for so many sessions each. Workers that are not wanted any
    /// more keep their rows, and what they have counts.
    pub fn resize(&self, workers: usize, sessions_per_worker: usize) {
        let workers = workers.min(MAX_WORKERS) as u64;
        self.head(Head::Rows).fetch_max(workers, SeqCst);
        self.head(Head::Workers).store(workers, SeqCst);
        self.head(Head::SessionsPerWorker).store(sessions_per_worker as u64, SeqCst);
    }

    fn head(&self, word: Head) -> &AtomicU64 {
        &self.words[word as usize]
    }

    fn rows(&self) -> usize {
        self.head(Head::Rows).load(SeqCst) as usize
    }

    fn word(&self, worker: usize, counter: Counter) -> &AtomicU64 {
        &self.words[HEADER + worker * STRIDE + counter as usize]
    }

    pub fn value(&self, worker: usize, counter: Counter) -> u64 {
        self.word(worker, counter).load(SeqCst)
    }

    /// The sum over all workers.
    pub fn total(&self, counter: Counter) -> u64 {
        (0..self.rows()).map(|worker| self.value(worker, counter)).sum()
    }

    pub fn increment(&self, worker: usize, counter: Counter) {
        self.word(worker, counter).fetch_add(1, SeqCst);
    }

    /// A worker is up, with no session.
    pub fn start(&self, worker: usize, pid: u32) {
        self.word(worker, Counter::Sessions).store(0, SeqCst);
        self.word(worker, Counter::GivenUp).store(0, SeqCst);
        self.word(worker, Counter::StartTime).store(unix_seconds(), SeqCst);
        self.word(worker, Counter::Pid).store(u64::from(pid), SeqCst);
    }

    /// A worker has died, and its sessions with it.
    pub fn clear(&self, worker: usize) {
        self.word(worker, Counter::Pid).store(0, SeqCst);
        self.word(worker, Counter::Sessions).store(0, SeqCst);
    }

    /// A worker has died too often and stays down.
    pub fn give_up(&self, worker: usize) {
        self.word(worker, Counter::GivenUp).store(1, SeqCst);
    }

    /// Counts a connection in, unless all workers together are full.
    ///
    /// The limit holds for the sum: a worker goes over its own share by one, per listener, when another's
    /// session ended while its acceptor was waiting at the shared socket already.
    pub fn admit(&self, worker: usize) -> bool {
        let sessions = self.word(worker, Counter::Sessions).fetch_add(1, SeqCst) + 1;
        if self.total(Counter::Sessions) > self.capacity() {
            self.word(worker, Counter::Sessions).fetch_sub(1, SeqCst);
            self.increment(worker, Counter::Refused);
            return false;
        }
        self.word(worker, Counter::MaxSessions).fetch_max(sessions, SeqCst);
        self.increment(worker, Counter::Accepted);
        self.word(worker, Counter::LastConnection).store(unix_seconds(), SeqCst);
        true
    }

    /// Counts a session out.
    pub fn leave(&self, worker: usize) {
        self.word(worker, Counter::Sessions).fetch_sub(1, SeqCst);
    }

    /// Whether this worker should leave new connections to the others: it is full, and not all others are.
    pub fn should_wait(&self, worker: usize) -> bool {
        self.value(worker, Counter::Sessions) >= self.head(Head::SessionsPerWorker).load(SeqCst)
            && self.total(Counter::Sessions) < self.capacity()
    }

    /// Whether this worker should let others go first: one that is up has [`LEAD`] sessions less.
    ///
    /// The kernel's turns alone do not even that out: a worker that came late, in the place of one that died, would
    /// stay behind for as long as sessions live, and where processors are short the turns go to those that have one.
    pub fn is_ahead(&self, worker: usize) -> bool {
        let sessions = self.value(worker, Counter::Sessions);
        let is_behind = |other| {
            self.value(other, Counter::Sessions) + LEAD <= sessions && self.value(other, Counter::Pid) != 0
        };
        sessions >= LEAD && (0..self.head(Head::Workers).load(SeqCst) as usize).any(is_behind)
    }

    /// Room for sessions in all workers that are wanted, also in those that are about to start: their clients wait
    /// in the socket's backlog for a moment, which is better than to be turned away.
    fn capacity(&self) -> u64 {
        let workers = self.head(Head::Workers).load(SeqCst);
        let given_up: u64 = (0..workers as usize).map(|worker| self.value(worker, Counter::GivenUp)).sum();
        workers.saturating_sub(given_up) * self.head(Head::SessionsPerWorker).load(SeqCst)
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_only_when_all_are_full() {
        let board = Scoreboard::new(2, 2).unwrap();
        board.start(0, 100);
        board.start(1, 101);
        assert!(board.admit(0) && board.admit(0));
        assert!(board.should_wait(0), "the other one has room");
        assert!(board.admit(1) && board.admit(1));
        assert!(!board.should_wait(0) && !board.should_wait(1), "somebody must refuse");
        assert!(!board.admit(0) && !board.admit(1));
        board.leave(1);
        assert!(board.admit(0), "the sum counts");
        assert!(!board.admit(1));
        assert_eq!(board.total(Counter::Refused), 3);
        assert_eq!(board.total(Counter::Accepted), 5);
        assert_eq!(board.value(0, Counter::MaxSessions), 3);
    }

    #[test]
    fn who_is_ahead_of_a_worker_that_is_up_lets_it_go_first() {
        let board = Scoreboard::new(3, 1000).unwrap();
        (0..2).for_each(|worker| board.start(worker, 100 + worker as u32));
        assert!((1..LEAD).all(|_| board.admit(0)));
        assert!(!board.is_ahead(0), "a few more are no lead");
        assert!(board.admit(0));
        assert!(board.is_ahead(0) && !board.is_ahead(1));
        assert!(board.admit(1));
        assert!(!board.is_ahead(0), "the third one is not up: nobody waits for it");
        board.start(2, 102);
        assert!(board.is_ahead(0) && !board.is_ahead(1) && !board.is_ahead(2));
        board.resize(2, 1000);
        assert!(!board.is_ahead(0), "the third one is not wanted any more");
    }

    #[test]
    fn the_room_of_a_dead_worker_counts_until_it_is_given_up() {
        let board = Scoreboard::new(2, 1).unwrap();
        board.start(0, 100);
        board.start(1, 101);
        assert!(board.admit(0) && board.admit(1));
        board.clear(1);
        assert!(board.should_wait(0), "it will be back");
        board.start(1, 102);
        assert!(board.admit(1) && !board.admit(1));
        board.clear(1);
        board.give_up(1);
        assert!(!board.should_wait(0) && !board.admit(0), "what stays down serves nobody");
    }

    #[test]
    fn fewer_workers_mean_less_room() {
        let board = Scoreboard::new(2, 1).unwrap();
        assert!(board.admit(0) && board.admit(1));
        board.resize(1, 1);
        board.leave(0);
        assert!(!board.admit(0), "the other one's session still counts");
        board.resize(2, 2);
        assert!(board.admit(0) && board.admit(1) && board.admit(1) && !board.admit(1));
    }
}
