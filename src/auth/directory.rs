//! The user file, `config/users`: one `name:{SCHEME}hash` per line, mode 0600.
//!
//! `:`, `%`, control characters and a leading `#` of a name are written as `%` and two hexadecimal digits. Lines
//! that begin with `#`, and empty ones, are kept and mean nothing. The file is only ever replaced as a whole, so
//! that a reader never sees half of it; writers take turns by its lock file.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::keyed::Key;
use super::limits::MAX_USER_FILE;
use crate::config::{FileLock, replace_file};
use crate::store::UserName;

/// Why the user file cannot be read or written.
#[derive(Debug, Error)]
pub enum UserFileError {
    #[error("cannot read {}: {source}: check its owner and mode", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}: check its owner and mode", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is longer than {MAX_USER_FILE} bytes", .0.display())]
    TooLong(PathBuf),
    #[error("{}: line {line}: there is no user name and hash: write `name:{{SCHEME}}hash`", path.display())]
    BadLine { path: PathBuf, line: usize },
}

/// The users of a file, to be looked up or changed.
#[derive(Debug, Default)]
pub struct Users {
    lines: Vec<Line>,
    index: HashMap<String, usize>,
}

#[derive(Debug)]
enum Line {
    User { name: UserName, hash: String },
    Other(String),
    Removed,
}

impl Users {
    /// Reads the file; without one there are no users.
    ///
    /// # Errors
    /// When the file cannot be read, or the first line that makes no sense.
    pub fn load(path: &Path) -> Result<Self, UserFileError> {
        let Some((text, _)) = read_file(path)? else { return Ok(Users::default()) };
        let mut users = Users::default();
        for (index, line) in text.lines().enumerate() {
            match parse_line(line) {
                Parsed::User(name, hash) => users.set(name, hash),
                Parsed::Nothing => users.lines.push(Line::Other(line.into())),
                Parsed::Bad => return Err(UserFileError::BadLine { path: path.into(), line: index + 1 }),
            }
        }
        Ok(users)
    }

    /// Reads, changes and saves the file while no other writer can; nothing is saved when `change` fails.
    ///
    /// # Errors
    /// As for [`Users::load`], when the file cannot be written, and what `change` returns.
    pub fn update<T, E: From<UserFileError>>(
        path: &Path,
        change: impl FnOnce(&mut Users) -> Result<T, E>,
    ) -> Result<T, E> {
        let write = |source| UserFileError::Write { path: path.into(), source };
        let _lock = FileLock::acquire(path).map_err(write)?;
        let mut users = Users::load(path)?;
        let result = change(&mut users)?;
        replace_file(path, users.to_text().as_bytes(), 0o600).map_err(write)?;
        Ok(result)
    }

    pub fn contains(&self, name: &UserName) -> bool {
        self.index.contains_key(name.as_str())
    }

    /// The names, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &UserName> {
        self.lines.iter().filter_map(|line| match line {
            Line::User { name, .. } => Some(name),
            Line::Other(_) | Line::Removed => None,
        })
    }

    /// Gives a user a hash, and adds the user when new. `hash` has no line end in it.
    pub fn set(&mut self, name: UserName, hash: String) {
        let index = *self.index.entry(name.as_str().to_owned()).or_insert(self.lines.len());
        let line = Line::User { name, hash };
        match self.lines.get_mut(index) {
            Some(place) => *place = line,
            None => self.lines.push(line),
        }
    }

    /// Removes a user; says whether there was one.
    pub fn remove(&mut self, name: &UserName) -> bool {
        let index = self.index.remove(name.as_str());
        match index.and_then(|index| self.lines.get_mut(index)) {
            Some(line) => {
                *line = Line::Removed;
                true
            }
            None => false,
        }
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            match line {
                Line::User { name, hash } => {
                    escape(name.as_str(), &mut text);
                    text.extend([":", hash, "\n"]);
                }
                Line::Other(line) => text.extend([line, "\n"]),
                Line::Removed => {}
            }
        }
        text
    }
}

