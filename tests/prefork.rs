//! Master, workers and signals, with the real processes of the echo example.

#[path = "echo/client.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod client;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use client::{Client, PATIENCE};

/// The example's program, built once.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut directory = std::env::current_exe().expect("this program has a path");
        directory.pop();
        directory.pop();
        let release: &[&str] = if directory.ends_with("release") { &["--release"] } else { &[] };
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--example", "echo"])
            .args(release)
            .status();
        assert!(built.expect("cargo runs").success(), "the echo example builds");
        directory.join("examples/echo")
    })
}

struct Server {
    process: Child,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Server {
    fn start(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut process = Server::command(&directory, options).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Server { process, address: line.trim().parse().unwrap(), directory }
    }

    fn command(directory: &tempfile::TempDir, options: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg(directory.path()).args(options).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Connects until every worker has a client; one of each.
    fn one_client_per_worker(&self, workers: usize) -> Vec<(Pid, Client)> {
        let mut clients = BTreeMap::new();
        let deadline = Instant::now() + PATIENCE;
        while clients.len() < workers {
            assert!(Instant::now() < deadline, "only {} workers answer", clients.len());
            let mut client = self.client();
            clients.insert(worker_of(&mut client), client);
        }
        clients.into_iter().map(|(pid, client)| (Pid::from_raw(pid), client)).collect()
    }

    fn master(&self) -> Pid {
        Pid::from_raw(self.process.id() as i32)
    }

    fn children(&self) -> Vec<i32> {
        let path = format!("/proc/{0}/task/{0}/children", self.master());
        fs::read_to_string(path).unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    fn signal(&self, signal: Signal) {
        kill(self.master(), signal).unwrap();
    }

    /// What it has printed since the address.
    fn last_words(&mut self) -> String {
        let mut text = String::new();
        self.process.stdout.as_mut().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn await_end(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn worker_of(client: &mut Client) -> i32 {
    client.ask("pid").parse().unwrap()
}

#[test]
fn connections_spread_evenly() {
    let server = Server::start(&["workers=3", "threads=4"]);
    let _ready = server.one_client_per_worker(3);
    let mut spread = BTreeMap::new();
    let _clients: Vec<Client> = (0..300)
        .map(|_| {
            let mut client = server.client();
            *spread.entry(worker_of(&mut client)).or_insert(0) += 1;
            client
        })
        .collect();
    assert!(spread.values().all(|count| (70..=130).contains(count)), "{spread:?}");
}

#[test]
fn refuses_when_all_workers_are_full() {
    let server = Server::start(&["workers=2", "threads=2", "sessions=3"]);
    let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
    assert_eq!(Client::connect_silently(server.address).rest(), "full\n");
    for _ in 0..6 {
        let mut leaving = clients.remove(0);
        assert_eq!(leaving.ask("quit"), "bye");
        assert_eq!(leaving.rest(), "");
        // The session is counted out a moment after its client sees the end.
        let deadline = Instant::now() + PATIENCE;
        let next = loop {
            let mut client = Client::connect_silently(server.address);
            if client.line() == "hello" {
                break client;
            }
            assert!(Instant::now() < deadline, "the free place is not given");
        };
        clients.push(next);
    }
    assert_eq!(Client::connect_silently(server.address).rest(), "full\n");
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("served"), "served"));
}

#[test]
fn a_killed_worker_is_replaced_and_others_do_not_notice() {
    let server = Server::start(&["workers=3", "threads=4"]);
    let mut clients = server.one_client_per_worker(3);
    let (victim, mut orphan) = clients.remove(0);
    kill(victim, Signal::SIGKILL).unwrap();
    assert_eq!(orphan.rest(), "");
    let replaced = server.one_client_per_worker(3);
    assert!(replaced.iter().all(|(pid, _)| *pid != victim));
    for (pid, client) in &mut clients {
        assert_eq!(worker_of(client), pid.as_raw(), "the session lives on");
    }
}

/// Turns alone would leave it behind by what its predecessor lost, for as long as sessions live.
#[test]
fn a_replaced_worker_is_given_clients_before_others() {
    let server = Server::start(&["workers=2", "threads=4"]);
    let victim = server.one_client_per_worker(2)[0].0;
    let connect = || {
        let mut client = server.client();
        (Pid::from_raw(worker_of(&mut client)), client)
    };
    let mut clients: Vec<_> = (0..200).map(|_| connect()).collect();
    kill(victim, Signal::SIGKILL).unwrap();
    clients.retain(|(worker, _)| *worker != victim);
    let (survivor, before) = (clients[0].0, clients.len());
    server.one_client_per_worker(2);
    clients.extend((0..before).map(|_| connect()));
    let survivors = clients.iter().filter(|(worker, _)| *worker == survivor).count();
    assert!(survivors < before + before / 4, "{survivors} of {}, {before} of them before", clients.len());
}

#[test]
fn changes_travel_between_workers() {
    let server = Server::start(&["workers=3", "threads=4"]);
    let mut clients = server.one_client_per_worker(3);
    clients.iter_mut().for_each(|(_, client)| assert_eq!(client.ask("watch 5"), "watching"));
    let mut writer = server.client();
    for _ in 0..50 {
        assert_eq!(writer.ask("publish 5"), "published");
        clients.iter_mut().for_each(|(_, client)| assert_eq!(client.line(), "changed"));
    }
    let sender = heliograph::notify::Sender::open(server.directory.path()).unwrap();
    let user = heliograph::store::UserName::new("echo").unwrap();
    sender.changed(&user, heliograph::store::MailboxId(5));
    clients.iter_mut().for_each(|(_, client)| assert_eq!(client.line(), "changed"));
}

#[test]
fn a_replaced_worker_hears_changes_again() {
    let server = Server::start(&["workers=2", "threads=4"]);
    for (pid, mut client) in server.one_client_per_worker(2) {
        assert_eq!(client.ask("watch 5"), "watching");
        kill(pid, Signal::SIGKILL).unwrap();
        assert_eq!(client.rest(), "");
    }
    let mut clients = server.one_client_per_worker(2);
    clients.iter_mut().for_each(|(_, client)| assert_eq!(client.ask("watch 5"), "watching"));
    assert_eq!(server.client().ask("publish 5"), "published");
    clients.iter_mut().for_each(|(_, client)| assert_eq!(client.line(), "changed"));
}

#[test]
fn sigterm_ends_all_within_five_seconds() {
    let mut server = Server::start(&["workers=2", "threads=4"]);
    let mut clients: Vec<Client> = (0..40).map(|_| server.client()).collect();
    let stalled = server.client();
    stalled.send("flood 40000000\n");
    server.signal(Signal::SIGTERM);
    clients.iter_mut().for_each(|client| assert_eq!(client.rest(), "bye Shutdown\n"));
    assert!(server.await_end(Duration::from_secs(5)).success());
    assert_eq!(server.last_words(), "Orderly\n");
}

#[test]
fn a_lost_worker_is_not_forgotten_at_the_end() {
    let mut server = Server::start(&["workers=2", "threads=2"]);
    let (victim, mut orphan) = server.one_client_per_worker(2).remove(0);
    kill(victim, Signal::SIGKILL).unwrap();
    assert_eq!(orphan.rest(), "");
    server.one_client_per_worker(2);
    server.signal(Signal::SIGTERM);
    assert!(server.await_end(Duration::from_secs(5)).success());
    assert_eq!(server.last_words(), "Broken\n");
}

#[test]
fn ctrl_c_reaches_all_processes_and_is_in_order() {
    let mut server = Server::start(&["workers=2", "threads=2"]);
    let mut clients: Vec<Client> = server.one_client_per_worker(2).into_iter().map(|entry| entry.1).collect();
    let children = server.children();
    children.iter().for_each(|&pid| kill(Pid::from_raw(pid), Signal::SIGINT).unwrap());
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("still"), "still"));
    server.signal(Signal::SIGINT);
    clients.iter_mut().for_each(|client| assert_eq!(client.rest(), "bye Shutdown\n"));
    assert!(server.await_end(Duration::from_secs(5)).success());
}

#[test]
fn workers_do_not_outlive_their_master() {
    let mut server = Server::start(&["workers=2", "threads=2"]);
    let mut client = server.client();
    let children = server.children();
    assert_eq!(children.len(), 3, "auth and two workers");
    server.signal(Signal::SIGKILL);
    server.await_end(PATIENCE);
    assert_eq!(client.rest(), "bye Shutdown\n");
    // A new master takes over as soon as they are gone, without being told.
    let mut next = Server::command(&server.directory, &[]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(next.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    Client::connect(line.trim().parse().unwrap());
    kill(Pid::from_raw(next.id() as i32), Signal::SIGTERM).unwrap();
    assert!(next.wait().unwrap().success());
}

#[test]
fn bad_situations_are_said_in_one_line() {
    let server = Server::start(&["workers=1", "threads=2"]);
    let port = format!("port={}", server.address.port());
    let elsewhere = tempfile::tempdir().unwrap();
    for (directory, options, expected) in [
        (&server.directory, vec![], format!("another master (pid {}) is already running", server.master())),
        (&elsewhere, vec![port.as_str()], format!("port {} is in use", server.address.port())),
        (&elsewhere, vec!["workers=65"], "service.imap.numprocesses is 65: it must be 1 to 64".to_owned()),
    ] {
        let mut refused = Server::command(directory, &options).spawn().unwrap();
        let mut text = String::new();
        refused.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(!refused.wait().unwrap().success());
        assert!(text.contains(&expected), "{expected:?} is not in {text:?}");
    }
}

/// The worker waits instead of asking again and again, and goes on when there are descriptors again.
#[test]
fn running_out_of_descriptors_does_not_spin() {
    let server = Server::start(&["workers=1", "threads=2"]);
    let (pid, mut client) = server.one_client_per_worker(1).remove(0);
    let limit = |number: &str| {
        let nofile = format!("--nofile={number}:1000");
        let status = Command::new("prlimit").args(["--pid", &pid.to_string(), &nofile]).status();
        assert!(status.expect("prlimit (util-linux) runs").success());
    };
    limit("0");
    // The acceptor has had a descriptor ready for the next one before it began to wait.
    let mut last = server.client();
    let mut waiting = Client::connect_silently(server.address);
    assert_eq!([client.ask("served"), last.ask("too")], ["served", "too"]);
    let before = wakeups(&server);
    std::thread::sleep(Duration::from_secs(1));
    let woken = wakeups(&server) - before;
    assert!((1..50).contains(&woken), "woken {woken} times");
    assert!(waiting.is_silent());
    limit("1000");
    assert_eq!(waiting.line(), "hello");
}

/// Nothing happens, nothing runs: no thread of any process wakes up.
#[test]
fn an_idle_server_sleeps() {
    let server = Server::start(&["workers=2", "threads=8"]);
    let _clients = server.one_client_per_worker(2);
    let before = settled_wakeups(&server);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(wakeups(&server), before);
}

/// The count once it has stopped growing.
fn settled_wakeups(server: &Server) -> u64 {
    let mut last = wakeups(server);
    loop {
        std::thread::sleep(Duration::from_millis(300));
        let now = wakeups(server);
        if now == last {
            return now;
        }
        last = now;
    }
}

fn wakeups(server: &Server) -> u64 {
    let threads = server.children().into_iter().chain([server.master().as_raw()]).flat_map(|pid| {
        fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|entry| entry.unwrap().path().join("status"))
    });
    threads
        .map(|status| {
            let text = fs::read_to_string(status).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            line.trim().parse::<u64>().unwrap()
        })
        .sum()
}
