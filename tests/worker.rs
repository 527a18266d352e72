//! A worker against clients of every temper, in one process.

#[path = "echo/client.rs"]
mod client;
mod echo;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heliograph::notify::Bus;
use heliograph::sys;
use heliograph::worker::{Access, Counter, Listener, Parts, Scoreboard, Tally, TimeLimits, Worker};

use client::{Client, PATIENCE};

struct Server {
    address: SocketAddr,
    board: Arc<Scoreboard>,
    worker: Worker,
    _directory: tempfile::TempDir,
}

#[derive(Clone, Copy)]
struct Options {
    threads: usize,
    sessions: usize,
    login: Duration,
    idle: Duration,
}

const HOUR: Duration = Duration::from_secs(3600);
const DEFAULT: Options = Options { threads: 4, sessions: 1000, login: HOUR, idle: HOUR };

impl Server {
    fn start(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bus = Bus::new(directory.path(), 1).unwrap();
        let board = Arc::new(Scoreboard::new(1, options.sessions).unwrap());
        board.start(0, std::process::id());
        let listener = sys::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let worker = Worker::start(Parts {
            index: 0,
            threads: options.threads,
            limits: TimeLimits { login: options.login, idle: options.idle },
            listeners: vec![Listener { socket: listener, implicit_tls: None }],
            tls: None,
            board: Arc::clone(&board),
            tally: Arc::new(Tally::new().unwrap()),
            access: Access::default(),
            notify: bus.endpoint(0).unwrap(),
            auth: Box::new(echo::auth::FakeAuth::new()),
            protocol: &|context| Ok(Arc::new(echo::Echo::new(context))),
        })
        .unwrap();
        Server { address, board, worker, _directory: directory }
    }

    fn client(&self) -> Client {
        Client::connect(self.address)
    }

    fn clients(&self, count: usize) -> Vec<Client> {
        (0..count).map(|_| self.client()).collect()
    }

