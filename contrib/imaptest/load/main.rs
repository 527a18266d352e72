//! A load generator for IMAP servers: what imaptest cannot measure.
//!
//!     cargo build --release --example load
//!     target/release/examples/load --port 1143 --pid "$(cat msg-svr-base/data/proc/pid)" idle --sessions 1000
//!
//! Percentiles of single commands at a rate or in a closed loop, tens of thousands of idle sessions, the time from an
//! APPEND to the news in other sessions, durable APPENDs beside the bare disk, and what commands cost by the size of
//! a mailbox, the number of mailboxes, the number of clients, and what the download of messages costs by their size. It speaks to any server: each user must exist, be it
//! `u1` or whatever `--user` says. With `--pid` (or `--cgroup`) it also tells what the server's processes used.

use anyhow::Result;
use clap::{Parser, Subcommand};

mod append;
mod clients;
mod connection;
mod disk;
mod download;
mod hold;
mod idle;
mod latency;
mod mailboxes;
mod row;
mod sizes;
mod stats;
mod target;
mod timing;
mod usage;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Puts load on an IMAP server and says what it did.
#[derive(Parser)]
#[command(name = "load")]
struct Arguments {
    #[command(flatten)]
    target: target::Target,
    /// One line of JSON per result.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sessions in IDLE: memory for each, how soon they hear of a message, how long a NOOP takes meanwhile.
    Idle(idle::Arguments),
    /// Percentiles of single commands.
    Latency(latency::Arguments),
    /// Durable APPENDs per second.
    Append(append::Arguments),
    /// The bare disk: pwrite and fdatasync, to hold APPEND against.
    Disk(disk::Arguments),
    /// Downloads of whole mailboxes, by the size of the messages.
    Download(download::Arguments),
    /// What commands cost in mailboxes of different sizes.
    Sizes(sizes::Arguments),
    /// What commands cost with different numbers of mailboxes.
    Mailboxes(mailboxes::Arguments),
    /// Many clients at once, on one mailbox or each on its own.
    Clients(clients::Arguments),
    /// Sessions for `idle` that its own descriptors do not suffice for.
    #[command(hide = true)]
    Hold(hold::Arguments),
}

fn main() -> Result<()> {
    let Arguments { target, json, command } = Arguments::parse();
    target::raise_descriptor_limit();
    let out = row::Out { json };
    match command {
        Command::Idle(arguments) => idle::run(&target, &arguments, out),
        Command::Latency(arguments) => latency::run(&target, &arguments, out),
        Command::Append(arguments) => append::run(&target, &arguments, out),
        Command::Disk(arguments) => disk::run(&arguments, out),
        Command::Download(arguments) => download::run(&target, &arguments, out),
        Command::Sizes(arguments) => sizes::run(&target, &arguments, out),
        Command::Mailboxes(arguments) => mailboxes::run(&target, &arguments, out),
        Command::Clients(arguments) => clients::run(&target, &arguments, out),
        Command::Hold(arguments) => hold::run(&target, &arguments),
    }
}
