//! A worker's end of the auth socket: non-blocking, reconnecting, and never silent about a question.
//!
//! Every id that is submitted is answered exactly once, by `on_readable` or by `expire`. A question is kept until
//! its answer came, and asked again when the auth process was restarted meanwhile: verifying a password twice
//! does no harm. The owner
//!
//! * calls `ensure_connected` before it submits and on its slow tick; when [`Connection::epoch`] has changed, the
//!   descriptor is a new one and has to be registered: edge-triggered is enough, for writing only while there is something
//!   [unsent](Connection::has_unsent), since every question that the auth process takes makes room to write;
//! * calls `flush` after it submitted, and `flush` and `on_readable` on every event of the descriptor, the latter once
//!   more when the other end has closed it;
//! * calls `expire` on its slow tick.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use zeroize::Zeroizing;

use super::limits::{ANSWER_LIMIT, AWAY_LIMIT, RECONNECT_PAUSE};
use super::wire::{self, WireError};
use super::{Reply, Request};

/// Bytes read at once: hundreds of replies.
const READ_SIZE: usize = 16 * 1024;

/// One worker's connection to the auth process. Not to be shared: the worker wraps it in a lock.
#[derive(Debug)]
pub struct Connection {
    path: PathBuf,
    stream: Option<UnixStream>,
    epoch: u64,
    /// No attempt to connect before this time.
    retry_at: Option<Instant>,
    pause: Duration,
    /// Since when no auth process is there to ask; `None` while connected.
    away_since: Option<Instant>,
    /// Questions without an answer.
    open: HashMap<u64, Question>,
    /// Ids whose frames are not written, in order; may name questions that have expired since.
    unsent: VecDeque<u64>,
    /// How much of the first unsent frame is written.
    written: usize,
    input: Vec<u8>,
}

#[derive(Debug)]
struct Question {
    frame: Zeroizing<Vec<u8>>,
    submitted: Instant,
}

impl Connection {
    /// A connection to the socket at `path`, not yet made.
    pub fn new(path: PathBuf) -> Self {
        Connection {
            path,
            stream: None,
            epoch: 0,
            retry_at: None,
            pause: RECONNECT_PAUSE.0,
            away_since: None,
            open: HashMap::new(),
            unsent: VecDeque::new(),
            written: 0,
            input: Vec::new(),
        }
    }

    /// Connects when there is no connection and the pause since the last failure is over. Never blocks.
    ///
    /// # Errors
    /// Why there is no connection. Questions may be submitted all the same: they wait for the next attempt.
    pub fn ensure_connected(&mut self, now: Instant) -> io::Result<()> {
        if self.stream.is_some() {
            return Ok(());
        }
        self.away_since.get_or_insert(now);
        if self.retry_at.is_some_and(|at| now < at) {
            return Err(ErrorKind::NotConnected.into());
        }
        match UnixStream::connect(&self.path) {
            Ok(stream) => {
                self.connected(stream);
                Ok(())
            }
            Err(error) => {
                self.retry_at = Some(now + self.pause);
                self.pause = (self.pause * 2).min(RECONNECT_PAUSE.1);
                Err(error)
            }
        }
    }

    /// The descriptor to watch, when connected.
    pub fn as_raw_fd(&self) -> Option<RawFd> {
        self.stream.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Grows with every new connection: a descriptor registered under another epoch is gone.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many questions have no answer yet.
    pub fn waiting(&self) -> usize {
        self.open.len()
    }

    /// Takes a question; `id` names it in the answer and must not be in use. Nothing is written before `flush`.
    pub fn submit(&mut self, id: u64, request: &Request, now: Instant) {
        let frame = wire::encode_request(id, request);
        self.open.insert(id, Question { frame, submitted: now });
        self.unsent.push_back(id);
    }

    /// Writes what the socket takes.
    pub fn flush(&mut self) {
        while let (Some(stream), Some(id)) = (&mut self.stream, self.unsent.front()) {
            let rest = self.open.get(id).and_then(|question| question.frame.get(self.written..));
            let Some(rest) = rest.filter(|rest| !rest.is_empty()) else {
                self.unsent.pop_front();
                self.written = 0;
                continue;
            };
            match stream.write(rest) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.disconnect(),
            }
        }
    }

