//! What a child process takes on itself right after `fork`.

use std::ffi::CStr;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

/// Names the child and ties it to its parent: SIGTERM when `parent` dies, no privileges through exec, no core
/// dump with passwords in it. Fails with `ESRCH` when the parent is already gone.
pub fn confine_child(parent: Pid, name: &CStr) -> Result<(), Errno> {
    prctl::set_name(name)?;
    // Huge pages under thread stacks and heaps cost 2 MiB each, zeroed, for a few KiB of use.
    prctl::set_thp_disable(true)?;
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    prctl::set_no_new_privs()?;
    prctl::set_dumpable(false)?;
    // The parent may have died before the first call took effect.
    if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH) }
}

/// Descriptors that a privileged process makes room for, the kernel's own default: a child without privileges can raise
/// its limit up to there when a refresh allows more sessions.
const ROOM: u64 = 1 << 20;

/// Raises the limit of open descriptors to at least `wanted`, as far as the hard limit (or privilege) allows;
/// says what it is afterwards.
pub fn raise_descriptor_limit(wanted: u64) -> Result<u64, Errno> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = wanted.max(soft);
    for hard in [hard.max(wanted).max(ROOM), hard.max(wanted)] {
        if setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() {
            return Ok(wanted);
        }
    }
    let soft = wanted.min(hard);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    Ok(soft)
}

/// Ends the process at once, without what libraries do at exit: that is not safe while other threads run.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}
