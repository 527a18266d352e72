//! One connection: a socket, its session, and what either has not taken yet.
//!
//! A run goes on until the session waits for something: input, room in the socket, the auth process, its turn.
//! In the steady state it costs one `read` and one `write`: a read that does not fill the buffer has drained the
//! socket, and all answers to a batch of pipelined commands leave together.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use crate::auth;
use crate::session::{
    Event, Goodbye, INPUT_LIMIT, Io, OUTPUT_HIGH_WATER, Peer, SLICE, Session, Settled, Step, Summary,
};
use crate::sys::{self, FileRange};
use crate::tls;

use super::backlog::{Backlog, Progress, is_of_the_file};
use super::gate::Admission;
use super::limits::STALL_TIMEOUT;
use super::scratch::Scratch;
use super::slot::Flags;
use super::transport::{Received, Transport};

/// What the session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The end of a TLS handshake; then its first turn, or the news that TLS is on.
    Securing,
    /// Its first turn.
    Opening,
    /// Input, or an event.
    Reading,
    /// Nothing but its turn, as soon as its output is taken.
    Resuming,
    /// The answer of the auth process.
    Authenticating,
    /// The client, to take the last output.
    Closing,
}

/// Why a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// The session waits; something will wake it.
    Park,
    /// The session has more to do; others first.
    Yield,
    /// The session waits for the answer to this.
    Ask(Box<auth::Request>),
    /// The connection is over. The reason is the worker's; `None` when the session has its own.
    Closed(Option<&'static str>),
}

/// Time limits of a session, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// From accept to login.
    pub login: Duration,
    /// From one input to the next.
    pub idle: Duration,
}

/// Where TLS begins on a connection.
pub enum Tls {
    /// With the first byte.
    Implicit(Arc<tls::Context>),
    /// When the session says so (STARTTLS), if ever.
    OnDemand(Option<Arc<tls::Context>>),
}

/// What administrators see of a session.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    pub peer: Peer,
    pub opened: Instant,
    pub summary: Summary,
}

pub struct Connection {
    transport: Transport,
    session: Box<dyn Session>,
    peer: Peer,
    phase: Phase,
    has_opened: bool,
    /// For [`Step::StartTls`].
    starttls: Option<Arc<tls::Context>>,
    leftover: Vec<u8>,
    /// Output that others are making true ([`Settled::Later`]); no input is read while there is any.
    unsettled: Option<Vec<u8>>,
    /// What the client has not taken; no input is read while there is any.
    backlog: Backlog,
    /// The poller was asked to say when the socket takes output.
    is_watched_for_room: bool,
    /// The socket may have input that no event will announce again.
    is_readable: bool,
    is_read_closed: bool,
    /// The client has sent something, and nothing was sent to it since.
    owes_answer: bool,
    has_changed: bool,
    goodbye: Option<Goodbye>,
    reply: Option<auth::Reply>,
    opened: Instant,
    last_activity: Instant,
    bytes_in: u64,
    /// Counts the connection as long as it lives.
    admission: Option<Admission>,
}

enum Call {
    Open,
    Step,
    Event(Event),
}

impl Connection {
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(
        stream: TcpStream,
        session: Box<dyn Session>,
        peer: Peer,
        tls: Tls,
        now: Instant,
    ) -> io::Result<Self> {
        let mut transport = Transport::new(stream);
        let (phase, starttls) = match tls {
            Tls::Implicit(context) => {
                transport.secure(&context)?;
                (Phase::Securing, None)
            }
            Tls::OnDemand(context) => (Phase::Opening, context),
        };
        Ok(Connection {
            transport,
            session,
            peer,
            phase,
            has_opened: false,
            starttls,
            leftover: Vec::new(),
            unsettled: None,
            backlog: Backlog::default(),
            is_watched_for_room: false,
            is_readable: false,
            is_read_closed: false,
            owes_answer: false,
            has_changed: false,
            goodbye: None,
            reply: None,
            opened: now,
            last_activity: now,
            bytes_in: 0,
            admission: None,
        })
    }

