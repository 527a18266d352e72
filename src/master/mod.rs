//! The master: one thread that binds, forks, watches, restarts, and turns signals into actions. It never reads
//! from the network.
//!
//! Everything that children share is made before the first fork: listening sockets, the scoreboard, the
//! notify bus, the auth socket. Whatever has threads or a poller is made after it, in the child.

mod child;
mod ens;
mod limits;
mod pid_file;
mod restart;
mod service;
mod supervisor;

use std::convert::Infallible;
use std::error::Error;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use thiserror::Error;

use crate::notify::{Bus, BusError, enpd};
use crate::sys::{self, ForkError, SocketDirectory};
use crate::tls;
use crate::worker::{
    AuthLink, Listener, MAX_WORKERS, ProtocolFactory, SPARE_DESCRIPTORS, Scoreboard, TimeLimits,
};

use pid_file::PidFile;
use supervisor::Supervisor;

pub use ens::event_service;
pub use pid_file::PidFileError;
pub use service::serve;
pub use supervisor::Ending;

/// All that the master needs to know, made from the settings.
pub struct Plan {
    /// The base, for messages.
    pub base: PathBuf,
    /// `data/proc` under the base: pid file and sockets.
    pub proc_dir: PathBuf,
    pub listeners: Vec<Listen>,
    /// Certificate and ticket keys, loaded before the first fork; `None`: no TLS.
    pub tls: Option<Arc<tls::Context>>,
    /// `service.imap.numprocesses`, at most [`MAX_WORKERS`].
    pub workers: usize,
    /// `service.imap.maxthreads`, per worker.
    pub threads: usize,
    /// `service.imap.maxsessions`, per worker.
    pub sessions: usize,
    pub limits: TimeLimits,
    /// `local.autorestart`: whether children that die are replaced.
    pub autorestart: bool,
    /// `local.autorestart.timeout`: repeated failures within this time end the attempts.
    pub autorestart_window: Duration,
    /// Called in each worker, once.
    pub protocol: Box<ProtocolFactory>,
    /// Called in each worker with the path of the auth socket.
    pub auth_link: Box<AuthLinkFactory>,
    /// The auth process: serves the socket and does not return, except to fail.
    pub auth: Arc<AuthService>,
    /// The event notification service: does not return, except to fail. `None` when it is not to run.
    pub ens: Option<Arc<EnsService>>,
    /// Called in every process on SIGUSR1.
    pub reopen_logs: Box<dyn Fn()>,
    /// Called once with the bound addresses, when all children have been forked: whoever waits for it finds them.
    pub bound: Box<BoundHook>,
}

/// Makes a worker's connection to the auth process.
pub type AuthLinkFactory = dyn Fn(&Path) -> Box<dyn AuthLink>;

/// Hears which addresses were bound, and which of them begin with TLS.
pub type BoundHook = dyn Fn(&[(SocketAddr, bool)]);

/// The main function of the auth process.
pub type AuthService = dyn Fn(UnixListener) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync;

/// The main function of enpd.
pub type EnsService = dyn Fn(UnixListener) -> Result<Infallible, Box<dyn Error + Send + Sync>> + Send + Sync;

/// An address to listen on, and the option that a message about it names.
#[derive(Clone, Debug)]
pub struct Listen {
    pub address: SocketAddr,
    /// Whether TLS begins at once. Needs [`Plan::tls`].
    pub tls: bool,
    pub option: &'static str,
}

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
    Memory(#[source] Errno),
    #[error("cannot listen to signals: {0}")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Fork(ForkError),
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    #[error("no worker stays alive; the log says why")]
    GaveUp,
}

/// What the children inherit.
struct Shared {
    listeners: Vec<Listener>,
    board: Arc<Scoreboard>,
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
    if plan.listeners.is_empty() {
        return Err(ServeError::NoListener);
    }
    if !(1..=MAX_WORKERS).contains(&plan.workers) {
        return Err(ServeError::Workers(plan.workers));
    }
    prepare_directory(&plan.proc_dir)?;
    let pid_file = PidFile::take(&plan.proc_dir, &plan.base)?;
    let listeners = plan.listeners.iter().map(|one| listen(one, plan)).collect::<Result<Vec<_>, _>>()?;
    raise_limits(plan);
    let auth_socket = ServiceSocket::bind(&plan.proc_dir, "auth")?;
    let bind_ens = |_| ServiceSocket::bind(&plan.proc_dir, enpd::SOCKET);
    let ens_socket = plan.ens.as_ref().map(bind_ens).transpose()?;
    let shared = Shared {
        board: Arc::new(Scoreboard::new(plan.workers, plan.sessions).map_err(ServeError::Memory)?),
        bus: Bus::new(&plan.proc_dir, plan.workers)?,
        auth_socket,
        ens_socket,
        _pid_file: pid_file,
        listeners,
    };
    Supervisor::new(plan, shared)?.run()
}

/// Only the service user may reach the sockets inside.
fn prepare_directory(path: &Path) -> Result<(), ServeError> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)))
        .map_err(|source| ServeError::Directory { path: path.to_owned(), source })
}

fn listen(listen: &Listen, plan: &Plan) -> Result<Listener, ServeError> {
    let Listen { address, tls, option } = *listen;
    let implicit_tls = match &plan.tls {
        None if tls => return Err(ServeError::NoCertificate(address)),
        context => context.clone().filter(|_| tls),
    };
    let socket = sys::listen(address).map_err(|source| match source.kind() {
        ErrorKind::AddrInUse => ServeError::PortInUse { address, option },
        ErrorKind::PermissionDenied => ServeError::PortForbidden { address, option },
        _ => ServeError::Listen { address, option, source },
    })?;
    Ok(Listener { socket, implicit_tls })
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
fn raise_limits(plan: &Plan) {
    let wanted = plan.sessions as u64 + SPARE_DESCRIPTORS;
    match sys::raise_descriptor_limit(wanted) {
        Ok(limit) if limit >= wanted => {}
        Ok(limit) => {
            log::warn!(limit, wanted; "few open files allowed; raise the limit or lower service.imap.maxsessions")
        }
        Err(error) => log::warn!(error:% = error; "cannot raise the limit of open files"),
    }
}
