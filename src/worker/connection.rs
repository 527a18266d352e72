//! One connection: a socket, its session, and what either has not taken yet.
//!
//! A run goes on until the session waits for something: input, room in the socket, the auth process, its turn.
//! In the steady state it costs one `read` and one `write`: a read that does not fill the buffer has drained the
//! socket, and all answers to a batch of pipelined commands leave together.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use crate::auth;
use crate::session::{Event, Goodbye, INPUT_LIMIT, Io, OUTPUT_HIGH_WATER, Peer, SLICE, Session, Step};

use super::limits::STALL_TIMEOUT;
use super::scratch::Scratch;
use super::slot::Flags;

/// What the session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
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

pub struct Connection {
    stream: TcpStream,
    session: Box<dyn Session>,
    peer: Peer,
    phase: Phase,
    leftover: Vec<u8>,
    /// Output that the socket did not take; no input is read while there is any.
    unsent: Vec<u8>,
    sent: usize,
    /// Since when the socket has taken nothing.
    stalled: Option<Instant>,
    /// The socket may have input that no event will announce again.
    is_readable: bool,
    is_read_closed: bool,
    has_changed: bool,
    goodbye: Option<Goodbye>,
    reply: Option<auth::Reply>,
    opened: Instant,
    last_activity: Instant,
    bytes_in: u64,
    bytes_out: u64,
}

enum Call {
    Open,
    Step,
    Event(Event),
}

