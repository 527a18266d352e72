//! Getting a thread out of a system call that waits.

use std::os::unix::thread::JoinHandleExt;
use std::sync::OnceLock;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// The signal that interrupts; it means nothing else here.
const INTERRUPT: Signal = Signal::SIGUSR2;

/// Pause between two interruptions. The first may come between the thread's look at what it is asked and its call.
const AGAIN: Duration = Duration::from_millis(5);

extern "C" fn ignore(_: libc::c_int) {}

/// Installs the handler once. Without `SA_RESTART`, a call that waits ends with `EINTR`.
fn prepare() -> Result<(), Errno> {
    static PREPARED: OnceLock<Result<(), Errno>> = OnceLock::new();
    *PREPARED.get_or_init(|| {
        let action = SigAction::new(SigHandler::Handler(ignore), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing, which is safe in a signal handler; nobody else uses this signal.
        unsafe { sigaction(INTERRUPT, &action) }.map(drop)
    })
}

/// Waits for the end of a thread that has been asked to end but may wait in a system call.
pub fn join_interrupting(thread: JoinHandle<()>) {
    let can_interrupt = prepare().is_ok();
    while can_interrupt && !thread.is_finished() {
        // SAFETY: the handle keeps the thread's id valid, also after its end, until it is joined below.
        unsafe { libc::pthread_kill(thread.as_pthread_t() as libc::pthread_t, INTERRUPT as libc::c_int) };
        std::thread::sleep(AGAIN);
    }
    // A panic was reported where it happened.
    let _ = thread.join();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    #[test]
    fn a_thread_leaves_accept_when_told() {
        let listener = crate::sys::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            while !flag.load(SeqCst) {
                assert!(crate::sys::accept(&listener).is_err());
            }
        });
        is_over.store(true, SeqCst);
        join_interrupting(thread);
    }
}
