//! Workers, the auth process, the event service and the master are killed in random order under a mixed load: what was
//! acknowledged is there, once and unchanged; what was cut off has happened as a whole or not at all; nobody waits for
//! the dead.
//!
//! `contrib/soak/run` sets the variables: `HELIOGRAPH_SOAK_SECONDS`, `HELIOGRAPH_SOAK_SEED`, `HELIOGRAPH_SOAK_CLIENTS`.

mod common;
#[path = "kill/killer.rs"]
mod killer;
#[path = "kill/load.rs"]
mod load;
#[path = "kill/place.rs"]
mod place;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::server::{Options, Server};
use killer::{Kills, kill_all_sorts};
use load::{Done, Load};
use place::Place;

/// How long, unless told otherwise.
const SECONDS: u64 = 60;

/// How many clients, unless told otherwise.
const CLIENTS: usize = 8;

/// Each user has two clients or more, so that processes compete for one log.
const USERS: [&str; 4] = ["ada", "bob", "carol", "dan"];

#[test]
fn killing_any_process_loses_nothing_that_was_acknowledged() {
    let seconds = from_environment("HELIOGRAPH_SOAK_SECONDS").unwrap_or(SECONDS);
    let seed = from_environment("HELIOGRAPH_SOAK_SEED").unwrap_or(1);
    let clients = from_environment("HELIOGRAPH_SOAK_CLIENTS").map_or(CLIENTS, |count| count as usize);
    // What is expunged is compacted away at once.
    let options = Options::default().set("store.cleanupage", "0").users(USERS[1..].to_vec());
    let mut server = Server::start(options);
    let place = Place::new(server.addr());
    let mut loads: Vec<Load<'_>> =
        (0..clients).map(|number| Load::new(&place, USERS[number % USERS.len()], number, seed)).collect();
    loads.iter_mut().for_each(Load::prepare);

    let kills = soak(&mut server, &place, &mut loads, Duration::from_secs(seconds), seed);
    loads.iter_mut().for_each(Load::check);
    server.restart();
    place.moved(server.addr());
    loads.iter_mut().for_each(Load::check);

    let done: Vec<Done> = loads.iter().map(|load| load.done).collect();
    report(seed, &kills, &done);
    assert!(kills.workers > 0 && kills.auth > 0, "{kills:?}: too short to kill all sorts of processes");
    assert!(done.iter().all(|done| done.acknowledged > 0), "a client was never served");
}

/// Clients work and processes die until the time is over.
fn soak(server: &mut Server, place: &Place, loads: &mut [Load<'_>], time: Duration, seed: u64) -> Kills {
    let over = AtomicBool::new(false);
    let end = Instant::now() + time;
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| kill_all_sorts(server, place, &over, seed));
        let workers: Vec<_> = loads.iter_mut().map(|load| scope.spawn(move || load.work(end))).collect();
        let results: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        let kills = killer.join().expect("the killer");
        results.into_iter().for_each(|result| result.expect("a client"));
        kills
    })
}

fn report(seed: u64, kills: &Kills, done: &[Done]) {
    let sum = |of: fn(&Done) -> usize| done.iter().map(of).sum::<usize>();
    let slowest = done.iter().map(|done| done.slowest).max().unwrap_or_default();
    println!(
        "seed {seed}: {} kills survived ({} workers, {} auth, {} other, {} masters; a new master serves after {:?} at most)",
        kills.total(),
        kills.workers,
        kills.auth,
        kills.others,
        kills.masters,
        kills.slowest_start
    );
    println!(
        "{} commands acknowledged and checked, {} connections cut off, {} of their commands had happened; \
         the slowest answer took {slowest:?}",
        sum(|done| done.acknowledged),
        sum(|done| done.broken),
        sum(|done| done.unheard)
    );
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
