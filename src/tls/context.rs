//! The one value that the master makes and every worker uses.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection};
use rustls::version::{TLS12, TLS13};
use rustls::{Error, ServerConfig};

use super::identity::{Identity, Pem, TlsError};
use super::tickets::Tickets;

/// The protocol's name in ALPN. A client that offers others only is refused, so that a browser cannot be made to speak
/// to this server (the ALPACA attack); one that offers none is served.
const ALPN: &[u8] = b"imap";

/// What a server needs to accept TLS: TLS 1.2 and 1.3, tickets that every process of the server opens.
pub struct Context {
    config: Arc<ServerConfig>,
    identity: Arc<Identity>,
    tickets: Arc<Tickets>,
}

impl Context {
    /// Takes certificate and key. Made before the workers are forked, once.
    ///
    /// # Errors
    /// When one is not what it should be, or the two do not belong together.
    pub fn new(pem: &Pem) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(default_provider());
        let identity = Arc::new(Identity::load(pem, &provider)?);
        let tickets = Arc::new(Tickets::new()?);
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12]);
        let builder = builder.map_err(TlsError::Setup)?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(identity.clone());
        config.ticketer = tickets.clone();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Arc::new(Context { config: Arc::new(config), identity, tickets }))
    }

    /// Takes over certificate and key; sessions that are open go on. Whoever loads a new configuration calls this with
    /// what its files hold.
    ///
    /// # Errors
    /// As for [`Context::new`]; what was loaded before stays in use.
    pub fn reload(&self, pem: &Pem) -> Result<(), TlsError> {
        self.identity.reload(pem, self.config.crypto_provider())
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
