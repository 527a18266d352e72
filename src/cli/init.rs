//! `heliograph init`: makes a base.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::Result;
use clap::Args;

use crate::config::{Base, Config};

/// More workers than this gain little, says the manual's rule of thumb.
const MOST_PROCESSES: usize = 4;

/// What IDLE needs beside the defaults.
const IDLE: &[(&str, &str)] = &[
    ("local.store.notifyplugin", "msg-svr-base/lib/libibiff"),
    ("local.store.notifyplugin.enshost", "127.0.0.1"),
    ("local.store.notifyplugin.enseventkey", "enp://127.0.0.1/store/%M"),
    ("local.store.notifyplugin.noneinbox.enable", "1"),
];

/// Makes a base directory: sbin bin lib config data log.
///
/// The configuration has the options that IDLE needs, and one worker process per processor, up to 4. Everything
/// else is at its default: `heliograph configutil -H` lists all options.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Set an option, as configutil would; may be repeated.
    #[arg(long = "set", value_name = "OPTION=VALUE", value_parser = assignment)]
    sets: Vec<(String, String)>,
    /// The directory to make; it does not exist, or is empty.
    dir: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When an option is wrong or the directory cannot be made; nothing is left behind for a wrong option.
pub fn run(arguments: Arguments, out: &mut impl Write) -> Result<()> {
    let base = make_base(&arguments.dir, &arguments.sets)?;
    let dir = base.root().display();
    writeln!(
        out,
        "{dir} is ready. Next: heliograph --base {dir} user add NAME, then heliograph --base {dir} serve"
    )?;
    Ok(())
}

/// Makes a base whose configuration has the given options set.
///
/// # Errors
/// As for [`run`].
pub fn make_base(dir: &Path, sets: &[(String, String)]) -> Result<Base> {
    let mut config = Config::new(dir.join("config/msg.conf"));
    config.comment("Options that differ from their defaults; `configutil -H` lists all with their meaning.");
    let processes = thread::available_parallelism().map_or(1, usize::from).min(MOST_PROCESSES);
    config.set("service.imap.numprocesses", &processes.to_string())?;
    config.comment("IDLE needs these four.");
    for (option, value) in IDLE {
        config.set(option, value)?;
    }
    if !sets.is_empty() {
        config.comment("Set when the base was made.");
    }
    for (option, value) in sets {
        config.set(option, value)?;
    }
    config.settings()?;
    Ok(Base::init(dir, &config.to_text())?)
}

/// Reads `OPTION=VALUE`.
pub fn assignment(text: &str) -> Result<(String, String), &'static str> {
    let (option, value) = text.split_once('=').ok_or("write OPTION=VALUE")?;
    Ok((option.trim().into(), value.trim().into()))
}
