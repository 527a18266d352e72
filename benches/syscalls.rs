//! How many system calls commands take: `cargo bench --bench syscalls`, with strace installed.
//!
//! A real server with one worker, clients that await each answer, and strace on the worker: what shows is how work gets
//! from the poller to a thread and on to the next one (`epoll_wait`, `futex`), locks on logs and looks at their ends
//! (`fcntl`, `pread64`), copies (`recvfrom`, `preadv2`, `sendto`, `sendfile`) and syncs. Figures are for 100 commands,
//! and are shown beside those of `benches/syscalls.tsv`; with `--check` the run fails when one grew by more than a
//! tenth, `--save` writes the file anew.
//!
//! Every path runs twice with different numbers of repetitions; the difference is the path's. The least of three such
//! differences counts, since the housekeeper may come by.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustls::version::TLS13;

use common::client::Client;
use common::secure::{Secure, Trust};
use common::server::{Options, PASSWORD, Server};
use recorded::{Asked, Table};
use sample::message;

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "common/recorded.rs"]
mod recorded;
#[path = "common/sample.rs"]
mod sample;

/// How long strace may take to begin and to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between commands that wait for the disk. A thread that has waited for it goes to rest, unless the next command is there
/// by then: what is counted must not depend on who is faster.
const REST: Duration = Duration::from_millis(2);

/// Calls that fewer of 100 commands make are left out: room in a log, say, is made for many messages at a time.
const RARE: u64 = 5;

/// Messages in the mailbox.
const SIZE: usize = 100;

/// Bytes of a large message.
const LARGE: usize = 1_000_000;

/// What a path does, again and again.
type Step = Box<dyn FnMut()>;

struct Path {
    name: &'static str,
    /// Commands of one step.
    commands: u64,
    /// Steps of the two runs.
    few: u64,
    many: u64,
    /// After each step.
    rest: Duration,
    begin: fn(&Server) -> Step,
}

const fn path(name: &'static str, begin: fn(&Server) -> Step) -> Path {
    Path { name, commands: 1, few: 50, many: 1050, rest: Duration::ZERO, begin }
}

/// Ten commands at a time.
const fn pipelined(name: &'static str, begin: fn(&Server) -> Step) -> Path {
    Path { name, commands: 10, few: 20, many: 220, rest: Duration::ZERO, begin }
}

/// What takes long.
const fn slow(name: &'static str, begin: fn(&Server) -> Step) -> Path {
    Path { name, commands: 1, few: 20, many: 120, rest: Duration::ZERO, begin }
}

/// What waits for the disk.
const fn durable(path: Path) -> Path {
    Path { rest: REST, ..path }
}

const PATHS: [Path; 17] = [
    path("NOOP", |server| selected(server, &["NOOP"])),
    pipelined("NOOP, 10 pipelined", |server| selected(server, &[&["NOOP"; 10].join("\r\nx ")])),
    path("FETCH one FLAGS", |server| selected(server, &["FETCH 50 (FLAGS)"])),
    path("FETCH one ENVELOPE", |server| selected(server, &["FETCH 50 (ENVELOPE)"])),
    path("FETCH one body", |server| selected(server, &["FETCH 50 (BODY.PEEK[])"])),
    slow("FETCH of 1 MB", |server| selected(server, &["FETCH 101 (BODY.PEEK[])"])),
    path("STORE one", |server| {
        selected(server, &["STORE 50 +FLAGS (\\Flagged)", "STORE 50 -FLAGS (\\Flagged)"])
    }),
    path("SEARCH FLAGGED", |server| selected(server, &["SEARCH FLAGGED"])),
    path("STATUS", |server| selected(server, &["STATUS INBOX (MESSAGES UNSEEN UIDNEXT)"])),
    path("LIST", |server| selected(server, &["LIST \"\" *"])),
    path("SELECT", |server| selected(server, &["SELECT INBOX"])),
    durable(path("APPEND", |server| selected(server, &[&append(&message())]))),
    durable(pipelined("APPEND, 10 pipelined", |server| {
        // Short ones: what one segment has comes at once.
        selected(server, &[&vec![append(b"Subject: short\r\n\r\n"); 10].join("\r\nx ")])
    })),
    path("A change told in IDLE", told),
    slow("A session with LOGIN and LOGOUT", sessions),
    path("NOOP over TLS", |server| secured(server, "NOOP")),
    slow("FETCH of 1 MB over TLS", |server| secured(server, "FETCH 101 (BODY.PEEK[])")),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(asked) = Asked::of(&arguments) else { return ExitCode::SUCCESS };
    if Command::new("strace").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("strace is not installed: `apt-get install strace`");
        return ExitCode::from(2);
    }
    let server = start();
    let mut table = Table::new("syscalls.tsv", "per 100", asked);
    for path in &PATHS {
        let calls = calls(path, &server);
        table.note(path.name, calls.values().sum());
        calls.iter().for_each(|(name, count)| table.note(&format!("{}: {name}", path.name), *count));
    }
    table.finish()
}

/// A server with one worker of a few threads, and messages for its user.
fn start() -> Server {
    let options = Options::default()
        .set("service.imap.numprocesses", "1")
        .set("service.imap.maxthreads", "4")
        .set("service.imap.enablesslport", "yes")
        .set("service.imap.sslport", "0");
    let server = Server::start(options);
    let mut client = server.login("ada");
    for _ in 0..SIZE {
        client.append("INBOX", &message()).expect("an answer to APPEND");
    }
    let large = format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(LARGE / 18));
    client.append("INBOX", large.as_bytes()).expect("an answer to APPEND");
    client.ok("CREATE other");
    server
}

