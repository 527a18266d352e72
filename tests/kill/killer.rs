//! Kills one process of the server after the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::server::Server;

use super::load::Dice;
use super::place::Place;

/// How long the children of a dead master may live on.
const ORPHANS_TIME: Duration = Duration::from_secs(10);

/// What was killed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kills {
    pub workers: usize,
    pub auth: usize,
    pub others: usize,
    pub masters: usize,
    /// The longest time from a master's death to the next one's first listener.
    pub slowest_start: Duration,
}

impl Kills {
    pub fn total(&self) -> usize {
        self.workers + self.auth + self.others + self.masters
    }
}

/// Kills processes in random order until it is over. A killed master is followed by another on the same base.
pub fn kill_all_sorts(server: &mut Server, place: &Place, over: &AtomicBool, seed: u64) -> Kills {
    let (mut dice, mut kills) = (Dice(seed), Kills::default());
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(200 + dice.below(500) as u64));
        if dice.below(12) == 0 {
            kill_master(server, place, &mut kills);
        } else {
            kill_child(server, &mut dice, &mut kills);
        }
    }
    kills
}

fn kill_child(server: &Server, dice: &mut Dice, kills: &mut Kills) {
    let children = server.children();
    let Some(&child) = children.get(dice.below(children.len())) else { return };
    let name = std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
    if kill(child, Signal::SIGKILL).is_err() {
        return;
    }
    match name.trim() {
        name if name.starts_with("worker") => kills.workers += 1,
        name if name.starts_with("auth") => kills.auth += 1,
        _ => kills.others += 1,
    }
}

/// The children end with their master, and another serves at once.
fn kill_master(server: &mut Server, place: &Place, kills: &mut Kills) {
    let orphans = server.children();
    let start = Instant::now();
    server.signal(Signal::SIGKILL);
    server.revive();
    kills.slowest_start = kills.slowest_start.max(start.elapsed());
    kills.masters += 1;
    place.moved(server.addr());
    for orphan in orphans {
        while is_alive(orphan) {
            assert!(start.elapsed() < ORPHANS_TIME, "process {orphan} outlives its master");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A zombie has ended, too.
fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rfind(')').is_some_and(|at| !stat[at..].starts_with(") Z"))
}
