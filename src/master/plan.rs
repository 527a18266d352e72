//! All that the master needs to know.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::IMAP;
use crate::config::Settings;
use crate::session::Protocol;
use crate::sys::{Account, Bounds};
use crate::tls;
use crate::worker::{AuthLink, TimeLimits, WorkerContext};

/// What the master and its children are made of. What a refresh can change is apart from the rest.
pub struct Plan {
    /// The base, for messages.
    pub base: PathBuf,
    /// `data/proc` under the base: pid file and sockets.
    pub proc_dir: PathBuf,
    /// `service.imap.maxthreads`, per worker.
    pub threads: usize,
    /// Certificate and ticket keys, loaded before the first fork; `None`: no TLS.
    pub tls: Option<Arc<tls::Context>>,
    /// Whom the children become; `None`: who started the server.
    pub user: Option<Account>,
    /// What each kind of child may do, as far as the kernel sees to that; `None`: everything.
    pub bounds: Option<ChildBounds>,
    /// What counts until the first refresh.
    pub start: Tunables,
    /// Called in the master for a refresh: what counts from then on.
    pub reread: Box<Reread>,
    /// Called in a child for a refresh, with [`Tunables::text`].
    pub interpret: Box<Interpret>,
    /// Called in every process when the settings have changed.
    pub adopt: Box<dyn Fn(&Settings)>,
    /// Called in each worker, once.
    pub protocol: Box<PlanProtocol>,
    /// Called in each worker with the path of the auth socket.
    pub auth_link: Box<AuthLinkFactory>,
    /// The auth process: serves the socket and does not return, except to fail.
    pub auth: Arc<AuthService>,
    /// The event notification service: does not return, except to fail. `None` when it is not to run.
    pub ens: Option<Arc<EnsService>>,
    /// The process that looks after the store: does not return, except to fail. `None` when there is none.
    pub stored: Option<Arc<StoreService>>,
    /// Called in every process on SIGUSR1.
    pub reopen_logs: Box<dyn Fn()>,
    /// Called with the bound addresses when all children have been forked (whoever waits for it finds them), and
    /// after each refresh.
    pub bound: Box<BoundHook>,
}

/// The bounds of children once they have started.
pub struct ChildBounds {
    pub auth: Bounds,
    pub enpd: Bounds,
    pub stored: Bounds,
    pub worker: Bounds,
}

/// What a refresh can change.
#[derive(Clone, Debug)]
pub struct Tunables {
    pub listeners: Vec<Listen>,
    /// `service.imap.numprocesses`, at most [`MAX_WORKERS`](crate::worker::MAX_WORKERS).
    pub workers: usize,
    /// `service.imap.maxsessions`, per worker.
    pub sessions: usize,
    pub limits: TimeLimits,
    /// Certificate and key; `None`: no TLS.
    pub tls: Option<tls::Files>,
    /// `local.autorestart`: whether children that die are replaced.
    pub autorestart: bool,
    /// `local.autorestart.timeout`: repeated failures within this time end the attempts.
    pub autorestart_window: Duration,
    /// Services that somebody has stopped: their processes end, and are not started.
    pub stopped: Vec<String>,
    /// For the protocol and the auth process.
    pub settings: Arc<Settings>,
    /// What a child makes the same tunables of. It may not be allowed to read the configuration.
    pub text: Vec<u8>,
}

impl Tunables {
    pub(super) fn is_stopped(&self, service: &str) -> bool {
        self.stopped.iter().any(|stopped| stopped == service)
    }

    /// Where to listen now: nowhere, while the service is stopped.
    pub(super) fn open_listeners(&self) -> &[Listen] {
        if self.is_stopped(IMAP) { &[] } else { &self.listeners }
    }
}

/// An address to listen on, and the option that a message about it names.
#[derive(Clone, Debug)]
pub struct Listen {
    pub address: SocketAddr,
    /// Whether TLS begins at once. Needs [`Plan::tls`].
    pub tls: bool,
    pub option: &'static str,
    /// Whether the server is content without it: the system may be without IPv6.
    pub is_optional: bool,
}

/// Why there is no new configuration.
pub type RereadError = Box<dyn Error + Send + Sync>;

/// Makes new tunables from those that count now.
pub type Reread = dyn Fn(&Tunables) -> Result<Tunables, RereadError>;

/// Makes tunables of their text.
pub type Interpret = dyn Fn(&[u8]) -> Result<Tunables, RereadError>;

/// Makes the protocol inside a worker; here the store is opened.
pub type PlanProtocol =
    dyn Fn(WorkerContext, &Settings) -> Result<Arc<dyn Protocol>, Box<dyn Error + Send + Sync>>;

/// Makes a worker's connection to the auth process.
pub type AuthLinkFactory = dyn Fn(&Path) -> Box<dyn AuthLink>;

/// Hears which addresses were bound, and which of them begin with TLS.
pub type BoundHook = dyn Fn(&[(SocketAddr, bool)]);

/// The main function of the auth process; the settings change with a refresh.
pub type AuthService =
    dyn Fn(UnixListener, Arc<ArcSwap<Settings>>) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync;

/// The main function of stored; the settings change with a refresh.
pub type StoreService =
    dyn Fn(Arc<ArcSwap<Settings>>) -> Result<Infallible, Box<dyn Error + Send + Sync>> + Send + Sync;

/// The main function of enpd.
pub type EnsService = dyn Fn(UnixListener) -> Result<Infallible, Box<dyn Error + Send + Sync>> + Send + Sync;
