//! Looking after all users of a partition, one after another: what the process `stored` does.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

use super::compact::Compacted;
use super::error::Result;
use super::files::{LogFiles, len_and_time};
use super::limits::MIN_GARBAGE;
use super::store::Store;
use super::users::{UserDir, for_each_user};

/// Users that are passed over in a row before the disk gets a rest.
const PASSED_OVER: u32 = 64;

/// Rest after users that were passed over, and the shortest after one that was not.
const REST: Duration = Duration::from_millis(10);

/// Of the time, one part is work and so many are rest.
const RESTS_PER_WORK: u32 = 4;

/// A log that has grown by this part of itself has grown by much.
const GROWN: u64 = 8;

/// A user is looked at so many times in a grace time, when the log has not grown by much.
const PAUSES_PER_GRACE: i64 = 8;

/// Goes round the users of a store and makes room where it is worth it.
pub struct Keeper {
    store: Store,
    /// What was there when a user was last looked at, by the hash of the directory's path.
    seen: HashMap<u64, Seen>,
}

/// A user as it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    len: u64,
    files: usize,
    /// When the log was last written to, in seconds since 1970: its length need not show it, since there is a reserve.
    written: i64,
    /// When that was seen, in seconds since 1970.
    at: i64,
    /// From when on there may be something to do even if nothing has changed.
    look_again: i64,
}

impl Keeper {
    pub fn new(store: Store) -> Keeper {
        Keeper { store, seen: HashMap::new() }
    }

    /// Looks at every user once; between them `rest` is called with the time that the disk should be left to others.
    /// What cannot be done for one user is logged, and done for the others. Returns the sum of it all.
    pub fn round(&mut self, grace: impl Fn() -> Duration, rest: impl Fn(Duration)) -> Compacted {
        let (mut total, mut passed_over) = (Compacted::default(), 0);
        let root = self.store.shared().options.root.clone();
        let walked = for_each_user(&root, |user| {
            let began = Instant::now();
            match self.look(&user, grace()) {
                Ok(None) => {
                    passed_over += 1;
                    if passed_over % PASSED_OVER == 0 {
                        rest(REST);
                    }
                }
                Ok(Some(done)) => {
                    total.add(&done);
                    rest((began.elapsed() * RESTS_PER_WORK).max(REST));
                }
                Err(error) => {
                    log::error!(directory = user.path.display().to_string(), error = error.to_string(); "cannot make room");
                    rest(REST);
                }
            }
        });
        if let Err(error) = walked {
            log::error!(error = error.to_string(); "cannot look after all users");
        }
        total
    }

    /// `None` when there was nothing to do.
    fn look(&mut self, user: &UserDir, grace: Duration) -> Result<Option<Compacted>> {
        let UserDir { path: dir, name: Some(name) } = user else { return Ok(None) };
        let key = xxh3_64(dir.as_os_str().as_encoded_bytes());
        let found = Seen::of(dir)?;
        let now = (self.store.shared().options.clock)();
        let is_known = |seen: &Seen| !seen.asks_for_a_look(&found, now, grace);
        if self.seen.get(&key).is_some_and(is_known) || self.is_small(&found) {
            return Ok(None);
        }
        let Some(user) = self.store.existing_user(name)? else { return Ok(None) };
        let done = user.compact(grace)?;
        let look_again = done.look_again.unwrap_or(i64::MAX);
        if (done.freed, done.written) == (0, 0) {
            // As it was found before: what others have written meanwhile is new to the next look.
            self.seen.insert(key, Seen { at: now, look_again, ..found });
        } else {
            // Nobody knows what of the difference is whose. The lengths from before will not do: those of a user who
            // does the same every day come again.
            self.seen.remove(&key);
        }
        if done.freed > 0 {
            log::info!(
                user = user.name().as_str(),
                freed = done.freed,
                written = done.written,
                needed = done.needed,
                longest_hold_us = done.longest_hold.as_micros() as u64;
                "compacted"
            );
        }
        Ok(Some(done))
    }

    /// Whether there is not enough for anything to be worth the work.
    fn is_small(&self, found: &Seen) -> bool {
        found.files == 0 && found.len <= self.store.shared().options.min_garbage
    }
}

impl Seen {
    /// Whether a look is worth it, now that this has been `found`. What has grown by much is looked at in every round; for
    /// the rest it is enough that nothing stays for much longer than its grace time.
    fn asks_for_a_look(&self, found: &Seen, now: i64, grace: Duration) -> bool {
        // What came in the same second as the last look is not to be told from what was there.
        let is_told_apart = self.written.saturating_add(1) < self.at;
        let is_same =
            is_told_apart && (self.len, self.files, self.written) == (found.len, found.files, found.written);
        let has_grown = found.len > self.len.saturating_add(self.len / GROWN + MIN_GARBAGE);
        let pause = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX) / PAUSES_PER_GRACE;
        has_grown || now >= self.at.saturating_add(pause) && !(is_same && now < self.look_again)
    }

    /// The size of the log, when it was written to, and how many files there are beside it.
    fn of(dir: &Path) -> Result<Seen> {
        let files = LogFiles::list(dir)?;
        let blobs = std::fs::read_dir(dir.join("blob")).map_or(0, Iterator::count);
        let (mut len, mut written) = (0, 0);
        for path in files.paths(dir) {
            if let Some((more, time)) = len_and_time(&path)? {
                len += more;
                written = time.max(written);
            }
        }
        Ok(Seen { len, files: blobs + files.unfinished.len(), written, at: 0, look_again: 0 })
    }
}

impl Compacted {
    fn add(&mut self, other: &Compacted) {
        self.freed += other.freed;
        self.written += other.written;
        self.needed += other.needed;
        self.longest_hold = self.longest_hold.max(other.longest_hold);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_comes_when_it_is_worth_it() {
        const MIB: u64 = 1024 * 1024;
        let day = Duration::from_secs(86_400);
        let written = 999_000;
        let seen = Seen { len: 80 * MIB, files: 3, written, at: 1_000_000, look_again: 1_050_000 };
        let found = |len: u64, files: usize| Seen { len: len * MIB, files, written, at: 0, look_again: 0 };
        for (now, len, files, grace, expected) in [
            (1_000_100, 80, 3, day, false),
            (1_020_000, 80, 3, day, false),
            (1_050_000, 80, 3, day, true),
            (1_000_100, 85, 3, day, false),
            (1_000_100, 92, 3, day, true),
            (1_020_000, 81, 3, day, true),
            (1_020_000, 80, 4, day, true),
            (1_000_100, 80, 4, Duration::ZERO, true),
            (1_000_100, 80, 3, Duration::ZERO, false),
        ] {
            let asks = seen.asks_for_a_look(&found(len, files), now, grace);
            assert_eq!(asks, expected, "{now} {len} {files} {grace:?}");
        }
    }

    /// An EXPUNGE goes into the reserve: neither the log's length nor the files beside it tell of it.
    #[test]
    fn what_went_into_the_reserve_asks_for_a_look() {
        let look_again = i64::MAX;
        let seen = |written| Seen { len: 4096, files: 2, written, at: 1_000_000, look_again };
        let asks =
            |seen: Seen, written| seen.asks_for_a_look(&Seen { written, ..seen }, 1_000_010, Duration::ZERO);
        assert!(!asks(seen(999_990), 999_990));
        assert!(asks(seen(999_990), 1_000_005));
        assert!(asks(seen(1_000_000), 1_000_000), "there may have been more in the same second");
    }
}
