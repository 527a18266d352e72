//! `configutil`: shows, checks and changes the configuration.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use super::base::Place;
use crate::config::{
    AccessList, Config, ENS_ACCESS, Finding, MAX_CONFIG_FILE, Name, Refresh, Severity, lookup,
};

/// Shows, checks and changes the configuration.
///
/// Without switches: lists every option with its value. Options are written in any case; values are checked when
/// they are set.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Work on this file instead of config/msg.conf.
    #[arg(short = 'f', value_name = "FILE")]
    file: Option<PathBuf>,
    /// The option to show, set or delete. Alone: prints its bare value, an empty line when it has none.
    #[arg(short = 'o', value_name = "OPTION", conflicts_with_all = ["pattern", "help_texts", "refresh", "validate", "input"])]
    option: Option<String>,
    /// Sets the option to this value.
    #[arg(
        short = 'v',
        value_name = "VALUE",
        requires = "option",
        conflicts_with = "delete",
        allow_hyphen_values = true
    )]
    value: Option<String>,
    /// Deletes the option's own value: the default counts again.
    #[arg(short = 'd', requires = "option")]
    delete: bool,
    /// Lists options by a pattern: `*` stands for anything, and one is implied at the end.
    #[arg(short = 'p', value_name = "PATTERN", conflicts_with = "input")]
    pattern: Option<String>,
    /// Lists with help, range and default.
    #[arg(short = 'H', conflicts_with = "input")]
    help_texts: bool,
    /// Lists whether a refresh is enough for a change to count, or a restart is needed.
    #[arg(short = 'm', conflicts_with = "input")]
    refresh: bool,
    /// Validates: names, values, and what does not go together. Exit code 1 when the server would not start.
    #[arg(short = 'V', conflicts_with = "input")]
    validate: bool,
    /// Sets the options of a file with `option=value` lines: all, or, when one is wrong, none. `-` for standard
    /// input.
    #[arg(short = 'i', value_name = "FILE")]
    input: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When the file cannot be read or written, an option or value is wrong, or validation finds errors.
pub fn run(place: &Place, arguments: Arguments, out: &mut impl Write) -> Result<()> {
    let path = match &arguments.file {
        Some(file) => file.clone(),
        None => place.open_as_caller()?.msg_conf(),
    };
    match (&arguments.option, &arguments.value, &arguments.input) {
        (Some(option), Some(value), _) => set(&path, &[(option.clone(), value.clone())], out),
        (Some(option), None, _) if arguments.delete => delete(&path, option, out),
        (Some(option), None, _) => show(&path, option, out),
        (None, _, Some(input)) => set(&path, &read_assignments(input)?, out),
        (None, ..) => {
            let config = Config::load_file(&path)?;
            if !arguments.validate || arguments.pattern.is_some() {
                list(&config, &arguments, out)?;
            }
            if arguments.validate { validate(&config, &path, out) } else { Ok(()) }
        }
    }
}

fn show(path: &Path, option: &str, out: &mut impl Write) -> Result<()> {
    let name = lookup(option)?;
    writeln!(out, "{}", Config::load_file(path)?.value(&name))?;
    Ok(())
}

fn set(path: &Path, assignments: &[(String, String)], out: &mut impl Write) -> Result<()> {
    let config = Config::update(path, |config| {
        for (option, value) in assignments {
            config.set(option, value)?;
        }
        anyhow::Ok(())
    })?;
    for (option, _) in assignments {
        confirm(&config, &lookup(option)?, out)?;
    }
    note_errors(&config);
    Ok(())
}

fn delete(path: &Path, option: &str, out: &mut impl Write) -> Result<()> {
    let known = lookup(option);
    let config = Config::update(path, |config| {
        // A line with a name that does not exist can be deleted too.
        let was_set = config.unset(option);
        match &known {
            Err(unknown) if !was_set => Err(unknown.clone().into()),
            _ => anyhow::Ok(()),
        }
    })?;
    if let Ok(name) = known {
        confirm(&config, &name, out)?;
    }
    note_errors(&config);
    Ok(())
}