    /// Holds on to this to the end of the connection.
    pub fn keep(&mut self, admission: Admission) {
        self.admission = Some(admission);
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        self.transport.stream()
    }

    /// Whether an answer of the auth process may still come.
    pub fn is_authenticating(&self) -> bool {
        self.phase == Phase::Authenticating
    }

    /// Whether the socket has not taken all output for the first time: the poller has to watch for room from now on.
    pub fn begins_to_stall(&mut self) -> bool {
        let begins = self.backlog.stalled().is_some() && !self.is_watched_for_room;
        self.is_watched_for_room |= begins;
        begins
    }

    /// When the session must be looked at even if nothing happens.
    pub fn deadline(&self, limits: TimeLimits) -> Instant {
        match self.backlog.stalled() {
            Some(since) => since + STALL_TIMEOUT,
            None if self.session.is_authenticated() => self.last_activity + limits.idle,
            None => self.opened + limits.login,
        }
    }

    /// Lets the session work until it waits for something. `reply` is the auth process's answer, if it came.
    pub fn run(
        &mut self,
        flags: Flags,
        reply: Option<auth::Reply>,
        now: Instant,
        limits: TimeLimits,
        scratch: &mut Scratch,
    ) -> Outcome {
        // It is called when the input is read, which takes as long as memory does.
        sys::prefetch(&*self.session);
        self.reply = reply.or(self.reply.take());
        if let Err(outcome) = self.note(flags, now, limits) {
            return outcome;
        }
        if self.unsettled.is_some() {
            if !flags.contains(Flags::SETTLED) {
                return Outcome::Park;
            }
        } else if let Some(outcome) = self.go_on(now) {
            return outcome;
        }
        scratch.load(&mut self.leftover);
        self.transport.load(scratch);
        let outcome = self.resume(now, scratch).unwrap_or_else(|error| self.lose(&error, scratch));
        scratch.store(&mut self.leftover);
        self.transport.store(scratch);
        outcome
    }

    /// Goes on with what the client has not taken; an outcome when it does not take all.
    fn go_on(&mut self, now: Instant) -> Option<Outcome> {
        if self.backlog.is_empty() {
            return None;
        }
        match self.backlog.go_on(self.transport.stream(), now) {
            Ok(Progress::Done) => self.last_activity = now,
            Ok(progress) => return Some(later(progress)),
            Err(error) => return Some(self.lost(&error)),
        }
        None
    }

    /// Goes on with output that had to wait, then with the session.
    fn resume(&mut self, now: Instant, scratch: &mut Scratch) -> io::Result<Outcome> {
        if let Some(output) = self.unsettled.take() {
            scratch.output_buffer().extend_from_slice(&output);
            if !self.send(scratch, now)? {
                return Ok(Outcome::Park);
            }
            if let Some(outcome) = self.go_on(now) {
                return Ok(outcome);
            }
        }
        self.converse(now, scratch)
    }

    /// Takes note of what happened; an outcome when that ends the connection at once.
    fn note(&mut self, flags: Flags, now: Instant, limits: TimeLimits) -> Result<(), Outcome> {
        self.is_readable |= flags.contains(Flags::READABLE);
        self.is_read_closed |= flags.contains(Flags::READ_CLOSED);
        self.has_changed |= flags.contains(Flags::CHANGED);
        if flags.contains(Flags::TIMER) && now >= self.deadline(limits) {
            match self.backlog.stalled() {
                Some(_) => return Err(Outcome::Closed(Some("client takes no output"))),
                None if self.phase == Phase::Securing => {
                    return Err(Outcome::Closed(Some("no TLS handshake in time")));
                }
                None if self.session.is_authenticated() => self.goodbye = Some(Goodbye::Idle),
                None => self.goodbye = Some(Goodbye::LoginTimeout),
            }
        }
        if flags.contains(Flags::SHUTDOWN) && self.phase == Phase::Securing {
            return Err(Outcome::Closed(Some("shutdown")));
        }
        if flags.contains(Flags::KILLED) {
            self.goodbye = Some(Goodbye::Killed);
        }
        if flags.contains(Flags::SHUTDOWN) {
            self.goodbye = Some(Goodbye::Shutdown);
        }
        if self.goodbye.is_some() {
            self.backlog.detach();
        }
        Ok(())
    }

