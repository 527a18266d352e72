//! Messages that a FETCH has looked up and not told yet.

use crate::spare::Lent;
use crate::store::Message;

/// In reverse order.
#[derive(Default)]
pub(super) struct Batch(Lent<Message>);

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn rest(&mut self) {
        self.0.rest();
    }

    pub(super) fn pop(&mut self) -> Option<Message> {
        self.0.pop()
    }

    /// Takes in the next messages as `look_up` appends them, in order; the last of them.
    pub(super) fn fill<E>(
        &mut self,
        look_up: impl FnOnce(&mut Vec<Message>) -> Result<(), E>,
    ) -> Result<Option<&Message>, E> {
        look_up(&mut self.0)?;
        self.0.reverse();
        Ok(self.0.first())
    }
}
