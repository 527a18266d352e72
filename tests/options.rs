//! Each option of section 5.6: set with configutil, taken up by a refresh, seen on the wire or in the process table.

mod common;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use common::client::Client;
use common::server::{Options, Server, free_port};
use common::wire::Received;

/// How long to wait for something that happens by itself.
const SOON: Duration = Duration::from_secs(15);

/// A default worker once had room for a file per session, and refused users when a third of it was full.
#[test]
fn a_worker_may_open_the_files_of_as_many_users_as_it_has_sessions() {
    const SESSIONS: u64 = 700;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(1024), hard).expect("what most systems begin with");
    let server = Server::start(Options::default().set("service.imap.maxsessions", &SESSIONS.to_string()));
    let needed = hard.min(3 * SESSIONS);
    for process in server.children() {
        let limits = fs::read_to_string(format!("/proc/{process}/limits")).expect("the limits of a child");
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a limit");
        let soft: u64 = line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number");
        assert!(soft >= needed, "{soft} of {needed}");
    }
}

#[test]
fn the_banner_greets_after_a_refresh() {
    let server = Server::start(Options::default());
    let host = nix::unistd::gethostname().expect("a name").into_string().expect("a plain name");
    let default = format!("] {host} IMAP4 service (Heliograph {})", env!("CARGO_PKG_VERSION"));
    assert!(server.connect().greeting.ends_with(&default), "{}", server.connect().greeting);
    let mut old = server.login("ada");
    set(&server, "service.imap.banner", "welcome to %h, 100%% %P");
    assert!(server.connect().greeting.ends_with(&default), "nothing changes before the refresh");
    refresh(&server);
    let expected = format!("] welcome to {host}, 100% Heliograph");
    eventually("the banner is there", || server.connect().greeting.ends_with(&expected));
    old.ok("NOOP");
}

#[test]
fn a_port_moves_and_sessions_stay() {
    let server = Server::start(Options::default());
    let mut session = server.login("ada");
    session.ok("SELECT INBOX");
    let port = free_port();
    set(&server, "service.imap.port", &port.to_string());
    refresh(&server);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(listeners(&server), [address]);
    assert!(Client::connect(address).greeting.starts_with("* OK"));
    eventually("the old port is closed", || TcpStream::connect(server.addr()).is_err());
    session.ok("NOOP");
    set(&server, "service.imap.port", "0");
    refresh(&server);
    eventually("the new port is closed", || TcpStream::connect(address).is_err());
    session.ok("NOOP");
}

#[test]
fn both_ports_come_and_go() {
    let server = Server::start(Options::default());
    let mut session = server.login("ada");
    let port = free_port();
    let over_tls = SocketAddr::from(([127, 0, 0, 1], port));
    assert!(TcpStream::connect(over_tls).is_err());
    set(&server, "service.imap.sslport", &port.to_string());
    set(&server, "service.imap.enablesslport", "yes");
    refresh(&server);
    eventually("the TLS port is open", || TcpStream::connect(over_tls).is_ok());
    set(&server, "service.imap.enable", "no");
    refresh(&server);
    eventually("the plain port is closed", || TcpStream::connect(server.addr()).is_err());
    session.ok("NOOP");
    set(&server, "service.imap.enable", "yes");
    set(&server, "service.imap.enablesslport", "no");
    refresh(&server);
    eventually("the TLS port is closed", || TcpStream::connect(over_tls).is_err());
    assert_eq!(listeners(&server).len(), 1);
    session.ok("NOOP");
}

#[test]
fn addresses_of_both_families_come_and_go() {
    let server = Server::start(Options::default());
    set(&server, "service.listenaddr", "127.0.0.1, ::1, 127.0.0.2");
    refresh(&server);
    let bound = listeners(&server);
    assert_eq!(bound[0], server.addr(), "what stays keeps its port");
    let ips: Vec<String> = bound.iter().map(|address| address.ip().to_string()).collect();
    assert_eq!(ips, ["127.0.0.1", "::1", "127.0.0.2"]);
    let mut sessions: Vec<Client> = bound.iter().map(|&address| Client::connect(address)).collect();
    set(&server, "service.listenaddr", "::1");
    refresh(&server);
    for gone in [bound[0], bound[2]] {
        eventually("the address is left", || TcpStream::connect(gone).is_err());
    }
    Client::connect(bound[1]);
    sessions.iter_mut().for_each(|session| drop(session.ok("NOOP")));
}

