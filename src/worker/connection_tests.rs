//! Time limits of a connection, with the time passed in.

use std::net::{TcpListener, TcpStream as Client};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::*;
use crate::session::Summary;

const LIMITS: TimeLimits = TimeLimits { login: Duration::from_secs(60), idle: Duration::from_secs(30 * 60) };
const SECOND: Duration = Duration::from_secs(1);

/// Waits for input, or, as in IDLE, for news; says goodbye with its reason.
struct Waiting {
    is_authenticated: bool,
}

impl Session for Waiting {
    fn open(&mut self, io: &mut Io<'_>) -> Step {
        io.output.extend_from_slice(b"hello\n");
        Step::Read
    }

    fn step(&mut self, io: &mut Io<'_>) -> Step {
        io.consume(io.input().len());
        Step::Read
    }

    fn event(&mut self, event: Event, io: &mut Io<'_>) -> Step {
        match event {
            Event::Goodbye(why) => {
                io.output.extend_from_slice(format!("{why:?}\n").as_bytes());
                Step::Close
            }
            _ => {
                io.output.extend_from_slice(b"news\n");
                Step::Read
            }
        }
    }

    fn is_authenticated(&self) -> bool {
        self.is_authenticated
    }

    fn summary(&self) -> Summary {
        Summary::default()
    }
}

/// Answers each input with a line and a file, which is 64 MiB long: more than a socket takes.
struct Sending {
    /// Whether what it says can be made true.
    is_settled: bool,
}

impl Session for Sending {
    fn open(&mut self, io: &mut Io<'_>) -> Step {
        io.output.extend_from_slice(b"hello\n");
        Step::Read
    }

    fn step(&mut self, io: &mut Io<'_>) -> Step {
        io.consume(io.input().len());
        io.output.extend_from_slice(b"a file:\n");
        let file = tempfile::tempfile().unwrap();
        file.set_len(64 << 20).unwrap();
        Step::Send(Box::new(FileRange::new(Arc::new(file), 0..64 << 20, Arc::default())))
    }

    fn event(&mut self, _: Event, _: &mut Io<'_>) -> Step {
        Step::Close
    }

    fn settle(&mut self, output: &mut Vec<u8>) -> Settled {
        if !self.is_settled && output.ends_with(b"a file:\n") {
            output.extend_from_slice(b"no\n");
            return Settled::Failed;
        }
        Settled::Yes
    }

    fn is_authenticated(&self) -> bool {
        true
    }

    fn summary(&self) -> Summary {
        Summary::default()
    }
}

struct Scene {
    connection: Connection,
    scratch: Scratch,
    client: Client,
    start: Instant,
}

impl Scene {
    fn new(is_authenticated: bool) -> Self {
        Scene::with(Box::new(Waiting { is_authenticated }))
    }

    fn with(session: Box<dyn Session>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, remote) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let peer = Peer { remote, local: stream.local_addr().unwrap() };
        let start = Instant::now();
        let stream = TcpStream::from_std(stream);
        let connection = Connection::new(stream, session, peer, Tls::OnDemand(None), start).unwrap();
        let mut scene = Scene { connection, scratch: Scratch::new(), client, start };
        assert!(matches!(scene.run(Flags::WRITABLE, Duration::ZERO), Outcome::Park));
        scene
    }

    fn run(&mut self, flags: Flags, after: Duration) -> Outcome {
        self.connection.run(flags, None, self.start + after, LIMITS, &mut self.scratch)
    }

    /// All that the client was sent.
    fn received(mut self) -> Vec<u8> {
        drop(self.connection);
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut self.client, &mut bytes).unwrap();
        bytes
    }

    /// The last line of it.
    fn last_words(self) -> String {
        let text = String::from_utf8(self.received()).unwrap();
        text.lines().last().unwrap_or("").to_owned()
    }
}

#[test]
fn an_idle_session_ends_at_its_time_and_not_before() {
    let mut scene = Scene::new(true);
    assert_eq!(scene.connection.deadline(LIMITS), scene.start + LIMITS.idle);
    assert!(matches!(scene.run(Flags::TIMER, LIMITS.idle - SECOND), Outcome::Park));
    assert!(matches!(scene.run(Flags::TIMER, LIMITS.idle), Outcome::Closed(None)));
    assert_eq!(scene.last_words(), "Idle");
}

/// In IDLE a session only hears: what it is told does not keep it alive, RFC 9051 §5.4 counts what the client does.
#[test]
fn news_do_not_count_as_activity() {
    let mut scene = Scene::new(true);
    for minutes in (5..30).step_by(5) {
        let outcome = scene.run(Flags::CHANGED, minutes * 60 * SECOND);
        assert!(matches!(outcome, Outcome::Park), "after {minutes} minutes");
    }
    assert!(matches!(scene.run(Flags::TIMER, LIMITS.idle), Outcome::Closed(None)));
    assert_eq!(scene.last_words(), "Idle");
}

#[test]
fn input_counts_as_activity() {
    let mut scene = Scene::new(true);
    std::io::Write::write_all(&mut scene.client, b"noop\n").unwrap();
    assert!(matches!(scene.run(Flags::READABLE, 20 * 60 * SECOND), Outcome::Park));
    assert!(matches!(scene.run(Flags::TIMER, LIMITS.idle), Outcome::Park));
    assert_eq!(scene.connection.deadline(LIMITS), scene.start + 20 * 60 * SECOND + LIMITS.idle);
}

