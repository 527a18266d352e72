//! Every bound of this room, in one place. A command that reaches one is refused, nothing else happens.

/// Bytes that the keys of one SORT may take: each message takes 24 and 8 for every criterion but the first, each text
/// that differs from the others its own length and [`TEXT_COST`]. A million messages with as many different subjects of
/// 60 bytes take 150 MB.
pub const MAX_SORT_BYTES: usize = 512 * 1024 * 1024;

/// What keeping a text takes besides its own bytes.
pub const TEXT_COST: usize = 64;

/// Messages and ids without a message that one THREAD may know, at some 130 bytes each: four times what the largest
/// mailboxes hold.
pub const MAX_THREAD_NODES: usize = 4 * 1024 * 1024;

/// References of a message that THREAD looks at. Mail readers cut the field to a few dozen, and the threads of longer
/// ones are found from what is left: the first, and the last ones.
pub const MAX_REFERENCES: usize = 1000;
