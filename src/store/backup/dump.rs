//! Writing a stream.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::super::frozen::{Body, Frozen};
use super::super::mailbox::Mailbox;
use super::super::message::Message;
use super::super::upload::random;
use super::super::user::unix_now;
use super::content::{
    Counted, FlagsFrame, LostFrame, MailboxFrame, MessageFrame, Totals, UserFrame, put_skipped,
};
use super::error::{BackupError, Result};
use super::former::Former;
use super::frame::{FrameWriter, Kind, Scope, StreamHeader};
use super::limits::MAX_BODY;
use super::selection::Selection;
use crate::store::{MailboxId, UserName};
use crate::sys::read_at;

/// What a backup may leave out.
#[derive(Debug)]
pub enum Since {
    /// Nothing.
    Beginning,
    /// What this backup has.
    Former(Former),
    /// Messages that came into their mailboxes before this, in seconds since 1970.
    Date(i64),
}

/// Why a message that its mailbox lists is not in the stream, though nothing is wrong.
const GONE: &str = "expunged while the backup was written";

/// A backup being written.
pub struct Dump<W> {
    out: FrameWriter<W>,
    partition: PathBuf,
    since: Since,
    id: u128,
    totals: Totals,
    chunk: Vec<u8>,
}

/// What was written of a user, or in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dumped {
    pub messages: u64,
    /// Bytes of messages.
    pub bytes: u64,
    /// What could not be read, and why; a user with a damaged log is one of these.
    pub problems: Vec<String>,
    /// The user has no store.
    pub is_unknown: bool,
}

