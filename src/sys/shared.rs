//! Memory that a process shares with the children that it forks later.

use std::ffi::c_void;
use std::fs::{self, File};
use std::io;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// A row of atomic words in shared memory, all zero at first. Nothing but atomics is ever in it, so
/// that a process which dies at any instruction leaves nothing locked and nothing torn.
pub struct SharedWords {
    start: NonNull<c_void>,
    count: usize,
}

// SAFETY: the mapping is plain memory, valid in every thread, and only reached as atomics.
unsafe impl Send for SharedWords {}
// SAFETY: as above; `&SharedWords` gives out nothing but `&[AtomicU64]`.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps `count` words that have no file; an empty row is refused with `EINVAL`.
    pub fn new(count: usize) -> Result<Self, Errno> {
        let bytes = byte_count(count)?;
        // SAFETY: no address is asked for, so no existing mapping is touched.
        let start = unsafe {
            mmap_anonymous(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED)
        }?;
        Ok(SharedWords { start, count })
    }

    /// Maps `count` words of a new file, which takes the place of an old one: whoever has mapped that keeps it.
    pub fn create(path: &Path, count: usize) -> io::Result<Self> {
        let bytes = byte_count(count)?;
        let temporary = path.with_extension("new");
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.set_len(bytes.get() as u64)?;
        // SAFETY: no address is asked for, so no existing mapping is touched. The file has this length and is
        // nobody else's to cut: it is in a directory of the service user.
        let start = unsafe {
            mmap(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, &file, 0)
        }?;
        let words = SharedWords { start, count };
        fs::rename(&temporary, path)?;
        Ok(words)
    }
}

fn byte_count(words: usize) -> Result<NonZeroUsize, Errno> {
    words.checked_mul(size_of::<AtomicU64>()).and_then(NonZeroUsize::new).ok_or(Errno::EINVAL)
}

impl Deref for SharedWords {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, `count` words long, zero-filled (mmap(2)), lives as long as
        // `self`, and zero is a valid AtomicU64.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.count) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: exactly the range that was mapped; no reference outlives `self`.
        let _ = unsafe { munmap(self.start, self.count * size_of::<AtomicU64>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn zero_at_first_and_writable_to_the_end() {
        let words = SharedWords::new(1000).unwrap();
        assert!(words.iter().all(|word| word.load(Relaxed) == 0));
        words[999].store(7, Relaxed);
        assert_eq!(words[999].load(Relaxed), 7);
        assert_eq!(SharedWords::new(0).err(), Some(Errno::EINVAL));
    }

    #[test]
    fn a_file_shows_what_is_stored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("board");
        let words = SharedWords::create(&path, 4).unwrap();
        words[2].store(7, Relaxed);
        assert_eq!(std::fs::read(&path).unwrap()[16..24], 7u64.to_ne_bytes());
        let next = SharedWords::create(&path, 4).unwrap();
        assert_eq!((words[2].load(Relaxed), next[2].load(Relaxed)), (7, 0), "a new file, not the old one");
    }
}
