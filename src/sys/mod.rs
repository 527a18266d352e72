//! System calls, each wrapped once; the only room with `unsafe`.

mod blocking;
mod secret;

pub use blocking::{about_to_block, on_blocking};
pub use secret::Secret;
