//! How long an attempt to log in has to wait for its turn, after failures.
//!
//! Two counts are kept: of a user name tried from an address, and of an address over all names. Above a free
//! number, attempts are spaced: each may begin only a pause after the one before, and the pause doubles with every
//! failure. A person who mistyped waits no longer than typing takes; a machine that guesses gets four guesses a
//! minute. A failure is forgotten after [`FORGIVENESS`]; a success forgives the user's failures, and one of the
//! address's.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::keyed::{Fingerprint, Key};
use super::limits::{
    FORGIVENESS, FREE_FAILURES, FREE_FAILURES_PER_ADDRESS, MAX_DELAY, MAX_IN_FLIGHT_PER_ADDRESS,
    MAX_PENALTIES,
};

/// How one of the two counts turns into pauses.
struct Rule {
    free: u32,
    first: Duration,
    longest: Duration,
}

const PER_USER: Rule = Rule { free: FREE_FAILURES, first: Duration::from_secs(1), longest: MAX_DELAY };

/// Gentle: a webmail host speaks for all its users.
const PER_ADDRESS: Rule = Rule {
    free: FREE_FAILURES_PER_ADDRESS,
    first: Duration::from_millis(50),
    longest: Duration::from_secs(1),
};

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may begin after this time, often zero.
    After(Duration),
    /// Too many are waiting before it.
    Refused,
}

/// Who tried whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    address: IpAddr,
    user: Fingerprint,
}

