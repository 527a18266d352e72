//! Which boot the store was last used in (`docs/store-format.md`, "Epochs").

use std::fs;
use std::path::{Path, PathBuf};

use super::disk::{Disk, Local};
use super::error::{Error, Result};
use super::log::write_durably;
use super::wire::{Fields, PutFields};

const MAGIC: &[u8; 8] = b"HELIOEPO";
const BOOT_ID: usize = 36;
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Clone, Debug, PartialEq, Eq)]
struct Epoch {
    number: u64,
    boot: [u8; BOOT_ID],
    closed: bool,
}

/// Says that the store in `partition` is in use from now on. The master calls it before it forks; whoever opens the
/// store reads the number that this leaves.
///
/// # Errors
/// When the file cannot be read or written, or is damaged.
pub fn begin_epoch(partition: &Path) -> Result<()> {
    begin(&Local, partition, boot_id()?)
}

/// As [`begin_epoch`], after the boot of this id.
pub(super) fn begin(disk: &dyn Disk, partition: &Path, boot: [u8; BOOT_ID]) -> Result<()> {
    let number = match read(partition)? {
        None => 1,
        Some(last) if last.closed || last.boot == boot => last.number,
        Some(last) => last.number + 1,
    };
    write(disk, partition, &Epoch { number, boot, closed: false })
}

/// Says that all of the store is on stable storage and nobody uses it any more.
///
/// # Errors
/// When the file cannot be read or written.
pub fn close_epoch(partition: &Path) -> Result<()> {
    match read(partition)? {
        Some(last) => write(&Local, partition, &Epoch { closed: true, ..last }),
        None => Ok(()),
    }
}

/// The number of the epoch; 1 in a store that no master has used yet.
pub(super) fn current(partition: &Path) -> Result<u64> {
    Ok(read(partition)?.map_or(1, |epoch| epoch.number))
}

/// The number that the epoch has, or will have when the next master starts: it is greater than that of logs which a loss
/// of power may have torn.
pub(super) fn coming(partition: &Path) -> Result<u64> {
    let lost = |epoch: &Epoch, boot| !epoch.closed && epoch.boot != boot;
    Ok(match read(partition)? {
        Some(last) if lost(&last, boot_id()?) => last.number + 1,
        last => last.map_or(1, |epoch| epoch.number),
    })
}

fn path(partition: &Path) -> PathBuf {
    partition.join("epoch")
}

fn boot_id() -> Result<[u8; BOOT_ID]> {
    let text = fs::read(BOOT_ID_FILE).map_err(Error::io("cannot read", BOOT_ID_FILE))?;
    let damaged = Error::Damaged { path: BOOT_ID_FILE.into(), offset: 0, problem: "not a boot id" };
    text.first_chunk().copied().ok_or(damaged)
}

fn read(partition: &Path) -> Result<Option<Epoch>> {
    let path = path(partition);
    match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("cannot read", path)(error)),
        Ok(bytes) => {
            let damaged = Error::Damaged { path, offset: 0, problem: "not an epoch file, or damaged" };
            decode(&bytes).map(Some).ok_or(damaged)
        }
    }
}

fn write(disk: &dyn Disk, partition: &Path, epoch: &Epoch) -> Result<()> {
    write_durably(disk, &path(partition), &encode(epoch))
}

fn encode(epoch: &Epoch) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.put(MAGIC);
    out.put_u64(epoch.number);
    out.put(&epoch.boot);
    out.put_u8(epoch.closed.into());
    out.resize(60, 0);
    out.put_u32(crc32fast::hash(&out));
    out
}

fn decode(bytes: &[u8]) -> Option<Epoch> {
    let mut fields = Fields(bytes);
    let body = fields.bytes(60)?;
    if fields.u32()? != crc32fast::hash(body) {
        return None;
    }
    let mut fields = Fields(body);
    if fields.bytes(8)? != MAGIC {
        return None;
    }
    let number = fields.u64()?;
    let boot = *fields.bytes(BOOT_ID)?.first_chunk()?;
    Some(Epoch { number, boot, closed: fields.u8()? == 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_boot_after_an_unclean_stop_begins_an_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let (monday, tuesday) = ([b'm'; BOOT_ID], [b't'; BOOT_ID]);
        let number = || current(dir.path()).unwrap();
        begin(&Local, dir.path(), monday).unwrap();
        assert_eq!(number(), 1);
        begin(&Local, dir.path(), monday).unwrap();
        assert_eq!(number(), 1, "a master was killed; the page cache lived on");
        close_epoch(dir.path()).unwrap();
        begin(&Local, dir.path(), tuesday).unwrap();
        assert_eq!(number(), 1, "closed in good order");
        begin(&Local, dir.path(), monday).unwrap();
        assert_eq!(number(), 2, "power was lost on Tuesday");
    }

    #[test]
    fn a_damaged_file_is_not_taken_for_a_new_store() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("epoch"), b"x").unwrap();
        assert!(matches!(begin_epoch(dir.path()), Err(Error::Damaged { .. })));
    }
}
