//! A log file that is opened anew when an administrator has moved it away.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::unistd::{Uid, geteuid};

/// How often logs were asked to be reopened.
static REOPENINGS: AtomicUsize = AtomicUsize::new(0);

/// Has every [`LogFile`] of this process opened anew before its next line. May be called in a signal handler.
pub fn reopen_logs() {
    REOPENINGS.fetch_add(1, Ordering::Relaxed);
}

/// A file that lines are appended to, each with one system call, so that processes can share it.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    opened_at: usize,
    opened_by: Uid,
}

impl LogFile {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// When it can be neither opened nor created.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let opened_at = REOPENINGS.load(Ordering::Relaxed);
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&path)?;
        Ok(LogFile { path, file, opened_at, opened_by: geteuid() })
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // When the file cannot be opened now, lines go to the old one, and the next one tries again. So it is while
        // the process is raised: the new file would be root's.
        if self.opened_at != REOPENINGS.load(Ordering::Relaxed)
            && self.opened_by == geteuid()
            && let Ok(reopened) = LogFile::open(self.path.clone())
        {
            *self = reopened;
        }
        self.file.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_log_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("imap"), dir.path().join("imap.1"));
        let mut log = LogFile::open(path.clone()).unwrap();
        log.write_all(b"one\n").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        log.write_all(b"two\n").unwrap();
        reopen_logs();
        log.write_all(b"three\n").unwrap();
        assert_eq!(std::fs::read(&moved).unwrap(), b"one\ntwo\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"three\n");
    }
}
