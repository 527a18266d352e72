//! A thread that is about to block says so, and whoever runs the thread can put another one in its place.
//!
//! The store announces a sync or a cold read here; the worker's pool registers a hook per thread that hands its
//! seat at the poller to another thread. Threads without a hook (commands, tests) are not disturbed.

use std::cell::RefCell;

thread_local! {
    static HOOK: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
}

/// Registers what this thread does before it blocks.
pub fn on_blocking(hook: impl FnMut() + 'static) {
    HOOK.with(|cell| *cell.borrow_mut() = Some(Box::new(hook)));
}

/// Says that this thread is about to block for a time worth a thread switch.
pub fn about_to_block() {
    HOOK.with(|cell| {
        if let Some(hook) = cell.borrow_mut().as_mut() {
            hook();
        }
    });
}
