//! Users with many mailboxes.

use std::sync::Arc;

use heliograph::store::{SpecialUses, User, UserName};

use crate::common::place;

/// A user with `count` mailboxes beside INBOX.
pub fn collector(count: usize) -> Arc<User> {
    let user = place().store.user(&UserName::new(format!("c{count}")).expect("a name")).expect("a user");
    for n in 0..count {
        let made = user.create(&format!("list/{n:05}"), SpecialUses::NONE);
        assert!(made.is_ok() || user.has_mailbox(&format!("list/{n:05}")).is_ok_and(|there| there));
    }
    user
}
