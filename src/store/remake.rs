//! Writing what a backup says: mailboxes and messages with the identities that they had.
//!
//! What is there is never overwritten, and no UID is given a second time: a message comes back under its own UID when
//! that is still ahead of the mailbox, and under the next one when it is not.

use std::sync::Arc;

use super::error::{Refusal, Result};
use super::flags::{FlagChange, FlagList, Flags, Keyword};
use super::limits::MAX_MAILBOXES;
use super::mailbox::Mailbox;
use super::message::{BlobRef, InternalDate, Message};
use super::names::{MailboxId, ModSeq, Uid};
use super::payload::{Entry, Expunge, FlagsChange, Floor, MailboxCreate, MailboxDelete, MailboxRename};
use super::record::{Kind, Transaction};
use super::state::State;
use super::transfer::{check_keywords, record_entries};
use super::uid_set::UidSet;
use super::upload::{Prepared, Recorded, Stored};
use super::user::User;
use super::wire::PutFields;

/// A message as a backup has it.
pub(super) struct Returning {
    /// The UID that it had; the next one when it was another mailbox's, or is below UIDNEXT.
    pub uid: Option<Uid>,
    pub flags: FlagList,
    pub internal_date: InternalDate,
    pub save_date: i64,
    pub email: u64,
    pub thread: u64,
    pub body: Prepared,
    /// A message of the user that may have the same bytes already: then they are not written again.
    pub twin: Option<(MailboxId, Uid)>,
}

/// What a restored mailbox has to look like.
pub(super) struct Remade<'a> {
    pub create: MailboxCreate<'a>,
    /// In the order in which the mailbox numbers them.
    pub keywords: &'a [Keyword],
    /// A mailbox that holds the name and that nobody has used yet.
    pub replaces: Option<MailboxId>,
}

/// Whether nothing ever happened to a mailbox.
pub(super) fn is_pristine(mailbox: &Mailbox) -> bool {
    mailbox.uid_next == 1 && mailbox.highest_modseq.0 <= 1
}

impl User {
    /// Makes a mailbox with the identity and the UIDVALIDITY that it had.
    ///
    /// # Errors
    /// [`Refusal::AlreadyExists`], [`Refusal::TooManyMailboxes`].
    pub(super) fn remake_mailbox(self: &Arc<Self>, remade: &Remade<'_>) -> Result<()> {
        let written = self.transact(|state, txn| record_mailbox(state, remade, txn))?;
        self.wait_durable(&written)
    }

    /// Appends messages, ascending, with all that a backup knows of them. Returns their UIDs, in order, when they are
    /// on stable storage.
    ///
    /// # Errors
    /// [`Refusal::NonExistent`], [`Refusal::TooManyKeywords`], [`Refusal::UidsExhausted`]; the disk's errors.
    pub(super) fn bring_back(
        self: &Arc<Self>,
        mailbox: MailboxId,
        mut messages: Vec<Returning>,
    ) -> Result<Vec<Uid>> {
        let written = self.transact(|state, txn| record_messages(state, mailbox, &messages, txn))?;
        let (uids, modseq) = &written.value;
        let known = self.known().ok();
        let target = known.as_ref().and_then(|inner| inner.state.mailboxes.get(&mailbox));
        messages.iter_mut().zip(uids).for_each(|(message, uid)| message.keep(target, *uid));
        drop(known);
        self.changed(mailbox, *modseq);
        self.wait_durable(&written)?;
        Ok(written.value.0)
    }

    /// Gives messages the flags that an incremental backup has for them, and expunges `gone`: nothing has happened to
    /// the mailbox since the backup before it was restored.
    ///
    /// # Errors
    /// [`Refusal::NonExistent`], [`Refusal::TooManyKeywords`]; the disk's errors.
    pub(super) fn roll_forward(
        self: &Arc<Self>,
        mailbox: MailboxId,
        gone: UidSet,
        flags: Vec<(FlagList, UidSet)>,
    ) -> Result<()> {
        let written = self.transact(|state, txn| {
            let mailbox = state.mailboxes.get(&mailbox).ok_or(Refusal::NonExistent)?;
            record_roll(mailbox, gone, flags, self.now(), txn)?;
            Ok(mailbox.next_modseq())
        })?;
        self.changed(mailbox, written.value);
        self.wait_durable(&written)
    }

    /// Renames mailboxes, all at once, and deletes others.
    ///
    /// # Errors
    /// [`Refusal::AlreadyExists`] when a name is another mailbox's.
    pub(super) fn rearrange(
        self: &Arc<Self>,
        gone: &[MailboxId],
        renamed: &[(MailboxId, String)],
    ) -> Result<()> {
        let written = self.transact(|state, txn| record_names(state, gone, renamed, self.now(), txn))?;
        self.wait_durable(&written)
    }

    /// Sees to it that a restored mailbox never again gives a number that its clients may have seen.
    ///
    /// # Errors
    /// [`Refusal::NonExistent`]; the disk's errors.
    pub(super) fn raise(self: &Arc<Self>, floor: Floor, recent_from: u64) -> Result<()> {
        let written = self.transact(|state, txn| {
            state.mailboxes.get(&floor.mailbox).ok_or(Refusal::NonExistent)?;
            txn.record(Kind::Floor, |out| floor.put(out));
            txn.record(Kind::Recent, |out| {
                out.put_u128(floor.mailbox.0);
                out.put_u64(recent_from);
            });
            Ok(())
        })?;
        self.changed(floor.mailbox, floor.modseq);
        self.wait_durable(&written)
    }
}

