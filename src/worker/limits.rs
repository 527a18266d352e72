//! Every number of this room, with its reason.

use std::time::Duration;

/// Buckets of the timer wheel, one per second: `service.imap.idletimeout` at its default (30 minutes) comes up
/// once per session, not once per turn of the wheel.
pub const WHEEL_BUCKETS: u32 = 2048;

/// Bytes asked from a socket at once. A larger read saves nothing (the kernel copies anyway), a smaller one
/// costs calls when a message is uploaded.
pub const READ_SIZE: usize = 64 * 1024;

/// Output buffer that a thread keeps between sessions; a larger one (a single long line) is given back.
pub const OUTPUT_KEPT: usize = 256 * 1024;

/// Bytes in front of the output. A buffer as large as that one begins with a page, and TLS copies what it seals to the sixth byte of
/// another page: processors whose `rep movsb` is slow for bytes that come from less than 16 behind where they go to within
/// a page (AMD's Zen 3 and 4) took 20 times as long for that, a third of the time of a download. A cache line in between
/// is enough.
pub const HEAD_ROOM: usize = 64;

/// How long a client may take no byte of its output before it is closed. Long enough for a laptop that
/// changes networks, short enough that lost peers do not pile up.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(300);

/// Events taken from the kernel at once. More would make the last of a batch wait longer.
pub const EVENTS_PER_POLL: usize = 256;

/// How long a thread works through its queue before it shares the rest with a waiting thread. A thread switch
/// costs some 5 µs of CPU: below one per cent of this.
pub const BATCH_LIMIT: Duration = Duration::from_millis(1);

/// Stack of a pool thread: parsers use explicit stacks, so this is generous; untouched pages cost nothing.
pub const THREAD_STACK: usize = 512 * 1024;

/// How often requests to the auth process are checked for having waited too long.
pub const AUTH_TICK: Duration = Duration::from_millis(250);

/// How long an acceptor pauses when the process or the system is out of descriptors or memory.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How often a full worker looks whether the others are full too (it is woken when its own session ends).
pub const FULL_TICK: Duration = Duration::from_secs(1);

/// Sessions that a worker may have more than another before it lets that one go first. Less is chance, which sessions
/// that end bring about as well.
pub const LEAD: u64 = 16;

/// How long a worker that is ahead stays away from the socket, per connection: enough for another's thread to get a
/// processor, and little where that one does not accept because it is ill.
pub const LEAD_TICK: Duration = Duration::from_millis(5);

/// Worker processes at most: as many as the notify bus has room for.
pub const MAX_WORKERS: usize = crate::notify::MAX_WORKERS;

/// Descriptors that a session may need: its socket, and the log and the lock of its user, who may have no other.
pub const SESSION_DESCRIPTORS: u64 = 3;

/// Descriptors of a worker besides its sessions: listeners, peers' sockets, and files of users without sessions.
pub const SPARE_DESCRIPTORS: u64 = 1024;

/// Slots made at once: 200 KiB, so that a small server stays small.
pub const SLOTS_PER_PIECE: usize = 4096;

/// Sessions of one worker at most, whatever `service.imap.maxsessions` says: its largest value (a million) fits.
pub const MAX_SLOTS: usize = 256 * SLOTS_PER_PIECE;