#[test]
fn all_addresses_means_both_families() {
    let server = Server::start(Options::default());
    configutil(&server, &["-o", "service.listenaddr", "-d"]);
    refresh(&server);
    let bound = listeners(&server);
    let ips: Vec<String> = bound.iter().map(|address| address.ip().to_string()).collect();
    assert_eq!(ips, ["0.0.0.0", "::"]);
    Client::connect(SocketAddr::from(([127, 0, 0, 1], bound[0].port())));
    Client::connect(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], bound[1].port())));
}

#[test]
fn with_no_port_to_serve_it_does_not_start_and_says_so() {
    let server = Server::start(Options::default());
    let said = configutil(&server, &["-o", "service.imap.enable", "-v", "no"]);
    assert!(text(&said.stderr).contains("both off"), "{}", text(&said.stderr));
    server.signal(Signal::SIGHUP);
    eventually("the refresh is refused", || server.log().contains("refresh refused"));
    server.login("ada").ok("NOOP");

    let port = free_port().to_string();
    let base = tempfile::tempdir().expect("make a temporary directory");
    let dir = base.path().join("base").to_str().expect("a plain name").to_owned();
    let port = format!("service.imap.port={port}");
    common::server::heliograph(&["init", "--set", &port, &dir]);
    run(&["--base", &dir, "configutil", "-o", "service.imap.enable", "-v", "no"]);
    let refused = run(&["--base", &dir, "serve"]);
    assert!(!refused.status.success());
    assert!(
        text(&refused.stderr).contains("service.imap.enable and service.imap.enablesslport are both off")
    );
}

#[test]
fn a_configuration_that_makes_no_sense_changes_nothing() {
    let server = Server::start(Options::default());
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind a port");
    let port = taken.local_addr().expect("its address").port();
    set(&server, "service.imap.banner", "new");
    set(&server, "service.imap.port", &port.to_string());
    server.signal(Signal::SIGHUP);
    eventually("the refresh is refused", || server.log().contains(&format!("port {port} is in use")));
    assert!(!server.connect().greeting.ends_with("] new"));

    let file = server.dir().join("config/msg.conf");
    let good = fs::read_to_string(&file).expect("read msg.conf");
    fs::write(&file, "service.imap.port = many\n").expect("write msg.conf");
    server.signal(Signal::SIGHUP);
    eventually("that is refused too", || server.log().contains("line 1: service.imap.port"));
    server.login("ada").ok("NOOP");

    fs::write(&file, good.replace(&format!("port = {port}"), "port = 0")).expect("write msg.conf");
    refresh(&server);
    eventually("then all is well", || server.connect().greeting.ends_with("] new"));
}

#[test]
fn maxsessions_refuses_with_a_reason_and_can_be_raised() {
    let options =
        Options::default().set("service.imap.numprocesses", "2").set("service.imap.maxsessions", "2");
    let server = Server::start(options);
    let mut sessions: Vec<Client> = (0..4).map(|_| server.login("ada")).collect();
    let refusal = server.connect().greeting;
    assert!(refusal.starts_with("* BYE [UNAVAILABLE] too many connections"), "{refusal}");
    sessions.pop().expect("a session").ok("LOGOUT");
    eventually("there is room after a logout", || server.connect().greeting.starts_with("* OK"));
    set(&server, "service.imap.maxsessions", "4");
    refresh(&server);
    let more: Vec<Client> = (0..5).map(|_| server.login("ada")).collect();
    assert_eq!(more.len() + sessions.len(), 8);
    assert!(server.connect().greeting.starts_with("* BYE"), "2 × 4 is the limit now");
    sessions.iter_mut().for_each(|session| drop(session.ok("NOOP")));
}

#[test]
fn idletimeout_below_30_is_refused_with_the_reason() {
    let server = Server::start(Options::default());
    let refused = configutil(&server, &["-o", "service.imap.idletimeout", "-v", "29"]);
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("30") && said.contains("RFC 9051"), "{said}");
    set(&server, "service.imap.idletimeout", "45");
    refresh(&server);
}

