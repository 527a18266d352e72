//! The space of expunged messages comes back while sessions go on, and `mboxutil` brings messages back before that.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::client::Client;
use common::server::{Options, Server, heliograph};
use common::wire::Received;

fn store(server: &Server) -> PathBuf {
    server.dir().join("data/store/partition/primary/=user")
}

/// Bytes of all files beneath a directory; files that go meanwhile count nothing.
fn used(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => used(&entry.path()),
            _ => entry.metadata().map_or(0, |found| found.len()),
        })
        .sum()
}

fn mboxutil(server: &Server, arguments: &[&str]) -> String {
    let dir = server.dir();
    let base = ["--base", dir.to_str().expect("a plain path"), "mboxutil"];
    heliograph(&[&base[..], arguments].concat())
}

fn message(number: usize, lines: usize) -> Vec<u8> {
    let head = format!("From: ada@example.com\r\nSubject: number {number}\r\n\r\n");
    [head.into_bytes(), b"one more line of a message that takes room\r\n".repeat(lines)].concat()
}

fn fill(client: &mut Client, mailbox: &str, count: usize, lines: usize) {
    for number in 1..=count {
        let reply = client.append(mailbox, &message(number, lines)).expect("an answer");
        assert!(reply.status.starts_with("OK"), "{}", reply.status);
    }
}

#[test]
fn sessions_go_on_while_room_is_made() {
    let options = Options::default().set("store.cleanupage", "0").set("store.cleanupinterval", "1");
    let server = Server::start(options);
    let mut writer = server.login("ada");
    fill(&mut writer, "INBOX", 10, 20);
    let (mut idler, mut reader) = (server.login("ada"), server.login("ada"));
    idler.ok("SELECT INBOX");
    let idle = idler.start("IDLE");
    assert!(matches!(idler.wire().receive(), Received::Response(line) if line.starts_with(b"+ ")));
    reader.ok("SELECT INBOX");
    let expected = reader.ok("UID FETCH 1:10 (UID FLAGS BODY.PEEK[] ENVELOPE)").untagged;

    writer.ok("SELECT INBOX");
    let done = AtomicBool::new(false);
    let (slowest, log) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !done.load(Ordering::Relaxed) {
                let began = Instant::now();
                let fetched = reader.ok("UID FETCH 1:10 (UID FLAGS BODY.PEEK[] ENVELOPE)").untagged;
                slowest = slowest.max(began.elapsed());
                let read: Vec<_> =
                    fetched.into_iter().filter(|line| line.windows(4).any(|w| w == b"BODY")).collect();
                assert_eq!(read, expected);
            }
            slowest
        });
        let end = End(&done);
        for round in 0..4 {
            fill(&mut writer, "INBOX", 20, 2000);
            writer.ok("UID STORE 11:* +FLAGS.SILENT (\\Deleted)");
            writer.ok("UID EXPUNGE 11:*");
            wait_until(|| used(&store(&server)) < 500_000, &format!("round {round}"));
        }
        drop(end);
        (reading.join().expect("the reader is content"), server.log())
    });
    log.lines().filter(|line| line.contains("longest_hold_us")).for_each(|line| println!("{line}"));
    println!("slowest FETCH of ten messages meanwhile: {slowest:?}");
    assert!(log.contains("compacted") && log.contains("longest_hold_us="), "{log}");

    idler.wire().send("DONE\r\n");
    let told = idler.reply(&idle).expect("an answer");
    assert!(told.with("EXPUNGE").count() >= 80, "{:?}", told.untagged.len());
    assert_eq!(idler.ok("NOOP").untagged.len(), 0);
    // Whoever comes later, in whatever worker, sees the same.
    for _ in 0..6 {
        assert_eq!(server.login("ada").bodies("INBOX").len(), 10);
    }
}

/// Says that it is over, also when that is because something has failed.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn wait_until(holds: impl Fn() -> bool, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not yet");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn mboxutil_works_beside_a_running_server() {
    let server = Server::start(Options::default());
    let mut client = server.login("ada");
    mboxutil(&server, &["-c", "user/ada/Work", "user/ada/Work/2024"]);
    fill(&mut client, "Work", 3, 2);
    client.ok("SELECT Work");
    client.ok("STORE 2 +FLAGS (\\Flagged \\Deleted $Todo)");
    client.ok("STORE 3 +FLAGS (\\Deleted)");
    client.ok("EXPUNGE");
    let mut idler = server.login("ada");
    idler.ok("SELECT Work");
    let idle = idler.start("IDLE");
    assert!(matches!(idler.wire().receive(), Received::Response(line) if line.starts_with(b"+ ")));

    let said = mboxutil(&server, &["-R", "user/ada/Work"]);
    assert_eq!(said, "user/ada/Work: 2 messages restored\n");
    assert!(matches!(idler.wire().receive(), Received::Response(line) if line == b"* 3 EXISTS"), "at once");
    idler.wire().send("DONE\r\n");
    idler.reply(&idle).expect("an answer");
    let fetched = idler.ok("UID FETCH 4:5 (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])");
    let first = fetched.with("UID 4 ").next().expect("the first").to_vec();
    let first = String::from_utf8_lossy(&first);
    assert!(
        first.contains("$Todo") && first.contains("\\Flagged") && !first.contains("\\Deleted"),
        "{first}"
    );
    assert!(first.contains("number 2"), "{first}");
    assert_eq!(mboxutil(&server, &["-R", "user/ada/Work"]), "user/ada/Work: nothing to restore\n");

    mboxutil(&server, &["-r", "user/ada/Work", "user/ada/Old"]);
    let listed = mboxutil(&server, &["-l", "-s", "-p", "user/ada/*"]);
    assert_eq!(listed, "user/ada/INBOX\nuser/ada/Old\nuser/ada/Old/2024\n");
    mboxutil(&server, &["-d", "user/ada/Old"]);
    assert!(server.login("ada").ok("LIST \"\" *").with("Old\"").next().is_none());
    assert_eq!(
        mboxutil(&server, &["-R", "user/ada"]),
        "user/ada/Old: 3 messages restored, mailbox made anew\n"
    );
    assert_eq!(server.login("ada").bodies("Old").len(), 3);
    let table = mboxutil(&server, &["-l", "-x", "-p", "user/ada/Old"]);
    let row: Vec<&str> = table.lines().last().expect("a row").split_whitespace().collect();
    assert_eq!((row[0], row[2]), ("3", "user/ada/Old"), "{table}");

    for (arguments, complaint) in [
        (&["-c", "user/ada/Old"][..], "mailbox already exists"),
        (&["-c", "user/eve/Work"], "make user/eve/INBOX first"),
        (&["-d", "user/ada/INBOX"], "INBOX cannot be deleted"),
        (&["-d", "user/ada/Nothing"], "no such mailbox"),
        (&["-d", "user/ada"], "is not a mailbox"),
        (&["-r", "user/ada/Old", "user/eve/Old"], "a mailbox stays with its user"),
        (&["-R", "ada"], "is not user/UID/FOLDER"),
        (&["-R", "user/eve"], "no such user's store"),
    ] {
        let output = refused(&server, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(complaint), "{arguments:?}: {said}");
    }
}

fn refused(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heliograph"));
    command.arg("--base").arg(server.dir()).arg("mboxutil").args(arguments);
    command.output().expect("run heliograph")
}
