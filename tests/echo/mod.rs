//! A protocol of lines that answers a line with itself, and a few commands to try a worker with:
//!
//! | line | does |
//! |---|---|
//! | `pid` | says the worker's process number |
//! | `block MS` | blocks the thread, as a sync of the disk would |
//! | `share MS` | blocks one thread, for all that wait for the same |
//! | `spin MS` | works, and yields between |
//! | `stir MS` | makes news for itself, one after the other |
//! | `flood N` | sends N bytes, as fast as the client takes them |
//! | `watch N`, `publish N` | mailbox N of one user |
//! | `login NAME` | asks the auth process |
//! | `panic`, `quit` | |

mod disk;

use std::sync::Arc;
use std::time::{Duration, Instant};

use disk::Disk;
use heliograph::auth::{Mechanism, Reply, Request};
use heliograph::notify::{Hub, Watch, WatchKey};
use heliograph::session::{
    Event, INPUT_LIMIT, Io, Peer, Protocol, Refusal, Session, Settled, Step, Summary, Token,
};
use heliograph::store::{MailboxId, UserName};
use heliograph::sys::{Secret, about_to_block};
use heliograph::worker::WorkerContext;

pub struct Echo {
    hub: Arc<Hub>,
    disk: Arc<Disk>,
}

impl Echo {
    pub fn new(context: WorkerContext) -> Self {
        Echo { hub: context.hub, disk: Arc::new(Disk::new(context.waker)) }
    }
}

struct EchoSession {
    hub: Arc<Hub>,
    disk: Arc<Disk>,
    /// The round of the disk that makes the output true.
    awaited: Option<u64>,
    token: Token,
    peer: Peer,
    task: Task,
    watches: Vec<Watch>,
    is_authenticated: bool,
    reason: &'static str,
}

enum Task {
    None,
    Flood(usize),
    Spin(Instant),
    Stir(Instant),
}

impl Protocol for Echo {
    fn session(&self, token: Token, peer: Peer) -> Box<dyn Session> {
        Box::new(EchoSession {
            hub: Arc::clone(&self.hub),
            disk: Arc::clone(&self.disk),
            awaited: None,
            token,
            peer,
            task: Task::None,
            watches: Vec::new(),
            is_authenticated: false,
            reason: "",
        })
    }

    fn refusal(&self, _why: Refusal) -> Vec<u8> {
        b"full\n".to_vec()
    }
}

impl Session for EchoSession {
    fn open(&mut self, io: &mut Io<'_>) -> Step {
        io.output.extend_from_slice(b"hello\n");
        Step::Read
    }

    fn step(&mut self, io: &mut Io<'_>) -> Step {
        loop {
            if let Some(step) = self.work(io) {
                return step;
            }
            let Some(end) = io.input().iter().position(|&byte| byte == b'\n') else {
                return if io.input().len() >= INPUT_LIMIT {
                    self.close("line too long")
                } else {
                    Step::Read
                };
            };
            let line = String::from_utf8_lossy(&io.input()[..end]).into_owned();
            io.consume(end + 1);
            if let Some(step) = self.command(&line, io) {
                return step;
            }
        }
    }

    fn event(&mut self, event: Event, io: &mut Io<'_>) -> Step {
        match event {
            Event::Changed => self.hear(io),
            Event::Auth(Reply::Granted(user)) => {
                self.is_authenticated = true;
                io.output.extend_from_slice(format!("granted {user}\n").as_bytes());
            }
            Event::Auth(Reply::Denied) => io.output.extend_from_slice(b"denied\n"),
            Event::Secured => io.output.extend_from_slice(b"secured\n"),
            Event::Auth(Reply::Unavailable) => io.output.extend_from_slice(b"unavailable\n"),
            Event::Goodbye(why) => {
                io.output.extend_from_slice(format!("bye {why:?}\n").as_bytes());
                return self.close("goodbye");
            }
        }
        self.step(io)
    }

    fn settle(&mut self, _: &mut Vec<u8>) -> Settled {
        match self.awaited {
            Some(round) if !self.disk.reaches(round, self.token) => Settled::Later,
            _ => {
                self.awaited = None;
                Settled::Yes
            }
        }
    }

    fn is_authenticated(&self) -> bool {
        self.is_authenticated
    }

    fn summary(&self) -> Summary {
        Summary { reason: self.reason, ..Summary::default() }
    }
}

impl EchoSession {
    /// Goes on with a long command.
    fn work(&mut self, io: &mut Io<'_>) -> Option<Step> {
        match &mut self.task {
            Task::None | Task::Stir(_) => None,
            Task::Flood(left) => {
                let piece = (*left).min(32 * 1024);
                io.output.resize(io.output.len() + piece, b'x');
                *left -= piece;
                if *left == 0 {
                    io.output.push(b'\n');
                    self.task = Task::None;
                    return None;
                }
                io.is_above_high_water().then_some(Step::Flush).or_else(|| self.work(io))
            }
            Task::Spin(until) => {
                while Instant::now() < *until {
                    if io.is_slice_over() {
                        return Some(Step::Yield);
                    }
                    std::hint::spin_loop();
                }
                io.output.extend_from_slice(b"spun\n");
                self.task = Task::None;
                None
            }
        }
    }

