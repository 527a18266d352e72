//! The Event Notification Service, with the real program: who hears what, who is refused, and what happens when
//! somebody dies or does not read.

mod common;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use common::client::Client;
use common::server::{Options, Server, free_port};
use common::wire::Received;

const SOON: Duration = Duration::from_secs(20);

/// `heliograph enscat`, following. It ends when this is dropped.
struct Follower {
    child: Child,
    lines: Receiver<String>,
    /// What it says about itself.
    notes: Receiver<String>,
}

impl Follower {
    /// Starts it and waits until nothing is missed any more.
    fn start(dir: &Path, arguments: &[&str]) -> Follower {
        let follower = Follower::spawn(dir, arguments);
        let note = follower.notes.recv_timeout(SOON).expect("enscat says that it follows");
        assert!(note.contains("following"), "enscat said {note}");
        follower
    }

    fn spawn(dir: &Path, arguments: &[&str]) -> Follower {
        let mut child = Command::new(env!("CARGO_BIN_EXE_heliograph"))
            .args(["--base", dir.to_str().expect("a plain name"), "enscat"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start enscat");
        let lines = lines_of(child.stdout.take().expect("its output"));
        let notes = lines_of(child.stderr.take().expect("its errors"));
        Follower { child, lines, notes }
    }

    /// Reads events until all of these words stand in one of them.
    fn expect(&self, words: &[&str]) -> String {
        let mut passed = Vec::new();
        let deadline = Instant::now() + SOON;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if words.iter().all(|word| line.split(' ').any(|part| part == *word)) {
                return line;
            }
            passed.push(line);
        }
        panic!("no event with {words:?}; these came:\n{}", passed.join("\n"));
    }

    /// The events that have come, by their types, up to a Logout.
    fn types_until_logout(&self) -> Vec<String> {
        let mut types = Vec::new();
        loop {
            let line = self.lines.recv_timeout(SOON).expect("an event");
            let kind = line.split(' ').next().unwrap_or_default().to_owned();
            if kind == "Logout" {
                return types;
            }
            types.push(kind);
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn with_ens_port(options: Options, port: u16) -> Options {
    let port = port.to_string();
    options.set("local.ens.port", &port).set("local.store.notifyplugin.ensport", &port)
}

fn message(number: usize) -> Vec<u8> {
    format!("From: ada@example.org\r\nSubject: number {number}\r\n\r\nhello {number}\r\n").into_bytes()
}

fn append(client: &mut Client, mailbox: &str, number: usize) {
    let reply = client.append(mailbox, &message(number)).expect("an answer");
    assert!(reply.status.starts_with("OK"), "{}", reply.status);
}

/// The process of the server whose name is `enpd`.
fn enpd(server: &Server) -> Option<Pid> {
    let name = |pid: &Pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    server.children().into_iter().find(|pid| name(pid).trim() == "enpd")
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen that {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_change_is_an_event() {
    let server = Server::start(Options::default().set("local.store.notifyplugin.msgflags.enable", "1"));
    let follower = Follower::start(&server.dir(), &[]);
    let mut ada = server.login("ada");
    follower.expect(&["Login", "mailboxName=ada", "userid=ada", "client=127.0.0.1", "process=imapd"]);
    append(&mut ada, "INBOX", 1);
    follower.expect(&["UpdateMsg", "mailboxName=ada", "imapUid=1", "numMsgs=1", "numSeen=0", "hdrLen=44"]);
    ada.ok("CREATE \"Old mail\"");
    follower.expect(&["CreateFolder", "mailboxName=\"ada/Old", "mail\""]);
    ada.ok("SELECT INBOX");
    ada.ok("COPY 1 \"Old mail\"");
    follower.expect(&["UpdateMsg", "mailboxName=\"ada/Old", "imapUid=1", "numMsgs=1"]);
    ada.ok("STORE 1 +FLAGS (\\Seen)");
    follower.expect(&["ReadMsg", "mailboxName=ada", "numMsgs=1", "numSeen=1", "userid=ada"]);
    follower.expect(&["MsgFlags", "imapUid=1", "newflags=\"", "S", "oldflags=\""]);
    ada.ok("STORE 1 +FLAGS (\\Deleted)");
    follower.expect(&["TrashMsg", "mailboxName=ada", "numDeleted=1", "numSeen=1"]);
    ada.ok("EXPUNGE");
    follower.expect(&["DeleteMsg", "mailboxName=ada", "imapUid=1", "lastUid=1", "numMsgs=0"]);
    ada.ok("RENAME \"Old mail\" new");
    follower.expect(&["RenameFolder", "mailboxName=ada/new", "oldMailboxName=\"ada/Old"]);
    ada.ok("SELECT new");
    ada.ok("MOVE 1 INBOX");
    follower.expect(&["UpdateMsg", "mailboxName=ada", "imapUid=2"]);
    follower.expect(&["DeleteMsg", "mailboxName=ada/new", "imapUid=1"]);
    ada.ok("UNSELECT");
    ada.ok("DELETE new");
    follower.expect(&["DeleteFolder", "mailboxName=ada/new"]);
    ada.ok("LOGOUT");
    follower.expect(&["Logout", "mailboxName=ada"]);
}

#[test]
fn a_reference_chooses_and_switches_silence() {
    let options = Options::default()
        .users(["eve"])
        .set("local.store.notifyplugin.readmsg.enable", "0")
        .set("local.store.notifyplugin.maxheadersize", "20");
    let server = Server::start(options);
    let eve = Follower::start(&server.dir(), &["enp://127.0.0.1/store/eve"]);
    let trash = Follower::start(
        &server.dir(),
        &[
            "--json",
            "enp://127.0.0.1/store?evtType=TrashMsg&mailboxName=eve",
            "enp://127.0.0.1/store/eve?imapUid=1",
        ],
    );
    for user in ["ada", "eve"] {
        let mut client = server.login(user);
        append(&mut client, "INBOX", 1);
        client.ok("SELECT INBOX");
        client.ok("STORE 1 +FLAGS (\\Seen \\Deleted)");
        client.ok("LOGOUT");
    }
    assert_eq!(eve.types_until_logout(), ["Login", "UpdateMsg", "|", "TrashMsg"], "ReadMsg is switched off");
    let lines: Vec<String> = (0..2).map(|_| trash.lines.recv_timeout(SOON).expect("an event")).collect();
    assert!(
        lines[0].contains("\"evtType\":\"UpdateMsg\"") && lines[0].contains("\"imapUid\":1,"),
        "{lines:?}"
    );
    assert!(lines[0].ends_with("\"data\":\"From: ada@example.or\"}"), "{lines:?}");
    assert!(
        lines[1].contains("\"evtType\":\"TrashMsg\"") && lines[1].contains("\"mailboxName\":\"eve\""),
        "{lines:?}"
    );
}

#[test]
fn whom_the_access_list_refuses_is_told_so() {
    let port = free_port();
    let options =
        with_ens_port(Options::default(), port).set("local.ens.access", "+127.0.0.2|255.255.255.255");
    let server = Server::start(options);
    eventually("enpd listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let port = port.to_string();
    let refused = Follower::spawn(&server.dir(), &["--host", "127.0.0.1", "--port", &port]);
    let note = refused.notes.recv_timeout(SOON).expect("enscat says why it ends");
    assert!(note.contains("refused: 127.0.0.1 is not permitted"), "enscat said {note}");
    // The server's own processes come through the Unix socket.
    let own = Follower::start(&server.dir(), &[]);
    server.login("ada").ok("CREATE box");
    own.expect(&["CreateFolder", "mailboxName=ada/box"]);
}

#[test]
fn the_environment_overrides_the_option() {
    let port = free_port();
    let options =
        with_ens_port(Options::default(), port).set("local.ens.access", "-127.0.0.1|255.255.255.255");
    let server = Server::start(options.env("ENS_ACCESS", "+127.0.0.1|255.255.255.255"));
    subscribe_by_hand(([127, 0, 0, 1], port).into());
    drop(server);
}

#[test]
fn a_malformed_access_list_keeps_enpd_away_but_not_mail() {
    let server =
        Server::start(Options::default().env("ENS_ACCESS", "+127.0.0.1|255.255.255.255;10.0.0.1|255.0.0.0"));
    assert!(
        server.log().contains("enpd is not started: ENS_ACCESS: rule 2, position 28: a rule begins with +")
    );
    assert_eq!(enpd(&server), None);
    server.login("ada").ok("SELECT INBOX");
}

#[test]
fn a_slow_subscriber_is_dropped() {
    let port = free_port();
    let options =
        with_ens_port(Options::default(), port).set("local.store.notifyplugin.maxbodysize", "1048576");
    let server = Server::start(options);
    let quick = Follower::start(&server.dir(), &["enp://127.0.0.1/store?evtType=UpdateMsg"]);
    let slow = subscribe_by_hand(([127, 0, 0, 1], port).into());
    let mut ada = server.login("ada");
    let large = [message(1), vec![b'x'; 1 << 20]].concat();
    // More than the queue and what two sockets hold.
    eventually("the slow subscriber is dropped", || {
        ada.append("INBOX", &large).expect("an answer");
        quick.expect(&["UpdateMsg"]);
        server.log().contains("a slow subscriber is dropped")
    });
    drop(slow);
    append(&mut ada, "INBOX", 2);
    quick.expect(&["UpdateMsg", "size=53"]);
}

/// A subscriber that never reads what it asked for.
fn subscribe_by_hand(address: SocketAddr) -> TcpStream {
    let mut stream = None;
    eventually("enpd listens", || {
        stream = try_to_subscribe(address).ok();
        stream.is_some()
    });
    stream.expect("a connection")
}

/// An error where enpd does not listen yet. Something else may: a listener that this process has closed lives on for a
/// moment in a child that another test has just begun to start.
fn try_to_subscribe(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"HELLO 1 0 slow\r\nSUBSCRIBE enp://127.0.0.1/store\r\n")?;
    let mut answer = [0; 15];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"WELCOME 1\r\nOK\r\n");
    Ok(stream)
}

#[test]
fn enpd_is_replaced_and_all_connect_again() {
    let server = Server::start(Options::default());
    let follower = Follower::start(&server.dir(), &[]);
    let mut ada = server.login("ada");
    follower.expect(&["Login"]);
    let former = enpd(&server).expect("enpd runs");
    kill(former, Signal::SIGKILL).expect("kill enpd");
    eventually("enpd is replaced", || enpd(&server).is_some_and(|now| now != former));
    // Mail never waits for enpd.
    append(&mut ada, "INBOX", 1);
    let mut came = Vec::new();
    eventually("events come again", || {
        ada.ok("NOOP");
        append(&mut ada, "INBOX", 2);
        came.extend(follower.lines.try_iter());
        came.iter().any(|line| line.starts_with("UpdateMsg"))
    });
    assert!(came.iter().any(|line| line.starts_with("(events may be missing")), "{came:?}");
    let status = server.children().len();
    assert_eq!(status, 6, "auth, enpd, stored and three workers");
}

#[test]
fn a_port_in_use_keeps_neither_mail_nor_own_events_away() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind a port");
    let port = taken.local_addr().expect("its address").port();
    let server = Server::start(with_ens_port(Options::default(), port));
    let follower = Follower::start(&server.dir(), &[]);
    server.login("ada").ok("CREATE box");
    follower.expect(&["CreateFolder"]);
    assert!(server.log().contains("cannot listen for events"));
    drop(taken);
    subscribe_by_hand(([127, 0, 0, 1], port).into());
}

#[test]
fn idle_on_one_host_needs_no_enpd() {
    let server = Server::start(Options::default().set("local.ens.enable", "0"));
    assert_eq!(enpd(&server), None);
    let mut watcher = server.login("ada");
    watcher.ok("SELECT INBOX");
    let tag = start_idle(&mut watcher);
    append(&mut server.login("ada"), "INBOX", 1);
    assert_eq!(next_line(&mut watcher), "* 1 EXISTS");
    end_idle(&mut watcher, &tag);
}

#[test]
fn idle_hears_what_happens_on_another_host() {
    let port = free_port();
    let store = tempfile::tempdir().expect("make a temporary directory");
    let store = store.path().to_str().expect("a plain name");
    let here = with_ens_port(Options::default(), port).set("store.partition.primary.path", store);
    let here = Server::start(here);
    // The second host has an enpd of its own, and follows the first one's.
    let there = with_ens_port(Options::default(), port)
        .set("service.listenaddr", "127.0.0.2")
        .set("local.ens.listenaddr", "127.0.0.2")
        .set("local.store.notifyplugin.enshost", "127.0.0.1")
        .set("store.partition.primary.path", store);
    let there = Server::start(there);
    for (idling, acting) in [(&here, &there), (&there, &here)] {
        let mut actor = acting.login("ada");
        let mut watcher = idling.login("ada");
        let exists = exists(&watcher.ok("SELECT INBOX").untagged);
        let tag = start_idle(&mut watcher);
        append(&mut actor, "INBOX", 1);
        assert_eq!(next_line(&mut watcher), format!("* {} EXISTS", exists + 1));
        let recent = next_line(&mut watcher);
        assert!(recent.ends_with("RECENT"), "{recent}");
        actor.ok("SELECT INBOX");
        actor.ok(format!("STORE {} +FLAGS (\\Flagged \\Deleted)", exists + 1));
        let flags = next_line(&mut watcher);
        assert!(flags.contains("FETCH") && flags.contains("\\Flagged"), "{flags}");
        actor.ok("EXPUNGE");
        assert_eq!(next_line(&mut watcher), format!("* {} EXPUNGE", exists + 1));
        end_idle(&mut watcher, &tag);
        append(&mut actor, "INBOX", 2);
    }
}

fn exists(untagged: &[Vec<u8>]) -> u32 {
    let texts = untagged.iter().map(|line| String::from_utf8_lossy(line).into_owned());
    let count =
        texts.filter_map(|text| text.strip_suffix(" EXISTS")?.strip_prefix("* ")?.parse().ok()).next();
    count.expect("an EXISTS response")
}

fn start_idle(client: &mut Client) -> String {
    let tag = client.start("IDLE");
    assert_eq!(next_line(client), "+ idling");
    tag
}

fn end_idle(client: &mut Client, tag: &str) {
    client.wire().send(b"DONE\r\n");
    assert!(client.reply(tag).is_some_and(|reply| reply.status.starts_with("OK")));
}

fn next_line(client: &mut Client) -> String {
    match client.wire().receive() {
        Received::Response(line) => String::from_utf8_lossy(&line).into_owned(),
        other => panic!("no response: {other:?}"),
    }
}
