//! What the workers share: the interest table and the sockets, made before the first fork.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use nix::errno::Errno;
use thiserror::Error;

use crate::store::{MailboxId, UserName};
use crate::sys::{SharedWords, SocketDirectory};

use super::limits::INTEREST_SLOTS;

/// Names of the sockets in `data/proc`, before the worker's number.
pub(super) const SOCKET_PREFIX: &str = "notify.";

/// First byte of a datagram from a worker: a slot of the interest table follows (4 bytes, little-endian).
const KIND_SLOT: u8 = b'S';
/// First byte of a datagram from outside: the mailbox id (16 bytes, big-endian) and the user's name follow.
const KIND_MAILBOX: u8 = b'M';

/// Longest datagram: kind, mailbox id, user name.
pub(super) const MAX_DATAGRAM: usize = 1 + 16 + crate::store::MAX_USER_NAME;

/// Why there is no bus.
#[derive(Debug, Error)]
pub enum BusError {
    #[error("cannot map shared memory: {0}")]
    Memory(#[source] Errno),
    #[error("cannot get random bytes: {0}")]
    Random(getrandom::Error),
    #[error("cannot make the notify socket {path}: {source}; is the directory writable?")]
    Socket { path: PathBuf, source: io::Error },
}

/// The tables and sockets of all workers.
pub struct Bus {
    /// Interest, then pending (a word per slot, a bit per worker), then overflow (a word per worker).
    words: SharedWords,
    seed: u64,
    sockets: Vec<Sockets>,
}

struct Sockets {
    receiver: UnixDatagram,
    /// Connected to the receiver; all processes use it. Connected before the fork, so that a worker that is
    /// replaced needs nothing new.
    sender: UnixDatagram,
}

/// One worker's end of the bus.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) bus: Arc<Bus>,
    pub(super) index: usize,
}

impl Bus {
    /// Binds a socket per worker in `directory`, replacing those of a master that is gone.
    pub fn new(directory: &Path, workers: usize) -> Result<Arc<Self>, BusError> {
        let words = SharedWords::new(2 * INTEREST_SLOTS + workers).map_err(BusError::Memory)?;
        let seed = getrandom::u64().map_err(BusError::Random)?;
        let socket = |index| {
            let name = format!("{SOCKET_PREFIX}{index}");
            Sockets::new(directory, &name)
                .map_err(|source| BusError::Socket { path: directory.join(&name), source })
        };
        let sockets = (0..workers).map(socket).collect::<Result<_, _>>()?;
        Ok(Arc::new(Bus { words, seed, sockets }))
    }

    /// The end of one worker. A bit per worker must fit a word, and the worker must have a socket: `None`
    /// otherwise.
    pub fn endpoint(self: &Arc<Self>, index: usize) -> Option<Endpoint> {
        let is_there = index < self.sockets.len() && index < u64::BITS as usize;
        is_there.then(|| Endpoint { bus: Arc::clone(self), index })
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    fn interest(&self, slot: usize) -> &AtomicU64 {
        &self.words[slot]
    }

    fn pending(&self, slot: usize) -> &AtomicU64 {
        &self.words[INTEREST_SLOTS + slot]
    }

    fn overflow(&self, worker: usize) -> &AtomicU64 {
        &self.words[2 * INTEREST_SLOTS + worker]
    }

    /// Which workers watch something in this slot, one bit each.
    pub(super) fn watchers(&self, slot: usize) -> u64 {
        self.interest(slot).load(SeqCst)
    }

    /// Tells a worker that something in this slot has changed.
    fn send(&self, worker: usize, slot: usize) {
        if self.pending(slot).fetch_or(1 << worker, SeqCst) & (1 << worker) != 0 {
            // A datagram is on its way that has not been read: it will bring the worker to the log after us.
            return;
        }
        let Some(sockets) = self.sockets.get(worker) else { return };
        let mut datagram = [KIND_SLOT; 5];
        datagram[1..].copy_from_slice(&(slot as u32).to_le_bytes());
        if sockets.sender.send(&datagram).is_err() {
            self.overflow(worker).store(1, SeqCst);
            // The receiver may have emptied its queue and looked at the flag between the two lines above.
            // Either it gets this now, or its queue is full again and it looks at the flag once more.
            let _ = sockets.sender.send(&datagram);
        }
    }
}

impl Sockets {
    fn new(directory: &Path, name: &str) -> io::Result<Self> {
        match fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let sockets = SocketDirectory::open(directory)?;
        let receiver = UnixDatagram::bind(sockets.path(name))?;
        receiver.set_nonblocking(true)?;
        fs::set_permissions(directory.join(name), Permissions::from_mode(0o600))?;
        let sender = UnixDatagram::unbound()?;
        sender.set_nonblocking(true)?;
        sender.connect(sockets.path(name))?;
        Ok(Sockets { receiver, sender })
    }
}

/// What a worker hears.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    Slot(usize),
    Mailbox(UserName, MailboxId),
}

