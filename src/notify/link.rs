//! A connection to enpd, made by a publisher or a subscriber.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::enpd::SOCKET;
use super::limits::{FIRST_PAUSE, GREETING_TIME, LINK_READ, LONGEST_PAUSE, MAX_DATA};
use super::wire::{Decoder, Message, VERSION, WireError};
use crate::sys::{self, SocketDirectory};

/// Where enpd is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The Unix socket in this directory (`data/proc`).
    Local(PathBuf),
    Tcp(String, u16),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Local(directory) => write!(f, "{}", directory.join(SOCKET).display()),
            Address::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// Why there is no connection, or none any more.
#[derive(Debug, Error)]
pub enum LinkError {
    #[error("cannot reach the event notification service at {address}: {source}; does enpd run there?")]
    Connect { address: Address, source: io::Error },
    #[error("the event notification service refused: {0}")]
    Refused(String),
    #[error("the event notification service ended the connection")]
    Closed,
    #[error("cannot talk to the event notification service: {0}")]
    Io(#[from] io::Error),
    #[error("what listens there does not speak the ENS protocol: {0}")]
    Wire(#[from] WireError),
}

/// A connection after HELLO and WELCOME.
pub(super) struct Link {
    stream: Stream,
    decoder: Decoder,
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Link {
    pub fn connect(address: &Address, origin: u64, name: &str) -> Result<Self, LinkError> {
        let stream = Stream::connect(address)
            .map_err(|source| LinkError::Connect { address: address.clone(), source })?;
        stream.set_timeout(Some(GREETING_TIME))?;
        let mut link = Link { stream, decoder: Decoder::new(MAX_DATA) };
        link.send(&Message::Hello { version: VERSION, origin, name: name.to_owned() }.to_bytes())?;
        match link.receive()? {
            Message::Welcome { version: VERSION } => {}
            _ => return Err(WireError::Nonsense.into()),
        }
        link.stream.set_timeout(None)?;
        Ok(link)
    }

    /// The same connection, for another thread to write.
    pub fn writer(&self) -> io::Result<LinkWriter> {
        Ok(LinkWriter(self.stream.try_clone()?))
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Waits for a message.
    pub fn receive(&mut self) -> Result<Message, LinkError> {
        loop {
            match self.decoder.next()? {
                Some(Message::No(reason)) => return Err(LinkError::Refused(reason)),
                Some(message) => return Ok(message),
                None => self.fill()?,
            }
        }
    }

    fn fill(&mut self) -> Result<(), LinkError> {
        let mut buffer = [0; LINK_READ];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(LinkError::Closed),
            Ok(count) => {
                self.decoder.push(buffer.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The writing side of a connection.
pub(super) struct LinkWriter(Stream);

impl LinkWriter {
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Ends the connection for the reading side, too.
    pub fn close(&self) {
        let _ = match &self.0 {
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Stream {
    fn connect(address: &Address) -> io::Result<Stream> {
        match address {
            Address::Local(directory) => {
                let sockets = SocketDirectory::open(directory)?;
                Ok(Stream::Unix(UnixStream::connect(sockets.path(SOCKET))?))
            }
            Address::Tcp(host, port) => connect_tcp(host, *port).map(Stream::Tcp),
        }
    }

    fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.set_read_timeout(timeout),
            Stream::Tcp(stream) => stream.set_read_timeout(timeout),
        }
    }

    fn try_clone(&self) -> io::Result<Stream> {
        Ok(match self {
            Stream::Unix(stream) => Stream::Unix(stream.try_clone()?),
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone()?),
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tcp(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Tcp(stream) => stream.write_all(bytes),
        }
    }
}

/// Tries all addresses of a host.
fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut failure = io::Error::from(ErrorKind::NotFound);
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, GREETING_TIME) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                sys::keep_alive(&stream)?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Pauses between attempts to connect.
#[derive(Debug)]
pub struct BackOff(Duration);

impl BackOff {
    pub fn new() -> Self {
        BackOff(FIRST_PAUSE)
    }

    /// How long to wait now.
    pub fn pause(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}

impl Default for BackOff {
    fn default() -> Self {
        BackOff::new()
    }
}
