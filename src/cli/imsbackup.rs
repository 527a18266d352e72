//! `imsbackup`: writes mail to a stream, while the server runs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use super::base::Place;
use super::logging::printable;
use super::mail;
use crate::store::UserName;
use crate::store::backup::{Dump, Former, Selection, Since};
use crate::sys;

/// Writes the mail of users to a file, or to standard output, while the server runs.
///
/// Each user is written as of one instant. PATH is user/NAME, user/NAME/MAILBOX (with the mailboxes beneath it) or, for
/// a user, NAME alone; /partition/primary may stand in front. Without any, everybody is written. The file appears under
/// its name when it is complete. docs/backup-format.md describes it.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The file to write; `-` for standard output.
    #[arg(short = 'f', value_name = "FILE")]
    file: PathBuf,
    /// Only what is new: since a date (yyyymmdd[:hhmmss], in UTC), messages that came since then; since a former
    /// backup (its file), all that has changed.
    #[arg(short = 'd', value_name = "DATE|BACKUP")]
    since: Option<String>,
    /// Read paths from a file too, a line each; `-` for standard input.
    #[arg(short = 'u', value_name = "FILE")]
    list: Option<PathBuf>,
    /// Say what was written of each user.
    #[arg(short = 'v')]
    verbose: bool,
    /// Users and mailboxes.
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When the stream cannot be written, or something could not be read: all else is in the backup then.
pub fn run(place: &Place, arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let base = place.open()?;
    let partition = mail::enter(&base)?;
    let wanted = mail::selection(&arguments.paths, arguments.list.as_deref())?;
    let since = arguments.since.as_deref().map_or(Ok(Since::Beginning), since)?;
    let mut users = Vec::new();
    let mut problems = Vec::new();
    if wanted.is_everything() {
        for found in mail::everybody(&base, &partition)? {
            match found.name {
                Some(name) => users.push(name),
                None => problems.push(format!("{}: whose mail this is cannot be told", found.path.display())),
            }
        }
    } else {
        users.extend(wanted.users().into_iter().cloned());
    }
    if arguments.file == Path::new("-") {
        ensure!(!io::stdout().is_terminal(), "a terminal is no place for a backup: name a file with -f");
        // What is said goes to the other stream.
        let job = Job { partition: &partition, users: &users, wanted: &wanted, verbose: arguments.verbose };
        return job.run(since, BufWriter::new(io::stdout().lock()), problems, &mut io::stderr()).map(|_| ());
    }
    let target = Target::make(&arguments.file)?;
    let job = Job { partition: &partition, users: &users, wanted: &wanted, verbose: arguments.verbose };
    let written = BufWriter::with_capacity(1 << 18, &target.file);
    let result = job.run(since, written, problems, out);
    match result {
        Ok(()) => target.keep(),
        Err(error) if error.is::<Incomplete>() => target.keep().and(Err(error)),
        Err(error) => Err(error),
    }
}

/// The backup is whole, but something is not in it.
#[derive(Debug, thiserror::Error)]
#[error("the backup is written, but {0} above are not in it: see `heliograph reconstruct -n`")]
struct Incomplete(String);

struct Job<'a> {
    partition: &'a Path,
    users: &'a [UserName],
    wanted: &'a Selection,
    verbose: bool,
}

impl Job<'_> {
    fn run(
        &self,
        since: Since,
        to: impl Write,
        mut problems: Vec<String>,
        say: &mut impl Write,
    ) -> Result<()> {
        let mut dump = Dump::begin(to, self.partition, since)?;
        let id = dump.id();
        let (mut written, mut messages, mut bytes) = (0, 0, 0);
        for user in self.users {
            let dumped = dump.user(user, self.wanted)?;
            if dumped.is_unknown {
                // One whose log is being made at this moment has none yet.
                ensure!(self.wanted.is_everything(), "user {user} has no mail here");
                continue;
            }
            if self.verbose {
                let (count, size) = (mail::count(dumped.messages, "message"), mail::bytes(dumped.bytes));
                writeln!(say, "user/{user}: {count}, {size}")?;
            }
            written += 1;
            messages += dumped.messages;
            bytes += dumped.bytes;
            problems.extend(dumped.problems);
        }
        dump.finish()?.flush().context("cannot write the backup")?;
        problems.iter().try_for_each(|problem| writeln!(say, "{}", printable(problem)))?;
        let (users, messages) = (mail::count(written, "user"), mail::count(messages, "message"));
        writeln!(say, "backup {id:032x}: {users}, {messages}, {}", mail::bytes(bytes))?;
        match problems.len() as u64 {
            0 => Ok(()),
            number => Err(Incomplete(mail::count(number, "thing")).into()),
        }
    }
}

