//! Heliograph: an IMAP message store.
//!
//! The rooms, from the top down; each may use only what stands below it:
//!
//! | room | holds |
//! |---|---|
//! | [`cli`] | one file per command |
//! | [`master`] | bind, fork, supervise |
//! | [`worker`] | poller, pool, slots, timers, admission |
//! | [`session`] | the contract between a worker and a protocol |
//! | [`imap`] | the protocol, without sockets |
//! | [`auth`] | password schemes, the user file, the auth process |
//! | [`notify`] | change events between processes |
//! | [`search`] | search programs over a mailbox |
//! | [`store`] | the log, state, views |
//! | [`message`] | RFC 5322 and MIME |
//! | [`tls`] | certificates, session tickets, what is spoken |
//! | [`config`] | the option table, `msg.conf`, the base directory |
//! | [`spare`] | buffers that a thread lends |
//! | [`few`] | short lists without memory of their own |
//! | [`sys`] | system calls; the only room with `unsafe` |

#![deny(unsafe_code)]

pub mod auth;
pub mod cli;
pub mod config;
mod few;
pub mod imap;
pub mod master;
pub mod message;
pub mod notify;
pub mod search;
pub mod session;
mod spare;
pub mod store;
#[allow(unsafe_code)]
pub mod sys;
pub mod tls;
pub mod worker;
