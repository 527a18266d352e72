//! A worker process: everything that a connection needs after `accept`.
//!
//! ```text
//!  acceptor threads ──► slots ◄── state word per slot: idle, queued, running
//!                         ▲
//!        pool threads ────┘   one of them has the seat: poller, timer wheel, ready queue
//!                             the others wait, last in first out
//! ```
//!
//! * [`slot`], [`slots`]: the state machine that keeps a session in one place and loses no event.
//! * [`connection`]: one socket and its session; the only caller of [`Session`](crate::session::Session).
//! * [`transport`]: the socket, plain or with TLS on it.
//! * [`thread`], [`seat`], [`roster`], [`inbox`]: who polls, who works, who waits.
//! * [`wheel`], [`timer`]: time limits.
//! * [`acceptor`], [`gate`], [`scoreboard`]: admission.

mod acceptor;
mod auth_link;
mod backlog;
mod connection;
mod gate;
mod inbox;
mod limits;
mod pool;
mod roster;
mod scoreboard;
mod scratch;
mod seat;
mod slot;
mod slots;
mod snapshot;
mod thread;
mod timer;
mod transport;
mod wheel;

use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::Poll;
use thiserror::Error;

use crate::config::Settings;
use crate::notify::{self, Hub};
use crate::session::{Protocol, Waker};
use crate::{sys, tls};

use acceptor::{Acceptor, Door};
use gate::Gate;
use pool::Pool;
use seat::Seat;

pub use auth_link::AuthLink;
pub use connection::{SessionInfo, TimeLimits};
pub use gate::{Access, Tally};
pub use limits::{MAX_WORKERS, SESSION_DESCRIPTORS, SPARE_DESCRIPTORS};
pub use scoreboard::{Counter, Scoreboard};
pub use snapshot::{SCOREBOARD, Snapshot, SnapshotError};

/// What a worker is made of; all of it except the auth link comes from the master through `fork`.
pub struct Parts<'a> {
    /// Which of the workers this is.
    pub index: usize,
    /// Threads of the pool (`service.imap.maxthreads`).
    pub threads: usize,
    pub limits: TimeLimits,
    pub listeners: Vec<Listener>,
    /// For sessions that begin TLS themselves.
    pub tls: Option<Arc<tls::Context>>,
    pub board: Arc<Scoreboard>,
    pub tally: Arc<Tally>,
    /// Who may connect.
    pub access: Access,
    pub notify: notify::Endpoint,
    pub auth: Box<dyn AuthLink>,
    pub protocol: &'a ProtocolFactory<'a>,
}

/// A socket that connections come from.
pub struct Listener {
    pub socket: TcpListener,
    /// TLS begins with the first byte; `None`: when the session says so.
    pub implicit_tls: Option<Arc<tls::Context>>,
}

impl Listener {
    /// Tells it from the others of a server.
    fn name(&self) -> io::Result<(SocketAddr, bool)> {
        Ok((self.socket.local_addr()?, self.implicit_tls.is_some()))
    }
}

/// Makes the protocol inside a worker; here the store is opened.
pub type ProtocolFactory<'a> =
    dyn Fn(WorkerContext) -> Result<Arc<dyn Protocol>, Box<dyn Error + Send + Sync>> + 'a;

/// What a protocol gets from its worker.
pub struct WorkerContext {
    /// Which of the workers this is.
    pub index: usize,
    /// Changes of mailboxes, in and out.
    pub hub: Arc<Hub>,
    /// Wakes sessions of this worker, from any thread.
    pub waker: Waker,
}