/// What the auth process knows of the user file; follows its changes.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    key: Key,
    stamp: Option<Stamp>,
    generation: u64,
    index: HashMap<Box<str>, usize>,
    hashes: Vec<Box<str>>,
}

/// What changes when a file is replaced or written.
type Stamp = (u64, u64, i64, i64, i64, i64, u64);

impl Directory {
    /// A directory that knows nobody before the first [`Directory::refresh`].
    pub fn new(path: PathBuf, key: Key) -> Self {
        Directory { path, key, stamp: None, generation: 0, index: HashMap::new(), hashes: Vec::new() }
    }

    /// Reads the file again when it has changed; costs one `stat` when it has not. Says whether it has. A line
    /// that makes no sense is logged and left out: it must not keep the other users out.
    ///
    /// # Errors
    /// When the file cannot be read; what was known stays known.
    pub fn refresh(&mut self) -> Result<bool, UserFileError> {
        let current = match fs::metadata(&self.path) {
            Ok(metadata) => Some(stamp(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(UserFileError::Read { path: self.path.clone(), source }),
        };
        if self.generation > 0 && current == self.stamp {
            return Ok(false);
        }
        let file = read_file(&self.path)?;
        self.generation += 1;
        self.stamp = file.as_ref().map(|(_, stamp)| *stamp);
        self.index.clear();
        self.hashes.clear();
        for (number, line) in file.iter().flat_map(|(text, _)| text.lines()).enumerate() {
            match parse_line(line) {
                Parsed::User(name, hash) => self.insert(name, hash),
                Parsed::Nothing => {}
                Parsed::Bad => log::error!(
                    path:% = self.path.display(), line = number + 1; "user file: the line makes no sense, left out"
                ),
            }
        }
        Ok(true)
    }

    /// Grows with every change of the file.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The stored hash of a user.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.hashes.get(*self.index.get(name)?).map(AsRef::as_ref)
    }

    /// Some user's hash, always the same for a name: verifying against it takes as long for a name that does not
    /// exist as for one that does. `None` when there are no users.
    pub fn decoy(&self, name: &str) -> Option<&str> {
        let count = self.hashes.len() as u64;
        let index = self.key.number(name.as_bytes()).checked_rem(count)?;
        self.hashes.get(index as usize).map(AsRef::as_ref)
    }

    fn insert(&mut self, name: UserName, hash: String) {
        let index = *self.index.entry(name.as_str().into()).or_insert(self.hashes.len());
        match self.hashes.get_mut(index) {
            Some(place) => *place = hash.into(),
            None => self.hashes.push(hash.into()),
        }
    }
}

fn stamp(metadata: &fs::Metadata) -> Stamp {
    (
        metadata.dev(),
        metadata.ino(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
        metadata.len(),
    )
}

/// The text of the file and the stamp that belongs to it; `None` when there is no file.
fn read_file(path: &Path) -> Result<Option<(String, Stamp)>, UserFileError> {
    let failed = |source| UserFileError::Read { path: path.into(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // Taken before reading: a change meanwhile shows as a new stamp afterwards.
    let metadata = file.metadata().map_err(failed)?;
    if metadata.len() > MAX_USER_FILE {
        return Err(UserFileError::TooLong(path.into()));
    }
    let stamp = stamp(&metadata);
    let mut text = String::new();
    file.take(MAX_USER_FILE).read_to_string(&mut text).map_err(failed)?;
    Ok(Some((text, stamp)))
}

enum Parsed {
    User(UserName, String),
    Nothing,
    Bad,
}

fn parse_line(line: &str) -> Parsed {
    if line.is_empty() || line.starts_with('#') {
        return Parsed::Nothing;
    }
    let parse = || {
        let (name, hash) = line.split_once(':')?;
        let name = UserName::new(unescape(name)?).ok()?;
        hash.starts_with('{').then(|| Parsed::User(name, hash.into()))
    };
    parse().unwrap_or(Parsed::Bad)
}

fn escape(name: &str, text: &mut String) {
    for (index, c) in name.char_indices() {
        if matches!(c, ':' | '%') || c.is_ascii_control() || (index == 0 && c == '#') {
            let _ = write!(text, "%{:02X}", u32::from(c));
        } else {
            text.push(c);
        }
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let code = u8::from_str_radix(digits, 16).ok().filter(u8::is_ascii)?;
        name.push(char::from(code));
        name.push_str(rest);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        UserName::new(text).unwrap()
    }

    fn set(path: &Path, user: &str, hash: &str) {
        Users::update::<_, UserFileError>(path, |users| {
            users.set(name(user), hash.into());
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn any_name_survives_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        let names = [
            "ada",
            "a:b",
            "100%",
            "#hash",
            "a#b",
            "grüße@example.org",
            "%3A",
            " blanks ",
            "../../etc",
            "{x}",
        ];
        for user in names {
            set(&path, user, &format!("{{PLAIN}}{user}:secret"));
        }
        let users = Users::load(&path).unwrap();
        assert!(users.names().map(UserName::as_str).eq(names));
        let mut directory = Directory::new(path, Key::random().unwrap());
        assert!(directory.refresh().unwrap());
        for user in names {
            assert_eq!(directory.find(user), Some(format!("{{PLAIN}}{user}:secret").as_str()), "{user}");
        }
        assert_eq!(directory.find("nobody"), None);
    }

    #[test]
    fn changes_are_seen_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        let mut directory = Directory::new(path.clone(), Key::random().unwrap());
        assert!(directory.refresh().unwrap(), "the first look counts as a change");
        assert_eq!(directory.decoy("ada"), None);
        set(&path, "ada", "{PLAIN}1");
        assert!(directory.refresh().unwrap());
        assert!(!directory.refresh().unwrap());
        set(&path, "ada", "{PLAIN}2");
        assert!(directory.refresh().unwrap());
        assert_eq!(directory.find("ada"), Some("{PLAIN}2"));
        Users::update::<_, UserFileError>(&path, |users| Ok(users.remove(&name("ada")))).unwrap();
        assert!(directory.refresh().unwrap());
        assert_eq!(directory.find("ada"), None);
        fs::remove_file(&path).unwrap();
        assert!(directory.refresh().unwrap());
    }

    #[test]
    fn comments_stay_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        fs::write(&path, "# staff\nada:{PLAIN}1\n\ngrace:{PLAIN}2\n").unwrap();
        set(&path, "ada", "{PLAIN}3");
        assert_eq!(fs::read_to_string(&path).unwrap(), "# staff\nada:{PLAIN}3\n\ngrace:{PLAIN}2\n");
        for line in ["ada", "ada:secret", ":{PLAIN}x", "%zz:{PLAIN}x", "%e4:{PLAIN}x", "%4:{PLAIN}x"] {
            fs::write(&path, format!("ok:{{PLAIN}}1\n{line}\n")).unwrap();
            assert!(matches!(Users::load(&path), Err(UserFileError::BadLine { line: 2, .. })), "{line}");
            let mut directory = Directory::new(path.clone(), Key::random().unwrap());
            directory.refresh().unwrap();
            assert_eq!(directory.find("ok"), Some("{PLAIN}1"), "others can still log in");
        }
    }

    #[test]
    fn an_endless_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        File::create(&path).unwrap().set_len(MAX_USER_FILE + 1).unwrap();
        assert!(matches!(Users::load(&path), Err(UserFileError::TooLong(_))));
    }

    #[test]
    fn decoys_are_real_and_stay_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        fs::write(&path, "a:{PLAIN}1\nb:{PLAIN}2\nc:{PLAIN}3\n").unwrap();
        let mut directory = Directory::new(path, Key::random().unwrap());
        directory.refresh().unwrap();
        let mut met = std::collections::HashSet::new();
        for number in 0..200 {
            let nobody = format!("nobody{number}");
            let decoy = directory.decoy(&nobody).unwrap();
            assert_eq!(directory.decoy(&nobody), Some(decoy));
            met.insert(decoy);
        }
        assert_eq!(met.len(), 3);
    }
}
