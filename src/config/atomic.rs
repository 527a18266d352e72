//! Files that are replaced as a whole: a reader sees the old text or the new one, also after a loss of power.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::sys::{LockMode, OfdLock};

/// Root's own group, which nothing is shared with.
const ROOT: u32 = 0;

/// The group may read a file, pass a directory.
const GROUP_READ: u32 = 0o040;
const GROUP_PASS: u32 = 0o010;

/// Holds off other writers of a file, in this and other processes, until dropped. Readers need no lock.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Waits for the lock that belongs to `path`; its file is `path` with `.lock` appended.
    ///
    /// # Errors
    /// When the lock file can be neither made nor opened.
    pub fn acquire(path: &Path) -> io::Result<Self> {
        let lock = with_suffix(path, ".lock");
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        // Only one that is new is given away: another user may have put a link to a file of root's in its place.
        let file = match options.clone().create_new(true).open(&lock) {
            Ok(file) => keep_owner(&file, path, 0o600).map(|()| file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(&lock),
            Err(error) => Err(error),
        }?;
        OfdLock::lock(&file, LockMode::Exclusive)?.keep();
        Ok(FileLock { _file: file })
    }
}

/// Replaces the file at `path` by one that holds `bytes`, and returns when the disk has it. Whoever changes what
/// is there holds the [`FileLock`] of `path`.
///
/// # Errors
/// The old file is still in place when an error is returned, unless only the last step, the sync of the
/// directory, has failed.
pub fn replace_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = with_suffix(path, ".new");
    let _ = std::fs::remove_file(&new);
    let result = write_synced(&new, path, bytes, mode).and_then(|()| std::fs::rename(&new, path));
    if result.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    result?;
    sync_parent(path)
}

fn write_synced(new: &Path, old: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(new)?;
    keep_owner(&file, old, mode)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// What root writes has to stay readable for the service user: it gets the owner and the group of the file that it
/// replaces, and a group that is not root's may still read it; for a new file, the directory says the same.
fn keep_owner(file: &File, path: &Path, mode: u32) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let parent = || std::fs::metadata(path.parent().filter(|parent| *parent != "").unwrap_or(Path::new(".")));
    let model = std::fs::metadata(path).or_else(|_| parent())?;
    let shares = if model.is_dir() { GROUP_PASS } else { GROUP_READ };
    let is_shared = model.gid() != ROOT && model.mode() & shares != 0;
    file.set_permissions(Permissions::from_mode(if is_shared { mode | GROUP_READ } else { mode }))?;
    std::os::unix::fs::fchown(file, Some(model.uid()), Some(model.gid()))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_text_and_mode_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "a long old text").unwrap();
        std::fs::write(dir.path().join("file.new"), "left by a crash").unwrap();
        replace_file(&path, b"new", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_root_replaces_stays_readable_for_a_group() {
        if !geteuid().is_root() {
            return eprintln!("not run: only root can give files to a group");
        }
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        for (before, after) in [(0o640, 0o640), (0o600, 0o600)] {
            let path = dir.path().join("file");
            std::fs::write(&path, "old").unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
            std::os::unix::fs::chown(&path, None, Some(64_123)).unwrap();
            replace_file(&path, b"new", 0o600).unwrap();
            assert_eq!((mode(&path), std::fs::metadata(&path).unwrap().gid()), (after, 64_123));
        }
    }

    #[test]
    fn a_lock_is_not_taken_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("file"), dir.path().join("other"));
        std::os::unix::fs::symlink(&other, dir.path().join("file.lock")).unwrap();
        assert!(FileLock::acquire(&path).is_err());
        assert!(!other.exists());
    }

    #[test]
    fn a_second_writer_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let lock = FileLock::acquire(&path).unwrap();
        let other = File::options().write(true).open(dir.path().join("file.lock")).unwrap();
        let try_lock = || OfdLock::try_lock(&other, LockMode::Exclusive).unwrap();
        assert!(try_lock().is_none());
        drop(lock);
        assert!(try_lock().is_some());
    }
}
