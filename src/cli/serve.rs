//! `heliograph serve`: runs the server in the foreground.

use std::io::Write;

use anyhow::{Context, Result};
use clap::Args;

use super::base::Place;
use super::logging::{self, Target};
use crate::config::{
    Base, Config, Finding, Settings, Severity, check_mail, check_reach, hand_over, service_user,
};
use crate::master::{self, BoundHook, Hooks};
use crate::sys::{self, Account};

/// Runs the server in the foreground until SIGTERM or Ctrl-C.
///
/// SIGHUP takes up options for which a refresh is enough; SIGUSR1 reopens the log.
#[derive(Args, Debug, Default)]
pub struct Arguments {
    /// Log to log/imap under the base instead of standard error.
    #[arg(long)]
    log_file: bool,
    /// Services that are not to run until start-msg starts them.
    #[arg(long, hide = true, value_name = "SERVICE", value_delimiter = ',')]
    stopped: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When the base or its configuration cannot be used, or the server cannot start.
pub fn run(place: &Place, arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let base = place.open_as_caller()?;
    let config = Config::load(&base)?;
    out.flush()?;
    serve(&base, &config, arguments, Box::new(|_| ()))
}

/// Serves with a configuration that was read before; `bound` hears where.
///
/// # Errors
/// As for [`run`].
pub fn serve(base: &Base, config: &Config, arguments: &Arguments, bound: Box<BoundHook>) -> Result<()> {
    let settings = config.settings()?;
    let user = become_service_user(base, &settings)?;
    base.check_writable()?;
    let (proc_dir, stopped) = (base.proc_dir(), arguments.stopped.iter().map(String::as_str));
    let cannot = || format!("cannot write to {}", proc_dir.display());
    master::stop_services(&proc_dir, stopped).with_context(cannot)?;
    let directory = base.resolve(&settings.log.directory);
    logging::start(
        settings.log.level.into(),
        if arguments.log_file { Target::File(&directory) } else { Target::Stderr },
    )?;
    if user.is_none() && sys::is_root() && settings.service_user.is_empty() {
        log::warn!(
            "serving as root: set local.serveruid to a user of its own, so that root only binds ports and reads the key"
        );
    }
    for finding in config.findings().iter().filter(|finding| finding.severity() == Severity::Warning) {
        log::warn!("{finding}");
    }
    for obstacle in settings.idle_obstacles() {
        log::info!("IDLE is not offered: {obstacle}");
    }
    let adopt = |settings: &Settings| logging::set_level(settings.log.level.into());
    Ok(master::serve(base, config, Hooks { user, adopt: Box::new(adopt), bound })?)
}

/// From here on this process acts as the service user, except when it is raised. The user, when that is another one
/// than started it.
fn become_service_user(base: &Base, settings: &Settings) -> Result<Option<Account>> {
    let (name, partition) = (&settings.service_user, settings.partition(base));
    let Some(account) = service_user(name).map_err(Finding::ServiceUser)? else {
        if sys::is_root() {
            check_mail(&partition, 0, "root")?;
        }
        return Ok(None);
    };
    check_mail(&partition, account.uid(), name)?;
    hand_over(base, settings, &account)?;
    account.lower().with_context(|| format!("cannot become {name} (local.serveruid)"))?;
    check_reach(base, name)?;
    Ok(Some(account))
}
