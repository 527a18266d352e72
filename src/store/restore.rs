//! Undoing an expunge: messages that were expunged, or whose mailbox was deleted, come back within the grace time.
//!
//! A UID never comes back (RFC 9051 §2.3.1.1), so they get new ones.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::archive::{Archive, Gone};
use super::change::What;
use super::error::{Refusal, Result};
use super::flags::{Flags, KeywordTable};
use super::limits::RESTORE_BATCH;
use super::mailbox::Mailbox;
use super::message::BlobRef;
use super::names::{MailboxId, ModSeq, Uid};
use super::payload::Entry;
use super::record::Transaction;
use super::state::State;
use super::transfer::{check_keywords, next_uids, record_entries};
use super::tree::{SpecialUses, canonical_inbox};
use super::uid_set::UidSet;
use super::upkeep::{Reading, Upkeep};
use super::user::{User, new_mailbox, unix_now};

/// Messages that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The mailbox's name.
    pub mailbox: String,
    /// Whether it had been deleted.
    pub made: bool,
    pub messages: u32,
}

/// What can come back to one name.
#[derive(Default)]
struct Lost<'a> {
    gone: Vec<&'a Gone>,
    uses: SpecialUses,
}

impl User {
    /// Brings back what was expunged from `mailbox`, or from all mailboxes, less than `grace` ago, and mailboxes that
    /// were deleted. Messages get new UIDs and keep their dates, identities and flags, but for `\Deleted`. Those that
    /// were moved away did not go, and those of which the mailbox has a copy are not missed. Answers when they are on
    /// stable storage.
    ///
    /// # Errors
    /// [`Refusal::NonExistent`] when there is no such mailbox, and was none. [`Refusal::TooManyKeywords`],
    /// [`Refusal::UidsExhausted`]; the disk's errors.
    pub fn restore(self: &Arc<Self>, mailbox: Option<&str>, grace: Duration) -> Result<Vec<Restored>> {
        let upkeep = Upkeep::begin(self)?;
        let horizon = self.now().saturating_sub(i64::try_from(grace.as_secs()).unwrap_or(i64::MAX));
        let reading = Reading::begin(self, horizon, &upkeep)?;
        let Some(archive) = reading.archive() else { return Ok(Vec::new()) };
        let mut names = by_name(archive, &reading.state);
        if let Some(name) = mailbox.map(canonical_inbox) {
            names.retain(|known, _| *known == name);
            if names.is_empty() && reading.state.by_name(&name).is_none() {
                return Err(Refusal::NonExistent.into());
            }
        }
        let tables = keyword_tables(archive, &reading.state);
        let mut restored = Vec::new();
        for (name, lost) in names {
            restored.push(self.restore_mailbox(name, lost, &tables)?);
        }
        restored.retain(|restored| restored.made || restored.messages > 0);
        Ok(restored)
    }

    fn restore_mailbox(
        self: &Arc<Self>,
        name: &str,
        mut lost: Lost<'_>,
        tables: &Tables,
    ) -> Result<Restored> {
        lost.gone.retain(|gone| self.has_body(gone));
        // A message that went twice comes back once, as it was last.
        lost.gone.sort_unstable_by_key(|gone| (gone.message.email, std::cmp::Reverse(gone.when)));
        lost.gone.dedup_by_key(|gone| gone.message.email);
        lost.gone.sort_unstable_by_key(|gone| gone.message.uid);
        // Also without messages, the mailbox comes back.
        let (first, others) = lost.gone.split_at(lost.gone.len().min(RESTORE_BATCH));
        let (made, mut messages) = self.restore_batch(name, lost.uses, first, tables)?;
        for batch in others.chunks(RESTORE_BATCH) {
            messages += self.restore_batch(name, lost.uses, batch, tables)?.1;
        }
        Ok(Restored { mailbox: name.to_owned(), made, messages })
    }

