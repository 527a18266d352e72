//! The two layers, defaults and `msg.conf`, as one configuration that can be asked, changed and saved.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::atomic::{FileLock, replace_file};
use super::base::Base;
use super::finding::{Finding, Severity};
use super::msgconf::{MAX_CONFIG_FILE, MsgConf, SyntaxError};
use super::name::{Name, Refresh, UnknownOption, definitions, lookup};
use super::service_user::service_user;
use super::settings::{self, Settings};
use super::value::{self, BadValue};
use crate::sys;

/// The configuration of a base.
#[derive(Clone, Debug, Default)]
pub struct Config {
    path: PathBuf,
    file: MsgConf,
}

/// Why a configuration cannot be read or written.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("cannot read {}: {source}: check its owner and mode", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is longer than {MAX_CONFIG_FILE} bytes: it is not a configuration", .0.display())]
    TooLong(PathBuf),
    #[error("{}: {source}", path.display())]
    Syntax { path: PathBuf, source: SyntaxError },
    #[error("cannot write {}: {source}: check its owner and mode", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The first of the findings that keep the server from starting.
    #[error("{}: {first}{}", path.display(), and_others(*others))]
    Refused { path: PathBuf, first: Box<Finding>, others: usize },
}

/// Why an option was not set.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SetError {
    #[error(transparent)]
    Unknown(#[from] UnknownOption),
    #[error("{name}: {reason}: {help}")]
    BadValue { name: String, reason: BadValue, help: &'static str },
}

impl Config {
    /// A configuration without own values, to be written to `path`.
    pub fn new(path: PathBuf) -> Self {
        Config { path, file: MsgConf::default() }
    }

    /// Reads the configuration of a base.
    ///
    /// # Errors
    /// When the file cannot be read as lines; what the lines say is not checked here.
    pub fn load(base: &Base) -> Result<Self, ConfigError> {
        Config::load_file(&base.msg_conf())
    }

    /// Reads a configuration file that need not belong to a base.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn load_file(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.into(), source };
        let mut bytes = Vec::new();
        // The configuration is the administrator's: the service user need not be able to read it.
        let file = sys::raised(|| File::open(path)).map_err(read)?;
        file.take(MAX_CONFIG_FILE + 1).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() as u64 > MAX_CONFIG_FILE {
            return Err(ConfigError::TooLong(path.into()));
        }
        Config::parse(path, &bytes)
    }

    /// Takes the text of a configuration file.
    ///
    /// # Errors
    /// When it cannot be read as lines.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, ConfigError> {
        let file =
            MsgConf::parse(text).map_err(|source| ConfigError::Syntax { path: path.into(), source })?;
        Ok(Config { path: path.into(), file })
    }

    /// What a server with this configuration works with after a refresh to a newer one: options that need a restart
    /// keep their values. Those that would have changed are named.
    pub fn refreshed(&self, newer: &Config) -> (Config, Vec<Name>) {
        let (mut merged, mut pending) = (newer.clone(), Vec::new());
        for name in newer.names().into_iter().chain(self.names()) {
            if name.definition().refresh == Refresh::Enough || self.value(&name) == newer.value(&name) {
                continue;
            }
            match self.own(&name) {
                Some(value) => merged.file.set(name.as_str(), value),
                None => drop(merged.file.remove(name.as_str())),
            }
            if !pending.contains(&name) {
                pending.push(name);
            }
        }
        (merged, pending)
    }

    /// Reads, changes and saves the file while no other writer can; nothing is saved when `change` fails.
    ///
    /// # Errors
    /// As for [`Config::load`], when the file cannot be written, and what `change` returns.
    pub fn update<E: From<ConfigError>>(
        path: &Path,
        change: impl FnOnce(&mut Config) -> Result<(), E>,
    ) -> Result<Self, E> {
        let write = |source| ConfigError::Write { path: path.into(), source };
        let _lock = FileLock::acquire(path).map_err(write)?;
        let mut config = Config::load_file(path)?;
        change(&mut config)?;
        replace_file(path, config.to_text().as_bytes(), 0o600).map_err(write)?;
        Ok(config)
    }

    /// The value that counts: the own one, or the default; empty when there is neither.
    pub fn value(&self, name: &Name) -> &str {
        self.own(name).unwrap_or(name.definition().default)
    }

    /// Whether a switch is on; anything but a switch is not.
    pub fn is_on(&self, name: &Name) -> bool {
        let default = || value::boolean(name.definition().default).ok();
        value::boolean(self.value(name)).ok().or_else(default).unwrap_or_default()
    }

    /// The value in the file.
    pub fn own(&self, name: &Name) -> Option<&str> {
        self.file.value(name.as_str())
    }

    /// Sets an option in memory.
    ///
    /// # Errors
    /// When there is no such option, or the value is none for it.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SetError> {
        let name = lookup(name)?;
        let definition = name.definition();
        let checked = definition.kind.check(value).and_then(|()| definition.kind.check_here(value));
        checked.map_err(|reason| SetError::BadValue {
            name: name.to_string(),
            reason,
            help: definition.help,
        })?;
        self.file.set(name.as_str(), value);
        Ok(())
    }

    /// Falls back to the default, in memory; says whether there was an own value. Also removes lines whose option
    /// does not exist.
    pub fn unset(&mut self, name: &str) -> bool {
        self.file.remove(name)
    }

    /// Appends a comment to the file.
    pub fn comment(&mut self, text: &str) {
        self.file.comment(text);
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        self.file.to_text()
    }

    /// Every option that has a value or could have one: the table's, and those that the file gives a name.
    pub fn names(&self) -> Vec<Name> {
        let fixed = definitions().filter(|definition| !definition.is_pattern());
        let mut names: Vec<Name> = fixed.filter_map(|definition| lookup(definition.name).ok()).collect();
        for assignment in self.file.assignments() {
            if let Ok(name) = lookup(&assignment.name)
                && name.definition().is_pattern()
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        names
    }

    /// Everything that is wrong: unknown names, bad values, contradictions.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = self.faulty_lines();
        if findings.is_empty() {
            let settings = settings::parse(self, &mut findings);
            findings.extend(service_user(&settings.service_user).err().map(Finding::ServiceUser));
        }
        findings
    }

    /// What the server works with.
    ///
    /// # Errors
    /// [`ConfigError::Refused`] with the first of the errors that [`Config::findings`] lists.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        let mut findings = self.faulty_lines();
        let settings = settings::parse(self, &mut findings);
        findings.retain(|finding| finding.severity() == Severity::Error);
        let others = findings.len().saturating_sub(1);
        match findings.into_iter().next() {
            None => Ok(settings),
            Some(first) => {
                Err(ConfigError::Refused { path: self.path.clone(), first: Box::new(first), others })
            }
        }
    }

    fn faulty_lines(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut seen: Vec<(Name, usize)> = Vec::new();
        for assignment in self.file.assignments() {
            let line = assignment.line;
            let name = match lookup(&assignment.name) {
                Ok(name) => name,
                Err(unknown) => {
                    findings.push(Finding::Unknown { line, unknown });
                    continue;
                }
            };
            let definition = name.definition();
            if let Err(reason) = definition.kind.check(&assignment.value) {
                let name = name.to_string();
                findings.push(Finding::BadValue { line, name, reason, help: definition.help });
            }
            match seen.iter().find(|(other, _)| *other == name) {
                Some((_, first)) => {
                    findings.push(Finding::Twice { name: name.to_string(), first: *first, second: line });
                }
                None => seen.push((name, line)),
            }
        }
        findings
    }
}

