//! Keeps the children alive, and turns signals into actions.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use libc::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::sys::{self, Fork, Signals, SignalsBlocked};
use crate::tls::Pem;

use super::child::{self, Inheritance, Role};
use super::limits::KILL_AFTER;
use super::listeners::Bound;
use super::plan::RereadError;
use super::restart::{End, Restarts};
use super::{IMAP, Plan, ServeError, Shared, Status, check, listeners, raise_limits};

pub struct Supervisor<'a> {
    plan: &'a Plan,
    shared: Shared,
    /// `None` only on the way into a child, which must not inherit the registration.
    signals: Option<Signals>,
    lifeline: Option<(PipeReader, PipeWriter)>,
    children: Vec<Child>,
    stop_since: Option<Instant>,
    ending: Ending,
    status: Status,
    /// What was said last.
    said: Option<Status>,
}

/// How the workers of this master ended, all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Each said goodbye and brought to disk what it had deferred.
    Orderly,
    /// One at least died, at any time: what it had deferred may be in the system's memory only.
    Broken,
}

struct Child {
    role: Role,
    state: State,
    restarts: Restarts,
    /// To tell it of refreshes, while it runs.
    line: Option<OwnedFd>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Running {
        pid: Pid,
        since: Instant,
    },
    Waiting {
        until: Instant,
    },
    /// Given up, or stopped.
    Down,
}

impl<'a> Supervisor<'a> {
    pub fn new(plan: &'a Plan, shared: Shared) -> Result<Self, ServeError> {
        let signals =
            Signals::listen(&[SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD]).map_err(ServeError::Signals)?;
        let lifeline = io::pipe().map_err(ServeError::Signals)?;
        let mut supervisor = Supervisor {
            plan,
            shared,
            signals: Some(signals),
            lifeline: Some(lifeline),
            children: Vec::new(),
            stop_since: None,
            ending: Ending::Orderly,
            status: Status::default(),
            said: None,
        };
        supervisor.hire();
        Ok(supervisor)
    }

    /// Has a child for every role that is wanted, soon.
    fn hire(&mut self) {
        let window = self.shared.tunables.autorestart_window;
        let enpd = self.plan.ens.as_ref().map(|_| Role::Enpd);
        let stored = self.plan.stored.as_ref().map(|_| Role::Stored);
        let services = [enpd, stored, Some(Role::Auth)].into_iter().flatten();
        let roles = services.chain((0..self.shared.tunables.workers).map(Role::Worker));
        for role in roles.filter(|role| role.is_wanted(&self.shared.tunables)) {
            if !self.children.iter().any(|child| child.role == role) {
                self.children.push(Child::new(role, window));
            }
        }
    }

    /// Serves until told to stop.
    pub fn run(mut self) -> Result<Ending, ServeError> {
        self.start_due()?;
        self.say();
        self.name_listeners();
        loop {
            if self.stop_since.is_none() {
                self.start_due()?;
            }
            if self.stop_since.is_some() && self.is_everybody_down() {
                return Ok(self.ending);
            }
            if self.stop_since.is_none() && self.are_workers_given_up() {
                self.stop();
                self.reap_until_down();
                return Err(ServeError::GaveUp);
            }
            self.say();
            self.wait();
            self.obey_signals();
            self.reap();
            self.stop_rest();
        }
    }

    /// Says what runs, if that has changed.
    fn say(&mut self) {
        let running = |child: &Child| match child.state {
            State::Running { pid, .. } => Some((child.role.title().to_owned(), pid)),
            _ => None,
        };
        let master = ("watcher".to_owned(), Pid::this());
        self.status.services =
            std::iter::once(master).chain(self.children.iter().filter_map(running)).collect();
        if self.said.as_ref() == Some(&self.status) {
            return;
        }
        if let Err(error) = self.status.write(&self.plan.proc_dir) {
            log::warn!(error:% = error; "cannot write the file that says what runs");
        }
        self.said = Some(self.status.clone());
    }

