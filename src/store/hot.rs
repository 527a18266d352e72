//! Metas that were read lately: clients that look at the same messages again and again cost no reads.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::limits::{HOT_METAS, MAX_HOT};
use super::message::LogPos;
use super::meta::Meta;
use crate::sys::prefetch;

/// Places for so many Metas, in sets. Which set a Meta belongs to is decided by whose it is and where it is in the log; the
/// later ones stay.
#[derive(Default)]
pub(super) struct HotMetas {
    sets: OnceLock<Box<[Mutex<Set>]>>,
}

/// Metas of a set: with one place for each hash, a search that goes over its mailbox again and again would drop half of
/// what it needs long before the memory is full.
const WAYS: usize = 4;

/// Those whose keys have the same hash.
#[derive(Default)]
struct Set {
    ways: [Option<Hot>; WAYS],
    /// The one that came first, or is empty yet.
    oldest: usize,
}

struct Hot {
    key: Key,
    meta: Arc<Meta>,
}

/// A Meta record of an open user. Whoever opens the user anew counts as another: the log may be another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub opened: u64,
    pub place: LogPos,
}

impl HotMetas {
    /// A Meta will be looked for soon.
    pub fn expect(&self, key: Key) {
        prefetch(self.set(key));
    }

    pub fn find(&self, key: Key) -> Option<Arc<Meta>> {
        let set = self.set(key).lock().unwrap_or_else(PoisonError::into_inner);
        set.ways.iter().flatten().find(|hot| hot.key == key).map(|hot| hot.meta.clone())
    }

    pub fn keep(&self, key: Key, meta: &Arc<Meta>) {
        if meta.len() > MAX_HOT {
            return;
        }
        let Set { ways, oldest } = &mut *self.set(key).lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been faster.
        if ways.iter().flatten().all(|hot| hot.key != key) {
            ways[*oldest] = Some(Hot { key, meta: meta.clone() });
            *oldest = (*oldest + 1) % WAYS;
        }
    }

    fn set(&self, key: Key) -> &Mutex<Set> {
        let sets = self.sets.get_or_init(|| (0..HOT_METAS / WAYS).map(|_| Mutex::default()).collect());
        // Fibonacci hashing: the upper bits depend on all others.
        let hash = (key.place.to_u64() ^ key.opened.rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &sets[((hash >> 32) as usize * sets.len()) >> 32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(len: usize) -> Arc<Meta> {
        let mut bytes = vec![0; 20];
        bytes[..4].copy_from_slice(&(len as u32).to_le_bytes());
        bytes.resize(20 + len, b'x');
        Arc::new(Meta::decode(bytes).unwrap())
    }

    fn key(opened: u64, offset: u32) -> Key {
        Key { opened, place: LogPos::new(1, offset) }
    }

    #[test]
    fn a_meta_is_found_by_its_place_and_nobody_else_s() {
        let hot = HotMetas::default();
        hot.keep(key(1, 64), &meta(10));
        assert_eq!(hot.find(key(1, 64)).unwrap().envelope().len(), 10);
        assert!(hot.find(key(1, 72)).is_none());
        assert!(hot.find(key(2, 64)).is_none(), "the user was opened anew");
    }

    #[test]
    fn memory_is_bounded() {
        let hot = HotMetas::default();
        hot.keep(key(1, 64), &meta(MAX_HOT));
        assert!(hot.find(key(1, 64)).is_none(), "too long");
        let offsets = || (0..3 * HOT_METAS as u32).map(|number| 64 + 8 * number);
        offsets().for_each(|offset| hot.keep(key(1, offset), &meta(1)));
        let kept = offsets().filter(|offset| hot.find(key(1, *offset)).is_some()).count();
        assert!(kept > HOT_METAS / 2 && kept <= HOT_METAS, "{kept}");
    }

    #[test]
    fn what_fits_well_stays_however_often_it_is_gone_over() {
        let hot = HotMetas::default();
        // Mailboxes of a hundred messages of 3,000 bytes, each of a user of its own.
        let keys = || (0..HOT_METAS as u64 * 2 / 5).map(|n| key(n / 100, 64 + 3072 * (n % 100) as u32));
        keys().for_each(|key| hot.keep(key, &meta(1)));
        let missed = keys().filter(|key| hot.find(*key).is_none()).count();
        assert!(missed < keys().count() / 20, "{missed} of {}", keys().count());
    }
}
