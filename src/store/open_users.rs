//! The users that a process has open.
//!
//! A user stays for a while when its last session goes: the next one often comes soon, from a mail reader that polls or
//! a web page, and opening reads the user's state anew. Of those without sessions the longest unused go first.

use std::collections::HashMap;
use std::sync::Arc;

use super::limits::MAX_IDLE_USERS;
use super::names::UserName;
use super::user::User;

/// After so many new users, those without sessions are counted.
const LOOK_AFTER: usize = MAX_IDLE_USERS / 4;

#[derive(Default)]
pub(super) struct OpenUsers {
    users: HashMap<UserName, Kept>,
    /// Counts up with each use, so that no two are at the same time.
    now: u64,
    /// As many users make the next look due.
    look_at: usize,
}

struct Kept {
    user: Arc<User>,
    /// When it was last asked for, or seen in use.
    used: u64,
}

impl OpenUsers {
    pub fn find(&mut self, name: &UserName) -> Option<Arc<User>> {
        let kept = self.users.get_mut(name)?;
        self.now += 1;
        kept.used = self.now;
        Some(kept.user.clone())
    }

    /// Adds a user, unless somebody was faster; the one that stays. Who has to go for it comes with it, to be dropped
    /// when nobody waits.
    pub fn add(&mut self, user: Arc<User>) -> (Arc<User>, Vec<Arc<User>>) {
        let gone = if self.users.len() >= self.look_at { self.shrink() } else { Vec::new() };
        self.now += 1;
        let (name, used) = (user.name().clone(), self.now);
        (self.users.entry(name).or_insert(Kept { user, used }).user.clone(), gone)
    }

    /// Takes out those without sessions that are too many.
    pub fn shrink(&mut self) -> Vec<Arc<User>> {
        let mut idle = Vec::new();
        for kept in self.users.values_mut() {
            if kept.user.is_idle() {
                idle.push(kept.used);
            } else {
                self.now += 1;
                kept.used = self.now;
            }
        }
        let too_many = (idle.len() + LOOK_AFTER).saturating_sub(MAX_IDLE_USERS);
        let gone = match too_many.checked_sub(1) {
            Some(last) => {
                let (_, youngest, _) = idle.select_nth_unstable(last);
                self.take_idle(*youngest)
            }
            None => Vec::new(),
        };
        self.look_at = self.users.len() + LOOK_AFTER;
        gone
    }

    /// Takes out all without sessions.
    pub fn take_all_idle(&mut self) -> Vec<Arc<User>> {
        self.take_idle(u64::MAX)
    }

    fn take_idle(&mut self, youngest: u64) -> Vec<Arc<User>> {
        let goes = |kept: &Kept| kept.used <= youngest && kept.user.is_idle();
        self.users.extract_if(|_, kept| goes(kept)).map(|(_, kept)| kept.user).collect()
    }

    pub fn all(&self) -> Vec<Arc<User>> {
        self.users.values().map(|kept| kept.user.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;
    use crate::store::{ChangeListener, MailboxId, ModSeq, Options, Store};

    struct Deaf;

    impl ChangeListener for Deaf {
        fn changed(&self, _: &UserName, _: MailboxId, _: ModSeq) {}
    }

    fn name(n: usize) -> UserName {
        UserName::new(format!("user{n}")).unwrap()
    }

    #[test]
    fn of_users_without_sessions_the_longest_unused_go() {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let store = Store::open(Options::new(dir.path()), Arc::new(Deaf)).unwrap();
        let in_use: Vec<Arc<User>> = (0..100).map(|n| store.user(&name(n)).unwrap()).collect();
        let mut left: Vec<Weak<User>> = Vec::new();
        for n in 100..500 {
            left.push(Arc::downgrade(&store.user(&name(n)).unwrap()));
            // Somebody comes again and again.
            store.user(&name(100)).unwrap();
        }
        let is_there = |user: &Weak<User>| user.strong_count() > 0;
        assert!(is_there(&left[0]), "it was asked for all the time");
        assert!(!left[1..100].iter().any(is_there), "long unused");
        assert!(left[300..].iter().all(is_there), "used lately");
        assert!(left.iter().filter(|user| is_there(user)).count() <= MAX_IDLE_USERS);
        assert!((0..100).all(|n| Arc::ptr_eq(&store.user(&name(n)).unwrap(), &in_use[n])));
    }
}
