//! One IMAP connection as a state machine: bytes in, bytes out (RFC 9051 §3).
//!
//! What the next bytes mean is the session's [`Mode`]; a command that cannot end in one call is a [`Running`] in it.
//!
//! ```text
//!   open ─▶ Commands ◀──────────────┬───────────────┬───────────────┐
//!              │ a whole command    │               │               │
//!              ├─ STARTTLS ─────▶ all anew, once the handshake is done
//!              ├─ AUTHENTICATE ─▶ Sasl ─▶ AwaitAuth ┘               │
//!              ├─ APPEND ───────▶ Append ───────────────────────────┤
//!              ├─ IDLE ─────────▶ Idle ──── DONE ───────────────────┤
//!              └─ any other ────▶ Running: work, one sync, report, tagged reply
//! ```

mod idle;
mod input;
mod login;
pub(in crate::imap) mod reply;
mod report;
mod running;
mod starttls;
mod view;

use std::mem;
use std::sync::Arc;
use std::time::SystemTime;

pub(in crate::imap) use reply::{Completion, Detail, OwnedTag};
pub(in crate::imap) use running::{Started, Sync, Work};
pub(in crate::imap) use view::{Enabled, View, seq_ranges, write_uids};

use super::Shared;
use super::code::Failure;
use super::command::append::Append;
use super::framing::{FrameLimits, Framer};
use super::limits::MAX_OFFENCES;
use crate::auth;
use crate::session::{Event, Goodbye, Io, Peer, Security, Session, Settled, Step, Summary, Token};
use crate::store::{LogEnd, User, Waiter};
use idle::Idle;
use running::Running;

/// A connection.
pub(super) struct ImapSession {
    pub(in crate::imap) shared: Arc<Shared>,
    token: Token,
    peer: Peer,
    security: Security,
    pub(in crate::imap) framer: Framer,
    mode: Mode,
    pub(in crate::imap) enabled: Enabled,
    /// Present after login.
    pub(in crate::imap) user: Option<Arc<User>>,
    /// Present while a mailbox is selected.
    pub(in crate::imap) view: Option<Box<View>>,
    /// BAD answers before login, and in a row after it.
    offences: u8,
    failed_logins: u8,
    login_time: Option<SystemTime>,
    /// As long as it is there, the user counts as logged in.
    presence: Option<Box<dyn Send>>,
    pub(in crate::imap) selects: u32,
    reason: &'static str,
    promised: Option<Promise>,
}

/// The output has an answer that is true only when the user's log is synced.
struct Promise {
    /// Where in the output the first of them stands.
    said: usize,
    /// Up to where the log has to be synced; known when that has begun.
    until: Option<LogEnd>,
}

impl Promise {
    /// Makes the answers true; `false`: others are at it, and `waiter` will be told.
    fn keep(&mut self, user: &Arc<User>, waiter: Waiter) -> crate::store::Result<bool> {
        // As of the first time: what others write meanwhile must not hold this session up.
        let end = match self.until.take() {
            Some(end) => end,
            None => user.log_end()?,
        };
        user.settle(self.until.insert(end), Some(waiter))
    }
}

/// What the next bytes mean.
#[derive(Default)]
enum Mode {
    #[default]
    Commands,
    /// The response to an empty SASL challenge.
    Sasl(OwnedTag),
    /// Nothing is read until the auth process answers.
    AwaitAuth(OwnedTag),
    Append(Box<Append<'static>>),
    Idle(Idle),
    Running(Box<Running>),
    Closed,
}

impl ImapSession {
    pub(super) fn new(shared: Arc<Shared>, token: Token, peer: Peer) -> Self {
        ImapSession {
            shared,
            token,
            peer,
            security: Security::Plain,
            framer: Framer::new(FrameLimits::BEFORE_LOGIN),
            mode: Mode::Commands,
            enabled: Enabled::default(),
            user: None,
            view: None,
            offences: 0,
            failed_logins: 0,
            login_time: None,
            presence: None,
            selects: 0,
            reason: "disconnect",
            promised: None,
        }
    }

    /// One thing after the other until the session has to wait.
    fn turn(&mut self, io: &mut Io<'_>) -> Option<Step> {
        match mem::take(&mut self.mode) {
            Mode::Commands => self.read_command(io),
            Mode::Sasl(tag) => self.read_sasl(tag, io),
            Mode::AwaitAuth(tag) => {
                self.mode = Mode::AwaitAuth(tag);
                Some(Step::Read)
            }
            Mode::Append(append) => self.read_append(*append, io),
            Mode::Idle(idle) => self.read_done(idle, io),
            Mode::Running(running) => self.advance(running, io),
            Mode::Closed => Some(self.close(self.reason)),
        }
    }

    pub(in crate::imap) fn close(&mut self, reason: &'static str) -> Step {
        self.mode = Mode::Closed;
        self.reason = reason;
        self.view = None;
        self.presence = None;
        Step::Close
    }

    pub(in crate::imap) fn is_logged_in(&self) -> bool {
        self.user.is_some()
    }

