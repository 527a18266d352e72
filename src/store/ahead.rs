//! Headers of many messages with few reads: neighbours stand near each other in the log, so that one read brings in
//! those that come next as well.

use super::error::Result;
use super::message::{BlobRef, Message};
use super::names::Uid;
use super::user::User;
use super::view::Selected;
use crate::message::leading_header;

/// Bytes of a message that are read for its header: nearly all fit.
const HEAD: usize = 8 * 1024;

/// The most bytes that one read brings in.
const WINDOW: usize = 64 * 1024;

/// Bytes between two messages that are rather read than skipped: copying so many costs less than another read.
const GAP: usize = 8 * 1024;

/// Reads headers ahead. It reaches further each time that what it read was wanted, and no further than the next
/// message when it was not.
#[derive(Default)]
pub struct Headers {
    bytes: Vec<u8>,
    /// What is in `bytes`, in the order in which it is wanted: a message, where its first bytes begin and how many they
    /// are.
    held: Vec<(Uid, usize, usize)>,
    /// The first of `held` that was not asked for yet.
    next: usize,
    /// Messages to read at once.
    reach: usize,
}

impl Selected {
    /// The header of a message where it can be had cheaply; `None` when [`header`](Self::header) has to say it, or why it
    /// cannot be read. `ahead` are the messages that will probably be asked for next, in this order.
    pub fn header_ahead<'h, 'm>(
        &self,
        message: &'m Message,
        ahead: impl Iterator<Item = &'m Message>,
        headers: &'h mut Headers,
    ) -> Option<&'h [u8]> {
        if !headers.move_to(message.uid) && headers.read(&self.user, message, ahead).is_err() {
            headers.held.clear();
        }
        let (_, from, count) = headers.held.get(headers.next).filter(|(uid, ..)| *uid == message.uid)?;
        leading_header(headers.bytes.get(*from..from + count)?)
    }
}

impl Headers {
    /// Whether the message is held; those before it are not wanted any more.
    fn move_to(&mut self, uid: Uid) -> bool {
        let at = self.held.iter().skip(self.next).position(|(held, ..)| *held == uid);
        if let Some(at) = at {
            self.next += at;
        }
        at.is_some()
    }

    fn read<'m>(
        &mut self,
        user: &User,
        message: &'m Message,
        ahead: impl Iterator<Item = &'m Message>,
    ) -> Result<()> {
        // What comes next in a mailbox was read to its end, or nothing yet.
        let was_wanted = self.next + 1 >= self.held.len();
        self.reach = if was_wanted { (self.reach * 2).clamp(1, WINDOW) } else { 1 };
        self.held.clear();
        self.bytes.clear();
        self.next = 0;
        let BlobRef::Inline(place) = message.blob else { return Ok(()) };
        let inner = user.known()?;
        let first = inner.log.reader(place)?;
        let mut end = head(message);
        self.held.push((message.uid, 0, end));
        for next in ahead.take(self.reach - 1) {
            let BlobRef::Inline(place) = next.blob else { break };
            let from = inner.log.reader(place).ok().and_then(|reader| first.distance_to(&reader));
            let is_near = |from: &usize| (end..=end + GAP).contains(from) && from + head(next) <= WINDOW;
            let Some(from) = from.and_then(|from| usize::try_from(from).ok()).filter(is_near) else { break };
            end = from + head(next);
            self.held.push((next.uid, from, head(next)));
        }
        drop(inner);
        first.read(0, end, &mut self.bytes)
    }
}

fn head(message: &Message) -> usize {
    HEAD.min(message.size as usize)
}
