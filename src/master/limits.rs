//! Every number of this room, with its reason.

use std::time::Duration;

/// How long workers may take to say goodbye: the whole server ends within 5 seconds.
pub const GOODBYE_TIME: Duration = Duration::from_secs(4);

/// When children that have not ended are killed.
pub const KILL_AFTER: Duration = Duration::from_millis(4700);

/// Pause before a child that died is replaced; doubled with every failure in a row, up to the longest.
pub const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A child that has lived this long was well: the next failure counts as the first in a row.
pub const WELL_AFTER: Duration = Duration::from_secs(10);

/// Failures within `local.autorestart.timeout` after which a child is not started any more. Something is wrong
/// that a restart does not mend.
pub const GIVE_UP_AFTER: usize = 10;

/// How long a new master waits for the children of one that was killed: they end by themselves.
pub const PREDECESSOR_TIME: Duration = Duration::from_secs(6);

/// When the process `stored` first looks after the users: what a start needs comes first.
pub const FIRST_ROUND: Duration = Duration::from_secs(60);

/// How soon that process follows a changed `store.cleanupinterval`.
pub const ROUND_TICK: Duration = Duration::from_secs(10);

/// How often a worker that a refresh has made superfluous looks whether its last session has ended.
pub const DRAIN_TICK: Duration = Duration::from_secs(1);

/// How long an administrator's command and a worker wait for each other.
pub const DESK_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest question of an administrator, in bytes: a verb and a user name.
pub const MAX_QUESTION: u64 = 1024;
