//! The state of one session slot, in one atomic word.
//!
//! A session is in exactly one place: parked, waiting for a thread, or in the hands of one. Whoever learns
//! something about it (an edge from the poller, a change in the mailbox, an answer, a time limit) leaves a flag
//! here; at most one of them is told to queue the session, and nothing gets lost:
//!
//! ```text
//!              notify: queue it                 begin: takes the flags
//!   IDLE ───────────────────────► QUEUED ─────────────────────────────► RUNNING
//!    ▲                              ▲                                   │  │ notify: nothing to do
//!    │ end                          │ end: the same thread queues it    │  ▼
//!    └──────────────────────────────┼───────────────────────────────────┘ RUNNING with flags
//!                                   └─────────────────────────────────────┘
//! ```
//!
//! The word also holds the slot's generation, so that news for a former holder of the slot finds nobody.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

/// What is new for a session; several may be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    pub const NONE: Flags = Flags(0);
    /// The socket may have input, or an error to report.
    pub const READABLE: Flags = Flags(1);
    /// The socket may take output.
    pub const WRITABLE: Flags = Flags(1 << 1);
    /// The client has shut down its side: input goes on until its end is read.
    pub const READ_CLOSED: Flags = Flags(1 << 2);
    /// A watched mailbox has changed.
    pub const CHANGED: Flags = Flags(1 << 3);
    /// The auth process has answered.
    pub const AUTH: Flags = Flags(1 << 4);
    /// A time limit may have passed.
    pub const TIMER: Flags = Flags(1 << 5);
    /// The server stops.
    pub const SHUTDOWN: Flags = Flags(1 << 6);
    /// The session has more to do (it yielded).
    pub const RESUME: Flags = Flags(1 << 7);
    /// An administrator ends the session.
    pub const KILLED: Flags = Flags(1 << 8);
    /// Others have made true, or tried to, what its output says.
    pub const SETTLED: Flags = Flags(1 << 9);

    pub fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

const FREE: u64 = 0;
const IDLE: u64 = 1;
const QUEUED: u64 = 2;
const RUNNING: u64 = 3;

/// `generation << 32 | flags << 8 | stage`.
#[derive(Debug)]
pub struct SlotState(AtomicU64);

impl SlotState {
    /// A slot that nobody holds, in generation 0.
    pub fn new() -> Self {
        SlotState(AtomicU64::new(word(0, Flags::NONE, FREE)))
    }

    pub fn generation(&self) -> u32 {
        generation(self.0.load(Acquire))
    }

    /// The holder of the slot parks its new session: free → idle.
    pub fn occupy(&self) {
        self.update(|old| Some(word(generation(old), Flags::NONE, IDLE)));
    }

    /// Leaves a flag. `true`: the caller must queue the session now.
    pub fn notify(&self, expected: u32, news: Flags) -> bool {
        self.update(|old| {
            let is_there = generation(old) == expected && stage(old) != FREE;
            is_there.then(|| word(expected, flags(old).with(news), stage(old).max(QUEUED)))
        })
        .is_some_and(|old| stage(old) == IDLE)
    }

    /// Leaves a flag for whoever holds the slot. `true`: the caller must queue the session now.
    pub fn notify_any(&self, news: Flags) -> bool {
        self.notify(self.generation(), news)
    }

    /// A thread takes a queued session, or goes on with one that it holds; the flags that have come.
    pub fn begin(&self) -> Flags {
        let old = self.update(|old| Some(word(generation(old), Flags::NONE, RUNNING)));
        old.map_or(Flags::NONE, flags)
    }

    /// The thread parks the session: `true` when it is idle now; `false` when flags have come meanwhile, and
    /// the caller still holds it.
    pub fn end(&self) -> bool {
        self.update(|old| flags(old).is_empty().then(|| word(generation(old), Flags::NONE, IDLE))).is_some()
    }

    /// The thread puts the session back into a queue, with a flag: the caller must queue it.
    pub fn requeue(&self, reason: Flags) {
        self.update(|old| Some(word(generation(old), flags(old).with(reason), QUEUED)));
    }

    /// The session is gone; news for it find nobody from now on.
    pub fn vacate(&self) {
        self.update(|old| Some(word(generation(old).wrapping_add(1), Flags::NONE, FREE)));
    }

    /// Replaces the word unless `next` says no; the old word when it was replaced. Also when the new word
    /// equals the old one it is written, so that what the caller did before happens before what the thread does
    /// that takes the flags.
    fn update(&self, next: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        self.0.fetch_update(AcqRel, Acquire, next).ok()
    }
}

