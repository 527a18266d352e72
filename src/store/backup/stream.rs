//! A stream being read: frames in their order, with their counts checked.

use std::io::Write;

use super::content::{FlagsFrame, LostFrame, MailboxFrame, MessageFrame, Totals, UserFrame, take_skipped};
use super::error::{BackupError, Result};
use super::frame::{FrameReader, Input, Kind, StreamHeader};

/// What comes next in a stream.
pub(super) enum Item<'a> {
    User(UserFrame<'a>),
    Subscription(&'a str),
    Mailbox(MailboxFrame),
    Message(MessageFrame),
    /// Some more of the message before it.
    Body(&'a [u8]),
    Flags(FlagsFrame),
    Lost(LostFrame<'a>),
    UserEnd,
    Skipped {
        name: &'a str,
        why: &'a str,
    },
    End,
}

/// A stream whose header has been read.
pub struct Stream<R> {
    header: StreamHeader,
    reader: FrameReader<R>,
    payload: Vec<u8>,
    /// Counted in the user's part that is being read.
    user: Option<Totals>,
    all: Totals,
    /// Bytes of the current message that are still to come.
    left: u64,
}

impl<R: Input> Stream<R> {
    /// Reads a stream's header.
    ///
    /// # Errors
    /// When it is no backup, or a newer version wrote it.
    pub fn open(input: R) -> Result<Self> {
        let (header, reader) = FrameReader::begin(input)?;
        let (user, all) = (None, Totals::default());
        Ok(Stream { header, reader, payload: Vec::new(), user, all, left: 0 })
    }

    pub fn header(&self) -> &StreamHeader {
        &self.header
    }

    /// What comes next; [`Item::End`] is the last.
    pub(super) fn next(&mut self) -> Result<Item<'_>> {
        self.read(true)
    }

    /// As `next`, but the bytes of messages are stepped over.
    pub(super) fn next_outline(&mut self) -> Result<Item<'_>> {
        self.read(false)
    }

    /// Bytes that have been read.
    pub fn offset(&self) -> u64 {
        self.reader.offset
    }

    fn read(&mut self, with_bodies: bool) -> Result<Item<'_>> {
        let header = self.reader.header()?;
        if header.kind == Kind::Body && !with_bodies {
            self.reader.skip(header)?;
            self.payload.clear();
        } else {
            self.reader.payload(header, &mut self.payload)?;
        }
        self.account(header.kind, header.len)?;
        let problem = self.reader.damaged("a frame makes no sense where it stands");
        item(header.kind, &self.payload).ok_or(problem)
    }

    /// Checks that the frame may stand here, and counts it.
    fn account(&mut self, kind: Kind, len: u32) -> Result<()> {
        let misplaced = self.reader.damaged("a frame makes no sense where it stands");
        let awaits_body = self.left > 0;
        if awaits_body != (kind == Kind::Body) && !(awaits_body && kind == Kind::Lost) {
            return Err(misplaced);
        }
        match (kind, &mut self.user) {
            (Kind::User, user @ None) => *user = Some(Totals { users: 1, ..Totals::default() }),
            (Kind::Skipped, None) => {}
            (Kind::End, None) => return self.compare(self.all),
            (Kind::UserEnd, Some(user)) => {
                let counted = *user;
                self.user = None;
                self.all.add(&counted);
                return self.compare(counted);
            }
            (Kind::Subscription, Some(_)) => {}
            (Kind::Mailbox, Some(user)) => user.mailboxes += 1,
            (Kind::Message, Some(user)) => {
                user.messages += 1;
                self.left = MessageFrame::take(&self.payload).ok_or(misplaced)?.size.into();
            }
            (Kind::Body, Some(user)) => {
                user.bytes += u64::from(len);
                self.left = self.left.checked_sub(len.into()).ok_or(misplaced)?;
            }
            (Kind::Flags, Some(user)) => user.flags += 1,
            (Kind::Lost, Some(user)) => {
                user.lost += 1;
                self.left = 0;
            }
            _ => return Err(misplaced),
        }
        Ok(())
    }

    fn compare(&self, counted: Totals) -> Result<()> {
        if Totals::take(&self.payload) == Some(counted) {
            return Ok(());
        }
        Err(self.reader.damaged("it does not hold as much as it says"))
    }
}

fn item(kind: Kind, payload: &[u8]) -> Option<Item<'_>> {
    Some(match kind {
        Kind::User => Item::User(UserFrame::take(payload)?),
        Kind::Subscription => Item::Subscription(std::str::from_utf8(payload).ok()?),
        Kind::Mailbox => Item::Mailbox(MailboxFrame::take(payload)?),
        Kind::Message => Item::Message(MessageFrame::take(payload)?),
        Kind::Body => Item::Body(payload),
        Kind::Flags => Item::Flags(FlagsFrame::take(payload)?),
        Kind::Lost => Item::Lost(LostFrame::take(payload)?),
        Kind::UserEnd => Item::UserEnd,
        Kind::Skipped => {
            let (name, why) = take_skipped(payload)?;
            Item::Skipped { name, why }
        }
        Kind::End => Item::End,
    })
}

/// Reads a whole stream and checks all of it.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn verify(input: impl Input) -> Result<()> {
    let mut stream = Stream::open(input)?;
    while !matches!(stream.next()?, Item::End) {}
    Ok(())
}

/// What a listing found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    pub users: u64,
    pub messages: u64,
}

/// Writes what is in a stream to `out`, a line per mailbox.
///
/// # Errors
/// The first thing that is wrong with the stream; `out` cannot be written.
pub fn list(input: impl Input, out: &mut impl Write) -> Result<Listed> {
    let mut stream = Stream::open(input)?;
    let (mut user, mut mailboxes) = (String::new(), Vec::new());
    loop {
        let line = match stream.next_outline()? {
            Item::User(frame) => {
                user = frame.name.to_owned();
                mailboxes.clear();
                continue;
            }
            Item::Mailbox(frame) => {
                mailboxes.push((frame, 0u64, 0u64));
                continue;
            }
            Item::Message(message) => {
                if let Some((_, messages, bytes)) = mailboxes.get_mut(message.mailbox as usize) {
                    *messages += 1;
                    *bytes += u64::from(message.size);
                }
                continue;
            }
            Item::Skipped { name, why } => format!("user/{name}: not in the backup: {why}\n"),
            Item::Lost(lost) => {
                let name = mailboxes.get(lost.mailbox as usize).map_or("", |(frame, ..)| &frame.name);
                format!("user/{user}/{name}:{}: not in the backup: {}\n", lost.uid, lost.why)
            }
            Item::UserEnd => mailboxes
                .drain(..)
                .map(|(frame, messages, bytes)| {
                    let all = frame.live.len();
                    format!("user/{user}/{}: {messages} of {all} messages, {bytes} bytes\n", frame.name)
                })
                .collect(),
            Item::End => break,
            _ => continue,
        };
        out.write_all(line.as_bytes()).map_err(BackupError::Write)?;
    }
    Ok(Listed { users: stream.all.users, messages: stream.all.messages })
}
