//! Where a command ends: lines, literals, and how to get back in step after nonsense. Sans-I/O.
//!
//! The session hands its unread input to [`Framer::next`], consumes as many bytes as the answer says, and acts on the
//! frame. A command that lies in one piece is never copied: a NOOP costs one `memchr` and a slice. Only a command with
//! literals is gathered in the framer, within [`FrameLimits`].
//!
//! ```text
//!             line end                      accept()
//!   Line ───────────────▶ Command    ┌────────────────────▶ Gather ──┐
//!    ▲  ╲  "{n}", line end           │  stream()                     │ n bytes read
//!    │   ╲────────────────▶ Decide ──┼────────────────────▶ Stream ──┤
//!    │                               │  refuse()                     │
//!    │                               ├── synchronising ─▶ Line       │
//!    │                               └── "{n+}" ─▶ Skip ─▶ SkipLine  │
//!    └───────────────────────────────────────────────────────────────┘
//! ```
//!
//! After an error the rest of the line, and every non-synchronising literal in it, is read and dropped in constant
//! memory, so that the bytes of a literal are never taken for commands. Where that would take more than
//! [`FrameLimits::skip`] bytes the frame is [`Frame::Broken`]: say BYE and close.
//!
//! A bare LF ends a line as CRLF does. People type into `nc`, and neither quoted strings nor literal counts can be read
//! in two ways by it: a quoted string holds no LF, and a literal's bytes are counted. A bare CR ends nothing; the
//! grammar refuses it.

use std::borrow::Cow;

use memchr::memchr;
use smallvec::SmallVec;
use thiserror::Error;

use super::limits;

/// What one client may make the framer hold or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Longest line without its line end, in bytes.
    pub line: usize,
    /// Longest command with its literals, in bytes; streamed messages do not count.
    pub command: usize,
    /// Literals that one command may gather.
    pub literals: u32,
    /// Largest non-synchronising literal, in bytes: [`limits::LITERAL_MINUS_MAX`] where only LITERAL- is offered.
    pub non_synchronising: u64,
    /// Bytes of one refused non-synchronising literal that are read and dropped.
    pub skip: u64,
}

impl FrameLimits {
    /// For a client that has proved nothing.
    pub const BEFORE_LOGIN: FrameLimits = FrameLimits {
        line: limits::MAX_LINE_BEFORE_LOGIN,
        command: limits::MAX_COMMAND_BEFORE_LOGIN,
        literals: limits::MAX_LITERALS_BEFORE_LOGIN,
        non_synchronising: limits::LITERAL_MINUS_MAX,
        skip: limits::MAX_SKIP_BEFORE_LOGIN,
    };

    /// For a user, under LITERAL+.
    pub const AFTER_LOGIN: FrameLimits = FrameLimits {
        line: limits::MAX_LINE,
        command: limits::MAX_COMMAND,
        literals: limits::MAX_LITERALS,
        non_synchronising: u64::MAX,
        skip: limits::MAX_SKIP,
    };
}

/// A literal that the client announced (RFC 9051 §4.3, RFC 7888, RFC 3516).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Literal {
    /// In bytes.
    pub size: u64,
    /// Whether the client waits for `+` before it sends the bytes.
    pub synchronising: bool,
    /// Whether it is a literal8.
    pub binary: bool,
}

/// Why a command cannot be read; answered with BAD, or NO `[TOOBIG]` where a literal is to blame.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("command line is too long")]
    LineTooLong,
    #[error("command is too long")]
    CommandTooLong,
    #[error("command has too many literals")]
    TooManyLiterals,
    #[error("literal is too large")]
    LiteralTooLarge,
    #[error("non-synchronising literal is too large, use a synchronising one")]
    NonSynchronisingTooLarge,
}