/// Why a worker does not start.
#[derive(Debug, Error)]
pub enum WorkerError {
    #[error("cannot set up the poller: {0}; check the limit of open files")]
    Poller(#[source] io::Error),
    #[error("cannot start thread {0}: {1}; lower service.imap.maxthreads or raise the limit of processes")]
    Thread(String, #[source] io::Error),
    #[error("cannot use a listening socket: {0}; start the server anew")]
    Listener(#[source] io::Error),
    #[error("cannot start the protocol: {0}")]
    Protocol(#[source] Box<dyn Error + Send + Sync>),
}

/// A running worker.
pub struct Worker {
    index: usize,
    pool: Arc<Pool>,
    protocol: Arc<dyn Protocol>,
    gate: Arc<Gate>,
    board: Arc<Scoreboard>,
    tls: Option<Arc<tls::Context>>,
    doors: Vec<Door>,
}

/// What a refresh changes in a worker.
pub struct Refreshed<'a> {
    pub limits: TimeLimits,
    /// Where to accept from now on; nowhere, when the worker is only to finish its sessions.
    pub listeners: Vec<Listener>,
    /// Certificate and key.
    pub tls: Option<tls::Pem>,
    pub settings: &'a Settings,
}

impl Worker {
    /// Starts the threads and begins to accept.
    pub fn start(parts: Parts<'_>) -> Result<Self, WorkerError> {
        let poll = Poll::new().map_err(WorkerError::Poller)?;
        let pool_parts = pool::Parts {
            index: parts.index,
            threads: parts.threads,
            limits: parts.limits,
            board: Arc::clone(&parts.board),
            auth: parts.auth,
        };
        let waker = mio::Waker::new(poll.registry(), pool::WAKER).map_err(WorkerError::Poller)?;
        let registry = poll.registry().try_clone().map_err(WorkerError::Poller)?;
        let pool = Arc::new(Pool::new(pool_parts, registry, waker));

        let waker: Waker = pool.clone();
        let hub = Arc::new(Hub::new(parts.notify, Arc::clone(&waker)));
        pool.attach(Arc::clone(&hub)).map_err(WorkerError::Poller)?;
        let context = WorkerContext { index: parts.index, hub, waker };
        let protocol = (parts.protocol)(context).map_err(WorkerError::Protocol)?;

        pool.roster.pass_seat(Box::new(Seat::new(poll)));
        for number in 0..parts.threads {
            let pool = Arc::clone(&pool);
            spawn(format!("session {number}"), move || thread::work(pool, number))?;
        }
        let (board, tls) = (parts.board, parts.tls);
        let gate = Arc::new(Gate::new(parts.index, parts.tally, parts.access));
        let mut worker = Worker { index: parts.index, pool, protocol, gate, board, tls, doors: Vec::new() };
        worker.listen(parts.listeners)?;
        Ok(worker)
    }

    /// Accepts at these sockets, and at no others any more.
    fn listen(&mut self, listeners: Vec<Listener>) -> Result<(), WorkerError> {
        let wanted: Vec<_> = listeners.iter().flat_map(Listener::name).collect();
        let (kept, closed) =
            std::mem::take(&mut self.doors).into_iter().partition(|door| wanted.contains(&door.name));
        self.doors = kept;
        closed.into_iter().for_each(Door::close);
        for listener in listeners {
            let name = listener.name().map_err(WorkerError::Listener)?;
            if !self.doors.iter().any(|door| door.name == name) {
                self.doors.push(Door::open(name, self.acceptor(listener))?);
            }
        }
        Ok(())
    }

    fn acceptor(&self, listener: Listener) -> Acceptor {
        Acceptor {
            pool: Arc::clone(&self.pool),
            protocol: Arc::clone(&self.protocol),
            gate: Arc::clone(&self.gate),
            listener: listener.socket,
            implicit_tls: listener.implicit_tls,
            starttls: self.tls.clone(),
            board: Arc::clone(&self.board),
            index: self.index,
            is_closed: Arc::default(),
        }
    }

    /// Says goodbye to all sessions and waits until they are gone, at most for `within`. Then lets the protocol
    /// bring to disk what it has deferred.
    pub fn stop(&self, within: Duration) {
        let deadline = Instant::now() + within;
        self.pool.stop();
        while self.pool.sessions() > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                log::warn!(sessions = self.pool.sessions(); "sessions cut off: their clients take no output");
                break;
            }
            self.pool.wait_for_end(left, || self.pool.sessions() > 0);
        }
        self.protocol.finish();
    }

    /// Takes over what a refresh has changed. Sessions go on.
    ///
    /// # Errors
    /// When a new socket gets no thread; the others do.
    pub fn refresh(&mut self, refreshed: Refreshed<'_>) -> Result<(), WorkerError> {
        self.pool.set_limits(refreshed.limits);
        if let (Some(context), Some(pem)) = (&self.tls, &refreshed.tls)
            && let Err(error) = context.reload(pem)
        {
            log::error!(error:% = error; "cannot reload the certificate, the old one stays in use");
        }
        self.gate.configure(Access::from(refreshed.settings));
        self.protocol.refresh(refreshed.settings);
        self.listen(refreshed.listeners)
    }

    /// Whether there is a session.
    pub fn is_in_use(&self) -> bool {
        self.pool.sessions() > 0
    }

    /// Waits until a session has ended, at most for `limit`.
    pub fn wait_for_end(&self, limit: Duration) {
        self.pool.wait_for_end(limit, || self.is_in_use());
    }

    /// Lists and ends sessions, from any thread.
    pub fn registry(&self) -> Registry {
        Registry(Arc::clone(&self.pool))
    }
}

/// The sessions of a worker, for administrators.
#[derive(Clone)]
pub struct Registry(Arc<Pool>);

impl Registry {
    /// Calls `visit` with each session. Holds up a session only while it is visited.
    pub fn visit(&self, visit: impl FnMut(SessionInfo)) {
        self.0.visit(visit);
    }

    /// Ends the sessions of a user with a goodbye; how many there were.
    pub fn kill(&self, user: &str) -> usize {
        self.0.kill(user)
    }
}

/// Exit code of a worker that has lost a thread.
const EXIT_PANICKED: i32 = 101;

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, WorkerError> {
    let builder = std::thread::Builder::new().name(name.clone()).stack_size(limits::THREAD_STACK);
    // A panic in a session is caught where it runs. One that gets here has left the pool without a thread, perhaps
    // without the seat: the process must not go on.
    let work = move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            sys::exit_now(EXIT_PANICKED);
        }
    };
    builder.spawn(work).map_err(|error| WorkerError::Thread(name, error))
}
