//! Workers are killed again and again while clients append: what was acknowledged is there, once and unchanged, and
//! nothing is there in part.

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use common::client::Client;
use common::server::{Options, PASSWORD, Server};

/// How long the clients append.
const DURATION: Duration = Duration::from_secs(15);

/// Time between two kills.
const INTERVAL: Duration = Duration::from_millis(500);

/// Two clients share each of these users, so that processes compete for one log.
const USERS: [&str; 4] = ["ada", "bob", "carol", "dan"];

/// One client's account of what it sent: message by id, and whether the server acknowledged it.
type Sent = HashMap<String, (Vec<u8>, bool)>;

#[test]
fn killing_workers_loses_nothing_that_was_acknowledged() {
    let mut server = Server::start(Options::default().users(USERS[1..].to_vec()));
    let over = AtomicBool::new(false);
    let (sent, kills) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| kill_workers(&server, &over));
        let clients: Vec<_> = (0..2 * USERS.len())
            .map(|number| {
                let server = &server;
                scope.spawn(move || (USERS[number % USERS.len()], append(server, number)))
            })
            .collect();
        let sent: Vec<_> = clients.into_iter().map(|client| client.join().expect("a client")).collect();
        over.store(true, Ordering::Relaxed);
        (sent, killer.join().expect("the killer"))
    });
    assert!(kills > 10, "only {kills} workers were there to kill");

    check(&server, &sent);
    server.restart();
    check(&server, &sent);
}

/// Kills one worker after the other and counts them. The auth process is let alone.
fn kill_workers(server: &Server, over: &AtomicBool) -> usize {
    let mut kills = 0;
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(INTERVAL);
        let mut workers: Vec<Pid> = server.children().into_iter().filter(|&pid| !is_auth(pid)).collect();
        workers.sort();
        if let Some(&worker) = workers.get(kills % workers.len().max(1)) {
            kills += usize::from(kill(worker, Signal::SIGKILL).is_ok());
        }
    }
    kills
}

fn is_auth(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.contains("auth"))
}

/// Appends message after message, each with an id of its own, and connects again when the connection is lost.
fn append(server: &Server, number: usize) -> Sent {
    let mut sent = Sent::new();
    let mut client = None;
    let end = Instant::now() + DURATION;
    while Instant::now() < end {
        let Some(connected) = client.take().or_else(|| connect(server, USERS[number % USERS.len()])) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let mut connected: Client = connected;
        let id = format!("c{number}-{}", sent.len());
        let message = message(&id, sent.len());
        let reply = connected.append("INBOX", &message);
        let acknowledged = reply.as_ref().is_some_and(|reply| reply.status.starts_with("OK"));
        sent.insert(id, (message, acknowledged));
        client = reply.map(|_| connected);
    }
    sent
}

fn connect(server: &Server, user: &str) -> Option<Client> {
    let mut client = Client::try_connect(server.addr())?;
    let reply = client.try_command(format!("LOGIN {user} {PASSWORD}"))?;
    reply.status.starts_with("OK").then_some(client)
}

/// A message whose size differs from its neighbours'; some are large.
fn message(id: &str, count: usize) -> Vec<u8> {
    let lines = if count % 37 == 36 { 4000 } else { count % 50 };
    let body: String = (0..lines).map(|line| format!("{id} line {line}\r\n")).collect();
    format!("Message-ID: <{id}>\r\nSubject: {id}\r\n\r\n{body}end of {id}\r\n").into_bytes()
}

fn check(server: &Server, sent: &[(&str, Sent)]) {
    let mut acknowledged = 0;
    for user in USERS {
        let mut stored: HashMap<String, Vec<u8>> = HashMap::new();
        for (uid, body) in server.login(user).bodies("INBOX") {
            let id = id_of(&body);
            assert!(
                stored.insert(id.clone(), body).is_none(),
                "{user}: {id} is there twice, the second as UID {uid}"
            );
        }
        let mut all = Sent::new();
        for (_, sent) in sent.iter().filter(|(owner, _)| *owner == user) {
            all.extend(sent.clone());
        }
        for (id, body) in &stored {
            let (message, _) = all.get(id).unwrap_or_else(|| panic!("{user}: nobody sent {id}"));
            assert!(message == body, "{user}: {id} is there, but not as it was sent");
        }
        for (id, (_, answered)) in &all {
            assert!(!answered || stored.contains_key(id), "{user}: {id} was acknowledged and is gone");
            acknowledged += usize::from(*answered);
        }
    }
    assert!(acknowledged > 100, "only {acknowledged} messages were acknowledged");
}

fn id_of(message: &[u8]) -> String {
    let line = message.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    line.trim_start_matches("Message-ID: <").trim_end_matches('>').to_owned()
}
