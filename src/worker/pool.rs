//! What the threads of a worker share: the slots, the inbox of the poller, the connection to the auth process.
//!
//! Locks: a slot's connection is locked by the one thread that the slot's state lets run it (and, for a moment, by
//! whoever lists the sessions), so that lock hardly ever waits; under it, the session takes the locks of other rooms, and the worker those of the answers and the
//! inbox. Under all the others here no further lock is taken.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token as Event};

use crate::auth::{Reply, Request};
use crate::notify::Hub;
use crate::session::{Peer, Protocol, SLICE, Token, Wake};

use super::auth_link::AuthLink;
use super::connection::{Connection, Outcome, SessionInfo, TimeLimits, Tls};
use super::gate::Admission;
use super::inbox::Inbox;
use super::roster::Roster;
use super::scoreboard::{Counter, Scoreboard};
use super::scratch::Scratch;
use super::slot::Flags;
use super::slots::{Slot, Slots};
use super::thread;
use super::wheel::Tick;

/// Names of what the poller watches besides sessions, whose names are their tokens' numbers.
pub const WAKER: Event = Event(usize::MAX);
pub const NOTIFY: Event = Event(usize::MAX - 1);
pub const AUTH: Event = Event(usize::MAX - 2);

pub struct Pool {
    slots: Slots,
    pub inbox: Inbox,
    pub roster: Roster,
    registry: Registry,
    auth: Mutex<Auth>,
    waiting_for_auth: AtomicUsize,
    answers: Mutex<HashMap<Token, Reply>>,
    hub: OnceLock<Arc<Hub>>,
    board: Arc<Scoreboard>,
    index: usize,
    limits: ArcSwap<TimeLimits>,
    started: Instant,
    is_stopping: AtomicBool,
    /// Signalled when a session ends, for acceptors and for `stop`; only if somebody waits.
    ended: Condvar,
    ended_lock: Mutex<()>,
    ended_waiters: AtomicUsize,
}

/// The connection to the auth process, and how it is watched.
struct Auth {
    link: Box<dyn AuthLink>,
    /// The connection that is watched, and whether for writing too.
    watched: Option<(u64, bool)>,
}

/// What a pool is made of.
pub struct Parts {
    pub index: usize,
    pub threads: usize,
    pub limits: TimeLimits,
    pub board: Arc<Scoreboard>,
    pub auth: Box<dyn AuthLink>,
}

/// What became of a session's turn.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// It waits for something, or is over.
    Done,
    /// It would wait, but something has come meanwhile: the caller still holds it.
    Interrupted,
    /// It has more to do and counts as queued: the caller must queue it.
    Again,
}

impl Pool {
    pub fn new(parts: Parts, registry: Registry, waker: mio::Waker) -> Self {
        Pool {
            slots: Slots::new(),
            inbox: Inbox::new(waker),
            roster: Roster::new(parts.threads),
            registry,
            auth: Mutex::new(Auth { link: parts.auth, watched: None }),
            waiting_for_auth: AtomicUsize::new(0),
            answers: Mutex::default(),
            hub: OnceLock::new(),
            board: parts.board,
            index: parts.index,
            limits: ArcSwap::from_pointee(parts.limits),
            started: Instant::now(),
            is_stopping: AtomicBool::new(false),
            ended: Condvar::new(),
            ended_lock: Mutex::default(),
            ended_waiters: AtomicUsize::new(0),
        }
    }

    /// Watches the hub's socket. Called once, before the first session.
    pub fn attach(&self, hub: Arc<Hub>) -> io::Result<()> {
        self.registry.register(&mut SourceFd(&hub.as_raw_fd()), NOTIFY, Interest::READABLE)?;
        let _ = self.hub.set(hub);
        Ok(())
    }

    pub fn slot(&self, index: u32) -> Option<&Slot> {
        self.slots.slot(index)
    }

    pub fn tick_of(&self, now: Instant) -> Tick {
        Tick::try_from(now.saturating_duration_since(self.started).as_secs()).unwrap_or(Tick::MAX - 1)
    }

    /// How long it is until the tick.
    pub fn until(&self, tick: Tick) -> Duration {
        (self.started + Duration::from_secs(tick.into())).saturating_duration_since(Instant::now())
    }