    fn obey_signals(&mut self) {
        for signal in self.signals.as_mut().map(Signals::take).unwrap_or_default() {
            match signal {
                SIGTERM | SIGINT => self.stop(),
                SIGHUP => self.refresh(),
                SIGUSR1 => {
                    (self.plan.reopen_logs)();
                    self.signal_all(Signal::SIGUSR1);
                }
                _ => {}
            }
        }
    }

    // --- refreshing -----------------------------------------------------------------------------------------

    fn refresh(&mut self) {
        if self.stop_since.is_some() {
            return;
        }
        let result = self.try_refresh();
        self.status.refreshes += 1;
        self.status.refusal = result.as_ref().err().map(ToString::to_string);
        match result {
            Ok(()) => log::info!(workers = self.shared.tunables.workers; "refreshed"),
            Err(error) => log::error!(error:% = error; "refresh refused: the configuration stays as it was"),
        }
    }

    /// Nothing has changed when this fails.
    fn try_refresh(&mut self) -> Result<(), RereadError> {
        let tunables = (self.plan.reread)(&self.shared.tunables)?;
        check(self.plan, &tunables)?;
        let listeners = listeners::bind(tunables.open_listeners(), &self.shared.listeners)?;
        let pem = tunables.tls.clone().map(|files| sys::raised(|| Pem::read(files))).transpose()?;
        if let (Some(context), Some(pem)) = (&self.plan.tls, &pem) {
            context.reload(pem)?;
        }
        self.shared.bus.grow(tunables.workers)?;
        raise_limits(tunables.sessions);
        self.shared.board.resize(tunables.workers, tunables.sessions);
        self.shared.listeners = listeners;
        self.shared.tunables = tunables;
        (self.plan.adopt)(&self.shared.tunables.settings);
        let tunables = &self.shared.tunables;
        self.children.retain(|child| child.line.is_some() || child.role.is_wanted(tunables));
        self.stop_services();
        self.tell_children(pem.as_ref());
        self.hire();
        self.name_listeners();
        Ok(())
    }

    /// Ends the processes of stopped services; workers before the auth process, see [`Supervisor::stop_rest`].
    fn stop_services(&self) {
        for child in self.children.iter().filter(|child| child.role.is_worker()) {
            if let State::Running { pid, .. } = child.state
                && self.shared.tunables.is_stopped(child.role.service())
            {
                signal(pid, Signal::SIGTERM);
            }
        }
    }

    /// Children that start later know already. Workers get the certificate and the key: they may not read the files.
    fn tell_children(&mut self, pem: Option<&Pem>) {
        let tunables = &self.shared.tunables;
        let listeners = self.shared.listeners.iter();
        let sockets: Vec<_> = listeners.map(|bound| (&bound.socket, bound.listen.tls)).collect();
        for child in &mut self.children {
            child.restarts.set_window(tunables.autorestart_window);
            let is_listening = child.role.is_worker() && child.role.is_wanted(tunables);
            let Some(line) = &child.line else { continue };
            let mut texts = vec![&tunables.text[..]];
            if let Some(pem) = pem.filter(|_| child.role.is_worker()) {
                texts.extend([pem.certificate(), pem.key().expose()]);
            }
            if let Err(error) = sys::send_parcel(line, &texts, if is_listening { &sockets[..] } else { &[] })
            {
                log::error!(role = child.role.name().as_str(), error:% = error; "does not hear of the refresh; restart the server");
            }
        }
    }

    fn name_listeners(&self) {
        let address = |bound: &Bound| Some((bound.socket.local_addr().ok()?, bound.listen.tls));
        let bound: Vec<_> = self.shared.listeners.iter().filter_map(address).collect();
        (self.plan.bound)(&bound);
    }

    // --- starting -------------------------------------------------------------------------------------------

