//! Following events, for programs: `heliograph enscat` is one.

use super::link::{Address, Link, LinkError};
use super::wire::{Message, WireError};

/// A connection to enpd that brings events.
pub struct Subscriber {
    link: Link,
    /// Came while an OK was waited for.
    early: Vec<Notice>,
}

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An event: its reference, and the part of the message that goes with it.
    Event { reference: String, data: Vec<u8> },
    /// Events are missing here: so many; 0 when nobody counted.
    Lost(u64),
}

impl Subscriber {
    /// # Errors
    /// When enpd is not there, or refuses.
    pub fn connect(address: &Address, name: &str) -> Result<Self, LinkError> {
        // No server has this origin: nothing is held back.
        Ok(Subscriber { link: Link::connect(address, 0, name)?, early: Vec::new() })
    }

    /// From now on, events that match the reference come; several subscriptions add up.
    ///
    /// # Errors
    /// When enpd refuses, or the connection ends.
    pub fn subscribe(&mut self, reference: &str) -> Result<(), LinkError> {
        self.link.send(&Message::Subscribe(reference.to_owned()).to_bytes())?;
        loop {
            match self.link.receive()? {
                Message::Ok => return Ok(()),
                message => self.early.extend(notice(message)),
            }
        }
    }

    /// Waits for the next.
    ///
    /// # Errors
    /// When the connection ends.
    pub fn receive(&mut self) -> Result<Notice, LinkError> {
        if !self.early.is_empty() {
            return Ok(self.early.remove(0));
        }
        let message = self.link.receive()?;
        notice(message).ok_or(LinkError::Wire(WireError::Nonsense))
    }
}

fn notice(message: Message) -> Option<Notice> {
    match message {
        Message::Event { reference, data } => Some(Notice::Event { reference, data }),
        Message::Lost(count) => Some(Notice::Lost(count)),
        _ => None,
    }
}
