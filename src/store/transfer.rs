//! Messages come into mailboxes: APPEND from a client, COPY and MOVE from another mailbox.

use std::sync::Arc;

use smallvec::SmallVec;

use super::error::{Refusal, Result};
use super::flags::FlagList;
use super::limits::{MAX_KEYWORDS, MAX_MULTIAPPEND, MAX_TRANSFER};
use super::mailbox::{Mailbox, uid};
use super::message::{BlobRef, InternalDate, Message};
use super::names::{MailboxId, ModSeq, Uid};
use super::payload::{Append, Entry, Expunge};
use super::record::{Kind, Transaction};
use super::state::State;
use super::telling::Kept;
use super::tree::canonical_inbox;
use super::uid_set::UidSet;
use super::upload::{NewMessage, Prepared, Recorded, Stored, new_number};
use super::user::{User, unix_now};
use super::view::Selected;

/// What APPEND answers with (RFC 4315 APPENDUID).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    pub uid_validity: u32,
    pub uids: UidSet,
}

/// What COPY and MOVE answer with (RFC 4315 COPYUID): the same number of UIDs on both sides, in the same order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    pub uid_validity: u32,
    pub source: UidSet,
    pub target: UidSet,
}

/// Which mailbox messages went to, and what else a transaction has to tell.
struct Arrival {
    mailbox: MailboxId,
    modseq: ModSeq,
    appended: Appended,
    /// The first UID that the writer's session takes as `\Recent`.
    recent_from: Option<u64>,
}

impl User {
    /// APPEND (RFC 9051 §6.3.12): all messages or none (RFC 3502). When `view` has the same mailbox open, its session
    /// takes their `\Recent`. They are on stable storage after [`settle`](Self::settle).
    ///
    /// # Errors
    /// [`Refusal::NonExistent`], [`Refusal::TooManyKeywords`], [`Refusal::TooManyMessages`],
    /// [`Refusal::UidsExhausted`]; the disk's errors.
    pub fn append(
        self: &Arc<Self>,
        mailbox: &str,
        messages: impl IntoIterator<Item = NewMessage, IntoIter: ExactSizeIterator>,
        view: Option<&mut Selected>,
    ) -> Result<Appended> {
        let messages = messages.into_iter();
        if messages.len() > MAX_MULTIAPPEND {
            return Err(Refusal::TooManyMessages.into());
        }
        let name = canonical_inbox(mailbox);
        let mut drafts: SmallVec<[Draft; 1]> = SmallVec::with_capacity(messages.len());
        for message in messages {
            drafts.push(Draft::prepare(message)?);
        }
        let claimant = view.as_ref().filter(|view| view.claims_recent()).map(|view| view.id());
        let written = self.transact(|state, txn| record_append(state, &name, &drafts, claimant, txn))?;
        drafts.iter_mut().for_each(Draft::keep);
        let arrival = &written.value;
        if let (Some(view), Some(from)) = (view, arrival.recent_from) {
            view.take_recent(from, &arrival.appended.uids);
        }
        self.changed(arrival.mailbox, arrival.modseq);
        let kept = || Kept::Arrived(arrival.appended.uids.clone());
        self.tell_settled(written.ends_at(), arrival.mailbox, arrival.modseq, kept);
        Ok(written.value.appended)
    }
}

/// A new message with all that its record says.
struct Draft {
    message: Prepared,
    flags: FlagList,
    internal_date: InternalDate,
}

impl Draft {
    fn prepare(new: NewMessage) -> Result<Draft> {
        let now = InternalDate { timestamp: unix_now(), offset_minutes: 0 };
        let internal_date = new.internal_date.unwrap_or(now);
        Ok(Draft { message: new.body.prepare()?, flags: new.flags, internal_date })
    }

    /// Bytes that are written for it, or a few more.
    fn len(&self) -> usize {
        let keywords: usize = self.flags.keywords.iter().map(|keyword| keyword.as_str().len() + 1).sum();
        self.message.most_len() + Append::HEAD + Entry::HEAD + keywords
    }

    /// A record names the file now.
    fn keep(&mut self) {
        if let Stored::File(_, scratch) = &mut self.message.stored {
            scratch.keep = true;
        }
    }

    fn entry(&self, uid: Uid, txn: &mut Transaction) -> Entry<'_> {
        let Recorded { blob, meta, meta_len } = self.message.record(txn);
        Entry {
            uid,
            flags: self.flags.system,
            size: self.message.size,
            internal_date: self.internal_date,
            save_date: unix_now(),
            sent_day: self.message.sent_day(),
            email: match blob {
                BlobRef::Inline(_) => new_number(),
                BlobRef::File(number) => number,
            },
            thread: self.message.analysis.thread,
            has_no_nul: self.message.has_no_nul,
            blob,
            meta,
            meta_len,
            keywords: self.flags.keywords.iter().map(|keyword| keyword.as_str()).collect(),
        }
    }
}

