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
//! Beyond the host, and for programs, there is the Event Notification Service, which does say what has changed:
//!
//! * [`Listener`]: hears the store, wakes through the hub, and makes [`Kind`]s of event.
//! * [`Publisher`]: brings them to enpd, and hears of changes by other servers of a shared store.
//! * [`enpd`]: the service itself, a process of its own. [`Subscriber`]: follows events.
//! * [`Reference`], [`EventKey`]: how events are named and chosen. `docs/ens-protocol.md`: what is on the wire.
//!
//! The sockets are in `data/proc`, which only the service user can enter.

mod bus;
pub mod enpd;
mod event;
mod hub;
mod key;
mod limits;
mod link;
mod listener;
mod publisher;
mod reference;
mod sender;
mod subscriber;
mod wire;

pub use bus::{Bus, BusError, Endpoint};
pub use event::{Kind, Kinds, Origin, mailbox_name};
pub use hub::{Hub, Watch};
pub use key::WatchKey;
pub use limits::MAX_WORKERS;
pub use link::{Address, BackOff, LinkError};
pub use listener::Listener;
pub use publisher::{Follower, Parts, Presence, Publisher};
pub use reference::{EventKey, Reference, ReferenceError, Subscription};
pub use sender::Sender;
pub use subscriber::{Notice, Subscriber};
pub use wire::WireError;