impl Endpoint {
    /// Forgets what a former worker of this number watched.
    pub(super) fn reset(&self) {
        for word in &self.bus.words[..2 * INTEREST_SLOTS] {
            if word.load(SeqCst) & self.bit() != 0 {
                word.fetch_and(!self.bit(), SeqCst);
            }
        }
        self.bus.overflow(self.index).store(0, SeqCst);
    }

    pub(super) fn bit(&self) -> u64 {
        1 << self.index
    }

    pub(super) fn set_interest(&self, slot: usize, is_interested: bool) {
        match is_interested {
            true => self.bus.interest(slot).fetch_or(self.bit(), SeqCst),
            false => self.bus.interest(slot).fetch_and(!self.bit(), SeqCst),
        };
    }

    /// Tells the other workers among these.
    pub(super) fn send_to(&self, workers: u64, slot: usize) {
        let mut left = workers & !self.bit();
        while left != 0 {
            self.bus.send(left.trailing_zeros() as usize, slot);
            left &= left - 1;
        }
    }

    pub(super) fn as_raw_fd(&self) -> i32 {
        self.socket().as_raw_fd()
    }

    fn socket(&self) -> &UnixDatagram {
        &self.bus.sockets[self.index].receiver
    }

    /// The next datagram; `None` when the queue is empty. What is not understood is skipped.
    pub(super) fn receive(&self) -> Option<News> {
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            match self.socket().recv(&mut buffer) {
                Ok(count) => {
                    if let Some(news) = decode(buffer.get(..count)?) {
                        return Some(news);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    /// The news of this slot have arrived: later ones need a datagram of their own. Before anybody is woken.
    pub(super) fn acknowledge(&self, slot: usize) {
        self.bus.pending(slot).fetch_and(!self.bit(), SeqCst);
    }

    /// Whether the queue was full since the last call. Then everything counts as changed.
    pub(super) fn take_overflow(&self) -> bool {
        if self.bus.overflow(self.index).swap(0, SeqCst) == 0 {
            return false;
        }
        (0..INTEREST_SLOTS).for_each(|slot| self.acknowledge(slot));
        true
    }
}

fn decode(datagram: &[u8]) -> Option<News> {
    let (&kind, rest) = datagram.split_first()?;
    match kind {
        KIND_SLOT => {
            let slot = u32::from_le_bytes(rest.try_into().ok()?) as usize;
            (slot < INTEREST_SLOTS).then_some(News::Slot(slot))
        }
        KIND_MAILBOX => {
            let (id, user) = rest.split_at_checked(16)?;
            let mailbox = MailboxId(u128::from_be_bytes(id.try_into().ok()?));
            let user = UserName::new(std::str::from_utf8(user).ok()?).ok()?;
            Some(News::Mailbox(user, mailbox))
        }
        _ => None,
    }
}

/// The datagram of a process outside.
pub(super) fn encode(user: &UserName, mailbox: MailboxId) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(MAX_DATAGRAM);
    datagram.push(KIND_MAILBOX);
    datagram.extend_from_slice(&mailbox.0.to_be_bytes());
    datagram.extend_from_slice(user.as_str().as_bytes());
    datagram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_of_strangers_are_harmless() {
        let user = UserName::new("ada").unwrap();
        assert_eq!(decode(&encode(&user, MailboxId(7))), Some(News::Mailbox(user, MailboxId(7))));
        assert_eq!(decode(b"S\x01\x02\0\0"), Some(News::Slot(0x201)));
        let garbage: [&[u8]; 7] =
            [b"", b"S", b"S\0\0\x01\0", b"S\0\0\0\0\0", b"M", b"M0123456789abcdef", b"M0123456789abcdef\xff"];
        for datagram in garbage {
            assert_eq!(decode(datagram), None, "{datagram:?}");
        }
    }
}
