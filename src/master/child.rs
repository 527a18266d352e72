//! What runs in a process that the master has forked.

use std::ffi::CString;
use std::io::{self, PipeReader};
use std::os::fd::AsFd;
use std::sync::Arc;

use libc::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use crate::sys::{self, Signals, SignalsBlocked};
use crate::worker::{self, Listener, Worker};

use super::limits::GOODBYE_TIME;
use super::{Plan, Shared};

/// Exit code of a child that cannot start or go on.
const EXIT_FAILED: i32 = 1;

/// What a child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Auth,
    Enpd,
    Worker(usize),
}

impl Role {
    pub fn name(self) -> String {
        match self {
            Role::Auth => "auth".to_owned(),
            Role::Enpd => "enpd".to_owned(),
            Role::Worker(index) => format!("worker {index}"),
        }
    }

    /// Workers hold sessions; the others serve workers.
    pub fn is_worker(self) -> bool {
        matches!(self, Role::Worker(_))
    }
}

/// What a child inherits besides the plan.
pub struct Inheritance {
    pub role: Role,
    pub parent: Pid,
    /// Ends when the master does.
    pub lifeline: PipeReader,
    /// Signals stay away until the child listens.
    pub blocked: SignalsBlocked,
}

/// The life of a child; its exit code.
pub fn live(plan: &Plan, shared: &Shared, inheritance: Inheritance) -> i32 {
    let Inheritance { role, parent, lifeline, blocked } = inheritance;
    let name = CString::new(role.name()).unwrap_or_default();
    if let Err(error) = sys::confine_child(parent, &name) {
        log::error!(role = role.name().as_str(), error:% = error; "cannot tie the process to its master");
        return EXIT_FAILED;
    }
    log_panics();
    // SIGINT comes from the terminal to all processes at once; the master decides what it means.
    let signals = match Signals::listen(&[SIGTERM, SIGINT, SIGHUP, SIGUSR1]) {
        Ok(signals) => signals,
        Err(error) => {
            log::error!(role = role.name().as_str(), error:% = error; "cannot listen to signals");
            return EXIT_FAILED;
        }
    };
    drop(blocked);
    let attention = Attention { signals, lifeline, plan };
    match role {
        Role::Auth => live_as_auth(plan, shared, attention),
        Role::Enpd => live_as_enpd(plan, shared, attention),
        Role::Worker(index) => live_as_worker(plan, shared, index, attention),
    }
}

fn live_as_worker(plan: &Plan, shared: &Shared, index: usize, mut attention: Attention<'_>) -> i32 {
    let worker = match start_worker(plan, shared, index) {
        Ok(worker) => worker,
        Err(error) => {
            log::error!(worker = index, error:% = error; "worker cannot start");
            return EXIT_FAILED;
        }
    };
    attention.until_stop(|| worker.refresh());
    worker.stop(GOODBYE_TIME);
    0
}

fn start_worker(plan: &Plan, shared: &Shared, index: usize) -> Result<Worker, Box<dyn std::error::Error>> {
    let listeners = shared.listeners.iter().map(share).collect::<Result<_, _>>()?;
    let notify = shared.bus.endpoint(index).ok_or("no notify socket for this worker")?;
    shared.board.start(index, Pid::this().as_raw().unsigned_abs());
    Ok(Worker::start(worker::Parts {
        index,
        threads: plan.threads,
        sessions: plan.sessions,
        limits: plan.limits,
        listeners,
        tls: plan.tls.clone(),
        board: Arc::clone(&shared.board),
        notify,
        auth: (plan.auth_link)(&shared.auth_socket.path),
        protocol: plan.protocol.as_ref(),
    })?)
}

fn share(listener: &Listener) -> io::Result<Listener> {
    let implicit_tls = listener.implicit_tls.clone();
    Ok(Listener { socket: listener.socket.try_clone()?, implicit_tls })
}

fn live_as_auth(plan: &Plan, shared: &Shared, attention: Attention<'_>) -> i32 {
    let serve = Arc::clone(&plan.auth);
    match shared.auth_socket.listener.try_clone() {
        Ok(listener) => live_as_service("auth", attention, move || match serve(listener) {
            Ok(()) => log::error!("the auth service ended"),
            Err(error) => log::error!(error:% = error; "the auth service ended"),
        }),
        Err(error) => {
            log::error!(error:% = error; "cannot start the auth service");
            EXIT_FAILED
        }
    }
}

fn live_as_enpd(plan: &Plan, shared: &Shared, attention: Attention<'_>) -> i32 {
    let (Some(serve), Some(socket)) = (plan.ens.clone(), &shared.ens_socket) else { return EXIT_FAILED };
    match socket.listener.try_clone() {
        Ok(listener) => live_as_service("enpd", attention, move || {
            let Err(error) = serve(listener);
            log::error!(error:% = error; "the event notification service ended");
        }),
        Err(error) => {
            log::error!(error:% = error; "cannot start the event notification service");
            EXIT_FAILED
        }
    }
}

/// The service has a thread, so that this one can wait for signals. It keeps nothing that a sudden end harms.
fn live_as_service(name: &str, mut attention: Attention<'_>, serve: impl FnOnce() + Send + 'static) -> i32 {
    let service = move || {
        serve();
        sys::exit_now(EXIT_FAILED);
    };
    if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(service) {
        log::error!(role = name, error:% = error; "cannot start the service");
        return EXIT_FAILED;
    }
    attention.until_stop(|| ());
    0
}

/// Signals and the master's life.
struct Attention<'a> {
    signals: Signals,
    lifeline: PipeReader,
    plan: &'a Plan,
}

impl Attention<'_> {
    /// Obeys signals until one says stop, or the master is gone.
    fn until_stop(&mut self, refresh: impl Fn()) {
        loop {
            if self.is_orphaned() {
                return log::error!("the master is gone");
            }
            for signal in self.signals.take() {
                match signal {
                    SIGTERM => return,
                    SIGHUP => refresh(),
                    SIGUSR1 => (self.plan.reopen_logs)(),
                    _ => {}
                }
            }
        }
    }

    /// Waits for something to happen. Nothing is ever written to the lifeline: an event there is its end.
    fn is_orphaned(&self) -> bool {
        let mut watched = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.lifeline.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) => watched[1].any().unwrap_or(true),
            Err(Errno::EINTR) => false,
            Err(_) => true,
        }
    }
}

/// A panic is one line of the log, like everything else.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let place = info.location().map(|place| place.to_string()).unwrap_or_default();
        let message = info.payload_as_str().unwrap_or("");
        log::error!(thread = thread.name().unwrap_or(""), place = place.as_str(), message = message; "panic");
    }));
}
