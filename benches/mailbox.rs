//! What commands cost by the size of the mailbox: `cargo bench --bench mailbox`.
//!
//! Each is a whole command line through a session without a socket: framing, parsing, store, response. Only those
//! that must tell of every message may grow with the mailbox.

use std::sync::Arc;

use common::{Client, Deaf, gappy_user, place, user};
use divan::{Bencher, black_box};
use heliograph::store::{Access, FlagChange, FlagList, Flags, Options, Store, Uid, UidSet};

mod common;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [usize; 3] = [100, 10_000, 100_000];

fn main() {
    divan::main();
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

/// Commands that set a flag of one message and take it back, in turn.
fn toggle(flag: &str) -> impl FnMut() -> &'static str {
    let mut lines = ['+', '-'].map(|sign| format!("a STORE 50 {sign}FLAGS ({flag})\r\n").leak() as &str);
    move || {
        lines.reverse();
        lines[1]
    }
}

#[divan::bench(args = SIZES)]
fn store_one_flag(bencher: Bencher<'_, '_>, size: usize) {
    let (mut client, mut next) = (Client::selected(size), toggle("\\Seen"));
    bencher.bench_local(|| black_box(client.run(next().as_bytes())));
}

#[divan::bench(args = SIZES)]
fn noop_after_a_flag_change_elsewhere(bencher: Bencher<'_, '_>, size: usize) {
    let (mut one, mut other) = (Client::selected(size), Client::selected(size));
    let mut next = toggle("\\Flagged");
    bencher
        .with_inputs(|| other.run(next().as_bytes()))
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

/// A message comes, is marked and goes, in a mailbox without gaps.
#[divan::bench(args = SIZES)]
fn append_and_expunge(bencher: Bencher<'_, '_>, size: usize) {
    let mut client = Client::selected(size);
    bencher.bench_local(|| black_box(client.come_and_go()));
}

/// The same in one that has as many gaps as messages, of which another session hears.
#[divan::bench(args = SIZES)]
fn append_and_expunge_among_gaps(bencher: Bencher<'_, '_>, size: usize) {
    let [mut client, mut other] = [(); 2].map(|()| Client::of(&gappy_user(size)));
    client.run(b"b SELECT INBOX\r\n");
    other.run(b"b SELECT INBOX\r\n");
    bencher.bench_local(|| {
        client.come_and_go();
        black_box(other.run(b"a NOOP\r\n"))
    });
}

/// Marks of messages here and there, where half of them have one.
#[divan::bench(args = SIZES)]
fn delete_one_among_deleted(bencher: Bencher<'_, '_>, size: usize) {
    let user = user(size);
    let mut inbox = user.select("INBOX", Access::ReadWrite, false).expect("an INBOX");
    let deleted = FlagList { system: Flags::DELETED, ..FlagList::default() };
    let odd: UidSet = (1..=size as u32).step_by(2).filter_map(Uid::new).collect();
    inbox.store(&odd, FlagChange::Add, &deleted, None).expect("a STORE");
    let (mut client, mut next) = (Client::selected(size), toggle("\\Deleted"));
    bencher.bench_local(|| black_box(client.run(next().as_bytes())));
    inbox.store(&odd, FlagChange::Remove, &deleted, None).expect("a STORE");
}

/// The one that tells of every message: per message is what counts.
#[divan::bench(args = SIZES)]
fn fetch_all_flags_and_uids(bencher: Bencher<'_, '_>, size: usize) {
    let mut client = Client::selected(size);
    bencher.counter(size).bench_local(|| black_box(client.run(b"a FETCH 1:* (FLAGS UID)\r\n")));
}

/// The same where there are as many gaps as messages.
#[divan::bench(args = SIZES)]
fn fetch_all_flags_among_gaps(bencher: Bencher<'_, '_>, size: usize) {
    let mut client = Client::of(&gappy_user(size));
    client.run(b"b SELECT INBOX\r\n");
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
