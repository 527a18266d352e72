//! A disk whose rounds many sessions share, as those that wait for one log do.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heliograph::session::{Token, Waker};
use heliograph::sys::about_to_block;

pub struct Disk {
    waker: Waker,
    rounds: Mutex<Rounds>,
}

#[derive(Default)]
struct Rounds {
    begun: u64,
    done: u64,
    /// How long the next one takes.
    length: Duration,
    parked: Vec<(u64, Token)>,
}

impl Disk {
    pub fn new(waker: Waker) -> Self {
        Disk { waker, rounds: Mutex::default() }
    }

    fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes; the round that makes it durable: not one that has begun before.
    pub fn write(&self, length: Duration) -> u64 {
        let mut rounds = self.rounds();
        rounds.length = length;
        rounds.begun + 1
    }

    /// Whether a round is done. Makes it, unless another session makes one; then this one will be woken.
    pub fn reaches(&self, round: u64, token: Token) -> bool {
        let mut rounds = self.rounds();
        if rounds.done >= round {
            return true;
        }
        if rounds.begun > rounds.done {
            rounds.parked.push((round, token));
            return false;
        }
        rounds.begun += 1;
        let (current, length) = (rounds.begun, rounds.length);
        drop(rounds);
        about_to_block();
        std::thread::sleep(length);
        let mut rounds = self.rounds();
        rounds.done = current;
        let (served, mut left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut rounds.parked).into_iter().partition(|parked| parked.0 <= current);
        let next = left.pop();
        rounds.parked = left;
        drop(rounds);
        served.into_iter().for_each(|(_, token)| self.waker.settled(token));
        if let Some((_, token)) = next {
            self.waker.settles_next(token);
        }
        true
    }
}
