//! One master per base: a locked file with its process number.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use thiserror::Error;

use crate::sys::{LockMode, OfdLock};

use super::limits::PREDECESSOR_TIME;

/// Why this process may not be the master.
#[derive(Debug, Error)]
pub enum PidFileError {
    #[error("another master (pid {pid}) is already running on {directory}; stop it first")]
    Taken { pid: i32, directory: PathBuf },
    #[error("cannot write {path}: {source}; is the base owned by the user who starts the server?")]
    Write { path: PathBuf, source: io::Error },
}

/// The lock; children inherit it, so that no new master starts while some of them still live.
pub struct PidFile {
    file: File,
}

impl PidFile {
    /// Takes the lock in `directory` (`data/proc`), of the base `base`.
    pub fn take(directory: &Path, base: &Path) -> Result<Self, PidFileError> {
        let path = directory.join("master.pid");
        let failed = |source| PidFileError::Write { path: path.clone(), source };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        let deadline = Instant::now() + PREDECESSOR_TIME;
        while !lock(&file).map_err(failed)? {
            let pid = read_pid(&mut file);
            if pid.is_some_and(is_alive) || Instant::now() >= deadline {
                return Err(PidFileError::Taken {
                    pid: pid.map_or(0, Pid::as_raw),
                    directory: base.to_owned(),
                });
            }
            // The master is gone, its children are about to follow it.
            std::thread::sleep(Duration::from_millis(50));
        }
        write_pid(&mut file).map_err(failed)?;
        Ok(PidFile { file })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // An empty file says that the server was stopped in order; the lock is what counts.
        let _ = self.file.set_len(0);
    }
}

fn lock(file: &File) -> io::Result<bool> {
    Ok(OfdLock::try_lock(file, LockMode::Exclusive)?.map(OfdLock::keep).is_some())
}

fn read_pid(file: &mut File) -> Option<Pid> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok().filter(|&pid| pid > 0).map(Pid::from_raw)
}

fn is_alive(pid: Pid) -> bool {
    kill(pid, None) != Err(Errno::ESRCH)
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", Pid::this())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_master_hears_who_is_first() {
        let directory = tempfile::tempdir().unwrap();
        let first = PidFile::take(directory.path(), Path::new("msg-svr-base")).unwrap();
        let Err(error) = PidFile::take(directory.path(), Path::new("msg-svr-base")) else {
            panic!("two masters")
        };
        let expected =
            format!("another master (pid {}) is already running on msg-svr-base; stop it first", Pid::this());
        assert_eq!(error.to_string(), expected);
        drop(first);
        assert!(PidFile::take(directory.path(), Path::new("msg-svr-base")).is_ok());
    }
}
