//! What processes tell each other about a user's log, in the file that they lock (`docs/store-format.md`, "Lock").
//!
//! It is never synced: it concerns the page cache, and may end with it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::disk::Disk;
use super::message::LogPos;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// In this epoch somebody has synced all that was there when the user was first opened, and the way to it.
    pub epoch: u64,
    /// From here on a failed sync may have left bytes that the kernel will not write again.
    pub suspect: Option<LogPos>,
}

impl Notes {
    const LEN: usize = 16;

    /// Reads the notes in a log's lock file.
    pub fn read(lock: &File) -> Notes {
        let mut bytes = [0; Self::LEN];
        lock.read_exact_at(&mut bytes, 0).map_or_else(|_| Notes::default(), |()| Notes::decode(&bytes))
    }

    /// Leaves these notes for others. They save work or tell of trouble, and the trouble is worse than a lost note: an
    /// error is only logged.
    pub fn leave(self, disk: &dyn Disk, lock: &File, dir: &Path) {
        if let Err(error) = disk.write_at(lock, &self.encode(), 0) {
            let file = dir.join("lock");
            log::warn!(file = file.display().to_string(), error = error.to_string(); "cannot leave a note");
        }
    }

    fn encode(self) -> [u8; Self::LEN] {
        let suspect = self.suspect.map_or(0, LogPos::to_u64);
        (u128::from(suspect) << 64 | u128::from(self.epoch)).to_le_bytes()
    }

    fn decode(bytes: &[u8; Self::LEN]) -> Notes {
        let both = u128::from_le_bytes(*bytes);
        let suspect = (both >> 64) as u64;
        Notes { epoch: both as u64, suspect: (suspect != 0).then(|| LogPos::from_u64(suspect)) }
    }
}
