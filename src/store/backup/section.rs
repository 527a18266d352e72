//! One user's part of a stream on its way into the store.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::flags::FlagList;
use super::super::frozen::Frozen;
use super::super::mailbox::Mailbox;
use super::super::payload::{Floor, MailboxCreate};
use super::super::remake::{Remade, Returning};
use super::super::state::State;
use super::super::tree::canonical_name;
use super::super::uid_set::UidSet;
use super::super::user::User;
use super::content::{Counted, FlagsFrame, MailboxFrame, MessageFrame};
use super::error::Result;
use super::former::Aim;
use super::limits::{BATCH_BYTES, BATCH_MESSAGES};
use super::plan::{Place, Plan, Verdict};
use super::restorer::{Event, Restored};
use super::selection::Selection;
use crate::store::{self, INBOX, MailboxId, Uid, Upload, UserName};

/// The user's store: changed, or only looked at.
pub(super) enum Target {
    Live(Arc<User>),
    Seen(Box<State>),
}

/// How a restoration left a user's mailboxes.
pub(super) type Left = HashMap<MailboxId, Counted>;

/// A user's part.
pub(super) struct Section<'a> {
    name: UserName,
    is_complete: bool,
    wanted: &'a Selection,
    aim: &'a Aim,
    target: Target,
    /// How the predecessor's restoration left the user, when that happened just now.
    left: Left,
    /// Mailboxes in the order of the stream; those that are not wanted are `None`.
    frames: Vec<Option<(MailboxFrame, Option<UidSet>)>>,
    /// What becomes of each, decided when all are listed.
    plans: Vec<Option<Plan>>,
    is_arranged: bool,
    subscriptions: Vec<String>,
    /// The message that is being read.
    incoming: Option<Incoming>,
    batch: Batch,
    /// Messages whose bytes the user has.
    twins: HashMap<(u64, u32), (MailboxId, Uid)>,
    notes: Vec<String>,
}

/// What a user's part leaves behind.
pub(super) struct Ended {
    pub name: UserName,
    pub left: Left,
    /// What was restored, for the raising of its counters.
    pub low: Vec<Plan>,
    pub done: Restored,
}

struct Incoming {
    frame: MessageFrame,
    left: u64,
    /// `None`: nobody wants it, or nothing is to be changed.
    upload: Option<(Upload, Option<Uid>)>,
}

/// Messages that come back with the next transaction.
#[derive(Default)]
struct Batch {
    mailbox: u32,
    bytes: usize,
    messages: Vec<Returning>,
    /// The UIDs that they had.
    had: Vec<Uid>,
}

impl Target {
    /// The user's store as it is, for a look at it.
    pub fn seen(partition: &std::path::Path, name: &UserName) -> Result<Target> {
        let state = Frozen::open(partition, name)?.map(|frozen| frozen.state);
        let nothing = || State::new(super::super::log::Log::start_of(1));
        Ok(Target::Seen(Box::new(state.unwrap_or_else(nothing))))
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> Result<T> {
        match self {
            Target::Live(user) => Ok(look(&user.known()?.state)),
            Target::Seen(state) => Ok(look(state)),
        }
    }
}

impl<'a> Section<'a> {
    pub fn new(
        name: UserName,
        is_complete: bool,
        wanted: &'a Selection,
        aim: &'a Aim,
        target: Target,
        left: Left,
    ) -> Self {
        Section {
            name,
            is_complete,
            wanted,
            aim,
            target,
            left,
            frames: Vec::new(),
            plans: Vec::new(),
            is_arranged: false,
            subscriptions: Vec::new(),
            incoming: None,
            batch: Batch::default(),
            twins: HashMap::new(),
            notes: Vec::new(),
        }
    }

    pub fn subscription(&mut self, name: &str) {
        self.subscriptions.push(name.to_owned());
    }

    pub fn mailbox(&mut self, mut frame: MailboxFrame) {
        let only = self.wanted.messages(&self.name, &frame.name);
        let only = only.filter(|_| self.aim.cut(&self.name, &mut frame));
        let sound =
            canonical_name(&frame.name).is_ok_and(|name| name == frame.name) && frame.uid_validity > 0;
        if !sound {
            self.notes.push(format!("{}: not a mailbox that can be", self.path(&frame.name)));
        }
        self.frames.push(only.filter(|_| sound).map(|only| (frame, only)));
    }

    pub fn message(&mut self, frame: MessageFrame) -> Result<()> {
        self.arrange()?;
        let left = frame.size.into();
        let mut upload = None;
        if let Some(Some(plan)) = self.plans.get_mut(frame.mailbox as usize) {
            let verdict = self.target.look(|state| plan.judge(&frame, state))?;
            if let (Verdict::Missing(uid), Target::Live(user)) = (verdict, &self.target) {
                upload = Some((user.upload(), uid));
            }
        }
        self.incoming = Some(Incoming { frame, left, upload });
        if left == 0 { self.arrived() } else { Ok(()) }
    }

