//! From bytes to commands, and from a command to the method that carries it out.

use std::borrow::Cow;

use super::{ImapSession, Mode, Started, Sync, reply};
use crate::imap::code::{Code, Failure};
use crate::imap::command::append::Append;
use crate::imap::framing::{Frame, FrameError, Framed, Literal};
use crate::imap::parse::{ParseError, parse_append, parse_command, tag_of};
use crate::imap::types::{self, Command, CommandBody};
use crate::session::{Io, Step};

impl ImapSession {
    /// Reads up to one command and begins it.
    pub(super) fn read_command(&mut self, io: &mut Io<'_>) -> Option<Step> {
        if let Some(step) = self.expects_tls(io) {
            return Some(step);
        }
        let Framed { consumed, frame } = self.framer.next(io.input());
        io.consume(consumed);
        match frame {
            Frame::Incomplete => Some(Step::Read),
            Frame::Command(command) => self.execute(&command, io),
            Frame::Literal { literal, head } => self.take_literal(literal, head, io),
            Frame::Error { error, head } => {
                let tag = tag_of(&head).map(|tag| tag.as_str().as_bytes());
                self.offend(io.output, tag, &error.to_string())
            }
            Frame::Data { .. } => None,
            Frame::Broken => Some(self.give_up(io)),
        }
    }

    /// The next line, within SASL or IDLE. The inner error is the step to take when there is none.
    pub(super) fn read_line<'i>(&mut self, io: &mut Io<'i>) -> Line<'i> {
        let Framed { consumed, frame } = self.framer.next_line(io.input());
        io.consume(consumed);
        match frame {
            Frame::Incomplete => Line::Incomplete,
            Frame::Command(line) => Line::Whole(line),
            _ => Line::Nonsense,
        }
    }

    /// A client that cannot be followed any more.
    pub(in crate::imap) fn give_up(&mut self, io: &mut Io<'_>) -> Step {
        reply::bye(io.output, "[CLIENTBUG] a literal was refused and is too large to be skipped");
        self.close("offences")
    }

    pub(in crate::imap) fn keep_append(&mut self, append: Append<'static>) {
        self.mode = Mode::Append(Box::new(append));
    }

    /// A literal is announced: a message goes to the store, all else becomes part of the command.
    fn take_literal(&mut self, literal: Literal, head: Cow<'_, [u8]>, io: &mut Io<'_>) -> Option<Step> {
        if is_login(&head)
            && !self.is_logged_in()
            && let Err(failure) = self.may_take_password()
        {
            return self.refuse_literal(&head, failure, io);
        }
        if is_append(&head) {
            match parse_append(&head, self.enabled.dialect()) {
                Ok(Some(types::Append::Message(prefix))) => return self.start_append(&prefix, literal, io),
                Ok(_) => {}
                Err(error) => {
                    self.framer.refuse();
                    return self.refuse_syntax(&error, io);
                }
            }
        }
        self.accept_literal(literal, head, io)
    }

    /// Refuses a command whose literal has only been announced.
    fn refuse_literal(&mut self, head: &[u8], failure: Failure, io: &mut Io<'_>) -> Option<Step> {
        self.framer.refuse();
        match tag_of(head) {
            Some(tag) => self.fail(io.output, tag.as_str().as_bytes(), failure),
            None => self.offend(io.output, None, "a tag is missing"),
        }
    }

    fn accept_literal(&mut self, literal: Literal, head: Cow<'_, [u8]>, io: &mut Io<'_>) -> Option<Step> {
        let Err((error, head)) = self.framer.accept(head) else {
            if literal.synchronising {
                io.output.extend_from_slice(b"+ OK\r\n");
            }
            return None;
        };
        self.framer.refuse();
        let tag = tag_of(&head).map(|tag| tag.as_str().as_bytes());
        match (error, tag) {
            (FrameError::LiteralTooLarge, Some(tag)) if self.is_logged_in() => {
                self.fail(io.output, tag, Failure::no(Code::TooBig, error.to_string()))
            }
            _ => self.offend(io.output, tag, &error.to_string()),
        }
    }

    fn execute(&mut self, bytes: &[u8], io: &mut Io<'_>) -> Option<Step> {
        match parse_command(bytes, self.enabled.dialect()) {
            Ok(command) => self.dispatch(command, io),
            Err(_) if !self.is_logged_in() && speaks_http(bytes) => {
                reply::bye(io.output, "[CLIENTBUG] this is an IMAP server");
                Some(self.close("http"))
            }
            Err(error) => self.refuse_syntax(&error, io),
        }
    }

    fn refuse_syntax(&mut self, error: &ParseError<'_>, io: &mut Io<'_>) -> Option<Step> {
        let tag = error.tag.map(|tag| tag.as_str().as_bytes());
        match tag {
            Some(tag) if error.is_refusal() => {
                self.fail(io.output, tag, Failure::no(Code::Cannot, error.to_string()))
            }
            _ => self.offend(io.output, tag, &error.to_string()),
        }
    }

    fn dispatch(&mut self, command: Command<'_>, io: &mut Io<'_>) -> Option<Step> {
        let tag = command.tag.as_str().as_bytes();
        let expunges = matches!(command.body, CommandBody::Expunge { .. } | CommandBody::Move { .. });
        let said = io.output.len();
        let mut started = self.start(tag, command.body, io);
        if let Ok(
            Started::Run { sync: sync @ Sync::Report, .. }
            | Started::Suspended { sync: sync @ Sync::Report, .. }
            | Started::Written { sync: sync @ Sync::Report, .. },
        ) = &mut started
            && !expunges
            && uses_numbers(io.input())
        {
            *sync = Sync::Defer;
        }
        self.begin(tag, started, said, io)
    }

    fn start(&mut self, tag: &[u8], command: CommandBody<'_>, io: &mut Io<'_>) -> Result<Started, Failure> {
        match command {
            CommandBody::Fetch(fetch) => self.fetch(fetch, io),
            CommandBody::Store(store) => self.store(&store, io),
            CommandBody::Search(search) => self.search(tag, &search, io),
            CommandBody::Sort(sort) => self.sort(tag, &sort, io),
            CommandBody::Thread(thread) => self.thread(&thread, io),
            CommandBody::Copy { uid, set, mailbox } => self.copy(uid, &set, &mailbox),
            CommandBody::Move { uid, set, mailbox } => self.move_messages(uid, &set, &mailbox, io),
            CommandBody::Expunge { uids } => self.expunge(uids.as_ref()),
            CommandBody::Noop => Ok(self.news("NOOP completed")),
            CommandBody::Check => self.view().map(drop).map(|()| self.news("CHECK completed")),
            CommandBody::Idle => self.idle(),
            CommandBody::Select(select) => self.select(&select, io),
            CommandBody::Close => self.close_mailbox(),
            CommandBody::Unselect => self.unselect(),
            CommandBody::Status { mailbox, items } => self.status(&mailbox, items, io),
            CommandBody::List(list) => self.list(&list, io),
            CommandBody::Lsub { reference, pattern } => self.lsub(&reference, pattern.as_deref()),
            CommandBody::Create { mailbox, special_use } => self.create(&mailbox, &special_use),
            CommandBody::Delete(mailbox) => self.delete(&mailbox),
            CommandBody::Rename { from, to } => self.rename(&from, &to),
            CommandBody::Subscribe(mailbox) => self.subscribe(&mailbox, true),
            CommandBody::Unsubscribe(mailbox) => self.subscribe(&mailbox, false),
            CommandBody::Namespace => self.namespace(io),
            CommandBody::Enable(names) => self.enable(&names, io),
            CommandBody::Capability => Ok(self.capability(io)),
            CommandBody::Id(pairs) => Ok(self.id(pairs, io)),
            CommandBody::Login { user, password } => self.login(tag, &user, password),
            CommandBody::Authenticate { mechanism, initial } => {
                self.authenticate(tag, mechanism, initial, io)
            }
            CommandBody::StartTls => self.start_tls(tag, io),
            CommandBody::Logout => Ok(self.logout(tag, io)),
        }
    }
}