    fn start_due(&mut self) -> Result<(), ServeError> {
        let now = Instant::now();
        for index in 0..self.children.len() {
            if matches!(self.children[index].state, State::Waiting { until } if until <= now) {
                self.start(index)?;
            }
        }
        Ok(())
    }

    fn start(&mut self, index: usize) -> Result<(), ServeError> {
        let role = self.children[index].role;
        if let Some(tls) = &self.plan.tls {
            tls.rotate();
        }
        let parent = Pid::this();
        let (ours, theirs) = sys::parcel_line().map_err(ServeError::Signals)?;
        let blocked = SignalsBlocked::new().map_err(|error| ServeError::Signals(error.into()))?;
        match sys::fork().map_err(ServeError::Fork)? {
            Fork::Parent(pid) => {
                drop(blocked);
                self.children[index].line = Some(ours);
                log::info!(role = role.name().as_str(), pid = pid.as_raw(); "started");
                self.children[index].state = State::Running { pid, since: Instant::now() };
                Ok(())
            }
            Fork::Child => {
                drop((self.signals.take(), ours));
                self.children.clear();
                let Some((lifeline, _)) = self.lifeline.take() else { sys::exit_now(1) };
                let listeners = std::mem::take(&mut self.shared.listeners);
                let inheritance = Inheritance { role, parent, lifeline, line: theirs, listeners, blocked };
                sys::exit_now(child::live(self.plan, &self.shared, inheritance))
            }
        }
    }

    // --- waiting --------------------------------------------------------------------------------------------

