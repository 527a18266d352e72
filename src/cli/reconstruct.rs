//! `reconstruct`: checks the mail of users, and mends it.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::Args;

use super::base::Place;
use super::logging::printable;
use super::mail;
use crate::config::Config;
use crate::store::check::{Checked, check, repair};
use crate::store::{UserDir, UserName, has_mail};

/// Checks the mail of users, and mends what is damaged, while the server runs.
///
/// Every checksum, every reference, the snapshot, owners and modes are checked. Without -n, what is whole goes on in a new
/// segment, and running sessions with it; damaged bytes are kept in files beside the log, and what is lost is listed by
/// mailbox and UID. Exit code 0: all is whole, or is now; 1: something was found (with -n), or could not be mended.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Only check; change nothing.
    #[arg(short = 'n')]
    dry: bool,
    /// Say nothing of users whose mail is whole, and show no progress.
    #[arg(short = 'q')]
    quiet: bool,
    /// Users, as `ada` or user/ada; everybody, when none is named.
    #[arg(value_name = "USER")]
    users: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When something was found that is not mended now.
pub fn run(place: &Place, arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let base = place.open()?;
    let grace = Config::load(&base)?.settings()?.store.cleanup_age;
    let partition = mail::enter(&base)?;
    let wanted = mail::selection(&arguments.users, None)?;
    let users = if wanted.is_everything() {
        mail::everybody(&base, &partition)?
    } else {
        let named = |name: &UserName| UserDir { path: PathBuf::new(), name: Some(name.clone()) };
        for name in wanted.users() {
            ensure!(has_mail(&partition, name), "user {name} has no mail here");
        }
        wanted.users().into_iter().map(named).collect()
    };
    let mut job = Job::new(arguments, partition, grace, users.len());
    for user in users {
        job.user(&user, out)?;
    }
    job.end(out)
}

struct Job<'a> {
    arguments: &'a Arguments,
    partition: PathBuf,
    grace: Duration,
    total: usize,
    done: usize,
    bytes: u64,
    findings: usize,
    /// Users with findings that are still there.
    damaged: u64,
    mended: u64,
    lost: usize,
    shows_progress: bool,
}

impl<'a> Job<'a> {
    fn new(arguments: &'a Arguments, partition: PathBuf, grace: Duration, total: usize) -> Self {
        let shows_progress = !arguments.quiet && io::stderr().is_terminal();
        Job {
            arguments,
            partition,
            grace,
            total,
            done: 0,
            bytes: 0,
            findings: 0,
            damaged: 0,
            mended: 0,
            lost: 0,
            shows_progress,
        }
    }

    fn user(&mut self, user: &UserDir, out: &mut impl Write) -> Result<()> {
        self.done += 1;
        let Some(name) = &user.name else {
            self.damaged += 1;
            writeln!(out, "{}: whose mail this is cannot be told: add the user first", user.path.display())?;
            return Ok(());
        };
        let work = if self.arguments.dry { check } else { repair };
        match work(&self.partition, name, self.grace) {
            Ok(checked) => self.say(name, &checked, out)?,
            Err(error) => {
                self.damaged += 1;
                writeln!(out, "user/{name}: {}", printable(&error.to_string()))?;
            }
        }
        self.progress();
        Ok(())
    }

    fn say(&mut self, name: &UserName, checked: &Checked, out: &mut impl Write) -> Result<()> {
        self.bytes += checked.bytes;
        self.findings += checked.findings.len();
        self.lost += checked.lost.len();
        for finding in &checked.findings {
            let (file, problem) =
                (finding.file.display().to_string(), printable(&finding.problem).to_string());
            writeln!(out, "user/{name}: {} at {}: {problem}", printable(&file), finding.offset)?;
        }
        for repair in &checked.repairs {
            writeln!(out, "user/{name}: {}", printable(repair))?;
        }
        for lost in &checked.lost {
            writeln!(out, "user/{name}/{}: lost", printable(lost))?;
        }
        if !self.arguments.quiet {
            for note in &checked.notes {
                writeln!(out, "user/{name}: {}", printable(note))?;
            }
        }
        match (checked.findings.is_empty(), self.arguments.dry) {
            (true, _) if self.arguments.quiet => {}
            (true, _) => writeln!(out, "user/{name}: {}, whole", mail::count(checked.messages, "message"))?,
            (false, true) => self.damaged += 1,
            (false, false) if checked.left.is_empty() => self.mended += 1,
            (false, false) => {
                self.damaged += 1;
                for left in &checked.left {
                    let (file, problem) =
                        (left.file.display().to_string(), printable(&left.problem).to_string());
                    writeln!(
                        out,
                        "user/{name}: not mended: {} at {}: {problem}",
                        printable(&file),
                        left.offset
                    )?;
                }
            }
        }
        Ok(())
    }

    /// How far the command has come, in one line on a terminal.
    fn progress(&self) {
        if self.shows_progress {
            let (done, total) = (self.done, self.total);
            // Nobody needs to know that nobody is told.
            let _ = write!(io::stderr(), "\r{done} of {total} users, {}\x1b[K", mail::bytes(self.bytes));
        }
    }

    fn end(self, out: &mut impl Write) -> Result<()> {
        if self.shows_progress {
            let _ = writeln!(io::stderr());
        }
        let (users, findings) =
            (mail::count(self.done as u64, "user"), mail::count(self.findings as u64, "finding"));
        let lost = if self.lost > 0 {
            format!(", {} lost", mail::count(self.lost as u64, "message"))
        } else {
            String::new()
        };
        let mended = if self.mended > 0 {
            format!(", {} mended", mail::count(self.mended, "user"))
        } else {
            String::new()
        };
        writeln!(out, "{users}, {} read, {findings}{mended}{lost}", mail::bytes(self.bytes))?;
        match (self.damaged, self.arguments.dry) {
            (0, _) => Ok(()),
            (damaged, true) => {
                bail!("the mail of {} is damaged: run reconstruct without -n", mail::count(damaged, "user"))
            }
            (damaged, false) => bail!("the mail of {} could not be mended", mail::count(damaged, "user")),
        }
    }
}
