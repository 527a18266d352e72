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
use nix::sys::signal::{Signal, kill};
use nix::unistd::{
    Gid, Pid, Uid, User, geteuid, getgrouplist, getresgid, getresuid, setegid, seteuid, setgroups, setresgid,
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

    /// The account that a file or directory belongs to, with no group but the file's. Only a link of root's is followed:
    /// nobody else can lead a command of root's to be another user, or root, at a place of their choice.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn owner_of(path: &Path) -> io::Result<Self> {
        let itself = fs::symlink_metadata(path)?;
        let is_followed = itself.is_symlink() && itself.uid() == ROOT.as_raw();
        let found = if is_followed { fs::metadata(path)? } else { itself };
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

/// Signals a process; when this one is lowered, only one of the same account, or one of root's that is lowered to it.
/// Where the number was read, the account may have written: root's word is not lent against any other process.
///
/// # Errors
/// When there is no such process, or it is another's.
pub fn signal(pid: Pid, signal: Signal) -> Result<(), Errno> {
    if is_lowered() {
        let [real, effective, saved] = uids(pid).ok_or(Errno::ESRCH)?;
        if effective != geteuid() || real != saved || (real != effective && !real.is_root()) {
            return Err(Errno::EPERM);
        }
    }
    raised(|| kill(pid, signal))
}

/// The real, the effective and the saved user of a process.
fn uids(pid: Pid) -> Option<[Uid; 3]> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let mut ids = ids.split_whitespace().flat_map(str::parse).map(Uid::from_raw);
    Some([ids.next()?, ids.next()?, ids.next()?])
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
    fn links_of_others_are_not_followed() {
        if !is_root() {
            return eprintln!("not run: only root can make a link of another user's");
        }
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/", &link).unwrap();
        let owner = || Account::owner_of(&link).unwrap().uid();
        assert_eq!(owner(), 0);
        std::os::unix::fs::lchown(&link, Some(64_123), None).unwrap();
        assert_eq!(owner(), 64_123, "not the owner of what it leads to");
    }

    #[test]
    fn root_signals_for_the_account_only() {
        if !is_root() {
            return eprintln!("not run: only root can become another user");
        }
        let (test, account) = (Pid::this(), somebody());
        apart(|| {
            let lowered = account.lower().is_ok();
            // SAFETY: as in `apart`.
            let is_heard = match unsafe { fork() } {
                Ok(ForkResult::Parent { child }) => {
                    signal(child, Signal::SIGKILL).is_ok()
                        && matches!(waitpid(child, None), Ok(WaitStatus::Signaled(_, Signal::SIGKILL, _)))
                }
                _ => loop {
                    nix::unistd::pause();
                },
            };
            lowered && is_heard && signal(test, Signal::SIGCONT) == Err(Errno::EPERM)
        });
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
