//! System calls, each wrapped once; the only room with `unsafe`.

mod blocking;
mod lock;
mod read;
mod secret;

pub use blocking::{about_to_block, on_blocking};
pub use lock::{LockMode, OfdLock};
pub use read::{map, read_at};
pub use secret::Secret;