    /// Whether the mailbox had to be made, and how many messages came back.
    fn restore_batch(
        self: &Arc<Self>,
        name: &str,
        uses: SpecialUses,
        batch: &[&Gone],
        tables: &Tables,
    ) -> Result<(bool, u32)> {
        let written = self.transact(|state, txn| {
            let Some(mailbox) = state.by_name(name) else {
                let (id, uid_validity) = new_mailbox(name, uses, state.last_uid_validity, txn);
                let mailbox = Mailbox::new(id, name.to_owned(), uid_validity, uses);
                return Ok((true, record_restored(&mailbox, batch, tables, txn)?));
            };
            Ok((false, record_restored(mailbox, batch, tables, txn)?))
        })?;
        let (made, Back { mailbox, modseq, uids }) = &written.value;
        self.changed(*mailbox, *modseq);
        self.wait_durable(&written)?;
        if *made {
            self.tell(*mailbox, None, What::Created);
        }
        if !uids.is_empty() {
            self.tell(*mailbox, Some(*modseq), What::Arrived(uids));
        }
        Ok((*made, uids.len()))
    }

    /// Whether all of a message is still there: the grace time may have been shorter before.
    fn has_body(&self, gone: &Gone) -> bool {
        let has_record = |place| self.known().is_ok_and(|inner| inner.log.reader(place).is_ok());
        has_record(gone.message.meta)
            && match gone.message.blob {
                BlobRef::Inline(place) => has_record(place),
                BlobRef::File(number) => super::compact::has_blob(self, number),
            }
    }
}

fn by_name<'a>(archive: &'a Archive, state: &'a State) -> BTreeMap<&'a str, Lost<'a>> {
    let mut names: BTreeMap<&str, Lost<'_>> = BTreeMap::new();
    for lost in archive.lost.values() {
        names.entry(&lost.mailbox.name).or_default().uses = lost.mailbox.uses;
    }
    for gone in &archive.gone {
        let lost = archive.lost.get(&gone.mailbox).map(|lost| &lost.mailbox);
        if let Some(mailbox) = state.mailboxes.get(&gone.mailbox).or(lost) {
            names.entry(&mailbox.name).or_default().gone.push(gone);
        }
    }
    names
}

/// The keywords of each mailbox that messages come from.
type Tables = HashMap<MailboxId, Arc<KeywordTable>>;

fn keyword_tables(archive: &Archive, state: &State) -> Tables {
    let lost = archive.lost.values().map(|lost| &lost.mailbox);
    let of = |mailbox: &Mailbox| (mailbox.id, mailbox.keywords.clone());
    state.mailboxes.values().chain(lost).map(of).collect()
}

/// What came back, and where.
struct Back {
    mailbox: MailboxId,
    modseq: ModSeq,
    uids: UidSet,
}

fn record_restored(
    mailbox: &Mailbox,
    batch: &[&Gone],
    tables: &Tables,
    txn: &mut Transaction,
) -> Result<Back> {
    let present: HashSet<u64> = mailbox.live_messages().map(|message| message.email).collect();
    let missed: Vec<&&Gone> = batch.iter().filter(|gone| !present.contains(&gone.message.email)).collect();
    let uids = next_uids(mailbox, missed.len())?;
    let entries: Vec<Entry<'_>> =
        missed.iter().zip(uids.iter()).map(|(gone, uid)| entry_of(gone, uid, tables)).collect();
    check_keywords(mailbox, entries.iter().flat_map(|entry| entry.keywords.iter().copied()))?;
    let nothing = entries.is_empty();
    let modseq = if nothing { mailbox.highest_modseq } else { record_entries(mailbox, &entries, false, txn) };
    Ok(Back { mailbox: mailbox.id, modseq, uids })
}

fn entry_of<'a>(gone: &Gone, uid: Uid, tables: &'a Tables) -> Entry<'a> {
    let mut entry = gone.message.entry();
    entry.uid = uid;
    entry.flags = gone.message.flags & !Flags::DELETED;
    entry.save_date = unix_now();
    if let Some(table) = tables.get(&gone.mailbox) {
        entry.keywords = gone.message.keywords.iter().filter_map(|index| table.name(index)).collect();
    }
    entry
}
