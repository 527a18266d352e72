//! Logins that were right a short time ago (`service.authcachesize`, `service.authcachettl`).
//!
//! Only successes are kept, under a keyed hash of everything that decided them; a change of the user file empties
//! the cache. A wrong password therefore always costs a hash, and a right one never outlives its change.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::keyed::Fingerprint;
use crate::store::UserName;

/// A bounded table of successful logins; the oldest goes first.
#[derive(Debug)]
pub struct Cache {
    size: usize,
    ttl: Duration,
    entries: HashMap<Fingerprint, (UserName, Instant)>,
    /// The keys of `entries`, oldest first.
    order: VecDeque<Fingerprint>,
}

impl Cache {
    pub fn new(size: usize, ttl: Duration) -> Self {
        Cache { size, ttl, entries: HashMap::new(), order: VecDeque::new() }
    }

    /// Who these credentials belong to, when that was found out less than the time to live ago.
    pub fn find(&self, key: &Fingerprint, now: Instant) -> Option<&UserName> {
        let (user, stored) = self.entries.get(key)?;
        (now.saturating_duration_since(*stored) < self.ttl).then_some(user)
    }

    /// Remembers a success.
    pub fn insert(&mut self, key: Fingerprint, user: UserName, now: Instant) {
        if self.size == 0 || self.ttl.is_zero() {
            return;
        }
        if self.entries.insert(key, (user, now)).is_some() {
            return;
        }
        self.order.push_back(key);
        self.shrink();
    }

    /// Keeps so many from now on, for so long; what is there already is measured by that too.
    pub fn resize(&mut self, size: usize, ttl: Duration) {
        self.size = size;
        self.ttl = ttl;
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.order.len() > self.size
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::keyed::Key;

    #[test]
    fn keeps_as_many_as_it_may_for_as_long_as_it_may() {
        let key = Key::random().unwrap();
        let (now, ttl) = (Instant::now(), Duration::from_secs(900));
        let print = |n: u8| key.fingerprint(&[&[n]]);
        let ada = UserName::new("ada").unwrap();
        let mut cache = Cache::new(3, ttl);
        for n in [0, 0, 1, 2, 3] {
            cache.insert(print(n), ada.clone(), now);
        }
        assert_eq!(cache.find(&print(0), now), None, "the oldest made room");
        assert_eq!(cache.find(&print(3), now), Some(&ada));
        assert_eq!(cache.find(&print(3), now + ttl), None, "too old");
        cache.insert(print(3), ada.clone(), now + ttl);
        assert_eq!(cache.find(&print(3), now + ttl), Some(&ada), "fresh again");
        cache.resize(3, 2 * ttl);
        assert_eq!(cache.find(&print(2), now + ttl), Some(&ada), "kept for longer now");
        cache.resize(1, 2 * ttl);
        assert_eq!(
            [2, 3].map(|n| cache.find(&print(n), now).is_some()),
            [false, true],
            "room for the newest"
        );
        cache.clear();
        assert_eq!(cache.find(&print(3), now), None);
        let mut off = Cache::new(0, ttl);
        off.insert(print(1), ada, now);
        assert_eq!(off.find(&print(1), now), None);
    }
}
