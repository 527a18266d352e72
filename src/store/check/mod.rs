//! `reconstruct`: is a user's store whole, and what can be had of it when it is not (`docs/store-format.md`, "Repair").
//!
//! ```text
//!   Scan (the log, record by record) ── References (messages, their bytes, files) ──▶ findings
//!                                                                                └──▶ Repair: a checkpoint of what is whole
//! ```

mod references;
mod repair;
mod scan;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disk::{Local, check_dirs};
use super::epoch;
use super::error::{Error, Result};
use super::journal;
use super::names::UserName;
use super::path::{user_dir, user_mark};
use super::user::unix_now;
use references::References;
use scan::Scan;

/// What a segment or record of a newer major version is called.
const NEWER: &str = "written by a newer version of this program, which must be used to read it";

/// How often a user in whose log something seems to be wrong is looked at again.
const LOOKS: usize = 5;

/// Something that is not as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub file: PathBuf,
    /// In bytes.
    pub offset: u64,
    /// What is wrong, and whom it concerns.
    pub problem: String,
}

/// What was found, and done, in a user's store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub findings: Vec<Finding>,
    /// Not wrong, but worth to know.
    pub notes: Vec<String>,
    /// What a repair did.
    pub repairs: Vec<String>,
    /// Messages that are lost, `mailbox:uid`.
    pub lost: Vec<String>,
    /// What a repair could not mend.
    pub left: Vec<Finding>,
    pub messages: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

/// Checks a user's store; nothing is changed, and sessions go on.
///
/// # Errors
/// When it cannot be read. [`Error::Foreign`] when a directory is a link, or somebody else's.
pub fn check(partition: &Path, user: &UserName, grace: Duration) -> Result<Checked> {
    let dir = directory(partition, user)?;
    let mut found = look(partition, &dir, user, grace)?;
    // What somebody writes at this moment looks like damage; it does not stay.
    for _ in 0..LOOKS {
        if found.0.findings.is_empty() {
            break;
        }
        let again = look(partition, &dir, user, grace)?;
        let is_same = again.0.findings == found.0.findings;
        found = again;
        if is_same {
            break;
        }
    }
    Ok(report(found.0, found.1))
}

/// Mends a user's store. Sessions of that user wait; they go on with what is whole.
///
/// # Errors
/// As [`check`]; when it cannot be written, or a newer version wrote it.
pub fn repair(partition: &Path, user: &UserName, grace: Duration) -> Result<Checked> {
    // What a journal has is no damage.
    journal::recover(&Local, partition)?;
    let dir = directory(partition, user)?;
    let found = check(partition, user, grace)?;
    if found.findings.is_empty() {
        return Ok(found);
    }
    let mended = repair::run(&dir, user_mark(user), || look(partition, &dir, user, grace))?;
    Ok(Checked { left: check(partition, user, grace)?.findings, ..mended })
}

fn directory(partition: &Path, user: &UserName) -> Result<PathBuf> {
    let dir = user_dir(partition, user);
    for part in ["log", "blob"] {
        check_dirs(partition, &dir.join(part))?;
    }
    if dir.join("log").is_dir() {
        return Ok(dir);
    }
    Err(Error::io("no mail in", dir)(std::io::ErrorKind::NotFound.into()))
}

fn look(partition: &Path, dir: &Path, user: &UserName, grace: Duration) -> Result<(Scan, References)> {
    let horizon = unix_now().saturating_sub(i64::try_from(grace.as_secs()).unwrap_or(i64::MAX));
    let mut scan = Scan::run(dir, user_mark(user), epoch::coming(partition)?, horizon)?;
    let references = References::check(dir, user_mark(user), &mut scan)?;
    Ok((scan, references))
}

fn report(scan: Scan, references: References) -> Checked {
    let messages = scan.state.mailboxes.values().map(|mailbox| u64::from(mailbox.live.len())).sum();
    Checked {
        findings: scan.findings,
        notes: references.notes,
        messages,
        bytes: scan.bytes,
        ..Checked::default()
    }
}
