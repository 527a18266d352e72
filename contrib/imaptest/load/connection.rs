//! One IMAP connection, blocking, with or without TLS.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};

/// How long a server may take for anything.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes read at a time, once a connection has something to read.
const CHUNK: usize = 16 * 1024;
/// Bytes of a literal read at a time: enough that the client is not what is measured.
const SINK: usize = 256 * 1024;

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(room),
            Stream::Tls(stream) => stream.read(room),
        }
    }
}

/// A connection and what it has read ahead. An idle one holds no buffer.
pub struct Connection {
    stream: Stream,
    input: Vec<u8>,
    taken: usize,
    /// Where long literals go; made with the first one.
    sink: Vec<u8>,
    tags: u32,
    literal_plus: bool,
}

impl Connection {
    /// Takes a connected socket through TLS, if asked, and the greeting.
    ///
    /// # Errors
    /// When the server does not greet with `* OK`.
    pub fn open(socket: TcpStream, tls: Option<Arc<ClientConfig>>) -> Result<Connection> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let stream = match tls {
            Some(config) => {
                let session = ClientConnection::new(config, ServerName::try_from("localhost")?)?;
                Stream::Tls(Box::new(StreamOwned::new(session, socket)))
            }
            None => Stream::Plain(socket),
        };
        let mut connection = Connection {
            stream,
            input: Vec::new(),
            taken: 0,
            sink: Vec::new(),
            tags: 0,
            literal_plus: false,
        };
        let greeting = connection.line()?;
        ensure!(
            greeting.starts_with(b"* OK"),
            "the server greets with {}",
            String::from_utf8_lossy(&greeting)
        );
        Ok(connection)
    }

    /// Logs in and learns whether literals need to wait.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn login(&mut self, user: &str, password: &str) -> Result<()> {
        self.command(&format!("LOGIN {user} {password}"))?;
        let offered = self.answer("CAPABILITY")?;
        self.literal_plus = offered.windows(8).any(|word| word == b"LITERAL+");
        Ok(())
    }

    /// Runs a command to its `OK`.
    ///
    /// # Errors
    /// When the connection ends or the answer is not `OK`.
    pub fn command(&mut self, command: &str) -> Result<()> {
        let tag = self.send(command)?;
        self.finish(tag, None).with_context(|| format!("after {}", &command[..command.len().min(60)]))
    }

    /// The same; what the server said before its `OK`, without literals' bytes.
    ///
    /// # Errors
    /// As for [`Self::command`].
    pub fn answer(&mut self, command: &str) -> Result<Vec<u8>> {
        let mut said = Vec::new();
        let tag = self.send(command)?;
        self.finish(tag, Some(&mut said))?;
        Ok(said)
    }

    /// Sends commands in one write and awaits all of them.
    ///
    /// # Errors
    /// As for [`Self::command`].
    pub fn pipeline(&mut self, commands: impl Iterator<Item = String>) -> Result<()> {
        let (mut text, first) = (String::new(), self.tags + 1);
        for command in commands {
            self.tags += 1;
            text += &format!("{} {command}\r\n", self.tags);
        }
        self.write(text.as_bytes())?;
        (first..=self.tags).try_for_each(|tag| self.finish(tag, None))
    }

    /// Appends messages in one command.
    ///
    /// # Errors
    /// As for [`Self::command`].
    pub fn append(&mut self, mailbox: &str, messages: &[&[u8]]) -> Result<()> {
        self.tags += 1;
        let tag = self.tags;
        let mut text = format!("{tag} APPEND {mailbox}").into_bytes();
        for message in messages {
            let plus = if self.literal_plus { "+" } else { "" };
            text.extend_from_slice(format!(" {{{}{plus}}}\r\n", message.len()).as_bytes());
            if !self.literal_plus {
                self.write(&text)?;
                text.clear();
                self.await_continuation()?;
            }
            text.extend_from_slice(message);
        }
        text.extend_from_slice(b"\r\n");
        self.write(&text)?;
        self.finish(tag, None).context("after APPEND")
    }

    /// Begins IDLE.
    ///
    /// # Errors
    /// When the server does not go along.
    pub fn idle(&mut self) -> Result<()> {
        self.send("IDLE")?;
        self.await_continuation()?;
        self.input = Vec::new();
        self.taken = 0;
        Ok(())
    }

    /// The next line, which is awaited for at most `patience`; `None` when none came. For sessions in IDLE.
    ///
    /// # Errors
    /// When the connection ends.
    pub fn news(&mut self, patience: Duration) -> Result<Option<Vec<u8>>> {
        self.socket().set_read_timeout(Some(patience))?;
        match self.line() {
            Ok(line) => Ok(Some(line)),
            Err(error) if is_timeout(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => &stream.sock,
        }
    }

    fn send(&mut self, command: &str) -> Result<u32> {
        self.tags += 1;
        let line = format!("{} {command}\r\n", self.tags);
        self.write(line.as_bytes())?;
        Ok(self.tags)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.write_all(bytes)?,
            Stream::Tls(stream) => {
                stream.write_all(bytes)?;
                stream.flush()?;
            }
        }
        Ok(())
    }

    fn await_continuation(&mut self) -> Result<()> {
        loop {
            let line = self.line()?;
            match line.first() {
                Some(b'+') => return Ok(()),
                Some(b'*') => (),
                _ => bail!("instead of going on, the server says {}", String::from_utf8_lossy(&line)),
            }
        }
    }

    /// Reads to the tagged line.
    fn finish(&mut self, tag: u32, mut said: Option<&mut Vec<u8>>) -> Result<()> {
        let tag = format!("{tag} ");
        loop {
            let line = self.line()?;
            if let Some(rest) = line.strip_prefix(tag.as_bytes()) {
                ensure!(
                    rest.starts_with(b"OK"),
                    "the server says {}",
                    String::from_utf8_lossy(rest).trim_end()
                );
                return Ok(());
            }
            if line.starts_with(b"* BYE") {
                bail!("the server says {}", String::from_utf8_lossy(&line).trim_end());
            }
            if let Some(length) = literal(&line) {
                self.skip(length)?;
            }
            if let Some(said) = &mut said {
                said.extend_from_slice(&line);
            }
        }
    }

    fn line(&mut self) -> Result<Vec<u8>> {
        let mut searched = self.taken;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.input[searched..]) {
                let line = self.input[self.taken..=searched + end].to_vec();
                self.taken = searched + end + 1;
                return Ok(line);
            }
            let got = self.fill()?;
            searched = self.input.len() - got;
        }
    }

    fn skip(&mut self, length: usize) -> Result<()> {
        let here = length.min(self.input.len() - self.taken);
        self.taken += here;
        let mut left = length - here;
        while left >= CHUNK {
            left -= self.drain(left)?;
        }
        while self.input.len() - self.taken < left {
            self.fill()?;
        }
        self.taken += left;
        Ok(())
    }

    /// Reads once and forgets it, at most this much; how much it was.
    fn drain(&mut self, most: usize) -> Result<usize> {
        self.sink.resize(SINK, 0);
        let room = &mut self.sink[..most.min(SINK)];
        match self.stream.read(room)? {
            0 => bail!("the server closed the connection"),
            got => Ok(got),
        }
    }

    /// Reads once; how much came. What was taken goes first.
    fn fill(&mut self) -> Result<usize> {
        self.input.drain(..self.taken);
        self.taken = 0;
        let had = self.input.len();
        self.input.resize(had + CHUNK, 0);
        let got = self.stream.read(&mut self.input[had..]);
        self.input.truncate(had + *got.as_ref().unwrap_or(&0));
        match got? {
            0 => bail!("the server closed the connection"),
            got => Ok(got),
        }
    }
}

/// The length of the literal that a line ends with.
fn literal(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}\r\n")?;
    let open = memchr::memrchr(b'{', line)?;
    std::str::from_utf8(&line[open + 1..]).ok()?.parse().ok()
}

fn is_timeout(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    error.downcast_ref::<std::io::Error>().is_some_and(|error| matches!(error.kind(), TimedOut | WouldBlock))
}

/// One configuration for all connections, so that sessions resume.
pub fn tls_config() -> &'static Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for the default versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting))
            .with_no_client_auth();
        Arc::new(config)
    })
}

/// Believes every certificate: it is load that is made here, not mail that is read.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_ends_with_a_literal_says_how_long_it_is() {
        for (line, expected) in [
            (&b"* 1 FETCH (BODY[] {42}\r\n"[..], Some(42)),
            (b"* 1 FETCH (FLAGS ())\r\n", None),
            (b"* LIST () {x}\r\n", None),
        ] {
            assert_eq!(literal(line), expected);
        }
    }
}
