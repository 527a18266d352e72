//! A client of the echo protocol that fails loudly.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects and reads the greeting.
    pub fn connect(address: SocketAddr) -> Self {
        let mut client = Client::connect_silently(address);
        assert_eq!(client.line(), "hello");
        client
    }

    pub fn connect_silently(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_nodelay(true).expect("a socket option");
        Client { reader: BufReader::new(stream) }
    }

    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    pub fn send(&self, text: &str) {
        self.stream().write_all(text.as_bytes()).expect("the server takes it");
    }

    pub fn shutdown(&self) {
        self.stream().shutdown(Shutdown::Write).expect("half-closes");
    }

    /// The next line; empty at the end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("the server answers");
        line.trim_end().to_owned()
    }

    pub fn ask(&mut self, command: &str) -> String {
        self.send(&format!("{command}\n"));
        self.line()
    }

    /// Everything until the end.
    pub fn rest(&mut self) -> String {
        let mut text = String::new();
        self.reader.read_to_string(&mut text).expect("the connection ends in order");
        text
    }

    /// Whether nothing has come so far.
    pub fn is_silent(&mut self) -> bool {
        self.stream().set_nonblocking(true).expect("a socket option");
        let is_silent = self.reader.buffer().is_empty() && self.stream().peek(&mut [0]).is_err();
        self.stream().set_nonblocking(false).expect("a socket option");
        is_silent
    }
}
