//! Signals as something to poll for and read, in a form that survives `fork`.
//!
//! A registration that a child inherits loses signals: it writes into the parent's pipe. So a fork is done
//! while signals are blocked ([`SignalsBlocked`]); the child drops the inherited [`Signals`], listens anew, and
//! only then lets the signals that arrived meanwhile through.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::signal::SigSet;
use signal_hook::SigId;

/// The signals that this process listens to.
pub struct Signals {
    pipe: UnixStream,
    watched: Vec<Watched>,
}

struct Watched {
    signal: i32,
    arrived: Arc<AtomicBool>,
    actions: [SigId; 2],
}

impl Signals {
    /// Starts to listen. The default action of each signal stops applying.
    pub fn listen(signals: &[i32]) -> io::Result<Self> {
        let (pipe, sender) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        let watched = signals.iter().map(|&signal| watch(signal, &sender)).collect::<io::Result<_>>()?;
        Ok(Signals { pipe, watched })
    }

    /// The signals that arrived since the last call. Never blocks.
    pub fn take(&mut self) -> Vec<i32> {
        let mut bytes = [0; 64];
        while matches!((&self.pipe).read(&mut bytes), Ok(count) if count == bytes.len()) {}
        let arrived = |watched: &&Watched| watched.arrived.swap(false, Ordering::SeqCst);
        self.watched.iter().filter(arrived).map(|watched| watched.signal).collect()
    }
}

/// Readable when a signal has arrived.
impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for action in self.watched.iter().flat_map(|watched| watched.actions) {
            signal_hook::low_level::unregister(action);
        }
    }
}

/// The flag is set before the byte is sent: actions run in the order of their registration.
fn watch(signal: i32, sender: &UnixStream) -> io::Result<Watched> {
    let arrived = Arc::new(AtomicBool::new(false));
    let flag = signal_hook::flag::register(signal, Arc::clone(&arrived))?;
    let byte = signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
    Ok(Watched { signal, arrived, actions: [flag, byte] })
}

/// Keeps all signals from this thread until dropped.
pub struct SignalsBlocked {
    before: SigSet,
}

impl SignalsBlocked {
    pub fn new() -> Result<Self, Errno> {
        let before = SigSet::thread_get_mask()?;
        SigSet::all().thread_block()?;
        Ok(SignalsBlocked { before })
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // A mask that the kernel gave out is always accepted back.
        let _ = self.before.thread_set_mask();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal, raise};

    #[test]
    fn arrives_once_however_often_raised() {
        let mut signals = Signals::listen(&[libc::SIGUSR2, libc::SIGWINCH]).unwrap();
        assert!(signals.take().is_empty());
        raise(Signal::SIGUSR2).unwrap();
        raise(Signal::SIGUSR2).unwrap();
        let mut ready = [nix::poll::PollFd::new(signals.as_fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut ready, nix::poll::PollTimeout::NONE).unwrap();
        assert_eq!(signals.take(), [libc::SIGUSR2]);
        assert!(signals.take().is_empty());
    }
}