/// What the framer found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'i> {
    /// More bytes are needed.
    Incomplete,
    /// A whole command or, while a message is streamed, the line after it. Without its line end.
    Command(Cow<'i, [u8]>),
    /// The line announces a literal. `head` is the command up to it, with the announcement and CRLF. Look at that, then
    /// call [`Framer::accept`], [`Framer::stream`] or [`Framer::refuse`]; to go on without is to refuse.
    Literal { literal: Literal, head: Cow<'i, [u8]> },
    /// Bytes of a streamed literal. The last of them have `left` = 0 and come even when the literal is empty.
    Data { bytes: &'i [u8], left: u64 },
    /// The command cannot be read and is being skipped. `head` is how it begins, enough for
    /// [`tag_of`](super::parse::tag_of); after a streamed message, how the line goes on (the tag came before).
    Error { error: FrameError, head: SmallVec<[u8; 32]> },
    /// No way to find the next command: the connection must be closed.
    Broken,
}

/// How far the framer came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed<'i> {
    /// Bytes to take off the input, before `next` is called again.
    pub consumed: usize,
    pub frame: Frame<'i>,
}

/// Finds commands in a stream of bytes.
#[derive(Debug)]
pub struct Framer {
    limits: FrameLimits,
    state: State,
    /// Bytes of the unconsumed input that are known to hold no LF.
    scanned: usize,
    /// A command with literals, as far as it came; each line in it ends with CRLF.
    gathered: Vec<u8>,
    /// Literals in `gathered`.
    literals: u32,
}

#[derive(Debug)]
enum State {
    Line,
    Decide(Literal),
    Gather { left: u64 },
    Stream { left: u64 },
    Skip { left: u64 },
    SkipLine { tail: Tail },
    Broken,
}

/// Longest announcement that is looked at: `{` 19 digits `+}`, with room to see that a number is too long.
const MAX_ANNOUNCEMENT: usize = 24;

/// The last bytes of a line that is being skipped: an announcement and CR fit.
type Tail = SmallVec<[u8; 2 * MAX_ANNOUNCEMENT]>;

/// What stands at the end of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announcement {
    Literal(Literal),
    /// A number of 2^63 or more.
    Overflow {
        synchronising: bool,
    },
}

impl Framer {
    pub fn new(limits: FrameLimits) -> Self {
        Framer { limits, state: State::Line, scanned: 0, gathered: Vec::new(), literals: 0 }
    }

    /// For the commands from here on, after a login.
    pub fn set_limits(&mut self, limits: FrameLimits) {
        self.limits = limits;
    }

