//! The slots of a worker: as many as there were sessions at one time, made in pieces when they are first needed.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::connection::Connection;
use super::limits::{MAX_SLOTS, SLOTS_PER_PIECE};
use super::slot::SlotState;
use super::timer::Timer;

/// The place of one session.
pub struct Slot {
    pub state: SlotState,
    pub timer: Timer,
    connection: Mutex<Option<Box<Connection>>>,
}

impl Slot {
    fn new() -> Self {
        Slot { state: SlotState::new(), timer: Timer::new(), connection: Mutex::default() }
    }

    /// The session. A panic in it leaves nothing half-changed: it is closed after one.
    pub fn connection(&self) -> MutexGuard<'_, Option<Box<Connection>>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All slots; they never move, and reaching one takes no lock.
pub struct Slots {
    pieces: Box<[OnceLock<Box<[Slot]>>]>,
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    /// Slots that were used; the last one is the warmest.
    used: Vec<u32>,
    /// The first slot that was never used.
    fresh: u32,
}

impl Slots {
    pub fn new() -> Self {
        let pieces = std::iter::repeat_with(OnceLock::new).take(MAX_SLOTS / SLOTS_PER_PIECE);
        Slots { pieces: pieces.collect(), free: Mutex::default() }
    }

    /// The slot with this number, if there was ever a session with it.
    pub fn slot(&self, index: u32) -> Option<&Slot> {
        let index = index as usize;
        self.pieces.get(index / SLOTS_PER_PIECE)?.get()?.get(index % SLOTS_PER_PIECE)
    }

    /// Takes a slot that nobody holds; `None` when all of [`MAX_SLOTS`] are in use.
    pub fn take(&self) -> Option<(u32, &Slot)> {
        let mut free = self.free();
        let index = match free.used.pop() {
            Some(index) => index,
            None => {
                let index = free.fresh;
                let piece = self.pieces.get(index as usize / SLOTS_PER_PIECE)?;
                piece.get_or_init(|| std::iter::repeat_with(Slot::new).take(SLOTS_PER_PIECE).collect());
                free.fresh += 1;
                index
            }
        };
        drop(free);
        Some((index, self.slot(index)?))
    }

    /// Gives a slot back.
    pub fn give_back(&self, index: u32) {
        self.free().used.push(index);
    }

    /// Every slot that was ever used.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        let end = self.free().fresh;
        (0..end).filter_map(|index| Some((index, self.slot(index)?)))
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_come_in_pieces_and_come_back() {
        let slots = Slots::new();
        assert!(slots.slot(0).is_none());
        let taken: Vec<u32> =
            std::iter::from_fn(|| Some(slots.take()?.0)).take(SLOTS_PER_PIECE + 1).collect();
        assert_eq!(taken, (0..=SLOTS_PER_PIECE as u32).collect::<Vec<_>>());
        slots.give_back(3);
        assert_eq!(slots.take().map(|(index, _)| index), Some(3));
        assert_eq!(slots.iter().count(), taken.len());
        assert!(slots.slot(u32::MAX).is_none());
    }

    #[test]
    fn there_is_an_end() {
        let slots = Slots::new();
        slots.free().fresh = MAX_SLOTS as u32 - 1;
        assert!(slots.take().is_some());
        assert!(slots.take().is_none());
    }
}
