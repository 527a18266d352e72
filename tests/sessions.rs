//! `imsconnutil` and `counterutil` against a server with several workers.

mod common;

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use common::client::Client;
use common::server::{Options, Server};
use common::wire::Received;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn sessions_of_all_workers_are_listed() {
    let server = Server::start(Options::default().users(["grace"]));
    let mut sessions: Vec<Client> = (0..12).map(|_| server.login("ada")).collect();
    sessions.push(server.login("grace"));
    sessions[12].ok("SELECT INBOX");
    let _stranger = server.connect();
    let listed = run(&server, &["imsconnutil", "-c"]);
    let lines = |name: &str| listed.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!([lines("ada "), lines("grace "), lines("(not logged in)")], [12, 1, 1], "{listed}");
    assert!(listed.ends_with("14 connections, 2 users\n"), "{listed}");
    let grace = run(&server, &["imsconnutil", "-c", "-u", "grace"]);
    assert!(grace.contains("127.0.0.1:") && grace.ends_with("1 connections, 1 users\n"), "{grace}");
}

#[test]
fn sessions_of_a_user_are_ended_with_a_goodbye() {
    let server = Server::start(Options::default().users(["grace"]));
    let mut ada: Vec<Client> = (0..6).map(|_| server.login("ada")).collect();
    ada[0].ok("SELECT INBOX");
    ada[0].start("IDLE");
    assert!(matches!(ada[0].wire().receive(), Received::Response(line) if line.starts_with(b"+")));
    let mut grace = server.login("grace");
    assert_eq!(run(&server, &["imsconnutil", "-k", "-u", "ada"]), "ada: 6 sessions ended\n");
    for client in &mut ada {
        assert_eq!(
            client.wire().receive(),
            Received::Response(b"* BYE session was ended by an administrator".to_vec())
        );
        assert_eq!(client.wire().receive(), Received::Closed);
    }
    grace.ok("NOOP");
    eventually("nobody is left to end", || {
        run(&server, &["imsconnutil", "-k", "-u", "ada"]) == "ada: 0 sessions ended\n"
    });
    server.login("ada").ok("NOOP");
}

#[test]
fn who_was_connected_last_is_known_without_a_server() {
    let mut server = Server::start(Options::default().users(["grace", "linus"]));
    let connected = |server: &Server, user: &str| {
        let listed = run(server, &["imsconnutil", "-a", "-u", user]);
        let line = listed.lines().nth(1).unwrap_or_default().to_owned();
        line.strip_prefix(user).unwrap_or_else(|| panic!("{listed}")).trim().to_owned()
    };
    let mut session = server.login("ada");
    let before = connected(&server, "ada");
    assert!(before.starts_with("20") && before.ends_with('Z'), "{before}");
    assert_eq!(connected(&server, "grace"), "never");
    std::thread::sleep(Duration::from_millis(1100));
    session.ok("LOGOUT");
    eventually("the end of a session counts, too", || connected(&server, "ada") > before);

    run(&server, &["configutil", "-o", "local.enablelastaccess", "-v", "no"]);
    let refused = call(&server, &["imsconnutil", "-a"]);
    assert!(text(&refused.stderr).contains("local.enablelastaccess is off"));
    run(&server, &["refresh"]);
    server.login("linus").ok("LOGOUT");
    run(&server, &["configutil", "-o", "local.enablelastaccess", "-d"]);
    server.signal(Signal::SIGTERM);
    assert!(server.wait(SOON).is_some());
    let listed = run(&server, &["imsconnutil", "-a"]);
    let names: Vec<_> = listed.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["ada", "grace", "linus"], "{listed}");
    assert_eq!(connected(&server, "linus"), "never", "it was not to be recorded");
}

#[test]
fn an_administrator_may_not_want_lists() {
    let server = Server::start(Options::default());
    run(&server, &["configutil", "-o", "local.imap.enableuserlist", "-v", "no"]);
    let refused = call(&server, &["imsconnutil", "-c"]);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("local.imap.enableuserlist is off"));
    assert_eq!(call(&server, &["imsconnutil"]).status.code(), Some(2), "nothing to do");
    assert_eq!(call(&server, &["imsconnutil", "-k"]).status.code(), Some(2), "whom?");
}

#[test]
fn counters_count() {
    let server = Server::start(Options::default().set("service.imap.maxsessions", "2"));
    let mut sessions: Vec<Client> = (0..5).map(|_| server.login("ada")).collect();
    counter(&server, "numCurrentConnections", "5");
    sessions.push(server.connect());
    sessions[5].no("LOGIN ada wrong");
    assert!(server.connect().greeting.starts_with("* BYE"));
    for (name, value) in [
        ("numCurrentConnections", "6"),
        ("numConnections", "6"),
        ("numFailedConnections", "1"),
        ("numGoodLogins", "5"),
        ("numFailedLogins", "1"),
        ("maxConnections", "6"),
    ] {
        counter(&server, name, value);
    }
    drop(sessions);
    counter(&server, "numCurrentConnections", "0");
    let printed = run(&server, &["counterutil"]);
    for expected in
        ["global.currentStartTime: 20", "global.lastConnectionTime: 20", "worker.2.maxConnections: 2"]
    {
        assert!(printed.contains(expected), "{expected} is not in {printed}");
    }
    let twice = run(&server, &["counterutil", "-o", "imapstat", "-i", "1", "-n", "2"]);
    assert_eq!(twice.matches("global.numConnections: 6").count(), 2);
    assert_eq!(run(&server, &["counterutil", "-l"]), "imapstat\n");
    assert!(text(&call(&server, &["counterutil", "-o", "popstat"]).stderr).contains("there is imapstat"));
}

/// Waits until a counter has this value.
fn counter(server: &Server, name: &str, value: &str) {
    let line = format!("global.{name}: {value}\n");
    eventually(&line, || run(server, &["counterutil"]).contains(&line));
}

fn call(server: &Server, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heliograph"));
    command.arg("--base").arg(server.dir()).args(args).stdin(Stdio::null());
    command.output().expect("run heliograph")
}

fn run(server: &Server, args: &[&str]) -> String {
    let output = call(server, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen that {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
