//! Every bound of this room, in one place. A command that reaches one is refused, nothing else happens.

/// Bytes that one SORT or THREAD may take for what it knows of messages: 12 for each and each kind of key, 16 and 4 for
/// each reference where threads are asked for, and what different texts and ids take. A million messages with as many
/// different subjects of 60 bytes take 150 MB to sort by subject.
pub const MAX_KNOWN_BYTES: usize = 512 * 1024 * 1024;

/// What keeping a text takes besides its own bytes, and what keeping an id takes.
pub const TEXT_COST: usize = 64;
pub const ID_COST: usize = 40;

/// Messages that a SORT may put in order, at 24 bytes each and 8 more for every criterion but the first, while it runs:
/// ten times what the largest mailboxes hold.
pub const MAX_SORTED: usize = 16 * 1024 * 1024;

/// Messages and ids without a message that one THREAD may know, at some 60 bytes each while it runs: four times what the
/// largest mailboxes hold.
pub const MAX_THREAD_NODES: usize = 4 * 1024 * 1024;

/// Bytes that a process keeps of what former commands have read, for the next ones: a mailbox with a million messages,
/// or hundreds of usual ones.
pub const MAX_CACHE_BYTES: usize = 128 * 1024 * 1024;

/// Messages beyond twice those of a mailbox that what is kept of it may be about: so many are expunged by then that it is
/// worth reading anew.
pub const MAX_STALE: usize = 1000;

/// References of a message that THREAD looks at. Mail readers cut the field to a few dozen, and the threads of longer
/// ones are found from what is left: the first, and the last ones.
pub const MAX_REFERENCES: usize = 1000;
