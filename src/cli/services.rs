//! `start-msg`, `stop-msg`, `refresh`: the services of a base, from outside.
//!
//! | service | is |
//! |---|---|
//! | watcher | the master, which starts, watches and restarts all others |
//! | ens | the Event Notification Service |
//! | store | stored, which looks after the store: there whenever the master is |
//! | imap | the workers, and the auth process that they need |
//!
//! One file per command; this one holds what they share: names, what runs, waiting.

pub mod refresh;
pub mod start;
pub mod stop;

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::config::Base;
use crate::master::{self, SERVICES, Status};
use crate::sys;

/// How often the state of the server is looked at while waiting for a change.
const LOOK: Duration = Duration::from_millis(20);

/// A service, in the order of their start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Service {
    Watcher,
    Ens,
    Store,
    Imap,
}

impl Service {
    const ALL: [Service; 4] = [Service::Watcher, Service::Ens, Service::Store, Service::Imap];

    fn name(self) -> &'static str {
        match self {
            Service::Watcher => "watcher",
            Service::Ens => "ens",
            Service::Store => "store",
            Service::Imap => "imap",
        }
    }

    /// Whether it has processes of its own, which the master starts and stops alone.
    fn is_separate(self) -> bool {
        SERVICES.contains(&self.name())
    }
}

/// The named services in their order, each once; all of these when none is named.
fn in_order(named: &[Service], otherwise: impl Iterator<Item = Service>) -> Vec<Service> {
    let mut services: Vec<Service> = if named.is_empty() { otherwise.collect() } else { named.to_vec() };
    services.sort_unstable();
    services.dedup();
    services
}

/// A base, as the commands see its server.
struct Server<'a> {
    base: &'a Base,
    proc_dir: PathBuf,
}

impl<'a> Server<'a> {
    fn new(base: &'a Base) -> Self {
        Server { base, proc_dir: base.proc_dir() }
    }

    /// The master, if it runs. A pid file that a crash has left does not count: see [`master::running`].
    fn master(&self) -> Result<Option<Pid>> {
        master::running(&self.proc_dir)
            .with_context(|| format!("cannot see whether {} is served", self.base.root().display()))
    }

    /// Has the master take up the configuration, and waits for it, at most for `limit`; what runs then.
    fn refresh(&self, master: Pid, limit: Duration) -> Result<Status> {
        let before = self.status()?.refreshes;
        sys::signal(master, Signal::SIGHUP).context("cannot signal the watcher")?;
        match wait_for(limit, || Ok(Some(self.status()?).filter(|status| status.refreshes != before)))? {
            Some(Status { refusal: Some(reason), .. }) => bail!("refused, all stays as it was: {reason}"),
            Some(status) => Ok(status),
            None => bail!("the watcher ({master}) does not answer; stop-msg -f ends it"),
        }
    }

    /// What runs; nothing when the master does not.
    fn status(&self) -> Result<Status> {
        let Some(master) = self.master()? else { return Ok(Status::default()) };
        let status = Status::read(&self.proc_dir).unwrap_or_default();
        // The file may still be of the master before.
        Ok(if status.pids("watcher").any(|pid| pid == master) { status } else { Status::default() })
    }

    /// The processes of a service.
    fn pids(&self, service: Service, status: &Status) -> Vec<Pid> {
        status.pids(service.name()).collect()
    }
}

/// Looks until `look` finds something, at most for `limit`.
fn wait_for<T>(limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let deadline = Instant::now() + limit;
    loop {
        match look()? {
            Some(found) => return Ok(Some(found)),
            None if Instant::now() >= deadline => return Ok(None),
            None => thread::sleep(LOOK),
        }
    }
}

/// Process ids, separated by blanks.
fn list(pids: &[Pid]) -> String {
    pids.iter().map(Pid::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use Service::{Ens, Imap, Store, Watcher};

    #[test]
    fn services_come_in_their_order() {
        for (named, expected) in [
            (&[][..], &[Ens, Imap][..]),
            (&[Imap, Store, Imap], &[Store, Imap]),
            (&[Imap, Watcher], &[Watcher, Imap]),
        ] {
            assert_eq!(in_order(named, [Ens, Imap].into_iter()), expected);
        }
    }
}
