//! How often commands ask for memory: `cargo bench --bench allocations`.
//!
//! Each command is repeated until it has all that it keeps, then counted: requests to the allocator by the thread that
//! runs the session, and their bytes, for a thousand commands. A buffer that grows counts each time. Figures are shown
//! beside those of `benches/allocations.tsv`; with `--check` the run fails when one grew by more than a tenth, `--save`
//! writes the file anew.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use collector::collector;
use common::{Client, Deaf, place, storing_four, user};
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

/// Repetitions before counting begins: what is remembered of the latest changes is full by then.
const BEFORE: usize = 5000;
/// Repetitions that are counted.
const COUNTED: usize = 1000;
/// Messages in the mailbox.
const SIZE: usize = 100;

/// What a path does, again and again.
type Step = Box<dyn FnMut()>;

type Path = (&'static str, fn() -> Step);

const PATHS: [Path; 19] = [
    ("NOOP", || selected(&["NOOP"])),
    ("NOOP, 10 pipelined", || selected(&[&["NOOP"; 10].join("\r\na ")])),
    ("FETCH one FLAGS", || selected(&["FETCH 50 (FLAGS)"])),
    ("FETCH 1:100 FLAGS", || selected(&["FETCH 1:* (FLAGS)"])),
    ("FETCH 10 FLAGS here and there", || selected(&["FETCH 3,9,14,27:28,35,41,56,63,77 (FLAGS)"])),
    ("FETCH one ENVELOPE", || selected(&["FETCH 50 (UID FLAGS ENVELOPE)"])),
    ("FETCH one header", || selected(&["FETCH 50 (BODY.PEEK[HEADER.FIELDS (DATE FROM)])"])),
    ("FETCH one body", || selected(&["FETCH 50 (BODY.PEEK[])"])),
    ("STORE one", || selected(&["STORE 50 +FLAGS (\\Flagged)", "STORE 50 -FLAGS (\\Flagged)"])),
    ("STORE four with keywords", || selected(&storing_four())),
    ("SEARCH FLAGGED", || selected(&["SEARCH FLAGGED"])),
    ("SEARCH SUBJECT", || selected(&["SEARCH SUBJECT \"no such\""])),
    ("STATUS", || selected(&["STATUS INBOX (MESSAGES UNSEEN UIDNEXT)"])),
    ("LIST of one", || selected(&["LIST \"\" INBOX"])),
    ("LIST of 100 with STATUS", listing),
    ("SELECT", || selected(&["SELECT INBOX"])),
    ("APPEND", append),
    ("Opening a user with 1,000 messages", open),
    ("IDLE and DONE", || selected(&["IDLE\r\nDONE"])),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(asked) = Asked::of(&arguments) else { return ExitCode::SUCCESS };
    let mut table = Table::new("allocations.tsv", "per 1,000", asked);
    for (name, path) in PATHS {
        let counted = counted(path());
        table.note(name, counted.count_total);
        table.note(&format!("{name}: bytes"), counted.bytes_total);
    }
    table.finish()
}

/// The least of three: on a busy machine a command may have to give way, which takes room for it.
fn counted(mut step: Step) -> AllocationInfo {
    (0..BEFORE).for_each(|_| step());
    let count = |_| measure(|| (0..COUNTED).for_each(|_| step()));
    (0..3).map(count).min_by_key(|counted| counted.bytes_total).unwrap_or_default()
}

/// Gives these commands in turn, in a session that has selected INBOX.
fn selected(commands: &[&str]) -> Step {
    let lines: Vec<String> = commands.iter().map(|command| format!("a {command}\r\n")).collect();
    repeated(Client::selected(SIZE), lines.into_iter().map(String::into_bytes).collect())
}

fn repeated(mut client: Client, lines: Vec<Vec<u8>>) -> Step {
    let mut next = 0;
    Box::new(move || {
        black_box(client.run(&lines[next]));
        next = (next + 1) % lines.len();
    })
}

/// A LIST with STATUS by a user with 100 mailboxes.
fn listing() -> Step {
    let line = b"a LIST \"\" * RETURN (STATUS (MESSAGES UNSEEN UIDNEXT))\r\n";
    repeated(Client::of(&collector(100)), vec![line.to_vec()])
}

fn append() -> Step {
    let message = message();
    let mut command = format!("a APPEND INBOX {{{}+}}\r\n", message.len()).into_bytes();
    command.extend_from_slice(&message);
    command.extend_from_slice(b"\r\n");
    repeated(Client::selected(SIZE), vec![command])
}

/// Of a user whom no other path changes.
fn open() -> Step {
    let name = user(1000).name().clone();
    Box::new(move || {
        let store = Store::open(Options::new(place().dir.path()), Arc::new(Deaf)).expect("a store");
        drop(black_box(store.user(&name).expect("a user")));
    })
}
