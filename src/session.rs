//! The contract between a worker and a protocol.
//!
//! A [`Session`] is a state machine without sockets, clocks or threads: bytes and events go in, bytes and a
//! [`Step`] come out. The worker owns everything else (descriptors, TLS, timers, the auth connection). The same
//! session therefore runs in a unit test that holds nothing but two byte buffers.
//!
//! Rules for both sides:
//!
//! * The worker calls `step` or `event` from one thread at a time, never concurrently.
//! * After [`Step::Read`] the session has consumed every byte it can use; what it left in the input is an
//!   incomplete command and is handed in again, with more behind it.
//! * A session never makes more than [`OUTPUT_HIGH_WATER`] bytes of output, plus one bounded piece, in one call:
//!   it answers [`Step::Flush`] and is called again when the client has taken them. What stands in a file as it is to be
//!   sent need not be output: [`Step::Send`].
//! * Output leaves when [`Session::settle`] has made it true. Where others are at that already, no thread waits for them:
//!   the worker keeps the output, and the session is left alone until then ([`Settled::Later`]).
//! * A session that works longer than [`SLICE`] answers [`Step::Yield`], so that others get their turn.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::auth;
use crate::config::Settings;
use crate::sys::FileRange;

/// Output above which a session suspends its command, in bytes.
pub const OUTPUT_HIGH_WATER: usize = 64 * 1024;

/// Unconsumed input that the worker keeps for a session, in bytes; the longest command line plus its line end
/// fits. A session must consume or close when it finds this many bytes.
pub const INPUT_LIMIT: usize = 64 * 1024;

/// How long a session may work before it yields.
pub const SLICE: Duration = Duration::from_millis(3);

/// Names a session inside its worker. The generation tells a reused slot from its former holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    pub slot: u32,
    pub generation: u32,
}

impl Token {
    /// The token as one number, for those who know nothing of sessions.
    pub fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub fn from_number(number: u64) -> Token {
        Token { slot: number as u32, generation: (number >> 32) as u32 }
    }
}

/// Who is at the other end, known when the connection is accepted.
#[derive(Clone, Debug)]
pub struct Peer {
    pub remote: SocketAddr,
    pub local: SocketAddr,
}

/// How a connection is protected against others on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    #[default]
    Plain,
    /// By TLS, with a cipher whose keys have so many bits.
    Tls { bits: u16 },
}

/// What a session reads from and writes to during one call.
pub struct Io<'a> {
    input: &'a [u8],
    consumed: usize,
    /// Bytes for the client; the session appends, and leaves alone what is there already.
    pub output: &'a mut Vec<u8>,
    /// The time at which this call began.
    pub now: Instant,
    /// As of this call; it changes only with [`Step::StartTls`].
    pub security: Security,
}

impl<'a> Io<'a> {
    pub fn new(input: &'a [u8], output: &'a mut Vec<u8>, now: Instant) -> Self {
        Io { input, consumed: 0, output, now, security: Security::Plain }
    }

    /// The same over a connection that is protected like this.
    pub fn over(self, security: Security) -> Self {
        Io { security, ..self }
    }

    /// The bytes that arrived and are not consumed yet.
    pub fn input(&self) -> &'a [u8] {
        &self.input[self.consumed..]
    }

    /// Takes `count` bytes off the front of the input.
    ///
    /// # Panics
    /// When `count` exceeds what `input` returned: a bug in the session.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.input.len() - self.consumed, "consumed more input than there is");
        self.consumed += count;
    }

    /// How many bytes this call has consumed.
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    /// Whether the session should suspend until the client has read.
    pub fn is_above_high_water(&self) -> bool {
        self.output.len() >= OUTPUT_HIGH_WATER
    }

    /// Whether the session has used up its slice of time.
    pub fn is_slice_over(&self) -> bool {
        self.now.elapsed() >= SLICE
    }
}

/// What the worker does after a call into the session. The output is sent in every case.
#[derive(Debug)]
pub enum Step {
    /// Park until more input or an event arrives.
    Read,
    /// Send the output, then call `step` again; no input is read meanwhile.
    Flush,
    /// As `Flush`, with these bytes behind the output. Answered over [`Security::Plain`] only.
    Send(Box<FileRange>),
    /// Call `step` again after other sessions had their turn.
    Yield,
    /// Ask the auth process; park, without reading input, until [`Event::Auth`] brings the answer.
    Authenticate(Box<auth::Request>),
    /// Send the output, drop the input that has arrived, begin TLS; park until [`Event::Secured`]. Answered only by a
    /// session that was told that its worker can do it, over [`Security::Plain`], and with nothing to settle.
    StartTls,
    /// Send the output, then close the connection.
    Close,
}