#[test]
fn a_stranger_has_less_time_whatever_it_says() {
    let mut scene = Scene::new(false);
    std::io::Write::write_all(&mut scene.client, b"noop\n").unwrap();
    assert!(matches!(scene.run(Flags::READABLE, 50 * SECOND), Outcome::Park));
    assert!(matches!(scene.run(Flags::TIMER, LIMITS.login), Outcome::Closed(None)));
    assert_eq!(scene.last_words(), "LoginTimeout");
}

#[test]
fn a_shorter_limit_holds_for_who_waits_already() {
    let mut scene = Scene::new(true);
    let shorter = TimeLimits { idle: 10 * 60 * SECOND, ..LIMITS };
    let now = scene.start + 11 * 60 * SECOND;
    let outcome = scene.connection.run(Flags::TIMER, None, now, shorter, &mut scene.scratch);
    assert!(matches!(outcome, Outcome::Closed(None)));
    assert_eq!(scene.last_words(), "Idle");
}

#[test]
fn a_goodbye_takes_the_rest_of_a_file_back() {
    let mut scene = Scene::with(Box::new(Sending { is_settled: true }));
    std::io::Write::write_all(&mut scene.client, b"send\n").unwrap();
    let mut outcome = scene.run(Flags::READABLE, Duration::ZERO);
    while matches!(outcome, Outcome::Yield) {
        outcome = scene.run(Flags::RESUME, Duration::ZERO);
    }
    assert!(matches!(outcome, Outcome::Park) && scene.connection.begins_to_stall());
    assert!(matches!(scene.run(Flags::SHUTDOWN, Duration::ZERO), Outcome::Closed(None)));
    let bytes = scene.received();
    let file = bytes.strip_prefix(b"hello\na file:\n").unwrap();
    assert!(file.len() < 64 << 20 && file.iter().all(|byte| *byte == 0));
}

#[test]
fn no_file_follows_what_cannot_be_made_true() {
    let mut scene = Scene::with(Box::new(Sending { is_settled: false }));
    std::io::Write::write_all(&mut scene.client, b"send\n").unwrap();
    assert!(matches!(scene.run(Flags::READABLE, Duration::ZERO), Outcome::Closed(None)));
    assert_eq!(scene.received(), b"hello\na file:\nno\n");
}

/// Answers each input with "ok", which is true when `is_true` says so.
struct Slow {
    is_true: Arc<AtomicBool>,
}

impl Session for Slow {
    fn open(&mut self, _: &mut Io<'_>) -> Step {
        Step::Read
    }

    fn step(&mut self, io: &mut Io<'_>) -> Step {
        if io.input().is_empty() {
            return Step::Read;
        }
        io.consume(io.input().len());
        io.output.extend_from_slice(b"ok\n");
        Step::Read
    }

    fn event(&mut self, _: Event, io: &mut Io<'_>) -> Step {
        io.output.extend_from_slice(b"bye\n");
        Step::Close
    }

    fn settle(&mut self, output: &mut Vec<u8>) -> Settled {
        let is_true = !output.ends_with(b"ok\n") || self.is_true.load(SeqCst);
        if is_true { Settled::Yes } else { Settled::Later }
    }

    fn is_authenticated(&self) -> bool {
        true
    }

    fn summary(&self) -> Summary {
        Summary::default()
    }
}

#[test]
fn output_waits_until_it_is_true() {
    let is_true = Arc::new(AtomicBool::new(false));
    let mut scene = Scene::with(Box::new(Slow { is_true: is_true.clone() }));
    std::io::Write::write_all(&mut scene.client, b"one\n").unwrap();
    assert!(matches!(scene.run(Flags::READABLE, Duration::ZERO), Outcome::Park));
    std::io::Write::write_all(&mut scene.client, b"two\n").unwrap();
    for news in [Flags::READABLE, Flags::CHANGED, Flags::SETTLED] {
        assert!(matches!(scene.run(news, Duration::ZERO), Outcome::Park));
        assert_eq!(scene.connection.backlog.total(), 0, "{news:?}");
    }
    is_true.store(true, SeqCst);
    assert!(matches!(scene.run(Flags::READABLE, Duration::ZERO), Outcome::Park));
    assert_eq!(scene.connection.backlog.total(), 0, "nobody has said so");
    assert!(matches!(scene.run(Flags::SETTLED.with(Flags::SHUTDOWN), Duration::ZERO), Outcome::Closed(None)));
    assert_eq!(scene.received(), b"ok\nbye\n", "the second command came too late");
}

#[test]
fn input_that_came_while_output_waited_is_read() {
    let is_true = Arc::new(AtomicBool::new(false));
    let mut scene = Scene::with(Box::new(Slow { is_true: is_true.clone() }));
    std::io::Write::write_all(&mut scene.client, b"one\n").unwrap();
    assert!(matches!(scene.run(Flags::READABLE, Duration::ZERO), Outcome::Park));
    std::io::Write::write_all(&mut scene.client, b"two\n").unwrap();
    assert!(matches!(scene.run(Flags::READABLE, Duration::ZERO), Outcome::Park));
    is_true.store(true, SeqCst);
    assert!(matches!(scene.run(Flags::SETTLED, Duration::ZERO), Outcome::Park));
    assert_eq!(scene.received(), b"ok\nok\n");
}
