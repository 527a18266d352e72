//! `imsrestore`: brings back what `imsbackup` wrote.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::base::Place;
use super::logging::printable;
use super::mail;
use crate::store::backup::{
    Aim, BackupError, Event, Input, Restorer, Scope, Selection, Stream, list, verify,
};
use crate::sys;

/// Brings back mail from what imsbackup wrote, beside a running server or without one.
///
/// Nothing that is there is overwritten or removed: messages that are missing come back, with their flags, dates and
/// identifiers, and with their UIDs where those are still free. PATH is user/NAME, user/NAME/MAILBOX (with the
/// mailboxes beneath it), user/NAME/MAILBOX:17,20:25 or, for a user, NAME alone. Without any, everything comes back.
///
/// Several -f name a backup and those that continue it, in their order: the result is as of the last one. Each file is
/// read through and checked before anything is changed. When the command is interrupted, run it again: it goes on.
#[derive(Args, Debug)]
pub struct Arguments {
    /// A backup; `-` for standard input, which is checked while it is read. May be repeated.
    #[arg(short = 'f', value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Change nothing: say what would come back.
    #[arg(short = 'n')]
    dry: bool,
    /// List what the backup has, a line per mailbox, and look at no store.
    #[arg(short = 'i', conflicts_with_all = ["dry", "paths", "list"])]
    inspect: bool,
    /// Read paths from a file too, a line each.
    #[arg(short = 'u', value_name = "FILE")]
    list: Option<PathBuf>,
    /// Name mailboxes too of which nothing was missing.
    #[arg(short = 'v')]
    verbose: bool,
    /// Users, mailboxes and messages.
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When a backup is damaged, cut or not the next of its chain, or the store cannot be changed.
pub fn run(place: &Place, arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    if arguments.inspect {
        return arguments.files.iter().try_for_each(|file| inspect(file, out));
    }
    let base = place.open()?;
    let partition = mail::enter(&base)?;
    let wanted = mail::selection(&arguments.paths, arguments.list.as_deref())?;
    check(&arguments.files, out)?;
    let aim = aim(&arguments.files)?;
    if arguments.dry {
        return Job { arguments, wanted: &wanted }.run(Restorer::new(&partition, None, &wanted, &aim), out);
    }
    let _alone = mail::only_one(&base, "imsrestore")?;
    let store = mail::open(&base, &partition)?;
    let done =
        Job { arguments, wanted: &wanted }.run(Restorer::new(&partition, Some(&store), &wanted, &aim), out);
    store.close();
    done
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

fn open(file: &Path) -> Result<BufReader<File>> {
    let opened =
        sys::raised(|| File::open(file)).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(BufReader::with_capacity(1 << 18, opened))
}

fn inspect(file: &Path, out: &mut impl Write) -> Result<()> {
    let listed = if is_stdin(file) { list(io::stdin().lock(), out) } else { list(open(file)?, out) };
    let listed = listed.with_context(|| named(file))?;
    let (users, messages) = (mail::count(listed.users, "user"), mail::count(listed.messages, "message"));
    writeln!(out, "{}: {users}, {messages}", file.display())?;
    Ok(())
}

fn named(file: &Path) -> String {
    format!("backup {}", file.display())
}

/// Reads through all files before anything is changed, and checks that they continue each other.
fn check(files: &[PathBuf], out: &mut impl Write) -> Result<()> {
    ensure!(files.iter().filter(|file| is_stdin(file)).count() <= 1, "standard input can be read once only");
    let mut former: Option<u128> = None;
    for (at, file) in files.iter().enumerate() {
        if is_stdin(file) {
            ensure!(at + 1 == files.len(), "standard input has to be the last of the chain");
            continue;
        }
        let stream = Stream::open(open(file)?).with_context(|| named(file))?;
        let header = *stream.header();
        match former {
            Some(former) => ensure_chain(file, former, &header)?,
            None => warn_of_gap(file, header.scope, out)?,
        }
        former = Some(header.id);
        verify(open(file)?).with_context(|| named(file))?;
    }
    Ok(())
}

/// What the last of a chain has; one that comes from standard input is not known before.
fn aim(files: &[PathBuf]) -> Result<Aim> {
    match files {
        [_, .., last] if !is_stdin(last) => Aim::read(open(last)?).with_context(|| named(last)),
        _ => Ok(Aim::default()),
    }
}

fn ensure_chain(file: &Path, former: u128, header: &crate::store::backup::StreamHeader) -> Result<()> {
    if header.predecessor == former {
        return Ok(());
    }
    let (given, predecessor) = (file.display().to_string(), header.predecessor);
    Err(BackupError::Chain { given, predecessor }.into())
}

fn warn_of_gap(file: &Path, scope: Scope, out: &mut impl Write) -> Result<()> {
    if scope == Scope::SinceBackup {
        let file = file.display();
        writeln!(
            out,
            "{file} continues another backup, which was not given: only its own messages come back"
        )?;
    }
    Ok(())
}

struct Job<'a> {
    arguments: &'a Arguments,
    wanted: &'a Selection,
}

impl Job<'_> {
    fn run(&self, mut restorer: Restorer<'_>, out: &mut impl Write) -> Result<()> {
        let files = &self.arguments.files;
        let mut former = None;
        for (at, file) in files.iter().enumerate() {
            let is_last = at + 1 == files.len();
            let id = if is_stdin(file) {
                let stream = Stream::open(io::stdin().lock()).with_context(|| named(file))?;
                if let Some(former) = former {
                    ensure_chain(file, former, stream.header())?;
                } else {
                    warn_of_gap(file, stream.header().scope, out)?;
                }
                self.stream(&mut restorer, stream, is_last, out)
            } else {
                self.stream(&mut restorer, Stream::open(open(file)?)?, is_last, out)
            };
            former = Some(id.with_context(|| named(file))?);
        }
        let done = restorer.finish()?;
        ensure!(done.users > 0 || self.wanted.is_everything(), "the backup has nobody of these");
        let (messages, users) = (mail::count(done.messages, "message"), mail::count(done.users, "user"));
        let verb = if self.arguments.dry { "would come back" } else { "came back" };
        let renumbered = renumbered(done.renumbered);
        writeln!(out, "{messages} of {users} {verb}{renumbered}; {} were there", done.present)?;
        Ok(())
    }

    fn stream(
        &self,
        restorer: &mut Restorer<'_>,
        stream: Stream<impl Input>,
        is_last: bool,
        out: &mut impl Write,
    ) -> Result<u128> {
        let id = stream.header().id;
        let mut said = Ok(());
        restorer.stream(stream, is_last, &mut |event| {
            if said.is_ok() {
                said = self.say(&event, out);
            }
        })?;
        said.map(|()| id)
    }

    fn say(&self, event: &Event, out: &mut impl Write) -> Result<()> {
        match event {
            Event::Note(note) => writeln!(out, "{}", printable(note))?,
            Event::Mailbox { back: 0, is_new: false, .. } if !self.arguments.verbose => {}
            Event::Mailbox { path, back, present, renumbered: new, is_new } => {
                let (path, back) = (printable(path), mail::count(*back, "message"));
                let made = if *is_new { ", the mailbox is new" } else { "" };
                writeln!(out, "{path}: {back} back{}, {present} there{made}", renumbered(*new))?;
            }
        }
        Ok(())
    }
}

fn renumbered(count: u64) -> String {
    match count {
        0 => String::new(),
        1 => " (1 with a new UID: the old one cannot be given again)".to_owned(),
        count => format!(" ({count} with new UIDs: the old ones cannot be given again)"),
    }
}
