//! The pool's waiting threads, and the seat when all of them are busy.
//!
//! Threads wait last in, first out, so that a light load stays on few threads with warm caches however large the
//! pool is. Each waits at a place of its own: waking one is one futex call, and nobody else stirs. (A channel per
//! thread would do the same, but spins and yields before it sleeps: a twentieth of the server's CPU under load.)

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::seat::Seat;

/// What a waiting thread is given.
pub enum Task {
    /// Poll, and run what becomes ready.
    Seat(Box<Seat>),
    /// Run these sessions.
    Run(VecDeque<u32>),
}

pub struct Roster {
    places: Vec<Place>,
    state: Mutex<State>,
}

/// Where one thread waits.
#[derive(Default)]
struct Place {
    task: Mutex<Option<Task>>,
    given: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<usize>,
    /// The seat, while every thread is busy.
    seat: Option<Box<Seat>>,
}

impl Roster {
    pub fn new(threads: usize) -> Self {
        let places = std::iter::repeat_with(Place::default).take(threads).collect();
        Roster { places, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes the seat to a waiting thread, or leaves it for the first that has nothing else to do.
    pub fn pass_seat(&self, seat: Box<Seat>) {
        let mut state = self.state();
        match state.waiting.pop() {
            Some(thread) => {
                drop(state);
                self.give(thread, Task::Seat(seat));
            }
            None => state.seat = Some(seat),
        }
    }

    /// Gives a task to a waiting thread; gives it back when there is none.
    pub fn offer(&self, task: Task) -> Result<(), Task> {
        let Some(thread) = self.state().waiting.pop() else { return Err(task) };
        self.give(thread, task);
        Ok(())
    }

    /// Whether the seat waits for a thread: whoever can should stop working and take it.
    pub fn is_seat_free(&self) -> bool {
        self.state().seat.is_some()
    }

    /// Waits for work. `None`: the pool has no place for this thread.
    pub fn wait(&self, thread: usize) -> Option<Task> {
        let place = self.places.get(thread)?;
        let mut state = self.state();
        if let Some(seat) = state.seat.take() {
            return Some(Task::Seat(seat));
        }
        state.waiting.push(thread);
        drop(state);
        let mut task = place.task.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(task) = task.take() {
                return Some(task);
            }
            task = place.given.wait(task).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The place is empty: a thread is in `waiting` once, and taken out before it is given a task.
    fn give(&self, thread: usize, task: Task) {
        if let Some(place) = self.places.get(thread) {
            *place.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
            place.given.notify_one();
        }
    }
}
