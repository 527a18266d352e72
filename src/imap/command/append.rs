//! APPEND and MULTIAPPEND: messages go to the store as they arrive (RFC 9051 §6.3.12, RFC 3502, RFC 7889).
//!
//! What can be refused is refused before a synchronising literal is asked for. After a failure the rest of the command
//! is still read, into nothing, so that no byte of a message is taken for a command.

use std::borrow::Cow;

use smallvec::{SmallVec, smallvec};

use crate::imap::code::{Code, Failure, no_target};
use crate::imap::framing::{Frame, Literal};
use crate::imap::parse::{ParseError, parse_append_next};
use crate::imap::session::{Completion, Detail, ImapSession, OwnedTag, Started, Sync};
use crate::imap::types::{AppendPrefix, MessageLiteral};
use crate::session::{Io, Step};
use crate::store::{InternalDate, NewMessage};

use super::flag_list;

/// Nearly always one.
type NewMessages = SmallVec<[NewMessage; 1]>;

/// An APPEND on its way. Its name is the command's until it has to wait.
pub(in crate::imap) struct Append<'h> {
    tag: OwnedTag,
    mailbox: Cow<'h, str>,
    /// Complete but for the last while `arriving`.
    messages: NewMessages,
    /// Whether the last message may have NUL (RFC 3516).
    binary: bool,
    /// Why nothing will be appended.
    failure: Option<Failure>,
}

impl ImapSession {
    /// Looks at an APPEND up to its first message.
    pub(in crate::imap) fn start_append(
        &mut self,
        prefix: &AppendPrefix<'_>,
        literal: Literal,
        io: &mut Io<'_>,
    ) -> Option<Step> {
        let tag = prefix.tag.as_str().as_bytes();
        let accepted = self.accept_append(prefix.mailbox.as_str(), &prefix.message);
        match accepted {
            Ok(message) => {
                let append = Append {
                    tag: OwnedTag::from_slice(tag),
                    mailbox: Cow::Borrowed(prefix.mailbox.as_str()),
                    messages: smallvec![message],
                    binary: prefix.message.binary,
                    failure: None,
                };
                self.stream_message(literal, io);
                self.read_append(append, io)
            }
            Err(failure) => {
                self.framer.refuse();
                self.fail(io.output, tag, failure)
            }
        }
    }

    fn accept_append(&self, mailbox: &str, message: &MessageLiteral<'_>) -> Result<NewMessage, Failure> {
        if !self.user()?.has_mailbox(mailbox)? {
            return Err(no_target());
        }
        self.accept_message(message)
    }

    fn accept_message(&self, message: &MessageLiteral<'_>) -> Result<NewMessage, Failure> {
        if message.size > self.shared.settings.append_limit {
            return Err(Failure::no(Code::TooBig, "message is larger than APPENDLIMIT"));
        }
        if message.size == 0 {
            return Err(Failure::no(Code::Cannot, "message is empty"));
        }
        let internal_date = message
            .date
            .map(|date| InternalDate { timestamp: date.timestamp, offset_minutes: date.offset_minutes });
        Ok(NewMessage {
            body: self.user()?.upload().expecting(message.size),
            flags: flag_list(&message.flags),
            internal_date,
        })
    }

    fn stream_message(&mut self, literal: Literal, io: &mut Io<'_>) {
        self.framer.stream();
        if literal.synchronising {
            io.output.extend_from_slice(b"+ OK\r\n");
        }
    }

    /// Takes what has come of the messages and of the lines between them.
    pub(in crate::imap) fn read_append(&mut self, mut append: Append<'_>, io: &mut Io<'_>) -> Option<Step> {
        loop {
            let framed = self.framer.next(io.input());
            io.consume(framed.consumed);
            match framed.frame {
                Frame::Incomplete => {
                    self.keep_append(append.into_owned());
                    return Some(Step::Read);
                }
                Frame::Data { bytes, .. } => append.take(bytes),
                Frame::Literal { literal, head } => {
                    if let Err(failure) = self.next_message(&mut append, &head) {
                        self.framer.refuse();
                        return self.fail(io.output, &append.tag, failure);
                    }
                    self.stream_message(literal, io);
                }
                Frame::Command(line) => {
                    let (tag, started) = self.finish_append(append, &line);
                    return self.begin(&tag, started, io.output.len(), io);
                }
                Frame::Error { error, .. } => {
                    return self.fail(io.output, &append.tag, Failure::bad(error.to_string()));
                }
                Frame::Broken => return Some(self.give_up(io)),
            }
        }
    }

    fn next_message(&mut self, append: &mut Append<'_>, head: &[u8]) -> Result<(), Failure> {
        if let Some(failure) = append.failure.take() {
            return Err(failure);
        }
        let message = parse_append_next(head, self.enabled.dialect()).map_err(|error| syntax(&error))?;
        let message = message.ok_or_else(|| Failure::bad("expected a message"))?;
        append.messages.push(self.accept_message(&message)?);
        append.binary = message.binary;
        Ok(())
    }

    /// The command's end: all messages or none.
    fn finish_append(&mut self, append: Append<'_>, line: &[u8]) -> (OwnedTag, Result<Started, Failure>) {
        let rest = parse_append_next(line, self.enabled.dialect());
        let result = match (append.failure, rest) {
            (Some(failure), _) => Err(failure),
            (None, Err(error)) => Err(syntax(&error)),
            (None, Ok(Some(_))) => Err(Failure::bad("expected a message literal")),
            (None, Ok(None)) => self.append_all(&append.mailbox, append.messages),
        };
        (append.tag, result)
    }

    fn append_all(&mut self, mailbox: &str, messages: NewMessages) -> Result<Started, Failure> {
        let user = self.user()?.clone();
        let selected = self.view.as_deref_mut().map(|view| &mut view.selected);
        let appended = user.append(mailbox, messages, selected).map_err(Failure::of_target)?;
        self.note_look();
        let done = Completion { detail: Detail::Appended(appended), text: "APPEND completed" };
        Ok(Started::Written { sync: Sync::Report, done })
    }
}

fn syntax(error: &ParseError<'_>) -> Failure {
    Failure::bad(error.to_string())
}

impl Append<'_> {
    fn into_owned(self) -> Append<'static> {
        let Append { tag, mailbox, messages, binary, failure } = self;
        Append { tag, mailbox: Cow::Owned(mailbox.into_owned()), messages, binary, failure }
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.failure.is_some() {
            return;
        }
        let Some(message) = self.messages.last_mut() else { return };
        if let Err(error) = message.body.write(bytes) {
            self.abandon(Failure::of_target(error));
        } else if !self.binary && message.body.has_nul() {
            self.abandon(Failure::bad("a message with NUL has to come as literal8"));
        }
    }

    /// Lets go of what was uploaded; the rest is swallowed.
    fn abandon(&mut self, failure: Failure) {
        self.failure = Some(failure);
        self.messages.clear();
    }
}
