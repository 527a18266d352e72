//! `imsconnutil`: who is connected, and who was when; ends sessions.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::base::Place;
use super::mail;
use crate::auth::Users;
use crate::config::{Base, Config, lookup};
use crate::master::{self, ListedSession};
use crate::store::last_access;
use crate::worker::Snapshot;

/// Lists who is connected or was last, and ends sessions.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("action").required(true).args(["connected", "last", "kill"]))]
pub struct Arguments {
    /// List the connections.
    #[arg(short = 'c')]
    connected: bool,
    /// List when each user was last connected; without a server, too.
    #[arg(short = 'a')]
    last: bool,
    /// End the connections of the users given with -u; they hear a goodbye.
    #[arg(short = 'k', requires = "users")]
    kill: bool,
    /// Only this user; may be repeated.
    #[arg(short = 'u', value_name = "USER")]
    users: Vec<String>,
    /// The service to ask.
    #[arg(short = 's', value_name = "SERVICE", value_parser = ["imap"], default_value = "imap")]
    service: String,
}

/// Runs the command.
///
/// # Errors
/// When no server runs, or one of its workers does not answer.
pub fn run(place: &Place, arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let base = place.open()?;
    if arguments.last {
        demand(&base, "local.enablelastaccess", "connections are not recorded")?;
        return list_last(&base, &arguments.users, out);
    }
    let proc_dir = base.proc_dir();
    if master::running(&proc_dir)?.is_none() {
        bail!("no server is running on {}", base.root().display());
    }
    let workers: Vec<usize> = Snapshot::read(&proc_dir)?.living().collect();
    if arguments.kill {
        return arguments.users.iter().try_for_each(|user| kill(&proc_dir, &workers, user, out));
    }
    demand(&base, "local.imap.enableuserlist", "users are not listed")?;
    list(&sessions(&proc_dir, &workers, &arguments.users)?, out)
}

/// An administrator may not want this.
fn demand(base: &Base, option: &str, otherwise: &str) -> Result<()> {
    match Config::load(base)?.is_on(&lookup(option)?) {
        true => Ok(()),
        false => bail!("{option} is off: {otherwise}"),
    }
}

/// Everybody who may log in or has mail, by name.
fn list_last(base: &Base, users: &[String], out: &mut impl Write) -> Result<()> {
    let accounts = Users::load(&base.users())?;
    let mut last: BTreeMap<String, Option<SystemTime>> =
        accounts.names().map(|name| (name.to_string(), None)).collect();
    for user in mail::everybody(base, &mail::enter(base)?)? {
        last.extend(user.name.map(|name| (name.to_string(), last_access(&user.path))));
    }
    last.retain(|name, _| users.is_empty() || users.contains(name));
    let width = last.keys().map(|name| name.chars().count()).max().unwrap_or(0).max(4);
    writeln!(out, "{:width$}  LAST CONNECTED", "USER")?;
    for (name, when) in last {
        writeln!(out, "{name:width$}  {}", when.map_or("never".to_owned(), time))?;
    }
    Ok(())
}

fn kill(proc_dir: &Path, workers: &[usize], user: &str, out: &mut impl Write) -> Result<()> {
    let mut count = 0;
    for &worker in workers {
        let killed = master::kill_sessions(proc_dir, worker, user);
        count += killed.with_context(|| format!("worker {worker} does not answer"))?;
    }
    let plural = if count == 1 { "" } else { "s" };
    writeln!(out, "{user}: {count} session{plural} ended")?;
    Ok(())
}

/// The sessions of these users (of all, when none is named), the oldest first.
fn sessions(proc_dir: &Path, workers: &[usize], users: &[String]) -> Result<Vec<ListedSession>> {
    let mut sessions = Vec::new();
    for &worker in workers {
        let listed = master::list_sessions(proc_dir, worker);
        sessions.extend(listed.with_context(|| format!("worker {worker} does not answer"))?);
    }
    sessions
        .retain(|session| users.is_empty() || session.user.as_ref().is_some_and(|user| users.contains(user)));
    sessions.sort_by_key(|session| std::cmp::Reverse(session.connected));
    Ok(sessions)
}

fn list(sessions: &[ListedSession], out: &mut impl Write) -> Result<()> {
    let name = |session: &ListedSession| session.user.clone().unwrap_or_else(|| "(not logged in)".to_owned());
    let width = sessions.iter().map(|session| name(session).chars().count()).max().unwrap_or(0).max(4);
    writeln!(out, "{:width$}  {:20}  {:>9}  {:>8}  CLIENT", "USER", "LOGIN", "CONNECTED", "SELECTED")?;
    for session in sessions {
        let (seconds, login) = (session.connected.as_secs(), session.login.map(time).unwrap_or_default());
        writeln!(
            out,
            "{:width$}  {login:20}  {seconds:>8}s  {:>8}  {}",
            name(session),
            session.selected,
            session.client
        )?;
    }
    let users: std::collections::BTreeSet<_> = sessions.iter().flat_map(|session| &session.user).collect();
    writeln!(out, "{} connections, {} users", sessions.len(), users.len())?;
    Ok(())
}

/// In UTC, to the second.
pub fn time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map(|time| format!("{time:.0}")).unwrap_or_default()
}
