//! How many instructions commands take: `cargo bench --bench instructions`, with valgrind installed.
//!
//! Unlike times, they hardly differ from run to run or between machines, so that a change that makes a path dearer is
//! seen: each figure is shown beside that of `benches/instructions.tsv`, and with `--check` the run fails when one grew
//! by more than a tenth. `--save` writes the file anew.
//!
//! Every path runs twice under callgrind, in processes of their own, with different numbers of repetitions; the
//! difference is the path's. The instructions of the kernel are not counted.

use std::hint::black_box;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use collector::collector;
use common::{Client, Deaf, gappy_user, place, storing_four, user};
use heliograph::store::{Options, Store};
use recorded::{Asked, Table};
use sample::message;

#[path = "common/collector.rs"]
mod collector;
mod common;
#[path = "common/recorded.rs"]
mod recorded;
#[path = "common/sample.rs"]
mod sample;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Repetitions of the two runs.
const FEW: usize = 20;
const MANY: usize = 120;
/// Messages in the mailbox; imaptest's is of that order.
const SIZE: usize = 100;

type Path = (&'static str, fn(usize));

const PATHS: [Path; 26] = [
    ("NOOP", |count| selected(count, "NOOP")),
    ("NOOP, 100 pipelined", pipelined),
    ("LOGIN to a session", |count| (0..count).for_each(|_| drop(black_box(Client::new(SIZE))))),
    ("SELECT", |count| selected(count, "SELECT INBOX")),
    ("STATUS", |count| selected(count, "STATUS INBOX (MESSAGES UNSEEN UIDNEXT)")),
    ("LIST", |count| selected(count, "LIST \"\" *")),
    ("LIST of 100", |count| listing(count, "LIST \"\" *")),
    ("LIST of 100 with STATUS", |count| {
        listing(count, "LIST \"\" * RETURN (STATUS (MESSAGES UNSEEN UIDNEXT))");
    }),
    ("FETCH one ENVELOPE", |count| selected(count, "FETCH 50 (UID FLAGS ENVELOPE)")),
    ("FETCH one body", |count| selected(count, "FETCH 50 (BODY.PEEK[])")),
    ("FETCH 1:100 FLAGS", |count| selected(count, "FETCH 1:* (FLAGS)")),
    ("FETCH 10 FLAGS here and there", |count| selected(count, "FETCH 3,9,14,27:28,35,41,56,63,77 (FLAGS)")),
    ("FETCH 22 ENVELOPE here and there", |count| {
        selected(count, "FETCH 2,4,6:12,15,17:18,20,22,25,28:33 (ENVELOPE INTERNALDATE UID)");
    }),
    ("FETCH 22 headers here and there", |count| {
        selected(count, "FETCH 2,4,6:12,15,17:18,20,22,25,28:33 (BODY.PEEK[HEADER.FIELDS (Subject To)])");
    }),
    ("STORE one", |count| {
        toggling(count, ["STORE 50 +FLAGS (\\Flagged)", "STORE 50 -FLAGS (\\Flagged)"]);
    }),
    ("STORE four with keywords", |count| toggling(count, storing_four())),
    ("SEARCH FLAGGED in 100", |count| selected(count, "SEARCH FLAGGED")),
    ("SEARCH SUBJECT in 100", |count| selected(count, "SEARCH SUBJECT \"no such\"")),
    ("SORT SUBJECT in 100", |count| threaded(count, "SORT (SUBJECT) UTF-8 ALL")),
    ("THREAD REFERENCES in 100", |count| threaded(count, "THREAD REFERENCES UTF-8 ALL")),
    ("SEARCH SUBJECT in 2,000", |count| among_many(count, "SEARCH SUBJECT \"no such\"")),
    ("SEARCH FLAGGED SUBJECT in 2,000", |count| among_many(count, "SEARCH FLAGGED SUBJECT \"no such\"")),
    ("APPEND", append),
    ("APPEND, STORE and EXPUNGE among 2,000 gaps", |count| {
        let mut client = Client::of(&gappy_user(2000));
        client.run(b"a SELECT INBOX\r\n");
        for _ in 0..count {
            black_box(client.come_and_go());
        }
    }),
    ("Opening a user with 100 messages", open),
    ("ENVELOPE and BODYSTRUCTURE of a message", |count| {
        (0..count).for_each(|_| drop(black_box(heliograph::message::analyze(black_box(&message())))));
    }),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["--run", path, count] = words[..] {
        run(path, count.parse().expect("a number of repetitions"));
        return ExitCode::SUCCESS;
    }
    let Some(asked) = Asked::of(&arguments) else { return ExitCode::SUCCESS };
    let found = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if found.is_err() {
        eprintln!("valgrind is not installed: `apt-get install valgrind`");
        return ExitCode::from(2);
    }
    let mut table = Table::new("instructions.tsv", "instructions", asked);
    PATHS.iter().for_each(|(name, _)| table.note(name, instructions(name)));
    table.finish()
}

/// Instructions of one repetition.
fn instructions(path: &str) -> u64 {
    let [few, many] = [FEW, MANY].map(|count| collected(path, count));
    many.saturating_sub(few) / (MANY - FEW) as u64
}

/// Instructions of a whole process, as callgrind's last lines have it.
fn collected(path: &str, count: usize) -> u64 {
    let own = std::env::current_exe().expect("the path of this program");
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .args(["--run", path, &count.to_string()])
        .output()
        .expect("valgrind starts");
    let said = String::from_utf8_lossy(&done.stderr);
    let number = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    number.unwrap_or_else(|| panic!("valgrind counted nothing for {path}: {said}"))
}

fn run(path: &str, count: usize) {
    let found = PATHS.iter().find(|(name, _)| *name == path);
    found.expect("a path by this name").1(count);
}

/// Repeats one command in a session that has selected INBOX.
fn selected(count: usize, command: &str) {
    toggling(count, [command, command]);
}

fn toggling(count: usize, commands: [&str; 2]) {
    let lines = commands.map(|command| format!("a {command}\r\n"));
    let mut client = Client::selected(SIZE);
    for n in 0..count {
        black_box(client.run(lines[n % 2].as_bytes()));
    }
}

/// Repeats one command in a mailbox of 2,000 messages, 50 of them flagged.
fn among_many(count: usize, command: &str) {
    let line = format!("a {command}\r\n");
    let mut client = Client::selected(2000);
    client.run(b"a STORE 1:50 +FLAGS.SILENT (\\Flagged)\r\n");
    for _ in 0..count {
        black_box(client.run(line.as_bytes()));
    }
}

/// Repeats one command in a mailbox of messages that answer each other.
fn threaded(count: usize, command: &str) {
    let mut client = Client::new(SIZE);
    client.run(b"a CREATE threads\r\n");
    for n in 0..SIZE {
        let (parent, grandparent) = (n / 2, n / 4);
        let message = format!(
            "Date: Mon, 1 Jan 2024 10:{:02}:00 +0100\r\nFrom: Ada <ada@example.org>\r\nSubject: Re: number {}\r\n\
             Message-ID: <{n}.f00d@example.org>\r\n\
             References: <{grandparent}.f00d@example.org>\r\n <{parent}.f00d@example.org>\r\n\r\nbody of {n}\r\n",
            n % 60,
            n / 3,
        );
        client.run(format!("a APPEND threads {{{}+}}\r\n{message}\r\n", message.len()).as_bytes());
    }
    client.run(b"a SELECT threads\r\n");
    let line = format!("a {command}\r\n");
    for _ in 0..count {
        black_box(client.run(line.as_bytes()));
    }
}

/// Repeats one command in a session of a user with 100 mailboxes.
fn listing(count: usize, command: &str) {
    let mut client = Client::of(&collector(100));
    let line = format!("a {command}\r\n");
    for _ in 0..count {
        black_box(client.run(line.as_bytes()));
    }
}

fn pipelined(count: usize) {
    let lines = "a NOOP\r\n".repeat(100);
    let mut client = Client::selected(SIZE);
    for _ in 0..count {
        black_box(client.run(lines.as_bytes()));
    }
}

fn append(count: usize) {
    let message = message();
    let mut command = format!("a APPEND INBOX {{{}+}}\r\n", message.len()).into_bytes();
    command.extend_from_slice(&message);
    command.extend_from_slice(b"\r\n");
    let mut client = Client::selected(SIZE);
    for _ in 0..count {
        black_box(client.run(&command));
    }
}

fn open(count: usize) {
    let name = user(SIZE).name().clone();
    for _ in 0..count {
        let store = Store::open(Options::new(place().dir.path()), Arc::new(Deaf)).expect("a store");
        drop(black_box(store.user(&name).expect("a user")));
    }
}
