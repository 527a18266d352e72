//! Commands: one file each. The program answers to the name it was called by: a link named `configutil` is
//! `heliograph configutil`.
//!
//! Errors are one line on standard error, `heliograph: what is wrong: what to do`.

mod base;
mod configutil;
mod counterutil;
mod enscat;
mod imsbackup;
mod imsconnutil;
mod imsrestore;
mod init;
mod logging;
mod mail;
mod mboxutil;
mod password;
mod reconstruct;
mod serve;
mod services;
mod start;
mod user;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The command could not be carried out.
const FAILURE: u8 = 1;

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 not done, standard error says why; 2 the command line makes no sense.

The base is the directory given by --base, else by MSG_SVR_BASE, else ./msg-svr-base.";

/// Heliograph, an IMAP message store.
///
/// Without a command: makes ./msg-svr-base when there is none, with a user `demo` and a configuration that listens
/// on 127.0.0.1, port 1143 and, with TLS, 1993, prints how to connect, and serves in the foreground until Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "heliograph", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Program {
    /// The base directory to work on.
    #[arg(long, global = true, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Without a command: set an option of the new base, as configutil would; may be repeated.
    #[arg(long = "set", value_name = "OPTION=VALUE", value_parser = init::assignment)]
    sets: Vec<(String, String)>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Arguments),
    Serve(serve::Arguments),
    Configutil(configutil::Arguments),
    Enscat(enscat::Arguments),
    User(user::Arguments),
    StartMsg(services::start::Arguments),
    StopMsg(services::stop::Arguments),
    Refresh(services::refresh::Arguments),
    Imsbackup(imsbackup::Arguments),
    Imsconnutil(imsconnutil::Arguments),
    Imsrestore(imsrestore::Arguments),
    Mboxutil(mboxutil::Arguments),
    Reconstruct(reconstruct::Arguments),
    Counterutil(counterutil::Arguments),
}

/// Carries out the command that the arguments, the program's name first, ask for.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = by_link_name(arguments.collect());
    let called_as = arguments.first().map(PathBuf::from).unwrap_or_default();
    let program = match Program::try_parse_from(arguments) {
        Ok(program) => program,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(FAILURE));
        }
    };
    let mut out = io::BufWriter::new(io::stdout());
    let result = dispatch(program, &called_as, &mut out);
    match result.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = out.flush();
            let _ = writeln!(io::stderr(), "heliograph: {}", logging::printable(&in_one_line(&error)));
            ExitCode::from(FAILURE)
        }
    }
}

fn dispatch(program: Program, called_as: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let place = base::Place::new(program.base, called_as);
    match program.command {
        None => start::run(&place, &program.sets, out),
        Some(Command::Init(arguments)) => init::run(arguments, out),
        Some(Command::Serve(arguments)) => serve::run(&place, &arguments, out),
        Some(Command::Configutil(arguments)) => configutil::run(&place, arguments, out),
        Some(Command::Enscat(arguments)) => enscat::run(&place, arguments, out),
        Some(Command::User(arguments)) => user::run(&place, arguments, out),
        Some(Command::StartMsg(arguments)) => services::start::run(&place, &arguments, out),
        Some(Command::StopMsg(arguments)) => services::stop::run(&place, &arguments, out),
        Some(Command::Imsbackup(arguments)) => imsbackup::run(&place, &arguments, out),
        Some(Command::Reconstruct(arguments)) => reconstruct::run(&place, &arguments, out),
        Some(Command::Imsrestore(arguments)) => imsrestore::run(&place, &arguments, out),
        Some(Command::Imsconnutil(arguments)) => imsconnutil::run(&place, &arguments, out),
        Some(Command::Mboxutil(arguments)) => mboxutil::run(&place, &arguments, out),
        Some(Command::Counterutil(arguments)) => counterutil::run(&place, &arguments, out),
        Some(Command::Refresh(arguments)) => services::refresh::run(&place, &arguments, out),
    }
}

fn by_link_name(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let called_as = arguments.first().map(Path::new).and_then(Path::file_name);
    let link = called_as.and_then(|name| crate::config::LINKS.iter().find(|link| name == **link));
    if let Some(link) = link {
        arguments.insert(1, link.into());
    }
    arguments
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// The error and what caused it. Errors of the rooms name their cause already: it is not said twice.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.contains(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Program::command().debug_assert();
    }

    #[test]
    fn links_stand_for_commands() {
        for (given, meant) in [
            (
                &["/srv/base/sbin/configutil", "-o", "x"][..],
                &["/srv/base/sbin/configutil", "configutil", "-o", "x"][..],
            ),
            (&["heliograph", "configutil"], &["heliograph", "configutil"]),
            (&[], &[]),
        ] {
            assert_eq!(by_link_name(given.iter().map(OsString::from).collect()), meant);
        }
    }
}
