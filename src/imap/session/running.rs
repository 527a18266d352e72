//! A command on its way: its work, one sync, what others changed, and the tagged reply.

use super::idle::Idle;
use super::reply::{self, Completion, OwnedTag};
use super::report::Report;
use super::{ImapSession, Mode, Promise};
use crate::imap::code::Failure;
use crate::imap::command::list::Listing;
use crate::imap::command::search::Searching;
use crate::imap::command::sort::Sorting;
use crate::imap::command::thread::Threading;
use crate::imap::fetch::Cursor;
use crate::session::{Io, Step};
use crate::store::Expunges;

/// What a command leaves to be done after its first call: in boxes, since short ones end in that call.
pub(in crate::imap) enum Work {
    None,
    Fetch(Box<Cursor>),
    Search(Box<Searching>),
    Sort(Box<Sorting>),
    Thread(Box<Threading>),
    List(Box<Listing>),
}

/// Whether a command ends with news of the mailbox (RFC 9051 §5.2 and §7.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::imap) enum Sync {
    No,
    /// Everything but EXPUNGE: sequence numbers must not shift under a command that uses them.
    Defer,
    Report,
}

/// What a command's first call has come to.
pub(in crate::imap) enum Started {
    /// The rest of the command.
    Run { work: Work, sync: Sync, done: Completion },
    /// As `Run`, after the work has run once, and has come to this step.
    Suspended { work: Work, step: Step, sync: Sync, done: Completion },
    /// A change was written; its OK may be sent when that is on stable storage.
    Written { sync: Sync, done: Completion },
    /// The command has changed the session's mode itself.
    Taken(Option<Step>),
    /// Tell what is new, then idle.
    Idle,
}

impl Started {
    /// A command that is done but for the news and the tagged reply.
    pub(in crate::imap) fn done(sync: Sync, done: Completion) -> Self {
        Started::Run { work: Work::None, sync, done }
    }

    /// A command whose work has run once.
    pub(in crate::imap) fn after(
        step: Option<Step>,
        work: impl FnOnce() -> Work,
        sync: Sync,
        done: Completion,
    ) -> Self {
        match step {
            None => Started::done(sync, done),
            Some(step) => Started::Suspended { work: work(), step, sync, done },
        }
    }

    /// A command that has changed something, or found nothing to change.
    pub(in crate::imap) fn written(has_changed: bool, sync: Sync, done: Completion) -> Self {
        if has_changed { Started::Written { sync, done } } else { Started::done(sync, done) }
    }
}

/// A command that is being carried out.
pub(super) struct Running {
    pub(super) tag: OwnedTag,
    work: Work,
    sync: Sync,
    report: Report,
    end: End,
}

/// What comes after the report.
enum End {
    Tagged(Completion),
    /// Go on idling; look again first when something has changed meanwhile.
    Idle {
        idle: Idle,
        again: bool,
    },
}

impl Running {
    fn new(tag: &[u8], work: Work, sync: Sync, done: Completion) -> Self {
        let (tag, report) = (OwnedTag::from_slice(tag), Report::default());
        Running { tag, work, sync, report, end: End::Tagged(done) }
    }

    /// The news for a session in IDLE.
    pub(super) fn idle(idle: Idle) -> Self {
        let tag = OwnedTag::new();
        Running {
            tag,
            work: Work::None,
            sync: Sync::Report,
            report: Report::default(),
            end: End::Idle { idle, again: false },
        }
    }
}

impl Running {
    /// Whether the client has been told a part of a message, and waits for the rest.
    pub(super) fn is_inside_message(&self) -> bool {
        matches!(&self.work, Work::Fetch(cursor) if cursor.is_inside_message())
    }

    /// Takes note of a change that came while the last one is being told. Only IDLE cares: every command ends with
    /// a look of its own.
    pub(super) fn look_again(&mut self) {
        if let End::Idle { again, .. } = &mut self.end {
            *again = true;
        }
    }
}

