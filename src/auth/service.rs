//! The auth process: many workers ask over a Unix socket, a few threads hash, one loop carries.
//!
//! The loop never waits for anything but the poller. A worker that does not read its answers is disconnected when
//! too many are kept for it; what it asked is forgotten. Peers have to run under the same user id (`SO_PEERCRED`).

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use zeroize::{Zeroize, Zeroizing};

use super::desk::{Asker, Desk, Job, Outbox, Verdict};
use super::limits::{MAX_AUTH_FRAME, MAX_PEERS, MAX_UNSENT};
use super::wire::{self, WireError};
use crate::config::Settings;
use crate::sys;

const LISTENER: Token = Token(0);
const VERDICTS: Token = Token(1);
const STOP: Token = Token(2);
/// Peers have this token or a higher one; none is used twice.
const FIRST_PEER: usize = 3;

/// Bytes read at once.
const READ_SIZE: usize = 16 * 1024;

/// What was read, and before it the beginning of a frame.
const INPUT_SIZE: usize = READ_SIZE + 4 + MAX_AUTH_FRAME;

/// Stack of a hashing thread, in bytes; the memory of argon2 is on the heap.
const HASHER_STACK: usize = 256 * 1024;

/// After so long without a job a hashing thread gives back the memory that it has used.
const HASHER_REST: Duration = Duration::from_secs(1);

/// What the auth process works with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The user file.
    pub users: PathBuf,
    /// May change at any time; the next question is answered with the new ones.
    pub settings: Arc<ArcSwap<Settings>>,
}

/// Answers questions until `stop` becomes readable or its other end is closed; without a `stop`, until the process
/// ends, which harms nothing at any time. To be called after `fork`: it starts threads.
///
/// # Errors
/// When the poller or a thread cannot be made, or the poller fails.
pub fn serve(listener: UnixListener, options: Options, stop: Option<BorrowedFd<'_>>) -> io::Result<()> {
    Service::new(listener, options, stop)?.run()
}

struct Service {
    poll: Poll,
    listener: mio::net::UnixListener,
    desk: Desk,
    settings: Arc<ArcSwap<Settings>>,
    /// Those that the desk works with.
    known: Arc<Settings>,
    peers: HashMap<usize, Peer>,
    next_peer: usize,
    /// Peers that may have something to read.
    unread: Vec<usize>,
    jobs: Sender<Job>,
    verdicts: Receiver<Verdict>,
    out: Outbox,
}

struct Peer {
    stream: UnixStream,
    /// Never grows beyond its first capacity: passwords would be left behind.
    input: Zeroizing<Vec<u8>>,
    output: Vec<u8>,
    /// The other end has closed the connection; what it has sent before is still to be read.
    is_closed: bool,
    /// Not all output was taken: the connection is watched for writing too.
    is_full: bool,
}