    /// Waits until this many sessions are left.
    fn await_sessions(&self, count: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.board.total(Counter::Sessions) != count {
            assert!(Instant::now() < deadline, "{} sessions", self.board.total(Counter::Sessions));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn one_byte_at_a_time() {
    let server = Server::start(DEFAULT);
    let mut client = server.client();
    for byte in "now\nis\r\nthe time\n".chars() {
        client.send(&byte.to_string());
    }
    assert_eq!([client.line(), client.line(), client.line()], ["now", "is", "the time"]);
}

/// A client that writes a command in two pieces and leaves Nagle's algorithm on, as Python's imaplib does with a literal and
/// the end of its line: its system holds the second back until the first is acknowledged, and ours would wait at least
/// 40 ms for an answer to do that with (TCP_DELACK_MIN). Each time, that is: the fastest of many tells.
#[test]
fn a_client_that_writes_in_pieces_need_not_wait_for_acknowledgements() {
    let server = Server::start(DEFAULT);
    let mut client = server.client();
    client.stream().set_nodelay(false).unwrap();
    // A young connection acknowledges at once.
    (0..50).for_each(|_| assert_eq!(client.ask("young"), "young"));
    let times = (0..20).map(|_| {
        let begun = Instant::now();
        client.send("in two ");
        assert_eq!(client.ask("pieces"), "in two pieces");
        begun.elapsed()
    });
    let fastest = times.min().unwrap();
    assert!(fastest < Duration::from_millis(40), "{fastest:?}");
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    let server = Server::start(DEFAULT);
    let mut client = server.client();
    let lines: Vec<String> = (0..20_000).map(|number| format!("line {number}")).collect();
    client.send(&format!("{}\nquit\n", lines.join("\n")));
    assert_eq!(client.rest(), format!("{}\nbye\n", lines.join("\n")));
}

#[test]
fn half_closed_clients_get_their_answers() {
    let server = Server::start(DEFAULT);
    for (sent, expected) in [
        ("one\nquit\n", "one\nbye\n"),
        ("one\ntwo", "one\n"),
        ("login joe\nx\n", "granted joe\nx\n"),
        ("", ""),
    ] {
        let mut client = server.client();
        client.send(sent);
        client.shutdown();
        assert_eq!(client.rest(), expected, "{sent:?}");
    }
    let mut client = server.client();
    client.send("flood 5000000\nquit\n");
    client.shutdown();
    assert_eq!(client.rest().len(), 5_000_000 + "\nbye\n".len());
    server.await_sessions(0);
}

#[test]
fn a_reset_at_any_point_frees_the_slot() {
    let server = Server::start(DEFAULT);
    for sent in
        ["", "o", "one\n", "flood 9000000\n", "block 20\n", "spin 20\n", "login silent\n", "watch 1\nquit\n"]
    {
        let client = Client::connect_silently(server.address);
        client.send(sent);
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(&client.stream().as_fd(), nix::sys::socket::sockopt::Linger, &linger)
            .unwrap();
    }
    server.await_sessions(0);
    assert_eq!(server.client().ask("alive"), "alive");
}

/// One thread serves both: if the slow reader held it, the other would not be served.
#[test]
fn a_client_that_does_not_read_holds_no_thread() {
    let server = Server::start(Options { threads: 1, ..DEFAULT });
    let mut slow = server.client();
    slow.send("flood 40000000\nafter\n");
    let mut other = server.client();
    for number in 0..100 {
        let line = format!("quick {number}");
        assert_eq!(other.ask(&line), line);
    }
    let mut flood = vec![0; 40_000_001];
    let mut text = slow.stream().try_clone().unwrap();
    text.read_exact(&mut flood).unwrap();
    assert_eq!(slow.line(), "after");
}

/// The server stops reading when its answers are not taken; the kernel's buffers fill, and writing would block.
#[test]
fn pipelining_without_reading_is_stopped() {
    let server = Server::start(Options { threads: 1, ..DEFAULT });
    let mut greedy = server.client();
    let line = format!("{}\n", "z".repeat(999));
    greedy.stream().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut written = 0;
    let error = loop {
        match greedy.stream().write(line.as_bytes()) {
            Ok(count) if count == line.len() => written += 1,
            Ok(_) => break None,
            Err(error) => break Some(error),
        }
        assert!(written < 1_000_000, "a gigabyte taken");
    };
    assert_eq!(
        error.map_or(std::io::ErrorKind::WouldBlock, |error| error.kind()),
        std::io::ErrorKind::WouldBlock
    );
    assert_eq!(server.client().ask("others"), "others");
    for _ in 0..written {
        assert_eq!(greedy.line().len(), 999);
    }
}

fn serves_others_before(server: &Server, slow: &mut [Client]) {
    let mut other = server.client();
    for _ in 0..20 {
        assert_eq!(other.ask("quick"), "quick");
    }
    assert!(slow.iter_mut().all(Client::is_silent), "the quick ones were first");
}

#[test]
fn blocked_threads_do_not_hold_the_poller() {
    let server = Server::start(Options { threads: 4, ..DEFAULT });
    let mut blocked = server.clients(3);
    blocked.iter().for_each(|client| client.send("block 1000\n"));
    serves_others_before(&server, &mut blocked);
    blocked.iter_mut().for_each(|client| assert_eq!(client.line(), "blocked"));
}

/// The acceptor once ran what came in during the greeting, and then kept those behind in the kernel's queue.
#[test]
fn early_commands_do_not_hold_the_acceptor() {
    let server = Server::start(Options { threads: 101, ..DEFAULT });
    let begin = |_| {
        let client = server.client();
        client.send("block 3000\n");
        client
    };
    let mut early: Vec<Client> = (0..100).map(begin).collect();
    assert_eq!(server.client().ask("quick"), "quick");
    assert!(early.iter_mut().all(Client::is_silent), "the quick one was first");
    early.iter_mut().for_each(|client| assert_eq!(client.line(), "blocked"));
}

#[test]
fn more_blocking_clients_than_threads() {
    let server = Server::start(Options { threads: 250, ..DEFAULT });
    let mut clients = server.clients(600);
    for _ in 0..2 {
        clients.iter().for_each(|client| client.send("block 50\n"));
        clients.iter_mut().for_each(|client| assert_eq!(client.line(), "blocked"));
    }
}

#[test]
fn a_single_thread_blocks_and_goes_on() {
    let server = Server::start(Options { threads: 1, ..DEFAULT });
    let mut clients = server.clients(20);
    clients.iter().for_each(|client| client.send("block 5\nthen\n"));
    clients.iter_mut().for_each(|client| assert_eq!([client.line(), client.line()], ["blocked", "then"]));
}

#[test]
fn sessions_that_wait_for_the_same_share_a_thread() {
    let server = Server::start(Options { threads: 3, ..DEFAULT });
    let mut waiting = server.clients(100);
    waiting.iter().for_each(|client| client.send("share 1000\n"));
    serves_others_before(&server, &mut waiting);
    waiting.iter_mut().for_each(|client| assert_eq!(client.line(), "shared"));
}

#[test]
fn nobody_who_waits_for_the_same_is_forgotten() {
    for threads in [1, 2, 8] {
        let server = Server::start(Options { threads, ..DEFAULT });
        let mut clients = server.clients(20);
        for _ in 0..100 {
            clients.iter().for_each(|client| client.send("share 1\nthen\n"));
            clients
                .iter_mut()
                .for_each(|client| assert_eq!([client.line(), client.line()], ["shared", "then"]));
        }
    }
}

#[test]
fn long_commands_yield_to_short_ones() {
    for threads in [1, 2, 8] {
        let server = Server::start(Options { threads, ..DEFAULT });
        let mut busy = server.clients(3);
        busy.iter().for_each(|client| client.send("spin 1500\n"));
        let mut other = server.client();
        for _ in 0..5 {
            assert_eq!(other.ask("quick"), "quick");
        }
        assert!(busy.iter_mut().all(Client::is_silent), "with {threads} threads");
        busy.iter_mut().for_each(|client| assert_eq!(client.line(), "spun"));
    }
}

#[test]
fn logins_wait_without_a_thread() {
    let server = Server::start(Options { threads: 1, ..DEFAULT });
    let mut silent = server.client();
    silent.send("login silent\nlater\n");
    let mut client = server.client();
    client.send("login joe\nnow\nlogin nobody\n");
    assert_eq!([client.line(), client.line(), client.line()], ["granted joe", "now", "denied"]);
    assert_eq!([silent.line(), silent.line()], ["unavailable", "later"]);
    assert_eq!(server.board.total(Counter::GoodLogins), 1);
    assert_eq!(server.board.total(Counter::FailedLogins), 1);
}

#[test]
fn time_limits_end_sessions_with_a_goodbye() {
    let second = Duration::from_secs(1);
    let server = Server::start(Options { login: second, idle: 3 * second, ..DEFAULT });
    let (mut stranger, mut user) = (server.client(), server.client());
    assert_eq!(user.ask("login joe"), "granted joe");
    assert_eq!(stranger.rest(), "bye LoginTimeout\n");
    assert_eq!(user.rest(), "bye Idle\n");
    server.await_sessions(0);
}

#[test]
fn a_panic_ends_one_session_only() {
    let server = Server::start(Options { threads: 1, ..DEFAULT });
    let mut other = server.client();
    let mut client = server.client();
    client.send("panic\n");
    assert_eq!(client.rest(), "");
    assert_eq!(other.ask("alive"), "alive");
    assert_eq!(server.board.total(Counter::Panics), 1);
    server.await_sessions(1);
}

#[test]
fn an_endless_line_ends_the_session() {
    let server = Server::start(DEFAULT);
    let client = server.client();
    let line = vec![b'x'; 1 << 20];
    // The server may close while we still write.
    let _ = client.stream().try_clone().unwrap().write_all(&line);
    server.await_sessions(0);
}

#[test]
fn changes_wake_watchers() {
    let server = Server::start(DEFAULT);
    let mut watchers = server.clients(50);
    watchers.iter_mut().for_each(|client| assert_eq!(client.ask("watch 7"), "watching"));
    let mut writer = server.client();
    for _ in 0..20 {
        assert_eq!(writer.ask("publish 7"), "published");
        watchers.iter_mut().for_each(|client| assert_eq!(client.line(), "changed"));
    }
    assert_eq!(writer.ask("publish 8"), "published");
    assert!(watchers.iter_mut().all(Client::is_silent));
}

/// A session that has news whenever it has heard some once kept its thread, and the poller with it.
#[test]
fn news_without_end_hold_up_nobody() {
    let server = Server::start(Options { threads: 1, ..DEFAULT });
    let (mut stirring, mut other) = (server.client(), server.client());
    stirring.send("stir 1500\n");
    for _ in 0..5 {
        assert_eq!(other.ask("quick"), "quick");
    }
    assert!(stirring.is_silent());
    assert_eq!(stirring.line(), "stirred");
}

#[test]
fn refuses_when_full_and_recovers() {
    let server = Server::start(Options { sessions: 3, ..DEFAULT });
    for _ in 0..3 {
        let mut inside = server.clients(3);
        assert_eq!(Client::connect_silently(server.address).rest(), "full\n");
        assert_eq!(inside[0].ask("served"), "served");
        drop(inside);
        server.await_sessions(0);
    }
    assert_eq!(server.board.total(Counter::Refused), 3);
}

#[test]
fn stop_says_goodbye_to_all() {
    let server = Server::start(Options { threads: 2, ..DEFAULT });
    let mut clients = server.clients(100);
    let mut syncing = server.client();
    syncing.send("block 300\n");
    let stalled = server.client();
    stalled.send("flood 40000000\n");
    // Both are at work when the stop comes.
    stalled.stream().peek(&mut [0]).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    // Returns although one client takes no output.
    server.worker.stop(Duration::from_secs(1));
    clients.iter_mut().for_each(|client| assert_eq!(client.rest(), "bye Shutdown\n"));
    assert_eq!(syncing.rest(), "blocked\nbye Shutdown\n", "what was begun is answered");
}
