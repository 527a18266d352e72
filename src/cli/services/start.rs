//! `start-msg`: starts services and waits until they are ready.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::unistd::Pid;

use super::{Server, Service, in_order, list, wait_for};
use crate::cli::base::Place;
use crate::cli::logging::printable;
use crate::config::{Base, Config, Settings};
use crate::master::{SERVICES, stop_services, stopped_services};
use crate::sys;

/// How long a service may take until it is ready. A store that was not closed in order is looked through first.
const READY: Duration = Duration::from_secs(60);

/// Lines of the log that are shown when a service does not start.
const LAST_LINES: usize = 10;

/// As much of the end of a log is read for that, in bytes.
const LAST_BYTES: u64 = 16 * 1024;

/// Starts services and waits until each is ready: a line per service with its process ids.
///
/// What runs already is left alone. The watcher is started with any of the others; it restarts what dies.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The services to start; none given: all that the configuration enables.
    #[arg(value_enum)]
    services: Vec<Service>,
}

/// Runs the command.
///
/// # Errors
/// When the configuration is wrong, or a service does not become ready; with the last lines of its log.
pub fn run(place: &Place, arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let base = place.open()?;
    let settings = Config::load(&base)?.settings()?;
    let is_enabled = |service: Service| service != Service::Ens || settings.ens.enable;
    if arguments.services.iter().any(|&service| !is_enabled(service)) {
        bail!("the ens server is switched off: set local.ens.enable to yes");
    }
    let services = in_order(&arguments.services, Service::ALL.into_iter().filter(|&it| is_enabled(it)));
    let start = Start {
        server: Server::new(&base),
        log: base.resolve(&settings.log.directory).join("imap"),
        settings,
    };
    start.run(&services, out)
}

struct Start<'a> {
    server: Server<'a>,
    settings: Settings,
    log: PathBuf,
}

impl Start<'_> {
    fn run(&self, services: &[Service], out: &mut impl Write) -> Result<()> {
        let before = self.server.status()?;
        let log_start = fs::metadata(&self.log).map_or(0, |metadata| metadata.len());
        let mut launched = match self.server.master()? {
            Some(master) => {
                self.wake(master, services)?;
                None
            }
            None => Some(self.launch(services)?),
        };
        for &service in services {
            let running = self.server.pids(service, &before);
            if !running.is_empty() {
                writeln!(out, "{} server is already running: {}", service.name(), list(&running))?;
                continue;
            }
            write!(out, "Starting {} server .... ", service.name())?;
            out.flush()?;
            match self.wait_until_ready(service, launched.as_mut())? {
                Ok(pids) => writeln!(out, "{}", list(&pids))?,
                Err(reason) => {
                    writeln!(out, "failed")?;
                    bail!("{} server does not start: {reason}{}", service.name(), self.last_words(log_start));
                }
            }
            if service == Service::Store {
                writeln!(out, "checking store server status ...... ready")?;
            }
        }
        self.explain(out)
    }

    /// Says what an administrator may miss.
    fn explain(&self, out: &mut impl Write) -> Result<()> {
        if let Some(obstacle) = self.settings.idle_obstacle() {
            writeln!(out, "IDLE is not offered: {obstacle}")?;
        }
        Ok(())
    }

    /// Starts the master; its own group keeps Ctrl-C in this terminal away from it.
    fn launch(&self, services: &[Service]) -> Result<Child> {
        let base = self.server.base;
        let output = File::create(first_words(base))
            .with_context(|| format!("cannot write {}", first_words(base).display()))?;
        let wanted = |name: &&str| services.iter().any(|service| service.name() == *name);
        let stopped: Vec<&str> = SERVICES.into_iter().filter(|name| !wanted(name)).collect();
        let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
        command.arg("--base").arg(base.root()).args(["serve", "--log-file"]);
        if !stopped.is_empty() {
            command.arg(format!("--stopped={}", stopped.join(",")));
        }
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        if sys::is_lowered() {
            command.uid(0).gid(0);
        }
        sys::raised(|| command.current_dir("/").spawn()).context("cannot start the watcher")
    }

    /// Has a running master start what was stopped.
    fn wake(&self, master: Pid, services: &[Service]) -> Result<()> {
        let proc_dir = &self.server.proc_dir;
        let before = stopped_services(proc_dir);
        let is_named = |name: &str| services.iter().any(|service| service.name() == name);
        let stopped: Vec<&str> = before.iter().map(String::as_str).filter(|name| !is_named(name)).collect();
        if stopped.len() == before.len() {
            return Ok(());
        }
        stop_services(proc_dir, stopped)?;
        self.server.refresh(master, READY).map(drop)
    }

    /// The processes of a service, or why there are none.
    fn wait_until_ready(
        &self,
        service: Service,
        mut launched: Option<&mut Child>,
    ) -> Result<Result<Vec<Pid>, String>> {
        let ready = wait_for(READY, || {
            if let Some(Some(end)) = launched.as_mut().map(|child| child.try_wait()).transpose()? {
                return Ok(Some(Err(format!("the watcher has ended ({end})"))));
            }
            let pids = self.server.pids(service, &self.server.status()?);
            let is_ready = pids.len() >= self.processes(service);
            Ok(is_ready.then_some(Ok(pids)))
        })?;
        Ok(ready.unwrap_or_else(|| Err(format!("it is not ready after {} seconds", READY.as_secs()))))
    }

    fn processes(&self, service: Service) -> usize {
        if service == Service::Imap { self.settings.imap.processes } else { 1 }
    }

    /// What the server has said since it was started.
    fn last_words(&self, log_start: u64) -> String {
        let files = [(first_words(self.server.base), 0), (self.log.clone(), log_start)];
        let text: String =
            files.into_iter().map(|(path, start)| tail(&path, start).unwrap_or_default()).collect();
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        last.iter().map(|line| format!("\n    {}", printable(line))).collect()
    }
}

/// Takes what the master says before it has a log.
fn first_words(base: &Base) -> PathBuf {
    base.log_dir().join("start")
}

/// What a file holds behind `start`, at most [`LAST_BYTES`] of it.
fn tail(path: &PathBuf, start: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(start.max(length.saturating_sub(LAST_BYTES)).min(length)))?;
    let mut bytes = Vec::new();
    file.take(LAST_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
