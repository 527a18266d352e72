//! Every bound of backups, in one place.

/// Bytes of a message in one frame. Reading and writing need no more memory for a message than this.
pub const MAX_BODY: usize = 256 * 1024;

/// Bytes of any other frame. The longest describe a mailbox whose messages are far apart: 8 bytes for each gap.
pub const MAX_FRAME: usize = 256 * 1024 * 1024;

/// Message bytes that are brought back with one transaction, and one sync.
pub const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Messages that are brought back with one transaction.
pub const BATCH_MESSAGES: usize = 4096;