fn record_append(
    state: &State,
    name: &str,
    drafts: &[Draft],
    claimant: Option<MailboxId>,
    txn: &mut Transaction,
) -> Result<Arrival> {
    let mailbox = state.by_name(name).ok_or(Refusal::NonExistent)?;
    let keywords =
        drafts.iter().flat_map(|draft| draft.flags.keywords.iter().map(|keyword| keyword.as_str()));
    check_keywords(mailbox, keywords)?;
    let uids = next_uids(mailbox, drafts.len())?;
    let payloads = drafts.iter().map(Draft::len).sum();
    txn.reserve(payloads, 2 * drafts.len() + 1);
    let entries: SmallVec<[Entry<'_>; 1]> =
        drafts.iter().zip(uids.iter()).map(|(draft, uid)| draft.entry(uid, txn)).collect();
    let claims = claimant == Some(mailbox.id);
    let modseq = record_entries(mailbox, &entries, claims, txn);
    Ok(Arrival {
        mailbox: mailbox.id,
        modseq,
        appended: Appended { uid_validity: mailbox.uid_validity, uids },
        recent_from: claims.then_some(mailbox.recent_from),
    })
}

/// Records entries, ascending, behind the last message of a mailbox.
pub(super) fn record_entries(
    mailbox: &Mailbox,
    entries: &[Entry<'_>],
    claims_recent: bool,
    txn: &mut Transaction,
) -> ModSeq {
    let modseq = mailbox.next_modseq();
    txn.record(Kind::Append, |out| {
        Append::put_head(mailbox.id, modseq, entries.len() as u32, claims_recent, out);
        entries.iter().for_each(|entry| entry.put(out));
    });
    modseq
}

/// The UIDs that the next `count` messages get.
pub(super) fn next_uids(mailbox: &Mailbox, count: usize) -> Result<UidSet, Refusal> {
    mailbox.room_for(count)?;
    let first = mailbox.uid_next;
    let ends = count.checked_sub(1).and_then(|more| Some((uid(first)?, uid(first + more as u64)?)));
    Ok(UidSet::from_ranges(ends))
}

/// Whether the mailbox has room for the keywords that it does not know yet.
pub(super) fn check_keywords<'a>(
    mailbox: &Mailbox,
    keywords: impl Iterator<Item = &'a str>,
) -> Result<(), Refusal> {
    let mut new: SmallVec<[&str; 8]> = SmallVec::new();
    for name in keywords.filter(|name| mailbox.keywords.position(name).is_none()) {
        if !new.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            new.push(name);
        }
    }
    let room = MAX_KEYWORDS - mailbox.keywords.len().min(MAX_KEYWORDS);
    if new.len() <= room { Ok(()) } else { Err(Refusal::TooManyKeywords) }
}

/// Records copies of `messages`, ascending, behind the last message of `target`, and returns their UIDs.
/// No message is written again: the copies point to the same bytes.
pub(super) fn record_copies(
    messages: &[&Message],
    source: &Mailbox,
    target: &Mailbox,
    txn: &mut Transaction,
) -> (UidSet, ModSeq) {
    let save_date = unix_now();
    let first = target.uid_next;
    let entries: Vec<Entry<'_>> = (first..)
        .zip(messages)
        .filter_map(|(number, message)| Some(copy_of(message, uid(number)?, save_date, source)))
        .collect();
    let modseq = record_entries(target, &entries, false, txn);
    (entries.iter().map(|entry| entry.uid).collect(), modseq)
}

fn copy_of<'a>(message: &Message, uid: Uid, save_date: i64, source: &'a Mailbox) -> Entry<'a> {
    Entry {
        uid,
        flags: message.flags,
        size: message.size,
        internal_date: message.internal_date,
        save_date,
        sent_day: message.sent_day,
        email: message.email,
        thread: message.thread,
        has_no_nul: message.has_no_nul,
        blob: message.blob,
        meta: message.meta,
        meta_len: message.meta_len,
        keywords: message.keywords.iter().filter_map(|index| source.keywords.name(index)).collect(),
    }
}

impl Selected {
    /// COPY (RFC 9051 §6.4.7). Messages that are expunged meanwhile are left out. The copies are on stable storage after
    /// [`User::settle`].
    ///
    /// # Errors
    /// [`Refusal::NonExistent`] for the target, [`Refusal::TooManyMessages`], [`Refusal::TooManyKeywords`],
    /// [`Refusal::UidsExhausted`].
    pub fn copy(&mut self, uids: &UidSet, target: &str) -> Result<Copied> {
        self.transfer(uids, target, false)
    }

