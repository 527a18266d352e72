//! Many clients at once: on one mailbox, where each tells the others of its changes, or each on its own.

use anyhow::Result;
use clap::Args;

use crate::append::race;
use crate::latency::{command, message};
use crate::row::Out;
use crate::target::Target;

/// Messages that the mailbox has.
const MESSAGES: usize = 100;
/// What a client does over and over.
const ROUND: [&str; 6] = ["store", "fetch", "noop", "body", "store", "status"];

/// How many clients.
#[derive(Args)]
pub struct Arguments {
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32,64")]
    counts: Vec<usize>,
    /// Seconds for each number of clients.
    #[arg(long, default_value_t = 2.0)]
    secs: f64,
    /// Each client is a user of its own, as far as there are users.
    #[arg(long)]
    spread: bool,
}

/// Measures each number of clients.
///
/// # Errors
/// When the server refuses anything.
pub fn run(target: &Target, arguments: &Arguments, out: Out) -> Result<()> {
    let meter = target.meter();
    let user = |n| if arguments.spread { n } else { 0 };
    let most = arguments.counts.iter().copied().max().unwrap_or(0);
    let text = message(2000);
    for n in 0..if arguments.spread { most.min(target.users.len()) } else { 1 } {
        target.login(n, n)?.append("INBOX", &vec![text.as_slice(); MESSAGES])?;
    }
    for &count in &arguments.counts {
        let clients =
            (0..count).map(|n| Ok((target.selected(user(n), n)?, n))).collect::<Result<Vec<_>>>()?;
        let before = meter.cpu();
        let (mut samples, rate) = race(clients, arguments.secs, |(connection, serial)| {
            *serial += 1;
            command(connection, ROUND[*serial % ROUND.len()], *serial)
        })?;
        let done = samples.count() as f64;
        let cpu = meter.cpu().zip(before).map(|(after, before)| (after - before) / done);
        let row = out.row("clients").number("x", count as f64).number("per_s", rate).maybe("cpu_us", cpu);
        samples.write(row).print();
    }
    Ok(())
}
