//! A hashed timer wheel: one entry per slot, whole seconds, no allocation but for the first session of a
//! slot.
//!
//! Arming is O(1). Activity of a session never touches the wheel: when an entry comes up, its owner is asked for
//! the deadline that holds now, and the entry goes back if that is later. The wheel says when the next entry may
//! come up, so that a worker without one sleeps without a time limit.

use super::limits::WHEEL_BUCKETS;

const NIL: u32 = u32::MAX;

/// Seconds since the worker started.
pub type Tick = u32;

/// What the owner of an entry says when it comes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Forget the entry: it has fired, or its owner is gone.
    Done,
    /// Ask again at this tick.
    At(Tick),
}

#[derive(Clone, Copy)]
struct Entry {
    next: u32,
    previous: u32,
    /// The bucket that the entry is in; `NIL` when it is not armed.
    bucket: u32,
}

pub struct Wheel {
    heads: Vec<u32>,
    entries: Vec<Entry>,
    /// The next tick whose bucket has not been looked at.
    cursor: Tick,
    armed: usize,
}

const UNARMED: Entry = Entry { next: NIL, previous: NIL, bucket: NIL };

impl Wheel {
    /// A wheel that starts at tick 0.
    pub fn new() -> Self {
        Wheel { heads: vec![NIL; WHEEL_BUCKETS as usize], entries: Vec::new(), cursor: 0, armed: 0 }
    }

    /// Sets the slot's entry to come up at `at` (at the next one when that is past), wherever it was before. A tick
    /// beyond the wheel's horizon comes up early: its owner then says the true one again.
    pub fn arm(&mut self, slot: u32, at: Tick) {
        if self.entries.len() <= slot as usize {
            self.entries.resize(slot as usize + 1, UNARMED);
        }
        self.disarm(slot);
        let horizon = self.cursor.saturating_add(WHEEL_BUCKETS - 1);
        let bucket = at.clamp(self.cursor, horizon) % WHEEL_BUCKETS;
        let head = self.heads[bucket as usize];
        if head != NIL {
            self.entries[head as usize].previous = slot;
        }
        self.entries[slot as usize] = Entry { next: head, previous: NIL, bucket };
        self.heads[bucket as usize] = slot;
        self.armed += 1;
    }

    fn disarm(&mut self, slot: u32) {
        let Entry { next, previous, bucket } = self.entries[slot as usize];
        if bucket == NIL {
            return;
        }
        match previous {
            NIL => self.heads[bucket as usize] = next,
            _ => self.entries[previous as usize].next = next,
        }
        if next != NIL {
            self.entries[next as usize].previous = previous;
        }
        self.entries[slot as usize].bucket = NIL;
        self.armed -= 1;
    }

    /// Takes out what is due at `now` or before and asks `due` about each.
    pub fn advance(&mut self, now: Tick, mut due: impl FnMut(u32) -> Due) {
        let first = self.cursor;
        if now < first {
            return;
        }
        let buckets = (now - first + 1).min(WHEEL_BUCKETS);
        self.cursor = now.saturating_add(1);
        for offset in 0..buckets {
            if self.armed == 0 {
                return;
            }
            // Detached first: what is armed again may belong into the same bucket.
            let bucket = (first % WHEEL_BUCKETS + offset) % WHEEL_BUCKETS;
            let mut slot = std::mem::replace(&mut self.heads[bucket as usize], NIL);
            while slot != NIL {
                let next = self.entries[slot as usize].next;
                self.entries[slot as usize].bucket = NIL;
                self.armed -= 1;
                if let Due::At(at) = due(slot) {
                    self.arm(slot, at);
                }
                slot = next;
            }
        }
    }

