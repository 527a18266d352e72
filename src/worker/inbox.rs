//! What threads without the seat have for the one that holds it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Sessions to run and deadlines to arm, and the way to wake the poller for them.
///
/// Bounded without a limit of its own: a slot is queued at most once.
pub struct Inbox {
    items: Mutex<Items>,
    /// The poller sleeps, or is about to, and must be woken for news.
    is_asleep: AtomicBool,
    waker: mio::Waker,
}

#[derive(Default)]
struct Items {
    ready: Vec<u32>,
    deadlines: Vec<u32>,
}

impl Inbox {
    pub fn new(waker: mio::Waker) -> Self {
        Inbox { items: Mutex::default(), is_asleep: AtomicBool::new(false), waker }
    }

    fn items(&self) -> MutexGuard<'_, Items> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a session that its [`SlotState`](super::slot::SlotState) said to queue.
    pub fn push_ready(&self, slot: u32) {
        self.items().ready.push(slot);
        self.wake();
    }

    /// Queues several sessions.
    pub fn push_all(&self, slots: impl IntoIterator<Item = u32>) {
        self.items().ready.extend(slots);
        self.wake();
    }

    /// Asks for the slot's deadline to be put into the wheel.
    pub fn push_deadline(&self, slot: u32) {
        self.items().deadlines.push(slot);
        self.wake();
    }

    /// Wakes the poller if it sleeps; one system call for any number of news.
    ///
    /// Never lost: news are queued before the flag is read here, and the poller sets the flag before it looks
    /// at the queue a last time.
    pub fn wake(&self) {
        if self.is_asleep.swap(false, SeqCst)
            && let Err(error) = self.waker.wake()
        {
            log::error!(error:% = error; "cannot wake the poller");
        }
    }

    /// The poller is about to sleep: `false` when it must not, because there is something.
    pub fn announce_sleep(&self) -> bool {
        self.is_asleep.store(true, SeqCst);
        let items = self.items();
        items.ready.is_empty() && items.deadlines.is_empty()
    }

    pub fn announce_awake(&self) {
        self.is_asleep.store(false, SeqCst);
    }

    /// Moves the ready sessions to the queue; the slots whose deadlines are to be armed.
    pub fn take(&self, queue: &mut VecDeque<u32>) -> Vec<u32> {
        let mut items = self.items();
        queue.extend(items.ready.drain(..));
        std::mem::take(&mut items.deadlines)
    }
}