    /// MOVE (RFC 9051 §6.4.8): copies and expunges in one step.
    ///
    /// # Errors
    /// As `copy`, and [`Refusal::ReadOnly`].
    pub fn move_to(&mut self, uids: &UidSet, target: &str) -> Result<Copied> {
        self.check_writable()?;
        self.transfer(uids, target, true)
    }

    fn transfer(&mut self, uids: &UidSet, target: &str, moves: bool) -> Result<Copied> {
        let name = canonical_inbox(target);
        let source = self.id();
        let user = self.user().clone();
        let written = user.transact(|state, txn| record_transfer(state, source, &name, uids, moves, txn))?;
        let Some((arrival, taken, source_modseq)) = &written.value else {
            return Ok(Copied { uid_validity: 0, source: UidSet::new(), target: UidSet::new() });
        };
        user.changed(arrival.mailbox, arrival.modseq);
        if moves {
            user.changed(source, *source_modseq);
        }
        let kept = || Kept::Arrived(arrival.appended.uids.clone());
        user.tell_settled(written.ends_at(), arrival.mailbox, arrival.modseq, kept);
        if moves {
            user.tell_settled(written.ends_at(), source, *source_modseq, || Kept::Expunged(taken.clone()));
        }
        let Appended { uid_validity, uids } = arrival.appended.clone();
        Ok(Copied { uid_validity, source: taken.clone(), target: uids })
    }
}

fn record_transfer(
    state: &State,
    source: MailboxId,
    target: &str,
    uids: &UidSet,
    moves: bool,
    txn: &mut Transaction,
) -> Result<Option<(Arrival, UidSet, ModSeq)>> {
    let source = state.mailboxes.get(&source).ok_or(Refusal::NonExistent)?;
    let target = state.by_name(target).ok_or(Refusal::NonExistent)?;
    let taken = source.live.intersection(uids);
    if taken.is_empty() {
        return Ok(None);
    }
    if taken.len() > MAX_TRANSFER {
        return Err(Refusal::TooManyMessages.into());
    }
    let messages: Vec<&Message> = source.messages_among(&taken).collect();
    let used = messages.iter().flat_map(|message| message.keywords.iter());
    check_keywords(target, used.filter_map(|index| source.keywords.name(index)))?;
    target.room_for(messages.len())?;
    let (uids, modseq) = record_copies(&messages, source, target, txn);
    // The two records of a MOVE within one mailbox follow each other.
    let source_modseq = if source.id == target.id { ModSeq(modseq.0 + 1) } else { source.next_modseq() };
    if moves {
        let expunge = Expunge { mailbox: source.id, modseq: source_modseq, uids: taken.clone(), when: 0 };
        txn.record(Kind::Expunge, |out| expunge.put(out));
    }
    let appended = Appended { uid_validity: target.uid_validity, uids };
    Ok(Some((Arrival { mailbox: target.id, modseq, appended, recent_from: None }, taken, source_modseq)))
}

#[cfg(test)]
mod tests {
    use super::super::log::Log;
    use super::super::user::new_mailbox;
    use super::super::{Error, SpecialUses};
    use super::*;

    /// A state whose one mailbox has so many messages.
    fn crowded(count: u32) -> (State, MailboxId) {
        let mut state = State::new(Log::start_of(1));
        let mut txn = Transaction::new(state.position);
        let (id, uid_validity) = new_mailbox("INBOX", SpecialUses::NONE, 0, &mut txn);
        state.insert(Mailbox::new(id, "INBOX".into(), uid_validity, SpecialUses::NONE));
        let entry = |number| Entry {
            uid: Uid::new(number).unwrap(),
            flags: Default::default(),
            size: 1,
            internal_date: InternalDate { timestamp: 0, offset_minutes: 0 },
            save_date: 0,
            sent_day: None,
            email: 1,
            thread: 1,
            has_no_nul: true,
            blob: BlobRef::File(1),
            meta: state.position,
            meta_len: 0,
            keywords: SmallVec::new(),
        };
        let mut payload = Vec::new();
        Append::put_head(id, ModSeq(2), count, false, &mut payload);
        (1..=count).for_each(|number| entry(number).put(&mut payload));
        state.apply(Kind::Append, &payload).unwrap();
        (state, id)
    }

    #[test]
    fn a_copy_takes_as_many_messages_as_a_loss_of_power_may_take_uids() {
        let (state, id) = crowded(MAX_TRANSFER + 1);
        let copy = |last: u32| {
            let uids = UidSet::from_ranges([(Uid::MIN, Uid::new(last).unwrap())]);
            let mut txn = Transaction::new(state.position);
            record_transfer(&state, id, "INBOX", &uids, false, &mut txn).map(|copied| copied.is_some())
        };
        assert!(matches!(copy(MAX_TRANSFER), Ok(true)));
        assert!(matches!(copy(MAX_TRANSFER + 1), Err(Error::Refused(Refusal::TooManyMessages))));
    }
}
