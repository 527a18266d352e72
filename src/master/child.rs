//! What runs in a process that the master has forked.

use std::error::Error;
use std::ffi::CString;
use std::io::PipeReader;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use arc_swap::ArcSwap;
use libc::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use crate::config::Settings;
use crate::sys::{self, Account, Confinement, Parcel, Signals, SignalsBlocked};
use crate::tls::Pem;
use crate::worker::{self, Access, Listener, Refreshed, Worker};

use super::desk::Desk;
use super::limits::{DRAIN_TICK, GOODBYE_TIME};
use super::listeners::Bound;
use super::{ENS, IMAP, Plan, STORE, Shared, Tunables};

/// Exit code of a child that cannot start or go on.
const EXIT_FAILED: i32 = 1;

/// What a child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Auth,
    Enpd,
    Stored,
    Worker(usize),
}

impl Role {
    pub fn name(self) -> String {
        match self {
            Role::Auth => "auth".to_owned(),
            Role::Enpd => "enpd".to_owned(),
            Role::Stored => "stored".to_owned(),
            Role::Worker(index) => format!("worker {index}"),
        }
    }

    /// Workers hold sessions; the others serve workers.
    pub fn is_worker(self) -> bool {
        matches!(self, Role::Worker(_))
    }

    /// The service that the process is a part of.
    pub fn service(self) -> &'static str {
        match self {
            Role::Enpd => ENS,
            Role::Stored => STORE,
            Role::Auth | Role::Worker(_) => IMAP,
        }
    }

    /// The name of the process for [`Status`](super::Status): a service, or what only that needs.
    pub fn title(self) -> &'static str {
        match self {
            Role::Auth => "auth",
            Role::Enpd => ENS,
            Role::Stored => STORE,
            Role::Worker(_) => IMAP,
        }
    }

    /// Whether such a process is to be there.
    pub fn is_wanted(self, tunables: &Tunables) -> bool {
        let is_extra = matches!(self, Role::Worker(worker) if worker >= tunables.workers);
        !is_extra && !tunables.is_stopped(self.service())
    }
}

/// What a child inherits besides the plan.
pub struct Inheritance {
    pub role: Role,
    pub parent: Pid,
    /// Ends when the master does.
    pub lifeline: PipeReader,
    /// Brings what a refresh has changed.
    pub line: OwnedFd,
    /// Nobody else in this process keeps them: a socket is closed when its last holder lets go.
    pub listeners: Vec<Bound>,
    /// Signals stay away until the child listens.
    pub blocked: SignalsBlocked,
}

/// The life of a child; its exit code.
pub fn live(plan: &Plan, shared: &Shared, inheritance: Inheritance) -> i32 {
    let Inheritance { role, parent, lifeline, line, listeners, blocked } = inheritance;
    // Before anything else, and before the process is tied to its master: that does not outlive a change of user.
    if let Some(Err(error)) = plan.user.as_ref().map(Account::become_for_good) {
        log::error!(role = role.name().as_str(), error:% = error; "cannot become the service user");
        return EXIT_FAILED;
    }
    let name = CString::new(role.name()).unwrap_or_default();
    if let Err(error) = sys::confine_child(parent, &name) {
        log::error!(role = role.name().as_str(), error:% = error; "cannot tie the process to its master");
        return EXIT_FAILED;
    }
    log_panics();
    // SIGINT and SIGHUP come from the terminal to all processes at once; the master decides what they mean.
    let signals = match Signals::listen(&[SIGTERM, SIGINT, SIGHUP, SIGUSR1]) {
        Ok(signals) => signals,
        Err(error) => {
            log::error!(role = role.name().as_str(), error:% = error; "cannot listen to signals");
            return EXIT_FAILED;
        }
    };
    drop(blocked);
    let attention = Attention { signals, lifeline, line, plan };
    match role {
        Role::Auth => {
            drop(listeners);
            live_as_auth(plan, shared, attention)
        }
        Role::Enpd => {
            drop(listeners);
            live_as_enpd(plan, shared, attention)
        }
        Role::Stored => {
            drop(listeners);
            live_as_stored(plan, shared, attention)
        }
        Role::Worker(index) => live_as_worker(plan, shared, index, listeners, attention),
    }
}

fn live_as_worker(
    plan: &Plan,
    shared: &Shared,
    index: usize,
    listeners: Vec<Bound>,
    mut attention: Attention<'_>,
) -> i32 {
    let mut worker = match start_worker(plan, shared, index, listeners) {
        Ok(worker) => worker,
        Err(error) => {
            log::error!(worker = index, error:% = error; "worker cannot start");
            return EXIT_FAILED;
        }
    };
    let mut is_wanted = true;
    while attention.until_parcel(tick(is_wanted), || is_wanted || worker.is_in_use()) {
        for News { tunables, pem, listeners } in attention.parcels() {
            is_wanted = !listeners.is_empty();
            if let Err(error) = refresh_worker(&mut worker, &tunables, pem, listeners) {
                log::error!(worker = index, error:% = error; "cannot take over all of the configuration");
            }
        }
    }
    worker.stop(GOODBYE_TIME);
    0
}