    /// Calls the session as long as there is something for it, and sends what it says.
    fn converse(&mut self, now: Instant, scratch: &mut Scratch) -> io::Result<Outcome> {
        let mut has_fresh_input = false;
        loop {
            let Some(call) = self.next_call(&mut has_fresh_input, now, scratch)? else {
                self.send(scratch, now)?;
                return if self.phase == Phase::Closing {
                    self.finish(scratch, now)
                } else {
                    self.ask_for_the_rest();
                    Ok(Outcome::Park)
                };
            };
            let is_event = !matches!(call, Call::Step);
            match self.call(call, now, scratch) {
                Step::Read => {
                    self.phase = Phase::Reading;
                    has_fresh_input = is_event && !scratch.input().is_empty();
                    if scratch.input().len() >= INPUT_LIMIT {
                        return Ok(Outcome::Closed(Some("input not consumed")));
                    }
                    if scratch.output().len() >= OUTPUT_HIGH_WATER && !self.send(scratch, now)? {
                        return Ok(Outcome::Park);
                    }
                    if self.is_readable && now.elapsed() >= SLICE {
                        return Ok(if self.send(scratch, now)? { Outcome::Yield } else { Outcome::Park });
                    }
                }
                Step::Flush => {
                    self.phase = Phase::Resuming;
                    if !self.send(scratch, now)? {
                        return Ok(Outcome::Park);
                    }
                    if now.elapsed() >= SLICE {
                        return Ok(Outcome::Yield);
                    }
                }
                Step::Send(bytes) => {
                    self.attach(bytes)?;
                    if !self.send(scratch, now)? {
                        return Ok(Outcome::Park);
                    }
                    let progress = self.backlog.go_on(self.transport.stream(), now)?;
                    if progress != Progress::Done {
                        return Ok(later(progress));
                    }
                }
                Step::Yield => {
                    self.phase = Phase::Resuming;
                    return Ok(if self.send(scratch, now)? { Outcome::Yield } else { Outcome::Park });
                }
                Step::Authenticate(request) => {
                    self.phase = Phase::Authenticating;
                    self.send(scratch, now)?;
                    return Ok(Outcome::Ask(request));
                }
                Step::StartTls => {
                    if !self.start_tls(now, scratch)? {
                        return Ok(Outcome::Park);
                    }
                }
                Step::Close => {
                    self.phase = Phase::Closing;
                    return self.finish(scratch, now);
                }
            }
        }
    }

    /// What the session is called with next; `None` when it has to wait.
    fn next_call(
        &mut self,
        has_fresh_input: &mut bool,
        now: Instant,
        scratch: &mut Scratch,
    ) -> io::Result<Option<Call>> {
        match self.phase {
            Phase::Closing => Ok(None),
            Phase::Securing => self.shake_hands(now, scratch),
            Phase::Opening => Ok(Some(Call::Open)),
            _ if self.goodbye.is_some() => {
                Ok(self.goodbye.take().map(|why| Call::Event(Event::Goodbye(why))))
            }
            Phase::Resuming => {
                self.last_activity = now;
                Ok(Some(Call::Step))
            }
            Phase::Authenticating => Ok(self.reply.take().map(|reply| Call::Event(Event::Auth(reply)))),
            Phase::Reading if std::mem::take(&mut self.has_changed) => Ok(Some(Call::Event(Event::Changed))),
            Phase::Reading if std::mem::take(has_fresh_input) => Ok(Some(Call::Step)),
            Phase::Reading => Ok(self.receive(now, scratch)?.then_some(Call::Step)),
        }
    }

