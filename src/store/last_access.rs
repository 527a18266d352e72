//! When a user was last connected: the modification time of an empty file in the user's directory.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use super::disk::{Disk, Local, Open};
use super::error::{Error, Result};
use super::names::UserName;
use super::path::user_dir;

/// Name of the file.
const ACCESS: &str = "access";

/// Notes that a user is connected now; one system call, but for the first time. Nothing is made durable for this.
///
/// # Errors
/// When the user has no directory yet, or it cannot be written.
pub fn note_access(partition: &Path, user: &UserName) -> Result<()> {
    let path = user_dir(partition, user).join(ACCESS);
    let (now, flags) = (TimeSpec::UTIME_NOW, UtimensatFlags::NoFollowSymlink);
    match utimensat(AT_FDCWD, &path, &now, &now, flags) {
        Ok(()) => Ok(()),
        Err(Errno::ENOENT) => {
            Local.open(&path, Open::Shared).map(drop).map_err(Error::io("cannot make", path))
        }
        Err(error) => Err(Error::io("cannot write", path)(error.into())),
    }
}

/// When a user was last connected, by the user's directory; `None`: never.
pub fn last_access(dir: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(dir.join(ACCESS)).ok()?.modified().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_noted_again_and_again() {
        let partition = tempfile::tempdir().unwrap();
        let ada = UserName::new("ada").unwrap();
        let dir = user_dir(partition.path(), &ada);
        assert!(note_access(partition.path(), &ada).is_err(), "no directory is made for this");
        fs::create_dir_all(&dir).unwrap();
        assert_eq!(last_access(&dir), None);
        note_access(partition.path(), &ada).unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        fs::File::open(dir.join(ACCESS)).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(last_access(&dir), Some(long_ago));
        note_access(partition.path(), &ada).unwrap();
        assert!(last_access(&dir).is_some_and(|time| time > long_ago));
    }
}
