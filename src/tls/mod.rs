//! TLS as a server: what is presented, what is resumed, what is spoken. Sockets and sessions are the worker's.
//!
//! | file | holds |
//! |---|---|
//! | `context` | the one value that the master makes and every worker uses |
//! | `identity` | certificate and key: loaded, checked, exchanged while sessions go on |
//! | `tickets` | keys of session tickets, the same in all workers |
//! | `self_signed` | a certificate for those who have not configured one |
//! | `validity` | when a certificate begins and ends |
//! | `limits` | every number of the above, with its reason |
//!
//! Everything is made before the workers are forked: the key may be readable by the master alone, and workers that
//! share the ticket keys resume each other's sessions.

mod context;
mod identity;
mod limits;
mod self_signed;
mod tickets;
mod validity;

pub use context::Context;
pub use identity::{Files, Pem, TlsError};
pub use limits::{MAX_HELLO, MAX_RECORD};
pub use self_signed::{self_signed, self_signed_files};
