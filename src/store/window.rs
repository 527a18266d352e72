//! Small messages that stand beside each other in the log, read at once: to ask the kernel for one costs more than to copy
//! it, and what lies between two is little.

use smallvec::SmallVec;

use super::error::Result;
use super::limits::{MAX_GAP, MAX_WINDOW};
use super::message::LogPos;
use super::user::User;
use super::{BlobRef, Message};

/// The bytes of some messages.
pub struct Window {
    bytes: Vec<u8>,
    /// Where each message begins in `bytes`.
    places: SmallVec<[(LogPos, u32); 8]>,
}

impl Window {
    /// Reads messages that follow each other in the log; `None` when these do not, or it would not pay.
    pub(super) fn read(user: &User, messages: &[Message]) -> Result<Option<Window>> {
        let (Some(first), Some(last)) = (messages.first(), messages.last()) else { return Ok(None) };
        let total: u64 = messages.iter().map(|message| u64::from(message.size)).sum();
        if messages.len() < 2 || total > MAX_WINDOW {
            return Ok(None);
        }
        let BlobRef::Inline(start) = first.blob else { return Ok(None) };
        let inner = user.known()?;
        let reader = inner.log.reader(start)?;
        let mut places = SmallVec::new();
        for message in messages {
            let BlobRef::Inline(place) = message.blob else { return Ok(None) };
            match reader.distance_to(&inner.log.reader(place)?) {
                Some(distance) if distance <= MAX_WINDOW => places.push((place, distance as u32)),
                _ => return Ok(None),
            }
        }
        drop(inner);
        let end = places.last().map_or(0, |(_, at)| u64::from(*at)) + u64::from(last.size);
        if end > MAX_WINDOW.min(total + MAX_GAP * messages.len() as u64) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        reader.read(0, end as usize, &mut bytes)?;
        Ok(Some(Window { bytes, places }))
    }

    /// All bytes of a message, if they are among those read.
    pub fn find(&self, message: &Message) -> Option<&[u8]> {
        let BlobRef::Inline(wanted) = message.blob else { return None };
        let (_, at) = self.places.iter().find(|(place, _)| *place == wanted)?;
        self.bytes.get(*at as usize..)?.get(..message.size as usize)
    }
}
