//! SORT: a search, then the keys of what it has found, then their order.

use std::sync::Arc;

use super::cache::{Cache, Key};
use super::error::Result;
use super::evaluate::Search;
use super::known::Known;
use super::order::{Criterion, Keys};
use super::program::Program;
use super::walk::Walk;
use crate::store::{Selected, Uid};

/// A sort on its way.
pub struct Sort {
    cache: Arc<Cache>,
    criteria: Box<[Criterion]>,
    stage: Stage,
}

enum Stage {
    Find(Search),
    Collect(Walk, Box<(Keys, Known)>),
    Done,
}

impl Sort {
    /// `criteria` is at least one.
    pub fn new(program: Program, criteria: Box<[Criterion]>, cache: Arc<Cache>) -> Self {
        Sort { cache, criteria, stage: Stage::Find(Search::new(program, false)) }
    }

    /// Goes on until all is sorted, and then returns it, or until `is_over` says to stop for now (`None`). Searching and
    /// looking at messages stops after every message that had to be read, sorting does not: a million take a tenth
    /// of a second.
    ///
    /// # Errors
    /// As reading messages has; [`Error::TooMany`](super::Error::TooMany).
    pub fn run(&mut self, mailbox: &Selected, is_over: impl Fn() -> bool) -> Result<Option<Vec<Uid>>> {
        if let Stage::Find(search) = &mut self.stage {
            if !search.run(mailbox, &is_over)? {
                return Ok(None);
            }
            let keys = Keys::new(std::mem::take(&mut self.criteria));
            let known = self.cache.take(Key::of(mailbox));
            self.stage = Stage::Collect(Walk::new(search.take_found()), Box::new((keys, known)));
        }
        let Stage::Collect(walk, both) = &mut self.stage else { return Ok(None) };
        let (keys, known) = both.as_mut();
        if !walk.run(mailbox, is_over, |message| keys.push(message, known, || mailbox.meta(message)))? {
            return Ok(None);
        }
        Ok(self.finish(mailbox))
    }

    fn finish(&mut self, mailbox: &Selected) -> Option<Vec<Uid>> {
        let Stage::Collect(_, both) = std::mem::replace(&mut self.stage, Stage::Done) else { return None };
        let (keys, mut known) = *both;
        known.settle();
        let order = keys.order(&mut known.texts);
        self.cache.keep(Key::of(mailbox), known, mailbox.exists());
        Some(order)
    }
}