/// Calls for 100 commands, by name, without rare ones.
fn calls(path: &Path, server: &Server) -> BTreeMap<String, u64> {
    let (mut step, worker) = ((path.begin)(server), worker(server));
    let turns = (0..3).map(|_| difference(path, worker, &mut step));
    turns.min_by_key(|calls| calls.values().sum::<u64>()).unwrap_or_default()
}

fn difference(path: &Path, worker: Pid, step: &mut Step) -> BTreeMap<String, u64> {
    let mut run = |steps: u64| {
        for _ in 0..steps {
            step();
            sleep(path.rest);
        }
    };
    let [few, many] = [path.few, path.many].map(|steps| traced(worker, || run(steps)));
    let commands = (path.many - path.few) * path.commands;
    let of_path = |(name, count): (String, u64)| {
        let own = count.saturating_sub(few.get(&name).copied().unwrap_or(0));
        let per_100 = (own * 100 + commands / 2) / commands;
        (per_100 >= RARE).then_some((name, per_100))
    };
    many.into_iter().filter_map(of_path).collect()
}

/// The process whose threads run sessions.
fn worker(server: &Server) -> Pid {
    let is_worker = |pid: &Pid| threads(*pid).any(|thread| status(&thread).contains("Name:\tsession"));
    server.children().into_iter().find(is_worker).expect("a worker")
}

fn threads(pid: Pid) -> impl Iterator<Item = std::path::PathBuf> {
    fs::read_dir(format!("/proc/{pid}/task")).expect("a live process").flatten().map(|entry| entry.path())
}

fn status(thread: &std::path::Path) -> String {
    fs::read_to_string(thread.join("status")).unwrap_or_default()
}

/// The system calls of a process while something is done.
fn traced(worker: Pid, what: impl FnOnce()) -> BTreeMap<String, u64> {
    let summary = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-c", "-o"])
        .arg(summary.path())
        .args(["-p", &worker.to_string()])
        .spawn()
        .expect("strace starts");
    wait_for(&mut strace, || threads(worker).all(|thread| !status(&thread).contains("TracerPid:\t0")));
    what();
    kill(Pid::from_raw(strace.id() as i32), Signal::SIGINT).expect("strace is there");
    strace.wait().expect("strace ends");
    counts(&fs::read_to_string(summary.path()).expect("a summary"))
}

fn wait_for(strace: &mut Child, is_ready: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_ready() {
        let ended = strace.try_wait().expect("strace can be waited for");
        assert!(
            ended.is_none(),
            "strace cannot attach to the worker: be root, or set kernel.yama.ptrace_scope=0"
        );
        assert!(Instant::now() < deadline, "strace does not come to the worker's threads");
        sleep(Duration::from_millis(10));
    }
}

/// `% time, seconds, usecs/call, calls, errors, syscall`, where errors may be missing.
fn counts(summary: &str) -> BTreeMap<String, u64> {
    let count = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (name, calls) = (fields.last()?, fields.get(3)?);
        (*name != "total").then_some(((*name).to_owned(), calls.parse().ok()?))
    };
    summary.lines().filter_map(count).collect()
}

/// Gives these commands in turn, in a session that has selected INBOX.
fn selected(server: &Server, commands: &[&str]) -> Step {
    let mut client = server.login("ada");
    client.ok("SELECT INBOX");
    let commands: Vec<String> = commands.iter().map(|&command| command.to_owned()).collect();
    let mut turn = 0;
    Box::new(move || {
        give(&mut client, &commands[turn % commands.len()]);
        turn += 1;
    })
}

/// Gives a command, or several with tags of their own behind it, and reads all answers.
fn give(client: &mut Client, command: &str) {
    let tag = client.start(command);
    let reply = client.reply(&tag).expect("an answer");
    assert!(reply.status.starts_with("OK"), "{}", reply.status);
    for _ in 0..command.matches("\r\nx ").count() {
        let reply = client.reply("x").expect("an answer");
        assert!(reply.status.starts_with("OK"), "{}", reply.status);
    }
}

/// Appends to a mailbox that is not selected.
fn append(message: &[u8]) -> String {
    format!("APPEND other {{{}+}}\r\n{}", message.len(), String::from_utf8_lossy(message))
}

/// One session changes a flag, another hears of it in IDLE.
fn told(server: &Server) -> Step {
    let mut change = selected(server, &["STORE 60 +FLAGS (\\Flagged)", "STORE 60 -FLAGS (\\Flagged)"]);
    let mut idle = server.login("ada");
    idle.ok("SELECT INBOX");
    idle.start("IDLE");
    idle.wire().receive();
    Box::new(move || {
        change();
        idle.wire().receive();
    })
}

fn sessions(server: &Server) -> Step {
    let addr = server.addr();
    Box::new(move || {
        let mut client = Client::connect(addr);
        client.ok(format!("LOGIN ada {PASSWORD}"));
        client.ok("LOGOUT");
    })
}

fn secured(server: &Server, command: &'static str) -> Step {
    let trust = Trust::new(&server.dir().join("config/tls/server.pem"), &TLS13);
    let mut client = Secure::connect(server.tls_addr().expect("a port for TLS"), &trust);
    client.expect("OK", &format!("LOGIN ada {PASSWORD}"));
    client.expect("OK", "SELECT INBOX");
    Box::new(move || {
        client.expect("OK", command);
    })
}
