//! A session's view of a mailbox: what its client has been told (RFC 2180).
//!
//! The view changes only in `sync`. Until then expunged messages keep their sequence numbers, stay readable, and take
//! flags; new ones are not there.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, MutexGuard};

use smallvec::SmallVec;

use super::content::Content;
use super::error::{Error, Refusal, Result};
use super::flags::KeywordTable;
use super::mailbox::{Mailbox, ViewId};
use super::message::Message;
use super::meta::Meta;
use super::names::{MailboxId, ModSeq, SeqNo, Uid};
use super::record::Kind;
use super::tree::canonical_inbox;
use super::uid_index::UidIndex;
use super::uid_set::UidSet;
use super::user::{Inner, User};
use super::window::Window;
use super::wire::PutFields;
use crate::sys::FileRange;

/// SELECT or EXAMINE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    ReadWrite,
    ReadOnly,
}

/// Whether a sync may take messages away: not while sequence numbers are in use (RFC 9051 §7.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expunges {
    Report,
    Defer,
}

/// A mailbox that a session has selected.
#[derive(Debug)]
pub struct Selected {
    pub(super) user: Arc<User>,
    pub(super) id: MailboxId,
    access: Access,
    wants_recent: bool,
    uid_validity: u32,
    pub(super) uids: UidIndex,
    /// `\Recent` messages of this session; some may not be in the view yet.
    recent: UidSet,
    told_recent: u32,
    first_unseen: Option<SeqNo>,
    /// The view holds no message from this UID on.
    uid_next: u64,
    /// Changes up to here are told, but for expunges that were deferred.
    pub(super) synced: ModSeq,
    deferred: bool,
    pub(super) keywords: Arc<KeywordTable>,
    /// Changes of flags that this session made and told itself.
    pub(super) own: SmallVec<[ModSeq; 4]>,
    /// Messages among those that have to be told all the same.
    pub(super) contested: Option<Box<UidSet>>,
    view: ViewId,
    /// Expunges up to here are told.
    told: ModSeq,
}

/// What a client has to be told after a sync, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Gone messages, for VANISHED.
    pub expunged: UidSet,
    /// Their sequence numbers for EXPUNGE, in the order to send: descending, so that none shifts another.
    pub expunged_seqs: Vec<SeqNo>,
    /// The new count of messages, when some came.
    pub exists: Option<u32>,
    /// The new count of `\Recent` messages, when it has changed.
    pub recent: Option<u32>,
    /// The mailbox got keywords: FLAGS and PERMANENTFLAGS come before any FETCH.
    pub keywords: bool,
    /// Messages that were in the view and whose flags changed.
    pub flags: UidSet,
    /// The mailbox is gone; nothing else is told.
    pub deleted: bool,
}

impl User {
    /// SELECT and EXAMINE (RFC 9051 §6.3.2). With `wants_recent`, a read-write session takes the `\Recent` messages.
    ///
    /// # Errors
    /// [`Refusal::NonExistent`]; the log cannot be read.
    pub fn select(self: &Arc<Self>, name: &str, access: Access, wants_recent: bool) -> Result<Selected> {
        let name = canonical_inbox(name);
        let mut inner = self.fresh()?;
        let mailbox = inner.state.by_name_mut(&name).ok_or(Refusal::NonExistent)?;
        let view = self.shared.next_view();
        mailbox.watch(view, mailbox.highest_modseq);
        let mut selected = Selected {
            user: self.clone(),
            id: mailbox.id,
            access,
            wants_recent,
            uid_validity: mailbox.uid_validity,
            uids: mailbox.live.clone(),
            recent: if wants_recent { mailbox.recent() } else { UidSet::new() },
            told_recent: 0,
            first_unseen: mailbox.first_unseen(),
            uid_next: mailbox.uid_next,
            synced: mailbox.highest_modseq,
            deferred: false,
            keywords: mailbox.keywords.clone(),
            own: SmallVec::new(),
            contested: None,
            view,
            told: mailbox.highest_modseq,
        };
        drop(inner);
        if selected.claims_recent() && !selected.recent.is_empty() {
            selected.recent = UidSet::new();
            selected.claim_recent()?;
        }
        selected.told_recent = selected.recent();
        Ok(selected)
    }
}

impl Selected {
    pub fn user(&self) -> &Arc<User> {
        &self.user
    }

    pub fn id(&self) -> MailboxId {
        self.id
    }

    pub fn access(&self) -> Access {
        self.access
    }

    pub fn uid_validity(&self) -> u32 {
        self.uid_validity
    }

    /// UIDNEXT; 2³² when no UID is left.
    pub fn uid_next(&self) -> u64 {
        self.uid_next
    }

    /// HIGHESTMODSEQ as of the last sync.
    pub fn highest_modseq(&self) -> ModSeq {
        self.synced
    }

