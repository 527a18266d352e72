//! A thread of the pool. All are equal: whoever has the seat polls and runs what is ready; the others wait until
//! they are given the seat or a share of the work.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::sys;

use super::limits::BATCH_LIMIT;
use super::pool::{Pool, Turn};
use super::roster::Task;
use super::scratch::Scratch;
use super::seat::Seat;

/// What a thread holds besides the session that it runs; given away when it is about to block.
struct Desk {
    pool: Arc<Pool>,
    seat: Cell<Option<Box<Seat>>>,
    queue: RefCell<VecDeque<u32>>,
    /// Sessions to run before the seat looks at the poller again, though some are queued still.
    until_poll: Cell<usize>,
    batch_start: Cell<Instant>,
}

thread_local! {
    /// That of this thread, if it belongs to a pool.
    static DESK: RefCell<Option<Rc<Desk>>> = const { RefCell::new(None) };
}

/// Has this thread run a queued session of the pool after the one that it runs now; `false` when it cannot.
pub fn takes(pool: &Pool, slot: u32) -> bool {
    DESK.with_borrow(|desk| {
        desk.as_ref().is_some_and(|desk| std::ptr::eq(&*desk.pool, pool) && desk.add(slot))
    })
}

/// Runs sessions for as long as the process lives.
pub fn work(pool: Arc<Pool>, number: usize) {
    let desk = Rc::new(Desk {
        pool,
        seat: Cell::new(None),
        queue: RefCell::default(),
        until_poll: Cell::new(0),
        batch_start: Cell::new(Instant::now()),
    });
    let hook = Rc::clone(&desk);
    sys::on_blocking(move || hook.clear());
    DESK.set(Some(Rc::clone(&desk)));
    // Most threads of a large pool never get to run a session: they own no buffers.
    let mut scratch = None;
    loop {
        match desk.next() {
            Some(slot) => desk.run(slot, scratch.get_or_insert_with(Scratch::new)),
            None if desk.poll() => {}
            None => match desk.pool.roster.wait(number) {
                Some(task) => desk.take(task),
                None => return,
            },
        }
    }
}

impl Desk {
    /// The next session to run; `None` when it is time to poll, or to wait.
    fn next(&self) -> Option<u32> {
        let left = self.until_poll.get().checked_sub(1)?;
        self.until_poll.set(left);
        self.queue.borrow_mut().pop_front()
    }

    /// Polls, if this thread has the seat.
    fn poll(&self) -> bool {
        let Some(mut seat) = self.seat.take() else { return false };
        seat.poll(&self.pool, &mut self.queue.borrow_mut());
        self.seat.set(Some(seat));
        self.begin_batch();
        true
    }

    fn take(&self, task: Task) {
        match task {
            Task::Run(queue) => *self.queue.borrow_mut() = queue,
            Task::Seat(mut seat) => {
                *self.queue.borrow_mut() = std::mem::take(&mut seat.ready);
                self.seat.set(Some(seat));
            }
        }
        self.begin_batch();
    }

    fn begin_batch(&self) {
        self.until_poll.set(self.queue.borrow().len());
        self.batch_start.set(Instant::now());
    }

    fn run(&self, slot: u32, scratch: &mut Scratch) {
        let now = Instant::now();
        if now.duration_since(self.batch_start.get()) > BATCH_LIMIT {
            self.share();
            self.batch_start.set(now);
        }
        if self.pool.run(slot, now, scratch) == Turn::Again {
            self.put_back(slot);
        }
    }

    /// Gives half of the queue, and the seat if it is here, to a waiting thread: another core helps.
    fn share(&self) {
        let mut queue = self.queue.borrow_mut();
        if queue.is_empty() {
            return;
        }
        let keep = queue.len() / 2;
        let half = queue.split_off(keep);
        let task = match self.seat.take() {
            Some(mut seat) => {
                seat.ready = half;
                Task::Seat(seat)
            }
            None => Task::Run(half),
        };
        match self.pool.roster.offer(task) {
            Ok(()) => self.until_poll.set(queue.len()),
            Err(Task::Run(half)) => queue.extend(half),
            Err(Task::Seat(mut seat)) => {
                queue.append(&mut seat.ready);
                self.seat.set(Some(seat));
            }
        }
    }

    /// A session has more to do. From the seat it moves to another thread, so that short commands do not wait
    /// behind long ones.
    fn put_back(&self, slot: u32) {
        match self.seat.take() {
            Some(seat) => {
                self.seat.set(Some(seat));
                if self.pool.roster.offer(Task::Run(VecDeque::from([slot]))).is_err() {
                    self.queue.borrow_mut().push_back(slot);
                }
            }
            None if self.add(slot) => {}
            None => self.pool.inbox.push_ready(slot),
        }
    }

    /// Queues a session behind what this thread has to run, unless the seat waits for a thread.
    fn add(&self, slot: u32) -> bool {
        let may = !self.pool.roster.is_seat_free();
        if may {
            self.queue.borrow_mut().push_back(slot);
            self.until_poll.set(self.until_poll.get() + 1);
        }
        may
    }

    /// This thread is about to block: nothing may wait for it.
    fn clear(&self) {
        let queue = std::mem::take(&mut *self.queue.borrow_mut());
        self.until_poll.set(0);
        if let Some(mut seat) = self.seat.take() {
            seat.ready = queue;
            return self.pool.roster.pass_seat(seat);
        }
        if !queue.is_empty()
            && let Err(Task::Run(queue)) = self.pool.roster.offer(Task::Run(queue))
        {
            self.pool.inbox.push_all(queue);
        }
    }
}
