//! SORT: a search, then the keys of what it has found, then their order.

use super::error::Result;
use super::evaluate::Search;
use super::order::{Criterion, Keys};
use super::program::Program;
use super::walk::Walk;
use crate::store::{Selected, Uid};

/// A sort on its way.
pub struct Sort {
    keys: Option<Keys>,
    stage: Stage,
}

#[expect(clippy::large_enum_variant, reason = "the sort is boxed as a whole")]
enum Stage {
    Find(Search),
    Collect(Walk),
}

impl Sort {
    /// `criteria` is at least one.
    pub fn new(program: Program, criteria: Box<[Criterion]>) -> Self {
        Sort { keys: Some(Keys::new(criteria)), stage: Stage::Find(Search::new(program, false)) }
    }

    /// Goes on until all is sorted, and then returns it, or until `is_over` says to stop for now (`None`). Searching and
    /// looking at messages stops after every message that may have to be read, sorting does not: a million take a tenth
    /// of a second.
    ///
    /// # Errors
    /// As reading messages has; [`Error::TooMany`](super::Error::TooMany).
    pub fn run(&mut self, mailbox: &Selected, is_over: impl Fn() -> bool) -> Result<Option<Vec<Uid>>> {
        if let Stage::Find(search) = &mut self.stage {
            if !search.run(mailbox, &is_over)? {
                return Ok(None);
            }
            self.stage = Stage::Collect(Walk::new(search.take_found()));
        }
        let (Stage::Collect(walk), Some(keys)) = (&mut self.stage, &mut self.keys) else { return Ok(None) };
        let is_dear = keys.need_envelopes();
        let is_done = walk.run(mailbox, is_dear, is_over, |message| {
            if is_dear {
                keys.push(message, mailbox.meta(message)?.envelope())
            } else {
                keys.push(message, &[])
            }
        })?;
        Ok(if is_done { self.keys.take().map(Keys::order) } else { None })
    }
}