    fn call(&mut self, call: Call, now: Instant, scratch: &mut Scratch) -> Step {
        let (input, output) = scratch.both();
        let mut io = Io::new(input, output, now).over(self.transport.security());
        let step = match call {
            Call::Open => {
                self.has_opened = true;
                self.session.open(&mut io)
            }
            Call::Step => self.session.step(&mut io),
            Call::Event(event) => self.session.event(event, &mut io),
        };
        let consumed = io.consumed();
        scratch.consume(consumed);
        step
    }

    /// Begins TLS behind the output. What the client has sent in the clear behind its STARTTLS could be an attacker's,
    /// and must not be taken for its words under TLS (CVE-2021-33515). `false`: the output is not sent yet.
    fn start_tls(&mut self, now: Instant, scratch: &mut Scratch) -> io::Result<bool> {
        let dropped = scratch.drop_input();
        if dropped > 0 {
            log::warn!(peer:% = self.peer.remote, bytes = dropped; "dropped what came in the clear behind STARTTLS");
        }
        let is_sent = self.send(scratch, now)?;
        if self.unsettled.is_some() {
            return Err(io::Error::other("TLS cannot begin behind what is not settled"));
        }
        let context = self.starttls.take().ok_or_else(|| io::Error::other("there is no certificate"))?;
        self.transport.secure(&context)?;
        self.transport.load(scratch);
        self.phase = Phase::Securing;
        Ok(is_sent)
    }

    /// Goes on with the TLS handshake. Its last words leave with the session's first.
    fn shake_hands(&mut self, now: Instant, scratch: &mut Scratch) -> io::Result<Option<Call>> {
        while self.transport.is_securing() {
            if !self.receive(now, scratch)? {
                return Ok(None);
            }
            if self.transport.is_securing() && !self.send(scratch, now)? {
                return Ok(None);
            }
        }
        self.phase = if self.has_opened { Phase::Reading } else { Phase::Opening };
        Ok(Some(if self.has_opened { Call::Event(Event::Secured) } else { Call::Open }))
    }

    /// Reads once, if there may be something. `false`: the session has to wait (or, at the end of input, to go).
    fn receive(&mut self, now: Instant, scratch: &mut Scratch) -> io::Result<bool> {
        if !self.is_readable {
            return Ok(false);
        }
        match self.transport.receive(scratch)? {
            Received::End => {
                self.phase = Phase::Closing;
                Ok(false)
            }
            Received::Bytes { count, is_full } => {
                // A short read has drained the socket (epoll(7)), except that the end of input may stand behind.
                self.is_readable = is_full || self.is_read_closed || self.transport.is_input_over();
                self.bytes_in += count as u64;
                self.owes_answer = true;
                self.last_activity = now;
                Ok(true)
            }
            Received::WouldBlock => {
                self.is_readable = false;
                Ok(false)
            }
        }
    }

    /// Sends the thread's output; keeps what is not true yet, or what the socket does not take. `true` when all is sent.
    fn send(&mut self, scratch: &mut Scratch, now: Instant) -> io::Result<bool> {
        match self.session.settle(scratch.output_buffer()) {
            Settled::Yes => {}
            Settled::Failed => {
                self.phase = Phase::Closing;
                self.backlog.detach();
            }
            Settled::Later => {
                self.unsettled = Some(scratch.output().to_vec());
                scratch.clear_output();
                return Ok(false);
            }
        }
        let bytes = self.transport.seal(scratch)?;
        self.owes_answer &= bytes.is_empty();
        let is_sent = self.backlog.send(self.transport.stream(), bytes, now)?;
        self.transport.sent(scratch);
        Ok(is_sent)
    }

