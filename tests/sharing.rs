//! Many users write at once: their syncs share a journal, and a worker that dies in the middle of it loses nothing that
//! was acknowledged.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::client::Client;
use common::server::{Options, PASSWORD, Server};
use nix::sys::signal::{Signal, kill};

const USERS: usize = 32;
/// Messages of each user.
const MESSAGES: usize = 40;

#[test]
fn a_worker_that_dies_while_many_write_loses_nothing_that_was_acknowledged() {
    let users = (0..USERS).map(name);
    let mut server = Server::start(Options::default().set("service.imap.numprocesses", "2").users(users));
    let acknowledged: Vec<Mutex<Vec<usize>>> = (0..USERS).map(|_| Mutex::default()).collect();
    let count = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for (user, acknowledged) in acknowledged.iter().enumerate() {
            let (server, count) = (&server, &count);
            scope.spawn(move || {
                for n in append_all(server, user) {
                    acknowledged.lock().unwrap().push(n);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for share in 1..=3 {
            while count.load(Ordering::Relaxed) < share * USERS * MESSAGES / 4 {
                std::thread::sleep(Duration::from_millis(1));
            }
            kill_a_worker(&server);
        }
    });
    let check = |server: &Server| {
        for (user, acknowledged) in acknowledged.iter().enumerate() {
            let there = numbers(server, user);
            let missing: Vec<usize> =
                acknowledged.lock().unwrap().iter().copied().filter(|n| !there.contains(n)).collect();
            assert!(missing.is_empty(), "{} lost {missing:?}", name(user));
            assert!(
                there.windows(2).all(|pair| pair[0] < pair[1]),
                "{} has some twice: {there:?}",
                name(user)
            );
        }
    };
    check(&server);
    server.restart();
    assert_eq!(journals(&server.dir()), [] as [PathBuf; 0], "done with");
}

fn name(user: usize) -> String {
    format!("user{user}")
}

/// Appends all messages of a user one after the other; which were acknowledged. One that was cut off is not tried again.
fn append_all(server: &Server, user: usize) -> impl Iterator<Item = usize> {
    let mut client = None;
    (0..MESSAGES).filter(move |n| {
        let session = client.get_or_insert_with(|| log_in(server, user));
        let message = format!("Subject: number {n}\r\n\r\n{}\r\n", "text ".repeat(200));
        let is_acknowledged =
            session.append("INBOX", message.as_bytes()).is_some_and(|reply| reply.status.starts_with("OK"));
        if !is_acknowledged {
            client = None;
        }
        is_acknowledged
    })
}

/// A worker that has just died takes its sessions along, also those that have not begun.
fn log_in(server: &Server, user: usize) -> Client {
    loop {
        if let Some(mut client) = Client::try_connect(server.addr())
            && client
                .try_command(format!("LOGIN {} {PASSWORD}", name(user)))
                .is_some_and(|reply| reply.status.starts_with("OK"))
        {
            return client;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kill_a_worker(server: &Server) {
    let is_worker = |pid: &nix::unistd::Pid| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("worker"))
    };
    let worker = server.children().into_iter().find(is_worker).expect("a worker");
    kill(worker, Signal::SIGKILL).expect("kill a worker");
}

/// Of the messages in a user's INBOX, in their order.
fn numbers(server: &Server, user: usize) -> Vec<usize> {
    let bodies = log_in(server, user).bodies("INBOX");
    let number = |body: &Vec<u8>| {
        let text = std::str::from_utf8(body).ok()?;
        text.lines().next()?.strip_prefix("Subject: number ")?.parse().ok()
    };
    bodies.values().map(|body| number(body).expect("a message of this test, unchanged")).collect()
}

/// Files of journals beneath a base.
fn journals(base: &Path) -> Vec<PathBuf> {
    let dir = base.join("data/store/partition/primary/journal");
    let entries = std::fs::read_dir(dir).map(|entries| entries.flatten().map(|entry| entry.path()).collect());
    let mut paths: Vec<PathBuf> = entries.unwrap_or_default();
    paths.retain(|path| !path.ends_with("lock"));
    paths
}
