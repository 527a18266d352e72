//! `reconstruct` beside a running server: damage is named and mended, and sessions go on.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use common::server::{Options, Server};

fn call(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heliograph"));
    let base = server.dir();
    command.env("MSG_SVR_BASE", base).args(arguments).stdin(Stdio::null()).output().expect("run heliograph")
}

fn run(server: &Server, code: i32, arguments: &[&str]) -> String {
    let output = call(server, arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}{output:?}");
    said
}

/// The first segment of a user's log.
fn segment(server: &Server, user: &str) -> PathBuf {
    let mut dirs = vec![server.dir().join("data/store/partition/primary/=user")];
    while let Some(dir) = dirs.pop() {
        if dir.ends_with(format!("={user}")) {
            return dir.join("log/0000000001");
        }
        let entries = fs::read_dir(dir).into_iter().flatten();
        dirs.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    panic!("{user} has no log");
}

fn flip(server: &Server, user: &str, text: &[u8]) {
    use std::os::unix::fs::FileExt;
    let path = segment(server, user);
    let bytes = fs::read(&path).expect("the log");
    let at = bytes.windows(text.len()).position(|window| window == text).expect("it is there");
    let file = fs::File::options().write(true).open(path).expect("the log");
    file.write_all_at(&[bytes[at] ^ 1], at as u64).expect("written");
}

#[test]
fn what_is_damaged_is_named_and_mended_beside_the_server() {
    let mut server = Server::start(Options::default().users(["bob"]));
    let mut ada = server.login("ada");
    let mut bob = server.login("bob");
    for number in 1..=5 {
        let message = format!("Subject: number {number}\r\n\r\nbody of message {number}\r\n");
        ada.append("INBOX", message.as_bytes()).expect("an answer");
        bob.append("INBOX", message.as_bytes()).expect("an answer");
    }
    let clean = run(&server, 0, &["reconstruct", "-n"]);
    assert!(clean.contains("user/ada: 5 messages, whole\n") && clean.contains("2 users, "), "{clean}");

    ada.ok("SELECT INBOX");
    flip(&server, "ada", b"body of message 3");
    let found = run(&server, 1, &["reconstruct", "-n", "-q"]);
    assert!(
        found.contains("Blob record has a wrong checksum") && found.contains("INBOX:3 is lost"),
        "{found}"
    );
    assert!(!found.contains("user/bob"), "{found}");
    let mended = run(&server, 0, &["reconstruct", "user/ada"]);
    assert!(mended.contains("user/ada/INBOX:3: lost\n") && mended.contains("1 user mended"), "{mended}");
    assert!(ada.ok("NOOP").with("EXPUNGE").any(|line| line == b"* 3 EXPUNGE"), "the session hears of it");
    run(&server, 0, &["reconstruct", "-n", "-q"]);

    // The session goes on, and so does another one in another process, and the server after a restart.
    ada.append("INBOX", b"Subject: after\r\n\r\nafter\r\n").expect("an answer");
    ada.ok("NOOP");
    let numbers = |client: &mut common::client::Client| client.bodies("INBOX").len();
    assert_eq!((numbers(&mut ada), numbers(&mut server.login("ada")), numbers(&mut bob)), (5, 5, 5));
    server.restart();
    assert_eq!(numbers(&mut server.login("ada")), 5);
    let aside = fs::read_dir(segment(&server, "ada").parent().expect("log")).expect("log").flatten();
    assert!(aside.into_iter().any(|entry| entry.file_name().to_string_lossy().contains(".damaged-")));

    // A server that refuses to open a user opens it when it is mended.
    server.restart();
    flip(&server, "bob", b"body of message 2");
    assert!(call(&server, &["reconstruct", "-n", "nobody"]).status.code() == Some(1));
    let mut client = server.connect();
    let refused = client.command("LOGIN bob secret");
    run(&server, 0, &["reconstruct", "-q", "bob"]);
    if refused.status.starts_with("NO") {
        client.ok("LOGIN bob secret");
    }
    assert_eq!(numbers(&mut server.login("bob")), 4);
}

#[test]
fn a_user_without_mail_is_named_as_such() {
    let server = Server::start(Options::default());
    let refused = call(&server, &["reconstruct", "nobody-here"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("user nobody-here has no mail here"));
    assert!(refused.stdout.is_empty());
}
