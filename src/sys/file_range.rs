//! Bytes of a file on their way to a socket: from the page cache to the network, without a copy through the program
//! (sendfile(2)).

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::sendfile::sendfile64;
use nix::unistd::{SysconfVar, sysconf, write};

use super::about_to_block;

/// What is asked for at once: others of the thread get their turn after a fraction of a millisecond.
const PIECE: u64 = 256 * 1024;

/// What is copied at once where there is no sendfile.
const COPIED: u64 = 64 * 1024;

/// cachestat(2), Linux 6.5; the number is the same on all architectures.
pub(super) const CACHESTAT: libc::c_long = 451;

/// Some bytes of an open file. They must not change as long as this lives: the network may read them once more even
/// after the call that has sent them.
#[derive(Debug)]
pub struct FileRange {
    file: Arc<File>,
    range: Range<u64>,
    /// Where the piece ends that was found in the page cache.
    cached_to: u64,
    /// Counts this among the files that are kept open.
    _hold: Arc<()>,
}

impl FileRange {
    /// Bytes of a file. `hold` lives as long as the file is open for this.
    pub fn new(file: Arc<File>, range: Range<u64>, hold: Arc<()>) -> Self {
        FileRange { file, cached_to: range.start, range, _hold: hold }
    }

    /// Bytes that are left.
    pub fn len(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Has the socket take a piece of what is left, as much as it has room for; how many bytes that is. Before the disk
    /// has to be waited for, the thread says that it is about to block.
    ///
    /// # Errors
    /// `WouldBlock` when the socket is full; `UnexpectedEof` when the file ends before; those of sendfile(2), which
    /// tell of the file and of the socket alike.
    pub fn send_to(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        if self.cached_to <= self.range.start {
            self.cached_to = self.range.end.min(self.range.start + PIECE);
            if !is_cached(&self.file, self.range.start..self.cached_to) {
                about_to_block();
            }
        }
        let count = self.cached_to - self.range.start;
        let mut offset = libc::off64_t::try_from(self.range.start).map_err(io::Error::other)?;
        let sent = match sendfile64(socket, &*self.file, Some(&mut offset), count as usize) {
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EPERM) => self.copy_to(socket, count)?,
            sent => sent?,
        };
        if sent == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.range.start += sent as u64;
        Ok(sent)
    }

    /// The long way, for file systems and sandboxes that know no sendfile.
    fn copy_to(&self, socket: &impl AsFd, count: u64) -> io::Result<usize> {
        let mut bytes = vec![0; count.min(COPIED) as usize];
        let read = self.file.read_at(&mut bytes, self.range.start)?;
        Ok(write(socket, &bytes[..read])?)
    }
}

/// The argument and the answer of cachestat(2).
#[repr(C)]
struct CacheRange {
    offset: u64,
    len: u64,
}

#[repr(C)]
struct CacheState {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Whether all of the range is in the page cache; false also when the kernel cannot tell.
fn is_cached(file: &File, range: Range<u64>) -> bool {
    let (asked, mut state) =
        (CacheRange { offset: range.start, len: range.end - range.start }, MaybeUninit::zeroed());
    // SAFETY: the kernel reads the one and writes the other, which have the layout of its cachestat.h and outlive the
    // call. Where it knows no such call it does nothing.
    let result =
        unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), &raw const asked, state.as_mut_ptr(), 0) };
    // SAFETY: all bit patterns are such a struct, and the bytes were zero at first.
    let state: CacheState = unsafe { state.assume_init() };
    let page =
        sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| u64::try_from(size).ok()).unwrap_or(1);
    let pages = range.end.div_ceil(page) - range.start / page;
    result == 0 && state.cached >= pages
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn file_of(bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Arc::new(file)
    }

    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn a_range_arrives_in_pieces() {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
        let mut range = FileRange::new(file_of(&bytes), 10..900_001, Arc::default());
        let (mut client, server) = connected();
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            client.read_to_end(&mut received).unwrap();
            received
        });
        while !range.is_empty() {
            assert!(range.send_to(&server).unwrap() > 0);
        }
        drop(server);
        assert!(reader.join().unwrap() == bytes[10..900_001]);
    }

    #[test]
    fn a_full_socket_and_a_short_file_are_errors() {
        let (_client, server) = connected();
        server.set_nonblocking(true).unwrap();
        let mut range = FileRange::new(file_of(&vec![b'x'; 64 << 20]), 0..64 << 20, Arc::default());
        let full = loop {
            if let Err(error) = range.send_to(&server) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert!(!range.is_empty());

        let (_client, server) = connected();
        let mut range = FileRange::new(file_of(b"short"), 0..6, Arc::default());
        assert_eq!(range.send_to(&server).unwrap(), 5);
        assert_eq!(range.send_to(&server).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn where_there_is_no_sendfile_bytes_are_copied() {
        let bytes = vec![b'x'; 100_000];
        let (mut client, server) = connected();
        let range = FileRange::new(file_of(&bytes), 10..90_000, Arc::default());
        assert_eq!(range.copy_to(&server, range.len()).unwrap(), COPIED as usize);
        assert_eq!(range.copy_to(&server, 5).unwrap(), 5);
        drop(server);
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received, vec![b'x'; COPIED as usize + 5]);
    }

    #[test]
    fn what_has_just_been_written_is_in_the_page_cache() {
        let file = file_of(&[b'x'; 100_000]);
        // Where the kernel has no such call, the answer is that nobody knows.
        let knows = is_cached(&file, 0..1);
        assert_eq!(is_cached(&file, 5000..100_000), knows);
        assert!(!is_cached(&file, 0..200_000), "there is nothing behind the end");
    }
}