    /// The tick at which the next entry comes up; `None` when there is none.
    pub fn next(&self) -> Option<Tick> {
        if self.armed == 0 {
            return None;
        }
        let is_used = |offset: &u32| {
            self.heads[((self.cursor % WHEEL_BUCKETS + offset) % WHEEL_BUCKETS) as usize] != NIL
        };
        (0..WHEEL_BUCKETS).find(is_used).map(|offset| self.cursor.saturating_add(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(wheel: &mut Wheel, now: Tick) -> Vec<u32> {
        let mut slots = Vec::new();
        wheel.advance(now, |slot| {
            slots.push(slot);
            Due::Done
        });
        slots.sort_unstable();
        slots
    }

    #[test]
    fn fires_in_order_and_once() {
        let mut wheel = Wheel::new();
        assert_eq!(wheel.next(), None);
        for (slot, at) in [(0, 60), (1, 5), (2, 60), (3, 7)] {
            wheel.arm(slot, at);
        }
        assert_eq!(wheel.next(), Some(5));
        assert!(fired(&mut wheel, 4).is_empty());
        assert_eq!(fired(&mut wheel, 6), [1]);
        assert_eq!(wheel.next(), Some(7));
        assert_eq!(fired(&mut wheel, 100), [0, 2, 3]);
        assert_eq!(wheel.next(), None);
        assert!(fired(&mut wheel, 100_000).is_empty());
    }

    #[test]
    fn activity_postpones_without_touching_the_wheel() {
        let mut wheel = Wheel::new();
        wheel.arm(0, 10);
        wheel.advance(10, |_| Due::At(25));
        assert_eq!(wheel.next(), Some(25));
        assert_eq!(fired(&mut wheel, 25), [0]);
    }

    #[test]
    fn arming_again_moves_the_entry() {
        let mut wheel = Wheel::new();
        for slot in 0..3 {
            wheel.arm(slot, 50);
        }
        wheel.arm(1, 3);
        assert_eq!(fired(&mut wheel, 3), [1]);
        assert_eq!(fired(&mut wheel, 50), [0, 2]);
        wheel.arm(2, 10);
        assert_eq!(wheel.next(), Some(51), "the past comes up at once");
        assert_eq!(fired(&mut wheel, 51), [2]);
    }

    #[test]
    fn beyond_the_horizon_is_asked_early() {
        let mut wheel = Wheel::new();
        let far = 3 * WHEEL_BUCKETS + 17;
        wheel.arm(0, far);
        let mut asked = 0;
        while let Some(at) = wheel.next() {
            wheel.advance(at, |_| {
                asked += 1;
                if at >= far { Due::Done } else { Due::At(far) }
            });
        }
        assert_eq!(asked, 4);
    }

    /// A long sleep visits each bucket once, not each second.
    #[test]
    fn catches_up_after_a_long_sleep() {
        let mut wheel = Wheel::new();
        wheel.arm(0, 1);
        wheel.arm(1, WHEEL_BUCKETS - 1);
        assert_eq!(fired(&mut wheel, u32::MAX - 1), [0, 1]);
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_a_map(steps in proptest::collection::vec((0u32..8, 0u32..6000, 0u32..500), 1..80)) {
            let mut wheel = Wheel::new();
            let mut model = std::collections::BTreeMap::new();
            // A tick that was looked at is past: what is armed for it comes up at the next one.
            let (mut now, mut unseen) = (0, 0);
            for (slot, delay, pause) in steps {
                model.insert(slot, unseen.max(now + delay));
                wheel.arm(slot, now + delay);
                now += pause;
                let mut fired = Vec::new();
                wheel.advance(now, |slot| match model[&slot] {
                    at if at > now => Due::At(at),
                    _ => { fired.push(slot); Due::Done }
                });
                unseen = now + 1;
                fired.sort_unstable();
                let expected: Vec<u32> = model.iter().filter(|entry| *entry.1 <= now).map(|entry| *entry.0).collect();
                model.retain(|_, at| *at > now);
                proptest::prop_assert_eq!(fired, expected);
            }
        }
    }
}
