//! `counterutil`: the counters of a running server.

use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Result, bail};
use clap::Args;

use super::base::Place;
use super::imsconnutil::time;
use crate::master;
use crate::worker::{Counter, Snapshot};

/// The one group of counters, by the name that the original gives it.
const IMAPSTAT: &str = "imapstat";

/// Names of the counters and what they are, in the order of the original.
const COUNTERS: &[(&str, Counter)] = &[
    ("currentStartTime", Counter::StartTime),
    ("lastConnectionTime", Counter::LastConnection),
    ("maxConnections", Counter::MaxSessions),
    ("numConnections", Counter::Accepted),
    ("numCurrentConnections", Counter::Sessions),
    ("numFailedConnections", Counter::Refused),
    ("numFailedLogins", Counter::FailedLogins),
    ("numGoodLogins", Counter::GoodLogins),
];

/// Prints the counters of a running server.
///
/// The counters of all workers are added up; those of each follow, named worker.N.
#[derive(Args, Debug)]
pub struct Arguments {
    /// List the groups of counters.
    #[arg(short = 'l', conflicts_with = "object")]
    list: bool,
    /// The group to print.
    #[arg(short = 'o', value_name = "OBJECT", default_value = IMAPSTAT)]
    object: String,
    /// Seconds between two prints.
    #[arg(short = 'i', value_name = "SECONDS", default_value = "3", value_parser = clap::value_parser!(u64).range(1..=86400))]
    interval: u64,
    /// How often to print; 0 for ever.
    #[arg(short = 'n', value_name = "COUNT", default_value = "1")]
    count: u64,
}

/// Runs the command.
///
/// # Errors
/// When no server runs, or there is no such group.
pub fn run(place: &Place, arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    if arguments.list {
        return Ok(writeln!(out, "{IMAPSTAT}")?);
    }
    if arguments.object != IMAPSTAT {
        bail!("there is no group of counters `{}`: there is {IMAPSTAT}", arguments.object);
    }
    let base = place.open()?;
    let mut count = 0;
    loop {
        if master::running(&base.proc_dir())?.is_none() {
            bail!("no server is running on {}", base.root().display());
        }
        count += 1;
        writeln!(out, "Monitor counterobject ({IMAPSTAT}), count = {count}")?;
        print(&base.proc_dir(), out)?;
        out.flush()?;
        if count == arguments.count {
            return Ok(());
        }
        thread::sleep(Duration::from_secs(arguments.interval));
    }
}

fn print(proc_dir: &Path, out: &mut impl Write) -> Result<()> {
    let snapshot = Snapshot::read(proc_dir)?;
    for (name, counter) in COUNTERS {
        writeln!(out, "global.{name}: {}", show(*counter, snapshot.value_of_all(*counter)))?;
    }
    for worker in snapshot.living() {
        for (name, counter) in COUNTERS {
            writeln!(out, "worker.{worker}.{name}: {}", show(*counter, snapshot.value(worker, *counter)))?;
        }
    }
    Ok(())
}

fn show(counter: Counter, value: u64) -> String {
    match counter {
        Counter::StartTime | Counter::LastConnection if value == 0 => "never".to_owned(),
        Counter::StartTime | Counter::LastConnection => time(UNIX_EPOCH + Duration::from_secs(value)),
        _ => value.to_string(),
    }
}
