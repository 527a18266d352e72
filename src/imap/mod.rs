//! The IMAP protocol, without sockets: bytes in, bytes out.
//!
//! | file | holds |
//! |---|---|
//! | [`framing`] | where a command ends: lines, literals, limits, recovery after nonsense |
//! | [`parse`] | one whole command to [`types::Command`] |
//! | [`types`] | what a command says, apart from how it is spelled |
//! | [`sequence`] | sequence sets, asked for and resolved |
//! | [`mod@write`] | the primitives of responses |
//! | [`utf7`] | mailbox names on the wire before `ENABLE IMAP4rev2` |
//! | `chars` | character classes |
//! | [`limits`] | every bound of the above, with its reason |
//! | `session` | the state machine: reading commands, suspending them, news of the mailbox |
//! | `command` | one file per command family |
//! | `fetch` | FETCH responses, a piece at a time |
//! | `capability` | what the server says it can |
//! | `code` | refusals and their response codes |

mod capability;
mod chars;
mod code;
mod command;
mod fetch;
pub mod framing;
pub mod limits;
pub mod parse;
pub mod sequence;
mod session;
#[cfg(test)]
mod tests;
pub mod types;
pub mod utf7;
pub mod write;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use capability::Capabilities;

use crate::search;
use crate::session::{Peer, Protocol, Refusal, Security, Session, Token};
use crate::store::{MailboxId, Store, UserName};

/// What an administrator can say about the protocol.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The greeting's text: `%h` is `host`, `%P` the product, `%V` its version, `%%` a percent sign.
    pub banner: String,
    /// This host's name.
    pub host: String,
    /// Largest message that APPEND takes, in bytes (RFC 7889).
    pub append_limit: u64,
    /// Whether IDLE is offered: the publisher that makes it work is loaded.
    pub idle: bool,
    /// Whether STARTTLS is offered: the worker has a certificate.
    pub starttls: bool,
    /// When passwords are taken, `service.imap.plaintextmincipher`: -1 never, 0 always, n under TLS with n bits.
    pub plaintext_min_cipher: i64,
}

impl Settings {
    /// Whether a password may cross a connection that is protected like this.
    fn takes_passwords(&self, security: Security) -> bool {
        match (self.plaintext_min_cipher, security) {
            (..0, _) => false,
            (0, _) => true,
            (1.., Security::Plain) => false,
            (bits @ 1.., Security::Tls { bits: has }) => i64::from(has) >= bits,
        }
    }
}

/// Lets sessions hear of changes, and others of sessions; the notify room does it.
pub trait Watcher: Send + Sync {
    /// Wakes the session with this token whenever the mailbox has changed, until the returned value is dropped.
    fn watch(&self, user: &UserName, mailbox: MailboxId, token: Token) -> Box<dyn Send>;

    /// A user has logged in from this address; they have logged out when the returned value is dropped.
    fn logged_in(&self, _user: &UserName, _client: IpAddr) -> Option<Box<dyn Send>> {
        None
    }

    /// The process ends.
    fn finish(&self) {}
}

/// IMAP as a protocol of a worker.
pub struct Imap {
    /// A session keeps what was there when it began: what the server has told it goes on to hold.
    shared: ArcSwap<Shared>,
}

/// What all sessions of a worker share.
struct Shared {
    store: Arc<Store>,
    watcher: Arc<dyn Watcher>,
    settings: Settings,
    capabilities: Capabilities,
    /// What stands behind the capabilities in the greeting.
    banner: String,
    /// What SORT and THREAD have read.
    sorted: Arc<search::Cache>,
}

impl Imap {
    pub fn new(store: Arc<Store>, watcher: Box<dyn Watcher>, settings: Settings) -> Self {
        Imap { shared: ArcSwap::from_pointee(Shared::new(store, watcher.into(), settings, Arc::default())) }
    }

    /// Other settings for sessions that begin from now on.
    pub fn configure(&self, settings: Settings) {
        let old = self.shared.load();
        self.shared.store(Arc::new(Shared::new(
            old.store.clone(),
            old.watcher.clone(),
            settings,
            old.sorted.clone(),
        )));
    }
}

impl Shared {
    fn new(
        store: Arc<Store>,
        watcher: Arc<dyn Watcher>,
        settings: Settings,
        sorted: Arc<search::Cache>,
    ) -> Self {
        let capabilities = Capabilities::new(settings.append_limit, settings.idle);
        let banner = banner(&settings);
        Shared { store, watcher, settings, capabilities, banner, sorted }
    }
}

impl Protocol for Imap {
    fn session(&self, token: Token, peer: Peer) -> Box<dyn Session> {
        Box::new(session::ImapSession::new(self.shared.load_full(), token, peer))
    }

    fn refusal(&self, why: Refusal) -> Vec<u8> {
        let text: &[u8] = match why {
            Refusal::Full => b"* BYE [UNAVAILABLE] too many connections, try again later\r\n",
            Refusal::Crowded => b"* BYE [UNAVAILABLE] too many connections from your address\r\n",
            Refusal::Filtered => b"* BYE connections from your address are not served\r\n",
        };
        text.to_vec()
    }

    fn finish(&self) {
        let shared = self.shared.load();
        shared.store.close();
        shared.watcher.finish();
    }
}

/// The greeting's text; control characters, which would end the line, are left out.
fn banner(settings: &Settings) -> String {
    let mut text = String::new();
    let mut rest = settings.banner.chars();
    while let Some(c) = rest.next() {
        let expanded = if c == '%' { rest.next() } else { None };
        match expanded {
            Some('h') => text.push_str(&settings.host),
            Some('P') => text.push_str("Heliograph"),
            Some('V') => text.push_str(env!("CARGO_PKG_VERSION")),
            Some('%') => text.push('%'),
            Some(other) => text.extend([c, other]),
            None => text.push(c),
        }
    }
    text.retain(|c| !c.is_control());
    if text.is_empty() { "ready".to_owned() } else { text }
}
