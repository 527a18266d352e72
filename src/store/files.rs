//! What is in a user's `log` directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::{Error, Result};

/// Segments, packs and checkpoints, each ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogFiles {
    pub segments: Vec<u32>,
    pub packs: Vec<PackName>,
    pub checkpoints: Vec<u32>,
    /// Files under a temporary name, whose writer may have died.
    pub unfinished: Vec<PathBuf>,
}

/// A pack is named after the first and the last of the segments that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PackName {
    pub first: u32,
    pub last: u32,
}

impl LogFiles {
    /// Reads the directory; nothing in it, when it is not there.
    pub fn list(dir: &Path) -> Result<LogFiles> {
        let log = dir.join("log");
        let mut files = LogFiles::default();
        let entries = match fs::read_dir(&log) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
            other => other.map_err(Error::io("cannot read", &log))?,
        };
        for entry in entries {
            let name = entry.map_err(Error::io("cannot read", &log))?.file_name();
            if let Some(name) = name.to_str() {
                files.add(name, &log);
            }
        }
        files.segments.sort_unstable();
        files.packs.sort_unstable();
        files.checkpoints.sort_unstable();
        Ok(files)
    }

    fn add(&mut self, name: &str, log: &Path) {
        match name.split_once('.') {
            None => self.segments.extend(number(name)),
            Some((stem, "checkpoint")) => self.checkpoints.extend(number(stem)),
            Some((stem, "pack")) => self.packs.extend(PackName::read(stem)),
            Some((_, rest)) if rest.starts_with("new-") => self.unfinished.push(log.join(name)),
            // Records that were set aside stay until somebody looks at them.
            Some(_) => {}
        }
    }

    /// The paths of segments and packs.
    pub fn paths(&self, dir: &Path) -> impl Iterator<Item = PathBuf> {
        let segments = self.segments.iter().map(|segment| segment_path(dir, *segment));
        segments.chain(self.packs.iter().map(|pack| pack.path(dir)))
    }

    /// Whether there is nothing that a log is made of.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.packs.is_empty() && self.checkpoints.is_empty()
    }

    /// The pack that holds what is left of `segment`. Where there are several, the widest has what the others have.
    pub fn pack_of(&self, segment: u32) -> Option<PackName> {
        let packs = self.packs.iter().copied().filter(|pack| pack.covers(segment, segment));
        packs.max_by_key(|pack| pack.last - pack.first)
    }
}

impl PackName {
    fn read(stem: &str) -> Option<PackName> {
        let (first, last) = stem.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        (first <= last).then_some(PackName { first, last })
    }

    /// Whether it stands for all segments from `first` to `last`.
    pub fn covers(self, first: u32, last: u32) -> bool {
        self.first <= first && last <= self.last
    }

    pub fn path(self, dir: &Path) -> PathBuf {
        dir.join("log").join(format!("{:010}-{:010}.pack", self.first, self.last))
    }
}

pub(super) fn segment_path(dir: &Path, segment: u32) -> PathBuf {
    dir.join("log").join(format!("{segment:010}"))
}

pub(super) fn checkpoint_path(dir: &Path, segment: u32) -> PathBuf {
    dir.join("log").join(format!("{segment:010}.checkpoint"))
}

/// Bytes of a file and when it was last written, in seconds since 1970; `None` when it has gone meanwhile.
pub(super) fn len_and_time(path: &Path) -> Result<Option<(u64, i64)>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("cannot stat", path)(error)),
        Ok(found) => {
            let written = found.modified().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
            Ok(Some((found.len(), written.map_or(0, |since| since.as_secs() as i64))))
        }
    }
}

/// Ten decimal digits.
fn number(text: &str) -> Option<u32> {
    let plain = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok().filter(|number| *number > 0) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_file_is() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::create_dir(&log).unwrap();
        assert!(LogFiles::list(dir.path()).unwrap().is_empty());
        for name in [
            "0000000012",
            "0000000003",
            "0000000003.torn-640",
            "0000000000",
            "12",
            "0000000001-0000000002.pack",
            "0000000001-0000000009.pack",
            "0000000009-0000000001.pack",
            "0000000012.checkpoint",
            "0000000001-0000000002.new-77",
            "notes.txt",
        ] {
            fs::write(log.join(name), b"").unwrap();
        }
        let files = LogFiles::list(dir.path()).unwrap();
        let (narrow, wide) = (PackName { first: 1, last: 2 }, PackName { first: 1, last: 9 });
        assert_eq!(files.segments, [3, 12]);
        assert_eq!(files.checkpoints, [12]);
        assert_eq!(files.packs, [narrow, wide]);
        assert_eq!(files.unfinished, [log.join("0000000001-0000000002.new-77")]);
        assert_eq!((files.pack_of(2), files.pack_of(12)), (Some(wide), None));
    }
}
