//! Files that are replaced as a whole: a reader sees the old text or the new one, also after a loss of power.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::sys::{LockMode, OfdLock};

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
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(with_suffix(path, ".lock"))?;
        keep_owner(&file, path)?;
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
    keep_owner(&file, old)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// What root writes has to stay readable for the service user: it gets the owner of the file that it replaces,
/// or of the directory.
fn keep_owner(file: &File, path: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let parent = || std::fs::metadata(path.parent().filter(|parent| *parent != "").unwrap_or(Path::new(".")));
    let model = std::fs::metadata(path).or_else(|_| parent())?;
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
    use std::os::unix::fs::PermissionsExt;

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
