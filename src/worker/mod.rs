//! A worker process: everything that a connection needs after `accept`.
//!
//! ```text
//!  acceptor threads ──► slots ◄── state word per slot: idle, queued, running
//!                         ▲
//!        pool threads ────┘   one of them has the seat: poller, timer wheel, ready queue
//!                             the others wait, last in first out
//! ```
//!
//! * [`slot`]: the state machine that keeps a session in one place and loses no event.
//! * [`connection`]: one socket and its session; the only caller of [`Session`](crate::session::Session).
//! * [`transport`]: the socket, plain or with TLS on it.
//! * [`thread`], [`seat`], [`roster`], [`inbox`]: who polls, who works, who waits.
//! * [`wheel`], [`timer`]: time limits.
//! * [`acceptor`], [`scoreboard`]: admission.

mod acceptor;
mod auth_link;
mod connection;
mod inbox;
mod limits;
mod pool;
mod roster;
mod scoreboard;
mod scratch;
mod seat;
mod slot;
mod thread;
mod timer;
mod transport;
mod wheel;

use std::error::Error;
use std::io;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Poll;
use thiserror::Error;

use crate::notify::{self, Hub};
use crate::session::{Protocol, Waker};
use crate::{sys, tls};

use acceptor::Acceptor;
use pool::Pool;
use seat::Seat;

pub use auth_link::AuthLink;
pub use connection::TimeLimits;
pub use limits::{MAX_WORKERS, SPARE_DESCRIPTORS};
pub use scoreboard::{Counter, Scoreboard};

/// What a worker is made of; all of it except the auth link comes from the master through `fork`.
pub struct Parts<'a> {
    /// Which of the workers this is.
    pub index: usize,
    /// Threads of the pool (`service.imap.maxthreads`).
    pub threads: usize,
    /// Sessions at most (`service.imap.maxsessions`).
    pub sessions: usize,
    pub limits: TimeLimits,
    pub listeners: Vec<Listener>,
    /// For sessions that begin TLS themselves; [`Worker::refresh`] reloads its certificate.
    pub tls: Option<Arc<tls::Context>>,
    pub board: Arc<Scoreboard>,
    pub notify: notify::Endpoint,
    pub auth: Box<dyn AuthLink>,
    pub protocol: &'a ProtocolFactory,
}

/// A socket that connections come from.
pub struct Listener {
    pub socket: TcpListener,
    /// TLS begins with the first byte; `None`: when the session says so.
    pub implicit_tls: Option<Arc<tls::Context>>,
}

/// Makes the protocol inside a worker; here the store is opened.
pub type ProtocolFactory = dyn Fn(WorkerContext) -> Result<Arc<dyn Protocol>, Box<dyn Error + Send + Sync>>;

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
    #[error("cannot start the protocol: {0}")]
    Protocol(#[source] Box<dyn Error + Send + Sync>),
}

/// A running worker.
pub struct Worker {
    pool: Arc<Pool>,
    protocol: Arc<dyn Protocol>,
    tls: Option<Arc<tls::Context>>,
}

impl Worker {
    /// Starts the threads and begins to accept.
    pub fn start(parts: Parts<'_>) -> Result<Self, WorkerError> {
        let poll = Poll::new().map_err(WorkerError::Poller)?;
        let slots = parts.sessions + parts.listeners.len();
        let pool_parts = pool::Parts {
            index: parts.index,
            threads: parts.threads,
            slots,
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

        pool.roster.pass_seat(Box::new(Seat::new(poll, slots)));
        for number in 0..parts.threads {
            let pool = Arc::clone(&pool);
            spawn(format!("session {number}"), move || thread::work(pool, number))?;
        }
        for listener in parts.listeners {
            let (pool, protocol, board) =
                (Arc::clone(&pool), Arc::clone(&protocol), Arc::clone(&parts.board));
            let Listener { socket, implicit_tls } = listener;
            let starttls = parts.tls.clone();
            let index = parts.index;
            let acceptor =
                Acceptor { pool, protocol, listener: socket, implicit_tls, starttls, board, index };
            spawn("accept".to_owned(), move || acceptor.work())?;
        }
        Ok(Worker { pool, protocol, tls: parts.tls })
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

    /// Takes over options that a refresh can change.
    pub fn refresh(&self) {
        self.protocol.refresh();
        if let Some(tls) = &self.tls {
            tls.refresh();
        }
    }
}

/// Exit code of a worker that has lost a thread.
const EXIT_PANICKED: i32 = 101;

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<(), WorkerError> {
    let builder = std::thread::Builder::new().name(name.clone()).stack_size(limits::THREAD_STACK);
    // A panic in a session is caught where it runs. One that gets here has left the pool without a thread, perhaps
    // without the seat: the process must not go on.
    let work = move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            sys::exit_now(EXIT_PANICKED);
        }
    };
    builder.spawn(work).map(drop).map_err(|error| WorkerError::Thread(name, error))
}