impl<W: Write> Dump<W> {
    /// Begins a stream about the users of a partition.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(out: W, partition: &Path, since: Since) -> Result<Self> {
        let id = u128::from(random()) << 64 | u128::from(random());
        let (scope, predecessor) = match &since {
            Since::Beginning => (Scope::Full, 0),
            Since::Former(former) => (Scope::SinceBackup, former.id),
            Since::Date(since) => (Scope::SinceDate(*since), 0),
        };
        let header = StreamHeader { id, predecessor, scope, begun: unix_now() };
        let (out, chunk) = (FrameWriter::begin(out, &header)?, Vec::new());
        Ok(Dump { out, partition: partition.to_owned(), since, id, totals: Totals::default(), chunk })
    }

    /// The stream's identity.
    pub fn id(&self) -> u128 {
        self.id
    }

    /// Writes what is wanted of one user, as of now.
    ///
    /// # Errors
    /// When the stream cannot be written. What cannot be read of the user is reported instead.
    pub fn user(&mut self, name: &UserName, wanted: &Selection) -> Result<Dumped> {
        match Frozen::open(&self.partition, name) {
            Ok(Some(frozen)) => self.frozen(name, frozen, wanted),
            Ok(None) => Ok(Dumped { is_unknown: true, ..Dumped::default() }),
            Err(error) => self.skip(name, &error.to_string()),
        }
    }

    /// Says that a user is not in the stream.
    fn skip(&mut self, name: &UserName, why: &str) -> Result<Dumped> {
        self.out.frame(Kind::Skipped, |out| put_skipped(name.as_str(), why, out))?;
        Ok(Dumped { problems: vec![format!("user/{name}: {why}")], ..Dumped::default() })
    }

    fn frozen(&mut self, name: &UserName, mut frozen: Frozen, wanted: &Selection) -> Result<Dumped> {
        let place = frozen.state.position.to_u64();
        let is_complete = wanted.has_all_of(name);
        let user = UserFrame { is_complete, place, name: name.as_str() };
        self.out.frame(Kind::User, |out| user.put(out))?;
        let mut part = Part { totals: Totals { users: 1, ..Totals::default() }, problems: Vec::new() };
        if is_complete {
            for name in &frozen.state.subscriptions {
                self.out.bytes(Kind::Subscription, name.as_bytes())?;
            }
        }
        let mailboxes = self.mailboxes(name, &mut frozen, wanted, &mut part)?;
        for (number, (id, former)) in mailboxes.into_iter().enumerate() {
            self.messages(number as u32, id, former, &mut frozen, &mut part)?;
        }
        self.out.frame(Kind::UserEnd, |out| part.totals.put(out))?;
        self.totals.add(&part.totals);
        let (messages, bytes) = (part.totals.messages, part.totals.bytes);
        Ok(Dumped { messages, bytes, problems: part.problems, is_unknown: false })
    }

    /// Writes the list of mailboxes; returns them, with what the former backup has of them.
    fn mailboxes(
        &mut self,
        user: &UserName,
        frozen: &mut Frozen,
        wanted: &Selection,
        part: &mut Part,
    ) -> Result<Vec<(MailboxId, Counted)>> {
        let tree = frozen.state.tree();
        let chosen = tree.mailboxes().iter().filter(|entry| wanted.messages(user, &entry.name).is_some());
        let mut listed = Vec::new();
        for entry in chosen {
            let Some(mailbox) = frozen.state.mailboxes.get(&entry.id) else { continue };
            let former = match &self.since {
                Since::Former(former) => former.of(user, entry.id),
                Since::Beginning | Since::Date(_) => Counted::default(),
            };
            self.out.frame(Kind::Mailbox, |out| MailboxFrame::of(mailbox, former).put(out))?;
            part.totals.mailboxes += 1;
            listed.push((entry.id, former));
        }
        Ok(listed)
    }

    fn messages(
        &mut self,
        number: u32,
        id: MailboxId,
        former: Counted,
        frozen: &mut Frozen,
        part: &mut Part,
    ) -> Result<()> {
        // The state is this dump's own; taken out, so that a message can be read while it is walked.
        let Some(mailbox) = frozen.state.mailboxes.remove(&id) else { return Ok(()) };
        for message in mailbox.live_messages() {
            if u64::from(message.uid.get()) < former.uid_next {
                if message.modseq > former.modseq {
                    self.out
                        .frame(Kind::Flags, |out| FlagsFrame::put(number, message, &mailbox.keywords, out))?;
                    part.totals.flags += 1;
                }
                continue;
            }
            if !matches!(self.since, Since::Date(since) if message.save_date < since) {
                self.message(number, &mailbox, message, frozen, part)?;
            }
        }
        Ok(())
    }

    fn message(
        &mut self,
        number: u32,
        mailbox: &Mailbox,
        message: &Message,
        frozen: &mut Frozen,
        part: &mut Part,
    ) -> Result<()> {
        let body = match frozen.body(mailbox.id, message) {
            Ok(Body::Gone) => Err(GONE.to_owned()),
            Ok(body) => Ok(body),
            Err(error) => Err(part.problem(frozen.name(), mailbox, message, &error.to_string())),
        };
        let lost = match body {
            Err(why) => Some(why),
            Ok(body) => {
                part.totals.messages += 1;
                self.out.frame(Kind::Message, |out| {
                    MessageFrame::put(number, message, &mailbox.keywords, out);
                })?;
                let unread = self.body(body, &mut part.totals.bytes)?.err();
                unread.map(|error| part.problem(frozen.name(), mailbox, message, &error.to_string()))
            }
        };
        let Some(why) = lost else { return Ok(()) };
        part.totals.lost += 1;
        let lost = LostFrame { mailbox: number, uid: message.uid, why: &why };
        self.out.frame(Kind::Lost, |out| lost.put(out))
    }

    /// Writes the bytes of a message; what goes wrong with reading them is the inner error.
    fn body(&mut self, body: Body, bytes: &mut u64) -> Result<io::Result<()>> {
        match body {
            Body::Memory(held) => {
                *bytes += held.len() as u64;
                held.chunks(MAX_BODY).try_for_each(|chunk| self.out.bytes(Kind::Body, chunk)).map(Ok)
            }
            Body::File(file, len) => self.copy(&file, len, bytes),
            Body::Gone => Ok(Ok(())),
        }
    }

    /// Copies a message's file; what goes wrong with reading it is the inner error.
    fn copy(&mut self, file: &File, len: u64, bytes: &mut u64) -> Result<io::Result<()>> {
        let mut at = 0;
        while at < len {
            self.chunk.resize((len - at).min(MAX_BODY as u64) as usize, 0);
            if let Err(error) = read_at(file, &mut self.chunk, at) {
                return Ok(Err(error));
            }
            self.out.bytes(Kind::Body, &self.chunk)?;
            at += self.chunk.len() as u64;
            *bytes += self.chunk.len() as u64;
        }
        Ok(Ok(()))
    }

    /// Ends the stream; it is no backup without that. Returns what it was written to.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<W> {
        let totals = self.totals;
        self.out.frame(Kind::End, |out| totals.put(out))?;
        let mut out = self.out.into_inner();
        out.flush().map_err(BackupError::Write)?;
        Ok(out)
    }
}

/// A user's part of the stream.
struct Part {
    totals: Totals,
    problems: Vec<String>,
}

impl Part {
    /// Reports a message that cannot be read; returns why.
    fn problem(&mut self, user: &UserName, mailbox: &Mailbox, message: &Message, why: &str) -> String {
        self.problems.push(format!("user/{user}/{}:{}: {why}", mailbox.name, message.uid));
        why.to_owned()
    }
}
