//! Whom a process that root has started acts as.
//!
//! Such a process lowers itself: its effective user becomes another one, its real and saved user stay root, so that it
//! can be [`raised`] again around the few calls that need it. A child gives up all of it, for good. Other processes of
//! the account can neither trace nor signal one that is only lowered.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{
    Gid, Uid, User, geteuid, getgrouplist, getresgid, getresuid, setegid, seteuid, setgroups, setresgid,
    setresuid,
};

const ROOT: Uid = Uid::from_raw(0);

/// A user and its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl Account {
    /// The account of this name; `None` when there is none.
    ///
    /// # Errors
    /// When the system cannot look it up.
    pub fn find(name: &str) -> Result<Option<Self>, Errno> {
        let Ok(c_name) = CString::new(name) else { return Ok(None) };
        let Some(user) = User::from_name(name)? else { return Ok(None) };
        let groups = getgrouplist(&c_name, user.gid)?;
        Ok(Some(Account { uid: user.uid, gid: user.gid, groups }))
    }

    /// The account that a file or directory belongs to, with no group but the file's.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn owner_of(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        let gid = Gid::from_raw(found.gid());
        Ok(Account { uid: Uid::from_raw(found.uid()), gid, groups: vec![gid] })
    }

    pub fn uid(&self) -> u32 {
        self.uid.as_raw()
    }

    pub fn gid(&self) -> u32 {
        self.gid.as_raw()
    }

    /// Whether this process acts as this account now.
    pub fn is_own(&self) -> bool {
        self.uid == geteuid()
    }

    /// Acts as this account from now on, except when [`raised`]. For a process of root with one thread.
    ///
    /// # Errors
    /// When the process is not root's.
    pub fn lower(&self) -> Result<(), Errno> {
        setgroups(&self.groups)?;
        setegid(self.gid)?;
        seteuid(self.uid)
    }

    /// Becomes this account with no way back, and makes sure of that.
    ///
    /// # Errors
    /// When the process is not root's, or, with `EPERM`, when a way back is left.
    pub fn become_for_good(&self) -> Result<(), Errno> {
        if !geteuid().is_root() {
            seteuid(ROOT)?;
        }
        setgroups(&self.groups)?;
        setresgid(self.gid, self.gid, self.gid)?;
        setresuid(self.uid, self.uid, self.uid)?;
        let (users, groups) = (getresuid()?, getresgid()?);
        let is_all = [users.real, users.effective, users.saved] == [self.uid; 3]
            && [groups.real, groups.effective, groups.saved] == [self.gid; 3];
        if is_all && (self.uid.is_root() || seteuid(ROOT).is_err()) { Ok(()) } else { Err(Errno::EPERM) }
    }
}

/// Whether this process acts as root now.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Whether this process is a lowered one of root's.
pub fn is_lowered() -> bool {
    getresuid().is_ok_and(|ids| ids.real.is_root() && !ids.effective.is_root())
}

/// Does what only root can do, as root when this process is a lowered one of root's. For one call to the system, or a
/// few: what is made meanwhile belongs to root.
pub fn raised<T>(work: impl FnOnce() -> T) -> T {
    let _raised = Raised::new();
    work()
}

/// Who to be again afterwards, if anybody else.
struct Raised(Option<Uid>);

impl Raised {
    fn new() -> Self {
        let before = Some(geteuid()).filter(|_| is_lowered());
        Raised(before.filter(|_| seteuid(ROOT).is_ok()))
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        // Root may become anybody. To go on as root, if it could not, is the one thing that must not happen.
        if self.0.is_some_and(|uid| seteuid(uid).is_err()) {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork, getuid};

    use super::*;

    /// Runs `check` in a process of its own: the effective user is the whole process's.
    fn apart(check: impl FnOnce() -> bool) {
        // SAFETY: the child makes system calls only, and leaves with `_exit`; it needs no lock of another thread.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => {
                assert!(matches!(waitpid(child, None).unwrap(), WaitStatus::Exited(_, 0)));
            }
            ForkResult::Child => crate::sys::exit_now(i32::from(!check())),
        }
    }

    /// Not in the table of users: none is needed.
    fn somebody() -> Account {
        let gid = Gid::from_raw(64_123);
        Account { uid: Uid::from_raw(64_123), gid, groups: vec![gid] }
    }

    #[test]
    fn names_are_looked_up() {
        assert_eq!(Account::find("root").unwrap().map(|root| root.uid()), Some(0));
        assert_eq!(Account::find("no such user").unwrap(), None);
        assert_eq!(Account::find("no\0user").unwrap(), None);
    }

    #[test]
    fn root_is_lowered_and_raised_and_dropped_for_good() {
        if !is_root() {
            return eprintln!("not run: only root can become another user");
        }
        let account = somebody();
        apart(|| {
            let lowered = account.lower().is_ok() && account.is_own() && getuid().is_root();
            let up = raised(is_root) && raised(|| raised(is_root) && is_root());
            let down = account.is_own();
            let gone = account.become_for_good().is_ok() && !raised(is_root) && seteuid(ROOT).is_err();
            lowered && up && down && gone
        });
    }
}
