//! Clients that download whole mailboxes, by the size of the messages: what a MB and a message cost the server.

use anyhow::Result;
use clap::Args;

use crate::append::race;
use crate::connection::Connection;
use crate::latency::message;
use crate::row::Out;
use crate::target::Target;

/// Bytes of message in one APPEND while filling.
const BATCH: usize = 1 << 20;

/// How many clients, how large messages.
#[derive(Args)]
pub struct Arguments {
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Bytes of a message, about.
    #[arg(long, value_delimiter = ',', default_value = "4000,64000,1000000,25000000")]
    sizes: Vec<usize>,
    /// Megabytes in a mailbox, at least one message.
    #[arg(long, default_value_t = 16)]
    mailbox: usize,
    /// Seconds for each size.
    #[arg(long, default_value_t = 3.0)]
    secs: f64,
}

/// Measures each size. A mailbox that is there from an earlier run is used again.
///
/// # Errors
/// When the server refuses anything.
pub fn run(target: &Target, arguments: &Arguments, out: Out) -> Result<()> {
    let meter = target.meter();
    for &size in &arguments.sizes {
        let text = message(size);
        let count = (arguments.mailbox * 1_000_000 / text.len()).max(1);
        let users = arguments.connections.min(target.users.len());
        (0..users).try_for_each(|n| fill(&mut target.login(n, n)?, size, count, &text))?;
        let clients = (0..arguments.connections).map(|n| selected(target, n, size)).collect::<Result<_>>()?;
        let before = meter.cpu();
        let (samples, rate) =
            race(clients, arguments.secs, |client: &mut Connection| client.command("FETCH 1:* BODY.PEEK[]"))?;
        let messages = (samples.count() * count) as f64;
        let megabytes = messages * text.len() as f64 / 1e6;
        let cpu = meter.cpu().zip(before).map(|(after, before)| after - before);
        let row = out.row("download").number("size", size as f64);
        let row = row.word("transport", if target.tls { "tls" } else { "plain" });
        row.number("connections", arguments.connections as f64)
            .number("mb_per_s", rate * (count * text.len()) as f64 / 1e6)
            .number("per_s", rate * count as f64)
            .maybe("cpu_us_mb", cpu.map(|cpu| cpu / megabytes))
            .maybe("cpu_us", cpu.map(|cpu| cpu / messages))
            .print();
    }
    Ok(())
}

fn mailbox(size: usize) -> String {
    format!("bodies-{size}")
}

fn selected(target: &Target, n: usize, size: usize) -> Result<Connection> {
    let mut client = target.login(n, n)?;
    client.command(&format!("EXAMINE {}", mailbox(size)))?;
    Ok(client)
}

/// Makes the mailbox with `count` messages, if it is not there.
fn fill(client: &mut Connection, size: usize, count: usize, text: &[u8]) -> Result<()> {
    let name = mailbox(size);
    if !client.answer(&format!("LIST \"\" {name}"))?.is_empty() {
        return Ok(());
    }
    client.command(&format!("CREATE {name}"))?;
    let at_once = (BATCH / text.len()).max(1);
    (0..count).step_by(at_once).try_for_each(|first| {
        let messages = vec![text; at_once.min(count - first)];
        client.append(&name, &messages)
    })
}