/// A worker that is not wanted looks now and then whether its last session has ended.
fn tick(is_wanted: bool) -> PollTimeout {
    if is_wanted { PollTimeout::NONE } else { PollTimeout::try_from(DRAIN_TICK).unwrap_or(PollTimeout::MAX) }
}

fn start_worker(
    plan: &Plan,
    shared: &Shared,
    index: usize,
    listeners: Vec<Bound>,
) -> Result<Worker, Box<dyn Error>> {
    let notify = shared.bus.endpoint(index).ok_or("no notify socket for this worker")?;
    let settings = &shared.tunables.settings;
    let desk = Desk::bind(&plan.proc_dir, index)?;
    confine(Role::Worker(index), plan);
    shared.board.start(index, Pid::this().as_raw().unsigned_abs());
    let worker = Worker::start(worker::Parts {
        index,
        threads: plan.threads,
        limits: shared.tunables.limits,
        listeners: listeners
            .into_iter()
            .map(|bound| listener(plan, bound.socket, bound.listen.tls))
            .collect(),
        tls: plan.tls.clone(),
        board: Arc::clone(&shared.board),
        tally: Arc::clone(&shared.tally),
        access: Access::from(settings.as_ref()),
        notify,
        auth: (plan.auth_link)(&shared.auth_socket.path),
        protocol: &|context| (plan.protocol)(context, settings),
    })?;
    desk.open(worker.registry())?;
    Ok(worker)
}

fn listener(plan: &Plan, socket: TcpListener, tls: bool) -> Listener {
    Listener { socket, implicit_tls: plan.tls.clone().filter(|_| tls) }
}

/// A worker without sockets only finishes its sessions.
fn refresh_worker(
    worker: &mut Worker,
    tunables: &Tunables,
    tls: Option<Pem>,
    listeners: Vec<Listener>,
) -> Result<(), worker::WorkerError> {
    super::raise_limits(tunables.sessions);
    worker.refresh(Refreshed { limits: tunables.limits, listeners, tls, settings: &tunables.settings })
}

fn live_as_auth(plan: &Plan, shared: &Shared, attention: Attention<'_>) -> i32 {
    confine(Role::Auth, plan);
    let settings = Arc::new(ArcSwap::new(Arc::clone(&shared.tunables.settings)));
    let (serve, current) = (Arc::clone(&plan.auth), Arc::clone(&settings));
    match shared.auth_socket.listener.try_clone() {
        Ok(listener) => {
            live_as_service("auth", attention, &settings, move || match serve(listener, current) {
                Ok(()) => log::error!("the auth service ended"),
                Err(error) => log::error!(error:% = error; "the auth service ended"),
            })
        }
        Err(error) => {
            log::error!(error:% = error; "cannot start the auth service");
            EXIT_FAILED
        }
    }
}

fn live_as_enpd(plan: &Plan, shared: &Shared, attention: Attention<'_>) -> i32 {
    confine(Role::Enpd, plan);
    let (Some(serve), Some(socket)) = (plan.ens.clone(), &shared.ens_socket) else { return EXIT_FAILED };
    let settings = ArcSwap::new(Arc::clone(&shared.tunables.settings));
    match socket.listener.try_clone() {
        Ok(listener) => live_as_service("enpd", attention, &settings, move || {
            let Err(error) = serve(listener);
            log::error!(error:% = error; "the event notification service ended");
        }),
        Err(error) => {
            log::error!(error:% = error; "cannot start the event notification service");
            EXIT_FAILED
        }
    }
}

fn live_as_stored(plan: &Plan, shared: &Shared, attention: Attention<'_>) -> i32 {
    let Some(serve) = plan.stored.clone() else { return EXIT_FAILED };
    confine(Role::Stored, plan);
    let settings = Arc::new(ArcSwap::new(Arc::clone(&shared.tunables.settings)));
    let current = Arc::clone(&settings);
    live_as_service("stored", attention, &settings, move || {
        let Err(error) = serve(current);
        log::error!(error:% = error; "nobody looks after the store any more");
    })
}

