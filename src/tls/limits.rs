//! Every number of this room, with its reason.

use std::time::Duration;

/// Longest record on the wire, in bytes: 2^14 of content, 2,048 that ciphers may add, and the header (RFC 5246 §6.2.3;
/// RFC 8446 §5.2 has less). What is kept of a record that has not arrived in full is bounded by it.
pub const MAX_RECORD: usize = 5 + (1 << 14) + 2048;

/// Longest message of a handshake that is kept until it has arrived in full, in bytes. A client hello with keys of every
/// kind and a ticket has a third of it: a connection that has proved nothing costs at most 16 KiB.
pub const MAX_HELLO: usize = 12 * 1024;

/// How long tickets are sealed with one key. A key that leaks opens the TLS 1.2 sessions of this time and the one
/// before; a longer time would save clients few handshakes.
pub const TICKET_ROTATION: Duration = Duration::from_secs(6 * 3600);

/// Largest file that is read as PEM, in bytes: a chain of a dozen large certificates has a tenth of it.
pub const MAX_PEM_FILE: u64 = 1 << 20;

/// Years that a self-signed certificate is valid: Apple's clients refuse those of more than 825 days.
pub const SELF_SIGNED_YEARS: i16 = 2;

/// How long before the end the log says that a certificate will expire, and a self-signed one is replaced at a start.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 3600);
