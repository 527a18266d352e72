//! `start-msg`, `stop-msg` and `refresh` as an administrator calls them: the scripts in a base's `sbin`.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use common::client::Client;
use common::server::{free_port, heliograph};
use common::wire::Received;

const SOON: Duration = Duration::from_secs(15);

/// A base on a free port. Whatever runs on it ends with it.
struct Base {
    directory: tempfile::TempDir,
    address: SocketAddr,
}

impl Base {
    fn new() -> Base {
        let directory = tempfile::tempdir().expect("make a temporary directory");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let base = Base { directory, address };
        let port = format!("service.imap.port={}", address.port());
        let sets = ["--set", &port, "--set", "service.listenaddr=127.0.0.1"];
        let dir = base.dir();
        let more = ["--set", "service.imap.numprocesses=2", "--set", "local.ens.port=0", path(&dir)];
        heliograph(&[&["init"], &sets[..], &more].concat());
        let users = base.directory.path().join("users");
        fs::write(&users, "ada:{PLAIN}secret\n").expect("write the list of users");
        heliograph(&["--base", path(&dir), "user", "import", path(&users)]);
        base
    }

    fn dir(&self) -> PathBuf {
        self.directory.path().join("msg-svr-base")
    }

    /// Calls a script of the base from elsewhere, as cron or a person would.
    fn call(&self, command: &str, args: &[&str]) -> Called {
        let mut process = Command::new(self.dir().join("sbin").join(command));
        process.args(args).current_dir("/").env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        Called(process.output().expect("run the script"))
    }

    fn login(&self) -> Client {
        let mut client = Client::connect(self.address);
        client.ok("LOGIN ada secret");
        client
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        self.call("stop-msg", &["-f"]);
    }
}

struct Called(Output);

impl Called {
    /// What was said, when all was well.
    fn succeeds(&self) -> String {
        assert_eq!(self.0.status.code(), Some(0), "{}{}", text(&self.0.stdout), text(&self.0.stderr));
        text(&self.0.stdout)
    }

    /// What was complained about.
    fn fails(&self, code: i32) -> String {
        assert_eq!(self.0.status.code(), Some(code), "{}{}", text(&self.0.stdout), text(&self.0.stderr));
        text(&self.0.stderr)
    }
}

#[test]
fn all_services_start_and_stop_in_order() {
    let base = Base::new();
    let started = base.call("start-msg", &[]).succeeds();
    let words: Vec<&str> = started.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(words, ["watcher", "ens", "store", "store", "imap"], "{started}");
    assert!(started.contains("checking store server status ...... ready"));
    let workers = pids(&started, "Starting imap server .... ");
    assert_eq!(workers.len(), 2);
    // Ready means ready.
    let mut session = base.login();
    session.ok("SELECT INBOX");

    let again = base.call("start-msg", &[]).succeeds();
    assert_eq!(pids(&again, "imap server is already running: "), workers);
    session.ok("NOOP");

    let stopped = base.call("stop-msg", &[]).succeeds();
    assert_eq!(pids(&stopped, "Stopping imap server "), workers);
    workers.iter().for_each(|&pid| assert!(!is_alive(pid), "{pid} lives"));
    assert!(TcpStream::connect(base.address).is_err());
    assert!(base.call("stop-msg", &[]).succeeds().contains("No server is running"));
}

/// The page on IMAP IDLE from its first step to its last, with the manual's commands alone.
#[test]
fn the_manual_s_page_ends_with_idle_among_the_capabilities() {
    const STEPS: [(&str, &str); 5] = [
        (
            "local.ens.access",
            "+192.168.0.1|255.255.255.0;+127.0.0.1|255.255.255.255;-192.168.0.17;255.255.255.255",
        ),
        ("local.store.notifyplugin.enshost", "127.0.0.1"),
        ("local.store.notifyplugin.enseventkey", "enp://127.0.0.1/store/%M"),
        ("local.store.notifyplugin", "msg-svr-base/lib/libibiff"),
        ("local.store.notifyplugin.noneinbox.enable", "1"),
    ];
    let base = Base::new();
    for (option, _) in STEPS {
        base.call("configutil", &["-o", option, "-d"]).succeeds();
    }
    let shows_idle = || Client::connect(base.address).greeting.split([' ', ']']).any(|word| word == "IDLE");
    base.call("start-msg", &[]).succeeds();
    assert!(!shows_idle(), "a base without the publisher has no IDLE");
    for (option, value) in STEPS {
        base.call("configutil", &["-o", option, "-v", value]).succeeds();
    }
    base.call("stop-msg", &[]).succeeds();
    base.call("start-msg", &[]).succeeds();
    assert!(shows_idle());

    // What one client does in any mailbox, the other sees at once.
    let (mut one, mut other) = (base.login(), base.login());
    one.ok("CREATE Work");
    other.ok("SELECT Work");
    let idle = other.start("IDLE");
    assert!(matches!(other.wire().receive(), Received::Response(line) if line.starts_with(b"+ ")));
    one.append("Work", b"Subject: news\r\n\r\nthere is some\r\n").expect("an answer");
    assert!(matches!(other.wire().receive(), Received::Response(line) if line == b"* 1 EXISTS"));
    other.wire().send("DONE\r\n");
    assert!(other.reply(&idle).expect("an answer").status.starts_with("OK"));
}