/// The service has a thread, so that this one can wait for signals. It keeps nothing that a sudden end harms.
fn live_as_service(
    name: &str,
    mut attention: Attention<'_>,
    settings: &ArcSwap<Settings>,
    serve: impl FnOnce() + Send + 'static,
) -> i32 {
    let service = move || {
        serve();
        sys::exit_now(EXIT_FAILED);
    };
    if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(service) {
        log::error!(role = name, error:% = error; "cannot start the service");
        return EXIT_FAILED;
    }
    while attention.until_parcel(PollTimeout::NONE, || true) {
        for news in attention.parcels() {
            settings.store(news.tunables.settings);
        }
    }
    0
}

/// Gives up all paths and system calls that the role does not need, before the first thread. A kernel that cannot do
/// this is no reason not to serve.
fn confine(role: Role, plan: &Plan) {
    let (name, uid) = (role.name(), nix::unistd::geteuid().as_raw());
    let role_name = name.as_str();
    let Some(bounds) = &plan.bounds else {
        return log::info!(role = role_name, uid; "not confined: local.sandbox is off");
    };
    let confined = sys::confine(match role {
        Role::Auth => &bounds.auth,
        Role::Enpd => &bounds.enpd,
        Role::Stored => &bounds.stored,
        Role::Worker(_) => &bounds.worker,
    });
    if let Err(error) = &confined.landlock {
        log::warn!(role = role_name, error:% = error; "cannot confine the process to its paths");
    }
    if let Err(error) = &confined.seccomp {
        log::warn!(role = role_name, error:% = error; "cannot confine the process to its system calls");
    }
    let landlock = confined.landlock.map_or("failed", Confinement::as_str);
    let seccomp = if confined.seccomp.is_ok() { "on" } else { "failed" };
    log::info!(role = role_name, uid, landlock, seccomp; "confined");
}

/// What the master has sent, understood.
struct News {
    tunables: Tunables,
    /// Certificate and key, for a worker.
    pem: Option<Pem>,
    listeners: Vec<Listener>,
}

/// Signals, the master's life, and what it sends.
struct Attention<'a> {
    signals: Signals,
    lifeline: PipeReader,
    line: OwnedFd,
    plan: &'a Plan,
}

/// What poll has seen.
enum Event {
    Orphaned,
    Parcel,
    Other,
}

impl Attention<'_> {
    /// Obeys signals until the master has sent something: `true`. `false` when it is time to end, because a signal
    /// says so, the master is gone, or, looked at after each `timeout`, it is not needed any more.
    fn until_parcel(&mut self, timeout: PollTimeout, is_needed: impl Fn() -> bool) -> bool {
        loop {
            if !is_needed() {
                return false;
            }
            let event = self.wait(timeout);
            for signal in self.signals.take() {
                match signal {
                    SIGTERM => return false,
                    SIGUSR1 => (self.plan.reopen_logs)(),
                    _ => {}
                }
            }
            match event {
                Event::Orphaned => {
                    log::error!("the master is gone");
                    return false;
                }
                Event::Parcel => return true,
                Event::Other => {}
            }
        }
    }

    /// Waits for something to happen. Nothing is ever written to the lifeline: an event there is its end.
    fn wait(&self, timeout: PollTimeout) -> Event {
        let mut watched = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.lifeline.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.line.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut watched, timeout) {
            Ok(_) if watched[1].any().unwrap_or(true) => Event::Orphaned,
            Ok(_) if watched[2].any().unwrap_or(true) => Event::Parcel,
            Ok(_) | Err(Errno::EINTR) => Event::Other,
            Err(_) => Event::Orphaned,
        }
    }

    /// What the master has sent; what is not understood is logged.
    fn parcels(&self) -> Vec<News> {
        let mut parcels = Vec::new();
        loop {
            match sys::receive_parcel(&self.line) {
                Ok(Some(parcel)) => parcels.extend(self.open(parcel)),
                Ok(None) => return parcels,
                Err(error) => {
                    log::error!(error:% = error; "cannot hear of a refresh");
                    return parcels;
                }
            }
        }
    }

    fn open(&self, parcel: Parcel) -> Option<News> {
        let mut texts = parcel.texts.into_iter();
        match (self.plan.interpret)(&texts.next().unwrap_or_default()) {
            Ok(tunables) => {
                (self.plan.adopt)(&tunables.settings);
                let sockets = parcel.files.into_iter().map(TcpListener::from).zip(parcel.notes);
                let listeners = sockets.map(|(socket, tls)| listener(self.plan, socket, tls)).collect();
                let pem = (tunables.tls.clone().zip(texts.next()).zip(texts.next()))
                    .map(|((files, certificate), key)| Pem::new(files, certificate, key));
                Some(News { tunables, pem, listeners })
            }
            Err(error) => {
                log::error!(error:% = error; "cannot understand a refresh");
                None
            }
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
