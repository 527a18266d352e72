//! The mail of a base, for commands that work on it beside a running server, or without one.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::auth::Users;
use crate::config::{Base, Config};
use crate::master;
use crate::notify::Sender;
use crate::store::backup::Selection;
use crate::store::{
    ChangeListener, MailboxId, ModSeq, Options, Store, UserDir, UserName, begin_epoch, user_dirs,
};
use crate::sys::{self, Account, LockMode, OfdLock};

/// Longest list of users, in bytes.
const MAX_LIST: u64 = 64 * 1024 * 1024;

/// Where the mail is. From here on a command of root's acts as the account that the mail belongs to, except when it is
/// raised: nothing in the store may become root's.
///
/// # Errors
/// When the configuration cannot be read, or there is no such directory.
pub fn enter(base: &Base) -> Result<PathBuf> {
    let partition = Config::load(base)?.settings()?.partition(base);
    let owner = Account::owner_of(&partition);
    let owner = owner.with_context(|| format!("cannot look at the mail in {}", partition.display()))?;
    if sys::is_root() && !owner.is_own() {
        owner.lower().context("cannot act as the account that the mail belongs to")?;
    }
    Ok(partition)
}

/// The store, to be changed: sessions of a running server hear of every change.
///
/// # Errors
/// When it cannot be opened.
pub fn open(base: &Base, partition: &Path) -> Result<Store> {
    let proc_dir = base.proc_dir();
    if !master::is_served(&proc_dir)? {
        // As the next master would: power may have been lost since the last one.
        begin_epoch(partition)?;
    }
    let sender = Sender::open(&proc_dir).context("cannot reach the server's workers")?;
    Ok(Store::open(Options::new(partition), Arc::new(Herald(sender)))?)
}

/// Tells the workers of a running server.
struct Herald(Sender);

impl ChangeListener for Herald {
    fn changed(&self, user: &UserName, mailbox: MailboxId, _: ModSeq) {
        self.0.changed(user, mailbox);
    }
}

/// Keeps others from doing the same until the file is dropped.
///
/// # Errors
/// When somebody else is at it.
pub fn only_one(base: &Base, command: &str) -> Result<File> {
    let path = base.proc_dir().join(format!("{command}.lock"));
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let file = file.with_context(|| format!("cannot make {}", path.display()))?;
    let held = OfdLock::try_lock(&file, LockMode::Exclusive)?;
    held.with_context(|| format!("another {command} is at work on this base: wait for its end"))?.keep();
    Ok(file)
}

/// Everybody who has mail.
///
/// # Errors
/// When the store or the user file cannot be read.
pub fn everybody(base: &Base, partition: &Path) -> Result<Vec<UserDir>> {
    let users = sys::raised(|| Users::load(&base.users()))?;
    let known: Vec<UserName> = users.names().cloned().collect();
    Ok(user_dirs(partition, &known)?)
}

/// What paths on the command line, and those in a file, a line each, ask for.
///
/// # Errors
/// When one of them is none, or the file cannot be read.
pub fn selection(paths: &[String], list: Option<&Path>) -> Result<Selection> {
    let mut chosen = Vec::new();
    for path in paths {
        chosen.push(path.parse()?);
    }
    if let Some(list) = list {
        let listed = read_list(list).with_context(|| format!("cannot read {}", list.display()))?;
        for path in listed.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            chosen.push(path.parse()?);
        }
        anyhow::ensure!(!chosen.is_empty(), "{} names nobody", list.display());
    }
    Ok(Selection::new(chosen))
}

fn read_list(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().take(MAX_LIST).read_to_string(&mut text)?;
    } else {
        sys::raised(|| File::open(path))?.take(MAX_LIST).read_to_string(&mut text)?;
    }
    Ok(text)
}

/// Bytes, as a person reads them.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let (mut unit, mut rest) = (0, count as f64);
    while rest >= 1024.0 && unit + 1 < UNITS.len() {
        rest /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} bytes") } else { format!("{rest:.1} {}", UNITS[unit]) }
}

/// One or many.
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
