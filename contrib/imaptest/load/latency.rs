//! Percentiles of single commands, in a closed loop or at a fixed rate.
//!
//! At a rate, a command's time counts from when it was due, not from when the connection was free to send it: a server
//! that stalls is charged for everyone who would have waited (no coordinated omission).

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use crate::connection::Connection;
use crate::row::Out;
use crate::stats::Samples;
use crate::target::Target;

/// Messages that every mailbox is given first.
const MESSAGES: usize = 100;

/// What is measured, and how.
#[derive(Args)]
pub struct Arguments {
    #[arg(long, value_delimiter = ',', default_value = "noop,select,fetch,body,store,search,append")]
    commands: Vec<String>,
    #[arg(long, default_value_t = 10)]
    connections: usize,
    /// Commands per second of all connections together; 0: each sends when it has its answer.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Milliseconds that each waits between an answer and the next command, without a rate.
    #[arg(long, default_value_t = 0)]
    think: u64,
    /// Seconds of each command.
    #[arg(long, default_value_t = 3)]
    secs: u64,
}

/// Measures one command after the other, each on all connections at once.
///
/// # Errors
/// When the server refuses anything.
pub fn run(target: &Target, arguments: &Arguments, out: Out) -> Result<()> {
    let mut connections = Vec::new();
    for n in 0..arguments.connections {
        let mut connection = target.selected(n, n)?;
        if n < target.users.len() {
            fill(&mut connection)?;
        }
        connections.push(connection);
    }
    for connection in &mut connections {
        connection.command("SELECT INBOX")?;
    }
    let meter = target.meter();
    for name in &arguments.commands {
        let before = meter.cpu();
        let begun = Instant::now();
        let mut samples = together(&mut connections, arguments, name)?;
        let took = begun.elapsed().as_secs_f64();
        let count = samples.count() as f64;
        let cpu = meter.cpu().zip(before).map(|(after, before)| (after - before) / count);
        let row =
            out.row("latency").word("command", name).number("connections", arguments.connections as f64);
        samples.write(row.number("per_s", count / took).maybe("cpu_us", cpu)).print();
    }
    Ok(())
}

fn fill(connection: &mut Connection) -> Result<()> {
    let message = message(2000);
    connection.append("INBOX", &vec![message.as_slice(); MESSAGES])
}

fn together(connections: &mut [Connection], arguments: &Arguments, name: &str) -> Result<Samples> {
    let (barrier, count) = (Barrier::new(connections.len()), connections.len());
    thread::scope(|scope| {
        let threads: Vec<_> = connections
            .iter_mut()
            .enumerate()
            .map(|(n, connection)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    one(connection, arguments, name, (n, count))
                })
            })
            .collect();
        threads.into_iter().try_fold(Samples::default(), |mut all, thread| {
            all.merge(thread.join().expect("a connection's thread panicked")?);
            Ok(all)
        })
    })
}

/// One connection's part. Connections are due one after the other, evenly.
fn one(
    connection: &mut Connection,
    arguments: &Arguments,
    name: &str,
    (n, count): (usize, usize),
) -> Result<Samples> {
    let (begun, end) = (Instant::now(), Duration::from_secs(arguments.secs));
    let every = (arguments.rate > 0.0).then(|| Duration::from_secs_f64(count as f64 / arguments.rate));
    let mut due = begun + every.unwrap_or_default().mul_f64(n as f64 / count as f64);
    let mut samples = Samples::default();
    for serial in 0.. {
        if begun.elapsed() >= end {
            break;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let since = if every.is_some() { due } else { Instant::now() };
        command(connection, name, serial)?;
        samples.add(since.elapsed());
        due = match every {
            Some(every) => due + every,
            None => Instant::now() + Duration::from_millis(arguments.think),
        };
    }
    Ok(samples)
}

/// Runs one command of a kind.
///
/// # Errors
/// When the server refuses it, or there is no such kind.
pub fn command(connection: &mut Connection, name: &str, serial: usize) -> Result<()> {
    let which = 1 + serial * 7 % MESSAGES;
    match name {
        "noop" => connection.command("NOOP"),
        "select" => connection.command("SELECT INBOX"),
        "status" => connection.command("STATUS INBOX (MESSAGES UNSEEN UIDNEXT)"),
        "fetch" => connection.command(&format!("FETCH {which} (UID FLAGS ENVELOPE)")),
        "flags" => connection.command("FETCH 1:* (FLAGS)"),
        "body" => connection.command(&format!("FETCH {which} (BODY.PEEK[])")),
        "store" => {
            let sign = if serial.is_multiple_of(2) { '+' } else { '-' };
            connection.command(&format!("STORE {which} {sign}FLAGS (\\Flagged)"))
        }
        "search" => connection.command("SEARCH SUBJECT load FLAGGED"),
        "append" => connection.append("INBOX", &[&message(2000)]),
        _ => bail!("no command {name}: there are noop select status fetch flags body store search append"),
    }
}

/// A message of about `size` bytes.
pub fn message(size: usize) -> Vec<u8> {
    let mut text = b"From: Ada <ada@example.org>\r\nTo: Bob <bob@example.org>\r\nSubject: load\r\n\
        Date: Mon, 1 Jan 2024 10:00:00 +0000\r\nMessage-ID: <load@example.org>\r\n\r\n"
        .to_vec();
    while text.len() + 74 <= size {
        text.extend_from_slice(
            b"The quick brown fox jumps over the lazy dog and then comes back for more.\r\n",
        );
    }
    text
}
