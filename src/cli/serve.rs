//! `heliograph serve`: runs the server in the foreground.

use std::io::Write;

use anyhow::Result;
use clap::Args;

use super::base::Place;
use super::logging::{self, Target};
use crate::config::{Base, Config, Severity};
use crate::master;

/// Runs the server in the foreground until SIGTERM or Ctrl-C.
///
/// SIGHUP takes up options for which a refresh is enough; SIGUSR1 reopens the log.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Log to log/imap under the base instead of standard error.
    #[arg(long)]
    log_file: bool,
}

/// Runs the command.
///
/// # Errors
/// When the base or its configuration cannot be used, or the server cannot start.
pub fn run(place: &Place, arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let base = place.open()?;
    let config = Config::load(&base)?;
    out.flush()?;
    serve(&base, &config, arguments.log_file)
}

/// Serves with a configuration that was read before.
///
/// # Errors
/// As for [`run`].
pub fn serve(base: &Base, config: &Config, log_file: bool) -> Result<()> {
    let settings = config.settings()?;
    base.check_writable()?;
    let directory = base.resolve(&settings.log.directory);
    logging::start(
        settings.log.level.into(),
        if log_file { Target::File(&directory) } else { Target::Stderr },
    )?;
    for finding in config.findings().iter().filter(|finding| finding.severity() == Severity::Warning) {
        log::warn!("{finding}");
    }
    for obstacle in settings.idle_obstacles() {
        log::info!("IDLE is not offered: {obstacle}");
    }
    Ok(master::serve(base, settings)?)
}
