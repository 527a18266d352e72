//! Every bound of the store, in one place.

/// Keywords that one mailbox can have. A mail reader with labels needs dozens; each costs a bit per message that
/// carries it and a word in every FLAGS response, so a client that invents keywords must meet an end.
pub const MAX_KEYWORDS: usize = 1024;

/// Longest keyword, in bytes.
pub const MAX_KEYWORD: usize = 255;

/// Longest mailbox name in UTF-8, in bytes, and deepest hierarchy.
pub const MAX_MAILBOX_NAME: usize = 1024;
pub const MAX_MAILBOX_DEPTH: usize = 64;

/// Mailboxes of one user. LIST and its pattern matching are linear in them.
pub const MAX_MAILBOXES: usize = 50_000;

/// Largest message, in bytes. Sizes and offsets in the log are 32 bits wide; the option
/// `service.imap.appendlimit` sets the bound that users meet.
pub const MAX_MESSAGE: u64 = u32::MAX as u64 - 4096;

/// Messages up to this size are written into the log with their Append record in one write; larger ones go to a
/// file of their own while they arrive, so that an upload needs no more memory than this. A file costs three syncs
/// instead of one, and a name in a directory.
pub const INLINE_MAX: usize = 512 * 1024;

/// Message bytes that one user's uploads keep in memory: a MULTIAPPEND beyond it spills to files as well.
pub const INLINE_TOTAL_MAX: usize = 4 * 1024 * 1024;

/// Message bytes that all uploads of a worker keep in memory before only messages up to [`SMALL`] stay there.
pub const MAX_ARRIVING: usize = 64 * 1024 * 1024;

/// Bytes of a message that stays in memory while it arrives, however much the worker has there already: those for
/// which a file would cost most.
pub const SMALL: usize = 128 * 1024;

/// Messages in one transaction (MULTIAPPEND).
pub const MAX_MULTIAPPEND: usize = 10_000;

/// A segment is sealed when it has grown past this size, in bytes.
pub const SEGMENT_SIZE: u32 = 64 * 1024 * 1024;

/// Changes that a mailbox remembers, so that a session catches up without a walk over all messages.
pub const MAX_REMEMBERED_CHANGES: usize = 4096;

/// Expunged ranges that a mailbox remembers for `VANISHED (EARLIER)` (RFC 7162 §3.2.5). Older clients are told
/// more UIDs than necessary, which the RFC allows.
pub const MAX_REMEMBERED_EXPUNGES: usize = 65_536;

/// How far UIDNEXT, mod-sequences and the greatest UIDVALIDITY jump after a loss of power, see
/// `docs/store-format.md`. They are greater than what [`MAX_UNSYNCED`] and one transaction can use up.
pub const EPOCH_UID_JUMP: u32 = 1 << 20;
pub const EPOCH_MODSEQ_JUMP: u64 = 1 << 20;
pub const EPOCH_UID_VALIDITY_JUMP: u32 = 1 << 17;

/// Bytes of a log that may wait for their sync when another transaction is written. A message, a change and a mailbox
/// take at least 72, 48 and 40 bytes, so that no more numbers than `EPOCH_*_JUMP` can be lost with them.
pub const MAX_UNSYNCED: u32 = 4 * 1024 * 1024;

/// Messages that one COPY or MOVE takes along; a loss of power must not take more than `EPOCH_UID_JUMP`.
pub const MAX_TRANSFER: u32 = 1 << 19;

/// Bytes of log records behind the last snapshot that make a new one worth writing; message bytes do not count.
pub const SNAPSHOT_AFTER: u64 = 256 * 1024;

/// The most zero bytes that a writer puts behind the log for those to come. More would not save much: one write in a
/// few dozen pays for the others.
pub const MAX_RESERVE: usize = 256 * 1024;

/// Metas that a worker keeps in memory, and the longest of them and of the headers beside them, in bytes: at most 32 MiB,
/// usually a fifth of that.
pub const HOT_METAS: usize = 4096;
pub const MAX_HOT: usize = 4096;

/// Messages that a worker keeps open while they are sent in pieces, see `content.rs`: a quarter of the descriptors that it
/// sets aside for other things than sessions.
pub const MAX_KEPT_OPEN: usize = 256;

/// Bytes of the log that are read at once for several small messages, and how much of them may lie between each two: about
/// what is copied in the time of a system call.
pub const MAX_WINDOW: u64 = 64 * 1024;
pub const MAX_GAP: u64 = 4096;

/// Bytes of each of the two files of a journal; what one log may have in a batch, since copying more costs more than
/// syncing it; and what makes a batch full, one member more at most.
pub const JOURNAL_SIZE: u64 = 32 * 1024 * 1024;
pub const JOURNAL_MEMBER: usize = 128 * 1024;
pub const JOURNAL_BATCH: usize = 2 * 1024 * 1024;

/// As many logs of a worker have to be at their own sync for the next one to go to the journal.
pub const JOURNAL_OTHERS: usize = 3;

/// Users without sessions whose state a worker keeps in memory.
pub const MAX_IDLE_USERS: usize = 256;

/// Messages in one record of a checkpoint: what one damaged record takes along.
pub const CHECKPOINT_BATCH: usize = 512;

/// Bytes of a log that nobody needs any more before they are worth the work of getting rid of them. Small mailboxes
/// never are.
pub const MIN_GARBAGE: u64 = 1024 * 1024;

/// Records in one pack; a reader keeps 16 bytes for each in memory.
pub const MAX_PACKED: usize = 1 << 20;

/// A large message's file that no record names is removed when it is this old, in seconds: its Append record follows its
/// last byte at once, or never.
pub const ORPHAN_AGE: i64 = 3600;

/// An upload, or any other file under a temporary name, that nobody has written to for so long, in seconds, was left
/// behind by a process that died.
pub const UNFINISHED_AGE: i64 = 86_400;

/// Messages that are restored in one transaction.
pub const RESTORE_BATCH: usize = 1000;
