//! Metas that were read lately: clients that look at the same messages again and again cost no reads.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::limits::{HOT_METAS, MAX_HOT};
use super::message::LogPos;
use super::meta::Meta;

/// A place for each of so many Metas. Which one a Meta gets is decided by where it is in the log; the later one stays.
#[derive(Default)]
pub(super) struct HotMetas {
    slots: OnceLock<Box<[Slot]>>,
}

type Slot = Mutex<Option<Hot>>;

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
    pub fn find(&self, key: Key) -> Option<Arc<Meta>> {
        let slot = self.slot(key).lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().filter(|hot| hot.key == key).map(|hot| hot.meta.clone())
    }

    pub fn keep(&self, key: Key, meta: &Arc<Meta>) {
        if meta.len() <= MAX_HOT {
            let hot = Hot { key, meta: meta.clone() };
            *self.slot(key).lock().unwrap_or_else(PoisonError::into_inner) = Some(hot);
        }
    }

    fn slot(&self, key: Key) -> &Slot {
        let slots = self.slots.get_or_init(|| (0..HOT_METAS).map(|_| Slot::default()).collect());
        // Fibonacci hashing: the upper bits depend on all others.
        let hash = (key.place.to_u64() ^ key.opened.rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &slots[(hash >> 32) as usize % slots.len()]
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
}
