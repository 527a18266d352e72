//! Short lists that commands make and throw away: sets of messages, most of all.

use std::ops::{Deref, DerefMut};

use crate::spare::{Lend, Lent};

/// A list whose first `N` elements stand in place; when there are more, all stand in room that the thread lends. What is kept
/// for long gives the rest of that room back with [`rest`](Few::rest).
#[derive(Clone, Debug)]
pub struct Few<T: Lend, const N: usize>(Place<T, N>);

#[derive(Clone, Debug)]
enum Place<T: Lend, const N: usize> {
    Here { len: u8, items: [T; N] },
    Lent(Lent<T>),
}

impl<T: Lend + Copy + Default, const N: usize> Few<T, N> {
    /// Room that a list gets at once when it is more than a few; a longer one grows from there.
    const ROOM: usize = 4 * N;

    pub fn new() -> Self {
        const { assert!(N <= u8::MAX as usize) };
        Few(Place::Here { len: 0, items: [T::default(); N] })
    }

    /// An empty one with room for so many elements.
    pub fn with_capacity(capacity: usize) -> Self {
        if capacity <= N { Few::new() } else { Few(Place::Lent(lent(&[], capacity))) }
    }

    #[inline]
    pub fn push(&mut self, item: T) {
        match &mut self.0 {
            Place::Here { len, items } if usize::from(*len) < N => {
                items[usize::from(*len)] = item;
                *len += 1;
            }
            Place::Here { items, .. } => {
                let more = lent(items, Self::ROOM);
                self.0 = Place::Lent(more);
                self.push_more(item);
            }
            Place::Lent(_) => self.push_more(item),
        }
    }

    #[inline(never)]
    fn push_more(&mut self, item: T) {
        if let Place::Lent(more) = &mut self.0 {
            more.push(item);
        }
    }

    pub fn pop(&mut self) -> Option<T> {
        match &mut self.0 {
            Place::Here { len, items } => {
                *len = len.checked_sub(1)?;
                Some(items[usize::from(*len)])
            }
            Place::Lent(more) => more.pop(),
        }
    }

    /// Takes out each element that `joins` has let the one before it take in, which is its second argument.
    pub fn dedup_by(&mut self, joins: impl FnMut(&mut T, &mut T) -> bool) {
        match &mut self.0 {
            Place::Here { len, items } => {
                let mut left = 0;
                let mut joins = joins;
                for at in 0..usize::from(*len) {
                    let mut item = items[at];
                    if left == 0 || !joins(&mut item, &mut items[left - 1]) {
                        items[left] = item;
                        left += 1;
                    }
                }
                *len = left as u8;
            }
            Place::Lent(more) => more.dedup_by(joins),
        }
    }

    /// Gives back what it has no use for.
    pub fn rest(&mut self) {
        if let Place::Lent(more) = &mut self.0 {
            if more.len() <= N {
                let mut few = Few::new();
                more.iter().for_each(|item| few.push(*item));
                *self = few;
            } else {
                more.rest();
            }
        }
    }
}

/// Lent room for at least so many elements, with these in it.
fn lent<T: Lend + Copy>(items: &[T], capacity: usize) -> Lent<T> {
    let mut lent = Lent::new();
    lent.reserve(capacity.max(items.len()));
    lent.extend_from_slice(items);
    lent
}

impl<T: Lend + Copy + Default, const N: usize> Default for Few<T, N> {
    fn default() -> Self {
        Few::new()
    }
}

impl<T: Lend, const N: usize> Deref for Few<T, N> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match &self.0 {
            Place::Here { len, items } => &items[..usize::from(*len)],
            Place::Lent(more) => more,
        }
    }
}

impl<T: Lend, const N: usize> DerefMut for Few<T, N> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            Place::Here { len, items } => &mut items[..usize::from(*len)],
            Place::Lent(more) => more,
        }
    }
}

impl<T: Lend + Copy + Default, const N: usize> Extend<T> for Few<T, N> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push(item));
    }
}

impl<T: Lend + Copy + Default, const N: usize> FromIterator<T> for Few<T, N> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut few = Few::new();
        few.extend(items);
        few
    }
}

impl<T: Lend + PartialEq, const N: usize> PartialEq for Few<T, N> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Lend + Eq, const N: usize> Eq for Few<T, N> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_kept_gives_room_back() {
        let mut few: Few<u8, 4> = Few::with_capacity(1000);
        few.extend(0..4);
        few.rest();
        assert!(matches!(few.0, Place::Here { .. }));
        let mut many: Few<u8, 4> = Few::with_capacity(1000);
        many.extend(0..9);
        many.rest();
        assert!(matches!(&many.0, Place::Lent(lent) if lent.capacity() == 9));
        assert_eq!(*many, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(Lent::<u8>::new().capacity() >= 1000, "the thread has it");
    }

    proptest! {
        #[test]
        fn behaves_like_a_vector(items in prop::collection::vec(0u8..9, 0..12), pops in 0usize..4, room in 0usize..9) {
            let mut few: Few<u8, 4> = Few::with_capacity(room);
            few.extend(items.iter().copied());
            let mut all = items.clone();
            prop_assert_eq!(&*few, &all);
            few.sort_unstable();
            all.sort_unstable();
            let joins = |next: &mut u8, before: &mut u8| {
                let joins = *next <= *before + 1;
                if joins {
                    *before = *next;
                }
                joins
            };
            few.dedup_by(joins);
            all.dedup_by(joins);
            prop_assert_eq!(&*few, &all);
            for _ in 0..pops {
                prop_assert_eq!(few.pop(), all.pop());
            }
            prop_assert_eq!(&few.clone(), &few);
            few.rest();
            prop_assert_eq!(&*few, &all);
        }
    }
}