#[test]
fn one_service_stops_and_starts_alone() {
    let base = Base::new();
    assert!(!base.call("start-msg", &["store"]).succeeds().contains("imap"));
    assert!(TcpStream::connect(base.address).is_err(), "only the store was asked for");
    let master =
        pids(&base.call("start-msg", &["watcher"]).succeeds(), "watcher server is already running: ");
    let started = base.call("start-msg", &["imap"]).succeeds();
    assert_eq!(pids(&started, "Starting imap server .... ").len(), 2);
    base.login().ok("SELECT INBOX");
    assert!(is_alive(master[0]), "the same watcher");
    base.call("stop-msg", &["imap"]).succeeds();
    assert!(TcpStream::connect(base.address).is_err());
}

#[test]
fn what_does_not_start_says_why() {
    let base = Base::new();
    let taken = TcpListener::bind(base.address).expect("bind the port first");
    let said = base.call("start-msg", &[]).fails(1);
    assert!(said.contains(&format!("port {} is in use", base.address.port())), "{said}");
    drop(taken);
    base.call("configutil", &["-o", "service.imap.enable", "-v", "no"]).succeeds();
    let said = base.call("start-msg", &[]).fails(1);
    assert!(said.contains("are both off"), "{said}");
    assert!(base.call("refresh", &[]).fails(1).contains("are both off"));
    base.call("configutil", &["-o", "service.imap.enable", "-d"]).succeeds();
    assert!(base.call("refresh", &[]).fails(1).contains("no server is running"));
    base.call("configutil", &["-o", "local.store.notifyplugin.noneinbox.enable", "-v", "0"]).succeeds();
    let started = base.call("start-msg", &[]).succeeds();
    assert!(started.contains("IDLE is not offered: local.store.notifyplugin.noneinbox.enable is off"));
}

#[test]
fn a_refresh_answers_for_the_server() {
    let base = Base::new();
    base.call("start-msg", &[]).succeeds();
    base.call("configutil", &["-o", "service.imap.banner", "-v", "good day"]).succeeds();
    let refreshed = base.call("refresh", &["imap"]).succeeds();
    assert_eq!(pids(&refreshed, "Refreshing imap server ").len(), 2);
    eventually("the banner is there", || Client::connect(base.address).greeting.ends_with("] good day"));
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    base.call("configutil", &["-o", "service.imap.port", "-v", &port]).succeeds();
    assert!(base.call("refresh", &[]).fails(1).contains(&format!("port {port} is in use")));
    base.login().ok("NOOP");
}

#[test]
fn the_pid_of_a_stranger_is_left_alone() {
    let base = Base::new();
    let mut stranger = Command::new("sleep").arg("60").spawn().expect("run sleep");
    fs::write(base.dir().join("data/proc/master.pid"), format!("{}\n", stranger.id())).expect("write");
    assert!(base.call("stop-msg", &["-f"]).succeeds().contains("No server is running"));
    assert!(stranger.try_wait().expect("look at sleep").is_none(), "it was not ours to stop");
    base.call("start-msg", &[]).succeeds();
    base.login().ok("NOOP");
    stranger.kill().expect("end sleep");
    stranger.wait().expect("end sleep");
}

#[test]
fn a_stopped_process_needs_force() {
    let base = Base::new();
    let started = base.call("start-msg", &[]).succeeds();
    let master = pids(&started, "Starting watcher server .... ")[0];
    kill(master, Signal::SIGSTOP).expect("stop the master");
    let said = base.call("stop-msg", &["-f"]).succeeds();
    assert!(said.contains("Killing"), "{said}");
    base.call("start-msg", &[]).succeeds();
    base.login().ok("NOOP");
}

#[test]
fn help_and_nonsense_have_their_exit_codes() {
    let base = Base::new();
    for command in ["start-msg", "stop-msg", "refresh"] {
        let help = base.call(command, &["-h"]).succeeds();
        assert!(help.contains("watcher, ens"), "{help}");
        base.call(command, &["pop"]).fails(2);
        base.call(command, &["--nonsense"]).fails(2);
    }
}

/// From an empty directory, without a command: the address is told when one can connect to it.
#[test]
fn the_quick_start_says_how_to_connect_once_it_serves() {
    let directory = tempfile::tempdir().expect("make a temporary directory");
    let mut server = Command::new(env!("CARGO_BIN_EXE_heliograph"))
        .args(["--set", "service.imap.port=0"])
        .current_dir(directory.path())
        .env_remove("MSG_SVR_BASE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start heliograph");
    let mut said = String::new();
    for line in BufReader::new(server.stdout.take().expect("its output")).lines() {
        said.push_str(&line.expect("a line"));
        said.push('\n');
        if said.contains("Stop ") {
            break;
        }
    }
    let word = |name: &str, number: usize| {
        let line = said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{said}"));
        line.split_whitespace().nth(number).expect("a word").trim_end_matches(',').to_owned()
    };
    let port = word("IMAP", 4).parse().expect("a port");
    let mut client = Client::connect(SocketAddr::from(([127, 0, 0, 1], port)));
    client.ok(format!("LOGIN demo {}", word("Password", 1)));
    kill(Pid::from_raw(server.id() as i32), Signal::SIGTERM).expect("stop heliograph");
    assert!(server.wait().expect("its end").success());
}

/// The process ids at the end of a line.
fn pids(text: &str, before: &str) -> Vec<Pid> {
    let line = text.lines().find_map(|line| line.strip_prefix(before));
    let line = line.unwrap_or_else(|| panic!("no `{before}` in {text}"));
    line.split_whitespace().map(|pid| Pid::from_raw(pid.parse().expect("a process id"))).collect()
}

fn is_alive(pid: Pid) -> bool {
    // A zombie whose parent has not asked for it counts as dead.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain name")
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
