//! `local.serveruid`: who serves when root starts the server, and what of a base that user needs to have.
//!
//! | part of the base | belongs to | because |
//! |---|---|---|
//! | `config` | root; the user's group may pass (0710) | the server never changes it |
//! | `config/users` | root; the user's group may read (0640) | the auth process reads it whenever it has changed |
//! | `config/msg.conf`, `config/tls`, a configured key | root alone | the master reads them, raised, and hands them on |
//! | `data`, `log` | the user | the server writes there |
//!
//! Root hands over what root has made, and nothing beneath a directory of somebody else, who could have put a link in
//! its place. It does not go through the mail: that may be large, and if it is another's, somebody has to look.

use std::fs::{self, DirEntry, File, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use thiserror::Error;

use super::base::Base;
use super::settings::Settings;
use crate::sys::{Account, is_root};

/// Why nobody can serve.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ServiceUserError {
    #[error("this machine has no user `{0}`: make one with useradd --system {0}")]
    NoAccount(String),
    #[error("`{0}` cannot be looked up: {1}")]
    Lookup(String, Errno),
    #[error("only root can serve as another user: start as root or as {0}, or unset it")]
    NotRoot(String),
}

/// The account to become; `None`: none but the one that starts.
///
/// # Errors
/// When there is no such account, or this process cannot become it.
pub fn service_user(name: &str) -> Result<Option<Account>, ServiceUserError> {
    if name.is_empty() {
        return Ok(None);
    }
    match Account::find(name) {
        Err(error) => Err(ServiceUserError::Lookup(name.into(), error)),
        Ok(None) => Err(ServiceUserError::NoAccount(name.into())),
        Ok(Some(account)) if account.is_own() => Ok(None),
        Ok(Some(_)) if !is_root() => Err(ServiceUserError::NotRoot(name.into())),
        other => Ok(other.unwrap_or_default()),
    }
}

/// Why a base cannot be served by its service user.
#[derive(Debug, Error)]
pub enum OwnerError {
    #[error(
        "mail in {} belongs to another account than {user}, who is to serve: use chown -R {user}, or see local.serveruid",
        path.display()
    )]
    Foreign { path: PathBuf, user: String },
    #[error("cannot give {} to the service user: {source}; see local.serveruid", path.display())]
    Give { path: PathBuf, source: io::Error },
    #[error(
        "{user} (local.serveruid) cannot reach {}: let it pass the directories above, or move the base",
        path.display()
    )]
    Unreachable { path: PathBuf, user: String },
}

/// Root's view of a base before it serves: does the mail belong to who is to serve?
///
/// # Errors
/// When it is not.
pub fn check_mail(partition: &Path, uid: u32, user: &str) -> Result<(), OwnerError> {
    let Ok(entries) = fs::read_dir(partition) else { return Ok(()) };
    let is_foreign = |entry: DirEntry| entry.metadata().is_ok_and(|found| found.uid() != uid);
    match entries.flatten().any(is_foreign) {
        true => Err(OwnerError::Foreign { path: partition.into(), user: user.into() }),
        false => Ok(()),
    }
}

/// Gives the account what it needs of a base that root has made. Costs a few calls when that is done already.
///
/// # Errors
/// When something cannot be given.
pub fn hand_over(base: &Base, settings: &Settings, account: &Account) -> Result<(), OwnerError> {
    let giver = Giver(account);
    giver.open_config(base)?;
    let data = base.root().join("data");
    let (store, partition) = (data.join("store"), settings.partition(base));
    if !partition.exists() && partition.parent().is_some_and(is_roots) {
        giver.done(&partition, fs::create_dir(&partition))?;
        giver.done(&partition, fs::set_permissions(&partition, Permissions::from_mode(0o700)))?;
    }
    // From below: what is in a directory that has been given is not root's affair any more.
    giver.directory(&partition)?;
    giver.directory(&store.join("partition"))?;
    giver.directory(&store)?;
    giver.entries(&base.proc_dir())?;
    giver.directory(&base.proc_dir())?;
    giver.directory(&data)?;
    let log = base.resolve(&settings.log.directory);
    // A directory elsewhere may be for the logs of others, too.
    if log.starts_with(base.root()) {
        giver.entries(&log)?;
        giver.directory(&log)?;
    }
    Ok(())
}