fn word(generation: u32, flags: Flags, stage: u64) -> u64 {
    u64::from(generation) << 32 | u64::from(flags.0) << 8 | stage
}

fn generation(word: u64) -> u32 {
    (word >> 32) as u32
}

fn flags(word: u64) -> Flags {
    Flags((word >> 8) as u16)
}

fn stage(word: u64) -> u64 {
    word & 0xff
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the threads of the model do; each thread is a list of steps, run in every interleaving.
    #[derive(Clone, Copy, Debug)]
    enum Act {
        Notify(Flags),
        /// Run the session once, if it is queued and nobody runs it; two steps: take, park.
        Take,
        Park,
    }

    #[derive(Clone)]
    struct World {
        word: u64,
        queued: u32,
        running: bool,
        seen: Flags,
    }

    impl World {
        fn act(&mut self, act: Act) {
            let slot = SlotState(AtomicU64::new(self.word));
            match act {
                Act::Notify(news) => self.queued += u32::from(slot.notify(0, news)),
                Act::Take if self.queued > 0 && !self.running => {
                    self.queued -= 1;
                    self.running = true;
                    self.seen = self.seen.with(slot.begin());
                }
                Act::Park if self.running => {
                    if slot.end() {
                        self.running = false;
                    } else {
                        self.seen = self.seen.with(slot.begin());
                    }
                }
                Act::Take | Act::Park => {}
            }
            self.word = slot.0.into_inner();
            assert!(self.queued <= 1, "queued twice");
            assert!(self.queued == 0 || !self.running, "queued while it runs");
        }

        fn settle(mut self) -> Flags {
            for _ in 0..4 {
                self.act(Act::Take);
                self.act(Act::Park);
            }
            assert!(!self.running && stage(self.word) == IDLE);
            self.seen
        }
    }

    fn interleave(world: World, threads: &mut [Vec<Act>], visits: &mut u32) {
        let mut is_over = true;
        for index in 0..threads.len() {
            let Some(act) = threads[index].pop() else { continue };
            is_over = false;
            let mut next = world.clone();
            next.act(act);
            interleave(next, threads, visits);
            threads[index].push(act);
        }
        if is_over {
            *visits += 1;
            let all = [Flags::READABLE, Flags::CHANGED, Flags::AUTH, Flags::TIMER];
            let seen = world.settle();
            assert!(all.iter().all(|&flag| seen.contains(flag)), "lost: saw only {seen:?}");
        }
    }

    #[test]
    fn nothing_is_lost_or_queued_twice_in_any_order() {
        let slot = SlotState::new();
        slot.occupy();
        let world = World { word: slot.0.into_inner(), queued: 0, running: false, seen: Flags::NONE };
        let mut threads = [
            vec![Act::Notify(Flags::READABLE), Act::Notify(Flags::CHANGED)],
            vec![Act::Notify(Flags::AUTH), Act::Notify(Flags::TIMER)],
            vec![Act::Park, Act::Take, Act::Park, Act::Park, Act::Take],
        ];
        let mut visits = 0;
        interleave(world, &mut threads, &mut visits);
        assert_eq!(visits, 756, "9! / (2! 2! 5!)");
    }

    #[test]
    fn news_for_a_former_holder_find_nobody() {
        let slot = SlotState::new();
        assert!(!slot.notify(0, Flags::CHANGED), "free");
        slot.occupy();
        assert!(slot.notify(0, Flags::CHANGED));
        slot.begin();
        slot.vacate();
        slot.occupy();
        assert!(!slot.notify(0, Flags::CHANGED), "another generation");
        assert!(slot.notify(1, Flags::CHANGED));
        assert_eq!(slot.begin(), Flags::CHANGED);
    }

    #[test]
    fn requeued_with_what_came_meanwhile() {
        let slot = SlotState::new();
        slot.occupy();
        assert!(slot.notify_any(Flags::READABLE));
        assert_eq!(slot.begin(), Flags::READABLE);
        assert!(!slot.notify_any(Flags::CHANGED), "running: the thread will see it");
        slot.requeue(Flags::RESUME);
        assert!(!slot.notify_any(Flags::WRITABLE), "queued already");
        assert_eq!(slot.begin(), Flags::CHANGED.with(Flags::WRITABLE).with(Flags::RESUME));
        assert!(slot.end());
    }
}
