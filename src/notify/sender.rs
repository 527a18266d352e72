//! Publishing from a process that is not a child of the master.

use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::store::{MailboxId, UserName};

use super::bus::{SOCKET_PREFIX, ShortPath, encode};
use super::limits::SEND_TIMEOUT;

/// Sends changes to every worker of a running server; without one, to nobody.
pub struct Sender {
    sockets: Vec<UnixDatagram>,
}

impl Sender {
    /// Connects to the sockets in `directory` (`data/proc`). Those that nobody holds open are left out: they are
    /// of a server that has ended.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let mut sockets = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let is_ours = path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(SOCKET_PREFIX.as_bytes()));
            if !is_ours {
                continue;
            }
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(SEND_TIMEOUT))?;
            if socket.connect(&ShortPath::new(directory, &path)?.path).is_ok() {
                sockets.push(socket);
            }
        }
        Ok(Sender { sockets })
    }

    /// Tells all workers that a mailbox has changed. Waits for a full queue, for a bounded time.
    pub fn changed(&self, user: &UserName, mailbox: MailboxId) {
        let datagram = encode(user, mailbox);
        for socket in &self.sockets {
            if let Err(error) = socket.send(&datagram) {
                log::warn!(user = user.as_str(), mailbox:% = mailbox, error:% = error; "a worker was not told of a change");
            }
        }
    }
}
