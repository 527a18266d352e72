//! The server that a test talks to: ours, started for it, or one that runs already.
//!
//! With `HELIOGRAPH_TEST_ADDR=127.0.0.1:1143` tests that need no say over the server run against that one. It must
//! let in any user with the password `secret`. What they find out about other servers is how the tests themselves
//! are judged.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::client::Client;
use super::server::{Options, PASSWORD, Server};

/// How many targets this process has made.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// A server to talk to.
pub enum Target {
    /// Started for this test; ends with it.
    Ours(Box<Server>),
    /// Running already. The suffix keeps the users of one run apart from those of another.
    Elsewhere { addr: SocketAddr, suffix: String },
}

impl Target {
    /// Starts a server with these users, unless another is named.
    pub fn start(options: Options) -> Target {
        let Ok(addr) = std::env::var("HELIOGRAPH_TEST_ADDR") else {
            return Target::Ours(Box::new(Server::start(options)));
        };
        let run = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
        let addr = addr.parse().expect("HELIOGRAPH_TEST_ADDR is ADDRESS:PORT");
        Target::Elsewhere { addr, suffix: format!("-{run}-{}", STARTED.fetch_add(1, Ordering::Relaxed)) }
    }

    /// Where IMAP is served.
    pub fn addr(&self) -> SocketAddr {
        match self {
            Target::Ours(server) => server.addr(),
            Target::Elsewhere { addr, .. } => *addr,
        }
    }

    /// The full name of a user.
    pub fn user(&self, name: &str) -> String {
        match self {
            Target::Ours(_) => name.to_owned(),
            Target::Elsewhere { suffix, .. } => format!("{name}{suffix}"),
        }
    }

    /// A connection on which a user is logged in.
    pub fn login(&self, name: &str) -> Client {
        let mut client = Client::connect(self.addr());
        client.ok(format!("LOGIN {} {PASSWORD}", self.user(name)));
        client
    }
}