impl Origin {
    /// IPv6 addresses count by their /64: that is what one customer gets.
    pub fn new(key: &Key, remote: IpAddr, user: &str) -> Self {
        let address = match remote.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (!0 << 64)).into(),
            v4 => v4,
        };
        Origin { address, user: key.fingerprint(&[&octets(address), user.as_bytes()]) }
    }

    /// The part of the address that counts.
    pub fn address_octets(&self) -> [u8; 16] {
        octets(self.address)
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The failures of the recent past, in bounded memory.
#[derive(Debug, Default)]
pub struct Penalties {
    users: Generations<Fingerprint>,
    addresses: Generations<IpAddr>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    failures: u32,
    /// Attempts that were admitted and have no outcome: a guess counts before it has failed.
    in_flight: u32,
    /// The last failure that was counted or forgotten.
    since: Instant,
    /// No other attempt before this.
    next: Instant,
}

impl Penalties {
    /// Asks for a turn. An attempt that was not refused has to be reported by [`Penalties::failed`] or
    /// [`Penalties::succeeded`].
    pub fn admit(&mut self, origin: &Origin, now: Instant) -> Admission {
        let address = self.addresses.record(origin.address, now);
        if address.in_flight >= MAX_IN_FLIGHT_PER_ADDRESS {
            return Admission::Refused;
        }
        let by_address = PER_ADDRESS.turn(address, address.failures, now);
        let user = self.users.record(origin.user, now);
        let by_user = PER_USER.turn(user, user.failures.saturating_add(user.in_flight), now);
        let (Some(by_address), Some(by_user)) = (by_address, by_user) else { return Admission::Refused };
        for (record, turn) in [(&mut *address, by_address), (user, by_user)] {
            record.in_flight += 1;
            record.next = turn.next;
        }
        Admission::After(by_address.start.max(by_user.start).saturating_duration_since(now))
    }

    /// The attempt was wrong.
    pub fn failed(&mut self, origin: &Origin, now: Instant) {
        for record in self.both(origin, now) {
            record.in_flight = record.in_flight.saturating_sub(1);
            record.failures = record.failures.saturating_add(1);
            record.since = now;
        }
    }

    /// The attempt was right.
    pub fn succeeded(&mut self, origin: &Origin, now: Instant) {
        for record in self.both(origin, now) {
            record.in_flight = record.in_flight.saturating_sub(1);
            record.failures = record.failures.saturating_sub(1);
        }
        self.users.record(origin.user, now).failures = 0;
    }

    /// Someone there knows the password, as the cache could tell: what went wrong before was not guessing.
    pub fn pardon(&mut self, origin: &Origin) {
        if let Some(record) = self.users.existing(&origin.user) {
            record.failures = 0;
        }
    }

    fn both(&mut self, origin: &Origin, now: Instant) -> [&mut Record; 2] {
        [self.users.record(origin.user, now), self.addresses.record(origin.address, now)]
    }
}

#[derive(Clone, Copy)]
struct Turn {
    start: Instant,
    next: Instant,
}

impl Rule {
    /// When the next attempt may begin, and when the one after it; `None` when that is too far away.
    fn turn(&self, record: &Record, count: u32, now: Instant) -> Option<Turn> {
        if count < self.free {
            return Some(Turn { start: now, next: now });
        }
        let doublings = (count - self.free).min(16);
        let pause = (self.first * (1 << doublings)).min(self.longest);
        let start = record.next.max(now);
        (start <= now + MAX_DELAY).then_some(Turn { start, next: start + pause })
    }
}

/// A table that forgets what was not used lately when it is full: two halves, the older one is dropped.
#[derive(Debug)]
struct Generations<K> {
    young: HashMap<K, Record>,
    old: HashMap<K, Record>,
}

impl<K> Default for Generations<K> {
    fn default() -> Self {
        Generations { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash> Generations<K> {
    fn existing(&mut self, key: &K) -> Option<&mut Record> {
        self.young.get_mut(key).or_else(|| self.old.get_mut(key))
    }

    /// The record of a key, with the failures forgotten that are due.
    fn record(&mut self, key: K, now: Instant) -> &mut Record {
        if self.young.len() >= MAX_PENALTIES && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        let old = &mut self.old;
        let fresh = Record { failures: 0, in_flight: 0, since: now, next: now };
        let record = self.young.entry(key).or_insert_with(|| old.remove(&key).unwrap_or(fresh));
        let periods = now.saturating_duration_since(record.since).as_secs() / FORGIVENESS.as_secs();
        if periods > 0 {
            record.failures = record.failures.saturating_sub(u32::try_from(periods).unwrap_or(u32::MAX));
            record.since = now;
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        penalties: Penalties,
        key: Key,
        start: Instant,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            let now = Instant::now();
            Scene { penalties: Penalties::default(), key: Key::random().unwrap(), start: now, now }
        }

        fn origin(&self, remote: &str, user: &str) -> Origin {
            Origin::new(&self.key, remote.parse().unwrap(), user)
        }

        /// A wrong attempt; says how many seconds it had to wait.
        fn fail(&mut self, remote: &str, user: &str) -> u64 {
            let origin = self.origin(remote, user);
            let Admission::After(delay) = self.penalties.admit(&origin, self.now) else {
                panic!("refused after {:?}", self.now - self.start)
            };
            self.now += delay;
            self.penalties.failed(&origin, self.now);
            delay.as_secs()
        }
    }

    #[test]
    fn guesses_in_a_row_wait_longer_and_longer() {
        let mut scene = Scene::new();
        let waits: Vec<u64> = (0..10).map(|_| scene.fail("192.0.2.1", "ada")).collect();
        assert_eq!(waits, [0, 0, 0, 0, 1, 2, 4, 8, 15, 15]);
        assert_eq!(scene.fail("192.0.2.1", "grace"), 0, "another user");
        assert_eq!(scene.fail("192.0.2.2", "ada"), 0, "another address");
    }

    #[test]
    fn guesses_at_once_wait_for_each_other_and_are_refused_in_the_end() {
        let mut scene = Scene::new();
        let origin = scene.origin("192.0.2.1", "ada");
        let now = scene.now;
        let admitted: Vec<_> = (0..1000).map(|_| scene.penalties.admit(&origin, now)).collect();
        let delays: Vec<u64> = admitted
            .iter()
            .filter_map(|admission| match admission {
                Admission::After(delay) => Some(delay.as_secs()),
                Admission::Refused => None,
            })
            .collect();
        assert_eq!(delays, [0, 0, 0, 0, 1, 3, 7, 15]);
    }

    #[test]
    fn success_and_time_forgive() {
        let mut scene = Scene::new();
        for _ in 0..8 {
            scene.fail("192.0.2.1", "ada");
        }
        let origin = scene.origin("192.0.2.1", "ada");
        scene.now += MAX_DELAY;
        assert_eq!(scene.penalties.admit(&origin, scene.now), Admission::After(Duration::ZERO), "spaced");
        scene.penalties.succeeded(&origin, scene.now);
        assert_eq!(scene.fail("192.0.2.1", "ada"), 0);
        let mut scene = Scene::new();
        for _ in 0..8 {
            scene.fail("192.0.2.1", "ada");
        }
        scene.now += FORGIVENESS * 8;
        assert_eq!((0..4).map(|_| scene.fail("192.0.2.1", "ada")).sum::<u64>(), 0);
    }

    #[test]
    fn an_address_that_tries_many_users_is_slowed_down() {
        let mut scene = Scene::new();
        for n in 0..FREE_FAILURES_PER_ADDRESS {
            assert_eq!(scene.fail("2001:db8::1", &format!("user{n}")), 0);
        }
        for n in 0..20 {
            scene.fail(&format!("2001:db8::{n:x}"), &format!("other{n}"));
        }
        assert!(scene.now - scene.start > Duration::from_secs(10), "all of a /64 count as one");
        assert_eq!(scene.fail("2001:db8:1::1", "ada"), 0);
    }

    #[test]
    fn many_users_of_one_host_may_come_at_once() {
        let mut scene = Scene::new();
        for n in 0..MAX_IN_FLIGHT_PER_ADDRESS {
            let origin = scene.origin("192.0.2.1", &format!("user{n}"));
            assert_eq!(scene.penalties.admit(&origin, scene.now), Admission::After(Duration::ZERO));
        }
        let origin = scene.origin("192.0.2.1", "one more");
        assert_eq!(scene.penalties.admit(&origin, scene.now), Admission::Refused);
        let first = scene.origin("192.0.2.1", "user0");
        scene.penalties.succeeded(&first, scene.now);
        assert_ne!(scene.penalties.admit(&origin, scene.now), Admission::Refused);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut scene = Scene::new();
        for n in 0..3 * MAX_PENALTIES {
            scene.fail(&format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255), "ada");
        }
        assert!(scene.penalties.users.young.len() + scene.penalties.users.old.len() <= 2 * MAX_PENALTIES);
        assert!(scene.penalties.addresses.young.len() <= MAX_PENALTIES);
    }
}