impl Service {
    fn new(listener: UnixListener, options: Options, stop: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut listener = mio::net::UnixListener::from_std(listener);
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        if let Some(stop) = stop {
            registry.register(&mut SourceFd(&stop.as_raw_fd()), STOP, Interest::READABLE)?;
        }
        let waker = Arc::new(Waker::new(registry, VERDICTS)?);
        let (jobs, verdicts) = hashers(&waker)?;
        let known = options.settings.load_full();
        let desk = Desk::new(options.users, &known.auth)?;
        let peers = HashMap::new();
        Ok(Service {
            poll,
            listener,
            desk,
            settings: options.settings,
            known,
            peers,
            next_peer: FIRST_PEER,
            unread: Vec::new(),
            jobs,
            verdicts,
            out: Outbox::default(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        // Peers that connected before the listener was registered make no event.
        self.accept();
        loop {
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            self.take_settings();
            let now = Instant::now();
            for event in &events {
                match event.token() {
                    STOP => return Ok(()),
                    LISTENER => self.accept(),
                    VERDICTS => self.judge(now),
                    Token(peer) => {
                        let is_closed = event.is_read_closed() || event.is_error();
                        self.peers.get_mut(&peer).into_iter().for_each(|peer| peer.is_closed |= is_closed);
                        self.want_turn(peer);
                    }
                }
            }
            for peer in std::mem::take(&mut self.unread) {
                self.read(peer, now);
            }
            self.desk.advance(now, &mut self.out);
            self.deliver();
        }
    }

    fn take_settings(&mut self) {
        let current = self.settings.load();
        if !Arc::ptr_eq(&current, &self.known) {
            self.known = Arc::clone(&current);
            self.desk.configure(&self.known.auth);
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.unread.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = self.desk.next_due()?;
        Some(round_up(due.saturating_duration_since(Instant::now())))
    }

    fn want_turn(&mut self, peer: usize) {
        if !self.unread.contains(&peer) {
            self.unread.push(peer);
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    log::error!(error:% = error; "auth socket: cannot accept");
                    return;
                }
            }
        }
    }

    fn admit(&mut self, mut stream: UnixStream) {
        if let Some(fault) = fault_of(&stream, self.peers.len()) {
            log::error!(fault; "auth socket: a connection was refused");
            return;
        }
        let token = self.next_peer;
        if let Err(error) = self.poll.registry().register(&mut stream, Token(token), Interest::READABLE) {
            log::error!(error:% = error; "auth socket: cannot watch a connection");
            return;
        }
        self.next_peer += 1;
        self.peers.insert(
            token,
            Peer {
                stream,
                input: Zeroizing::new(Vec::with_capacity(INPUT_SIZE)),
                output: Vec::new(),
                is_closed: false,
                is_full: false,
            },
        );
    }

    fn judge(&mut self, now: Instant) {
        for verdict in self.verdicts.try_iter() {
            self.desk.judge(verdict, now, &mut self.out);
        }
    }

    /// Takes some of a peer's questions, and writes what it did not take before. A peer that has more to say gets
    /// its next turn after the others.
    fn read(&mut self, token: usize, now: Instant) {
        let Some(peer) = self.peers.get_mut(&token) else { return };
        let desk = &mut self.desk;
        let out = &mut self.out;
        let result = peer.read(|id, request| desk.ask(Asker { peer: token, id }, request, now, out));
        let registry = self.poll.registry();
        match result.and_then(|has_more| peer.flush(registry, token).map(|()| has_more)) {
            Ok(true) => self.want_turn(token),
            Ok(false) => {}
            Err(error) => self.drop_peer(token, &error),
        }
    }

    /// Hands jobs to the hashers and replies to the peers.
    fn deliver(&mut self) {
        for job in self.out.jobs.drain(..) {
            // The hashers live as long as this end of the channel does.
            let _ = self.jobs.send(job);
        }
        let mut touched = Vec::new();
        for (asker, reply) in self.out.replies.drain(..) {
            // A peer that has gone wants no answer.
            let Some(peer) = self.peers.get_mut(&asker.peer) else { continue };
            if touched.last() != Some(&asker.peer) {
                touched.push(asker.peer);
            }
            wire::encode_reply(asker.id, &reply, &mut peer.output);
        }
        for token in touched {
            let registry = self.poll.registry();
            if let Some(Err(error)) = self.peers.get_mut(&token).map(|peer| peer.flush(registry, token)) {
                self.drop_peer(token, &error);
            }
        }
    }

    fn drop_peer(&mut self, token: usize, error: &io::Error) {
        if error.kind() != ErrorKind::UnexpectedEof {
            log::warn!(error:% = error; "auth socket: a connection was closed");
        }
        self.peers.remove(&token);
    }
}

impl Peer {
    /// Reads once and hands on every question that is complete. Says whether there may be more to read: a read that does
    /// not fill the buffer has drained the socket (epoll(7)), except that its end may stand behind.
    fn read(&mut self, ask: impl FnMut(u64, super::Request)) -> io::Result<bool> {
        let mut buffer = Zeroizing::new([0; READ_SIZE]);
        let count = match self.stream.read(buffer.as_mut_slice()) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        self.input.extend_from_slice(&buffer[..count]);
        take_questions(&mut self.input, ask)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        Ok(count == READ_SIZE || self.is_closed)
    }

    /// Writes what the socket takes, and has it watched for writing only while that is not all: otherwise every answer
    /// that a worker reads would wake this process.
    fn flush(&mut self, registry: &Registry, token: usize) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.output.len() > MAX_UNSENT {
            return Err(io::Error::other("too many answers were not read"));
        }
        let is_full = !self.output.is_empty();
        if is_full != self.is_full {
            self.is_full = is_full;
            let interest = if is_full { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            registry.reregister(&mut self.stream, Token(token), interest)?;
        }
        Ok(())
    }
}

/// Removes the complete frames from the front of the input. What remains is shorter than a frame.
fn take_questions(input: &mut Vec<u8>, mut ask: impl FnMut(u64, super::Request)) -> Result<(), WireError> {
    let mut taken = 0;
    while let Some((payload, length)) = wire::first_frame(&input[taken..])? {
        let (id, request) = wire::decode_request(payload)?;
        taken += length;
        ask(id, request);
    }
    // Passwords do not stay behind in the spare part of the buffer.
    let rest = input.len() - taken;
    input.copy_within(taken.., 0);
    input[rest..].zeroize();
    input.truncate(rest);
    Ok(())
}

/// Why a connection is not to be served.
fn fault_of(stream: &UnixStream, peers: usize) -> Option<&'static str> {
    match getsockopt(&stream.as_fd(), PeerCredentials) {
        _ if peers >= MAX_PEERS => Some("too many connections"),
        Ok(peer) if peer.uid() == nix::unistd::geteuid().as_raw() => None,
        Ok(_) => Some("it belongs to another user"),
        Err(_) => Some("its user cannot be found out"),
    }
}

/// The poller counts in milliseconds: rounding down would make it spin.
fn round_up(timeout: Duration) -> Duration {
    timeout + Duration::from_millis(1)
}

/// One thread per processor; they end when the sender of jobs is dropped.
fn hashers(waker: &Arc<Waker>) -> io::Result<(Sender<Job>, Receiver<Verdict>)> {
    // Bounded by the number of questions that may wait.
    let (jobs, job_queue) = unbounded::<Job>();
    let (verdicts, verdict_queue) = unbounded();
    let count = thread::available_parallelism().map_or(1, usize::from);
    for index in 0..count {
        let (job_queue, verdicts, waker) = (job_queue.clone(), verdicts.clone(), Arc::clone(waker));
        let hash = move || {
            while let Some(job) = next_job(&job_queue) {
                let delivered = verdicts.send(job.run()).is_ok() && waker.wake().is_ok();
                if !delivered {
                    return;
                }
            }
        };
        thread::Builder::new().name(format!("hash-{index}")).stack_size(HASHER_STACK).spawn(hash)?;
    }
    Ok((jobs, verdict_queue))
}

/// Waits for a job. A hash takes 19 MiB, as a rule: a thread that has nothing to do for a while gives them back.
fn next_job(queue: &Receiver<Job>) -> Option<Job> {
    match queue.recv_timeout(HASHER_REST) {
        Err(RecvTimeoutError::Timeout) => {
            sys::give_back_memory();
            queue.recv().ok()
        }
        job => job.ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream as Client;

    use super::*;
    use crate::auth::{Connection, Reply, Request, hash_password};

    struct Scene {
        dir: tempfile::TempDir,
        stop: Option<OwnedFd>,
        service: Option<thread::JoinHandle<io::Result<()>>>,
    }

    impl Scene {
        fn new(users: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let users_path = dir.path().join("users");
            std::fs::write(&users_path, users).unwrap();
            let listener = UnixListener::bind(dir.path().join("auth")).unwrap();
            let (theirs, ours) = nix::unistd::pipe().unwrap();
            let settings = Arc::new(ArcSwap::from_pointee(Settings::defaults()));
            let options = Options { users: users_path, settings };
            let service = thread::spawn(move || serve(listener, options, Some(theirs.as_fd())));
            Scene { dir, stop: Some(ours), service: Some(service) }
        }

        fn connect(&self) -> Connection {
            let mut connection = Connection::new(self.dir.path().join("auth"));
            connection.ensure_connected(Instant::now()).unwrap();
            connection
        }

        fn stop(mut self) {
            drop(self.stop.take());
            self.service.take().unwrap().join().unwrap().unwrap();
        }
    }

    fn ask(connection: &mut Connection, id: u64, name: &str, password: &str) {
        let request = Request::login(name, password);
        connection.submit(id, &request, Instant::now());
        connection.flush();
    }

    fn answers(connection: &mut Connection, count: usize) -> Vec<(u64, Reply)> {
        let mut replies = Vec::new();
        while replies.len() < count {
            connection.flush();
            connection.on_readable(&mut replies);
            thread::sleep(Duration::from_millis(1));
        }
        replies
    }

    #[test]
    fn workers_ask_and_hear() {
        let users: String = ["ada", "grace"]
            .map(|name| format!("{name}:{}\n", hash_password(name.as_bytes()).unwrap()))
            .concat();
        let scene = Scene::new(&users);
        let mut workers = [scene.connect(), scene.connect()];
        for worker in &mut workers {
            ask(worker, 1, "ada", "ada");
            ask(worker, 2, "ada", "grace");
            ask(worker, 3, "nobody", "x");
        }
        for worker in &mut workers {
            let mut replies = answers(worker, 3);
            replies.sort_by_key(|(id, _)| *id);
            let ada = Reply::Granted(crate::store::UserName::new("ada").unwrap());
            assert_eq!(replies, [(1, ada), (2, Reply::Denied), (3, Reply::Denied)]);
        }
        scene.stop();
    }

    #[test]
    fn a_peer_that_talks_nonsense_is_alone_in_its_trouble() {
        let scene = Scene::new("ada:{PLAIN}secret\n");
        let mut rude = Client::connect(scene.dir.path().join("auth")).unwrap();
        rude.write_all(&[0xff; 100]).unwrap();
        let mut silent = Client::connect(scene.dir.path().join("auth")).unwrap();
        silent.write_all(&[0, 0, 0, 9, 1]).unwrap();
        let mut worker = scene.connect();
        ask(&mut worker, 1, "ada", "secret");
        assert_eq!(answers(&mut worker, 1).len(), 1);
        assert_eq!(rude.read(&mut [0; 1]).unwrap(), 0, "disconnected");
        scene.stop();
    }

    #[test]
    fn connections_are_bounded() {
        let scene = Scene::new("ada:{PLAIN}secret\n");
        let path = scene.dir.path().join("auth");
        let kept: Vec<Client> = (0..MAX_PEERS).map(|_| Client::connect(&path).unwrap()).collect();
        let mut refused = Client::connect(&path).unwrap();
        assert_eq!(refused.read(&mut [0; 1]).unwrap(), 0);
        drop(kept);
        scene.stop();
    }

    #[test]
    fn a_peer_that_does_not_read_is_dropped() {
        let scene = Scene::new("ada:{PLAIN}secret\n");
        let mut worker = scene.connect();
        ask(&mut worker, 0, "ada", "secret");
        answers(&mut worker, 1);
        let mut deaf = Client::connect(scene.dir.path().join("auth")).unwrap();
        let request = Request::login("ada", "secret");
        let frame = wire::encode_request(1, &request);
        let batch = frame.repeat(1000);
        let dropped = (0..10_000).any(|_| deaf.write_all(&batch).is_err());
        assert!(dropped, "answers are not kept without bound");
        scene.stop();
    }
}
