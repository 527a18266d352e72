//! What a journal was written for: after a loss of power it has what the logs have lost.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::disk::{Disk, Open};
use super::super::error::{Error, Result};
use super::super::files::segment_path;
use super::super::log;
use super::super::names::UserName;
use super::super::path::{user_dir, user_mark};
use super::super::record::segment_header;
use super::batch::{Lack, lacks};
use super::{directory, lock_path};
use crate::sys::{LockMode, OfdLock};

/// Makes good in the logs of `root` what journals have that no process holds any more: those of before a loss of power,
/// and of processes that died. Nobody may open a user before. Doing it twice does no harm.
///
/// # Errors
/// When a journal cannot be read, or a log not be written: messages that were acknowledged may be in nothing else.
pub(in crate::store) fn recover(disk: &dyn Disk, root: &Path) -> Result<()> {
    if journals(root)?.is_empty() {
        return Ok(());
    }
    let path = lock_path(root);
    let lock = disk.open(&path, Open::Shared).map_err(Error::io("cannot open", &path))?;
    let _held = OfdLock::lock(&lock, LockMode::Exclusive).map_err(Error::io("cannot lock", &path))?;
    for path in journals(root)? {
        let file = disk.open(&path, Open::Existing).map_err(Error::io("cannot open", &path))?;
        let free = OfdLock::try_lock(&file, LockMode::Exclusive).map_err(Error::io("cannot lock", &path))?;
        if free.is_some() {
            let restored = restore(disk, root, &file);
            restored.map_err(Error::io("cannot put back what the logs have lost from", &path))?;
            disk.remove(&path).map_err(Error::io("cannot remove", &path))?;
            log::sync_dir(disk, &directory(root))?;
        }
    }
    Ok(())
}

fn journals(root: &Path) -> Result<Vec<PathBuf>> {
    let dir = directory(root);
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("cannot read", &dir))?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
    let mut paths = paths.map_err(Error::io("cannot read", &dir))?;
    paths.retain(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_journal));
    Ok(paths)
}

/// Whether a file of this name is one that [`Files`](super::files::Files) made.
fn is_journal(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn restore(disk: &dyn Disk, root: &Path, journal: &File) -> io::Result<()> {
    let mut bytes = vec![0; journal.metadata()?.len() as usize];
    journal.read_exact_at(&mut bytes, 0)?;
    let mut segments = BTreeSet::new();
    for lack in lacks(&bytes) {
        segments.extend(restore_lack(disk, root, &lack)?);
    }
    // Not all are open at once: there may be more of them than descriptors.
    segments.iter().try_for_each(|segment| match disk.open(segment, Open::Existing) {
        // Packed meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        segment => disk.sync_data(&segment?),
    })
}

/// Puts back what a log lacks; which segment has to be synced. Bytes of a log never change: what stands there is the same, or was lost. A segment that is
/// gone has been packed, which is done with what is on stable storage, or the user is gone.
fn restore_lack(disk: &dyn Disk, root: &Path, lack: &Lack<'_>) -> io::Result<Option<PathBuf>> {
    let Ok(user) = UserName::new(lack.user) else { return Ok(None) };
    let dir = user_dir(root, &user);
    let path = segment_path(&dir, lack.at.segment);
    let (lock, segment) =
        match (disk.open(&dir.join("lock"), Open::Existing), disk.open(&path, Open::Existing)) {
            (Ok(lock), Ok(segment)) => (lock, segment),
            (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
    let _held = OfdLock::lock(&lock, LockMode::Exclusive)?;
    let mut header = [0; segment_header::LEN];
    segment.read_exact_at(&mut header, 0)?;
    let is_same = segment_header::check(&header, lack.at.segment, user_mark(&user)).is_ok()
        && segment_header::stamp(&header) == lack.stamp;
    if !is_same {
        return Ok(None);
    }
    let mut there = vec![0; lack.bytes.len()];
    let is_there = segment.read_exact_at(&mut there, lack.at.offset.into()).is_ok() && there == lack.bytes;
    if !is_there {
        disk.write_at(&segment, lack.bytes, lack.at.offset.into())?;
    }
    Ok(Some(path))
}