    // --- sessions begin -------------------------------------------------------------------------------------

    /// Takes a connection in that the scoreboard has admitted. Its first turn is here: the greeting wakes no other
    /// thread. What the client has sent by then is for the pool's threads: they pass on what they have when a command
    /// blocks, an acceptor would leave the clients behind this one waiting.
    pub fn admit(
        &self,
        (stream, remote): (TcpStream, SocketAddr),
        tls: Tls,
        protocol: &dyn Protocol,
        admission: Admission,
        scratch: &mut Scratch,
    ) {
        let Some((index, slot)) = self.slots.take() else {
            return self.board.leave(self.index);
        };
        if let Err(error) = self.occupy(index, slot, (stream, remote, tls, admission), protocol) {
            log::warn!(peer:% = remote, error:% = error; "connection dropped");
            slot.connection().take();
            return self.release(index, slot);
        }
        let news = if self.is_stopping() { Flags::SHUTDOWN } else { Flags::RESUME };
        if !slot.state.notify_any(news) {
            return;
        }
        match self.run_once(index, slot, Instant::now(), scratch) {
            Turn::Done => {}
            Turn::Again => self.inbox.push_ready(index),
            Turn::Interrupted => {
                slot.state.requeue(Flags::NONE);
                self.inbox.push_ready(index);
            }
        }
    }

    fn occupy(
        &self,
        index: u32,
        slot: &Slot,
        (stream, remote, tls, admission): (TcpStream, SocketAddr, Tls, Admission),
        protocol: &dyn Protocol,
    ) -> io::Result<()> {
        let token = Token { slot: index, generation: slot.state.generation() };
        let peer = Peer { remote, local: stream.local_addr()? };
        let session = catch_unwind(AssertUnwindSafe(|| protocol.session(token, peer.clone())))
            .map_err(|_| io::Error::other("the protocol panicked"))?;
        let stream = mio::net::TcpStream::from_std(stream);
        let mut connection = Connection::new(stream, session, peer, tls, Instant::now())?;
        connection.keep(admission);
        let mut place = slot.connection();
        let connection = place.insert(Box::new(connection));
        slot.state.occupy();
        self.registry.register(connection.stream(), event(token), Interest::READABLE)
    }

    /// From now on the poller says when the socket takes output again. Few clients are ever that slow.
    fn watch_for_room(&self, connection: &mut Connection, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry.reregister(connection.stream(), event(token), interest)
    }

    // --- sessions run ---------------------------------------------------------------------------------------

    /// Runs a queued session until it waits, ends, or lets others go first.
    pub fn run(&self, index: u32, begun: Instant, scratch: &mut Scratch) -> Turn {
        let Some(slot) = self.slot(index) else { return Turn::Done };
        let mut now = begun;
        loop {
            match self.run_once(index, slot, now, scratch) {
                Turn::Interrupted => now = Instant::now(),
                turn => return turn,
            }
            if now.saturating_duration_since(begun) >= SLICE {
                slot.state.requeue(Flags::NONE);
                return Turn::Again;
            }
        }
    }

    fn run_once(&self, index: u32, slot: &Slot, now: Instant, scratch: &mut Scratch) -> Turn {
        match self.turn(index, slot, slot.state.begin(), now, scratch) {
            Outcome::Park => {}
            Outcome::Ask(request) => self.ask(token(index, slot), &request, now),
            Outcome::Yield => {
                slot.state.requeue(Flags::RESUME);
                return Turn::Again;
            }
            Outcome::Closed(reason) => {
                self.close(index, slot, reason, now);
                return Turn::Done;
            }
        }
        if slot.state.end() { Turn::Done } else { Turn::Interrupted }
    }

