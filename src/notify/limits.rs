//! Every number of this room, with its reason.

use std::time::Duration;

/// Slots of the interest table. Two watched mailboxes that share one cost each other a needless look at the log;
/// with 4,000 sessions per worker that is rare, and the table is half a megabyte.
pub const INTEREST_SLOTS: usize = 1 << 16;

/// Parts that the table of local watchers is divided into, so that threads rarely meet at a lock.
pub const SHARDS: usize = 64;

/// How long a process outside the server waits for room in a worker's queue. A worker that takes nothing for so
/// long is being replaced, and its sessions with it.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(2);