    fn command(&mut self, line: &str, io: &mut Io<'_>) -> Option<Step> {
        let (word, argument) = line.split_once(' ').unwrap_or((line, ""));
        let number: usize = argument.parse().unwrap_or(0);
        match word {
            "pid" => io.output.extend_from_slice(format!("{}\n", std::process::id()).as_bytes()),
            "block" => {
                about_to_block();
                std::thread::sleep(Duration::from_millis(number as u64));
                io.output.extend_from_slice(b"blocked\n");
            }
            "share" => {
                self.awaited = Some(self.disk.write(Duration::from_millis(number as u64)));
                io.output.extend_from_slice(b"shared\n");
            }
            "spin" => self.task = Task::Spin(Instant::now() + Duration::from_millis(number as u64)),
            "stir" => {
                self.watches.push(self.hub.watch(self.own_news(), self.token));
                self.task = Task::Stir(Instant::now() + Duration::from_millis(number as u64));
                self.hub.publish(self.own_news());
            }
            "flood" => self.task = Task::Flood(number),
            "watch" => {
                let key = self.hub.key(&user("echo"), MailboxId(number as u128));
                self.watches.push(self.hub.watch(key, self.token));
                io.output.extend_from_slice(b"watching\n");
            }
            "publish" => {
                self.hub.publish(self.hub.key(&user("echo"), MailboxId(number as u128)));
                io.output.extend_from_slice(b"published\n");
            }
            "login" => return Some(Step::Authenticate(Box::new(self.request(argument)))),
            "panic" => panic!("as the client wished"),
            "quit" => {
                io.output.extend_from_slice(b"bye\n");
                return Some(self.close("quit"));
            }
            _ => {
                io.output.extend_from_slice(line.as_bytes());
                io.output.push(b'\n');
            }
        }
        None
    }

    fn hear(&mut self, io: &mut Io<'_>) {
        match self.task {
            Task::Stir(until) if Instant::now() < until => self.hub.publish(self.own_news()),
            Task::Stir(_) => {
                self.task = Task::None;
                io.output.extend_from_slice(b"stirred\n");
            }
            _ => io.output.extend_from_slice(b"changed\n"),
        }
    }

    /// A mailbox that no other session watches.
    fn own_news(&self) -> WatchKey {
        self.hub.key(&user("echo"), MailboxId(1 << 64 | u128::from(self.token.slot)))
    }

    fn request(&self, name: &str) -> Request {
        Request {
            mechanism: Mechanism::Login,
            authorization: None,
            authentication: name.to_owned(),
            password: Secret::new(b"secret".to_vec()),
            remote: self.peer.remote.ip(),
        }
    }

    fn close(&mut self, reason: &'static str) -> Step {
        self.reason = reason;
        Step::Close
    }
}

pub fn user(name: &str) -> UserName {
    UserName::new(name).expect("a name of this file")
}

/// An auth process inside the worker: `nobody` is denied, `silent` gets no answer until it expires, everybody
/// else is granted.
pub mod auth {
    use std::io::{self, Read, Write};
    use std::os::fd::{AsRawFd, RawFd};
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    use heliograph::auth::{Reply, Request};
    use heliograph::worker::AuthLink;

    pub struct FakeAuth {
        ours: UnixStream,
        theirs: UnixStream,
        answers: Vec<(u64, Reply)>,
        silent: Vec<(u64, Instant)>,
    }

    impl FakeAuth {
        pub fn new() -> Self {
            let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
            ours.set_nonblocking(true).expect("a socket option");
            FakeAuth { ours, theirs, answers: Vec::new(), silent: Vec::new() }
        }
    }

    impl AuthLink for FakeAuth {
        fn ensure_connected(&mut self, _now: Instant) -> io::Result<()> {
            Ok(())
        }

        fn as_raw_fd(&self) -> Option<RawFd> {
            Some(self.ours.as_raw_fd())
        }

        fn epoch(&self) -> u64 {
            1
        }

        fn has_unsent(&self) -> bool {
            false
        }

        fn submit(&mut self, id: u64, request: &Request, now: Instant) {
            match request.authentication.as_str() {
                "silent" => self.silent.push((id, now)),
                "nobody" => self.answers.push((id, Reply::Denied)),
                name => self.answers.push((id, Reply::Granted(super::user(name)))),
            }
        }

        fn flush(&mut self) {
            if !self.answers.is_empty() {
                let _ = self.theirs.write(b"!");
            }
        }

        fn on_readable(&mut self, replies: &mut Vec<(u64, Reply)>) {
            while matches!(self.ours.read(&mut [0; 16]), Ok(1..)) {}
            replies.append(&mut self.answers);
        }

        fn expire(&mut self, now: Instant, replies: &mut Vec<(u64, Reply)>) {
            let is_old = |at: Instant| now.duration_since(at) > Duration::from_millis(100);
            let expired = self.silent.iter().filter(|waiting| is_old(waiting.1));
            replies.extend(expired.map(|waiting| (waiting.0, Reply::Unavailable)));
            self.silent.retain(|waiting| !is_old(waiting.1));
        }
    }
}