    /// Finds the next frame at the start of `input`, which begins with what earlier calls left unconsumed.
    pub fn next<'i>(&mut self, input: &'i [u8]) -> Framed<'i> {
        self.advance(input, true)
    }

    /// Finds the next line, in which `{n}` has no meaning: the answer to a SASL challenge, or DONE.
    pub fn next_line<'i>(&mut self, input: &'i [u8]) -> Framed<'i> {
        self.advance(input, false)
    }

    /// Takes the announced literal as part of the command that begins with `head`. The caller answers `+` if it is
    /// synchronising.
    ///
    /// # Errors
    /// When it does not fit, with the head; the caller says so to the client and calls [`refuse`](Self::refuse).
    pub fn accept<'h>(&mut self, head: Cow<'h, [u8]>) -> Result<(), (FrameError, Cow<'h, [u8]>)> {
        let State::Decide(literal) = self.state else { return Ok(()) };
        if self.literals >= self.limits.literals {
            return Err((FrameError::TooManyLiterals, head));
        }
        if literal.size > self.limits.command.saturating_sub(head.len()) as u64 {
            return Err((FrameError::LiteralTooLarge, head));
        }
        self.gathered = head.into_owned();
        self.literals += 1;
        self.state = State::Gather { left: literal.size };
        Ok(())
    }

    /// Hands the announced literal to the caller as it arrives. What follows the literal is framed as a line of its own.
    pub fn stream(&mut self) {
        if let State::Decide(literal) = self.state {
            self.forget();
            self.state = State::Stream { left: literal.size };
        }
    }

    /// Gives the command up, at an announced literal or within a streamed one. The client is told by the caller.
    pub fn refuse(&mut self) {
        self.forget();
        self.state = match self.state {
            State::Decide(Literal { synchronising: true, .. }) => State::Line,
            State::Decide(literal) => self.skip(literal.size),
            State::Stream { left } => State::Skip { left },
            _ => return,
        };
    }

    /// Whether no command has begun, as far as the framer has seen.
    pub fn is_between_commands(&self) -> bool {
        matches!(self.state, State::Line) && self.gathered.is_empty() && self.scanned == 0
    }

    fn advance<'i>(&mut self, input: &'i [u8], announcements: bool) -> Framed<'i> {
        let mut consumed = 0;
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            let (taken, frame) = match self.state {
                State::Line => {
                    let framed = self.line(rest, announcements);
                    (framed.consumed, Some(framed.frame))
                }
                State::Decide(_) => {
                    self.refuse();
                    (0, None)
                }
                State::Gather { left } => self.gather(rest, left),
                State::Stream { left } => self.hand_on(rest, left),
                State::Skip { left } => self.skip_literal(rest, left),
                State::SkipLine { .. } => self.skip_line(rest),
                State::Broken => (rest.len(), Some(Frame::Broken)),
            };
            consumed += taken;
            if let Some(frame) = frame {
                return Framed { consumed, frame };
            }
        }
    }

    fn gather<'i>(&mut self, input: &'i [u8], mut left: u64) -> (usize, Option<Frame<'i>>) {
        let bytes = take(input, &mut left);
        self.gathered.extend_from_slice(bytes);
        self.state = if left == 0 { State::Line } else { State::Gather { left } };
        (bytes.len(), (left > 0).then_some(Frame::Incomplete))
    }

    fn hand_on<'i>(&mut self, input: &'i [u8], mut left: u64) -> (usize, Option<Frame<'i>>) {
        let bytes = take(input, &mut left);
        if left > 0 && bytes.is_empty() {
            return (0, Some(Frame::Incomplete));
        }
        self.state = if left == 0 { State::Line } else { State::Stream { left } };
        (bytes.len(), Some(Frame::Data { bytes, left }))
    }

    fn skip_literal<'i>(&mut self, input: &'i [u8], mut left: u64) -> (usize, Option<Frame<'i>>) {
        let bytes = take(input, &mut left);
        self.state = if left == 0 { State::SkipLine { tail: Tail::new() } } else { State::Skip { left } };
        (bytes.len(), (left > 0).then_some(Frame::Incomplete))
    }

    fn skip_line<'i>(&mut self, input: &'i [u8]) -> (usize, Option<Frame<'i>>) {
        let State::SkipLine { tail } = &mut self.state else { return (0, None) };
        let Some(end) = memchr(b'\n', input) else {
            extend_tail(tail, input);
            return (input.len(), Some(Frame::Incomplete));
        };
        extend_tail(tail, input.get(..end).unwrap_or_default());
        let last = announcement(without_cr(tail));
        self.state = self.after_skipped_line(last);
        (end + 1, None)
    }

    /// Looks for a line end. The line is consumed with its end, or not at all.
    fn line<'i>(&mut self, input: &'i [u8], announcements: bool) -> Framed<'i> {
        let from = self.scanned.min(input.len());
        let Some(end) = memchr(b'\n', input.get(from..).unwrap_or_default()).map(|offset| from + offset)
        else {
            // One more than the limit may yet turn out to be CR.
            if input.len() > self.limits.line + 1 {
                return self.fail(FrameError::LineTooLong, input);
            }
            self.scanned = input.len();
            return Framed { consumed: 0, frame: Frame::Incomplete };
        };
        self.scanned = 0;
        let line = without_cr(input.get(..end).unwrap_or_default());
        if line.len() > self.limits.line {
            return self.fail(FrameError::LineTooLong, line);
        }
        if !self.gathered.is_empty() && self.gathered.len() + line.len() > self.limits.command {
            return self.fail(FrameError::CommandTooLong, line);
        }
        match announcement(line).filter(|_| announcements) {
            Some(announcement) => self.announced(line, input, end + 1, announcement),
            None => Framed { consumed: end + 1, frame: Frame::Command(self.complete(line)) },
        }
    }

    fn complete<'i>(&mut self, line: &'i [u8]) -> Cow<'i, [u8]> {
        if self.gathered.is_empty() {
            return Cow::Borrowed(line);
        }
        self.literals = 0;
        let mut command = std::mem::take(&mut self.gathered);
        command.extend_from_slice(line);
        Cow::Owned(command)
    }

    fn announced<'i>(
        &mut self,
        line: &'i [u8],
        input: &'i [u8],
        consumed: usize,
        announcement: Announcement,
    ) -> Framed<'i> {
        let literal = match announcement {
            Announcement::Literal(literal) => literal,
            Announcement::Overflow { .. } => return self.fail(FrameError::LiteralTooLarge, line),
        };
        if !literal.synchronising && literal.size > self.limits.non_synchronising {
            return self.fail(FrameError::NonSynchronisingTooLarge, line);
        }
        let head = self.head(line, input.get(..consumed).unwrap_or_default());
        self.state = State::Decide(literal);
        Framed { consumed, frame: Frame::Literal { literal, head } }
    }

    /// The command up to and with `line`; `whole` has its line end too.
    fn head<'i>(&mut self, line: &[u8], whole: &'i [u8]) -> Cow<'i, [u8]> {
        if self.gathered.is_empty() && whole.ends_with(b"\r\n") {
            return Cow::Borrowed(whole);
        }
        let mut head = std::mem::take(&mut self.gathered);
        head.reserve_exact(line.len() + 2);
        head.extend_from_slice(line);
        head.extend_from_slice(b"\r\n");
        Cow::Owned(head)
    }

    /// Gives the command up. Nothing is consumed yet: skipping starts with the line that `input` begins with.
    fn fail<'i>(&mut self, error: FrameError, input: &[u8]) -> Framed<'i> {
        let start = if self.gathered.is_empty() { input } else { &self.gathered };
        // Not more than has surely come of a line that is too long: in how many pieces makes no difference.
        let length = limits::MAX_TAG.min(self.limits.line) + 1;
        let head = start.iter().copied().take(length).collect();
        self.forget();
        self.state = State::SkipLine { tail: Tail::new() };
        Framed { consumed: 0, frame: Frame::Error { error, head } }
    }

    fn after_skipped_line(&self, last: Option<Announcement>) -> State {
        match last {
            Some(Announcement::Literal(Literal { synchronising: false, size, .. })) => self.skip(size),
            Some(Announcement::Overflow { synchronising: false }) => State::Broken,
            // A client that waits for `+` has its BAD or NO and sends no more of this command.
            _ => State::Line,
        }
    }

    fn skip(&self, left: u64) -> State {
        if left > self.limits.skip { State::Broken } else { State::Skip { left } }
    }

    fn forget(&mut self) {
        self.gathered = Vec::new();
        self.literals = 0;
        self.scanned = 0;
    }
}

