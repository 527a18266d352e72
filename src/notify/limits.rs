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

/// Longest event reference, in bytes: a mailbox name of 1,000 bytes, escaped, stands in it twice.
pub const MAX_REFERENCE: usize = 12 * 1024;

/// Parameters of an event reference; the events of the guide have 14 at most.
pub const MAX_PARAMETERS: usize = 64;

/// Longest line of the ENS protocol, in bytes: a reference and its verb.
pub const MAX_LINE: usize = MAX_REFERENCE + 64;

/// Most bytes that an event carries behind its line: `maxheadersize` and `maxbodysize` at their largest.
pub const MAX_DATA: usize = 2 * 1024 * 1024;

/// Bytes that wait for a subscriber. Two of the largest events fit; who is further behind is dropped, and hears of
/// it when it connects again.
pub const MAX_QUEUE: usize = 2 * (MAX_DATA + MAX_LINE);

/// Bytes that wait in a publisher for enpd. Beyond that events are counted and dropped: mail does not wait.
pub const MAX_OUTBOX: usize = MAX_QUEUE;

/// Room that an outbox keeps when it has been emptied, in bytes: some hundred events.
pub const KEPT_BATCH: usize = 64 * 1024;

/// Bytes that a client of enpd reads at once.
pub const LINK_READ: usize = 16 * 1024;

/// Connections of enpd: those of 64 workers and of many subscribers, within the usual limit of open files.
pub const MAX_CLIENTS: usize = 512;

/// Subscriptions of a connection; each is compared with every event.
pub const MAX_SUBSCRIPTIONS: usize = 64;

/// Bytes that enpd reads from a connection before others have their turn.
pub const TURN: usize = 64 * 1024;

/// How long a new subscriber waits until all publishers have taken note of it. One that has not by then is stuck.
pub const DEMAND_TIME: Duration = Duration::from_secs(1);

/// How long a new connection may take to introduce itself, and a connection to be made.
pub const GREETING_TIME: Duration = Duration::from_secs(10);

/// Pause before enpd is tried again, doubled up to the longest.
pub const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Pause before a port of enpd that is in use is tried again.
pub const BIND_PAUSE: Duration = Duration::from_secs(5);

/// Workers at most: one bit each in a word of the interest table.
pub const MAX_WORKERS: usize = 64;
