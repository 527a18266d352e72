//! The master and its workers from outside: start, spread, limits, death of a worker, refresh, end.

mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use heliograph::worker::{Counter, Snapshot};

use common::client::Client;
use common::server::{Options, Server};
use common::wire::Received;

/// How long the server may take to come to an end (issue: 5 s), with some room for a loaded machine.
const END: Duration = Duration::from_secs(8);

/// How long to wait for something that happens by itself.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn sessions_spread_over_the_workers() {
    let server = Server::start(Options::default());
    // The first sessions may come before the last worker does.
    eventually("30 sessions are spread over three processes", || {
        let sessions: Vec<Client> = (0..30).map(|_| server.login("ada")).collect();
        let shares = workers(&server);
        drop(sessions);
        shares.iter().filter(|(_, sessions)| *sessions >= 4).count() >= 3
    });
}

#[test]
fn a_full_server_says_so_and_recovers() {
    let options =
        Options::default().set("service.imap.numprocesses", "2").set("service.imap.maxsessions", "3");
    let server = Server::start(options);
    let mut sessions: Vec<Client> = (0..6).map(|_| server.login("ada")).collect();
    let refused = server.connect();
    assert!(refused.greeting.starts_with("* BYE [UNAVAILABLE]"), "the seventh is told {}", refused.greeting);
    for session in &mut sessions {
        session.ok("NOOP");
    }
    sessions.pop().expect("a session").ok("LOGOUT");
    eventually("there is room again", || server.connect().greeting.starts_with("* OK"));
}

#[test]
fn a_worker_that_dies_is_replaced_and_others_go_on() {
    let server = Server::start(Options::default());
    let mut sessions: Vec<Client> = (0..12).map(|_| server.login("ada")).collect();
    let before = server.children();
    let (victim, _) = workers(&server).into_iter().max_by_key(|(_, sessions)| *sessions).expect("a worker");
    kill(victim, Signal::SIGKILL).expect("kill a worker");
    eventually("the worker is replaced", || {
        let now = server.children();
        now.len() == before.len() && !now.contains(&victim)
    });
    let living = sessions.iter_mut().filter_map(|session| session.try_command("NOOP")).count();
    assert!((1..12).contains(&living), "{living} of 12 sessions live after one of three workers died");
    for _ in 0..6 {
        server.login("ada").ok("SELECT INBOX");
    }
}

#[test]
fn sigterm_says_goodbye_and_keeps_what_was_acknowledged() {
    let mut server = Server::start(Options::default());
    let mut idle = server.login("ada");
    idle.ok("SELECT INBOX");
    let tag = idle.start("IDLE");
    assert!(matches!(idle.wire().receive(), Received::Response(line) if line.starts_with(b"+")), "{tag}");
    let mut fresh = server.connect();
    let mut writer = server.login("ada");
    writer.ok("CREATE box");
    let reply = writer.append("box", b"Subject: kept\r\n\r\nkept\r\n").expect("an answer");
    assert!(reply.status.starts_with("OK"), "{}", reply.status);

    server.signal(Signal::SIGTERM);
    for client in [&mut idle, &mut fresh, &mut writer] {
        let goodbye = last_response(client);
        assert!(goodbye.starts_with("* BYE"), "the last words were {goodbye}");
    }
    let status = server.wait(END).expect("the server ends");
    assert!(status.success(), "the server ended with {status}");

    server.restart();
    assert_eq!(server.login("ada").bodies("box").len(), 1);
}

#[test]
fn a_flood_of_unread_output_does_not_delay_the_end() {
    let mut server = Server::start(Options::default());
    let mut client = server.login("ada");
    client
        .append("INBOX", &[b"Subject: x\r\n\r\n".as_slice(), &[b'x'; 1 << 20]].concat())
        .expect("an answer");
    client.ok("SELECT INBOX");
    for _ in 0..50 {
        client.start("FETCH 1 BODY.PEEK[]");
    }
    server.signal(Signal::SIGTERM);
    assert!(server.wait(END).is_some(), "the server waits for a client that does not read");
}

#[test]
fn sighup_and_sigusr1_disturb_nobody() {
    let server = Server::start(Options::default());
    let mut client = server.login("ada");
    for signal in [Signal::SIGHUP, Signal::SIGUSR1] {
        server.signal(signal);
        std::thread::sleep(Duration::from_millis(200));
        client.ok("NOOP");
        server.login("ada").ok("SELECT INBOX");
    }
}

#[test]
fn a_second_master_is_refused() {
    let server = Server::start(Options::default());
    let dir = server.dir();
    let output = serve(&["--base", dir.to_str().expect("a plain name")]);
    assert!(!output.0, "a second master started on the same base");
    assert!(
        output.1.contains(&server.pid().to_string()),
        "the refusal does not name the master: {}",
        output.1
    );
    server.login("ada").ok("NOOP");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let dir = tempfile::tempdir().expect("make a temporary directory");
    let base = dir.path().join("base");
    let base = base.to_str().expect("a plain name");
    let port_option = format!("service.imap.port={port}");
    common::server::heliograph(&[
        "init",
        "--set",
        "service.listenaddr=127.0.0.1",
        "--set",
        &port_option,
        base,
    ]);
    let (started, message) = serve(&["--base", base]);
    assert!(!started && message.contains(&port), "started: {started}, said: {message}");
}

#[test]
fn a_missing_base_is_named() {
    let (started, message) = serve(&["--base", "/nonexistent/msg-svr-base"]);
    assert!(!started && message.contains("/nonexistent/msg-svr-base"), "started: {started}, said: {message}");
}

#[test]
fn a_silent_client_is_sent_away() {
    let server = Server::start(Options::default().set("service.imap.logintimeout", "5"));
    let mut silent = server.connect();
    let mut working = server.login("ada");
    assert!(last_response(&mut silent).starts_with("* BYE"), "a client that does not log in hears BYE");
    working.ok("NOOP");
}

/// Runs `serve` where it should fail at once: whether it succeeded, and what it said.
fn serve(args: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heliograph"));
    let child =
        command.args(args).arg("serve").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("start heliograph");
    let deadline = Instant::now() + SOON;
    while child.try_wait().expect("wait for heliograph").is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = kill(Pid::from_raw(i32::try_from(child.id()).expect("a process id")), Signal::SIGTERM);
    let output = child.wait_with_output().expect("read what heliograph said");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Reads to the end of the connection.
fn last_response(client: &mut Client) -> String {
    let mut last = String::new();
    while let Received::Response(line) = client.wire().receive() {
        last = String::from_utf8_lossy(&line).into_owned();
    }
    last
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen that {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The workers' processes, and how many sessions each has.
fn workers(server: &Server) -> Vec<(Pid, u64)> {
    let board = Snapshot::read(&server.dir().join("data/proc")).expect("the scoreboard");
    let pid = |worker| Pid::from_raw(i32::try_from(board.value(worker, Counter::Pid)).expect("a process id"));
    board.living().map(|worker| (pid(worker), board.value(worker, Counter::Sessions))).collect()
}
