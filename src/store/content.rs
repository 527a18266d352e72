//! The bytes of one message, open for being read a piece at a time.
//!
//! A download may take minutes, and meanwhile the message can be expunged and its space given back: who holds its
//! content open reads on. A descriptor each is too much for a worker full of slow clients, though. Therefore only
//! [`MAX_KEPT_OPEN`] are held while their sessions wait; beyond that the file is looked up again for the next piece.

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::open_for_reading;
use super::error::{Error, Result};
use super::limits::MAX_KEPT_OPEN;
use super::log::{Reader, blob_path};
use super::user::User;
use super::{BlobRef, Message};
use crate::sys::FileRange;

/// A message's bytes in an open file.
pub struct Content {
    place: Place,
    /// Bytes of the message.
    size: u64,
    /// Counts among those that are kept open.
    kept: Option<Arc<()>>,
}

enum Place {
    Log(Reader),
    File { file: Arc<File>, path: PathBuf },
}

/// Counts the contents that a process keeps open.
#[derive(Default)]
pub(super) struct KeptOpen(Arc<()>);

impl Content {
    pub(super) fn open(user: &User, message: &Message) -> Result<Content> {
        let place = match message.blob {
            BlobRef::Inline(record) => Place::Log(user.known()?.log.reader(record)?),
            BlobRef::File(number) => {
                let path = blob_path(&user.dir, number);
                let file = open_for_reading(&path).map_err(Error::io("cannot open", &path))?;
                Place::File { file: Arc::new(file), path }
            }
        };
        Ok(Content { place, size: message.size.into(), kept: None })
    }

    /// Appends the bytes `range`, cut to the message's size, to `out`.
    ///
    /// # Errors
    /// When they cannot be read; `out` is then as it was.
    pub fn read(&self, range: Range<u64>, out: &mut Vec<u8>) -> Result<()> {
        let (from, to) = (range.start.min(self.size), range.end.min(self.size));
        let count = to.saturating_sub(from) as usize;
        match &self.place {
            Place::Log(reader) => reader.read(from, count, out),
            Place::File { file, path } => {
                crate::sys::append_from(file, from, count, out).map_err(Error::io("cannot read", path))
            }
        }
    }

    /// The same bytes, to be sent from the file; `None` when too many are kept open already.
    pub(super) fn range(&self, range: Range<u64>, kept: &KeptOpen) -> Option<FileRange> {
        let hold = self.kept.clone().or_else(|| kept.take())?;
        let (file, start) = match &self.place {
            Place::Log(reader) => reader.place(),
            Place::File { file, .. } => (file, 0),
        };
        let (from, to) = (range.start.min(self.size), range.end.min(self.size));
        Some(FileRange::new(file.clone(), start + from..start + to, hold))
    }
}

impl KeptOpen {
    /// Counts one more; `None` when there are too many.
    fn take(&self) -> Option<Arc<()>> {
        // Threads that come at once may all find the last place free, which is a few descriptors more.
        (Arc::strong_count(&self.0) <= MAX_KEPT_OPEN).then(|| self.0.clone())
    }

    /// The content, to be held while its session waits; `None` when too many are held already.
    pub fn keep(&self, mut content: Content) -> Option<Content> {
        if content.kept.is_none() {
            content.kept = Some(self.take()?);
        }
        Some(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_are_kept_open() {
        let kept = KeptOpen::default();
        let content = || {
            let place = Place::File { file: Arc::new(tempfile::tempfile().unwrap()), path: PathBuf::new() };
            Content { place, size: 0, kept: None }
        };
        let mut held: Vec<_> = (0..MAX_KEPT_OPEN).map(|_| kept.keep(content()).unwrap()).collect();
        assert!(kept.keep(content()).is_none());
        let next = kept.keep(held.pop().unwrap()).expect("who is kept stays so");
        drop(next);
        assert!(kept.keep(content()).is_some(), "there is room again");
    }
}
