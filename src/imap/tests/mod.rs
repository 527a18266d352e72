//! Dialogues with sessions that have no socket: a real store in a directory that goes away, two byte buffers, and a
//! watcher that the test rings by hand.

mod access;
mod append;
mod durable;
mod fetch;
mod flow;
mod hostile;
mod list;
mod search;
mod select;
mod sort;
mod starttls;

use std::io::{Read, Seek};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::*;
use crate::auth;
use crate::session::{Event, Io, Session, Settled, Step};
use crate::store::{ChangeListener, ModSeq, Options};
use crate::sys::FileRange;

struct Deaf;

impl ChangeListener for Deaf {
    fn changed(&self, _: &UserName, _: MailboxId, _: ModSeq) {}
}

/// Counts watches.
#[derive(Clone, Default)]
struct Watches(Arc<Mutex<usize>>);

struct Watch(Watches);

impl Watches {
    fn count(&self) -> usize {
        *self.0.lock().unwrap()
    }
}

impl Watcher for Watches {
    fn watch(&self, _: &UserName, _: MailboxId, _: Token) -> Box<dyn Send> {
        *self.0.lock().unwrap() += 1;
        Box::new(Watch(self.clone()))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap() -= 1;
    }
}

/// A server with a store of its own.
struct Server {
    imap: Imap,
    watches: Watches,
    dir: tempfile::TempDir,
}

impl Server {
    fn new() -> Server {
        Server::with(|_| ())
    }

    fn with(set: impl FnOnce(&mut Settings)) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path());
        Server::on(dir, options, set)
    }

    fn on(dir: tempfile::TempDir, options: Options, set: impl FnOnce(&mut Settings)) -> Server {
        let store = Arc::new(Store::open(options, Arc::new(Deaf)).unwrap());
        let watches = Watches::default();
        let mut settings = Settings {
            banner: "%h IMAP4 service (%P %V)".into(),
            host: "mx.example".into(),
            append_limit: 600_000,
            idle: true,
            starttls: false,
            plaintext_min_cipher: 0,
        };
        set(&mut settings);
        Server { imap: Imap::new(store, Box::new(watches.clone()), settings), watches, dir }
    }

    /// Another process with the same mail.
    fn other_process(&self) -> Server {
        Server::on(tempfile::tempdir().unwrap(), Options::new(self.dir.path()), |_| ())
    }

    /// Takes away what compaction would; how many there were.
    fn remove_large_messages(&self) -> usize {
        let (mut removed, mut directories) = (0, vec![self.dir.path().to_owned()]);
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    directories.push(entry);
                } else if directory.ends_with("blob") {
                    std::fs::remove_file(entry).unwrap();
                    removed += 1;
                }
            }
        }
        removed
    }

    /// A client that has read the greeting.
    fn stranger(&self) -> Client {
        self.stranger_over(Security::Plain)
    }

    /// The same, over TLS perhaps.
    fn stranger_over(&self, security: Security) -> Client {
        let address = "192.0.2.1:4000".parse().unwrap();
        let peer = Peer { remote: address, local: address };
        let session = self.imap.session(Token { slot: 0, generation: 0 }, peer);
        let mut client = Client {
            session,
            security,
            unread: vec![],
            output: vec![],
            said: vec![],
            is_closed: false,
            waits: 0,
        };
        client.call(|session, io| session.open(io));
        client
    }

    /// A client that has logged in as ada.
    fn ada(&self) -> Client {
        let mut client = self.stranger();
        client.say("l LOGIN ada secret\r\n");
        client.said.clear();
        client
    }

    /// A client of ada's that has selected the INBOX.
    fn in_inbox(&self) -> Client {
        let mut client = self.ada();
        assert!(client.say("s SELECT INBOX\r\n").contains("s OK [READ-WRITE]"));
        client
    }
}

/// The other end of a session, with the worker's part in between.
struct Client {
    session: Box<dyn Session>,
    security: Security,
    /// What the session has left in its input.
    unread: Vec<u8>,
    /// What has not been sent yet.
    output: Vec<u8>,
    said: Vec<u8>,
    is_closed: bool,
    /// How often the session was suspended by Flush or Yield.
    waits: usize,
}

