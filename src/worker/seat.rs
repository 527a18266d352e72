//! The seat at the poller: whoever holds it waits for events and runs what they concern.
//!
//! There is one seat per worker, handed from thread to thread. Nothing in it is locked, because nobody else can
//! reach it; what other threads have for it goes through the pool's inbox.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token as Interest};

use crate::session::Token;

use super::limits::{AUTH_TICK, EVENTS_PER_POLL};
use super::pool::{AUTH, NOTIFY, Pool, WAKER};
use super::slot::Flags;
use super::wheel::{Tick, Wheel};

pub struct Seat {
    poll: Poll,
    events: Events,
    wheel: Wheel,
    /// When the wheel wants to be looked at.
    next_due: Option<Tick>,
    last_expiry: Instant,
    /// Ready sessions that travel with the seat when it is handed over.
    pub ready: VecDeque<u32>,
}

impl Seat {
    pub fn new(poll: Poll) -> Self {
        Seat {
            poll,
            events: Events::with_capacity(EVENTS_PER_POLL),
            wheel: Wheel::new(),
            next_due: None,
            last_expiry: Instant::now(),
            ready: VecDeque::new(),
        }
    }

    /// Waits until something is ready, and queues the sessions that it concerns. Does not wait when the queue
    /// has some already.
    pub fn poll(&mut self, pool: &Arc<Pool>, queue: &mut VecDeque<u32>) {
        self.take_inbox(pool, queue);
        let timeout = if queue.is_empty() { self.timeout(pool) } else { Some(Duration::ZERO) };
        let timeout = if timeout.is_none_or(|time| !time.is_zero()) && pool.inbox.announce_sleep() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        let result = self.poll.poll(&mut self.events, timeout);
        pool.inbox.announce_awake();
        if let Err(error) = result {
            return report(&error);
        }
        self.dispatch(pool, queue);
        self.take_inbox(pool, queue);
        self.tick(pool, queue);
    }

    fn dispatch(&mut self, pool: &Arc<Pool>, queue: &mut VecDeque<u32>) {
        for event in &self.events {
            match event.token() {
                WAKER => {}
                NOTIFY => pool.receive_notifications(),
                AUTH => pool.receive_answers(event.is_read_closed()),
                Interest(number) => {
                    let Token { slot, generation } = Token::from_number(number as u64);
                    if pool.slot(slot).is_some_and(|slot| slot.state.notify(generation, flags_of(event))) {
                        queue.push_back(slot);
                    }
                }
            }
        }
    }

    fn take_inbox(&mut self, pool: &Pool, queue: &mut VecDeque<u32>) {
        let mut wheel_entries = pool.inbox.take(queue);
        while let Some(slot) = wheel_entries.pop() {
            self.arm(pool, slot);
        }
    }

    /// Puts the session's deadline into the wheel.
    pub fn arm(&mut self, pool: &Pool, slot: u32) {
        let Some(at) = pool.slot(slot).and_then(|slot| slot.timer.arm()) else { return };
        self.wheel.arm(slot, at);
        self.next_due = Some(self.next_due.map_or(at, |due| due.min(at)));
    }

    /// Looks at the wheel and at the auth requests, when it is time.
    fn tick(&mut self, pool: &Pool, queue: &mut VecDeque<u32>) {
        if self.next_due.is_none() && !pool.is_waiting_for_auth() {
            return;
        }
        let now = Instant::now();
        if pool.is_waiting_for_auth() && now.duration_since(self.last_expiry) >= AUTH_TICK {
            self.last_expiry = now;
            pool.expire_auth(now);
        }
        let tick = pool.tick_of(now);
        if self.next_due.is_some_and(|due| due <= tick) {
            self.wheel.advance(tick, |index| match pool.slot(index) {
                Some(slot) => slot.timer.come_up(tick, || {
                    if slot.state.notify_any(Flags::TIMER) {
                        queue.push_back(index);
                    }
                }),
                None => super::wheel::Due::Done,
            });
            self.next_due = self.wheel.next();
        }
    }

    fn timeout(&self, pool: &Pool) -> Option<Duration> {
        let timer = self.next_due.map(|due| pool.until(due));
        let auth = pool.is_waiting_for_auth().then_some(AUTH_TICK);
        [timer, auth].into_iter().flatten().min()
    }
}

fn flags_of(event: &mio::event::Event) -> Flags {
    let mut flags = Flags::NONE;
    if event.is_readable() || event.is_error() {
        flags = flags.with(Flags::READABLE);
    }
    if event.is_writable() || event.is_error() {
        flags = flags.with(Flags::WRITABLE);
    }
    if event.is_read_closed() {
        flags = flags.with(Flags::READABLE).with(Flags::READ_CLOSED);
    }
    flags
}

/// Anything but an interruption is a fault of this program; it must not become a busy loop.
fn report(error: &io::Error) {
    if error.kind() != ErrorKind::Interrupted {
        log::error!(error:% = error; "cannot poll");
        std::thread::sleep(Duration::from_millis(100));
    }
}