/// What [`ImapSession::read_line`] found.
pub(super) enum Line<'i> {
    Incomplete,
    Whole(Cow<'i, [u8]>),
    /// Too long; the rest of it is skipped.
    Nonsense,
}

fn is_login(head: &[u8]) -> bool {
    second_word(head).is_some_and(|word| word.eq_ignore_ascii_case(b"LOGIN"))
}

/// Whether a command's second word is APPEND.
fn is_append(head: &[u8]) -> bool {
    second_word(head).is_some_and(|word| word.eq_ignore_ascii_case(b"APPEND"))
}

/// Whether a client has pipelined a command that goes by sequence numbers: it counted messages before it could hear of
/// an expunge, so none may be told before that command (RFC 9051 §5.5).
fn uses_numbers(input: &[u8]) -> bool {
    const COMMANDS: [&[u8]; 7] = [b"FETCH", b"STORE", b"SEARCH", b"COPY", b"MOVE", b"SORT", b"THREAD"];
    let word = if input.is_empty() { None } else { second_word(input) };
    word.is_some_and(|word| COMMANDS.iter().any(|command| word.eq_ignore_ascii_case(command)))
}

fn second_word(line: &[u8]) -> Option<&[u8]> {
    let line = line.get(..crate::imap::limits::MAX_TAG + 16).unwrap_or(line);
    line.split(|byte| matches!(byte, b' ' | b'\r' | b'\n')).nth(1)
}

/// A browser, or what an attacker makes one say: a page can post IMAP commands to any port.
fn speaks_http(line: &[u8]) -> bool {
    const VERBS: [&[u8]; 7] = [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"DELETE "];
    VERBS.iter().any(|verb| line.starts_with(verb))
}
