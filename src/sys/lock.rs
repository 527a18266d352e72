//! Open-file-description locks: held by the open file, not by the process, and so safe between threads too.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Shared locks exclude exclusive ones only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    Shared,
    Exclusive,
}

/// A lock on a whole file, released when dropped (or when the process dies).
///
/// Two handles of the same open file (`try_clone`, `fork`) share one lock; open the file again for another.
#[derive(Debug)]
pub struct OfdLock<'a> {
    file: &'a File,
}

impl<'a> OfdLock<'a> {
    /// Waits for the lock. The file must be open for writing (exclusive) or reading (shared).
    pub fn lock(file: &'a File, mode: LockMode) -> io::Result<Self> {
        let request = whole_file(kind(mode));
        loop {
            match fcntl(file.as_fd(), FcntlArg::F_OFD_SETLKW(&request)) {
                Ok(_) => return Ok(OfdLock { file }),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes the lock unless another open file holds it: then `None`.
    pub fn try_lock(file: &'a File, mode: LockMode) -> io::Result<Option<Self>> {
        match fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&whole_file(kind(mode)))) {
            Ok(_) => Ok(Some(OfdLock { file })),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps the lock until the file itself is closed.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for OfdLock<'_> {
    fn drop(&mut self) {
        // Unlocking a descriptor that is open cannot fail; if it did, closing the file would unlock it.
        let _ = fcntl(self.file.as_fd(), FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK)));
    }
}

fn kind(mode: LockMode) -> libc::c_int {
    match mode {
        LockMode::Shared => libc::F_RDLCK,
        LockMode::Exclusive => libc::F_WRLCK,
    }
}

/// Start 0 and length 0 mean the whole file, however it grows; `l_pid` must be 0 (fcntl(2)).
fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LockMode::{Exclusive, Shared};

    #[test]
    fn table_of_conflicts() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().read(true).write(true).open(path.path()).unwrap();
        let (one, two) = (open(), open());
        for (first, second, granted) in [
            (Exclusive, Exclusive, false),
            (Exclusive, Shared, false),
            (Shared, Exclusive, false),
            (Shared, Shared, true),
        ] {
            let held = OfdLock::lock(&one, first).unwrap();
            let other = OfdLock::try_lock(&two, second).unwrap();
            assert_eq!(other.is_some(), granted, "{second:?} while {first:?} is held");
            drop((held, other));
            assert!(OfdLock::try_lock(&two, Exclusive).unwrap().is_some(), "free after {first:?}");
        }
    }

    #[test]
    fn kept_until_the_file_closes() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().read(true).write(true).open(path.path()).unwrap();
        let (one, two) = (open(), open());
        OfdLock::lock(&one, Exclusive).unwrap().keep();
        assert!(OfdLock::try_lock(&two, Exclusive).unwrap().is_none());
        drop(one);
        assert!(OfdLock::try_lock(&two, Exclusive).unwrap().is_some());
    }
}
