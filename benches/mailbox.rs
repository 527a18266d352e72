//! What commands cost by the size of the mailbox: `cargo bench --bench mailbox`.
//!
//! Each is a whole command line through a session without a socket: framing, parsing, store, response. Only those
//! that must tell of every message may grow with the mailbox.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use divan::{Bencher, black_box};
use heliograph::auth::Reply;
use heliograph::imap::{Imap, Settings, Watcher};
use heliograph::session::{Event, Io, Peer, Protocol, Session, Step, Token};
use heliograph::store::{
    ChangeListener, FlagList, MailboxId, ModSeq, NewMessage, Options, Store, User, UserName,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [usize; 3] = [100, 10_000, 100_000];

fn main() {
    divan::main();
}

struct Deaf;

impl ChangeListener for Deaf {
    fn changed(&self, _: &UserName, _: MailboxId, _: ModSeq) {}
}

impl Watcher for Deaf {
    fn watch(&self, _: &UserName, _: MailboxId, _: Token) -> Box<dyn Send> {
        Box::new(())
    }
}

/// A store with one user per size; it lives as long as the benchmark.
struct Place {
    dir: tempfile::TempDir,
    store: Arc<Store>,
    imap: Imap,
    filled: Mutex<Vec<usize>>,
}

fn place() -> &'static Place {
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

fn user(size: usize) -> Arc<User> {
    let user = place().store.user(&UserName::new(format!("u{size}")).expect("a name")).expect("a user");
    let mut filled = place().filled.lock().expect("no panic before");
    if !filled.contains(&size) {
        filled.push(size);
        fill(&user, size);
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
        let batch = (first..size.min(first + 1000)).map(message).collect();
        user.append("INBOX", batch, None).expect("an append");
    }
}

/// A session that is logged in.
struct Client {
    session: Box<dyn Session>,
    output: Vec<u8>,
}

impl Client {
    fn new(size: usize) -> Client {
        let peer = "127.0.0.1:1".parse().expect("an address");
        let token = Token { slot: 0, generation: 0 };
        let session = place().imap.session(token, Peer { remote: peer, local: peer });
        let mut client = Client { session, output: Vec::new() };
        let mut io = Io::new(b"a LOGIN x y\r\n", &mut client.output, Instant::now());
        client.session.open(&mut io);
        let granted = Reply::Granted(user(size).name().clone());
        client.session.event(Event::Auth(granted), &mut Io::new(b"", &mut client.output, Instant::now()));
        client
    }

    fn selected(size: usize) -> Client {
        let mut client = Client::new(size);
        client.run(b"b SELECT INBOX\r\n");
        client
    }

    /// Runs a command to its end; the bytes of its answer.
    fn run(&mut self, line: &[u8]) -> usize {
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

#[divan::bench(args = SIZES)]
fn select(bencher: Bencher<'_, '_>, size: usize) {
    let mut client = Client::new(size);
    bencher.bench_local(|| black_box(client.run(b"a SELECT INBOX\r\n")));
}

#[divan::bench(args = SIZES)]
fn status(bencher: Bencher<'_, '_>, size: usize) {
    let mut client = Client::new(size);
    bencher.bench_local(|| black_box(client.run(b"a STATUS INBOX (MESSAGES UNSEEN UIDNEXT SIZE)\r\n")));
}

#[divan::bench(args = SIZES)]
fn noop(bencher: Bencher<'_, '_>, size: usize) {
    let mut client = Client::selected(size);
    bencher.bench_local(|| black_box(client.run(b"a NOOP\r\n")));
}

#[divan::bench(args = SIZES)]
fn store_one_flag(bencher: Bencher<'_, '_>, size: usize) {
    let mut client = Client::selected(size);
    let mut flip = false;
    bencher.bench_local(|| {
        flip = !flip;
        let line: &[u8] =
            if flip { b"a STORE 50 +FLAGS (\\Seen)\r\n" } else { b"a STORE 50 -FLAGS (\\Seen)\r\n" };
        black_box(client.run(line))
    });
}

#[divan::bench(args = SIZES)]
fn noop_after_a_flag_change_elsewhere(bencher: Bencher<'_, '_>, size: usize) {
    let (mut one, mut other) = (Client::selected(size), Client::selected(size));
    let mut flip = false;
    bencher
        .with_inputs(|| {
            flip = !flip;
            other.run(if flip {
                b"a STORE 50 +FLAGS (\\Flagged)\r\n"
            } else {
                b"a STORE 50 -FLAGS (\\Flagged)\r\n"
            })
        })
        .bench_local_values(|_| black_box(one.run(b"a NOOP\r\n")));
}

#[divan::bench(args = SIZES)]
fn fetch_one_envelope(bencher: Bencher<'_, '_>, size: usize) {
    let mut client = Client::selected(size);
    bencher.bench_local(|| black_box(client.run(b"a FETCH 50 (UID FLAGS ENVELOPE)\r\n")));
}

#[divan::bench(args = SIZES)]
fn resume_with_qresync(bencher: Bencher<'_, '_>, size: usize) {
    let mut client = Client::new(size);
    client.run(b"a ENABLE QRESYNC\r\n");
    let status = user(size).status("INBOX").expect("an INBOX");
    let line = format!("a SELECT INBOX (QRESYNC ({} {}))\r\n", status.uid_validity, status.highest_modseq);
    bencher.bench_local(|| black_box(client.run(line.as_bytes())));
}

/// The one that tells of every message: per message is what counts.
#[divan::bench(args = SIZES)]
fn fetch_all_flags_and_uids(bencher: Bencher<'_, '_>, size: usize) {
    let mut client = Client::selected(size);
    bencher.counter(size).bench_local(|| black_box(client.run(b"a FETCH 1:* (FLAGS UID)\r\n")));
}

/// Opening a user whose state is not in memory, with the log alone or with a snapshot.
#[divan::bench(args = SIZES, sample_count = 5, sample_size = 1)]
fn open_user(bencher: Bencher<'_, '_>, size: usize) {
    let name = user(size).name().clone();
    let root = place().dir.path().to_owned();
    bencher
        .with_inputs(|| Store::open(Options::new(&root), Arc::new(Deaf)).expect("a store"))
        .bench_local_values(|store| black_box(store.user(&name).expect("a user")));
}