/// Says what counts now, and from when on.
fn confirm(config: &Config, name: &Name, out: &mut impl Write) -> Result<()> {
    let when = match name.definition().refresh {
        Refresh::Enough => "after a refresh",
        Refresh::Restart => "after a restart",
    };
    writeln!(out, "{name} = {} ({when})", config.value(name))?;
    Ok(())
}

/// A contradiction may be meant to last only until the next command, so that it does not keep a value from being
/// set.
fn note_errors(config: &Config) {
    for finding in config.findings().iter().filter(|finding| finding.severity() == Severity::Error) {
        let _ = writeln!(io::stderr(), "heliograph: the server would not start: {finding}");
    }
}

fn list(config: &Config, arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let pattern = arguments.pattern.as_deref().unwrap_or_default().to_ascii_lowercase() + "*";
    for name in config.names() {
        if !matches(pattern.as_bytes(), name.as_str().to_ascii_lowercase().as_bytes()) {
            continue;
        }
        writeln!(out, "{name} = {}", config.value(&name))?;
        let definition = name.definition();
        if arguments.help_texts {
            let unit =
                if definition.unit.is_empty() { String::new() } else { format!(" {}", definition.unit) };
            let default = if definition.default.is_empty() { "not set" } else { definition.default };
            writeln!(out, "    {}", definition.help)?;
            writeln!(out, "    Value: {}{unit}. Default: {default}.", definition.kind.describe())?;
        }
        if arguments.refresh {
            let need = match definition.refresh {
                Refresh::Enough => "refresh",
                Refresh::Restart => "restart",
            };
            writeln!(out, "    A change needs: {need}.")?;
        }
    }
    Ok(())
}

fn validate(config: &Config, path: &Path, out: &mut impl Write) -> Result<()> {
    let findings = config.findings();
    for finding in &findings {
        let severity = match finding.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(out, "{severity}: {finding}")?;
    }
    let is_said = findings.iter().any(|finding| matches!(finding, Finding::Idle(_)));
    if !is_said && let Ok(settings) = config.settings() {
        for obstacle in settings.idle_obstacles() {
            writeln!(out, "note: IDLE is not offered: {obstacle}")?;
        }
    }
    if let Some(Err(error)) = AccessList::from_environment() {
        writeln!(out, "warning: enpd would not start with this environment: {ENS_ACCESS}: {error}")?;
    }
    let is_error = |finding: &&Finding| finding.severity() == Severity::Error;
    match findings.iter().filter(is_error).count() {
        0 if findings.is_empty() => writeln!(out, "{}: nothing is wrong", path.display())?,
        0 => {}
        count => bail!("{}: the server would not start: correct the errors ({count})", path.display()),
    }
    Ok(())
}

fn read_assignments(input: &Path) -> Result<Vec<(String, String)>> {
    let mut text = String::new();
    if input == Path::new("-") {
        io::stdin().take(MAX_CONFIG_FILE + 1).read_to_string(&mut text)?;
    } else {
        let cannot = || format!("cannot read {}", input.display());
        fs::File::open(input)
            .with_context(cannot)?
            .take(MAX_CONFIG_FILE + 1)
            .read_to_string(&mut text)
            .with_context(cannot)?;
    }
    ensure!(
        text.len() as u64 <= MAX_CONFIG_FILE,
        "{} is longer than {MAX_CONFIG_FILE} bytes",
        input.display()
    );
    let lines =
        crate::config::MsgConf::parse(text.as_bytes()).with_context(|| input.display().to_string())?;
    Ok(lines.assignments().map(|assignment| (assignment.name, assignment.value)).collect())
}

/// Whether a text has the form of a pattern with `*`. Linear but for the number of stars: the last star that was
/// met takes one more byte whenever the rest does not match.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), text.get(t)) {
            (Some(b'*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(wanted), Some(given)) if wanted == given => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                p = star_at + 1;
                t = taken + 1;
            }
        }
    }
    pattern.get(p..).is_none_or(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, is_match) in [
            ("", "", true),
            ("*", "", true),
            ("service.imap*", "service.imap.port", true),
            ("*port*", "service.imap.sslport", true),
            ("*port", "service.imap.port.x", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXcXb", false),
            ("imap*", "service.imap.port", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), is_match, "{pattern} {text}");
        }
    }
}
