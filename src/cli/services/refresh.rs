//! `refresh`: has a running server take up the changed configuration.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use super::{Server, Service, in_order, list};
use crate::cli::base::Place;
use crate::config::Config;

/// How long the master may take.
const ANSWER: Duration = Duration::from_secs(15);

/// Has the running services take up the changed configuration. No session is disturbed.
///
/// Options that need more than a refresh are named in the log; configutil -m lists them.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The services to refresh; none given: all that run.
    #[arg(value_enum)]
    services: Vec<Service>,
}

/// Runs the command.
///
/// # Errors
/// When the configuration is wrong, nothing runs, or the server refuses.
pub fn run(place: &Place, arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let base = place.open()?;
    Config::load(&base)?.settings()?;
    let server = Server::new(&base);
    let Some(master) = server.master()? else {
        bail!("no server is running on {}: start-msg starts it", base.root().display());
    };
    let status = server.refresh(master, ANSWER)?;
    for service in in_order(&arguments.services, Service::ALL.into_iter()) {
        let pids = server.pids(service, &status);
        if !pids.is_empty() {
            writeln!(out, "Refreshing {} server {}", service.name(), list(&pids))?;
        }
    }
    Ok(())
}