    /// The user, for commands that need a login.
    pub(in crate::imap) fn user(&self) -> Result<&Arc<User>, Failure> {
        self.user.as_ref().ok_or_else(|| Failure::bad("log in first"))
    }

    /// The selected mailbox, for commands that need one.
    pub(in crate::imap) fn view(&mut self) -> Result<&mut View, Failure> {
        let logged_in = self.is_logged_in();
        let missing = || Failure::bad(if logged_in { "no mailbox is selected" } else { "log in first" });
        self.view.as_deref_mut().ok_or_else(missing)
    }

    /// Answers BAD and counts it: before login a stranger that speaks no IMAP is soon shown the door.
    fn offend(&mut self, out: &mut Vec<u8>, tag: Option<&[u8]>, text: &str) -> Option<Step> {
        reply::bad(out, tag, text);
        self.offences = self.offences.saturating_add(1);
        if self.is_logged_in() || self.offences < MAX_OFFENCES {
            return None;
        }
        out.extend_from_slice(b"* BYE [CLIENTBUG] too many bad commands before login\r\n");
        Some(self.close("offences"))
    }

    /// Something has come, or time has gone by: what others wrote meanwhile counts for the next command.
    fn look_again(&mut self) {
        if let Some(view) = &mut self.view {
            view.look_again();
        }
    }

    /// The command has looked at the log of the selected mailbox, whatever it did there.
    pub(in crate::imap) fn note_look(&mut self) {
        if let Some(view) = &mut self.view {
            view.note_look();
        }
    }

    fn say_goodbye(&mut self, why: Goodbye, io: &mut Io<'_>) -> Step {
        let before = io.output.len();
        let reason = reply::goodbye(io.output, why);
        // In the middle of a literal, a client takes whatever comes for the message.
        if matches!(&self.mode, Mode::Running(running) if running.is_inside_message()) {
            io.output.truncate(before);
        }
        self.close(reason)
    }
}

impl Session for ImapSession {
    fn open(&mut self, io: &mut Io<'_>) -> Step {
        self.security = io.security;
        self.greet(io.output);
        self.step(io)
    }

    fn step(&mut self, io: &mut Io<'_>) -> Step {
        self.look_again();
        loop {
            if let Some(step) = self.turn(io) {
                return step;
            }
            if io.is_above_high_water() {
                return Step::Flush;
            }
            if !io.input().is_empty() && io.is_slice_over() {
                return Step::Yield;
            }
        }
    }

    fn event(&mut self, event: Event, io: &mut Io<'_>) -> Step {
        self.look_again();
        let step = match event {
            Event::Changed => self.hear_of_changes(io),
            Event::Auth(reply) => self.take_auth_reply(reply, io),
            Event::Secured => {
                self.begin_anew(io.security);
                None
            }
            Event::Goodbye(why) => Some(self.say_goodbye(why, io)),
        };
        step.unwrap_or_else(|| self.step(io))
    }

    fn settle(&mut self, output: &mut Vec<u8>) -> Settled {
        let (Some(promise), Some(user)) = (&mut self.promised, &self.user) else { return Settled::Yes };
        let kept = promise.keep(user, Waiter(self.token.number()));
        if let Ok(false) = kept {
            return Settled::Later;
        }
        let said = promise.said;
        self.promised = None;
        let Err(error) = kept else { return Settled::Yes };
        self.log_error(&error);
        output.truncate(said);
        reply::bye(
            output,
            "[UNAVAILABLE] the server's disk fails: the commands without an answer may be lost",
        );
        self.close("storeerror");
        Settled::Failed
    }

    fn is_authenticated(&self) -> bool {
        self.is_logged_in()
    }

    fn summary(&self) -> Summary {
        Summary {
            user: self.user.as_ref().map(|user| user.name().as_str().to_owned()),
            login_time: self.login_time,
            mailboxes_selected: self.selects,
            reason: self.reason,
        }
    }
}

impl Drop for ImapSession {
    /// What the client could not be told any more becomes durable all the same.
    fn drop(&mut self) {
        if let (Some(_), Some(user)) = (&self.promised, &self.user) {
            user.settle_soon();
        }
    }
}

impl ImapSession {
    /// The answer of the auth process; one that nobody waits for is dropped.
    fn take_auth_reply(&mut self, reply: auth::Reply, io: &mut Io<'_>) -> Option<Step> {
        match mem::take(&mut self.mode) {
            Mode::AwaitAuth(tag) => self.log_in(&tag, reply, io),
            mode => {
                self.mode = mode;
                None
            }
        }
    }

    /// Only IDLE tells of changes when they happen; all else does at the end of commands.
    fn hear_of_changes(&mut self, io: &mut Io<'_>) -> Option<Step> {
        match mem::take(&mut self.mode) {
            Mode::Idle(idle) => self.tell_idle(idle, io),
            Mode::Running(mut running) => {
                running.look_again();
                self.mode = Mode::Running(running);
                None
            }
            mode => {
                self.mode = mode;
                None
            }
        }
    }
}
