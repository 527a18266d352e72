//! Messages that a FETCH has looked up and not told yet.

use std::cell::Cell;

use crate::store::Message;

thread_local! {
    /// The room of a batch that was told, for the next.
    static SPARE: Cell<Vec<Message>> = const { Cell::new(Vec::new()) };
}

/// In reverse order. A thread keeps the room of one, so that a command that runs to its end asks for no memory.
#[derive(Default)]
pub(super) struct Batch(Vec<Message>);

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn pop(&mut self) -> Option<Message> {
        self.0.pop()
    }

    /// Takes in the next messages as `look_up` appends them, in order; the last of them.
    pub(super) fn fill<E>(
        &mut self,
        look_up: impl FnOnce(&mut Vec<Message>) -> Result<(), E>,
    ) -> Result<Option<&Message>, E> {
        if self.0.capacity() == 0 {
            self.0 = SPARE.take();
        }
        look_up(&mut self.0)?;
        self.0.reverse();
        Ok(self.0.first())
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if self.0.capacity() > 0 {
            self.0.clear();
            SPARE.set(std::mem::take(&mut self.0));
        }
    }
}
