//! What the workers share: the interest table and the sockets, made before the first fork.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use nix::errno::Errno;
use thiserror::Error;

use crate::store::{MailboxId, UserName};
use crate::sys::{SharedWords, SocketDirectory};

use super::limits::{INTEREST_SLOTS, MAX_WORKERS};

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
    /// What each worker receives from. Bound by the master, so that it outlives a worker that is replaced; those of
    /// workers that a refresh adds are in the master and in processes that it forks later.
    receivers: Box<[OnceLock<UnixDatagram>]>,
    /// Connected to the receivers, when they are first needed.
    senders: Box<[OnceLock<UnixDatagram>]>,
    directory: SocketDirectory,
    path: PathBuf,
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
        let words = SharedWords::new(2 * INTEREST_SLOTS + MAX_WORKERS).map_err(BusError::Memory)?;
        let seed = getrandom::u64().map_err(BusError::Random)?;
        let sockets = || std::iter::repeat_with(OnceLock::new).take(MAX_WORKERS).collect();
        let opened = SocketDirectory::open(directory);
        let bus = Bus {
            words,
            seed,
            receivers: sockets(),
            senders: sockets(),
            directory: opened.map_err(|source| BusError::Socket { path: directory.to_owned(), source })?,
            path: directory.to_owned(),
        };
        bus.grow(workers)?;
        Ok(Arc::new(bus))
    }

    /// Binds sockets for workers that do not have one yet; in the master, before it forks them.
    pub fn grow(&self, workers: usize) -> Result<(), BusError> {
        for (index, place) in self.receivers.iter().enumerate().take(workers) {
            let name = socket_name(index);
            let path = self.path.join(&name);
            let failed = |source| BusError::Socket { path: path.clone(), source };
            if place.get().is_none() {
                let _ = place.set(self.bind(&name).map_err(failed)?);
            } else if !path.exists() {
                fs::rename(self.path.join(retired_name(index)), &path).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// A worker is gone for good, or until [`Bus::grow`]: nobody is to wait until it reads.
    pub fn retire(&self, worker: usize) {
        let (name, retired) = (self.path.join(socket_name(worker)), self.path.join(retired_name(worker)));
        if let Err(error) = fs::rename(&name, retired) {
            log::warn!(path:% = name.display(), error:% = error; "cannot retire the socket of a worker");
        }
    }

    fn bind(&self, name: &str) -> io::Result<UnixDatagram> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let receiver = UnixDatagram::bind(self.directory.path(name))?;
        receiver.set_nonblocking(true)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(receiver)
    }

    /// The way to a worker; `None` when it cannot be reached now.
    fn sender(&self, worker: usize) -> Option<&UnixDatagram> {
        let place = self.senders.get(worker)?;
        if place.get().is_none() {
            let connect = || {
                let sender = UnixDatagram::unbound()?;
                sender.set_nonblocking(true)?;
                sender.connect(self.directory.path(&socket_name(worker)))?;
                io::Result::Ok(sender)
            };
            let _ = place.set(connect().ok()?);
        }
        place.get()
    }

    /// The end of one worker. A bit per worker must fit a word, and the worker must have a socket: `None`
    /// otherwise.
    pub fn endpoint(self: &Arc<Self>, index: usize) -> Option<Endpoint> {
        let is_there = index < u64::BITS as usize && self.receivers.get(index)?.get().is_some();
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
        let Some(sender) = self.sender(worker) else {
            // Nobody is told, so nobody acknowledges; the worker looks at everything when it can be reached.
            self.pending(slot).fetch_and(!(1 << worker), SeqCst);
            return self.overflow(worker).store(1, SeqCst);
        };
        let mut datagram = [KIND_SLOT; 5];
        datagram[1..].copy_from_slice(&(slot as u32).to_le_bytes());
        if sender.send(&datagram).is_err() {
            self.overflow(worker).store(1, SeqCst);
            // The receiver may have emptied its queue and looked at the flag between the two lines above.
            // Either it gets this now, or its queue is full again and it looks at the flag once more.
            let _ = sender.send(&datagram);
        }
    }
}

fn socket_name(worker: usize) -> String {
    format!("{SOCKET_PREFIX}{worker}")
}

fn retired_name(worker: usize) -> String {
    format!("retired.{worker}")
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
        self.socket().map_or(-1, AsRawFd::as_raw_fd)
    }

    fn socket(&self) -> Option<&UnixDatagram> {
        self.bus.receivers.get(self.index)?.get()
    }

    /// The next datagram; `None` when the queue is empty. What is not understood is skipped.
    pub(super) fn receive(&self) -> Option<News> {
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            match self.socket()?.recv(&mut buffer) {
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
