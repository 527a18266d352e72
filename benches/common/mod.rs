//! A store in a temporary directory and sessions on it, without sockets.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use heliograph::auth::Reply;
use heliograph::imap::{Imap, Settings, Watcher};
use heliograph::session::{Event, Io, Peer, Protocol, Session, Step, Token};
use heliograph::store::{
    Access, ChangeListener, FlagChange, FlagList, Flags, MailboxId, ModSeq, NewMessage, Options, Store, Uid,
    UidSet, User, UserName,
};

/// Hears and watches nothing.
pub struct Deaf;

impl ChangeListener for Deaf {
    fn changed(&self, _: &UserName, _: MailboxId, _: ModSeq) {}
}

impl Watcher for Deaf {
    fn watch(&self, _: &UserName, _: MailboxId, _: Token) -> Box<dyn Send> {
        Box::new(())
    }
}

/// A store with one user per size; it lives as long as the benchmark.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub store: Arc<Store>,
    imap: Imap,
    filled: Mutex<Vec<String>>,
}

/// The store, made when it is first asked for.
pub fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Arc::new(Store::open(Options::new(dir.path()), Arc::new(Deaf)).expect("a store"));
        let settings = Settings {
            banner: "bench".into(),
            host: "bench".into(),
            append_limit: 1 << 20,
            idle: true,
            starttls: false,
            plaintext_min_cipher: 0,
        };
        let imap = Imap::new(store.clone(), Box::new(Deaf), settings);
        Place { dir, store, imap, filled: Mutex::default() }
    })
}

/// The user whose INBOX has `size` messages.
pub fn user(size: usize) -> Arc<User> {
    named(format!("u{size}"), |user| fill(user, size))
}

/// The user whose INBOX has `size` messages, between each two of which one has been expunged.
#[allow(dead_code)]
pub fn gappy_user(size: usize) -> Arc<User> {
    named(format!("gappy{size}"), |user| {
        fill(user, 2 * size);
        let mut inbox = user.select("INBOX", Access::ReadWrite, false).expect("an INBOX");
        let odd: UidSet = (1..=2 * size as u32).step_by(2).filter_map(Uid::new).collect();
        let deleted = FlagList { system: Flags::DELETED, ..FlagList::default() };
        inbox.store(&odd, FlagChange::Add, &deleted, None).expect("a STORE");
        inbox.expunge(None).expect("an EXPUNGE");
    })
}

/// The user of this name, whom `fill` fills when it is first asked for.
fn named(name: String, fill: impl FnOnce(&Arc<User>)) -> Arc<User> {
    let user = place().store.user(&UserName::new(name.clone()).expect("a name")).expect("a user");
    let mut filled = place().filled.lock().expect("no panic before");
    if !filled.contains(&name) {
        filled.push(name);
        fill(&user);
    }
    user
}

fn fill(user: &Arc<User>, size: usize) {
    let message = |n: usize| {
        let mut body = user.upload();
        let text = format!("From: ada@example.com\r\nSubject: number {n}\r\n\r\nbody of {n}\r\n");
        body.write(text.as_bytes()).expect("an upload");
        NewMessage { body, flags: FlagList::default(), internal_date: None }
    };
    for first in (0..size).step_by(1000) {
        let batch: Vec<NewMessage> = (first..size.min(first + 1000)).map(message).collect();
        user.append("INBOX", batch, None).expect("an append");
    }
}

/// STORE as imaptest gives it: of a few messages here and there, with keywords.
#[allow(dead_code)]
pub fn storing_four() -> [&'static str; 2] {
    [
        "STORE 10,17,20,29 +FLAGS (\\Answered \\Seen $Label3 $Label4)",
        "STORE 4,17,20,33 -FLAGS (\\Answered \\Seen \\Draft $Label3 $Label4)",
    ]
}

/// A session that is logged in.
pub struct Client {
    session: Box<dyn Session>,
    output: Vec<u8>,
}

impl Client {
    pub fn new(size: usize) -> Client {
        Client::of(&user(size))
    }

    /// A session of this user.
    pub fn of(user: &User) -> Client {
        let peer = "127.0.0.1:1".parse().expect("an address");
        let token = Token { slot: 0, generation: 0 };
        let session = place().imap.session(token, Peer { remote: peer, local: peer });
        let mut client = Client { session, output: Vec::new() };
        let mut io = Io::new(b"a LOGIN x y\r\n", &mut client.output, Instant::now());
        client.session.open(&mut io);
        let granted = Reply::Granted(user.name().clone());
        client.session.event(Event::Auth(granted), &mut Io::new(b"", &mut client.output, Instant::now()));
        client
    }

    pub fn selected(size: usize) -> Client {
        let mut client = Client::new(size);
        client.run(b"b SELECT INBOX\r\n");
        client
    }

    /// A message comes to INBOX, is marked, and goes; the bytes of the answers.
    #[allow(dead_code)]
    pub fn come_and_go(&mut self) -> usize {
        let lines: [&[u8]; 3] = [
            b"a APPEND INBOX {5+}\r\nhello\r\n",
            b"a STORE * +FLAGS.SILENT (\\Deleted)\r\n",
            b"a EXPUNGE\r\n",
        ];
        lines.into_iter().map(|line| self.run(line)).sum()
    }

    /// Runs a command to its end; the bytes of its answer.
    pub fn run(&mut self, line: &[u8]) -> usize {
        let mut sent = 0;
        let mut rest = line;
        loop {
            self.output.clear();
            let mut io = Io::new(rest, &mut self.output, Instant::now());
            let step = self.session.step(&mut io);
            rest = &rest[io.consumed()..];
            sent += self.output.len();
            if matches!(step, Step::Read | Step::Close) {
                return sent;
            }
        }
    }
}
