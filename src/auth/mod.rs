//! Authentication: password schemes, the user file, and the process that alone reads it.

mod exchange;

pub use exchange::{Mechanism, Reply, Request};
