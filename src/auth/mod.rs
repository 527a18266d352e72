//! Authentication: password schemes, the user file, and the process that alone reads it.
//!
//! ```text
//! worker: Connection ──frames──► serve: peers ──Request──► Desk ──Job──► hashing threads
//!                    ◄─────────            ◄──Reply──      ◄──Verdict──
//! ```
//!
//! The desk decides everything and does nothing: it is a state machine without sockets, threads or a clock.
//! Passwords are never logged; the client hears `Denied` whatever the cause, the log names the true one.

mod cache;
mod connection;
mod desk;
mod directory;
mod exchange;
mod import;
mod keyed;
pub mod limits;
mod penalty;
mod scheme;
mod service;
mod wire;

pub use connection::Connection;
pub use directory::{UserFileError, Users};
pub use exchange::{Mechanism, Reply, Request};
pub use import::{Import, ImportError, Password, read_import};
pub use scheme::{HashError, StoredHash, hash_password};
pub use service::{Options, serve};
