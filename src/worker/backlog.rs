//! What a client has not taken yet: output, and bytes of a file behind it.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Instant;

use mio::net::TcpStream;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};

use crate::session::SLICE;
use crate::sys::FileRange;

/// Why sending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All is sent.
    Done,
    /// The socket takes no more.
    Full,
    /// It takes more, but others have to get their turn.
    SliceOver,
}

/// Sends what there is, and keeps what the socket does not take.
#[derive(Default)]
pub struct Backlog {
    bytes: Vec<u8>,
    /// How many of `bytes` are sent.
    sent: usize,
    attached: Option<Box<FileRange>>,
    /// Since when the socket has taken nothing.
    stalled: Option<Instant>,
    /// Bytes sent so far.
    total: u64,
}

impl Backlog {
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.attached.is_none()
    }

    pub fn stalled(&self) -> Option<Instant> {
        self.stalled
    }

    /// Bytes that the socket has taken since the connection began.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes of a file, to be sent by [`Backlog::go_on`] when all output is.
    pub fn attach(&mut self, range: Box<FileRange>) {
        self.attached = Some(range);
    }

    /// Forgets the file: nobody waits for its bytes any more.
    pub fn detach(&mut self) {
        self.attached = None;
        if self.is_empty() {
            self.stalled = None;
        }
    }

    /// Sends output; the backlog has none. `false` when the socket has not taken all of it.
    pub fn send(&mut self, stream: &TcpStream, output: &[u8], now: Instant) -> io::Result<bool> {
        let sent = self.write(stream, output)?;
        if sent < output.len() {
            self.bytes = output[sent..].to_vec();
            self.sent = 0;
            self.stalled = Some(now);
        }
        Ok(self.bytes.is_empty())
    }

    /// Goes on with what the socket did not take before, and with the file.
    ///
    /// # Errors
    /// Those of the socket, and those of the file, see [`is_of_the_file`].
    pub fn go_on(&mut self, stream: &TcpStream, now: Instant) -> io::Result<Progress> {
        let before = self.total;
        let progress = self.advance(stream, now)?;
        self.stalled = match progress {
            Progress::Full if self.total > before => Some(now),
            Progress::Full => self.stalled.or(Some(now)),
            Progress::Done | Progress::SliceOver => None,
        };
        Ok(progress)
    }

    fn advance(&mut self, stream: &TcpStream, now: Instant) -> io::Result<Progress> {
        let bytes = std::mem::take(&mut self.bytes);
        self.sent += self.write(stream, bytes.get(self.sent..).unwrap_or_default())?;
        if self.sent < bytes.len() {
            self.bytes = bytes;
            return Ok(Progress::Full);
        }
        self.sent = 0;
        while let Some(range) = &mut self.attached {
            match range.send_to(stream) {
                Ok(count) => self.total += count as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Progress::Full),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if range.is_empty() {
                self.attached = None;
            } else if now.elapsed() >= SLICE {
                return Ok(Progress::SliceOver);
            }
        }
        Ok(Progress::Done)
    }

    /// Writes until everything is out or the socket is full; how many bytes went out. In front of a file, the last of
    /// them may wait to share a packet with what follows.
    fn write(&mut self, stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        let more = if self.attached.is_some() { libc::MSG_MORE } else { 0 };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::from_bits_retain(more);
        let mut sent = 0;
        while sent < bytes.len() {
            match send(stream.as_raw_fd(), &bytes[sent..], flags) {
                Ok(count) => sent += count,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.total += sent as u64;
        Ok(sent)
    }
}

/// Whether an error is the file's, not the client's.
pub fn is_of_the_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
        || matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EIO | Errno::ESTALE))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream as Client};
    use std::sync::Arc;

    use super::*;

    fn connected() -> (TcpStream, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        (TcpStream::from_std(stream), client)
    }

    fn file_of(size: usize) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        file.write_all(&bytes).unwrap();
        Arc::new(file)
    }

    fn attachment(size: usize) -> Box<FileRange> {
        Box::new(FileRange::new(file_of(size), 0..size as u64, Arc::default()))
    }

    /// Reads for as long as the other end sends; how much has come by then.
    fn drain(client: &mut Client, backlog: &mut Backlog, stream: &TcpStream, received: &mut Vec<u8>) {
        client.set_nonblocking(true).unwrap();
        while !backlog.is_empty() {
            let mut piece = vec![0; 1 << 20];
            match client.read(&mut piece) {
                Ok(count) => received.extend_from_slice(&piece[..count]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            backlog.go_on(stream, Instant::now()).unwrap();
        }
        client.set_nonblocking(false).unwrap();
    }

    #[test]
    fn a_file_follows_the_output_in_front_of_it_however_slow_the_client_is() {
        let (stream, mut client) = connected();
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        let (front, size) = (vec![b'f'; 20 << 20], 30 << 20);
        backlog.attach(attachment(size));
        assert!(!backlog.send(&stream, &front, now).unwrap());
        assert_eq!(backlog.stalled(), Some(now));
        let mut received = Vec::new();
        drain(&mut client, &mut backlog, &stream, &mut received);
        assert_eq!(backlog.stalled(), None);
        assert!(backlog.send(&stream, b"behind", now).unwrap());
        assert_eq!(backlog.total(), (front.len() + size + 6) as u64);
        drop(stream);
        client.read_to_end(&mut received).unwrap();
        let (head, rest) = received.split_at(front.len());
        assert!(head == front && rest.len() == size + 6 && rest.ends_with(b"behind"));
        assert!(rest[..size].iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
    }

    #[test]
    fn others_get_their_turn_between_the_pieces() {
        let (stream, _client) = connected();
        let mut backlog = Backlog::default();
        backlog.attach(attachment(1 << 20));
        let long_ago = Instant::now() - SLICE;
        assert_eq!(backlog.go_on(&stream, long_ago).unwrap(), Progress::SliceOver);
        assert!(!backlog.is_empty() && backlog.stalled().is_none());
    }

    #[test]
    fn a_stall_begins_with_the_last_progress() {
        let (stream, mut client) = connected();
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        backlog.attach(attachment(64 << 20));
        let fill = |backlog: &mut Backlog, now| {
            while backlog.go_on(&stream, now).unwrap() != Progress::Full {}
        };
        fill(&mut backlog, start);
        let later = start + SLICE;
        assert_eq!(backlog.go_on(&stream, later).unwrap(), Progress::Full);
        assert_eq!(backlog.stalled(), Some(start));
        client.read_exact(&mut vec![0; backlog.total() as usize]).unwrap();
        fill(&mut backlog, later);
        assert_eq!(backlog.stalled(), Some(later));
        backlog.detach();
        assert!(backlog.is_empty() && backlog.stalled().is_none());
    }

    #[test]
    fn a_file_that_ends_too_soon_is_not_the_clients_fault() {
        let (stream, client) = connected();
        let mut backlog = Backlog::default();
        backlog.attach(Box::new(FileRange::new(file_of(10), 0..11, Arc::default())));
        let error = backlog.go_on(&stream, Instant::now()).unwrap_err();
        assert!(is_of_the_file(&error), "{error}");
        drop(client);
        backlog.attach(attachment(1 << 20));
        let error = loop {
            if let Err(error) = backlog.go_on(&stream, Instant::now()) {
                break error;
            }
        };
        assert!(!is_of_the_file(&error), "{error}");
    }
}
