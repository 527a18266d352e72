//! Looking after all users of a partition, one after another: what the process `stored` does.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

use super::compact::Compacted;
use super::error::Result;
use super::files::{LogFiles, len_and_time};
use super::store::Store;
use super::users::{UserDir, for_each_user};

/// Users that are passed over in a row before the disk gets a rest.
const PASSED_OVER: u32 = 64;

/// Rest after users that were passed over, and the shortest after one that was not.
const REST: Duration = Duration::from_millis(10);

/// Of the time, one part is work and so many are rest.
const RESTS_PER_WORK: u32 = 4;

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
    /// Seconds since 1970, from which on it has to be looked at even if nothing has changed.
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
        let is_known =
            |seen: &Seen| (seen.len, seen.files) == (found.len, found.files) && now < seen.look_again;
        if self.seen.get(&key).is_some_and(is_known) || self.is_small(&found) {
            return Ok(None);
        }
        let Some(user) = self.store.existing_user(name)? else { return Ok(None) };
        let done = user.compact(grace)?;
        let look_again = done.look_again.unwrap_or(i64::MAX);
        self.seen.insert(key, Seen { look_again, ..Seen::of(dir)? });
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
    /// The size of the log, and how many files there are beside it.
    fn of(dir: &Path) -> Result<Seen> {
        let files = LogFiles::list(dir)?;
        let blobs = std::fs::read_dir(dir.join("blob")).map_or(0, Iterator::count);
        let mut len = 0;
        for path in files.paths(dir) {
            len += len_and_time(&path)?.map_or(0, |(len, _)| len);
        }
        Ok(Seen { len, files: blobs + files.unfinished.len(), look_again: 0 })
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