impl Returning {
    /// A record names the file now, unless the message is its twin's.
    fn keep(&mut self, mailbox: Option<&Mailbox>, uid: Uid) {
        let kept = mailbox.and_then(|mailbox| mailbox.messages_between(uid, uid).next());
        if let Stored::File(number, scratch) = &mut self.body.stored {
            // When the message is gone again already, its file is compaction's to remove.
            scratch.keep = kept.is_none_or(|message| message.blob == BlobRef::File(*number));
        }
    }

    fn find_twin<'a>(&self, state: &'a State) -> Option<&'a Message> {
        let (mailbox, uid) = self.twin?;
        let twin = state.mailboxes.get(&mailbox)?.messages_between(uid, uid).next()?;
        (twin.expunged.is_none() && twin.email == self.email && twin.size == self.body.size).then_some(twin)
    }

    fn entry(&self, uid: Uid, state: &State, txn: &mut Transaction) -> Entry<'_> {
        let (has_no_nul, at) = match self.find_twin(state) {
            Some(twin) => {
                let (blob, meta, meta_len) = (twin.blob, twin.meta, twin.meta_len);
                (twin.has_no_nul, Recorded { blob, meta, meta_len })
            }
            None => (self.body.has_no_nul, self.body.record(txn)),
        };
        Entry {
            uid,
            flags: self.flags.system,
            size: self.body.size,
            internal_date: self.internal_date,
            save_date: self.save_date,
            sent_day: self.body.sent_day(),
            email: self.email,
            thread: self.thread,
            has_no_nul,
            blob: at.blob,
            meta: at.meta,
            meta_len: at.meta_len,
            keywords: self.flags.keywords.iter().map(Keyword::as_str).collect(),
        }
    }
}

fn record_mailbox(state: &State, remade: &Remade<'_>, txn: &mut Transaction) -> Result<()> {
    let create = &remade.create;
    let former = state.by_name(create.name);
    let is_free = former.is_none_or(|former| Some(former.id) == remade.replaces && is_pristine(former));
    if !is_free || state.mailboxes.contains_key(&create.mailbox) {
        return Err(Refusal::AlreadyExists.into());
    }
    if state.mailboxes.len() >= MAX_MAILBOXES {
        return Err(Refusal::TooManyMailboxes.into());
    }
    if let Some(former) = former {
        // Nothing is lost with it: it is not to come back.
        let delete = MailboxDelete { mailbox: former.id, when: 0 };
        txn.record(Kind::MailboxDelete, |out| delete.put(out));
    }
    txn.record(Kind::MailboxCreate, |out| create.put(out));
    if !remade.keywords.is_empty() {
        let named = FlagsChange {
            mailbox: create.mailbox,
            modseq: ModSeq(1),
            how: FlagChange::Add,
            flags: Flags::NONE,
            keywords: remade.keywords.iter().map(Keyword::as_str).collect(),
            uids: UidSet::new(),
        };
        txn.record(Kind::Flags, |out| named.put(out));
    }
    Ok(())
}

fn record_messages(
    state: &State,
    mailbox: MailboxId,
    messages: &[Returning],
    txn: &mut Transaction,
) -> Result<(Vec<Uid>, ModSeq)> {
    let mailbox = state.mailboxes.get(&mailbox).ok_or(Refusal::NonExistent)?;
    check_keywords(mailbox, messages.iter().flat_map(|m| m.flags.keywords.iter().map(Keyword::as_str)))?;
    let mut next = mailbox.uid_next;
    let mut entries = Vec::with_capacity(messages.len());
    for message in messages {
        let number = message.uid.map_or(next, |uid| next.max(uid.get().into()));
        let uid = super::mailbox::uid(number).ok_or(Refusal::UidsExhausted)?;
        next = number + 1;
        entries.push(message.entry(uid, state, txn));
    }
    let modseq = record_entries(mailbox, &entries, false, txn);
    Ok((entries.iter().map(|entry| entry.uid).collect(), modseq))
}

fn record_roll(
    mailbox: &Mailbox,
    gone: UidSet,
    flags: Vec<(FlagList, UidSet)>,
    now: i64,
    txn: &mut Transaction,
) -> Result<()> {
    check_keywords(mailbox, flags.iter().flat_map(|(list, _)| list.keywords.iter().map(Keyword::as_str)))?;
    let mut modseq = mailbox.next_modseq();
    if !gone.is_empty() {
        let expunge = Expunge { mailbox: mailbox.id, modseq, uids: gone, when: now };
        txn.record(Kind::Expunge, |out| expunge.put(out));
        modseq.0 += 1;
    }
    for (list, uids) in flags {
        let how = FlagChange::Replace;
        let keywords = list.keywords.iter().map(Keyword::as_str).collect();
        let change = FlagsChange { mailbox: mailbox.id, modseq, how, flags: list.system, keywords, uids };
        txn.record(Kind::Flags, |out| change.put(out));
        modseq.0 += 1;
    }
    Ok(())
}

fn record_names(
    state: &State,
    gone: &[MailboxId],
    renamed: &[(MailboxId, String)],
    now: i64,
    txn: &mut Transaction,
) -> Result<()> {
    let moves = |id: MailboxId| gone.contains(&id) || renamed.iter().any(|(moved, _)| *moved == id);
    if renamed.iter().any(|(_, name)| state.by_name(name).is_some_and(|holder| !moves(holder.id))) {
        return Err(Refusal::AlreadyExists.into());
    }
    for &mailbox in gone.iter().filter(|mailbox| state.mailboxes.contains_key(mailbox)) {
        txn.record(Kind::MailboxDelete, |out| MailboxDelete { mailbox, when: now }.put(out));
    }
    if !renamed.is_empty() {
        let rename = MailboxRename(renamed.iter().map(|(id, name)| (*id, name.as_str())).collect());
        txn.record(Kind::MailboxRename, |out| rename.put(out));
    }
    Ok(())
}
