//! The allocator, where it has to be told something.

/// Gives the memory that this thread has freed back to the system. For a thread that needs much at times and is about to
/// rest: left alone, the allocator keeps it for the next time.
pub fn give_back_memory() {
    // SAFETY: no arguments that could be wrong; it touches free memory only, under the allocator's own rules for threads.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
