//! Durable APPENDs per second, by the number of connections.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use crate::latency::message;
use crate::row::Out;
use crate::stats::Samples;
use crate::target::Target;

/// How many connections, how long, how large.
#[derive(Args)]
pub struct Arguments {
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32,64")]
    pub connections: Vec<usize>,
    /// Seconds for each number of connections.
    #[arg(long, default_value_t = 3.0)]
    pub secs: f64,
    /// Bytes of a message, about.
    #[arg(long, default_value_t = 4000)]
    pub size: usize,
    /// All append to the first user's INBOX; otherwise each is a user of its own, as far as there are users.
    #[arg(long)]
    pub one_mailbox: bool,
}

/// Measures each number of connections.
///
/// # Errors
/// When the server refuses anything.
pub fn run(target: &Target, arguments: &Arguments, out: Out) -> Result<()> {
    let meter = target.meter();
    let text = message(arguments.size);
    for &count in &arguments.connections {
        let user = |n| if arguments.one_mailbox { 0 } else { n };
        let mut connections = (0..count).map(|n| target.login(user(n), n)).collect::<Result<Vec<_>>>()?;
        for connection in &mut connections {
            connection.append("INBOX", &[&text])?;
        }
        let before = meter.cpu();
        let (mut samples, rate) =
            race(connections, arguments.secs, |connection| connection.append("INBOX", &[&text]))?;
        let done = samples.count() as f64;
        let cpu = meter.cpu().zip(before).map(|(after, before)| (after - before) / done);
        let row = out.row("append").number("connections", count as f64).number("per_s", rate);
        samples.write(row.maybe("cpu_us", cpu)).print();
    }
    Ok(())
}

/// Every one of `racers` in a thread of its own repeats `each` for some seconds; the samples, and how many per second.
///
/// # Errors
/// The first that `each` made.
pub fn race<T: Send>(
    racers: Vec<T>,
    seconds: f64,
    each: impl Fn(&mut T) -> Result<()> + Sync,
) -> Result<(Samples, f64)> {
    let (barrier, end) = (Barrier::new(racers.len()), Duration::from_secs_f64(seconds));
    let run = |mut racer: T| {
        barrier.wait();
        let (mut samples, begun) = (Samples::default(), Instant::now());
        while begun.elapsed() < end {
            let start = Instant::now();
            each(&mut racer)?;
            samples.add(start.elapsed());
        }
        anyhow::Ok((samples, begun.elapsed()))
    };
    let run = &run;
    thread::scope(|scope| {
        let threads: Vec<_> = racers.into_iter().map(|racer| scope.spawn(move || run(racer))).collect();
        threads.into_iter().try_fold((Samples::default(), 0.0), |(mut all, mut rate), thread| {
            let (samples, took) = thread.join().expect("a racer panicked")?;
            rate += samples.count() as f64 / took.as_secs_f64();
            all.merge(samples);
            Ok((all, rate))
        })
    })
}