    /// The mod-sequence up to which the client knows all: less than `highest_modseq` while expunges are deferred
    /// (RFC 7162 §6).
    pub fn known_modseq(&self) -> ModSeq {
        if self.deferred { self.told } else { self.synced }
    }

    /// Whether the client has yet to be told of expunges.
    pub fn has_deferred(&self) -> bool {
        self.deferred
    }

    /// The UIDs of the view; a rank in it is a sequence number.
    pub fn uids(&self) -> &UidIndex {
        &self.uids
    }

    pub fn exists(&self) -> u32 {
        self.uids.len()
    }

    pub fn recent(&self) -> u32 {
        self.uids.count_among(&self.recent)
    }

    pub fn is_recent(&self, uid: Uid) -> bool {
        self.recent.contains(uid)
    }

    /// The first message without `\Seen`, as of SELECT.
    pub fn first_unseen(&self) -> Option<SeqNo> {
        self.first_unseen
    }

    /// The mailbox's keywords as last told.
    pub fn keywords(&self) -> &Arc<KeywordTable> {
        &self.keywords
    }

    pub(super) fn claims_recent(&self) -> bool {
        self.wants_recent && self.access == Access::ReadWrite
    }

    pub(super) fn check_writable(&self) -> Result<(), Refusal> {
        if self.access == Access::ReadWrite { Ok(()) } else { Err(Refusal::ReadOnly) }
    }

    /// The session appended `uids` itself and took all `\Recent` messages from `from` on.
    pub(super) fn take_recent(&mut self, from: u64, uids: &UidSet) {
        let older = super::mailbox::uid(from).zip(uids.first().and_then(|first| Uid::new(first.get() - 1)));
        if let Some((first, last)) = older.filter(|(first, last)| first <= last) {
            self.add_recent(&UidSet::from_ranges([(first, last)]));
        }
        self.add_recent(uids);
    }

    fn add_recent(&mut self, uids: &UidSet) {
        self.recent = self.recent.union(uids);
        self.recent.rest();
    }

    /// Takes the `\Recent` messages that no session has taken yet (RFC 3501 §2.3.2).
    fn claim_recent(&mut self) -> Result<()> {
        let id = self.id;
        let taken = self.user.transact(|state, txn| {
            let Some(mailbox) = state.mailboxes.get(&id) else { return Ok(UidSet::new()) };
            let recent = mailbox.recent();
            if !recent.is_empty() {
                txn.record(Kind::Recent, |out| {
                    out.put_u128(id.0);
                    out.put_u64(mailbox.uid_next);
                });
            }
            Ok(recent)
        })?;
        self.add_recent(&taken.value);
        Ok(())
    }