    fn turn(&self, index: u32, slot: &Slot, flags: Flags, now: Instant, scratch: &mut Scratch) -> Outcome {
        let mut place = slot.connection();
        let Some(connection) = place.as_mut() else { return Outcome::Park };
        let reply =
            flags.contains(Flags::AUTH).then(|| hold(&self.answers).remove(&token(index, slot))).flatten();
        let limits = **self.limits.load();
        let run = AssertUnwindSafe(|| connection.run(flags, reply, now, limits, scratch));
        let mut outcome = catch_unwind(run).unwrap_or_else(|_| {
            self.board.increment(self.index, Counter::Panics);
            Outcome::Closed(Some("internal error"))
        });
        if connection.begins_to_stall() && self.watch_for_room(connection, token(index, slot)).is_err() {
            outcome = Outcome::Closed(Some("cannot be watched"));
        }
        if matches!(outcome, Outcome::Park | Outcome::Ask(_)) {
            let deadline = connection.deadline(limits);
            if slot.timer.set(self.tick_of(deadline).saturating_add(1)) {
                self.inbox.push_deadline(index);
            }
        }
        outcome
    }

    // --- sessions end ---------------------------------------------------------------------------------------

    /// Drops the connection; the socket leaves the poller by being closed.
    fn close(&self, index: u32, slot: &Slot, reason: Option<&'static str>, now: Instant) {
        let connection = slot.connection().take();
        let was_waiting = connection.as_ref().is_some_and(|connection| connection.is_authenticating());
        let token = token(index, slot);
        // The session's own code runs here; a panic in it must not cost the slot.
        let _ = catch_unwind(AssertUnwindSafe(move || {
            if let Some(connection) = connection {
                connection.log_close(reason, now);
            }
        }));
        self.release(index, slot);
        if was_waiting {
            hold(&self.answers).remove(&token);
        }
    }

    fn release(&self, index: u32, slot: &Slot) {
        slot.timer.clear();
        slot.state.vacate();
        self.slots.give_back(index);
        self.board.leave(self.index);
        if self.ended_waiters.load(SeqCst) > 0 {
            let _guard = hold(&self.ended_lock);
            self.ended.notify_all();
        }
    }

    /// Waits until a session ends, at most this long, while `condition` holds.
    pub fn wait_for_end(&self, limit: Duration, condition: impl Fn() -> bool) {
        self.ended_waiters.fetch_add(1, SeqCst);
        let guard = hold(&self.ended_lock);
        if condition() {
            drop(self.ended.wait_timeout(guard, limit));
        }
        self.ended_waiters.fetch_sub(1, SeqCst);
    }

