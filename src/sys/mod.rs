//! System calls, each wrapped once; the only room with `unsafe`.

mod account;
mod blocking;
mod child;
mod file_range;
mod fork;
mod heap;
mod interrupt;
mod lock;
mod logfile;
mod parcel;
mod read;
mod sandbox;
mod seccomp;
mod secret;
mod shared;
mod short_path;
mod signals;
mod socket;

pub use account::{Account, is_lowered, is_root, raised, signal};
pub use blocking::{about_to_block, on_blocking};
pub use child::{confine_child, exit_now, raise_descriptor_limit};
pub use file_range::FileRange;
pub use fork::{Fork, ForkError, fork, thread_count};
pub use heap::give_back_memory;
pub use interrupt::join_interrupting;
pub use lock::{LockMode, OfdLock};
pub use logfile::{LogFile, reopen_logs};
pub use parcel::{Parcel, parcel_line, receive_parcel, send_parcel};
pub use read::{append_from, map, read_at};
pub use sandbox::{Bounds, Confined, Confinement, Reach, confine};
pub use seccomp::Calls;
pub use secret::Secret;
pub use shared::SharedWords;
pub use short_path::SocketDirectory;
pub use signals::{Signals, SignalsBlocked};
pub use socket::{accept, keep_alive, listen};
