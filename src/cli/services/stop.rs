//! `stop-msg`: stops services and waits until they have ended.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Server, Service, in_order, list, wait_for};
use crate::cli::base::Place;
use crate::master::{self, SERVICES, Status, stop_services, stopped_services};
use crate::sys;

/// How long services may take to end: the master kills what does not stop within 5 seconds.
const END: Duration = Duration::from_secs(15);

/// The same when the next step is to kill them: a server that works has ended by then.
const END_BEFORE_KILL: Duration = Duration::from_secs(7);

/// How long after SIGKILL processes may still be seen.
const KILLED: Duration = Duration::from_secs(5);

/// Stops services and waits until they have ended: a line per service.
///
/// Clients hear a goodbye; what was acknowledged is on disk. Without the watcher or the store nothing can run: to
/// stop one of these stops all.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Kill what does not stop in time.
    #[arg(short = 'f')]
    force: bool,
    /// The services to stop; none given: all.
    #[arg(value_enum)]
    services: Vec<Service>,
}

/// Runs the command.
///
/// # Errors
/// When a service does not end.
pub fn run(place: &Place, arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let base = place.open()?;
    let server = Server::new(&base);
    let services = in_order(&arguments.services, Service::ALL.into_iter());
    let Some(master) = server.master()? else {
        return Ok(writeln!(out, "No server is running on {}", base.root().display())?);
    };
    let status = server.status()?;
    let stop = Stop { server, master, status, force: arguments.force };
    if stop.ends_all(&services) { stop.end_all(out) } else { stop.end_some(&services, out) }
}

struct Stop<'a> {
    server: Server<'a>,
    master: Pid,
    /// Before anything was stopped.
    status: Status,
    force: bool,
}

impl Stop<'_> {
    /// Whether nothing is left that needs the master.
    fn ends_all(&self, services: &[Service]) -> bool {
        let is_left = |name: &str| {
            self.status.pids(name).next().is_some() && !services.iter().any(|service| service.name() == name)
        };
        services.contains(&Service::Watcher)
            || services.contains(&Service::Store)
            || !SERVICES.iter().any(|name| is_left(name))
    }

    fn end_all(&self, out: &mut impl Write) -> Result<()> {
        // The last to be started goes first.
        for service in Service::ALL.into_iter().rev() {
            let pids = self.server.pids(service, &self.status);
            if !pids.is_empty() {
                writeln!(out, "Stopping {} server {}", service.name(), list(&pids))?;
            }
        }
        out.flush()?;
        send(self.master, Signal::SIGTERM)?;
        // The lock of the pid file is free when the last process has gone.
        if self.wait_for_end(if self.force { END_BEFORE_KILL } else { END })? {
            return Ok(());
        }
        if !self.force {
            bail!("the server does not end within {} seconds; stop-msg -f kills it", END.as_secs());
        }
        writeln!(out, "Killing {}", list(&self.living()))?;
        self.living().into_iter().try_for_each(|pid| send(pid, Signal::SIGKILL))?;
        if self.wait_for_end(KILLED)? {
            Ok(())
        } else {
            bail!("the server does not end, although it was killed")
        }
    }

    fn end_some(&self, services: &[Service], out: &mut impl Write) -> Result<()> {
        let proc_dir = &self.server.proc_dir;
        let separate: Vec<Service> =
            services.iter().copied().filter(|service| service.is_separate()).collect();
        let mut stopped = stopped_services(proc_dir);
        stopped.extend(separate.iter().map(|service| service.name().to_owned()));
        stop_services(proc_dir, stopped.iter().map(String::as_str))?;
        send(self.master, Signal::SIGHUP)?;
        for service in separate.into_iter().rev() {
            let pids = self.server.pids(service, &self.status);
            if pids.is_empty() {
                writeln!(out, "{} server is not running", service.name())?;
                continue;
            }
            writeln!(out, "Stopping {} server {}", service.name(), list(&pids))?;
            out.flush()?;
            let is_over = || Ok(self.server.pids(service, &self.server.status()?).is_empty().then_some(()));
            if wait_for(END, is_over)?.is_none() {
                bail!("{} server does not end within {} seconds", service.name(), END.as_secs());
            }
        }
        Ok(())
    }

    fn wait_for_end(&self, limit: Duration) -> Result<bool> {
        let is_over = || Ok((!master::is_served(&self.server.proc_dir)?).then_some(()));
        Ok(wait_for(limit, is_over)?.is_some())
    }

    /// The master first: it must not replace the others.
    fn living(&self) -> Vec<Pid> {
        let all = std::iter::once(self.master).chain(self.status.services.iter().map(|(_, pid)| *pid));
        let mut living: Vec<Pid> = all.filter(|&pid| kill(pid, None) != Err(Errno::ESRCH)).collect();
        living.dedup();
        living
    }
}

fn send(pid: Pid, signal: Signal) -> Result<()> {
    match sys::signal(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot signal process {pid}")),
    }
}
