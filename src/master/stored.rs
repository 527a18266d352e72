//! The process `stored`: looks after the users of the store, one at a time and at a low pace.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::config::Settings;
use crate::store::{self, ChangeListener, Keeper, MailboxId, ModSeq, Store, UserName};

use super::limits::{FIRST_ROUND, ROUND_TICK};

/// Nothing that this process does is a change to anybody.
struct Nobody;

impl ChangeListener for Nobody {
    fn changed(&self, _: &UserName, _: MailboxId, _: ModSeq) {}
}

/// Goes round the users of a partition for ever; `settings` may change meanwhile.
///
/// # Errors
/// When the store cannot be opened.
pub(super) fn serve(partition: PathBuf, settings: &Arc<ArcSwap<Settings>>) -> store::Result<Infallible> {
    let store = Store::open(store::Options::new(partition), Arc::new(Nobody))?;
    let mut keeper = Keeper::new(store);
    let interval = || settings.load().store.cleanup_interval;
    wait(|| interval().min(FIRST_ROUND));
    loop {
        let began = Instant::now();
        let done = keeper.round(|| settings.load().store.cleanup_age, sleep);
        if done.freed > 0 {
            log::info!(
                freed = done.freed,
                written = done.written,
                seconds = began.elapsed().as_secs(),
                longest_hold_us = done.longest_hold.as_micros() as u64;
                "looked after all users"
            );
        }
        wait(interval);
    }
}

/// Waits as long as it is to be, which may change meanwhile.
fn wait(time: impl Fn() -> Duration) {
    let began = Instant::now();
    while let Some(left) = time().checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
        sleep(left.min(ROUND_TICK));
    }
}
