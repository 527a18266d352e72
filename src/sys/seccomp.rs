//! seccomp: which system calls a process can still make (seccomp(2)).
//!
//! A list of what is allowed: everything else, and calls that the kernel does not know yet, is answered with `ENOSYS`,
//! for which libraries have another way or an error. There is no way to start a program or another process, to become
//! another user, to trace, to mount, to load code into the kernel or into this process, nor sockets but those of the
//! role.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// What a process has to do beside computing: its threads, its clock, its open files, the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Makes, renames and removes files; which ones, Landlock says.
    pub files: bool,
    /// Connects to other hosts: IPv4, IPv6. Unix sockets, and connections that come in, are always allowed.
    pub hosts: bool,
    /// Opens sockets to listen at.
    pub listens: bool,
}

/// Memory: see also [`conditions`].
const MEMORY: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_munmap,
];

/// Threads, signals and the process itself, as the C library and its threads need them.
const THREADS: &[c_long] = &[
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_membarrier,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

const TIME: &[c_long] = &[
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_times,
];

/// Open files, and opening them; a log is opened anew by every role.
const DESCRIPTORS: &[c_long] = &[
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pselect6,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Connections that come in, and those that are there.
const CONNECTIONS: &[c_long] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
];

/// For [`Calls::files`].
const FILES: &[c_long] = &[
    super::file_range::CACHESTAT,
    libc::SYS_copy_file_range,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_linkat,
    libc::SYS_mkdirat,
    libc::SYS_renameat2,
    libc::SYS_sendfile,
    libc::SYS_syncfs,
    libc::SYS_truncate,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
];

/// For [`Calls::listens`].
const LISTENERS: &[c_long] = &[libc::SYS_bind, libc::SYS_listen];

/// Older forms of some of the above, which the C library of this architecture still uses.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_getrlimit,
    libc::SYS_lstat,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// For [`Calls::files`].
#[cfg(target_arch = "x86_64")]
const OLDER_FILES: &[c_long] = &[
    libc::SYS_link,
    libc::SYS_mkdir,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_rmdir,
    libc::SYS_unlink,
];
/// `renameat`, of which the libc crate does not know here.
#[cfg(target_arch = "aarch64")]
const OLDER_FILES: &[c_long] = &[38];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLDER_FILES: &[c_long] = &[];

/// What `ioctl` may ask: whether a descriptor blocks, is closed on exec, has bytes to read, is a terminal. Not to type
/// into the terminal of whoever started the server.
const IOCTLS: &[u64] = &[libc::FIONBIO, libc::FIOCLEX, libc::FIONCLEX, libc::FIONREAD, libc::TCGETS];

/// What `prctl` may do: names of threads and of memory, and looking.
const PRCTLS: &[i32] = &[
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_VMA,
    libc::PR_GET_DUMPABLE,
    libc::PR_GET_SECCOMP,
    libc::PR_GET_NO_NEW_PRIVS,
];

/// The flags of `clone` that make something else than a thread.
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// From now on this thread, and all that it starts, can make these calls and no others. Before the process has a second
/// thread.
///
/// # Errors
/// When the kernel is without seccomp, or this architecture has no rules.
pub(super) fn allow_only(calls: Calls) -> Result<(), Error> {
    seccompiler::apply_filter(&filter(calls)?)
}

fn filter(calls: Calls) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut lists = vec![MEMORY, THREADS, TIME, DESCRIPTORS, CONNECTIONS, OLDER];
    lists.extend([FILES, OLDER_FILES].iter().filter(|_| calls.files));
    lists.extend([LISTENERS].iter().filter(|_| calls.listens));
    rules.extend(lists.into_iter().flatten().map(|&call| (call, Vec::new())));
    for (call, conditions) in conditions(calls) {
        let conditions = conditions.into_iter().map(|(argument, length, operator, value)| {
            SeccompCondition::new(argument, length, operator, value)
        });
        let rule = SeccompRule::new(conditions.collect::<Result<_, _>>()?)?;
        rules.entry(call).or_default().push(rule);
    }
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let refusal = SeccompAction::Errno(libc::ENOSYS as u32);
    SeccompFilter::new(rules, refusal, SeccompAction::Allow, architecture)?.try_into()
}

/// A number of an argument, how much of it counts, and how it compares to a value.
type Condition = (u8, seccompiler::SeccompCmpArgLen, seccompiler::SeccompCmpOp, u64);