impl Client {
    fn call(&mut self, call: impl FnOnce(&mut dyn Session, &mut Io<'_>) -> Step) {
        let step = self.one_call(call);
        self.follow(step);
    }

    /// Does what the session has answered, until it waits for something.
    fn follow(&mut self, mut step: Step) {
        loop {
            step = match step {
                Step::Read => return self.send_output(),
                Step::Close => {
                    self.send_output();
                    self.is_closed = true;
                    return;
                }
                Step::Flush | Step::Yield => {
                    self.waits += 1;
                    self.send_output();
                    self.one_call(|session, io| session.step(io))
                }
                Step::Send(range) => {
                    assert_eq!(self.security, Security::Plain);
                    self.waits += 1;
                    self.send_output();
                    self.send_from_file(*range);
                    self.one_call(|session, io| session.step(io))
                }
                Step::Authenticate(request) => {
                    let reply = answer(&request);
                    self.one_call(|session, io| session.event(Event::Auth(reply), io))
                }
                Step::StartTls => {
                    self.unread.clear();
                    self.security = Security::Tls { bits: 256 };
                    self.one_call(|session, io| session.event(Event::Secured, io))
                }
            };
        }
    }

    fn one_call(&mut self, call: impl FnOnce(&mut dyn Session, &mut Io<'_>) -> Step) -> Step {
        let mut io = Io::new(&self.unread, &mut self.output, Instant::now()).over(self.security);
        let step = call(&mut *self.session, &mut io);
        let consumed = io.consumed();
        self.unread.drain(..consumed);
        step
    }

    fn send_from_file(&mut self, mut range: FileRange) {
        let mut taken = tempfile::tempfile().unwrap();
        while !range.is_empty() {
            range.send_to(&taken).unwrap();
        }
        taken.rewind().unwrap();
        taken.read_to_end(&mut self.said).unwrap();
    }

    fn send_output(&mut self) {
        let mut settled = self.session.settle(&mut self.output);
        // The housekeeper may be at it; what it tells goes to nobody here.
        while settled == Settled::Later {
            std::thread::yield_now();
            settled = self.session.settle(&mut self.output);
        }
        self.is_closed |= settled == Settled::Failed;
        self.said.append(&mut self.output);
    }

    fn send(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        self.call(|session, io| session.step(io));
    }

    /// What has come since the last look.
    fn heard(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.said)).into_owned()
    }

    /// Sends bytes, hears the answer.
    fn say(&mut self, text: &str) -> String {
        self.send(text.as_bytes());
        self.heard()
    }

    fn event(&mut self, event: Event) -> String {
        self.call(|session, io| session.event(event, io));
        self.heard()
    }

    /// Appends a message with a literal that needs no answer.
    fn append(&mut self, mailbox: &str, flags: &str, message: &str) -> String {
        self.say(&format!("a APPEND {mailbox} ({flags}) {{{}+}}\r\n{message}\r\n", message.len()))
    }

    fn append_many(&mut self, count: usize) {
        for n in 1..=count {
            let said = self.append("INBOX", "", &format!("Subject: number {n}\r\n\r\nbody of {n}\r\n"));
            assert!(said.contains("a OK"), "{said}");
        }
    }
}

/// The auth process: ada's and bob's password is `secret`; eve's question is never answered well.
fn answer(request: &auth::Request) -> auth::Reply {
    let name = request.authorization.as_deref().unwrap_or(&request.authentication);
    match (name, request.password.expose()) {
        ("ada" | "bob", b"secret") => auth::Reply::Granted(UserName::new(name).unwrap()),
        ("eve", _) => auth::Reply::Unavailable,
        _ => auth::Reply::Denied,
    }
}

/// Checks that the answer has these lines, in this order, with others in between or not.
#[track_caller]
fn hears(said: &str, expected: &[&str]) {
    let mut rest = said;
    for line in expected {
        match rest.find(line) {
            Some(at) => rest = &rest[at + line.len()..],
            None => panic!("expected {line:?}, in this order, in:\n{said}"),
        }
    }
}

#[track_caller]
fn hears_not(said: &str, unexpected: &str) {
    assert!(!said.contains(unexpected), "{unexpected:?} should not be in:\n{said}");
}