/// Whether the account, which this process is lowered to, can use the base.
///
/// # Errors
/// The first place that it cannot reach.
pub fn check_reach(base: &Base, user: &str) -> Result<(), OwnerError> {
    let is_closed =
        |path: &PathBuf| File::open(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
    match [base.proc_dir(), base.users()].into_iter().find(is_closed) {
        Some(path) => Err(OwnerError::Unreachable { path, user: user.into() }),
        None => Ok(()),
    }
}

/// Gives to this account.
struct Giver<'a>(&'a Account);

impl Giver<'_> {
    fn directory(&self, path: &Path) -> Result<(), OwnerError> {
        if !is_to_give(path) {
            return Ok(());
        }
        self.done(path, chown(path, Some(self.0.uid()), Some(self.0.gid())))
    }

    /// The files of root's in a directory of root's.
    fn entries(&self, directory: &Path) -> Result<(), OwnerError> {
        if !is_to_give(directory) {
            return Ok(());
        }
        let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
        let is_file = |found: Metadata| !found.is_dir() && found.uid() == 0;
        for entry in entries.flatten().filter(|entry| entry.metadata().is_ok_and(is_file)) {
            let path = entry.path();
            self.done(&path, lchown(&path, Some(self.0.uid()), Some(self.0.gid())))?;
        }
        Ok(())
    }

    fn open_config(&self, base: &Base) -> Result<(), OwnerError> {
        let users = base.users();
        let Some(config) = users.parent().filter(|config| is_to_give(config)) else { return Ok(()) };
        self.share(config, 0o710)?;
        let is_root_s_file = |found: Metadata| found.is_file() && found.uid() == 0;
        if fs::symlink_metadata(&users).is_ok_and(is_root_s_file) {
            self.share(&users, 0o640)?;
        }
        Ok(())
    }

    fn share(&self, path: &Path, mode: u32) -> Result<(), OwnerError> {
        self.done(path, chown(path, None, Some(self.0.gid())))?;
        self.done(path, fs::set_permissions(path, Permissions::from_mode(mode)))
    }

    fn done(&self, path: &Path, result: io::Result<()>) -> Result<(), OwnerError> {
        result.map_err(|source| OwnerError::Give { path: path.into(), source })
    }
}

/// Nobody but root can have put this directory here, and it is root's still.
fn is_to_give(path: &Path) -> bool {
    is_roots(path) && path.parent().is_some_and(is_roots)
}

fn is_roots(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn who_serves() {
        assert_eq!(service_user(""), Ok(None));
        let unknown = service_user("no-such-user").unwrap_err().to_string();
        assert!(unknown.contains("no user `no-such-user`"), "{unknown}");
        match is_root() {
            true => assert_eq!(service_user("root"), Ok(None), "that is who starts"),
            false => assert_eq!(service_user("root"), Err(ServiceUserError::NotRoot("root".into()))),
        }
    }

    #[test]
    fn root_gives_what_it_has_made_and_nothing_else() {
        let Ok(Some(nobody)) = Account::find("nobody") else { return };
        if !is_root() {
            return eprintln!("not run: only root can give files away");
        }
        let dir = tempfile::tempdir().unwrap();
        let (root, elsewhere) = (dir.path().join("base"), dir.path().join("elsewhere"));
        fs::create_dir(&elsewhere).unwrap();
        let base = Base::init(&root, "local.serveruid = nobody\n").unwrap();
        let settings = Config::load(&base).unwrap().settings().unwrap();
        fs::write(base.log_dir().join("imap"), "a line").unwrap();
        let hand_over = || hand_over(&base, &settings, &nobody).unwrap();
        let owner = |path: &str| fs::metadata(root.join(path)).unwrap().uid();
        hand_over();
        let given = ["data", "data/proc", "data/store", "data/store/partition/primary", "log", "log/imap"];
        given.iter().for_each(|path| assert_eq!(owner(path), nobody.uid(), "{path}"));
        let kept = ["", "sbin", "config", "config/msg.conf", "config/users"];
        kept.iter().for_each(|path| assert_eq!(owner(path), 0, "{path}"));
        let mode = |path: PathBuf| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(base.users()), mode(base.msg_conf())), (0o640, 0o600));

        // What another has put there is not touched: neither a link to a directory of root's, nor mail.
        let partition = settings.partition(&base);
        fs::remove_dir(&partition).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &partition).unwrap();
        hand_over();
        assert_eq!(fs::metadata(&elsewhere).unwrap().uid(), 0);
        fs::write(elsewhere.join("epoch"), "of root").unwrap();
        assert!(matches!(check_mail(&partition, nobody.uid(), "nobody"), Err(OwnerError::Foreign { .. })));
    }
}