/// Calls that are allowed with some arguments: one of the rows of a call has to be true, all conditions of the row.
fn conditions(calls: Calls) -> Vec<(c_long, Vec<Condition>)> {
    let equal = |argument, value: i32| (argument, Dword, Eq, u64::from(value as u32));
    let not = |argument, flag: i32| (argument, Dword, MaskedEq(u64::from(flag as u32)), 0);
    let threads = (libc::CLONE_THREAD | libc::CLONE_VM) as u64;
    let mut rows = vec![
        // Nothing that was written becomes a program.
        (libc::SYS_mmap, vec![not(2, libc::PROT_EXEC)]),
        (libc::SYS_mprotect, vec![not(2, libc::PROT_EXEC)]),
        // The C library tries `clone3` first, whose arguments no filter sees, and is content with this.
        (libc::SYS_clone, vec![(0, Qword, MaskedEq(threads | NAMESPACES as u64), threads)]),
        // Signals go to threads of this process, limits are its own.
        (libc::SYS_tgkill, vec![equal(0, std::process::id() as i32)]),
        (libc::SYS_prlimit64, vec![equal(0, 0)]),
        (libc::SYS_socket, vec![equal(0, libc::AF_UNIX)]),
        (libc::SYS_socketpair, vec![equal(0, libc::AF_UNIX)]),
    ];
    if calls.hosts {
        rows.extend([libc::AF_INET, libc::AF_INET6].map(|family| (libc::SYS_socket, vec![equal(0, family)])));
    }
    rows.extend(PRCTLS.iter().map(|&option| (libc::SYS_prctl, vec![equal(0, option)])));
    rows.extend(IOCTLS.iter().map(|&request| (libc::SYS_ioctl, vec![equal(1, request as i32)])));
    rows
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::fs::File;
    use std::net::TcpListener;
    use std::os::unix::net::UnixStream;

    use nix::errno::Errno;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, execv, fork};

    use super::*;

    /// The numbers of the checks that fail in a process under the filter, as bits.
    fn failures_under(calls: Calls, checks: &[&dyn Fn() -> bool]) -> i32 {
        let program = filter(calls).unwrap();
        // SAFETY: the child's allocations come from its own thread's arena, and it leaves with `_exit`.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
                WaitStatus::Exited(_, code) => code,
                other => panic!("{other:?}"),
            },
            ForkResult::Child => {
                if seccompiler::apply_filter(&program).is_err() {
                    crate::sys::exit_now(255);
                }
                let failed = checks.iter().enumerate().filter(|(_, check)| !check());
                crate::sys::exit_now(failed.map(|(number, _)| 1 << number).sum())
            }
        }
    }

    fn is_refused<T>(result: Result<T, Errno>) -> bool {
        result.err() == Some(Errno::ENOSYS)
    }

    fn call(number: c_long, arguments: [i64; 3]) -> Result<c_long, Errno> {
        let [one, two, three] = arguments;
        // SAFETY: the calls below take no pointers here, or are refused before they look at one.
        Errno::result(unsafe { libc::syscall(number, one, two, three) })
    }

    #[test]
    fn no_program_no_process_no_other_user() {
        let shell = CString::new("/bin/sh").unwrap();
        let executable = i64::from(libc::PROT_READ | libc::PROT_EXEC);
        let checks: [&dyn Fn() -> bool; 7] = [
            &|| is_refused(execv(&shell, &[&shell])),
            &|| is_refused(call(libc::SYS_clone, [i64::from(libc::SIGCHLD), 0, 0])),
            &|| is_refused(call(libc::SYS_unshare, [i64::from(libc::CLONE_NEWUSER), 0, 0])),
            &|| is_refused(call(libc::SYS_setuid, [0, 0, 0])) && is_refused(call(libc::SYS_bpf, [0, 0, 0])),
            &|| is_refused(call(libc::SYS_ptrace, [0, 0, 0])) && is_refused(call(libc::SYS_mount, [0, 0, 0])),
            &|| is_refused(call(libc::SYS_mprotect, [0, 4096, executable])),
            &|| is_refused(call(libc::SYS_kill, [i64::from(std::process::id()), 0, 0])),
        ];
        let all = Calls { files: true, hosts: true, listens: true };
        assert_eq!(failures_under(all, &checks), 0, "bits of the checks that failed");
    }

    #[test]
    fn a_role_opens_its_own_sockets_and_files_only() {
        let internet = || call(libc::SYS_socket, [libc::AF_INET.into(), libc::SOCK_STREAM.into(), 0]);
        let netlink = || call(libc::SYS_socket, [libc::AF_NETLINK.into(), libc::SOCK_RAW.into(), 0]);
        let sync = || call(libc::SYS_fsync, [-1, 0, 0]);
        let few: [&dyn Fn() -> bool; 4] =
            [&|| is_refused(internet()), &|| is_refused(sync()), &|| UnixStream::pair().is_ok(), &|| {
                File::open("/dev/null").is_ok()
            }];
        assert_eq!(failures_under(Calls::default(), &few), 0, "bits of the checks that failed");
        let many: [&dyn Fn() -> bool; 3] =
            [&|| TcpListener::bind("127.0.0.1:0").is_ok(), &|| sync().err() == Some(Errno::EBADF), &|| {
                is_refused(netlink())
            }];
        let all = Calls { files: true, hosts: true, listens: true };
        assert_eq!(failures_under(all, &many), 0, "bits of the checks that failed");
    }

    #[test]
    fn threads_come_and_go() {
        let check = || std::thread::spawn(|| 7).join().is_ok_and(|seven| seven == 7);
        assert_eq!(failures_under(Calls::default(), &[&check]), 0);
    }
}