    pub fn body(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(incoming) = &mut self.incoming else { return Ok(()) };
        if let Some((upload, _)) = &mut incoming.upload {
            upload.write(bytes)?;
        }
        incoming.left = incoming.left.saturating_sub(bytes.len() as u64);
        if incoming.left == 0 { self.arrived() } else { Ok(()) }
    }

    pub fn flags(&mut self, frame: FlagsFrame) -> Result<()> {
        self.arrange()?;
        if let Some(Some(plan)) = self.plans.get_mut(frame.mailbox as usize) {
            plan.note_flags(frame);
        }
        Ok(())
    }

    /// A message that the backup lists and does not have.
    pub fn lost(&mut self, mailbox: u32, uid: Uid, why: &str) {
        if let Some(incoming) = self.incoming.take()
            && let Some(Some(plan)) = self.plans.get_mut(mailbox as usize)
            && incoming.upload.is_some()
        {
            plan.tally.back -= 1;
        }
        if let Some(Some(plan)) = self.plans.get(mailbox as usize) {
            let path = self.path(&plan.frame.name);
            self.notes.push(format!("{path}:{uid}: not in the backup: {why}"));
        }
    }

    /// All of a message is here.
    fn arrived(&mut self) -> Result<()> {
        let Some(Incoming { frame, upload: Some((upload, uid)), .. }) = self.incoming.take() else {
            return Ok(());
        };
        if self.batch.mailbox != frame.mailbox {
            self.flush()?;
            self.batch.mailbox = frame.mailbox;
        }
        let twin = self.twins.get(&(frame.email, frame.size)).copied();
        self.batch.had.push(frame.uid);
        self.batch.bytes += frame.size as usize;
        self.batch.messages.push(Returning {
            uid,
            flags: frame.flags,
            internal_date: frame.internal_date,
            save_date: frame.save_date,
            email: frame.email,
            thread: frame.thread,
            body: upload.prepare()?,
            twin,
        });
        let is_full = self.batch.bytes >= BATCH_BYTES || self.batch.messages.len() >= BATCH_MESSAGES;
        if is_full { self.flush() } else { Ok(()) }
    }

    /// Writes the messages that were collected.
    fn flush(&mut self) -> Result<()> {
        let Batch { mailbox, messages, had, .. } = std::mem::take(&mut self.batch);
        let Target::Live(user) = &self.target else { return Ok(()) };
        let Some(Some(plan)) = self.plans.get_mut(mailbox as usize) else { return Ok(()) };
        if messages.is_empty() {
            return Ok(());
        }
        let keys: Vec<(u64, u32)> = messages.iter().map(|m| (m.email, m.body.size)).collect();
        let uids = user.bring_back(plan.target(), messages)?;
        for ((key, had), has) in keys.into_iter().zip(had).zip(uids) {
            plan.note_back(had, has);
            self.twins.insert(key, (plan.target(), has));
        }
        Ok(())
    }

    /// Gives the mailboxes their names, and makes those that are missing, when all have been listed.
    fn arrange(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.is_arranged, true) {
            return Ok(());
        }
        if let Target::Live(user) = &self.target {
            let user = user.clone();
            self.rearrange(&user)?;
        }
        for wanted in std::mem::take(&mut self.frames) {
            let plan = wanted.map(|(frame, only)| self.plan(frame, only)).transpose()?;
            self.plans.push(plan);
        }
        if matches!(self.target, Target::Live(_)) {
            self.twins = self.target.look(twins)?;
        }
        Ok(())
    }

    /// Decides about a mailbox, and makes it if it is missing.
    fn plan(&self, frame: MailboxFrame, only: Option<UidSet>) -> Result<Plan> {
        let left = self.left.get(&frame.id).copied();
        let plan = self.target.look(|state| Plan::new(frame, only, left, state))?;
        if let (Target::Live(user), Place::New { replaces }) = (&self.target, plan.place) {
            remake(user, &plan, replaces)?;
        }
        Ok(plan)
    }

    /// Renames and deletes what was renamed and deleted since the predecessor.
    fn rearrange(&mut self, user: &Arc<User>) -> Result<()> {
        let (renamed, gone) = self.target.look(|state| (self.renamed(state), self.gone(state)))?;
        match user.rearrange(&gone, &renamed) {
            Err(store::Error::Refused(refusal)) => {
                self.notes.push(format!("user/{}: mailboxes were not renamed: {refusal}", self.name));
                Ok(())
            }
            done => Ok(done?),
        }
    }

