//! The master: one thread that binds, forks, watches, restarts, and turns signals into actions. It never reads
//! from the network. When root has started it for a service user (`local.serveruid`), it acts as that user, and is root
//! only to bind, to read the configuration and the key, and to signal; its children become that user for good.
//!
//! Everything that children share is made before the first fork: listening sockets, the scoreboard, the
//! notify bus, the auth socket. Whatever has threads or a poller is made after it, in the child.

mod attendance;
mod child;
mod desk;
mod ens;
mod limits;
mod listeners;
mod pid_file;
mod plan;
mod restart;
mod service;
mod status;
mod stored;
mod supervisor;

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::notify::{Bus, BusError, enpd};
use crate::sys::{self, ForkError, SocketDirectory};
use crate::tls;
use crate::worker::{MAX_WORKERS, SCOREBOARD, SESSION_DESCRIPTORS, SPARE_DESCRIPTORS, Scoreboard, Tally};

use listeners::Bound;
use pid_file::PidFile;
use supervisor::Supervisor;

pub use desk::{ListedSession, kill_sessions, list_sessions};
pub use ens::event_service;
pub use pid_file::{PidFileError, is_served, running};
pub use plan::{
    AuthLinkFactory, AuthService, BoundHook, ChildBounds, EnsService, Listen, Plan, StoreService, Tunables,
};
pub use service::{Hooks, serve, stop_services, stopped_services};
pub use status::Status;
pub use supervisor::Ending;
/// Why the server does not start, or does not go on.
#[derive(Debug, Error)]
pub enum ServeError {
    #[error("nothing to serve: turn service.imap.enable or service.imap.enablesslport on")]
    NoListener,
    #[error("service.imap.numprocesses is {0}: it must be 1 to {MAX_WORKERS}")]
    Workers(usize),
    #[error("cannot use {path}: {source}; is the base owned by the user who starts the server?")]
    Directory { path: PathBuf, source: io::Error },
    #[error(transparent)]
    PidFile(#[from] PidFileError),
    #[error("port {port} is in use ({address}); stop the other program or change {option}", port = address.port())]
    PortInUse { address: SocketAddr, option: &'static str },
    #[error(
        "cannot listen on {address} ({option}) while the server listens on a part of it; restart instead of refresh"
    )]
    Overlap { address: SocketAddr, option: &'static str },
    #[error(
        "may not listen on {address}: ports below 1024 need privileges; change {option} or start as root"
    )]
    PortForbidden { address: SocketAddr, option: &'static str },
    #[error("cannot listen on {address} ({option}): {source}; check service.listenaddr")]
    Listen { address: SocketAddr, option: &'static str, source: io::Error },
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("cannot make the socket {path}: {source}; is the directory writable?")]
    ServiceSocket { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error("{0} is to begin with TLS, but there is no certificate")]
    NoCertificate(SocketAddr),
    #[error("cannot map shared memory: {0}")]
    Memory(#[source] io::Error),
    #[error("cannot listen to signals: {0}")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Fork(ForkError),
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    #[error("no worker stays alive; the log says why")]
    GaveUp,
}

/// What the children inherit.
struct Shared {
    /// What counts since the last refresh.
    tunables: Tunables,
    listeners: Vec<Bound>,
    board: Arc<Scoreboard>,
    tally: Arc<Tally>,
    bus: Arc<Bus>,
    auth_socket: ServiceSocket,
    /// `None` when enpd is not to run.
    ens_socket: Option<ServiceSocket>,
    /// Locked as long as the master or a child lives.
    _pid_file: PidFile,
}

/// The socket outlives the process that serves it: while that is replaced, requests wait in the backlog.
struct ServiceSocket {
    listener: UnixListener,
    path: PathBuf,
    /// The path leads through it.
    _directory: SocketDirectory,
}

/// Serves until SIGTERM or SIGINT; says how the workers ended.
///
/// The process must have one thread. In the children this function does not return: they exit.
pub fn run(plan: &Plan) -> Result<Ending, ServeError> {
    let tunables = plan.start.clone();
    check(plan, &tunables)?;
    prepare_directory(&plan.proc_dir)?;
    let pid_file = PidFile::take(&plan.proc_dir, &plan.base)?;
    let listeners = listeners::bind(tunables.open_listeners(), &[])?;
    raise_limits(tunables.sessions);
    let board = Scoreboard::create(&plan.proc_dir.join(SCOREBOARD), tunables.workers, tunables.sessions);
    let bind_ens = |_| ServiceSocket::bind(&plan.proc_dir, enpd::SOCKET);
    let shared = Shared {
        board: Arc::new(board.map_err(ServeError::Memory)?),
        tally: Arc::new(Tally::new().map_err(|error| ServeError::Memory(error.into()))?),
        bus: Bus::new(&plan.proc_dir, tunables.workers)?,
        auth_socket: ServiceSocket::bind(&plan.proc_dir, "auth")?,
        ens_socket: plan.ens.as_ref().map(bind_ens).transpose()?,
        _pid_file: pid_file,
        listeners,
        tunables,
    };
    Supervisor::new(plan, shared)?.run()
}

/// The services that can be stopped and started alone.
pub const SERVICES: [&str; 2] = [ENS, IMAP];

/// The event notification service.
const ENS: &str = "ens";

/// The process that looks after the store. Nothing runs without the store, so it is not stopped alone.
const STORE: &str = "store";

/// Workers and the auth process.
const IMAP: &str = "imap";

fn check(plan: &Plan, tunables: &Tunables) -> Result<(), ServeError> {
    if let (None, Some(listen)) = (&plan.tls, tunables.listeners.iter().find(|listen| listen.tls)) {
        return Err(ServeError::NoCertificate(listen.address));
    }
    if tunables.listeners.is_empty() && !tunables.is_stopped(IMAP) {
        return Err(ServeError::NoListener);
    }
    if !(1..=MAX_WORKERS).contains(&tunables.workers) {
        return Err(ServeError::Workers(tunables.workers));
    }
    Ok(())
}

/// Only the service user may reach the sockets inside.
fn prepare_directory(path: &Path) -> Result<(), ServeError> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)))
        .map_err(|source| ServeError::Directory { path: path.to_owned(), source })
}

impl ServiceSocket {
    fn bind(directory: &Path, socket: &str) -> Result<Self, ServeError> {
        let name = directory.join(socket);
        let bind = || {
            match fs::remove_file(&name) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let directory = SocketDirectory::open(directory)?;
            let path = directory.path(socket);
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&name, Permissions::from_mode(0o600))?;
            Ok(ServiceSocket { listener, path, _directory: directory })
        };
        bind().map_err(|source| ServeError::ServiceSocket { path: name.clone(), source })
    }
}

/// A lower limit than the sessions need is worth a warning, not a refusal: most servers are never full.
fn raise_limits(sessions: usize) {
    let wanted = sessions as u64 * SESSION_DESCRIPTORS + SPARE_DESCRIPTORS;
    match sys::raised(|| sys::raise_descriptor_limit(wanted)) {
        Ok(limit) if limit >= wanted => {}
        Ok(limit) => {
            log::warn!(limit, wanted; "few open files allowed, should each session have a user of its own: raise the limit, or lower service.imap.maxsessions and raise service.imap.numprocesses")
        }
        Err(error) => log::warn!(error:% = error; "cannot raise the limit of open files"),
    }
}
