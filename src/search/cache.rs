//! What former commands have read of mailboxes, for the next ones: sorting a mailbox again reads nothing but new messages.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::known::Known;
use super::limits::{MAX_CACHE_BYTES, MAX_STALE};
use crate::store::{MailboxId, Selected};

/// Of all mailboxes that were sorted or threaded lately in this process.
#[derive(Default)]
pub struct Cache {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    mailboxes: HashMap<Key, Entry>,
    bytes: usize,
    /// Counts commands.
    clock: u64,
}

/// A mailbox of an open user. Whoever opens the user anew counts as another: the store may be another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    opened: u64,
    mailbox: MailboxId,
    uid_validity: u32,
}

struct Entry {
    known: Known,
    bytes: usize,
    used: u64,
}

impl Key {
    pub fn of(mailbox: &Selected) -> Self {
        let (opened, uid_validity) = (mailbox.user().opened(), mailbox.uid_validity());
        Key { opened, mailbox: mailbox.id(), uid_validity }
    }
}

impl Cache {
    /// What is known of a mailbox. It is the caller's until it is kept again; another command that comes in between reads
    /// for itself.
    pub(super) fn take(&self, key: Key) -> Known {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = kept.mailboxes.remove(&key) else { return Known::default() };
        kept.bytes -= entry.bytes;
        entry.known
    }

    /// Keeps it for the next command, unless that takes too much room or most of it is about expunged messages; `exists`
    /// is how many there are.
    pub(super) fn keep(&self, key: Key, mut known: Known, exists: u32) {
        if known.bytes() > MAX_CACHE_BYTES {
            known.forget_links();
        }
        let bytes = known.bytes();
        if bytes > MAX_CACHE_BYTES || known.messages() > MAX_STALE + 2 * exists as usize {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clock += 1;
        let entry = Entry { known, bytes, used: kept.clock };
        kept.bytes += bytes;
        if let Some(other) = kept.mailboxes.insert(key, entry) {
            kept.bytes -= other.bytes;
        }
        while kept.bytes > MAX_CACHE_BYTES {
            kept.forget_half();
        }
    }
}

impl Kept {
    /// Lets go of the mailboxes that nobody has asked about for longest: of half of them at once, so that finding them
    /// costs little for each.
    fn forget_half(&mut self) {
        let mut used: Vec<u64> = self.mailboxes.values().map(|entry| entry.used).collect();
        used.sort_unstable();
        let since = used.get(used.len().div_ceil(2)).copied().unwrap_or(u64::MAX);
        self.mailboxes.retain(|_, entry| entry.used >= since);
        self.bytes = self.mailboxes.values().map(|entry| entry.bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::SortKey;
    use crate::store::Uid;

    fn key(mailbox: u128) -> Key {
        Key { opened: 1, mailbox: MailboxId(mailbox), uid_validity: 1 }
    }

    fn known(messages: u32) -> Known {
        let mut known = Known::default();
        for uid in (1..=messages).filter_map(Uid::new) {
            known.set_key(SortKey::Date, uid, 7);
        }
        known.settle();
        known
    }

    #[test]
    fn what_is_kept_is_for_one_at_a_time() {
        let cache = Cache::default();
        cache.keep(key(1), known(10), 10);
        assert_eq!(cache.take(key(2)).messages(), 0);
        assert_eq!(cache.take(key(1)).messages(), 10);
        assert_eq!(cache.take(key(1)).messages(), 0, "another command has it");
        cache.keep(key(1), known(10), 10);
        cache.keep(key(1), known(11), 11);
        assert_eq!(cache.take(key(1)).messages(), 11);
        assert_eq!(cache.kept.lock().unwrap().bytes, 0);
    }

    #[test]
    fn what_is_about_expunged_messages_goes() {
        let cache = Cache::default();
        let messages = MAX_STALE as u32 + 3;
        cache.keep(key(1), known(messages), 1);
        assert_eq!(cache.take(key(1)).messages(), 0);
        cache.keep(key(1), known(messages), 2);
        assert_eq!(cache.take(key(1)).messages(), messages as usize);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_go() {
        let cache = Cache::default();
        let of_size = |bytes: usize| {
            let mut known = known(10);
            known.texts.bytes = bytes;
            known
        };
        for mailbox in 1..=25 {
            cache.keep(key(mailbox), of_size(MAX_CACHE_BYTES / 10), 10);
            assert!(cache.kept.lock().unwrap().bytes <= MAX_CACHE_BYTES);
        }
        assert!(cache.kept.lock().unwrap().mailboxes.len() >= 4);
        assert_eq!(cache.take(key(25)).messages(), 10);
        assert_eq!(cache.take(key(1)).messages(), 0);
        let mut threaded = of_size(MAX_CACHE_BYTES / 2);
        let references = vec![0; MAX_CACHE_BYTES / 8];
        threaded.set_link(Uid::MIN, None, &references);
        threaded.settle();
        cache.keep(key(1), threaded, 10);
        let mut left = cache.take(key(1));
        assert_eq!((left.messages(), left.link(Uid::MIN)), (10, None));
        cache.keep(key(1), of_size(MAX_CACHE_BYTES), 10);
        assert_eq!(cache.take(key(1)).messages(), 0, "too large");
    }
}
