//! Room that a thread lends to what it does, one thing after the other: a command that needs a buffer for a while asks
//! the allocator for none, and a session or a user that rests holds none.

use std::cell::RefCell;
use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

/// Vectors that a thread keeps of one type.
const KEPT: usize = 4;

/// The vectors of a type that a thread has to lend.
pub type Spares<T> = RefCell<Vec<Vec<T>>>;

/// What vectors can be lent of.
pub trait Lend: Sized + 'static {
    /// A vector with room for more elements than this is not kept.
    const MOST: usize;

    /// Those of this thread.
    fn spares() -> &'static LocalKey<Spares<Self>>;
}

impl Lend for u8 {
    const MOST: usize = 32 * 1024;

    fn spares() -> &'static LocalKey<Spares<u8>> {
        thread_local!(static SPARES: Spares<u8> = const { RefCell::new(Vec::new()) });
        &SPARES
    }
}

/// Ranges of numbers.
impl Lend for (u32, u32) {
    const MOST: usize = 512;

    fn spares() -> &'static LocalKey<Spares<(u32, u32)>> {
        thread_local!(static SPARES: Spares<(u32, u32)> = const { RefCell::new(Vec::new()) });
        &SPARES
    }
}

/// A vector whose room goes to the thread that drops it, for the next one.
pub struct Lent<T: Lend>(Vec<T>);

impl<T: Lend> Lent<T> {
    /// An empty one. It has room when the thread has some to spare.
    pub fn new() -> Self {
        Lent(T::spares().with_borrow_mut(Vec::pop).unwrap_or_default())
    }

    /// One with room for so many elements, which nobody has lent: for what may have to wait.
    pub fn own(capacity: usize) -> Self {
        Lent(Vec::with_capacity(capacity))
    }
}

impl<T: Lend + Clone> Lent<T> {
    /// What holds it has to wait: it keeps what it has, and gives back the room.
    pub fn rest(&mut self) {
        if self.capacity() > self.len() {
            *self = self.clone();
        }
    }
}

impl<T: Lend> Default for Lent<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Lend> Drop for Lent<T> {
    fn drop(&mut self) {
        let mut room = mem::take(&mut self.0);
        if (1..=T::MOST).contains(&room.capacity()) {
            room.clear();
            // A thread that ends has given up its own before.
            let _ = T::spares().try_with(|spares| {
                let mut spares = spares.borrow_mut();
                if spares.len() < KEPT {
                    spares.push(room);
                }
            });
        }
    }
}

impl<T: Lend> Deref for Lent<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T: Lend> DerefMut for Lent<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

/// A copy is of a size of its own: whoever makes one keeps it for longer.
impl<T: Lend + Clone> Clone for Lent<T> {
    fn clone(&self) -> Self {
        Lent(self.to_vec())
    }
}

impl<T: Lend + PartialEq> PartialEq for Lent<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: Lend + Eq> Eq for Lent<T> {}

impl<T: Lend + fmt::Debug> fmt::Debug for Lent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_serves_again() {
        let mut first: Lent<u8> = Lent::new();
        first.extend_from_slice(b"message");
        let room = first.as_ptr();
        drop(first);
        let second: Lent<u8> = Lent::new();
        assert!(second.is_empty());
        assert_eq!(second.as_ptr(), room);
        assert_eq!(Lent::<u8>::new().capacity(), 0, "only one was left");
    }

    #[test]
    fn who_waits_gives_back_the_room() {
        let mut waiting: Lent<u8> = Lent::own(1000);
        waiting.push(7);
        waiting.rest();
        assert_eq!((waiting.as_slice(), waiting.capacity()), (&[7][..], 1));
        assert!(Lent::<u8>::new().capacity() >= 1000, "the thread has it");
    }

    #[test]
    fn a_thread_keeps_little() {
        let mut large: Lent<u8> = Lent::new();
        large.reserve(u8::MOST + 1);
        drop(large);
        let mut many: Vec<Lent<u8>> = (0..3 * KEPT).map(|_| Lent::new()).collect();
        many.iter_mut().for_each(|each| each.push(0));
        drop(many);
        u8::spares().with_borrow(|spares| {
            assert_eq!(spares.len(), KEPT);
            assert!(spares.iter().all(|spare| spare.is_empty() && spare.capacity() <= u8::MOST));
        });
    }
}