/// The file that is written. One that is there is replaced when the new one is complete.
struct Target {
    file: File,
    path: PathBuf,
    /// `None`: a device, which is written in place.
    temporary: Option<PathBuf>,
}

impl Target {
    fn make(path: &Path) -> Result<Target> {
        let is_special = sys::raised(|| fs::metadata(path)).is_ok_and(|found| !found.is_file());
        let temporary =
            (!is_special).then(|| path.with_added_extension(format!("part-{}", std::process::id())));
        let mut options = OpenOptions::new();
        match &temporary {
            Some(_) => options.write(true).create_new(true).mode(0o600),
            None => options.write(true),
        };
        let opened = temporary.as_deref().unwrap_or(path);
        // The caller's file, where the caller may write: the rest is done as the one who serves.
        let file = sys::raised(|| options.open(opened))
            .with_context(|| format!("cannot write {}", opened.display()))?;
        Ok(Target { file, path: path.to_owned(), temporary })
    }

    /// Makes it durable, and gives it its name.
    fn keep(mut self) -> Result<()> {
        let Some(temporary) = &self.temporary else { return Ok(()) };
        let failed = || format!("cannot write {}", self.path.display());
        self.file.sync_all().with_context(failed)?;
        sys::raised(|| fs::rename(temporary, &self.path)).with_context(failed)?;
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let opened = sys::raised(|| File::open(directory.unwrap_or(Path::new("."))));
        opened.and_then(|directory| directory.sync_all()).with_context(failed)?;
        self.temporary = None;
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Half a backup is none.
            let _ = sys::raised(|| fs::remove_file(temporary));
        }
    }
}

fn since(text: &str) -> Result<Since> {
    match sys::raised(|| File::open(text)) {
        Ok(file) => {
            let former = Former::read(BufReader::new(file));
            Ok(Since::Former(former.with_context(|| format!("former backup {text}"))?))
        }
        Err(_) => match date(text) {
            Some(since) => Ok(Since::Date(since)),
            None => {
                bail!("`{}` is neither a backup's file nor a date: write yyyymmdd[:hhmmss]", printable(text))
            }
        },
    }
}

/// Seconds since 1970 of `20260131` or `20260131:235959`; dashes and colons may stand between.
fn date(text: &str) -> Option<i64> {
    let digits: String = text.chars().filter(|c| !"-:T ".contains(*c)).collect();
    let number = |from: usize, to: usize| digits.get(from..to)?.parse::<i16>().ok();
    let time = match digits.len() {
        8 => Time::midnight(),
        12 => Time::new(number(8, 10)? as i8, number(10, 12)? as i8, 0, 0).ok()?,
        14 => Time::new(number(8, 10)? as i8, number(10, 12)? as i8, number(12, 14)? as i8, 0).ok()?,
        _ => return None,
    };
    let date = Date::new(number(0, 4)?, number(4, 6)? as i8, number(6, 8)? as i8).ok()?;
    let moment = DateTime::from_parts(date, time).to_zoned(TimeZone::UTC).ok()?;
    Some(moment.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_the_manual_writes_them() {
        for (text, seconds) in [
            ("19700102", Some(86_400)),
            ("20010909:014640", Some(1_000_000_000)),
            ("2001-09-09T01:46", Some(999_999_960)),
            ("20011309", None),
            ("yesterday", None),
            ("20010909:256000", None),
        ] {
            assert_eq!(date(text), seconds, "{text}");
        }
    }
}