    /// Catches up with the mailbox. One read of a few bytes when nothing has changed.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn sync(&mut self, expunges: Expunges) -> Result<Changes> {
        let user = self.user.clone();
        let inner = user.fresh()?;
        self.catch_up(&user, inner, expunges)
    }

    /// As `sync`, with what this process knows: what others have written since it last looked is left for later.
    ///
    /// # Errors
    /// As `sync`.
    pub fn sync_known(&mut self, expunges: Expunges) -> Result<Changes> {
        let user = self.user.clone();
        let inner = user.known()?;
        self.catch_up(&user, inner, expunges)
    }

    fn catch_up<'a>(
        &mut self,
        user: &'a User,
        mut inner: MutexGuard<'a, Inner>,
        expunges: Expunges,
    ) -> Result<Changes> {
        if self.has_unclaimed(&inner) {
            drop(inner);
            self.claim_recent()?;
            inner = user.fresh()?;
        }
        let Some(mailbox) = inner.state.mailboxes.get_mut(&self.id) else {
            return Ok(Changes { deleted: true, ..Changes::default() });
        };
        let reports = expunges == Expunges::Report;
        if mailbox.highest_modseq == self.synced && !(self.deferred && reports) {
            return Ok(Changes::default());
        }
        Ok(self.changes(mailbox, reports))
    }

    fn has_unclaimed(&self, inner: &Inner) -> bool {
        let mailbox = if self.claims_recent() { inner.state.mailboxes.get(&self.id) } else { None };
        mailbox.is_some_and(|m| m.highest_modseq != self.synced && !m.recent().is_empty())
    }

    fn changes(&mut self, mailbox: &mut Mailbox, reports: bool) -> Changes {
        let mut changes = Changes::default();
        let may_be_gone = self.deferred || mailbox.last_expunge > self.synced;
        let gone = if may_be_gone { self.uids.gone(&mailbox.live) } else { UidSet::new() };
        let flags = mailbox.changed_since(self.synced, &self.uids);
        let new = mailbox.live_from(self.uid_next);
        if !new.is_empty() {
            self.wants_recent_of(&new, mailbox);
        }
        if reports {
            changes.expunged_seqs = self.seqs_descending(&gone);
            changes.flags = if gone.is_empty() { flags } else { flags.difference(&gone) };
            self.uids = mailbox.live.clone();
            self.deferred = false;
            changes.expunged = gone;
        } else {
            changes.flags = flags;
            self.deferred = !gone.is_empty();
            if gone.is_empty() {
                self.uids = mailbox.live.clone();
            } else {
                self.uids.add_all(&new);
            }
        }
        if !self.deferred {
            self.told = mailbox.highest_modseq;
            mailbox.watch(self.view, self.told);
        }
        changes.flags = self.without_own(changes.flags, mailbox);
        changes.recent = (self.wants_recent && self.recent() != self.told_recent).then(|| self.recent());
        self.told_recent = self.recent();
        changes.exists = (!new.is_empty()).then(|| self.uids.len());
        changes.keywords = !Arc::ptr_eq(&self.keywords, &mailbox.keywords);
        self.keywords = mailbox.keywords.clone();
        self.uid_next = mailbox.uid_next;
        self.synced = mailbox.highest_modseq;
        changes
    }

    /// A read-only session shows `\Recent` without taking it.
    fn wants_recent_of(&mut self, new: &UidSet, mailbox: &Mailbox) {
        if self.wants_recent && self.access == Access::ReadOnly {
            self.add_recent(&mailbox.recent().intersection(new));
        }
    }

    fn seqs_descending(&self, gone: &UidSet) -> Vec<SeqNo> {
        let mut seqs: Vec<SeqNo> = gone.iter().filter_map(|uid| self.uids.seq_of(uid)).collect();
        seqs.reverse();
        seqs
    }

    /// Leaves out messages whose last change this session made itself, on what its client knew.
    fn without_own(&mut self, flags: UidSet, mailbox: &Mailbox) -> UidSet {
        let own = std::mem::take(&mut self.own);
        let contested = std::mem::take(&mut self.contested);
        if own.is_empty() || flags.is_empty() {
            return flags;
        }
        let is_news = |message: &&Message| {
            !own.contains(&message.modseq)
                || contested.as_ref().is_some_and(|uids| uids.contains(message.uid))
        };
        let others = mailbox.messages_among(&flags).filter(is_news);
        others.map(|message| message.uid).collect()
    }

    /// Copies up to `max` messages of `uids` from `from` on to `out`: also ones that were expunged meanwhile.
    /// No look at the log.
    ///
    /// # Errors
    /// [`Refusal::NonExistent`] when the mailbox was deleted.
    pub fn messages(&self, uids: &UidSet, from: Uid, max: usize, out: &mut Vec<Message>) -> Result<()> {
        let inner = self.user.known()?;
        let mailbox = inner.state.mailboxes.get(&self.id).ok_or(Refusal::NonExistent)?;
        copy_messages(mailbox, uids, from, max, out);
        Ok(())
    }

    /// As `messages`, and takes in keywords that the mailbox has got, so that each flag of these has a name.
    ///
    /// # Errors
    /// As `messages`.
    pub fn messages_to_tell(
        &mut self,
        uids: &UidSet,
        from: Uid,
        max: usize,
        out: &mut Vec<Message>,
    ) -> Result<()> {
        let inner = self.user.known()?;
        let mailbox = inner.state.mailboxes.get(&self.id).ok_or(Refusal::NonExistent)?;
        copy_messages(mailbox, uids, from, max, out);
        if !Arc::ptr_eq(&self.keywords, &mailbox.keywords) {
            self.keywords = mailbox.keywords.clone();
        }
        Ok(())
    }

    /// Adds to `out` those that meet a condition, of up to `max` messages of `uids` from `from` on: also ones that were
    /// expunged meanwhile. Where to go on; `None` when all were looked at. Nobody else can use the state meanwhile, so
    /// the condition must be cheap. No look at the log.
    ///
    /// # Errors
    /// [`Refusal::NonExistent`] when the mailbox was deleted.
    pub fn choose(
        &self,
        uids: &UidSet,
        from: Uid,
        max: usize,
        meets: impl Fn(&Message) -> bool,
        out: &mut UidSet,
    ) -> Result<Option<Uid>> {
        let inner = self.user.known()?;
        let mailbox = inner.state.mailboxes.get(&self.id).ok_or(Refusal::NonExistent)?;
        let mut left = max;
        for run in mailbox.runs_among(uids, from) {
            let (run, beyond) = run.split_at(run.len().min(left));
            left -= run.len();
            run.iter().filter(|message| meets(message)).for_each(|message| out.push(message.uid));
            if let Some(next) = beyond.first() {
                return Ok(Some(next.uid));
            }
        }
        Ok(None)
    }

    /// What was computed about a message at APPEND: one read of the log.
    ///
    /// # Errors
    /// When the log cannot be read, or is damaged there; [`Refusal::Expunged`].
    pub fn meta(&self, message: &Message) -> Result<Arc<Meta>> {
        self.user.meta(message).map_err(|error| self.why(message, error))
    }

    /// [`meta`](Self::meta) of these will be asked for soon.
    pub fn expect_metas(&self, messages: &[Message]) {
        self.user.expect_metas(messages);
    }

    /// The header of a message, which `meta` is about.
    ///
    /// # Errors
    /// As `meta`.
    pub fn header<'m>(&self, message: &Message, meta: &'m Meta) -> Result<Cow<'m, [u8]>> {
        self.user.header(message, meta).map_err(|error| self.why(message, error))
    }

    /// A message that was expunged long ago may be gone for good while a view still has it.
    fn why(&self, message: &Message, error: Error) -> Error {
        let is_live = |inner: &Inner| {
            let mailbox = inner.state.mailboxes.get(&self.id);
            mailbox.is_some_and(|mailbox| mailbox.live.contains(message.uid))
        };
        let is_gone = error.is_missing() && self.user.fresh().is_ok_and(|inner| !is_live(&inner));
        if is_gone { Refusal::Expunged.into() } else { error }
    }

    /// Appends the bytes `range` of a message, cut to its size, to `out`.
    ///
    /// # Errors
    /// When they cannot be read; `out` is then as it was. [`Refusal::Expunged`].
    pub fn read(&self, message: &Message, range: std::ops::Range<u64>, out: &mut Vec<u8>) -> Result<()> {
        self.user.read(message, range, out).map_err(|error| self.why(message, error))
    }

    /// The bytes of a message, for reading them in pieces.
    ///
    /// # Errors
    /// As `read`.
    pub fn content(&self, message: &Message) -> Result<Content> {
        Content::open(&self.user, message).map_err(|error| self.why(message, error))
    }

    /// The bytes of messages that follow each other, read at once; `None` when that does not pay.
    ///
    /// # Errors
    /// When they cannot be read; one of them still may be.
    pub fn window(&self, messages: &[Message]) -> Result<Option<Window>> {
        Window::read(&self.user, messages)
    }

    /// Bytes of a message, to be sent from its file; `None` when too many are kept open already.
    pub fn file_range(&self, content: &Content, range: Range<u64>) -> Option<FileRange> {
        content.range(range, &self.user.shared.kept_open)
    }

    /// What to hold while the session waits; `None` when it has to be opened anew then.
    pub fn keep_open(&self, content: Content) -> Option<Content> {
        self.user.shared.kept_open.keep(content)
    }

    /// Messages of the view that are new or changed after `since` (RFC 7162 §3.1.4).
    ///
    /// # Errors
    /// [`Refusal::NonExistent`].
    pub fn changed_since(&self, since: ModSeq) -> Result<UidSet> {
        let inner = self.user.known()?;
        let mailbox = inner.state.mailboxes.get(&self.id).ok_or(Refusal::NonExistent)?;
        Ok(mailbox.newer_than(since, &self.uids))
    }

    /// UIDs of `within` (all, when `None`) that are gone since `since`, as far as that is remembered; otherwise all
    /// that do not exist (RFC 7162 §3.2.5).
    ///
    /// # Errors
    /// [`Refusal::NonExistent`].
    pub fn vanished_since(&self, since: ModSeq, within: Option<&UidSet>) -> Result<UidSet> {
        let inner = self.user.known()?;
        let mailbox = inner.state.mailboxes.get(&self.id).ok_or(Refusal::NonExistent)?;
        let Some(last) = super::mailbox::uid(self.uid_next - 1) else { return Ok(UidSet::new()) };
        let ever = UidSet::from_ranges([(Uid::MIN, last)]);
        let within = within.map_or_else(|| ever.clone(), |within| within.intersection(&ever));
        // What the view still has is told as EXPUNGE or VANISHED by a later sync.
        Ok(self.uids.missing(&mailbox.vanished_since(since, &within)))
    }
}

fn copy_messages(mailbox: &Mailbox, uids: &UidSet, from: Uid, max: usize, out: &mut Vec<Message>) {
    let mut left = max;
    out.reserve(max.min(uids.len() as usize));
    for run in mailbox.runs_among(uids, from) {
        let run = &run[..run.len().min(left)];
        out.extend_from_slice(run);
        left -= run.len();
        if left == 0 {
            break;
        }
    }
}

impl Drop for Selected {
    fn drop(&mut self) {
        if let Ok(mut inner) = self.user.known()
            && let Some(mailbox) = inner.state.mailboxes.get_mut(&self.id)
        {
            mailbox.unwatch(self.view);
        }
    }
}
