//! One message of a set after the other, as far as a slice of time goes.

use std::vec;

use crate::store::{Message, Result, Selected, Uid, UidSet};

/// Messages that are looked up at once.
const BATCH: usize = 256;

/// A walk over the messages of a set, in the mailbox's order.
pub(super) struct Walk {
    uids: UidSet,
    /// The first UID that is not in a batch yet; `None` after the last.
    next: Option<Uid>,
    batch: vec::IntoIter<Message>,
}

impl Walk {
    pub fn new(uids: UidSet) -> Self {
        Walk { next: uids.first(), uids, batch: Vec::new().into_iter() }
    }

    /// Shows each message to `visit` until all have been (true) or `is_over` says to stop for now (false). It is asked
    /// after every message of which `visit` says that it had to be read, and after every batch.
    pub fn run<E: From<crate::store::Error>>(
        &mut self,
        mailbox: &Selected,
        is_over: impl Fn() -> bool,
        mut visit: impl FnMut(&Message) -> std::result::Result<bool, E>,
    ) -> std::result::Result<bool, E> {
        loop {
            for message in self.batch.by_ref() {
                if visit(&message)? && is_over() {
                    return Ok(false);
                }
            }
            if self.next.is_none() {
                return Ok(true);
            }
            if is_over() {
                return Ok(false);
            }
            self.load(mailbox)?;
        }
    }

    fn load(&mut self, mailbox: &Selected) -> Result<()> {
        let Some(from) = self.next else { return Ok(()) };
        let mut batch = Vec::new();
        mailbox.messages(&self.uids, from, BATCH, &mut batch)?;
        self.next = batch.last().and_then(|last| last.uid.get().checked_add(1)).and_then(Uid::new);
        self.batch = batch.into_iter();
        Ok(())
    }
}
