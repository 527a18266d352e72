//! Accepting connections: one thread per listener, in a blocking `accept4` on the socket that all workers share.
//!
//! The kernel wakes waiting threads in turn, which spreads connections evenly; pollers that share the socket do
//! not (one takes nearly all). A worker with clearly more sessions than another stays away from the socket for a
//! moment before each connection. A full worker stays away until it is not, so that the others get its share; when
//! all are full, those that became so last stay to turn clients away.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Instant;

use nix::errno::Errno;

use crate::config::Service;
use crate::session::{Protocol, Refusal};
use crate::sys::{self, Pace};
use crate::tls;

use super::connection::Tls;
use super::gate::Gate;
use super::limits::{ACCEPT_PAUSE, FULL_TICK, LEAD_TICK};
use super::pool::Pool;
use super::scoreboard::{Counter, Scoreboard};
use super::scratch::Scratch;
use super::{WorkerError, spawn};

/// An acceptor's thread, and the way to end it.
pub struct Door {
    /// Its socket's address, which no other socket has, and whether TLS begins at once.
    pub name: (SocketAddr, bool),
    is_closed: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Door {
    /// Begins to accept.
    pub fn open(name: (SocketAddr, bool), acceptor: Acceptor) -> Result<Self, WorkerError> {
        let is_closed = Arc::clone(&acceptor.is_closed);
        let thread = spawn("accept".to_owned(), move || acceptor.work())?;
        Ok(Door { name, is_closed, thread })
    }

    /// Stops accepting; what was accepted goes on.
    pub fn close(self) {
        self.is_closed.store(true, SeqCst);
        sys::join_interrupting(self.thread);
    }
}

pub struct Acceptor {
    pub pool: Arc<Pool>,
    pub protocol: Arc<dyn Protocol>,
    pub gate: Arc<Gate>,
    pub listener: TcpListener,
    pub implicit_tls: Option<Arc<tls::Context>>,
    pub starttls: Option<Arc<tls::Context>>,
    pub board: Arc<Scoreboard>,
    pub index: usize,
    pub is_closed: Arc<AtomicBool>,
}

/// When what was last said in the log; a flood of connections must not become a flood of lines.
#[derive(Default)]
struct Warnings {
    refusal: Pace,
    accept: Pace,
}

impl Acceptor {
    /// Accepts until the worker stops, or the door is closed.
    fn work(self) {
        let (mut warnings, mut scratch) = (Warnings::default(), Scratch::new());
        let is_over = || self.pool.is_stopping() || self.is_closed.load(SeqCst);
        while !is_over() {
            let is_full = || self.board.should_wait(self.index) && !is_over();
            if is_full() {
                self.pool.wait_for_end(FULL_TICK, is_full);
                continue;
            }
            let is_ahead = || self.board.is_ahead(self.index) && !is_over();
            if is_ahead() {
                self.pool.wait_for_end(LEAD_TICK, is_ahead);
            }
            match sys::accept(&self.listener) {
                Ok(connection) => self.receive(connection, &mut warnings.refusal, &mut scratch),
                Err(error) if is_the_clients(&error) => {}
                Err(error) => pause(&error, &mut warnings.accept),
            }
        }
    }

    fn receive(&self, (stream, remote): (TcpStream, SocketAddr), warning: &mut Pace, scratch: &mut Scratch) {
        if self.pool.is_stopping() {
            return;
        }
        let service = if self.implicit_tls.is_some() { Service::Imaps } else { Service::Imap };
        let why = match self.gate.admit(remote.ip(), service) {
            Ok(admission) if self.board.admit(self.index) => {
                let tls = self.tls();
                let protocol = self.protocol.as_ref();
                return self.pool.admit((stream, remote), tls, protocol, admission, scratch);
            }
            Ok(_) => Refusal::Full,
            Err(why) => {
                self.board.increment(self.index, Counter::Refused);
                why
            }
        };
        if warning.is_due(Instant::now()) {
            let refused = self.board.value(self.index, Counter::Refused);
            log::warn!(peer:% = remote, refused; "refused: {}", reason(why));
        }
        // Nobody would read it where TLS is expected, and a handshake is more than a refusal is worth.
        let text = if self.implicit_tls.is_none() { self.protocol.refusal(why) } else { Vec::new() };
        refuse(stream, &text);
    }

    fn tls(&self) -> Tls {
        match &self.implicit_tls {
            Some(context) => Tls::Implicit(context.clone()),
            None => Tls::OnDemand(self.starttls.clone()),
        }
    }
}

fn reason(why: Refusal) -> &'static str {
    match why {
        Refusal::Full => "all workers are full, see service.imap.maxsessions",
        Refusal::Crowded => "the client has too many connections, see service.imap.connlimits",
        Refusal::Filtered => "see service.imap.domainallowed and service.imap.domainnotallowed",
    }
}

/// A few bytes into an empty socket buffer: they fit, or the client is gone.
fn refuse(mut stream: TcpStream, text: &[u8]) {
    let _ = stream.write_all(text);
    let _ = stream.shutdown(Shutdown::Write);
}

/// The connection broke before it was accepted (accept(2) lists these for Linux): simply take the next one.
fn is_the_clients(error: &io::Error) -> bool {
    use Errno::*;
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted)
        || error.raw_os_error().is_some_and(|code| {
            matches!(
                Errno::from_raw(code),
                ENETDOWN
                    | EPROTO
                    | ENOPROTOOPT
                    | EHOSTDOWN
                    | ENONET
                    | EHOSTUNREACH
                    | EOPNOTSUPP
                    | ENETUNREACH
            )
        })
}

/// Out of descriptors or memory: waiting is all that helps.
fn pause(error: &io::Error, warning: &mut Pace) {
    if warning.is_due(Instant::now()) {
        log::error!(error:% = error; "cannot accept connections; raise the limit of open files or lower service.imap.maxsessions");
    }
    std::thread::sleep(ACCEPT_PAUSE);
}