fn and_others(count: usize) -> String {
    match count {
        0 => String::new(),
        _ => format!(" (and {count} more: `configutil -V` lists them)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config { path: "msg.conf".into(), file: MsgConf::parse(text.as_bytes()).unwrap() }
    }

    fn name(text: &str) -> Name {
        lookup(text).unwrap()
    }

    #[test]
    fn own_values_come_before_defaults() {
        let mut config = config("service.imap.port = 1143\n");
        assert_eq!(config.value(&name("service.imap.port")), "1143");
        assert_eq!(config.own(&name("service.imap.sslport")), None);
        assert_eq!(config.value(&name("service.imap.sslport")), "993");
        assert!(config.unset("service.imap.port"));
        assert_eq!(config.value(&name("service.imap.port")), "143");
    }

    #[test]
    fn wrong_values_are_refused_when_set() {
        let mut config = config("");
        for (option, value, says) in [
            ("service.imap.idletimeout", "29", "RFC 9051"),
            ("service.imap.port", "66000", "65535"),
            ("service.imap.prot", "143", "did you mean `service.imap.port`"),
            ("store.flagsync", "never", "deferred, immediate"),
            ("local.serveruid", "no-such-user", "useradd --system no-such-user"),
        ] {
            let error = config.set(option, value).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(config.to_text(), "");
    }

    #[test]
    fn every_faulty_line_is_found() {
        let config =
            config("service.imap.prot = 1\nservice.imap.port = x\n\nstore.admins = a\nSTORE.admins = b\n");
        let says: Vec<String> = config.findings().iter().map(ToString::to_string).collect();
        assert_eq!(says.len(), 3, "{says:?}");
        for (said, start) in says.iter().zip(["line 1: no option", "line 2: service.imap.port", "line 5: "]) {
            assert!(said.starts_with(start), "{said}");
        }
        let refused = config.settings().unwrap_err().to_string();
        assert!(refused.starts_with("msg.conf: line 1: "), "{refused}");
        assert!(refused.contains("2 more"), "{refused}");
    }

    #[test]
    fn wildcards_are_listed_when_they_have_a_value() {
        let config = config("store.partition.big.path = /big\n");
        let names = config.names();
        assert!(names.contains(&name("store.partition.big.path")));
        assert!(names.iter().all(|name| !name.as_str().contains("NICK")));
    }

    #[test]
    fn updates_keep_the_file_when_they_fail() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("msg.conf");
        std::fs::write(&path, "# kept\n").unwrap();
        Config::update::<anyhow::Error>(&path, |config| Ok(config.set("service.imap.port", "1143")?))
            .unwrap();
        Config::update::<anyhow::Error>(&path, |config| Ok(config.set("service.imap.port", "x")?))
            .unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "# kept\nservice.imap.port = 1143\n");
        std::fs::write(&path, vec![b'#'; MAX_CONFIG_FILE as usize + 1]).unwrap();
        assert!(matches!(Config::load_file(&path), Err(ConfigError::TooLong(_))));
    }
}