/// Something that happened outside the session.
#[derive(Debug)]
pub enum Event {
    /// A mailbox that the session watches has changed. Many changes may share one event.
    Changed,
    /// The auth process answered.
    Auth(auth::Reply),
    /// TLS is on, as [`Io::security`] says. What the session has learned from its client before may be an attacker's
    /// word: it forgets all of it.
    Secured,
    /// The session has to end: it says goodbye and answers [`Step::Close`]. This one may come at any time after
    /// `open`, also between two steps of a suspended command or while the auth process is asked; the others come
    /// only when the session has answered [`Step::Read`] (or what they are the answer to: [`Step::Authenticate`],
    /// [`Step::StartTls`]).
    Goodbye(Goodbye),
}

/// Why a session has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goodbye {
    /// Nothing came for `service.imap.idletimeout`.
    Idle,
    /// No login within `service.imap.logintimeout`.
    LoginTimeout,
    /// The server stops.
    Shutdown,
    /// An administrator ended the session.
    Killed,
}

/// Whether the output may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Yes,
    /// The rest of it: what cannot be made true is taken out. The connection is closed once that is sent.
    Failed,
    /// Not yet: others are making it true. The worker keeps the output, and asks again when [`Wake`] says so of the
    /// session; it is not called for anything else before that.
    Later,
}

/// What the close record of the log says about a session.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The authenticated user; `None` before login.
    pub user: Option<String>,
    pub login_time: Option<SystemTime>,
    pub mailboxes_selected: u32,
    /// Why the session ended, in one word, as far as the session knows.
    pub reason: &'static str,
}

/// One connection's protocol state.
pub trait Session: Send {
    /// Says the greeting.
    fn open(&mut self, io: &mut Io<'_>) -> Step;

    /// Consumes input, goes on with a suspended command.
    fn step(&mut self, io: &mut Io<'_>) -> Step;

    /// Takes note of an event. Input in `io` may be consumed as in `step`.
    fn event(&mut self, event: Event, io: &mut Io<'_>) -> Step;

    /// Makes true what the output says: called with all of it, and always before it is sent. So a batch of pipelined
    /// commands costs one sync of the disk. May block.
    fn settle(&mut self, output: &mut Vec<u8>) -> Settled {
        let _ = output;
        Settled::Yes
    }

    /// Whether the login time limit still applies.
    fn is_authenticated(&self) -> bool;

    /// For the close record and for lists of sessions.
    fn summary(&self) -> Summary;
}

/// Why a client is turned away when it connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Every worker has as many sessions as it may have.
    Full,
    /// Its address holds as many connections as it may hold.
    Crowded,
    /// Its address may not connect.
    Filtered,
}

/// Makes sessions: one implementation per protocol.
pub trait Protocol: Send + Sync {
    /// A session for a connection that was just accepted.
    fn session(&self, token: Token, peer: Peer) -> Box<dyn Session>;

    /// What a client is told that is turned away.
    fn refusal(&self, why: Refusal) -> Vec<u8>;

    /// Takes over options that a refresh (SIGHUP) can change.
    fn refresh(&self, _settings: &Settings) {}

    /// The last session is gone and the process ends: brings to disk what was deferred.
    fn finish(&self) {}
}

/// Wakes parked sessions; the worker implements it, the notify room calls it.
pub trait Wake: Send + Sync {
    /// Delivers [`Event::Changed`] to the session, soon; does nothing when the session is gone.
    fn wake(&self, token: Token);

    /// The session has its output settled now, after [`Settled::Later`]; does nothing when the session is gone.
    fn settled(&self, token: Token);

    /// As `settled`; it has to be done by this thread, if it runs sessions, after the one that it runs now. `false` when
    /// the session is gone.
    fn settles_next(&self, token: Token) -> bool;
}

/// A shared [`Wake`].
pub type Waker = Arc<dyn Wake>;
