//! One line per event: time, level, process, message, then `key=value` fields. Control characters are escaped, so
//! that a line is a line whatever a client sent; a line is written with one system call, so that processes can
//! share a file.
//!
//! `logfile.imap.loglevel` says how much; the variable `RUST_LOG` has the last word.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::path::Path;
use std::process;

use anyhow::{Context, Result};
use env_logger::fmt::Formatter;
use log::kv::{Error, Key, Value, VisitSource};
use log::{LevelFilter, Record};

use crate::sys::LogFile;

/// Name of the log file in its directory.
const LOG_FILE: &str = "imap";

/// Has the last word on how much is logged.
const FORCED_LEVEL: &str = "RUST_LOG";

/// Where lines go.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    Stderr,
    /// The file `imap` in this directory, reopened on [`crate::sys::reopen_logs`].
    File(&'a Path),
}

/// Begins logging; for all processes that are forked afterwards, too.
///
/// # Errors
/// When the file cannot be opened, or logging has begun already.
pub fn start(level: LevelFilter, target: Target<'_>) -> Result<()> {
    let mut builder = env_logger::Builder::new();
    builder.format(write_line);
    match is_level_forced() {
        true => builder.parse_env(FORCED_LEVEL),
        // The level proper is the one of `log`, which can be changed.
        false => builder.filter_level(LevelFilter::Trace),
    };
    if level < LevelFilter::Debug && !is_level_forced() {
        // What a client does wrong is no warning of ours, and the worker logs it with the client's address.
        builder.filter_module("rustls", LevelFilter::Off);
    }
    builder.target(match target {
        Target::Stderr => env_logger::Target::Stderr,
        Target::File(directory) => {
            let path = directory.join(LOG_FILE);
            let file = LogFile::open(path.clone());
            let file = file.with_context(|| format!("cannot write the log {}", path.display()))?;
            env_logger::Target::Pipe(Box::new(file))
        }
    });
    builder.try_init().context("logging has begun already")?;
    set_level(level);
    Ok(())
}

/// Logs so much from now on.
pub fn set_level(level: LevelFilter) {
    if !is_level_forced() {
        log::set_max_level(level);
    }
}

fn is_level_forced() -> bool {
    std::env::var_os(FORCED_LEVEL).is_some()
}

/// A text with its control characters escaped.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    let _ = Escaping { line: &mut line, quotes: false }.write_str(text);
    Cow::Owned(line)
}

fn write_line(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let time = out.timestamp_millis();
    writeln!(out, "{time} {}", event(record))
}

/// Everything of a line but its time.
fn event(record: &Record<'_>) -> String {
    let mut line = String::with_capacity(160);
    let _ = write!(line, "{} [{}] ", record.level().as_str().to_ascii_lowercase(), process::id());
    let _ = write!(Escaping { line: &mut line, quotes: false }, "{}", record.args());
    let _ = record.key_values().visit(&mut Fields(&mut line));
    line
}

struct Fields<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let line = &mut *self.0;
        let _ = write!(line, " {key}=");
        let start = line.len();
        let _ = write!(Escaping { line, quotes: true }, "{value}");
        let needs_quotes = line.len() == start || line[start..].contains([' ', '=', '"', '\\']);
        if needs_quotes {
            line.insert(start, '"');
            line.push('"');
        }
        Ok(())
    }
}

/// Appends with control characters escaped, and what would end a quoted value early.
struct Escaping<'a> {
    line: &'a mut String,
    quotes: bool,
}

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '\n' => self.line.push_str("\\n"),
                '\r' => self.line.push_str("\\r"),
                '\t' => self.line.push_str("\\t"),
                c if c.is_control() => write!(self.line, "\\u{{{:x}}}", u32::from(c))?,
                '"' | '\\' if self.quotes => self.line.extend(['\\', c]),
                c => self.line.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str, user: &str) -> String {
        let fields = [("user", user), ("count", "3")];
        let arguments = format_args!("{message}");
        let record = Record::builder().args(arguments).level(log::Level::Info).key_values(&fields).build();
        event(&record).replace(&format!("[{}]", process::id()), "[1]")
    }

    #[test]
    fn an_event_is_one_line_with_fields() {
        for (message, user, expected) in [
            ("login failed", "ada", "info [1] login failed user=ada count=3"),
            ("x", "a b", "info [1] x user=\"a b\" count=3"),
            ("x", "", "info [1] x user=\"\" count=3"),
            ("x", "a\" count=9", "info [1] x user=\"a\\\" count=9\" count=3"),
            (
                "x\r\nerror [1] forged",
                "ada\n\x1b[2J\u{85}",
                "info [1] x\\r\\nerror [1] forged user=\"ada\\n\\u{1b}[2J\\u{85}\" count=3",
            ),
        ] {
            assert_eq!(line(message, user), expected);
        }
    }
}
