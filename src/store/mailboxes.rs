//! Commands on mailboxes as a whole: CREATE, DELETE, RENAME, SUBSCRIBE, STATUS, and the list of them.

use std::sync::Arc;

use super::change::{INBOX, What};
use super::error::{Refusal, Result};
use super::limits::MAX_MAILBOXES;
use super::mailbox::{Mailbox, Status};
use super::message::Message;
use super::names::{MailboxId, ModSeq};
use super::payload::{Expunge, MailboxDelete, MailboxRename};
use super::record::{Kind, Transaction};
use super::state::State;
use super::transfer;
use super::tree::{SpecialUses, Tree, canonical_inbox, canonical_name, is_beneath};
use super::uid_set::UidSet;
use super::user::{User, new_mailbox};
use super::wire::PutFields;

impl User {
    /// The user's mailboxes and subscriptions, as of now.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn tree(&self) -> Result<Arc<Tree>> {
        Ok(self.fresh()?.state.tree())
    }

    /// Whether there is a mailbox of this name, or was when the log was last looked at: for those who will hear soon
    /// enough when it is gone.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn has_mailbox(&self, name: &str) -> Result<bool> {
        let name = canonical_inbox(name);
        let was_there = self.known()?.state.by_name(&name).is_some();
        Ok(was_there || self.fresh()?.state.by_name(&name).is_some())
    }

    /// CREATE (RFC 9051 §6.3.4). Levels above it need not exist.
    ///
    /// # Errors
    /// [`Refusal::BadName`], [`Refusal::AlreadyExists`], [`Refusal::TooManyMailboxes`].
    pub fn create(self: &Arc<Self>, name: &str, uses: SpecialUses) -> Result<MailboxId> {
        let name = canonical_name(name)?;
        let written = self.transact(|state, txn| {
            if state.by_name(&name).is_some() {
                return Err(Refusal::AlreadyExists.into());
            }
            if state.mailboxes.len() >= MAX_MAILBOXES {
                return Err(Refusal::TooManyMailboxes.into());
            }
            Ok(new_mailbox(&name, uses, state.last_uid_validity, txn).0)
        })?;
        self.wait_durable(&written)?;
        self.tell(written.value, None, What::Created);
        Ok(written.value)
    }

    /// DELETE (RFC 9051 §6.3.5); which one it was. Mailboxes beneath it stay.
    ///
    /// # Errors
    /// [`Refusal::InboxUndeletable`], [`Refusal::NonExistent`].
    pub fn delete(self: &Arc<Self>, name: &str) -> Result<MailboxId> {
        let name = canonical_inbox(name);
        if name == INBOX {
            return Err(Refusal::InboxUndeletable.into());
        }
        let when = self.now();
        let written = self.transact(|state, txn| {
            let mailbox = state.by_name(&name).ok_or(Refusal::NonExistent)?;
            let delete = MailboxDelete { mailbox: mailbox.id, when };
            txn.record(Kind::MailboxDelete, |out| delete.put(out));
            Ok((mailbox.id, mailbox.next_modseq()))
        })?;
        self.wait_durable(&written)?;
        let (id, modseq) = written.value;
        self.changed(id, modseq);
        self.tell_deleted(id, &name);
        Ok(id)
    }

    /// RENAME (RFC 9051 §6.3.6): mailboxes beneath move along; INBOX gives its messages away and stays.
    ///
    /// # Errors
    /// [`Refusal::BadName`], [`Refusal::NonExistent`], [`Refusal::AlreadyExists`], [`Refusal::BeneathItself`].
    pub fn rename(self: &Arc<Self>, from: &str, to: &str) -> Result<()> {
        let (from, to) = (canonical_inbox(from), canonical_name(to)?);
        let written = self.transact(|state, txn| {
            if state.by_name(&to).is_some() {
                return Err(Refusal::AlreadyExists.into());
            }
            if from == INBOX { empty_inbox(state, &to, txn) } else { rename_tree(state, &from, &to, txn) }
        })?;
        self.wait_durable(&written)?;
        match &written.value {
            Renamed::Inbox { inbox, modseq, made, moved } => {
                self.changed(*inbox, *modseq);
                self.tell(*made, None, What::Created);
                self.tell(*inbox, Some(*modseq), What::Expunged(moved));
            }
            Renamed::Tree(_) if !self.is_heard() => {}
            Renamed::Tree(mailboxes) => {
                for (id, name) in mailboxes {
                    let former = format!("{from}{}", &name[to.len()..]);
                    self.tell(*id, None, What::Renamed { from: &former });
                }
            }
        }
        Ok(())
    }

    /// SUBSCRIBE and UNSUBSCRIBE (RFC 9051 §6.3.7, §6.3.8). The mailbox need not exist.
    ///
    /// # Errors
    /// [`Refusal::BadName`] for a new subscription to a name that no mailbox can have.
    pub fn subscribe(self: &Arc<Self>, name: &str, on: bool) -> Result<()> {
        let name = if on { canonical_name(name)? } else { canonical_inbox(name).into_owned() };
        let written = self.transact(|state, txn| {
            if state.subscriptions.contains(&name) != on {
                if on && state.subscriptions.len() >= MAX_MAILBOXES {
                    return Err(Refusal::TooManyMailboxes.into());
                }
                txn.record(Kind::Subscribe, |out| {
                    out.put_u8(on.into());
                    out.put_text16(&name);
                });
            }
            Ok(())
        })?;
        self.wait_durable(&written)
    }

    /// STATUS (RFC 9051 §6.3.11).
    ///
    /// # Errors
    /// [`Refusal::NonExistent`].
    pub fn status(&self, name: &str) -> Result<Status> {
        let inner = self.fresh()?;
        let mailbox = inner.state.by_name(&canonical_inbox(name)).ok_or(Refusal::NonExistent)?;
        Ok(mailbox.status())
    }

    /// Catches up with what other processes have written.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn look(&self) -> Result<()> {
        self.fresh().map(drop)
    }

    /// STATUS of a mailbox as of the last look at the log, for many mailboxes after one [`look`](Self::look) or
    /// [`tree`](Self::tree); `None` when it is gone, or has another name.
    ///
    /// # Errors
    /// When the state is lost and the log cannot be read.
    pub fn known_status(&self, id: MailboxId, name: &str) -> Result<Option<Status>> {
        let inner = self.known()?;
        let mailbox = inner.state.mailboxes.get(&id).filter(|mailbox| mailbox.name == name);
        Ok(mailbox.map(Mailbox::status))
    }
}

