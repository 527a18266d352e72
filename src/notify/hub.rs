//! A worker's end of the bus: who watches what here, and what to tell the others.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use crate::session::{Token, Waker};
use crate::store::{ChangeListener, MailboxId, ModSeq, UserName, Waiter};

use super::bus::{Endpoint, News};
use super::key::WatchKey;
use super::limits::SHARDS;
use super::publisher::Follower;

type Watchers = SmallVec<[(WatchKey, Token); 1]>;

/// Watches and publishes changes of mailboxes.
///
/// Nothing is lost between the two if a session watches first and reads the log then, and a writer writes the log
/// first and publishes then.
pub struct Hub {
    endpoint: Endpoint,
    waker: Waker,
    /// Watchers by slot of the interest table; slot modulo [`SHARDS`] says which map.
    shards: [Mutex<HashMap<usize, Watchers>>; SHARDS],
}

/// A session's interest in a mailbox; it ends when this is dropped.
pub struct Watch {
    hub: Arc<Hub>,
    key: WatchKey,
    token: Token,
}

impl Hub {
    /// The hub of a worker that has just started.
    pub fn new(endpoint: Endpoint, waker: Waker) -> Self {
        endpoint.reset();
        Hub { endpoint, waker, shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// The name of a mailbox on this bus.
    pub fn key(&self, user: &UserName, mailbox: MailboxId) -> WatchKey {
        WatchKey::new(self.endpoint.bus.seed(), user, mailbox)
    }

    /// From now on the session gets [`Event::Changed`](crate::session::Event::Changed) when the mailbox changes.
    pub fn watch(self: &Arc<Self>, key: WatchKey, token: Token) -> Watch {
        let mut shard = self.shard(key.slot());
        let watchers = shard.entry(key.slot()).or_default();
        if watchers.is_empty() {
            self.endpoint.set_interest(key.slot(), true);
        }
        watchers.push((key, token));
        drop(shard);
        Watch { hub: Arc::clone(self), key, token }
    }

    /// Tells every session that watches the mailbox, in any worker. Never blocks.
    pub fn publish(&self, key: WatchKey) {
        let slot = key.slot();
        let workers = self.endpoint.bus.watchers(slot);
        if workers & self.endpoint.bit() != 0 {
            self.wake(slot, |watched| watched == key);
        }
        self.endpoint.send_to(workers, slot);
    }

    /// Takes in what other processes have sent, and wakes those it concerns. The poller calls it.
    pub fn receive(&self) {
        while let Some(news) = self.endpoint.receive() {
            match news {
                News::Slot(slot) => {
                    self.endpoint.acknowledge(slot);
                    // Any mailbox of the slot may be meant: news on their way to a slot are sent once.
                    self.wake(slot, |_| true);
                }
                News::Mailbox(user, mailbox) => {
                    let key = self.key(&user, mailbox);
                    self.wake(key.slot(), |watched| watched == key);
                }
            }
        }
        if self.endpoint.take_overflow() {
            self.wake_all();
        }
    }

    /// Readable when there is something to receive; for an edge-triggered poller.
    pub fn as_raw_fd(&self) -> RawFd {
        self.endpoint.as_raw_fd()
    }

    fn wake(&self, slot: usize, is_meant: impl Fn(WatchKey) -> bool) {
        let tokens: SmallVec<[Token; 8]> = match self.shard(slot).get(&slot) {
            Some(watchers) => {
                watchers.iter().filter(|watcher| is_meant(watcher.0)).map(|watcher| watcher.1).collect()
            }
            None => return,
        };
        tokens.into_iter().for_each(|token| self.waker.wake(token));
    }

    fn wake_all(&self) {
        for slot in 0..SHARDS {
            let tokens: Vec<Token> = self.shard(slot).values().flatten().map(|watcher| watcher.1).collect();
            tokens.into_iter().for_each(|token| self.waker.wake(token));
        }
    }

    fn unwatch(&self, key: WatchKey, token: Token) {
        let mut shard = self.shard(key.slot());
        let Entry::Occupied(mut entry) = shard.entry(key.slot()) else { return };
        let watchers = entry.get_mut();
        if let Some(place) = watchers.iter().position(|&watcher| watcher == (key, token)) {
            watchers.swap_remove(place);
        }
        if watchers.is_empty() {
            entry.remove();
            self.endpoint.set_interest(key.slot(), false);
        }
    }

    /// The interest bit changes only while this is held, so it always says whether the map has the slot.
    fn shard(&self, slot: usize) -> MutexGuard<'_, HashMap<usize, Watchers>> {
        self.shards[slot % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.hub.unwatch(self.key, self.token);
    }
}

/// Which change it was does not travel: whoever is woken reads the log, and may find later ones there too.
impl ChangeListener for Hub {
    fn changed(&self, user: &UserName, mailbox: MailboxId, _modseq: ModSeq) {
        self.publish(self.key(user, mailbox));
    }

    fn synced(&self, waiter: Waiter) {
        self.waker.settled(Token::from_number(waiter.0));
    }

    fn syncs_next(&self, waiter: Waiter) -> bool {
        self.waker.settles_next(Token::from_number(waiter.0))
    }
}

/// Workers of other servers say that a mailbox of a shared store has changed: every worker here hears it by itself.
impl Follower for Hub {
    fn heard(&self, user: &UserName, mailbox: MailboxId) {
        let key = self.key(user, mailbox);
        self.wake(key.slot(), |watched| watched == key);
    }

    fn missed(&self) {
        self.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::{Bus, Sender};
    use crate::session::Wake;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<u32>>);

    impl Wake for Recorder {
        fn wake(&self, token: Token) {
            self.0.lock().unwrap().push(token.slot);
        }

        fn settled(&self, _: Token) {}

        fn settles_next(&self, _: Token) -> bool {
            false
        }
    }

    impl Recorder {
        /// Which sessions were woken since the last call, each once.
        fn take(&self) -> Vec<u32> {
            let mut woken = std::mem::take(&mut *self.0.lock().unwrap());
            woken.sort_unstable();
            woken.dedup();
            woken
        }
    }

    struct Host {
        directory: tempfile::TempDir,
        bus: Arc<Bus>,
    }

    impl Host {
        fn new(workers: usize) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let bus = Bus::new(directory.path(), workers).unwrap();
            Host { directory, bus }
        }

        fn worker(&self, index: usize) -> (Arc<Hub>, Arc<Recorder>) {
            let recorder = Arc::new(Recorder::default());
            (Arc::new(Hub::new(self.bus.endpoint(index).unwrap(), recorder.clone())), recorder)
        }
    }

    fn session(slot: u32) -> Token {
        Token { slot, generation: 0 }
    }

    fn ada() -> UserName {
        UserName::new("ada").unwrap()
    }

    const INBOX: MailboxId = MailboxId(1);

    #[test]
    fn wakes_watchers_here_and_elsewhere() {
        let host = Host::new(3);
        let ((one, woken_one), (two, woken_two), (three, _)) =
            (host.worker(0), host.worker(1), host.worker(2));
        let key = one.key(&ada(), INBOX);
        let _here = one.watch(key, session(1));
        let there = two.watch(key, session(2));
        let _other = two.watch(two.key(&ada(), MailboxId(2)), session(3));

        three.changed(&ada(), INBOX, ModSeq(5));
        one.receive();
        two.receive();
        assert_eq!((woken_one.take(), woken_two.take()), (vec![1], vec![2]));

        one.publish(key);
        assert_eq!(woken_one.take(), [1], "at once, without a datagram");
        one.receive();
        two.receive();
        assert_eq!((woken_one.take(), woken_two.take()), (vec![], vec![2]));

        drop(there);
        three.publish(key);
        two.receive();
        assert!(woken_two.take().is_empty());
        assert_eq!(host.bus.watchers(key.slot()), 1, "only worker 0 is interested");
    }

    #[test]
    fn a_burst_is_one_datagram() {
        let host = Host::new(2);
        let ((one, _), (two, woken)) = (host.worker(0), host.worker(1));
        let key = one.key(&ada(), INBOX);
        let _watch = two.watch(key, session(1));
        (0..1000).for_each(|_| one.publish(key));
        assert_eq!(two.endpoint.receive(), Some(News::Slot(key.slot())));
        assert_eq!(two.endpoint.receive(), None);
        two.endpoint.acknowledge(key.slot());
        one.publish(key);
        two.receive();
        assert_eq!(woken.take(), [1]);
    }

    /// The kernel's queue holds some 10 datagrams.
    #[test]
    fn a_full_queue_wakes_everybody() {
        let host = Host::new(2);
        let ((one, _), (two, woken)) = (host.worker(0), host.worker(1));
        let keys: Vec<WatchKey> = (0..2000).map(|id| one.key(&ada(), MailboxId(id))).collect();
        let _watches: Vec<Watch> =
            (0..).zip(&keys).map(|(slot, &key)| two.watch(key, session(slot))).collect();
        for round in 0..3 {
            keys.iter().for_each(|&key| one.publish(key));
            two.receive();
            assert_eq!(woken.take().len(), keys.len(), "round {round}");
        }
    }

    /// Publishers and a receiver run at once; after the last change everybody must have been woken after it.
    #[test]
    fn no_change_is_lost_under_load() {
        use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
        const MAILBOXES: usize = 50;
        let host = Host::new(3);
        let logs: Arc<Vec<AtomicU64>> = Arc::new((0..MAILBOXES).map(|_| AtomicU64::new(0)).collect());
        let (receiver, woken) = host.worker(2);
        let keys: Vec<WatchKey> =
            (0..MAILBOXES).map(|id| receiver.key(&ada(), MailboxId(id as u128))).collect();
        let _watches: Vec<Watch> =
            (0..).zip(&keys).map(|(slot, &key)| receiver.watch(key, session(slot))).collect();
        let is_over = AtomicBool::new(false);
        let mut seen = vec![0; MAILBOXES];
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..2)
                .map(|index| {
                    let (hub, logs, keys) = (host.worker(index).0, Arc::clone(&logs), keys.clone());
                    scope.spawn(move || {
                        for step in 0..20_000 {
                            let mailbox = (step * 7 + index) % MAILBOXES;
                            logs[mailbox].fetch_add(1, SeqCst);
                            hub.publish(keys[mailbox]);
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                writers.into_iter().for_each(|writer| writer.join().unwrap());
                is_over.store(true, SeqCst);
            });
            loop {
                let is_last = is_over.load(SeqCst);
                receiver.receive();
                for slot in woken.take() {
                    seen[slot as usize] = logs[slot as usize].load(SeqCst);
                }
                if is_last {
                    break;
                }
            }
        });
        let written: Vec<u64> = logs.iter().map(|log| log.load(SeqCst)).collect();
        assert_eq!(seen, written);
    }

    #[test]
    fn a_replaced_worker_starts_without_watches() {
        let host = Host::new(2);
        let (one, _) = host.worker(0);
        let (two, _) = host.worker(1);
        let key = one.key(&ada(), INBOX);
        std::mem::forget(two.watch(key, session(1)));
        one.publish(key);
        let (again, woken) = host.worker(1);
        assert_eq!(host.bus.watchers(key.slot()), 0);
        let _watch = again.watch(key, session(9));
        one.publish(key);
        again.receive();
        assert_eq!(woken.take(), [9]);
    }

    #[test]
    fn a_process_outside_reaches_all_workers() {
        let host = Host::new(2);
        let (workers, user) = ([host.worker(0), host.worker(1)], ada());
        let _watches: Vec<Watch> =
            workers.iter().map(|(hub, _)| hub.watch(hub.key(&user, INBOX), session(4))).collect();
        let sender = Sender::open(host.directory.path()).unwrap();
        sender.changed(&user, INBOX);
        sender.changed(&user, MailboxId(99));
        for (hub, woken) in &workers {
            hub.receive();
            assert_eq!(woken.take(), [4]);
        }
    }
}