/// Up to `left` bytes off the front of `input`, and `left` lowered by as many.
fn take<'i>(input: &'i [u8], left: &mut u64) -> &'i [u8] {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    *left -= length as u64;
    input.get(..length).unwrap_or_default()
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Keeps the last bytes of a line that comes in pieces.
fn extend_tail(tail: &mut Tail, bytes: &[u8]) {
    const KEPT: usize = MAX_ANNOUNCEMENT + 2;
    let fresh = bytes.get(bytes.len().saturating_sub(KEPT)..).unwrap_or_default();
    tail.drain(..(tail.len() + fresh.len()).saturating_sub(KEPT).min(tail.len()));
    tail.extend_from_slice(fresh);
}

/// The literal that a line announces: `{n}`, `{n+}`, `~{n}` or `~{n+}` at its end. Everything else in braces is left to
/// the grammar, which refuses it.
fn announcement(line: &[u8]) -> Option<Announcement> {
    let inner = line.strip_suffix(b"}")?;
    let (number, synchronising) = match inner.strip_suffix(b"+") {
        Some(number) => (number, false),
        None => (inner, true),
    };
    let digits =
        number.iter().rev().take(MAX_ANNOUNCEMENT - 3).take_while(|byte| byte.is_ascii_digit()).count();
    let (before, digits) = number.split_at(number.len() - digits);
    if digits.len() == MAX_ANNOUNCEMENT - 3 {
        return Some(Announcement::Overflow { synchronising });
    }
    let before = before.strip_suffix(b"{").filter(|_| !digits.is_empty())?;
    let size = digits.iter().try_fold(0u64, |size, digit| {
        size.checked_mul(10)?.checked_add(u64::from(digit - b'0')).filter(|size| *size <= i64::MAX as u64)
    });
    Some(match size {
        Some(size) => Announcement::Literal(Literal { size, synchronising, binary: before.ends_with(b"~") }),
        None => Announcement::Overflow { synchronising },
    })
}

#[cfg(test)]
mod tests;