    /// Acknowledges the part of a command that has come. The system would wait up to 40 ms for an answer to send the
    /// acknowledgement with, and a client that writes a command in pieces may hold back the next one until it has it (Nagle's
    /// algorithm, RFC 1122 §4.2.3.4).
    fn ask_for_the_rest(&mut self) {
        if self.phase == Phase::Reading && self.unsettled.is_none() && std::mem::take(&mut self.owes_answer) {
            // If this fails, the rest comes later, or the next read says what is wrong.
            let _ = sys::acknowledge(self.transport.stream());
        }
    }

    /// Takes bytes of a file that are to follow the output.
    fn attach(&mut self, bytes: Box<FileRange>) -> io::Result<()> {
        if self.transport.is_secured() {
            return Err(io::Error::other("bytes in the clear for a connection that is secured"));
        }
        self.phase = Phase::Resuming;
        self.backlog.attach(bytes);
        Ok(())
    }

    /// Sends the last output, then closes. What the client has sent meanwhile is read and dropped: closing a
    /// socket with unread input makes the kernel send a reset, which can overtake the goodbye.
    fn finish(&mut self, scratch: &mut Scratch, now: Instant) -> io::Result<Outcome> {
        let is_held_up = self.unsettled.is_some() || !self.backlog.is_empty();
        if is_held_up || !self.send(scratch, now)? {
            return Ok(Outcome::Park);
        }
        self.transport.say_close(scratch);
        if !self.send(scratch, now)? {
            return Ok(Outcome::Park);
        }
        self.hang_up();
        Ok(Outcome::Closed(None))
    }

    /// The client may be gone already; there is nothing else to do for it.
    fn hang_up(&mut self) {
        let _ = self.transport.stream().read(&mut [0; 4096]);
    }

    /// The connection cannot go on. A client that speaks TLS wrongly, or none where it should, is told so.
    fn lose(&mut self, error: &io::Error, scratch: &mut Scratch) -> Outcome {
        if error.kind() != ErrorKind::InvalidData {
            return self.lost(error);
        }
        log::info!(peer:% = self.peer.remote, error:% = error; "TLS failed");
        let alert = self.transport.last_words(scratch);
        let _ = self.transport.stream().write(alert);
        self.hang_up();
        Outcome::Closed(Some("TLS failed"))
    }

    fn lost(&self, error: &io::Error) -> Outcome {
        if !is_of_the_file(error) {
            return Outcome::Closed(Some("connection lost"));
        }
        let user = self.session.summary().user.unwrap_or_default();
        log::error!(user = user.as_str(), error:% = error; "a message cannot be read; reconstruct shows which are damaged");
        Outcome::Closed(Some("message cannot be read"))
    }

    /// What a list of sessions says of this one.
    pub fn info(&self) -> SessionInfo {
        SessionInfo { peer: self.peer.clone(), opened: self.opened, summary: self.session.summary() }
    }

    /// The close record: one line per session.
    pub fn log_close(&self, reason: Option<&'static str>, now: Instant) {
        let summary = self.session.summary();
        let reason =
            reason.unwrap_or(if summary.reason.is_empty() { "disconnected" } else { summary.reason });
        let login = summary.login_time.and_then(|time| jiff::Timestamp::try_from(time).ok());
        log::info!(
            target: "session",
            peer:% = self.peer.remote,
            user = summary.user.as_deref().unwrap_or(""),
            login = login.map(|time| format!("{time:.0}")).unwrap_or_default().as_str(),
            tls = self.transport.describe().as_str(),
            seconds = now.saturating_duration_since(self.opened).as_secs(),
            bytes_in = self.bytes_in,
            bytes_out = self.backlog.total(),
            mailboxes = summary.mailboxes_selected,
            reason = reason;
            "closed"
        );
    }
}

/// What a run ends with when not all is sent.
fn later(progress: Progress) -> Outcome {
    if progress == Progress::SliceOver { Outcome::Yield } else { Outcome::Park }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
