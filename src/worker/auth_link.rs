//! How the worker asks the auth process, as far as it must know.

use std::io;
use std::os::fd::RawFd;
use std::time::Instant;

use crate::auth::{Connection, Reply, Request};

/// A connection to the auth process that never blocks. `id` names the session that waits.
pub trait AuthLink: Send {
    /// Connects again when the connection is away and enough time has passed.
    fn ensure_connected(&mut self, now: Instant) -> io::Result<()>;
    /// What the poller watches; `None` while there is no connection.
    fn as_raw_fd(&self) -> Option<RawFd>;
    /// Differs from one connection to the next.
    fn epoch(&self) -> u64;
    /// Whether the socket has not taken all yet.
    fn has_unsent(&self) -> bool;
    /// Queues a request.
    fn submit(&mut self, id: u64, request: &Request, now: Instant);
    /// Sends what the socket takes.
    fn flush(&mut self);
    /// Reads what has come. Called once more when the other end has closed the connection.
    fn on_readable(&mut self, replies: &mut Vec<(u64, Reply)>);
    /// Answers for the auth process what has waited too long.
    fn expire(&mut self, now: Instant, replies: &mut Vec<(u64, Reply)>);
}

impl AuthLink for Connection {
    fn ensure_connected(&mut self, now: Instant) -> io::Result<()> {
        Connection::ensure_connected(self, now)
    }

    fn as_raw_fd(&self) -> Option<RawFd> {
        Connection::as_raw_fd(self)
    }

    fn epoch(&self) -> u64 {
        Connection::epoch(self)
    }

    fn has_unsent(&self) -> bool {
        Connection::has_unsent(self)
    }

    fn submit(&mut self, id: u64, request: &Request, now: Instant) {
        Connection::submit(self, id, request, now);
    }

    fn flush(&mut self) {
        Connection::flush(self);
    }

    fn on_readable(&mut self, replies: &mut Vec<(u64, Reply)>) {
        Connection::on_readable(self, replies);
    }

    fn expire(&mut self, now: Instant, replies: &mut Vec<(u64, Reply)>) {
        Connection::expire(self, now, replies);
    }
}
