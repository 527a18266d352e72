//! Who may connect, and how often at one time: client access filters and `service.imap.connlimits`.
//!
//! A limit is of the whole server, not of a worker, so the workers tell each other how many connections each address
//! holds. A client of IPv6 is its /64 network: that is what one customer is given at least.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use nix::errno::Errno;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::limits::MAX_WORKERS;
use crate::config::{ClientFilters, ConnLimit, Service, Settings};
use crate::session::Refusal;
use crate::sys::SharedWords;

/// Sets of places that a client's count may be in, per worker, and places of a set. A client whose set is full is not
/// limited: of 4,000 clients (the default of `service.imap.maxsessions`) in one worker, one in a million.
const SETS: usize = 1024;
const WAYS: usize = 16;

/// Words per place: the client, and its connections.
const PLACE: usize = 2;

/// Words of a worker.
const ROW: usize = SETS * WAYS * PLACE;

/// How many connections each client holds, in memory that the master shares with the workers. Only a worker writes to
/// its own row.
pub struct Tally {
    /// Rows ever used, then the rows.
    words: SharedWords,
    /// So that nobody can choose addresses for one set.
    seed: u64,
    /// Of the one row that this process writes to.
    writing: Mutex<()>,
}

impl Tally {
    /// # Errors
    /// When there is no memory or no random number.
    pub fn new() -> Result<Self, Errno> {
        let seed = getrandom::u64().map_err(|_| Errno::EIO)?;
        Ok(Tally { words: SharedWords::new(1 + MAX_WORKERS * ROW)?, seed, writing: Mutex::default() })
    }

    /// A worker has died, and its connections with it. For the master.
    pub fn clear(&self, worker: usize) {
        if worker < self.rows() {
            self.words.iter().skip(1 + worker * ROW).take(ROW).for_each(|word| word.store(0, SeqCst));
        }
    }

    fn rows(&self) -> usize {
        self.words[0].load(SeqCst) as usize
    }

    /// Counts a connection in; `false` when there is no place for the client.
    fn enter(&self, worker: usize, client: u64) -> bool {
        let _writing = self.write();
        let known = self.places(worker, client).find(|place| place[0].load(SeqCst) == client);
        let free = || self.places(worker, client).find(|place| place[1].load(SeqCst) == 0);
        let Some(place) = known.or_else(free) else { return false };
        place[0].store(client, SeqCst);
        place[1].fetch_add(1, SeqCst);
        true
    }

    fn leave(&self, worker: usize, client: u64) {
        let _writing = self.write();
        if let Some(place) = self.places(worker, client).find(|place| place[0].load(SeqCst) == client) {
            place[1].fetch_sub(1, SeqCst);
        }
    }

    /// The client's connections in all workers.
    fn total(&self, client: u64) -> u64 {
        let places = (0..self.rows()).flat_map(|worker| self.places(worker, client));
        places.filter(|place| place[0].load(SeqCst) == client).map(|place| place[1].load(SeqCst)).sum()
    }

    /// Where the client may be in the row of a worker.
    fn places(&self, worker: usize, client: u64) -> impl Iterator<Item = &[AtomicU64]> {
        let set = xxh3_64_with_seed(&client.to_ne_bytes(), self.seed) as usize % SETS;
        let start = 1 + worker * ROW + set * WAYS * PLACE;
        self.words[start..start + WAYS * PLACE].chunks_exact(PLACE)
    }

    fn write(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the configuration says about clients.
#[derive(Clone, Debug, Default)]
pub struct Access {
    pub filters: ClientFilters,
    pub limits: Vec<ConnLimit>,
}

impl From<&Settings> for Access {
    fn from(settings: &Settings) -> Self {
        Access { filters: settings.imap.filters.clone(), limits: settings.imap.conn_limits.clone() }
    }
}

/// Lets clients of a worker in.
pub struct Gate {
    worker: usize,
    tally: Arc<Tally>,
    access: ArcSwap<Access>,
}

impl Gate {
    pub fn new(worker: usize, tally: Arc<Tally>, access: Access) -> Self {
        tally.words[0].fetch_max(worker as u64 + 1, SeqCst);
        Gate { worker, tally, access: ArcSwap::from_pointee(access) }
    }

    /// Whoever is in stays in.
    pub fn configure(&self, access: Access) {
        self.access.store(Arc::new(access));
    }

    /// # Errors
    /// Why the client is not let in.
    pub fn admit(self: &Arc<Self>, client: IpAddr, service: Service) -> Result<Admission, Refusal> {
        let access = self.access.load();
        if !access.filters.permits(service, client) {
            return Err(Refusal::Filtered);
        }
        let key = key(client);
        let is_counted = self.tally.enter(self.worker, key);
        let admission = Admission { gate: self.clone(), key: is_counted.then_some(key) };
        let limit = access.limits.iter().find(|limit| limit.covers(client)).map(|limit| limit.connections);
        // Counted first, looked at afterwards: of two workers that do this at one time, one at least sees both.
        match limit {
            Some(limit) if is_counted && self.tally.total(key) > limit.into() => Err(Refusal::Crowded),
            _ => Ok(admission),
        }
    }
}

/// A connection that counts until this is dropped.
pub struct Admission {
    gate: Arc<Gate>,
    /// `None`: there was no place to count it.
    key: Option<u64>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.gate.tally.leave(self.gate.worker, key);
        }
    }
}