impl Connection {
    pub fn new(stream: TcpStream, session: Box<dyn Session>, peer: Peer, now: Instant) -> Self {
        Connection {
            stream,
            session,
            peer,
            phase: Phase::Opening,
            leftover: Vec::new(),
            unsent: Vec::new(),
            sent: 0,
            stalled: None,
            is_readable: false,
            is_read_closed: false,
            has_changed: false,
            goodbye: None,
            reply: None,
            opened: now,
            last_activity: now,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Whether an answer of the auth process may still come.
    pub fn is_authenticating(&self) -> bool {
        self.phase == Phase::Authenticating
    }

    /// When the session must be looked at even if nothing happens.
    pub fn deadline(&self, limits: TimeLimits) -> Instant {
        match self.stalled {
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
        self.reply = reply.or(self.reply.take());
        if let Err(outcome) = self.note(flags, now, limits) {
            return outcome;
        }
        match self.send_unsent(now) {
            Ok(true) => {}
            Ok(false) => return Outcome::Park,
            Err(_) => return Outcome::Closed(Some("connection lost")),
        }
        scratch.load(&mut self.leftover);
        let outcome = self.converse(now, scratch).unwrap_or(Outcome::Closed(Some("connection lost")));
        scratch.store(&mut self.leftover);
        outcome
    }

    /// Takes note of what happened; an outcome when that ends the connection at once.
    fn note(&mut self, flags: Flags, now: Instant, limits: TimeLimits) -> Result<(), Outcome> {
        self.is_readable |= flags.contains(Flags::READABLE);
        self.is_read_closed |= flags.contains(Flags::READ_CLOSED);
        self.has_changed |= flags.contains(Flags::CHANGED);
        if flags.contains(Flags::TIMER) && now >= self.deadline(limits) {
            match self.stalled {
                Some(_) => return Err(Outcome::Closed(Some("client takes no output"))),
                None if self.session.is_authenticated() => self.goodbye = Some(Goodbye::Idle),
                None => self.goodbye = Some(Goodbye::LoginTimeout),
            }
        }
        if flags.contains(Flags::SHUTDOWN) {
            self.goodbye = Some(Goodbye::Shutdown);
        }
        Ok(())
    }

    /// Calls the session as long as there is something for it, and sends what it says.
    fn converse(&mut self, now: Instant, scratch: &mut Scratch) -> io::Result<Outcome> {
        let mut has_fresh_input = false;
        loop {
            let Some(call) = self.next_call(&mut has_fresh_input, now, scratch)? else {
                self.send(scratch, now)?;
                return Ok(if self.phase == Phase::Closing { self.finish() } else { Outcome::Park });
            };
            let is_event = !matches!(call, Call::Step);
            match self.call(call, now, scratch) {
                Step::Read => {
                    self.phase = Phase::Reading;
                    has_fresh_input = is_event && !scratch.input().is_empty();
                    if scratch.input().len() >= INPUT_LIMIT {
                        return Ok(Outcome::Closed(Some("input not consumed")));
                    }
                    if scratch.output.len() >= OUTPUT_HIGH_WATER && !self.send(scratch, now)? {
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
                Step::Yield => {
                    self.phase = Phase::Resuming;
                    return Ok(if self.send(scratch, now)? { Outcome::Yield } else { Outcome::Park });
                }
                Step::Authenticate(request) => {
                    self.phase = Phase::Authenticating;
                    self.send(scratch, now)?;
                    return Ok(Outcome::Ask(request));
                }
                Step::Close => {
                    self.phase = Phase::Closing;
                    return Ok(if self.send(scratch, now)? { self.finish() } else { Outcome::Park });
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
        let mut io = Io::new(input, output, now);
        let step = match call {
            Call::Open => self.session.open(&mut io),
            Call::Step => self.session.step(&mut io),
            Call::Event(event) => self.session.event(event, &mut io),
        };
        let consumed = io.consumed();
        scratch.consume(consumed);
        step
    }

    /// Reads once, if there may be something. `false`: the session has to wait (or, at the end of input, to go).
    fn receive(&mut self, now: Instant, scratch: &mut Scratch) -> io::Result<bool> {
        if !self.is_readable {
            return Ok(false);
        }
        let spare = scratch.spare();
        match (&self.stream).read(spare) {
            Ok(0) => {
                self.phase = Phase::Closing;
                Ok(false)
            }
            Ok(count) => {
                // A short read has drained the socket (epoll(7)), except that the end of input may stand behind.
                self.is_readable = count == spare.len() || self.is_read_closed;
                scratch.filled(count);
                self.bytes_in += count as u64;
                self.last_activity = now;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.is_readable = false;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends the thread's output; keeps what the socket does not take. `true` when all is sent.
    fn send(&mut self, scratch: &mut Scratch, now: Instant) -> io::Result<bool> {
        if scratch.output.is_empty() {
            return Ok(true);
        }
        let sent = write_all_possible(&self.stream, &scratch.output)?;
        self.bytes_out += sent as u64;
        let is_all = sent == scratch.output.len();
        if !is_all {
            self.unsent = scratch.output[sent..].to_vec();
            self.sent = 0;
            self.stalled = Some(now);
        }
        scratch.output.clear();
        Ok(is_all)
    }

    /// Goes on with what the socket did not take before. `true` when all is sent.
    fn send_unsent(&mut self, now: Instant) -> io::Result<bool> {
        if self.unsent.is_empty() {
            return Ok(true);
        }
        let sent = write_all_possible(&self.stream, &self.unsent[self.sent..])?;
        self.bytes_out += sent as u64;
        self.sent += sent;
        if self.sent < self.unsent.len() {
            if sent > 0 {
                self.stalled = Some(now);
            }
            return Ok(false);
        }
        self.unsent = Vec::new();
        self.sent = 0;
        self.stalled = None;
        self.last_activity = now;
        Ok(true)
    }

    /// The last output is with the kernel. What the client has sent meanwhile is read and dropped: closing a
    /// socket with unread input makes the kernel send a reset, which can overtake the goodbye.
    fn finish(&mut self) -> Outcome {
        if !self.unsent.is_empty() {
            return Outcome::Park;
        }
        // The client may be gone already; there is nothing else to do for it.
        let _ = self.stream.shutdown(Shutdown::Write);
        let _ = (&self.stream).read(&mut [0; 4096]);
        Outcome::Closed(None)
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
            seconds = now.saturating_duration_since(self.opened).as_secs(),
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            mailboxes = summary.mailboxes_selected,
            reason = reason;
            "closed"
        );
    }
}

/// Writes until everything is out or the socket is full; how many bytes went out.
fn write_all_possible(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
