//! Many sessions over several workers against a reference kept in memory: every response that a client sees is judged by
//! what RFC 9051, RFC 3501, RFC 7162 and RFC 2180 allow.
//!
//! Each case has a user of its own. A failure is shrunk and printed as a dialogue. `HELIOGRAPH_MODEL_SECONDS` says how long
//! to go on, `HELIOGRAPH_MODEL_SEED` where to begin.

mod common;
#[path = "model/mod.rs"]
mod model;

use std::cell::Cell;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use common::server::{Options, Server, heliograph};
use model::case::Case;
use model::crowd;
use model::op::{Kind, Op, SESSIONS, case, kind};

/// How long each test goes on unless told otherwise.
const SECONDS: u64 = 12;

/// Most operations of a case.
const LENGTH: usize = 60;

/// Users that are made at once.
const BATCH: usize = 500;

/// [`common::server::PASSWORD`] under a scheme that costs nothing.
const HASH: &str = "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0";

/// A server with a new user for every case.
struct Users {
    server: Server,
    used: Cell<usize>,
}

impl Users {
    fn new() -> Self {
        Users { server: Server::start(Options::default()), used: Cell::new(0) }
    }

    fn next(&self) -> String {
        let number = self.used.replace(self.used.get() + 1);
        if number.is_multiple_of(BATCH) {
            let lines: String = (number..number + BATCH).map(|n| format!("case{n}:{HASH}\n")).collect();
            let file = self.server.dir().with_file_name("cases");
            std::fs::write(&file, lines).expect("write the list of users");
            let base = self.server.dir();
            let path = |path: &std::path::Path| path.to_str().expect("a plain path").to_owned();
            heliograph(&["--base", &path(&base), "user", "import", &path(&file)]);
        }
        format!("case{number}")
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases: 1, failure_persistence: None, max_shrink_iters: 600, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Plays a case to its end; an error comes with the whole dialogue.
fn play(users: &Users, kinds: [Kind; SESSIONS], ops: &[Op]) -> Result<(), String> {
    let mut case = Case::new(&users.server, &users.next(), kinds)?;
    let result = ops.iter().try_for_each(|op| case.perform(op)).and_then(|()| case.finish());
    result.map_err(|error| format!("{}\n{error}", case.dialogue.join("\n")))
}

#[test]
fn one_command_at_a_time() {
    let users = Users::new();
    let seconds = from_environment("HELIOGRAPH_MODEL_SECONDS").unwrap_or(SECONDS);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seed = from_environment("HELIOGRAPH_MODEL_SEED").unwrap_or(0);
    let (mut cases, operations) = (0, Cell::new(0));
    while Instant::now() < end {
        let strategy = (prop::array::uniform5(kind()), case(LENGTH));
        let result = runner(seed).run(&strategy, |(kinds, ops)| {
            operations.set(operations.get() + ops.len());
            play(&users, kinds, &ops).map_err(TestCaseError::fail)
        });
        if let Err(TestError::Fail(reason, _)) = result {
            panic!("seed {seed}, after {cases} cases:\n{reason}");
        }
        seed += 1;
        cases += 1;
    }
    println!("{cases} cases, {} operations", operations.get());
}

#[test]
fn all_commands_at_once() {
    let users = Users::new();
    let seconds = from_environment("HELIOGRAPH_MODEL_SECONDS").unwrap_or(SECONDS);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seed = from_environment("HELIOGRAPH_MODEL_SEED").unwrap_or(0);
    let (mut cases, operations) = (0, Cell::new(0));
    while Instant::now() < end {
        let strategy = (prop::array::uniform5(kind()), case(4 * LENGTH));
        let result = runner(seed).run(&strategy, |(kinds, ops)| {
            operations.set(operations.get() + ops.len());
            crowd::play(&users.server, &users.next(), kinds, &ops).map_err(TestCaseError::fail)
        });
        if let Err(TestError::Fail(reason, _)) = result {
            panic!("seed {seed}, after {cases} cases:\n{reason}");
        }
        seed += 1;
        cases += 1;
    }
    println!("{cases} cases, {} operations", operations.get());
}