/// What RENAME did.
enum Renamed {
    /// The messages `moved` went from INBOX to a mailbox that was `made`.
    Inbox { inbox: MailboxId, modseq: ModSeq, made: MailboxId, moved: UidSet },
    /// Mailboxes with their new names.
    Tree(Vec<(MailboxId, String)>),
}

fn rename_tree(state: &mut State, from: &str, to: &str, txn: &mut Transaction) -> Result<Renamed> {
    if is_beneath(to, from) {
        return Err(Refusal::BeneathItself.into());
    }
    let tree = state.tree();
    let moved = tree.find(from).into_iter().chain(tree.beneath(from));
    let renamed: Vec<(MailboxId, String)> =
        moved.map(|entry| (entry.id, format!("{to}{}", &entry.name[from.len()..]))).collect();
    if renamed.is_empty() {
        return Err(Refusal::NonExistent.into());
    }
    for (_, name) in &renamed {
        canonical_name(name)?;
        if state.by_name(name).is_some() {
            return Err(Refusal::AlreadyExists.into());
        }
    }
    let rename = MailboxRename(renamed.iter().map(|(id, name)| (*id, name.as_str())).collect());
    txn.record(Kind::MailboxRename, |out| rename.put(out));
    Ok(Renamed::Tree(renamed))
}

/// Moves all of INBOX to a new mailbox.
fn empty_inbox(state: &State, to: &str, txn: &mut Transaction) -> Result<Renamed> {
    let inbox = state.by_name(INBOX).ok_or(Refusal::NonExistent)?;
    let (id, uid_validity) = new_mailbox(to, SpecialUses::NONE, state.last_uid_validity, txn);
    let target = Mailbox::new(id, to.to_owned(), uid_validity, SpecialUses::NONE);
    let modseq = inbox.next_modseq();
    let messages: Vec<&Message> = inbox.live_messages().collect();
    if !messages.is_empty() {
        transfer::record_copies(&messages, inbox, &target, txn);
        let expunge = Expunge { mailbox: inbox.id, modseq, uids: inbox.live.to_set(), when: 0 };
        txn.record(Kind::Expunge, |out| expunge.put(out));
    }
    Ok(Renamed::Inbox { inbox: inbox.id, modseq, made: id, moved: inbox.live.to_set() })
}
