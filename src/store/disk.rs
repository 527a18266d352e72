//! Everything that the store changes on a disk goes through one small trait, so that the tests can put a disk in its
//! place that fails on demand and remembers what a loss of power may take (`docs/store-format.md`, "What is promised").
//!
//! Reading does not: what was written is read back through the same files. One indirect call per system call is what
//! the trait costs.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::error::{Error, Result};

/// Open flags: a symbolic link is not followed, but an error.
const REFUSE_LINKS: i32 = libc::O_NOFOLLOW;

/// How [`Disk::open`] treats a file that is there, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    /// It has to be there.
    Existing,
    /// It is made when it is not there, and stays as it is when it is.
    Shared,
    /// It is made, or emptied.
    Empty,
    /// It is made; one that is there is an error.
    New,
}

/// What the store asks of a disk. Only [`sync_data`](Disk::sync_data), [`sync_all`](Disk::sync_all) and
/// [`sync_dir`](Disk::sync_dir) promise that anything survives a loss of power.
pub(super) trait Disk: Debug + Send + Sync {
    /// Opens a file for reading and writing; symbolic links are refused.
    fn open(&self, path: &Path, how: Open) -> io::Result<File> {
        let mut options = private();
        options.write(true);
        match how {
            Open::Existing => return open_quietly(&mut options, path),
            Open::Shared => options.create(true).truncate(false),
            Open::Empty => options.create(true).truncate(true),
            Open::New => options.create_new(true),
        };
        options.open(path)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    /// Makes a file's data and size durable.
    fn sync_data(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Makes a file's data and all that is known about it durable; its name is the directory's affair.
    fn sync_all(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Makes a directory and those above it where they are missing.
    fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)
    }

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// The disk of the machine.
#[derive(Debug)]
pub(super) struct Local;

impl Disk for Local {}

/// A disk that counts how often files are synced, and refuses to when it is told.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Counting {
    pub syncs: std::sync::atomic::AtomicUsize,
    pub fails: std::sync::atomic::AtomicBool,
    /// A sync waits while a test holds this.
    pub busy: std::sync::Mutex<()>,
}

#[cfg(test)]
impl Disk for Counting {
    fn sync_data(&self, file: &File) -> io::Result<()> {
        use std::sync::atomic::Ordering::SeqCst;
        self.syncs.fetch_add(1, SeqCst);
        drop(self.busy.lock());
        if self.fails.load(SeqCst) { Err(io::Error::from_raw_os_error(libc::EIO)) } else { file.sync_data() }
    }
}

/// Opens a file of the store for reading; symbolic links are refused.
pub(super) fn open_for_reading(path: &Path) -> io::Result<File> {
    open_quietly(&mut private(), path)
}

/// Opens a file that is there, so that reading it does not change its inode. Most mounts note the time of access at the
/// first read after a write, and a log is read after each: that is a change for the next sync to take along.
fn open_quietly(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    match options.custom_flags(REFUSE_LINKS | libc::O_NOATIME).open(path) {
        // Whoever may read and write a file, but does not own it, may not ask for that.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            options.custom_flags(REFUSE_LINKS).open(path)
        }
        other => other,
    }
}

/// What is wrong with the directories from `root` down to `dir`, as far as they are there: whoever can plant a link in
/// the store, or owns a part of it, could have the mail of one user written to another, or elsewhere.
pub(super) fn check_dirs(root: &Path, dir: &Path) -> Result<()> {
    let own = nix::unistd::geteuid().as_raw();
    // Where the store begins is the administrator's choice: it may be a link to another disk.
    for path in dir.ancestors().take_while(|dir| *dir != root) {
        let found = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found.map_err(Error::io("cannot stat", path))?,
        };
        if found.is_symlink() {
            let problem = "is a symbolic link, which the store does not follow; move what it leads to here";
            return Err(Error::Foreign { path: path.to_owned(), problem });
        }
        if found.uid() != own {
            let problem = "belongs to another account than the one that the server runs as; use chown -R";
            return Err(Error::Foreign { path: path.to_owned(), problem });
        }
    }
    Ok(())
}

/// Options for a file that only this service may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).mode(0o600).custom_flags(REFUSE_LINKS);
    options
}
