//! Positioned reads that say when they have to wait for the disk.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use super::about_to_block;

/// Fills `out` from `offset` on. Bytes in the page cache cost one system call; before the disk has to be waited
/// for, the thread says that it is about to block.
///
/// # Errors
/// `UnexpectedEof` when the file ends before.
pub fn read_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    let cached = read_cached(file, out, offset);
    if cached == out.len() {
        return Ok(());
    }
    about_to_block();
    file.read_exact_at(&mut out[cached..], offset + cached as u64)
}

/// Appends the `count` bytes from `offset` on to `out`, as [`read_at`] does; nothing when they cannot be read.
///
/// # Errors
/// `UnexpectedEof` when the file ends before; `OutOfMemory`.
pub fn append_from(file: &File, offset: u64, count: usize, out: &mut Vec<u8>) -> io::Result<()> {
    let before = out.len();
    out.try_reserve(count)?;
    let cached = append_cached(file, offset, count, out);
    if cached == count {
        return Ok(());
    }
    // The rest is read the long way, into bytes that are there.
    out.resize(before + count, 0);
    about_to_block();
    let rest = &mut out[before + cached..];
    let read = file.read_exact_at(rest, offset + cached as u64);
    if read.is_err() {
        out.truncate(before);
    }
    read
}

/// Appends what is in the page cache, for which `out` has room; how much that is.
fn append_cached(file: &File, offset: u64, count: usize, out: &mut Vec<u8>) -> usize {
    let spare = &mut out.spare_capacity_mut()[..count];
    let part = libc::iovec { iov_base: spare.as_mut_ptr().cast(), iov_len: spare.len() };
    // SAFETY: preadv2(2) writes at most `iov_len` bytes to `iov_base`, which `spare` owns for the whole call.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &part, 1, offset as libc::off_t, libc::RWF_NOWAIT) };
    let read = usize::try_from(read).unwrap_or(0).min(count);
    // SAFETY: the kernel has filled the first `read` bytes of the spare capacity.
    unsafe { out.set_len(out.len() + read) };
    read
}

/// Reads what is in the page cache; 0 when nothing is, or when the kernel cannot tell.
fn read_cached(file: &File, out: &mut [u8], offset: u64) -> usize {
    let part = libc::iovec { iov_base: out.as_mut_ptr().cast(), iov_len: out.len() };
    // SAFETY: preadv2(2) writes at most `iov_len` bytes to `iov_base`, which `out` owns for the whole call.
    let count = unsafe { libc::preadv2(file.as_raw_fd(), &part, 1, offset as libc::off_t, libc::RWF_NOWAIT) };
    usize::try_from(count).unwrap_or(0)
}

/// A file that this process wrote and nobody changes any more, as memory.
pub fn map(file: &File) -> io::Result<memmap2::Mmap> {
    // SAFETY: callers map files under a name that only they know and that are complete; nothing truncates or
    // rewrites them while the mapping lives, so the bytes behind the slice stay as they are.
    unsafe { memmap2::Mmap::map(file) }
}
