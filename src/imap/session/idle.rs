//! IDLE: news of the mailbox when they happen (RFC 9051 §6.3.13, RFC 2177).

use super::input::Line;
use super::reply::{self, OwnedTag};
use super::running::Running;
use super::{ImapSession, Mode, Started};
use crate::imap::code::{Code, Failure};
use crate::imap::parse::is_done;
use crate::session::{Io, Step};

/// A session that waits for news.
pub(super) struct Idle {
    tag: OwnedTag,
    /// Wakes the session when its mailbox changes; lets go when dropped.
    _watch: Option<Box<dyn Send>>,
}

impl ImapSession {
    /// Refused where it would hear of nothing, instead of keeping a client in the dark.
    pub(super) fn idle(&self) -> Result<Started, Failure> {
        self.user()?;
        if !self.shared.settings.idle {
            return Err(Failure::no(
                Code::Cannot,
                "IDLE is off here: no publisher of notifications is loaded",
            ));
        }
        Ok(Started::Idle)
    }

    /// The watch begins before the first look, so that no change falls between the two.
    pub(super) fn start_idle(&mut self, tag: &[u8], io: &mut Io<'_>) -> Option<Step> {
        io.output.extend_from_slice(b"+ idling\r\n");
        let mailbox = self.view.as_ref().map(|view| view.selected.id());
        let watch = mailbox.zip(self.user.as_ref());
        let watch = watch.map(|(mailbox, user)| self.shared.watcher.watch(user.name(), mailbox, self.token));
        let idle = Idle { tag: OwnedTag::from_slice(tag), _watch: watch };
        self.tell_idle(idle, io)
    }

    /// Tells what is new and idles on.
    pub(super) fn tell_idle(&mut self, idle: Idle, io: &mut Io<'_>) -> Option<Step> {
        self.run(Running::idle(idle), io)
    }

    /// Reads the line that ends IDLE; any other is answered BAD and ends it as well.
    pub(super) fn read_done(&mut self, idle: Idle, io: &mut Io<'_>) -> Option<Step> {
        match self.read_line(io) {
            Line::Incomplete => {
                self.mode = Mode::Idle(idle);
                Some(Step::Read)
            }
            Line::Whole(line) if is_done(&line) => {
                reply::ok(io.output, &idle.tag, b"", "IDLE completed");
                None
            }
            Line::Whole(_) | Line::Nonsense => {
                self.offend(io.output, Some(&idle.tag), "expected DONE to end IDLE")
            }
        }
    }
}