    fn renamed(&self, state: &State) -> Vec<(MailboxId, String)> {
        let has_moved = |frame: &&MailboxFrame| {
            self.untouched(frame.id, state).is_some_and(|mailbox| mailbox.name != frame.name)
        };
        let frames = self.frames.iter().flatten().map(|(frame, _)| frame);
        frames.filter(has_moved).map(|frame| (frame.id, frame.name.clone())).collect()
    }

    fn gone(&self, state: &State) -> Vec<MailboxId> {
        if !self.is_complete {
            return Vec::new();
        }
        let is_listed = |id: &MailboxId| self.frames.iter().flatten().any(|(frame, _)| frame.id == *id);
        let unlisted = self.left.keys().filter(|id| !is_listed(id));
        unlisted.filter(|id| self.untouched(**id, state).is_some()).copied().collect()
    }

    /// A mailbox that is as the predecessor's restoration left it. INBOX is neither renamed nor deleted.
    fn untouched<'s>(&self, id: MailboxId, state: &'s State) -> Option<&'s Mailbox> {
        let mailbox = state.mailboxes.get(&id).filter(|mailbox| mailbox.name != INBOX)?;
        self.left.get(&id).filter(|left| **left == Counted::of(mailbox)).map(|_| mailbox)
    }

    /// The end of the part. With `is_last`, no stream follows that continues this one.
    pub fn end(mut self, is_last: bool, report: &mut dyn FnMut(Event)) -> Result<Ended> {
        self.arrange()?;
        self.flush()?;
        let mut plans: Vec<Plan> = std::mem::take(&mut self.plans).into_iter().flatten().collect();
        let (mut left, mut done) = (Left::new(), Restored { users: 1, ..Restored::default() });
        for plan in &mut plans {
            self.roll(plan)?;
            if let Some(counted) = self.target.look(|state| plan.left(state))? {
                left.insert(plan.frame.id, counted);
            }
            if let (Target::Live(user), true) = (&self.target, is_last) {
                raise(user, plan)?;
            }
            self.report(plan, &mut done, report);
        }
        self.subscribe()?;
        self.notes.into_iter().for_each(|note| report(Event::Note(note)));
        let low = if is_last { Vec::new() } else { plans.into_iter().map(Plan::without_messages).collect() };
        Ok(Ended { name: self.name, left, low, done })
    }

    fn roll(&self, plan: &mut Plan) -> Result<()> {
        let Target::Live(user) = &self.target else { return Ok(()) };
        if !plan.rolls {
            return Ok(());
        }
        let live = self.target.look(|state| state.mailboxes.get(&plan.frame.id).map(|m| m.live.clone()))?;
        let gone = live.map(|live| live.to_set().difference(&plan.frame.live)).unwrap_or_default();
        let flags: Vec<(FlagList, UidSet)> = std::mem::take(&mut plan.flags);
        Ok(user.roll_forward(plan.frame.id, gone, flags)?)
    }

    fn subscribe(&self) -> Result<()> {
        let Target::Live(user) = &self.target else { return Ok(()) };
        if !self.wanted.has_all_of(&self.name) {
            return Ok(());
        }
        for name in &self.subscriptions {
            if !user.known()?.state.subscriptions.contains(name) && canonical_name(name).is_ok() {
                user.subscribe(name, true)?;
            }
        }
        Ok(())
    }

    fn report(&self, plan: &Plan, done: &mut Restored, report: &mut dyn FnMut(Event)) {
        let tally = &plan.tally;
        done.messages += tally.back;
        done.present += tally.present;
        done.renumbered += tally.renumbered;
        report(Event::Mailbox {
            path: self.path(&plan.frame.name),
            back: tally.back,
            present: tally.present,
            renumbered: tally.renumbered,
            is_new: matches!(plan.place, Place::New { .. }),
        });
    }

    fn path(&self, mailbox: &str) -> String {
        format!("user/{}/{mailbox}", self.name)
    }
}

/// Raises the counters of a restored mailbox beyond all that clients may have seen.
pub(super) fn raise(user: &Arc<User>, plan: &Plan) -> Result<()> {
    let floor: Option<Floor> = plan.floor(&user.known()?.state);
    match floor {
        Some(floor) => Ok(user.raise(floor, plan.frame.recent_from)?),
        None => Ok(()),
    }
}

fn remake(user: &Arc<User>, plan: &Plan, replaces: Option<MailboxId>) -> Result<()> {
    let frame = &plan.frame;
    let create = MailboxCreate {
        mailbox: frame.id,
        uid_validity: frame.uid_validity,
        uses: frame.uses,
        name: &frame.name,
    };
    Ok(user.remake_mailbox(&Remade { create, keywords: &frame.keywords, replaces })?)
}

fn twins(state: &State) -> HashMap<(u64, u32), (MailboxId, Uid)> {
    let all = state.mailboxes.values().flat_map(|mailbox| {
        mailbox.live_messages().map(|message| ((message.email, message.size), (mailbox.id, message.uid)))
    });
    all.collect()
}
