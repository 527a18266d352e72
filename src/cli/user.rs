//! `heliograph user`: who may log in.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};

use super::base::Place;
use super::logging::printable;
use super::password;
use crate::auth::limits::MAX_USER_FILE;
use crate::auth::{HashError, Import, Password, Users, hash_password, read_import};
use crate::config::Base;
use crate::store::UserName;

/// Bad lines of an import that are shown.
const SHOWN_ERRORS: usize = 10;

/// Adds, changes, removes and lists the users who may log in (config/users). Changes count at once.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Adds a user; the password is read from standard input, or prompted for on a terminal.
    Add {
        /// 1 to 255 bytes of UTF-8 without control characters.
        name: String,
    },
    /// Sets a new password, read as for `add`.
    Passwd { name: String },
    /// Removes a user's login. The mail stays, and is there again when a user of that name is added.
    Delete { name: String },
    /// Lists the names, one per line.
    List,
    /// Adds many users, and sets the passwords of those who exist; all of them, or, when a line is bad, none.
    ///
    /// Lines are `name:password` or `name:{SCHEME}hash`, also with the further fields of a Dovecot passwd-file.
    /// Passwords in the clear are hashed with argon2id.
    Import {
        /// The file; `-` for standard input.
        file: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// When there is no such user, or there is one already; when the user file cannot be read or written.
pub fn run(place: &Place, arguments: Arguments, out: &mut impl Write) -> Result<()> {
    let base = place.open_as_caller()?;
    match arguments.action {
        Action::Add { name } => add(&base, &user_name(&name)?, out),
        Action::Passwd { name } => passwd(&base, &user_name(&name)?, out),
        Action::Delete { name } => delete(&base, &user_name(&name)?, out),
        Action::List => list(&base, out),
        Action::Import { file } => import(&base, &file, out),
    }
}

fn user_name(name: &str) -> Result<UserName> {
    UserName::new(name).with_context(|| format!("`{}` cannot be a user", printable(name)))
}

fn add(base: &Base, name: &UserName, out: &mut impl Write) -> Result<()> {
    // Before the person types a password; and again below, when nobody else can add.
    check_absent(&Users::load(&base.users())?, name)?;
    let password = password::read()?;
    let hash = hash_password(password.expose())?;
    Users::update(&base.users(), |users| {
        check_absent(users, name)?;
        users.set(name.clone(), hash);
        anyhow::Ok(())
    })?;
    writeln!(out, "user {name} added")?;
    Ok(())
}

fn passwd(base: &Base, name: &UserName, out: &mut impl Write) -> Result<()> {
    check_present(&Users::load(&base.users())?, name)?;
    let password = password::read()?;
    let hash = hash_password(password.expose())?;
    Users::update(&base.users(), |users| {
        check_present(users, name)?;
        users.set(name.clone(), hash);
        anyhow::Ok(())
    })?;
    writeln!(out, "password of {name} changed")?;
    Ok(())
}

fn delete(base: &Base, name: &UserName, out: &mut impl Write) -> Result<()> {
    Users::update(&base.users(), |users| {
        check_present(users, name)?;
        users.remove(name);
        anyhow::Ok(())
    })?;
    writeln!(out, "user {name} can no longer log in; the mail stays, open connections last until they end")?;
    Ok(())
}

fn list(base: &Base, out: &mut impl Write) -> Result<()> {
    for name in Users::load(&base.users())?.names() {
        writeln!(out, "{name}")?;
    }
    Ok(())
}

fn import(base: &Base, file: &Path, out: &mut impl Write) -> Result<()> {
    let text = read_text(file)?;
    let imports = read_import(&text).map_err(|errors| {
        let mut lines: Vec<String> = errors.iter().take(SHOWN_ERRORS).map(ToString::to_string).collect();
        if errors.len() > SHOWN_ERRORS {
            lines.push(format!("and {} more", errors.len() - SHOWN_ERRORS));
        }
        anyhow::anyhow!("{}: {}: nothing was imported", file.display(), lines.join("; "))
    })?;
    let hashes = hash_all(&imports)?;
    let count = hashes.len();
    let replaced = Users::update(&base.users(), |users| {
        let replaced = imports.iter().filter(|import| users.contains(&import.name)).count();
        for (import, hash) in imports.into_iter().zip(hashes) {
            users.set(import.name, hash);
        }
        anyhow::Ok(replaced)
    })?;
    writeln!(out, "{count} users imported, {replaced} of them had an account before")?;
    Ok(())
}

fn read_text(file: &Path) -> Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin().take(MAX_USER_FILE + 1).read_to_string(&mut text)?;
    } else {
        let opened = fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        let read = opened.take(MAX_USER_FILE + 1).read_to_string(&mut text);
        read.with_context(|| format!("cannot read {}", file.display()))?;
    }
    ensure!(text.len() as u64 <= MAX_USER_FILE, "{} is longer than {MAX_USER_FILE} bytes", file.display());
    Ok(text)
}

/// The hashes to store, in order; made on all processors, since each takes long.
fn hash_all(imports: &[Import]) -> Result<Vec<String>, HashError> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = imports.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let workers: Vec<_> = imports
            .chunks(share)
            .map(|chunk| scope.spawn(|| chunk.iter().map(stored_hash).collect()))
            .collect();
        let mut hashes = Vec::with_capacity(imports.len());
        for worker in workers {
            let chunk: Result<Vec<String>, HashError> =
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            hashes.extend(chunk?);
        }
        Ok(hashes)
    })
}

fn stored_hash(import: &Import) -> Result<String, HashError> {
    match &import.password {
        Password::Clear(password) => hash_password(password.expose()),
        Password::Stored(hash) => Ok(hash.clone()),
    }
}

fn check_absent(users: &Users, name: &UserName) -> Result<()> {
    if users.contains(name) {
        bail!("user {name} exists already: `heliograph user passwd` sets a new password");
    }
    Ok(())
}

fn check_present(users: &Users, name: &UserName) -> Result<()> {
    if !users.contains(name) {
        bail!("no such user {name}: `heliograph user list` lists all");
    }
    Ok(())
}
