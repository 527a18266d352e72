//! enpd, the Event Notification Service: publishers bring events, subscribers get those that match.
//!
//! One thread. [`Broker`] decides who gets what and knows nothing of sockets; [`serve`] moves the bytes. Nobody
//! waits for anybody: a subscriber whose queue is full is dropped.
//!
//! The TCP port is bound here, not by the master: that it is taken must not keep mail from being served, and
//! publishers of the same server come through the Unix socket anyway.

mod broker;
mod queue;
mod server;

pub use server::{EnpdError, Options, serve};

/// Name of the Unix socket in `data/proc`; the master binds it, so that it outlives enpd.
pub const SOCKET: &str = "ens";
