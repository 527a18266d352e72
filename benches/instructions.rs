//! How many instructions commands take: `cargo bench --bench instructions`, with valgrind installed.
//!
//! Unlike times, they hardly differ from run to run or between machines, so that a change that makes a path dearer is
//! seen: each figure is shown beside that of `benches/instructions.tsv`, and with `--check` the run fails when one grew
//! by more than a tenth. `--save` writes the file anew.
//!
//! Every path runs twice under callgrind, in processes of their own, with different numbers of repetitions; the
//! difference is the path's. The instructions of the kernel are not counted.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use collector::collector;
use common::{Client, Deaf, place, user};
use heliograph::store::{Options, Store};

#[path = "common/collector.rs"]
mod collector;
mod common;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Repetitions of the two runs.
const FEW: usize = 20;
const MANY: usize = 120;
/// Messages in the mailbox; imaptest's is of that order.
const SIZE: usize = 100;
/// Growth that `--check` takes for noise.
const TOLERATED: f64 = 1.1;

type Path = (&'static str, fn(usize));

const PATHS: [Path; 19] = [
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
    ("STORE one", |count| {
        toggling(count, ["STORE 50 +FLAGS (\\Flagged)", "STORE 50 -FLAGS (\\Flagged)"]);
    }),
    ("SEARCH FLAGGED in 100", |count| selected(count, "SEARCH FLAGGED")),
    ("SEARCH SUBJECT in 100", |count| selected(count, "SEARCH SUBJECT \"no such\"")),
    ("SORT SUBJECT in 100", |count| threaded(count, "SORT (SUBJECT) UTF-8 ALL")),
    ("THREAD REFERENCES in 100", |count| threaded(count, "THREAD REFERENCES UTF-8 ALL")),
    ("APPEND", append),
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
    // `cargo test` builds benchmarks and runs them without `--bench`: they need only start.
    if !words.contains(&"--bench") {
        return ExitCode::SUCCESS;
    }
    let found = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if found.is_err() {
        eprintln!("valgrind is not installed: `apt-get install valgrind`");
        return ExitCode::from(2);
    }
    compare(words.contains(&"--save"), words.contains(&"--check"))
}

/// Measures all paths and shows them beside the recorded figures.
fn compare(saves: bool, checks: bool) -> ExitCode {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.tsv");
    let before = fs::read_to_string(&file).unwrap_or_default();
    let recorded = recorded(&before);
    let (mut lines, mut grown) = (String::new(), false);
    println!("{:40} {:>12} {:>12}", "path", "instructions", "recorded");
    for (name, _) in PATHS {
        let each = instructions(name);
        lines += &format!("{name}\t{each}\n");
        let change = recorded.get(name).map(|&before| each as f64 / before as f64);
        grown |= change.is_some_and(|change| change > TOLERATED);
        let change = change.map(|change| format!("{:+.1} %", (change - 1.0) * 100.0)).unwrap_or_default();
        let before = recorded.get(name).map(u64::to_string).unwrap_or_default();
        println!("{name:40} {each:12} {before:>12} {change}");
    }
    if saves {
        fs::write(&file, lines).expect("benches/instructions.tsv can be written");
    }
    if checks && grown { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn recorded(text: &str) -> BTreeMap<&str, u64> {
    text.lines()
        .filter_map(|line| line.split_once('\t'))
        .filter_map(|(name, count)| Some((name, count.parse().ok()?)))
        .collect()
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

/// 4,000 bytes with an attachment.
fn message() -> Vec<u8> {
    let line = "The quick brown fox jumps over the lazy dog and then comes back for more.\r\n";
    let base64 = "VGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyIHRoZSBsYXp5IGRvZyBhbmQgbW9yZS4u\r\n";
    format!(
        "Date: Mon, 1 Jan 2024 10:00:00 +0000\r\nFrom: Ada Lovelace <ada@example.org>\r\n\
         To: Bob <bob@example.org>, Carol <carol@example.org>\r\nSubject: =?utf-8?q?H=C3=A9liographe?=\r\n\
         Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{}\
         --b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"a.png\"\r\n\r\n{}--b--\r\n",
        line.repeat(20),
        base64.repeat(25)
    )
    .into_bytes()
}
