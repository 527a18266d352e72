//! `fork`, for a process that has one thread.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid};
use thiserror::Error;

/// Which side of a fork the caller is on.
pub enum Fork {
    Child,
    Parent(Pid),
}

/// Why there is no child.
#[derive(Debug, Error)]
pub enum ForkError {
    #[error("cannot fork: the process has {0} threads, and only one is safe")]
    Threads(usize),
    #[error("cannot count the threads of this process in /proc/self/task: {0}")]
    Count(#[source] io::Error),
    #[error("cannot fork: {0}; check the limits on processes and memory")]
    Fork(#[source] Errno),
}

/// Forks a process that has one thread; refuses otherwise, because the child would inherit locks (the
/// allocator's, the log's) that other threads hold and nobody releases.
pub fn fork() -> Result<Fork, ForkError> {
    match thread_count().map_err(ForkError::Count)? {
        1 => {}
        threads => return Err(ForkError::Threads(threads)),
    }
    // SAFETY: with a single thread, no lock is held by another one, so the child may run any code, not only
    // what is async-signal-safe (fork(2), signal-safety(7)).
    match unsafe { nix::unistd::fork() }.map_err(ForkError::Fork)? {
        ForkResult::Child => Ok(Fork::Child),
        ForkResult::Parent { child } => Ok(Fork::Parent(child)),
    }
}

/// How many threads this process has now.
pub fn thread_count() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_with_a_second_thread() {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || held.recv());
        assert!(matches!(fork(), Err(ForkError::Threads(n)) if n > 1));
        drop(release);
        assert!(other.join().unwrap().is_err());
    }
}
