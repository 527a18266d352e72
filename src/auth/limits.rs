//! Every bound of this room, with its reason.

use std::time::Duration;

/// Longest frame on the auth socket, in bytes: two identities, a password and the fixed part fit, cut to
/// [`MAX_IDENTITY`] and [`MAX_PASSWORD`] plus one.
pub const MAX_AUTH_FRAME: usize = 4096;

/// Longest identity that travels, in bytes. Longer than any user name may be, so that a name that was cut on the
/// way is still too long to be a user's.
pub const MAX_IDENTITY: usize = 1024;

/// Longest password, in bytes. SHA-crypt's work grows with the square of the length; no one types more.
pub const MAX_PASSWORD: usize = 1024;

/// Most memory that an argon2 hash from the user file may ask for, in KiB (256 MiB): a hash is data, and must not
/// be able to end the process.
pub const MAX_ARGON2_MEMORY: u32 = 256 * 1024;

/// Most work that an argon2 hash may ask for, in KiB written: 2 GiB take about two seconds.
pub const MAX_ARGON2_WORK: u64 = 2 * 1024 * 1024;

/// Highest bcrypt cost that a hash may ask for: 2^15 rounds take about two seconds.
pub const MAX_BCRYPT_COST: u32 = 15;

/// Most SHA-crypt rounds that a hash may ask for: a million take about a second.
pub const MAX_SHA_CRYPT_ROUNDS: u32 = 1_000_000;

/// Longest stored hash, in bytes: the longest real one is below 300; plain passwords fit in base64 too.
pub const MAX_HASH: usize = 2048;

/// Largest user file, in bytes: about a million users.
pub const MAX_USER_FILE: u64 = 256 * 1024 * 1024;

/// Most questions that wait for an answer, over all workers; one more is answered "unavailable". At 25 ms per
/// hash and core, a client would have gone long before its turn.
pub const MAX_WAITING: usize = 8192;

/// Most connections to the auth socket: one per worker, and room for those that a restart leaves behind.
pub const MAX_PEERS: usize = 256;

/// Answers kept for a worker that does not read them, in bytes; beyond this its connection is closed.
pub const MAX_UNSENT: usize = 256 * 1024;

/// Failures that a user may make from one place before answers are delayed: people mistype.
pub const FREE_FAILURES: u32 = 3;

/// Failures that an address may make over all users before answers are delayed: many people may share it.
pub const FREE_FAILURES_PER_ADDRESS: u32 = 100;

/// Attempts of one address that may wait at once: half of all, so that no address can take every place.
pub const MAX_IN_FLIGHT_PER_ADDRESS: u32 = MAX_WAITING as u32 / 2;

/// Longest delay of an attempt. Longer ones would only hold the attacker's connections open.
pub const MAX_DELAY: Duration = Duration::from_secs(15);

/// One failure is forgotten after this time.
pub const FORGIVENESS: Duration = Duration::from_secs(60);

/// Most keys in a generation of the table of failures; two generations are kept.
pub const MAX_PENALTIES: usize = 32 * 1024;

/// How long a question waits while no auth process answers at its socket: a restart takes a fraction of it.
pub const AWAY_LIMIT: Duration = Duration::from_secs(5);

/// How long a question waits for an auth process that is there: the longest delay, and a long queue of hashes.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(45);

/// Shortest and longest pause between two attempts to connect to the auth process.
pub const RECONNECT_PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