#[test]
fn logintimeout_shortens_for_who_waits_already() {
    let server = Server::start(Options::default().set("service.imap.logintimeout", "3600"));
    let (mut silent, mut user) = (server.connect(), server.login("ada"));
    set(&server, "service.imap.logintimeout", "5");
    refresh(&server);
    let goodbye = last_response(&mut silent);
    assert!(goodbye.starts_with("* BYE no login"), "{goodbye}");
    user.ok("NOOP");
}

#[test]
fn appendlimit_holds_for_new_sessions() {
    let server = Server::start(Options::default());
    set(&server, "service.imap.appendlimit", "1024");
    refresh(&server);
    eventually("new sessions hear of it", || {
        server.login("ada").ok("CAPABILITY").with("APPENDLIMIT=1024").count() == 1
    });
    let mut client = server.login("ada");
    client.no("APPEND INBOX {1025+}\r\n".to_owned() + &"x".repeat(1025));
    client.ok("APPEND INBOX {1024+}\r\n".to_owned() + &"x".repeat(1024));
}

#[test]
fn maxthreads_counts_the_pool_and_needs_a_restart() {
    let mut server = Server::start(Options::default().set("service.imap.maxthreads", "7"));
    eventually("all threads are there", || pools(&server) == [7, 7, 7]);
    set(&server, "service.imap.maxthreads", "4");
    refresh(&server);
    assert!(server.log().contains("option=service.imap.maxthreads"), "the log names it");
    assert_eq!(pools(&server), [7, 7, 7]);
    server.restart();
    eventually("fewer are there", || pools(&server) == [4, 4, 4]);
}

#[test]
fn workers_come_and_go_without_losing_a_session() {
    let server = Server::start(Options::default().set("service.imap.numprocesses", "2"));
    let mut sessions: Vec<Client> = (0..8).map(|_| server.login("ada")).collect();
    let first = workers(&server);
    assert_eq!(first.len(), 2);

    set(&server, "service.imap.numprocesses", "4");
    refresh(&server);
    eventually("there are four", || workers(&server).len() == 4);
    let busy = || workers(&server).into_iter().filter(|&pid| sockets_of_clients(&server, pid) > 0).count();
    while busy() < 4 {
        assert!(sessions.len() < 500, "the new ones get no sessions");
        sessions.push(server.login("ada"));
    }
    sessions.iter_mut().for_each(|session| drop(session.ok("SELECT INBOX")));

    set(&server, "service.imap.numprocesses", "1");
    refresh(&server);
    // News reach all of them still.
    let tags: Vec<String> = sessions.iter_mut().map(|session| session.start("IDLE")).collect();
    for session in &mut sessions {
        assert!(matches!(session.wire().receive(), Received::Response(line) if line.starts_with(b"+")));
    }
    let mut writer = server.login("ada");
    writer.append("INBOX", b"Subject: to all\r\n\r\n\r\n").expect("an answer");
    for (session, tag) in sessions.iter_mut().zip(&tags) {
        assert!(matches!(session.wire().receive(), Received::Response(line) if line.ends_with(b"EXISTS")));
        session.wire().send("DONE\r\n");
        assert!(session.reply(tag).is_some_and(|reply| reply.status.starts_with("OK")));
    }
    // A worker that goes may have taken the writer in just before.
    sessions.push(writer);
    sessions.iter_mut().for_each(|session| drop(session.ok("LOGOUT")));
    eventually("three have gone", || workers(&server) == first[..1]);
    let mut stays = server.login("ada");

    set(&server, "service.imap.numprocesses", "3");
    refresh(&server);
    eventually("there are three again", || workers(&server).len() == 3);
    let mut idle = server.login("ada");
    idle.ok("SELECT INBOX");
    stays.ok("NOOP");
}