    /// Sleeps until a signal comes or something is due.
    fn wait(&self) {
        let Some(signals) = &self.signals else { return };
        let timeout = match self.next_due() {
            None => PollTimeout::NONE,
            Some(due) => {
                let left = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut watched = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if let Err(error) = poll(&mut watched, timeout)
            && error != Errno::EINTR
        {
            log::error!(error:% = error; "cannot wait for signals");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn next_due(&self) -> Option<Instant> {
        if let Some(since) = self.stop_since {
            return Some(since + KILL_AFTER);
        }
        let due = |child: &Child| match child.state {
            State::Waiting { until } => Some(until),
            _ => None,
        };
        self.children.iter().filter_map(due).min()
    }

    fn reap(&mut self) {
        for index in 0..self.children.len() {
            let State::Running { pid, since } = self.children[index].state else { continue };
            let death = match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => continue,
                Ok(status) => death_of(status),
                Err(_) => Death { end: End::Failed, cause: "vanished".to_owned(), is_orderly: false },
            };
            self.bury(index, death, since);
        }
        let tunables = &self.shared.tunables;
        self.children.retain(|child| !child.is_down() || child.role.is_wanted(tunables));
    }

    fn bury(&mut self, index: usize, death: Death, since: Instant) {
        let role = self.children[index].role;
        let child = &mut self.children[index];
        let is_wanted = role.is_wanted(&self.shared.tunables);
        child.state = State::Down;
        child.line = None;
        if let Role::Worker(worker) = role {
            self.shared.board.clear(worker);
            self.shared.tally.clear(worker);
            if !death.is_orderly {
                self.ending = Ending::Broken;
            }
            if !is_wanted {
                self.shared.bus.retire(worker);
            }
        }
        if !is_wanted {
            return log::info!(role = role.name().as_str(), cause = death.cause.as_str(); "gone: not wanted any more");
        }
        if self.stop_since.is_none() {
            child.replace(death, since, Instant::now(), self.shared.tunables.autorestart);
            if let (Role::Worker(worker), State::Down) = (role, child.state) {
                self.shared.board.give_up(worker);
            }
        }
    }

    // --- stopping -------------------------------------------------------------------------------------------

    /// Workers first: their sessions may still wait for the auth process, and their events for enpd.
    fn stop(&mut self) {
        if self.stop_since.is_some() {
            return;
        }
        log::info!("stopping");
        self.stop_since = Some(Instant::now());
        for child in &mut self.children {
            match child.state {
                State::Running { pid, .. } if child.role.is_worker() => signal(pid, Signal::SIGTERM),
                State::Running { .. } => {}
                _ => child.state = State::Down,
            }
        }
    }

    /// Stops the services after the workers, and whoever has not obeyed in time.
    fn stop_rest(&mut self) {
        let is_stopped = |role: Role| self.shared.tunables.is_stopped(role.service());
        let is_late = self.stop_since.is_some_and(|since| since.elapsed() >= KILL_AFTER);
        let are_workers_down = self.children.iter().all(|child| !child.role.is_worker() || child.is_down());
        for child in &self.children {
            let State::Running { pid, .. } = child.state else { continue };
            if is_late {
                log::error!(role = child.role.name().as_str(), pid = pid.as_raw(); "killed: did not stop in time");
                signal(pid, Signal::SIGKILL);
            } else if !child.role.is_worker()
                && (are_workers_down || child.role == Role::Enpd)
                && (self.stop_since.is_some() && are_workers_down || is_stopped(child.role))
            {
                signal(pid, Signal::SIGTERM);
            }
        }
    }

    fn reap_until_down(&mut self) {
        while !self.is_everybody_down() {
            self.wait();
            self.obey_signals();
            self.reap();
            self.stop_rest();
        }
    }

    fn is_everybody_down(&self) -> bool {
        self.children.iter().all(Child::is_down)
    }

    fn are_workers_given_up(&self) -> bool {
        !self.shared.tunables.is_stopped(IMAP)
            && self.children.iter().all(|child| !child.role.is_worker() || child.is_down())
    }

    fn signal_all(&self, which: Signal) {
        for child in &self.children {
            if let State::Running { pid, .. } = child.state {
                signal(pid, which);
            }
        }
    }
}

impl Child {
    fn new(role: Role, window: Duration) -> Self {
        let state = State::Waiting { until: Instant::now() };
        Child { role, state, restarts: Restarts::new(window), line: None }
    }

    fn is_down(&self) -> bool {
        matches!(self.state, State::Down)
    }

    /// Decides when a child that died is started again.
    fn replace(&mut self, death: Death, since: Instant, now: Instant, autorestart: bool) {
        let (role, cause) = (self.role.name(), death.cause.as_str());
        let pause = if autorestart { self.restarts.pause(death.end, since, now) } else { None };
        match pause {
            Some(pause) => {
                log::error!(role = role.as_str(), cause = cause, pause_ms = pause.as_millis() as u64; "died, will be replaced");
                self.state = State::Waiting { until: now + pause };
            }
            None => {
                log::error!(role = role.as_str(), cause = cause; "died, and is not started again; see local.autorestart")
            }
        }
    }
}

/// What is known of a child's end.
struct Death {
    end: End,
    cause: String,
    /// It was told to stop, and did.
    is_orderly: bool,
}

fn death_of(status: WaitStatus) -> Death {
    let (end, cause) = match status {
        WaitStatus::Signaled(_, signal @ (Signal::SIGKILL | Signal::SIGTERM), _) => {
            (End::Killed, signal.to_string())
        }
        WaitStatus::Signaled(_, signal, _) => (End::Failed, signal.to_string()),
        WaitStatus::Exited(_, 0) => (End::Killed, "told to stop".to_owned()),
        WaitStatus::Exited(_, code) => (End::Failed, format!("exit {code}")),
        other => (End::Failed, format!("{other:?}")),
    };
    Death { end, cause, is_orderly: matches!(status, WaitStatus::Exited(_, 0)) }
}

/// A child that has ended but is not reaped yet takes signals without complaint.
fn signal(pid: Pid, which: Signal) {
    if let Err(error) = sys::raised(|| kill(pid, which)) {
        log::warn!(pid = pid.as_raw(), error:% = error; "cannot signal");
    }
}