    pub fn sessions(&self) -> u64 {
        self.board.value(self.index, Counter::Sessions)
    }

    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(SeqCst)
    }

    /// Tells every session to say goodbye; new ones are told at once.
    pub fn stop(&self) {
        self.is_stopping.store(true, SeqCst);
        self.tell_all(Flags::SHUTDOWN);
    }

    fn tell_all(&self, news: Flags) {
        let told = |(index, slot): (u32, &Slot)| slot.state.notify_any(news).then_some(index);
        self.inbox.push_all(self.slots.iter().filter_map(told));
    }

    /// Other time limits hold from now on, also for the sessions that wait: each has its deadline set anew.
    pub fn set_limits(&self, limits: TimeLimits) {
        self.limits.store(Arc::new(limits));
        self.tell_all(Flags::TIMER);
    }

    // --- for administrators ---------------------------------------------------------------------------------

    /// Calls `visit` with each session. Holds up a session only while it is visited.
    pub fn visit(&self, mut visit: impl FnMut(SessionInfo)) {
        for (_, slot) in self.slots.iter() {
            let info = slot.connection().as_ref().map(|connection| connection.info());
            info.into_iter().for_each(&mut visit);
        }
    }

    /// Ends the sessions of a user with a goodbye; how many there were.
    pub fn kill(&self, user: &str) -> usize {
        let is_meant = |slot: &Slot| {
            let place = slot.connection();
            place.as_ref().is_some_and(|connection| connection.info().summary.user.as_deref() == Some(user))
        };
        let mut count = 0;
        for (index, slot) in self.slots.iter() {
            // The generation first: should the slot change hands meanwhile, the next holder hears nothing.
            let token = token(index, slot);
            if is_meant(slot) {
                count += 1;
                self.notify(token, Flags::KILLED);
            }
        }
        count
    }

    // --- the auth process -----------------------------------------------------------------------------------

    pub fn is_waiting_for_auth(&self) -> bool {
        self.waiting_for_auth.load(SeqCst) > 0
    }

    fn ask(&self, token: Token, request: &Request, now: Instant) {
        let is_first = self.waiting_for_auth.fetch_add(1, SeqCst) == 0;
        let mut auth = hold(&self.auth);
        // A failure is not the session's: its request expires, and the client hears `UNAVAILABLE`.
        let _ = auth.link.ensure_connected(now);
        auth.link.submit(token.number(), request, now);
        self.flush_auth(&mut auth);
        drop(auth);
        if is_first {
            // A sleeping poller does not know yet that requests can expire.
            self.inbox.wake();
        }
    }

    /// Sends what the auth connection takes, and watches it: for writing only while it does not take all, since every
    /// request that the auth process reads would otherwise wake the poller.
    fn flush_auth(&self, auth: &mut Auth) {
        auth.link.flush();
        let Some(fd) = auth.link.as_raw_fd() else { return };
        let wanted = (auth.link.epoch(), auth.link.has_unsent());
        if auth.watched == Some(wanted) {
            return;
        }
        let is_known = auth.watched.is_some_and(|(epoch, _)| epoch == wanted.0);
        let interest = if wanted.1 { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let mut source = SourceFd(&fd);
        let watched = match is_known {
            true => self.registry.reregister(&mut source, AUTH, interest),
            false => self.registry.register(&mut source, AUTH, interest),
        };
        match watched {
            Ok(()) => auth.watched = Some(wanted),
            Err(error) => log::error!(error:% = error; "cannot watch the connection to the auth process"),
        }
    }

    /// The auth connection has something, or has room again; `is_closed` when its other end is gone.
    pub fn receive_answers(&self, is_closed: bool) {
        let mut replies = Vec::new();
        let mut auth = hold(&self.auth);
        auth.link.on_readable(&mut replies);
        if is_closed {
            auth.link.on_readable(&mut replies);
        }
        self.flush_auth(&mut auth);
        drop(auth);
        self.deliver(replies);
    }

    /// Gives up on requests that have waited too long, and connects again if the connection is away.
    pub fn expire_auth(&self, now: Instant) {
        let mut replies = Vec::new();
        let mut auth = hold(&self.auth);
        let _ = auth.link.ensure_connected(now);
        self.flush_auth(&mut auth);
        auth.link.expire(now, &mut replies);
        drop(auth);
        self.deliver(replies);
    }

    fn deliver(&self, replies: Vec<(u64, Reply)>) {
        for (id, reply) in replies {
            self.waiting_for_auth.fetch_sub(1, SeqCst);
            match reply {
                Reply::Granted(_) => self.board.increment(self.index, Counter::GoodLogins),
                Reply::Denied => self.board.increment(self.index, Counter::FailedLogins),
                Reply::Unavailable => {}
            }
            let token = Token::from_number(id);
            let Some(slot) = self.slot(token.slot) else { continue };
            // Under the lock that `close` takes after the slot changed generation: no answer is left behind.
            let mut answers = hold(&self.answers);
            if slot.state.generation() == token.generation {
                answers.insert(token, reply);
            }
            drop(answers);
            self.notify(token, Flags::AUTH);
        }
    }

    // --- changes in mailboxes -------------------------------------------------------------------------------

    pub fn receive_notifications(&self) {
        if let Some(hub) = self.hub.get() {
            hub.receive();
        }
    }

    fn notify(&self, token: Token, news: Flags) {
        if self.slot(token.slot).is_some_and(|slot| slot.state.notify(token.generation, news)) {
            self.inbox.push_ready(token.slot);
        }
    }
}

impl Wake for Pool {
    fn wake(&self, token: Token) {
        self.notify(token, Flags::CHANGED);
    }

    fn settled(&self, token: Token) {
        self.notify(token, Flags::SETTLED);
    }

    fn settles_next(&self, token: Token) -> bool {
        let Some(slot) = self.slot(token.slot) else { return false };
        if slot.state.notify(token.generation, Flags::SETTLED) && !thread::takes(self, token.slot) {
            self.inbox.push_ready(token.slot);
        }
        slot.state.generation() == token.generation
    }
}

fn token(index: u32, slot: &Slot) -> Token {
    Token { slot: index, generation: slot.state.generation() }
}

/// What the poller calls the session.
fn event(token: Token) -> Event {
    Event(token.number() as usize)
}

/// Nothing that these locks protect is left half-changed by a panic: sessions are closed after one.
fn hold<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
