//! What carries a session's bytes: a socket, plain or with TLS on it.
//!
//! TLS is driven without buffers of its own: records are read into the thread's buffer, opened in place, and answers
//! are sealed straight into the thread's other buffer and leave with one `write`. A session that waits owns the TLS
//! state and, at most, one record that has not arrived in full.

use std::io::{self, ErrorKind, Read};

use mio::net::TcpStream;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, ReadTraffic,
    UnbufferedStatus, WriteTraffic,
};
use rustls::{CipherSuite, Error, HandshakeKind, ProtocolVersion};

use crate::session::Security;
use crate::tls::{Context, MAX_HELLO, MAX_RECORD};

use super::scratch::{Buffer, Outgoing, Parts, Scratch};

/// Room that sealing adds to each [`FRAGMENT`] of output, in bytes: header, nonce, type and tag need 31 at most.
const SEAL_OVERHEAD: usize = 64;
/// Output in one record, in bytes: the most that there may be (RFC 8446 §5.1). Shorter ones cost more and bring the first
/// byte no sooner, see docs/performance.md, "TLS records".
const FRAGMENT: usize = 1 << 14;

pub struct Transport {
    stream: TcpStream,
    tls: Option<Box<Tls>>,
}

struct Tls {
    connection: UnbufferedServerConnection,
    /// A record, or a handshake message, that has not arrived in full.
    partial: Vec<u8>,
    /// `Plain` until the handshake is done.
    security: Security,
    /// The client has said that no more comes (close_notify).
    is_input_over: bool,
    has_said_close: bool,
}

/// What is to be sealed when TLS is ready for it.
enum Seal<'a> {
    Nothing,
    Output(&'a [u8]),
    CloseNotify,
}

/// One `read`.
pub enum Received {
    /// Bytes from the socket; `is_full` says that there may be more.
    Bytes { count: usize, is_full: bool },
    /// Nothing now.
    WouldBlock,
    /// Nothing ever again.
    End,
}

impl Transport {
    pub fn new(stream: TcpStream) -> Self {
        Transport { stream, tls: None }
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Begins TLS with the next byte in each direction.
    pub fn secure(&mut self, context: &Context) -> io::Result<()> {
        self.tls = Some(Box::new(Tls {
            connection: context.accept().map_err(broken)?,
            partial: Vec::new(),
            security: Security::Plain,
            is_input_over: false,
            has_said_close: false,
        }));
        Ok(())
    }

    /// Whether all bytes go through TLS.
    pub fn is_secured(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether a TLS handshake goes on.
    pub fn is_securing(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.security == Security::Plain)
    }

    /// Whether the client has said that no more comes: the socket need not say so too.
    pub fn is_input_over(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_input_over)
    }

    pub fn security(&self) -> Security {
        self.tls.as_ref().map_or(Security::Plain, |tls| tls.security)
    }

    /// For the log: protocol, cipher, and whether a session was resumed; empty without TLS.
    pub fn describe(&self) -> String {
        let Some(tls) = self.tls.as_ref().filter(|tls| tls.security != Security::Plain) else {
            return String::new();
        };
        let version = match tls.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let suite = tls.connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let is_resumed = tls.connection.handshake_kind() == Some(HandshakeKind::Resumed);
        format!("{version} {}{}", suite.unwrap_or_default(), if is_resumed { " resumed" } else { "" })
    }

    /// Brings in what the session has left with [`Transport::store`].
    pub fn load(&mut self, scratch: &mut Scratch) {
        if let Some(tls) = &mut self.tls {
            scratch.load_sealed(&mut tls.partial);
        }
    }

    pub fn store(&mut self, scratch: &mut Scratch) {
        if let Some(tls) = &mut self.tls {
            scratch.store_sealed(&mut tls.partial);
        }
    }

    /// Reads once, and opens what came. What TLS itself has to say is in the outgoing bytes afterwards, also after an
    /// error.
    pub fn receive(&mut self, scratch: &mut Scratch) -> io::Result<Received> {
        let Transport { stream, tls } = self;
        match tls {
            None => {
                let spare = scratch.spare();
                let received = read_once(stream, spare)?;
                if let Received::Bytes { count, .. } = received {
                    scratch.filled(count);
                }
                Ok(received)
            }
            Some(tls) if tls.is_input_over => Ok(Received::End),
            Some(tls) => tls.receive(stream, scratch),
        }
    }

    /// The bytes for the socket that carry the session's output.
    pub fn seal<'s>(&mut self, scratch: &'s mut Scratch) -> io::Result<&'s [u8]> {
        match &mut self.tls {
            None => Ok(scratch.output()),
            Some(tls) => {
                let mut parts = scratch.all();
                let output = parts.output;
                if !output.is_empty() {
                    tls.work(&mut parts, Seal::Output(output)).map_err(broken)?;
                }
                Ok(parts.outgoing.bytes())
            }
        }
    }

    /// The bytes that [`Transport::seal`] returned are with the kernel, or kept elsewhere.
    pub fn sent(&mut self, scratch: &mut Scratch) {
        scratch.clear_output();
        scratch.all().outgoing.clear();
    }

    /// What TLS has to say after an error: the alert.
    pub fn last_words<'s>(&self, scratch: &'s mut Scratch) -> &'s [u8] {
        if self.tls.is_some() { scratch.all().outgoing.bytes() } else { &[] }
    }

    /// Says that nothing more comes (RFC 8446 §6.1). The client may be gone already: errors do not matter here.
    pub fn say_close(&mut self, scratch: &mut Scratch) {
        if let Some(tls) = &mut self.tls
            && tls.security != Security::Plain
            && !std::mem::replace(&mut tls.has_said_close, true)
        {
            let _ = tls.work(&mut scratch.all(), Seal::CloseNotify);
        }
    }
}