    /// Whether the socket has not taken all yet.
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Reads the answers that have come. A read that does not fill the buffer has drained the socket (epoll(7)).
    pub fn on_readable(&mut self, replies: &mut Vec<(u64, Reply)>) {
        let mut buffer = [0; READ_SIZE];
        while let Some(stream) = &mut self.stream {
            match stream.read(&mut buffer) {
                Ok(0) => self.disconnect(),
                Ok(count) => {
                    self.input.extend_from_slice(&buffer[..count]);
                    if let Err(error) = self.take_replies(replies) {
                        log::error!(error:% = error; "auth socket: the answer cannot be read, reconnecting");
                        self.disconnect();
                    }
                    if count < READ_SIZE {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.disconnect(),
            }
        }
    }

    /// Answers `Unavailable` to what has waited too long.
    pub fn expire(&mut self, now: Instant, replies: &mut Vec<(u64, Reply)>) {
        let away_since = self.away_since;
        let is_late = |question: &Question| {
            let away = away_since.map(|since| since.max(question.submitted));
            now.saturating_duration_since(question.submitted) >= ANSWER_LIMIT
                || away.is_some_and(|since| now.saturating_duration_since(since) >= AWAY_LIMIT)
        };
        // A frame that is written in part has to be finished, or the next one would be read as its rest.
        let begun = self.unsent.front().copied().filter(|_| self.written > 0);
        self.open.retain(|id, question| {
            let late = is_late(question) && Some(*id) != begun;
            if late {
                replies.push((*id, Reply::Unavailable));
            }
            !late
        });
    }

    fn connected(&mut self, stream: UnixStream) {
        self.stream = Some(stream);
        self.epoch += 1;
        self.retry_at = None;
        self.pause = RECONNECT_PAUSE.0;
        self.away_since = None;
        self.input.clear();
        self.written = 0;
        self.unsent = self.in_order_of_submission();
    }

    fn in_order_of_submission(&self) -> VecDeque<u64> {
        let mut ids: Vec<_> = self.open.iter().map(|(id, question)| (question.submitted, *id)).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// Everything unanswered is to be asked again. The time of absence starts with the next attempt to connect.
    fn disconnect(&mut self) {
        self.stream = None;
        self.written = 0;
    }

    fn take_replies(&mut self, replies: &mut Vec<(u64, Reply)>) -> Result<(), WireError> {
        let mut taken = 0;
        while let Some((payload, length)) = wire::first_frame(&self.input[taken..])? {
            let (id, reply) = wire::decode_reply(payload)?;
            taken += length;
            // An answer to a question that has expired is dropped.
            if self.open.remove(&id).is_some() {
                replies.push((id, reply));
            }
        }
        self.input.drain(..taken);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream as Peer};

    use super::*;
    use crate::store::UserName;

    struct Scene {
        dir: tempfile::TempDir,
        connection: Connection,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let connection = Connection::new(dir.path().join("auth"));
            Scene { dir, connection, now: Instant::now() }
        }

        fn listener(&self) -> UnixListener {
            let path = self.dir.path().join("auth");
            let _ = std::fs::remove_file(&path);
            UnixListener::bind(path).unwrap()
        }

        fn ask(&mut self, id: u64) {
            let request = Request::login("ada", "secret");
            self.connection.submit(id, &request, self.now);
            self.connection.flush();
        }

        fn connect(&mut self) -> bool {
            let connected = self.connection.ensure_connected(self.now).is_ok();
            self.connection.flush();
            connected
        }

        fn replies(&mut self) -> Vec<(u64, Reply)> {
            let mut replies = Vec::new();
            self.connection.on_readable(&mut replies);
            replies
        }

        fn expired(&mut self, after: Duration) -> Vec<u64> {
            let mut replies = Vec::new();
            self.connection.expire(self.now + after, &mut replies);
            assert!(replies.iter().all(|(_, reply)| *reply == Reply::Unavailable));
            replies.into_iter().map(|(id, _)| id).collect()
        }
    }

    fn asked(peer: &mut Peer) -> u64 {
        let mut header = [0; 4];
        peer.read_exact(&mut header).unwrap();
        let mut payload = vec![0; u32::from_be_bytes(header) as usize];
        peer.read_exact(&mut payload).unwrap();
        wire::decode_request(&payload).unwrap().0
    }

    fn answer(peer: &mut Peer, id: u64, reply: &Reply) {
        let mut frame = Vec::new();
        wire::encode_reply(id, reply, &mut frame);
        peer.write_all(&frame).unwrap();
    }

    #[test]
    fn answers_come_in_any_order() {
        let mut scene = Scene::new();
        let listener = scene.listener();
        assert!(scene.connect());
        scene.ask(1);
        scene.ask(2);
        let mut peer = listener.accept().unwrap().0;
        assert_eq!((asked(&mut peer), asked(&mut peer)), (1, 2));
        let ada = Reply::Granted(UserName::new("ada").unwrap());
        answer(&mut peer, 2, &Reply::Denied);
        answer(&mut peer, 1, &ada);
        answer(&mut peer, 1, &ada);
        assert_eq!(scene.replies(), [(2, Reply::Denied), (1, ada)]);
        assert_eq!(scene.connection.waiting(), 0);
    }

    #[test]
    fn a_restart_of_the_auth_process_loses_no_question() {
        let mut scene = Scene::new();
        let listener = scene.listener();
        assert!(scene.connect());
        scene.ask(1);
        let mut peer = listener.accept().unwrap().0;
        assert_eq!(asked(&mut peer), 1);
        drop((peer, listener));
        assert_eq!(scene.replies(), []);
        assert!(scene.connection.as_raw_fd().is_none());
        scene.ask(2);
        let listener = scene.listener();
        assert!(scene.connect());
        assert_eq!(scene.connection.epoch(), 2);
        let mut peer = listener.accept().unwrap().0;
        assert_eq!((asked(&mut peer), asked(&mut peer)), (1, 2));
    }

    #[test]
    fn absence_is_answered_after_a_short_time() {
        let mut scene = Scene::new();
        assert!(!scene.connect());
        scene.ask(1);
        assert!(scene.expired(AWAY_LIMIT - Duration::from_millis(1)).is_empty());
        assert_eq!(scene.expired(AWAY_LIMIT), [1]);
        assert!(scene.expired(AWAY_LIMIT).is_empty());
    }

    #[test]
    fn a_silent_auth_process_is_answered_later() {
        let mut scene = Scene::new();
        let _listener = scene.listener();
        assert!(scene.connect());
        scene.ask(1);
        assert!(scene.expired(AWAY_LIMIT).is_empty());
        assert_eq!(scene.expired(ANSWER_LIMIT), [1]);
    }

    #[test]
    fn attempts_to_connect_pause() {
        let mut scene = Scene::new();
        assert!(!scene.connect());
        let _listener = scene.listener();
        assert!(!scene.connect(), "too early");
        scene.now += RECONNECT_PAUSE.0;
        assert!(scene.connect());
    }

    #[test]
    fn garbage_from_the_other_end_ends_the_connection() {
        let mut scene = Scene::new();
        let listener = scene.listener();
        assert!(scene.connect());
        scene.ask(1);
        let mut peer = listener.accept().unwrap().0;
        peer.write_all(&[0xff; 64]).unwrap();
        assert_eq!(scene.replies(), []);
        assert!(scene.connection.as_raw_fd().is_none());
        assert_eq!(scene.connection.waiting(), 1, "asked again after the next connect");
    }

    #[test]
    fn a_full_socket_keeps_the_rest() {
        let mut scene = Scene::new();
        let listener = scene.listener();
        assert!(scene.connect());
        let count = 5000;
        for id in 0..count {
            scene.ask(id);
        }
        let mut peer = listener.accept().unwrap().0;
        for id in 0..count {
            assert_eq!(asked(&mut peer), id);
            scene.connection.flush();
        }
    }
}
