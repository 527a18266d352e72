//! Bringing streams back into a store.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::error::Result;
use super::former::Aim;
use super::frame::Input;
use super::plan::Plan;
use super::section::{Left, Section, Target, raise};
use super::selection::Selection;
use super::stream::{Item, Stream};
use crate::store::{Store, UserName};

/// What happens, for whoever watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A mailbox is done.
    Mailbox {
        path: String,
        /// Messages that came back.
        back: u64,
        /// Messages that were there.
        present: u64,
        /// Of those that came back, how many have a new UID.
        renumbered: u64,
        is_new: bool,
    },
    /// Something that the administrator should know.
    Note(String),
}

/// What was done, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    pub users: u64,
    pub messages: u64,
    pub present: u64,
    pub renumbered: u64,
}

/// Brings back what is wanted of one stream, or of several that continue each other.
pub struct Restorer<'a> {
    partition: PathBuf,
    /// `None`: nothing is changed.
    store: Option<&'a Store>,
    wanted: &'a Selection,
    aim: &'a Aim,
    /// How the streams so far left the mailboxes of users.
    left: HashMap<UserName, Left>,
    /// Restored mailboxes whose counters still have to be raised.
    low: HashMap<UserName, Vec<Plan>>,
    done: Restored,
}

impl<'a> Restorer<'a> {
    /// Changes the store, or, without one, only says what would change in the partition. Of what is wanted, only that
    /// comes back which the last backup of the chain still has: `aim`, which may be empty for a single one.
    pub fn new(partition: &Path, store: Option<&'a Store>, wanted: &'a Selection, aim: &'a Aim) -> Self {
        Restorer {
            partition: partition.to_owned(),
            store,
            wanted,
            aim,
            left: HashMap::new(),
            low: HashMap::new(),
            done: Restored::default(),
        }
    }

    /// Brings back a stream. `is_last`: none follows that continues it.
    ///
    /// # Errors
    /// When the stream is damaged or cut, or the store cannot be changed. What came before that is back, whole, and
    /// does not come a second time when all is repeated.
    pub fn stream(
        &mut self,
        mut stream: Stream<impl Input>,
        is_last: bool,
        report: &mut dyn FnMut(Event),
    ) -> Result<()> {
        let mut section: Option<Section<'_>> = None;
        loop {
            match (stream.next()?, &mut section) {
                (Item::User(frame), section) => {
                    *section = self.section(frame.name, frame.is_complete)?;
                }
                (Item::Subscription(name), Some(section)) => section.subscription(name),
                (Item::Mailbox(frame), Some(section)) => section.mailbox(frame),
                (Item::Message(frame), Some(section)) => section.message(frame)?,
                (Item::Body(bytes), Some(section)) => section.body(bytes)?,
                (Item::Flags(frame), Some(section)) => section.flags(frame)?,
                (Item::Lost(lost), Some(section)) => section.lost(lost.mailbox, lost.uid, lost.why),
                (Item::Skipped { name, why }, _) => {
                    report(Event::Note(format!("user/{name}: not in the backup: {why}")));
                }
                (Item::UserEnd, found) => {
                    if let Some(section) = found.take() {
                        self.end(section, is_last, report)?;
                    }
                }
                (Item::End, _) => return Ok(()),
                (_, None) => {}
            }
        }
    }

    fn section(&self, name: &str, is_complete: bool) -> Result<Option<Section<'a>>> {
        let Ok(name) = UserName::new(name) else { return Ok(None) };
        if !self.wanted.has_user(&name) {
            return Ok(None);
        }
        let target = match self.store {
            Some(store) => Target::Live(store.user(&name)?),
            None => Target::seen(&self.partition, &name)?,
        };
        let left = self.left.get(&name).cloned().unwrap_or_default();
        Ok(Some(Section::new(name, is_complete, self.wanted, self.aim, target, left)))
    }

    fn end(&mut self, section: Section<'_>, is_last: bool, report: &mut dyn FnMut(Event)) -> Result<()> {
        let ended = section.end(is_last, report)?;
        self.done.users += ended.done.users;
        self.done.messages += ended.done.messages;
        self.done.present += ended.done.present;
        self.done.renumbered += ended.done.renumbered;
        if is_last {
            self.left.remove(&ended.name);
            self.low.remove(&ended.name);
        } else {
            self.left.insert(ended.name.clone(), ended.left);
            self.low.insert(ended.name, ended.low);
        }
        Ok(())
    }

    /// Raises the counters of mailboxes that the last stream did not mention.
    ///
    /// # Errors
    /// When the store cannot be changed.
    pub fn finish(self) -> Result<Restored> {
        if let Some(store) = self.store {
            for (name, plans) in &self.low {
                let user = store.user(name)?;
                plans.iter().try_for_each(|plan| raise(&user, plan))?;
            }
        }
        Ok(self.done)
    }
}
