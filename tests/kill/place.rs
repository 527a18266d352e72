//! Where the server is: it moves when its master is killed and another starts.

use std::net::SocketAddr;
use std::sync::Mutex;

/// The address of the server that serves now.
pub struct Place(Mutex<SocketAddr>);

impl Place {
    pub fn new(addr: SocketAddr) -> Self {
        Place(Mutex::new(addr))
    }

    pub fn addr(&self) -> SocketAddr {
        *self.0.lock().expect("nobody panics while moving")
    }

    pub fn moved(&self, addr: SocketAddr) {
        *self.0.lock().expect("nobody panics while moving") = addr;
    }
}
