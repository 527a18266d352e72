//! What other backups of a chain have: an incremental one leaves out what the former has, and what the last one does not
//! have does not come back.

use std::collections::HashMap;

use super::content::{Counted, MailboxFrame};
use super::error::Result;
use super::frame::Input;
use super::stream::{Item, Stream};
use crate::store::{MailboxId, UidSet, UserName};

/// The mailboxes of a former backup, by user, and how far they had come.
#[derive(Debug)]
pub struct Former {
    pub(super) id: u128,
    users: HashMap<String, HashMap<MailboxId, Counted>>,
}

impl Former {
    /// Reads what is needed of a backup; the bytes of messages are stepped over.
    ///
    /// # Errors
    /// When it is not a whole backup.
    pub fn read(input: impl Input) -> Result<Former> {
        let mut stream = Stream::open(input)?;
        let mut former = Former { id: stream.header().id, users: HashMap::new() };
        let mut user = String::new();
        loop {
            match stream.next_outline()? {
                Item::User(frame) => {
                    frame.name.clone_into(&mut user);
                    former.users.insert(user.clone(), HashMap::new());
                }
                Item::Mailbox(frame) => {
                    if let Some(mailboxes) = former.users.get_mut(&user) {
                        mailboxes.insert(frame.id, frame.now);
                    }
                }
                Item::End => return Ok(former),
                _ => {}
            }
        }
    }

    /// How far a mailbox had come; nothing for one that was not in the backup.
    pub(super) fn of(&self, user: &UserName, mailbox: MailboxId) -> Counted {
        let mailboxes = self.users.get(user.as_str());
        mailboxes.and_then(|mailboxes| mailboxes.get(&mailbox)).copied().unwrap_or_default()
    }
}

/// What the last backup of a chain has: nothing else comes back from those before it.
#[derive(Debug, Default)]
pub struct Aim {
    users: HashMap<String, HashMap<MailboxId, UidSet>>,
}

impl Aim {
    /// Reads what is needed of the last backup; the bytes of messages are stepped over.
    ///
    /// # Errors
    /// When it is not a whole backup.
    pub fn read(input: impl Input) -> Result<Aim> {
        let mut stream = Stream::open(input)?;
        let (mut aim, mut user) = (Aim::default(), None);
        loop {
            match stream.next_outline()? {
                // Of a user who is not complete there, mailboxes may be missing that still are.
                Item::User(frame) => user = frame.is_complete.then(|| frame.name.to_owned()),
                Item::Mailbox(frame) => {
                    if let Some(user) = &user {
                        aim.users.entry(user.clone()).or_default().insert(frame.id, frame.live);
                    }
                }
                Item::End => return Ok(aim),
                _ => {}
            }
        }
    }

    /// Leaves of a mailbox what the last backup has; `false` when that is nothing.
    pub(super) fn cut(&self, user: &UserName, frame: &mut MailboxFrame) -> bool {
        let Some(mailboxes) = self.users.get(user.as_str()) else { return true };
        let Some(live) = mailboxes.get(&frame.id) else { return false };
        frame.live = frame.live.intersection(live);
        true
    }
}
