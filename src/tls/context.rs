//! The one value that the master makes and every worker uses.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection};
use rustls::version::{TLS12, TLS13};
use rustls::{Error, ServerConfig};

use super::identity::{Files, Identity, TlsError};
use super::tickets::Tickets;

/// The protocol's name in ALPN. A client that offers others only is refused, so that a browser cannot be made to speak
/// to this server (the ALPACA attack); one that offers none is served.
const ALPN: &[u8] = b"imap";

/// What a server needs to accept TLS: TLS 1.2 and 1.3, tickets that every process of the server opens.
pub struct Context {
    config: Arc<ServerConfig>,
    identity: Arc<Identity>,
    tickets: Arc<Tickets>,
    files: Mutex<Files>,
}

impl Context {
    /// Loads certificate and key. Made before the workers are forked, once.
    ///
    /// # Errors
    /// When a file cannot be read, is not what it should be, or the two do not belong together.
    pub fn new(files: Files) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(default_provider());
        let identity = Arc::new(Identity::load(&files, &provider)?);
        let tickets = Arc::new(Tickets::new()?);
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12]);
        let builder = builder.map_err(TlsError::Setup)?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(identity.clone());
        config.ticketer = tickets.clone();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Arc::new(Context { config: Arc::new(config), identity, tickets, files: Mutex::new(files) }))
    }

    /// Takes over certificate and key from these files; sessions that are open go on. Whoever loads a new
    /// configuration calls this with what it says.
    ///
    /// # Errors
    /// As for [`Context::new`]; what was loaded before stays in use.
    pub fn reload(&self, files: Files) -> Result<(), TlsError> {
        self.identity.reload(&files, self.config.crypto_provider())?;
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
        Ok(())
    }

    /// Reads the same files again; the log says what came of it.
    pub fn refresh(&self) {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Err(error) = self.reload(files) {
            log::error!(error:% = error; "cannot reload the certificate, the old one stays in use");
        }
    }

    /// Forgets ticket keys whose time is over. Connections do that by themselves; the master, which has none, calls
    /// this before it forks, so that a new process gets no old key.
    pub fn rotate(&self) {
        self.tickets.rotate();
    }

    /// The server's side of a new connection.
    ///
    /// # Errors
    /// When the cryptography fails.
    pub fn accept(&self) -> Result<UnbufferedServerConnection, Error> {
        UnbufferedServerConnection::new(self.config.clone())
    }
}
