//! Who has a store in a partition.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::names::UserName;
use super::path::{unescaped, user_dir};

/// A user's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserDir {
    pub path: PathBuf,
    /// `None` for a name so long that its directory does not show it all.
    pub name: Option<UserName>,
}

/// All user directories of a partition, in the order of their paths. `known` are names that may be longer than what a
/// directory shows.
///
/// # Errors
/// When a directory cannot be read.
pub fn user_dirs(partition: &Path, known: &[UserName]) -> Result<Vec<UserDir>> {
    let long: HashMap<PathBuf, &UserName> =
        known.iter().map(|name| (user_dir(partition, name), name)).collect();
    let mut found = Vec::new();
    for_each_user(partition, |user| {
        let name = user.name.or_else(|| long.get(&user.path).map(|name| (*name).clone()));
        found.push(UserDir { name, ..user });
    })?;
    Ok(found)
}

/// Whether a user has a store in a partition.
pub fn has_mail(partition: &Path, user: &UserName) -> bool {
    user_dir(partition, user).join("log").is_dir()
}

/// Calls `each` for all user directories of a partition, in the order of their paths; not all are in memory at once.
///
/// # Errors
/// When a directory cannot be read.
pub(super) fn for_each_user(partition: &Path, mut each: impl FnMut(UserDir)) -> Result<()> {
    for low in entries(&partition.join("=user"))? {
        for high in entries(&low)? {
            for path in entries(&high)?.into_iter().filter(|path| path.join("log").is_dir()) {
                let shown = path.file_name().and_then(|name| unescaped(name.to_str()?));
                let name = shown.filter(|name| user_dir(partition, name) == path);
                each(UserDir { path, name });
            }
        }
    }
    Ok(())
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(dir) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        listed => listed.map_err(Error::io("cannot read", dir))?,
    };
    let paths = listed.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
    let mut paths = paths.map_err(Error::io("cannot read", dir))?;
    paths.sort_unstable();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_from_their_directories() {
        let dir = tempfile::tempdir().unwrap();
        let long = UserName::new("ö".repeat(120)).unwrap();
        let mut names: Vec<UserName> = ["ada", "a/b", "%41", "é ü", "..", "x@example.com"]
            .map(|name| UserName::new(name).unwrap())
            .into();
        names.push(long.clone());
        for name in &names {
            fs::create_dir_all(user_dir(dir.path(), name).join("log")).unwrap();
        }
        fs::create_dir_all(dir.path().join("=user/00/00/=%zz/log")).unwrap();
        let found = |known: &[UserName]| user_dirs(dir.path(), known).unwrap();
        assert_eq!(found(&[]).iter().filter(|user| user.name.is_none()).count(), 2);
        let mut listed: Vec<_> = found(&[long]).into_iter().filter_map(|user| user.name).collect();
        listed.sort();
        names.sort();
        assert_eq!(listed, names);
        assert!(user_dirs(&dir.path().join("nothing"), &[]).unwrap().is_empty());
    }
}
