//! Change events between processes: *this mailbox has changed*, never what has changed.
//!
//! Because an event says so little, events may be merged and may come twice; whoever is woken reads the log. They
//! may not get lost, and publishing may not block:
//!
//! * [`Bus`]: made by the master before it forks. A table in shared memory tells which workers watch which
//!   mailbox (65,536 slots, hashed), so that a change nobody watches costs one load. A datagram socket per
//!   worker carries the news; a second table marks news that are on their way, so that a burst sends one
//!   datagram; a flag per worker replaces the news that its full queue does not take.
//! * [`Hub`]: a worker's end. Sessions watch, the store publishes.
//! * [`Sender`]: the end of a process that the master did not fork (delivery, administration).
//!
//! The sockets are in `data/proc`, which only the service user can enter.

mod bus;
mod hub;
mod key;
mod limits;
mod sender;

pub use bus::{Bus, BusError, Endpoint};
pub use hub::{Hub, Watch};
pub use key::WatchKey;
pub use sender::Sender;
