//! A client's end of a TLS connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CipherSuite, ConnectionCommon, SupportedProtocolVersion};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use super::wire::TIMEOUT;

/// What a client wants of TLS; clones share the sessions that can be resumed.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Trusts this certificate only, speaks this version only.
    pub fn new(certificate: &Path, version: &'static SupportedProtocolVersion) -> Trust {
        Trust::with(certificate, version, |_| true, &[b"imap"])
    }

    /// The same, with these ciphers only, and these protocols in ALPN.
    pub fn with(
        certificate: &Path,
        version: &'static SupportedProtocolVersion,
        uses: impl Fn(CipherSuite) -> bool,
        protocols: &[&[u8]],
    ) -> Trust {
        let mut provider = default_provider();
        provider.cipher_suites.retain(|suite| uses(suite.suite()));
        provider.kx_groups = vec![kx_group::X25519];
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(certificate).expect("read the certificate");
        roots.add(certificate).expect("trust the certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .expect("a version of TLS");
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Trust(Arc::new(config))
    }

    fn connection(&self) -> ClientConnection {
        let name = ServerName::try_from("localhost").expect("a name");
        ClientConnection::new(self.0.clone(), name).expect("a client's side of TLS")
    }
}

/// A connection over TLS.
pub struct Secure<S: Read + Write = TcpStream> {
    stream: BufReader<StreamOwned<ClientConnection, S>>,
    sequence: u32,
}

/// A socket with [`TIMEOUT`].
pub fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("connect");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a socket option");
    stream.set_write_timeout(Some(TIMEOUT)).expect("a socket option");
    stream.set_nodelay(true).expect("a socket option");
    stream
}

impl Secure {
    /// Connects to a port that begins with TLS, and reads the greeting.
    pub fn connect(addr: SocketAddr, trust: &Trust) -> Secure {
        let mut secure = Secure::over(connect(addr), trust);
        let greeting = secure.line();
        assert!(greeting.starts_with("* OK [CAPABILITY"), "{greeting}");
        secure
    }

    /// Begins TLS on the plain port.
    pub fn starttls(addr: SocketAddr, trust: &Trust) -> Secure {
        let mut plain = BufReader::new(connect(addr));
        let mut line = String::new();
        plain.read_line(&mut line).expect("the greeting");
        assert!(line.contains(" STARTTLS"), "{line}");
        plain.get_mut().write_all(b"s STARTTLS\r\n").expect("send STARTTLS");
        line.clear();
        plain.read_line(&mut line).expect("the answer to STARTTLS");
        assert!(line.starts_with("s OK"), "{line}");
        Secure::over(plain.into_inner(), trust)
    }

    /// Sends bytes past TLS.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.get_mut().sock.write_all(bytes).expect("send");
    }

    /// Shuts down the sending half, properly: close_notify, then the end.
    pub fn finish(&mut self) {
        self.tls().send_close_notify();
        self.flush();
        let _ = self.stream.get_ref().sock.shutdown(Shutdown::Write);
    }
}

impl<S: Read + Write> Secure<S> {
    /// Begins TLS on a connection; the handshake happens with the first byte that is read or written.
    pub fn over(stream: S, trust: &Trust) -> Secure<S> {
        Secure { stream: BufReader::new(StreamOwned::new(trust.connection(), stream)), sequence: 0 }
    }

    pub fn tls(&mut self) -> &mut ConnectionCommon<rustls::client::ClientConnectionData> {
        &mut self.stream.get_mut().conn
    }

    pub fn is_resumed(&mut self) -> bool {
        self.tls().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("send");
        self.flush();
    }

    /// For reading at one's own pace.
    pub fn reader(&mut self) -> &mut impl Read {
        &mut self.stream
    }

    fn flush(&mut self) {
        self.stream.get_mut().flush().expect("flush");
    }

    /// The next line, without its end; fails when the connection ends.
    pub fn line(&mut self) -> String {
        self.try_line().expect("a line")
    }

    pub fn try_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\r\n") {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.len() - 2);
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Sends a command; all lines of the answer, the last of them tagged, without the tag.
    pub fn command(&mut self, command: &str) -> Vec<String> {
        self.sequence += 1;
        let tag = format!("t{} ", self.sequence);
        self.send(format!("{tag}{command}\r\n"));
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            match line.strip_prefix(&tag) {
                Some(status) => {
                    lines.push(status.to_owned());
                    return lines;
                }
                None => lines.push(line),
            }
        }
    }

    /// A command whose tagged answer must begin like this.
    pub fn expect(&mut self, status: &str, command: &str) -> Vec<String> {
        let lines = self.command(command);
        let last = lines.last().expect("a tagged answer");
        assert!(last.starts_with(status), "{command}: expected {status}, came {last}");
        lines
    }

    /// Everything up to the end of the connection, which has to be announced (close_notify).
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("an announced end");
        rest
    }
}
