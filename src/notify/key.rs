//! The name under which sessions watch a mailbox.

use xxhash_rust::xxh3::Xxh3;

use crate::store::{MailboxId, UserName};

use super::limits::INTEREST_SLOTS;

/// A user's mailbox, hashed with a seed that is new with every master: clients cannot aim at a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatchKey(u64);

impl WatchKey {
    pub(super) fn new(seed: u64, user: &UserName, mailbox: MailboxId) -> Self {
        let mut hasher = Xxh3::with_seed(seed);
        hasher.update(&mailbox.0.to_be_bytes());
        hasher.update(user.as_str().as_bytes());
        WatchKey(hasher.digest())
    }

    /// Its place in the interest table.
    pub(super) fn slot(self) -> usize {
        self.0 as usize % INTEREST_SLOTS
    }
}