impl Tls {
    fn receive(&mut self, stream: &TcpStream, scratch: &mut Scratch) -> io::Result<Received> {
        let mut parts = scratch.all();
        let received = read_once(stream, parts.arrived.spare())?;
        if let Received::Bytes { count, .. } = received {
            parts.arrived.filled(count);
            self.work(&mut parts, Seal::Nothing).map_err(broken)?;
            let limit = if self.security == Security::Plain { MAX_HELLO } else { MAX_RECORD };
            if parts.arrived.bytes().len() > limit {
                return Err(broken(Error::General("handshake message is too long".to_owned())));
            }
        }
        Ok(received)
    }

    /// Opens the records that are there in full, seals what is to be sealed.
    fn work(&mut self, parts: &mut Parts<'_>, seal: Seal<'_>) -> Result<(), Error> {
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(parts.arrived.bytes_mut());
            let mut is_done = false;
            let result = match state {
                Ok(ConnectionState::ReadTraffic(traffic)) => read(traffic, parts.input),
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, parts.outgoing),
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Ok(())
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.is_input_over = true;
                    Ok(())
                }
                Ok(ConnectionState::WriteTraffic(traffic)) => {
                    is_done = true;
                    write(traffic, &seal, parts.outgoing)
                }
                Ok(_) => {
                    is_done = true;
                    Ok(())
                }
                Err(error) => Err(error),
            };
            parts.arrived.consume(discard);
            if let Err(error) = result {
                self.take_alert(parts);
                return Err(error);
            }
            if is_done {
                if self.is_input_over {
                    // Whatever stands behind the end is not the client's word.
                    parts.arrived.consume(parts.arrived.bytes().len());
                }
                self.note_security();
                return Ok(());
            }
        }
    }

    /// What an error has left to be sent: the alert, and what comes before it.
    fn take_alert(&mut self, parts: &mut Parts<'_>) {
        loop {
            let status = self.connection.process_tls_records(parts.arrived.bytes_mut());
            let Ok(ConnectionState::EncodeTlsData(data)) = status.state else { return };
            if encode(data, parts.outgoing).is_err() {
                return;
            }
        }
    }

    fn note_security(&mut self) {
        if self.security == Security::Plain && !self.connection.is_handshaking() {
            let suite = self.connection.negotiated_cipher_suite();
            self.security = Security::Tls { bits: suite.map_or(0, |suite| key_bits(suite.suite())) };
        }
    }
}

fn read(mut traffic: ReadTraffic<'_, '_, ServerConnectionData>, input: &mut Buffer) -> Result<(), Error> {
    while let Some(record) = traffic.next_record() {
        if !input.push(record?.payload) {
            return Err(Error::General("more input than records".to_owned()));
        }
    }
    Ok(())
}

fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, outgoing: &mut Outgoing) -> Result<(), Error> {
    put(outgoing, 0, |room| data.encode(room).map_err(Shortage::from))
}

fn write(
    mut traffic: WriteTraffic<'_, ServerConnectionData>,
    seal: &Seal<'_>,
    outgoing: &mut Outgoing,
) -> Result<(), Error> {
    match seal {
        Seal::Nothing => Ok(()),
        Seal::Output(output) => {
            put(outgoing, sealed_size(output), |room| traffic.encrypt(output, room).map_err(Shortage::from))
        }
        Seal::CloseNotify => {
            put(outgoing, SEAL_OVERHEAD, |room| traffic.queue_close_notify(room).map_err(Shortage::from))
        }
    }
}

/// Why bytes were not put into the room.
enum Shortage {
    Needs(usize),
    /// There is nothing to put there, now or ever.
    Refused,
}

impl From<EncodeError> for Shortage {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Shortage::Needs(required_size)
            }
            EncodeError::AlreadyEncoded => Shortage::Refused,
        }
    }
}

impl From<EncryptError> for Shortage {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Shortage::Needs(required_size)
            }
            EncryptError::EncryptExhausted => Shortage::Refused,
        }
    }
}

/// Has bytes put behind the outgoing ones; asks for more room once when it was too little.
fn put(
    outgoing: &mut Outgoing,
    expected: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Shortage>,
) -> Result<(), Error> {
    let written = match write(outgoing.room(expected)) {
        Err(Shortage::Needs(size)) => write(outgoing.room(size)),
        other => other,
    };
    match written {
        Ok(count) => {
            outgoing.filled(count);
            Ok(())
        }
        Err(_) => Err(Error::EncryptError),
    }
}

fn sealed_size(output: &[u8]) -> usize {
    output.len() + (output.len() / FRAGMENT + 1) * SEAL_OVERHEAD
}

/// Bits of the cipher's key, as `service.imap.plaintextmincipher` counts them.
fn key_bits(suite: CipherSuite) -> u16 {
    let name = suite.as_str().unwrap_or_default();
    if name.contains("AES_128") {
        128
    } else if name.contains("AES_256") || name.contains("CHACHA20") {
        256
    } else {
        0
    }
}

/// A fault in what the client has sent, as opposed to a lost connection.
fn broken(error: Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

fn read_once(mut stream: &TcpStream, room: &mut [u8]) -> io::Result<Received> {
    match stream.read(room) {
        Ok(0) => Ok(Received::End),
        Ok(count) => Ok(Received::Bytes { count, is_full: count == room.len() }),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Received::WouldBlock),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;

    use super::*;

    #[test]
    fn every_cipher_has_its_bits() {
        for suite in ALL_CIPHER_SUITES {
            assert!(matches!(key_bits(suite.suite()), 128 | 256), "{suite:?}");
        }
    }
}