impl ImapSession {
    /// Goes on with a command after its first call, before which `said` bytes stood in the output.
    pub(in crate::imap) fn begin(
        &mut self,
        tag: &[u8],
        started: Result<Started, Failure>,
        said: usize,
        io: &mut Io<'_>,
    ) -> Option<Step> {
        match started {
            Ok(Started::Written { sync, done }) => {
                self.promised.get_or_insert(Promise { said, until: None });
                self.begin(tag, Ok(Started::done(sync, done)), said, io)
            }
            Ok(Started::Run { work, sync, done }) => self.run(Running::new(tag, work, sync, done), io),
            Ok(Started::Suspended { work, step, sync, done }) => {
                self.mode = Mode::Running(Box::new(Running::new(tag, work, sync, done)));
                Some(step)
            }
            Ok(Started::Taken(step)) => step,
            Ok(Started::Idle) => self.start_idle(tag, io),
            Err(failure) => self.fail(io.output, tag, failure),
        }
    }

    /// Goes on with a suspended command.
    pub(super) fn advance(&mut self, running: Box<Running>, io: &mut Io<'_>) -> Option<Step> {
        self.run(*running, io)
    }

    pub(super) fn run(&mut self, mut running: Running, io: &mut Io<'_>) -> Option<Step> {
        match self.proceed(&mut running, io) {
            Ok(None) => self.end(running, io),
            Ok(Some(step)) => {
                self.mode = Mode::Running(Box::new(running));
                Some(step)
            }
            Err(failure) => self.fail(io.output, &running.tag, failure),
        }
    }

    /// Work, sync and report; `None` when all is done.
    fn proceed(&mut self, running: &mut Running, io: &mut Io<'_>) -> Result<Option<Step>, Failure> {
        if let Some(step) = self.work(&mut running.work, io)? {
            return Ok(Some(step));
        }
        running.work = Work::None;
        let enabled = self.enabled;
        let Some(view) = self.view.as_deref_mut() else { return Ok(None) };
        let expunges = match running.sync {
            Sync::No => None,
            Sync::Defer => Some(Expunges::Defer),
            Sync::Report => Some(Expunges::Report),
        };
        if let Some(expunges) = expunges {
            let changes = view.sync(expunges)?;
            running.sync = Sync::No;
            if changes.deleted {
                return Err(Failure::Bye("the selected mailbox was deleted, connect again", "deleted"));
            }
            running.report = Report::new(changes, enabled).deferring(view, enabled);
        }
        running.report.run(view, enabled, io)
    }

    fn work(&mut self, work: &mut Work, io: &mut Io<'_>) -> Result<Option<Step>, Failure> {
        let enabled = self.enabled;
        match work {
            Work::None => Ok(None),
            Work::Fetch(cursor) => cursor.run(self.view()?, enabled, io),
            Work::Search(searching) => searching.run(self.view()?, io),
            Work::Sort(sorting) => sorting.run(self.view()?, io),
            Work::Thread(threading) => threading.run(self.view()?, io),
            Work::List(listing) => listing.run(self, io),
        }
    }

    fn end(&mut self, running: Running, io: &mut Io<'_>) -> Option<Step> {
        match running.end {
            End::Tagged(completion) => self.complete(&running.tag, &completion, io.output),
            End::Idle { idle, again: true } => return self.tell_idle(idle, io),
            End::Idle { idle, again: false } => self.mode = Mode::Idle(idle),
        }
        None
    }

    /// `tag OK`, with the code that goes with it.
    pub(in crate::imap) fn complete(&mut self, tag: &[u8], completion: &Completion, out: &mut Vec<u8>) {
        self.offences = 0;
        let highest = self.view.as_ref().map(|view| view.selected.highest_modseq());
        reply::ok_with(out, tag, |out| completion.detail.put(highest, out), completion.text);
    }
}
