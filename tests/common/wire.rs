//! One connection: bytes out, whole responses in.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a test waits for an answer before it fails.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// What came of waiting for a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A whole response with its literals, without the final CRLF.
    Response(Vec<u8>),
    /// The server closed the connection.
    Closed,
    /// Nothing came for [`TIMEOUT`].
    Nothing,
}

/// A client's end of a connection.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    pushed_back: VecDeque<Received>,
}

impl Wire {
    /// Connects; the greeting is the first response.
    pub fn connect(addr: SocketAddr) -> Wire {
        Wire::try_connect(addr).unwrap_or_else(|e| panic!("cannot connect to {addr}: {e}"))
    }

    /// Connects to a server that may be down.
    pub fn try_connect(addr: SocketAddr) -> io::Result<Wire> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Wire { stream, buffer: Vec::new(), pushed_back: VecDeque::new() })
    }

    /// Sends bytes as they are. A server that has hung up shows in the next response, not here.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Sends bytes and says whether the server still took them.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Shuts down the sending half.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The socket itself, for tests of the transport.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Waits for the next whole response.
    pub fn receive(&mut self) -> Received {
        if let Some(received) = self.pushed_back.pop_front() {
            return received;
        }
        loop {
            if let Some(end) = response_end(&self.buffer) {
                let mut response: Vec<u8> = self.buffer.drain(..end).collect();
                response.truncate(end - 2);
                return Received::Response(response);
            }
            match self.fill() {
                Ok(0) => return Received::Closed,
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Received::Nothing;
                }
                Err(_) => return Received::Closed,
            }
        }
    }

    /// Gives a response back: the next call of `receive` returns it again.
    pub fn push_back(&mut self, received: Received) {
        if received != Received::Nothing {
            self.pushed_back.push_front(received);
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 64 * 1024];
        let count = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(count)
    }
}

/// Where the first whole response in `bytes` ends, its CRLF included.
fn response_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = at + bytes[at..].windows(2).position(|pair| pair == b"\r\n")?;
        match literal_size(&bytes[at..line]) {
            Some(size) if line + 2 + size <= bytes.len() => at = line + 2 + size,
            Some(_) => return None,
            None => return Some(line + 2),
        }
    }
}

/// The size that a line's closing `{123}` announces.
pub fn literal_size(line: &[u8]) -> Option<usize> {
    let inner = line.strip_suffix(b"}")?;
    let open = inner.iter().rposition(|&byte| byte == b'{')?;
    std::str::from_utf8(&inner[open + 1..]).ok()?.parse().ok()
}