/// A client's number. Those of IPv4 are where IPv6 has multicast, from which nobody connects.
fn key(client: IpAddr) -> u64 {
    const IPV4: u64 = 0xffff_0000_0000_0000;
    match client.to_canonical() {
        IpAddr::V4(address) => IPV4 | u64::from(address.to_bits()),
        IpAddr::V6(address) if address == Ipv6Addr::LOCALHOST => IPV4 | 1 << 32,
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, FilterList};

    fn limits(value: &str) -> Access {
        let mut config = Config::default();
        config.set("service.imap.connlimits", value).unwrap();
        Access::from(&config.settings().unwrap())
    }

    fn gates(access: &Access, tally: &Arc<Tally>) -> [Arc<Gate>; 2] {
        [0, 1].map(|worker| Arc::new(Gate::new(worker, tally.clone(), access.clone())))
    }

    #[test]
    fn a_client_is_counted_over_all_workers() {
        let tally = Arc::new(Tally::new().unwrap());
        let gates = gates(&limits("192.0.2.9|32:4,0.0.0.0|0:3"), &tally);
        let admit = |worker: usize, client: &str| gates[worker].admit(client.parse().unwrap(), Service::Imap);
        let mut held = Vec::from([0, 1, 1].map(|worker| admit(worker, "192.0.2.1").ok()));
        for worker in [0, 1] {
            assert_eq!(admit(worker, "192.0.2.1").err(), Some(Refusal::Crowded));
        }
        held.extend(["192.0.2.2", "2001:db8::1", "::1", "::1"].map(|client| admit(0, client).ok()));
        held.extend([0; 4].map(|worker| admit(worker, "192.0.2.9").ok()));
        assert!(held.iter().all(Option::is_some), "others, and those with a realm of their own");
        held.remove(1);
        held.push(admit(0, "192.0.2.1").ok());
        assert!(held.iter().all(Option::is_some), "one has left");

        assert_eq!(admit(0, "192.0.2.1").err(), Some(Refusal::Crowded));
        tally.clear(0);
        assert!(admit(1, "192.0.2.1").is_ok(), "those of a dead worker are gone");
    }

    #[test]
    fn a_client_of_ipv6_is_a_network() {
        let [gate, _] = gates(&limits("0.0.0.0|0:2"), &Arc::new(Tally::new().unwrap()));
        let admit = |client: &str| gate.admit(client.parse().unwrap(), Service::Imap);
        let _held = [admit("2001:db8:0:1::1"), admit("2001:db8:0:1:8000::")];
        assert_eq!(admit("2001:db8:0:1::3").err(), Some(Refusal::Crowded));
        assert!(admit("2001:db8:0:2::1").is_ok());
    }

    #[test]
    fn more_clients_than_there_is_room_for_are_let_in() {
        let tally = Arc::new(Tally::new().unwrap());
        let [gate, _] = gates(&limits("0.0.0.0|0:1"), &tally);
        let client = |number: u32| IpAddr::from(number.to_be_bytes());
        let count = 2 * (SETS * WAYS) as u32;
        let held: Vec<_> = (0..count).flat_map(|number| gate.admit(client(number), Service::Imap)).collect();
        assert_eq!(held.len(), count as usize);
        drop(held);
        assert_eq!((0..count).map(|number| tally.total(key(client(number)))).sum::<u64>(), 0);
    }

    #[test]
    fn a_filter_comes_first_and_counts_nobody() {
        let mut access = limits("0.0.0.0|0:1");
        access.filters.deny = FilterList::parse("ALL: 192.0.2.").unwrap();
        let tally = Arc::new(Tally::new().unwrap());
        let [gate, _] = gates(&access, &tally);
        let client: IpAddr = [192, 0, 2, 1].into();
        assert_eq!(gate.admit(client, Service::Imap).err(), Some(Refusal::Filtered));
        assert_eq!(tally.total(key(client)), 0);
        gate.configure(Access::default());
        assert!(gate.admit(client, Service::Imap).is_ok());
    }
}
