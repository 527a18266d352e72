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

/// The master of the base with this `data/proc`, while it runs. The number alone would not do: after a crash it may
/// belong to any process, so that the lock decides.
///
/// # Errors
/// When the pid file can be neither read nor locked.
pub fn running(directory: &Path) -> io::Result<Option<Pid>> {
    // Locked without a living master: its children are about to end.
    Ok(locked_file(directory)?.and_then(|mut file| read_pid(&mut file)).filter(|&pid| is_alive(pid)))
}

/// Whether a master, or a child that it has left behind, still lives.
///
/// # Errors
/// As for [`running`].
pub fn is_served(directory: &Path) -> io::Result<bool> {
    Ok(locked_file(directory)?.is_some())
}

/// The pid file, if somebody holds its lock.
fn locked_file(directory: &Path) -> io::Result<Option<File>> {
    match File::options().read(true).write(true).open(directory.join(PID_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(file) => {
            let is_free = OfdLock::try_lock(&file, LockMode::Exclusive)?.is_some();
            Ok((!is_free).then_some(file))
        }
    }
}

/// Name of the file in `data/proc`.
const PID_FILE: &str = "master.pid";

/// The lock; children inherit it, so that no new master starts while some of them still live.
pub struct PidFile {
    file: File,
}

impl PidFile {
    /// Takes the lock in `directory` (`data/proc`), of the base `base`.
    pub fn take(directory: &Path, base: &Path) -> Result<Self, PidFileError> {
        let path = directory.join(PID_FILE);
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
        assert_eq!(running(directory.path()).unwrap(), Some(Pid::this()));
        drop(first);
        assert_eq!(running(directory.path()).unwrap(), None);
        assert!(PidFile::take(directory.path(), Path::new("msg-svr-base")).is_ok());
    }
}