#[test]
fn the_log_level_changes_everywhere() {
    let server = Server::start(Options::default());
    set(&server, "logfile.imap.loglevel", "Error");
    refresh(&server);
    let quiet = |text: &str| text.matches(" closed ").count();
    // Whether every worker has heard of it shows only in what they do not say.
    std::thread::sleep(Duration::from_millis(300));
    let before = quiet(&server.log());
    (0..6).for_each(|_| drop(server.login("ada").ok("LOGOUT")));
    assert_eq!(quiet(&server.log()), before);
    set(&server, "logfile.imap.loglevel", "Information");
    server.signal(Signal::SIGHUP);
    eventually("it is told again", || {
        server.login("ada").ok("LOGOUT");
        quiet(&server.log()) > before
    });
}

#[test]
fn administrators_are_appointed_by_a_refresh() {
    let server = Server::start(Options::default().users(["root"]));
    let as_ada = |server: &Server| {
        // "ada\0root\0secret"
        server.connect().command("AUTHENTICATE PLAIN YWRhAHJvb3QAc2VjcmV0").status.starts_with("OK")
    };
    assert!(!as_ada(&server));
    set(&server, "store.admins", "root");
    refresh(&server);
    eventually("root may act for ada", || as_ada(&server));
}

fn configutil(server: &Server, args: &[&str]) -> Output {
    let dir = server.dir();
    let dir = dir.to_str().expect("a plain name");
    run(&[&["--base", dir, "configutil"], args].concat())
}

fn set(server: &Server, option: &str, value: &str) {
    let output = configutil(server, &["-o", option, "-v", value]);
    assert!(output.status.success(), "{option}={value}: {}", text(&output.stderr));
}

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heliograph"));
    command.args(args).env_remove("MSG_SVR_BASE").stdin(Stdio::null()).output().expect("run heliograph")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Sends SIGHUP and waits until the master has done its part.
fn refresh(server: &Server) {
    let count = || server.log().matches("refreshed workers=").count();
    let refusals = || server.log().matches("refresh refused").count();
    let (before, refused) = (count(), refusals());
    server.signal(Signal::SIGHUP);
    // The last thing that a refresh does at the lowest log level is to name the listeners; the log tells otherwise.
    let deadline = Instant::now() + SOON;
    while count() == before && !is_silent(server) {
        assert_eq!(refusals(), refused, "the refresh was refused");
        assert!(Instant::now() < deadline, "no refresh");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the configuration keeps the master from saying that it has refreshed.
fn is_silent(server: &Server) -> bool {
    let file = fs::read_to_string(server.dir().join("config/msg.conf")).expect("read msg.conf");
    file.contains("loglevel = Error")
}

fn listeners(server: &Server) -> Vec<SocketAddr> {
    let file = fs::read_to_string(server.dir().join("data/proc/listeners")).expect("read the listeners");
    file.lines().filter_map(|line| line.strip_prefix("imap ")?.parse().ok()).collect()
}

/// The workers' process ids, in the order of their numbers.
fn workers(server: &Server) -> Vec<Pid> {
    let mut workers: Vec<(String, Pid)> = server
        .children()
        .into_iter()
        .filter_map(|pid| Some((fs::read_to_string(format!("/proc/{pid}/comm")).ok()?, pid)))
        .filter(|(name, _)| name.starts_with("worker "))
        .collect();
    workers.sort();
    workers.into_iter().map(|(_, pid)| pid).collect()
}

/// Threads of each worker's pool.
fn pools(server: &Server) -> Vec<usize> {
    let count = |pid| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("list the threads");
        let names = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.starts_with("session ")).count()
    };
    eventually("all workers are up", || workers(server).into_iter().all(|pid| count(pid) > 0));
    workers(server).into_iter().map(count).collect()
}

/// Connections to the IMAP port that a process holds.
fn sockets_of_clients(server: &Server, pid: Pid) -> usize {
    let port = format!(":{:04X} ", server.addr().port());
    let table = fs::read_to_string("/proc/net/tcp").expect("list the connections");
    // sl local remote state … inode; 01 is ESTABLISHED.
    let inodes: Vec<String> = table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_ours = format!("{} ", fields.get(1)?).ends_with(&port) && *fields.get(3)? == "01";
            is_ours.then(|| format!("socket:[{}]", fields.get(9).unwrap_or(&"")))
        })
        .collect();
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let targets = descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.filter(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str())).count()
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
