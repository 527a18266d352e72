//! Publishing from a process that is not a child of the master.

use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::store::{MailboxId, UserName};
use crate::sys::SocketDirectory;

use super::bus::{SOCKET_PREFIX, encode};
use super::limits::SEND_TIMEOUT;

/// Sends changes to every worker of a running server; without one, to nobody.
pub struct Sender {
    sockets: Vec<UnixDatagram>,
}

impl Sender {
    /// Connects to the sockets in `directory` (`data/proc`). Those that nobody holds open are left out: they are
    /// of a server that has ended.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let (mut sockets, paths) = (Vec::new(), SocketDirectory::open(directory)?);
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str().filter(|name| name.starts_with(SOCKET_PREFIX)) else { continue };
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(SEND_TIMEOUT))?;
            if socket.connect(paths.path(name)).is_ok() {
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
