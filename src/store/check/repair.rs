//! Mending a user's store.
//!
//! Nothing is changed in place. What is whole goes into a checkpoint in front of a new segment, so that nobody reads the
//! damaged ones again but for the messages in them. The segment that was active gets a Seal that names a segment which
//! does not exist: whoever has the user open comes to that, and begins anew behind the checkpoint.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::change::INBOX;
use super::super::checkpoint;
use super::super::disk::{Disk, Local, Open, open_for_reading};
use super::super::error::{Error, Result};
use super::super::files::segment_path;
use super::super::flags::Flags;
use super::super::limits::{EPOCH_MODSEQ_JUMP, EPOCH_UID_JUMP, EPOCH_UID_VALIDITY_JUMP};
use super::super::log::{self, Log, blob_path, sync_dir, write_durably};
use super::super::message::{BlobRef, InternalDate, LogPos, Message};
use super::super::meta::Meta;
use super::super::names::{MailboxId, ModSeq, Uid};
use super::super::payload::{Append, Entry, Expunge, Floor};
use super::super::record::{Kind, Transaction, segment_header};
use super::super::snapshot;
use super::super::state::State;
use super::super::uid_set::UidSet;
use super::super::upkeep::Upkeep;
use super::super::upload::new_number;
use super::super::user::unix_now;
use super::super::wire::PutFields;
use super::references::{Places, References};
use super::scan::{Orphan, Region, Scan};
use super::{Checked, NEWER};
use crate::message::{Analysis, analyze};
use crate::sys;

/// Mends what `look` finds when nobody else can write.
pub(super) fn run(
    dir: &Path,
    mark: u128,
    look: impl FnOnce() -> Result<(Scan, References)>,
) -> Result<Checked> {
    let disk: Arc<dyn Disk> = Arc::new(Local);
    let _upkeep = Upkeep::begin_in(&*disk, dir)?;
    let path = dir.join("lock");
    let lock = disk.open(&path, Open::Shared).map_err(Error::io("cannot open", path))?;
    let _held = log::lock(&lock)?;
    let (scan, references) = look()?;
    if scan.is_newer {
        return Err(Error::Damaged { path: dir.join("log"), offset: 0, problem: NEWER });
    }
    Repair { disk: &*disk, dir, mark, scan, references, done: Checked::default() }.run()
}

struct Repair<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    mark: u128,
    scan: Scan,
    references: References,
    done: Checked,
}

impl Repair<'_> {
    fn run(mut self) -> Result<Checked> {
        self.set_aside()?;
        self.tighten();
        self.scan.headers.clone().into_iter().try_for_each(|segment| self.rewrite_header(segment))?;
        let is_damaged = !self.scan.regions.is_empty() || !self.scan.broken.is_empty();
        let has_losses = !self.references.lost.is_empty() || !self.references.recompute.is_empty();
        if self.scan.has_gaps || is_damaged || has_losses {
            self.rebuild()?;
        } else if self.scan.is_snapshot_bad {
            self.renew_snapshot()?;
        }
        let mailboxes = self.scan.state.mailboxes.values();
        self.done.messages = mailboxes.map(|mailbox| u64::from(mailbox.live.len())).sum();
        self.done.findings = self.scan.findings;
        self.done.notes = self.references.notes;
        self.done.bytes = self.scan.bytes;
        Ok(self.done)
    }

    fn did(&mut self, what: String) {
        self.done.repairs.push(what);
    }

    /// Copies what is damaged to files of its own, and gives damaged files another name.
    fn set_aside(&mut self) -> Result<()> {
        for region in self.scan.regions.clone() {
            self.copy_region(region)?;
        }
        for segment in self.scan.headers.clone() {
            self.copy_region(Region { segment, from: 0, to: segment_header::LEN as u32 })?;
        }
        let files = self.scan.broken.iter().chain(&self.references.files).cloned();
        for file in files.collect::<Vec<_>>() {
            self.rename_damaged(&file)?;
        }
        Ok(())
    }

    fn copy_region(&mut self, region: Region) -> Result<()> {
        let from = segment_path(self.dir, region.segment);
        let name = format!("{:010}.damaged-{}", region.segment, region.from);
        let path = self.dir.join("log").join(name);
        let file = open_for_reading(&from).map_err(Error::io("cannot open", &from))?;
        let len = file.metadata().map_err(Error::io("cannot stat", &from))?.len();
        let mut bytes = vec![0; len.min(region.to.into()).saturating_sub(region.from.into()) as usize];
        file.read_exact_at(&mut bytes, region.from.into()).map_err(Error::io("cannot read", &from))?;
        write_durably(self.disk, &path, &bytes)?;
        self.did(format!("{}: what is damaged is kept in {}", from.display(), path.display()));
        Ok(())
    }

    fn rename_damaged(&mut self, file: &Path) -> Result<()> {
        let path = file.with_added_extension("damaged");
        match self.disk.rename(file, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(Error::io("cannot rename", file))?,
        }
        if let Some(parent) = file.parent() {
            sync_dir(self.disk, parent)?;
        }
        self.did(format!("{}: now {}", file.display(), path.display()));
        Ok(())
    }

    /// Takes away what others were allowed.
    fn tighten(&mut self) {
        for path in std::mem::take(&mut self.references.modes) {
            let mode = if path.is_dir() { 0o700 } else { 0o600 };
            match fs::set_permissions(&path, Permissions::from_mode(mode)) {
                Ok(()) => self.did(format!("{}: mode {mode:o}", path.display())),
                Err(error) => self.done.notes.push(format!("{}: {error}", path.display())),
            }
        }
    }

    /// The header of a segment says nothing but its number and its user: the messages in it are found by it.
    fn rewrite_header(&mut self, segment: u32) -> Result<()> {
        let path = segment_path(self.dir, segment);
        let file = self.disk.open(&path, Open::Existing).map_err(Error::io("cannot open", &path))?;
        let header = segment_header::encode(segment, self.mark, unix_now() as u64);
        let written = self.disk.write_at(&file, &header, 0).and_then(|()| self.disk.sync_data(&file));
        written.map_err(Error::io("cannot write", &path))?;
        self.did(format!("{}: has a header again", path.display()));
        Ok(())
    }

    fn renew_snapshot(&mut self) -> Result<()> {
        let active = segment_path(self.dir, self.scan.state.position.segment);
        let file = self.disk.open(&active, Open::Existing).map_err(Error::io("cannot open", &active))?;
        self.disk.sync_data(&file).map_err(Error::io("cannot sync", &active))?;
        snapshot::save(self.disk, self.dir, &snapshot::encode(&self.scan.state, self.mark))?;
        self.did(format!("{}: made anew from the log", self.dir.join("snapshot").display()));
        Ok(())
    }

    /// Goes on in a new segment, with a checkpoint of what is whole in front of it.
    fn rebuild(&mut self) -> Result<()> {
        let files = &self.scan.files;
        let highest =
            [files.segments.last(), files.checkpoints.last(), files.packs.iter().map(|p| &p.last).max()];
        let highest = highest.into_iter().flatten().copied().max().unwrap_or(0);
        let (gap, next) = (highest + 1, highest + 2);
        let mut segment = segment_header::encode(next, self.mark, unix_now() as u64);
        segment.put(&self.recomputed(next)?);
        self.drop_lost();
        if self.scan.has_gaps {
            jump(&mut self.scan.state);
            self.bring_back_orphans()?;
        }
        write_durably(self.disk, &segment_path(self.dir, next), &segment)?;
        if let Some(active) = self.scan.active {
            self.seal(active, gap)?;
        }
        self.scan.state.position = Log::start_of(next);
        checkpoint::save(self.disk, self.dir, &self.scan.state, self.mark, unix_now())?;
        snapshot::remove_before(self.disk, self.dir, next);
        if self.scan.is_snapshot_bad {
            self.disk.remove(&self.dir.join("snapshot")).map_err(Error::io("cannot remove", self.dir))?;
        }
        checkpoint::remove_before(self.disk, self.dir, next)?;
        self.did(format!("{}: the log goes on here", segment_path(self.dir, next).display()));
        Ok(())
    }

    /// Ends the segment that was active, behind all that is written in it. Whoever stands further on, where there was
    /// something once, finds no reserve to write into: what is left of the file is filled, and has a Seal behind it too.
    fn seal(&self, end: LogPos, gap: u32) -> Result<()> {
        let path = segment_path(self.dir, end.segment);
        let file = self.disk.open(&path, Open::Existing).map_err(Error::io("cannot open", &path))?;
        let len = file.metadata().map_err(Error::io("cannot stat", &path))?.len();
        let seal = |offset: u32| {
            let mut txn = Transaction::new(LogPos::new(end.segment, offset));
            txn.record(Kind::Seal, |out| out.put_u32(gap));
            txn.bytes().to_vec()
        };
        let at = end.offset.next_multiple_of(8);
        let mut bytes = seal(at);
        let filled = len.next_multiple_of(8).saturating_sub(at.into()).max(bytes.len() as u64);
        bytes.resize(filled as usize, u8::MAX);
        if let Ok(last) = u32::try_from(u64::from(at) + filled) {
            bytes.put(&seal(last));
        }
        let written = self.disk.write_at(&file, &bytes, at.into()).and_then(|()| self.disk.sync_all(&file));
        written.map_err(Error::io("cannot write", &path))
    }

    /// Takes the messages out whose bytes are lost.
    fn drop_lost(&mut self) {
        for (mailbox, uid) in std::mem::take(&mut self.references.lost) {
            let Some(found) = self.scan.state.mailboxes.get(&mailbox) else { continue };
            let name = format!("{}:{uid}", found.name);
            let expunge =
                Expunge { mailbox, modseq: found.next_modseq(), uids: UidSet::single(uid), when: 0 };
            let mut payload = Vec::new();
            expunge.put(&mut payload);
            if self.scan.state.apply(Kind::Expunge, &payload).is_ok() {
                self.done.lost.push(name);
            }
        }
    }

    /// Messages that no record tells of any more come back, with new UIDs and without flags.
    fn bring_back_orphans(&mut self) -> Result<()> {
        let mailboxes = self.scan.state.mailboxes.values();
        let known: HashSet<BlobRef> = mailboxes.flat_map(|m| m.live_messages().map(|m| m.blob)).collect();
        for orphan in std::mem::take(&mut self.scan.orphans) {
            let named = orphan.mailbox.and_then(|id| self.scan.state.mailboxes.get(&id));
            let Some(mailbox) = named.or_else(|| self.scan.state.by_name(INBOX)) else { continue };
            if known.contains(&BlobRef::Inline(orphan.blob)) {
                continue;
            }
            let Some(uid) = super::super::mailbox::uid(mailbox.uid_next) else { continue };
            let payload = self.append_of(&orphan, mailbox.id, uid, mailbox.next_modseq())?;
            let name = mailbox.name.clone();
            if self.scan.state.apply(Kind::Append, &payload).is_ok() {
                self.did(format!("a message that no record told of is {name}:{uid} now"));
            }
        }
        Ok(())
    }

    /// An Append record of a message of which only the bytes are known.
    fn append_of(&self, orphan: &Orphan, mailbox: MailboxId, uid: Uid, modseq: ModSeq) -> Result<Vec<u8>> {
        let mut places = Places::new(self.dir, self.mark, &self.scan);
        let bytes = places.read(orphan.blob, Kind::Blob, orphan.size);
        let damaged = |(path, offset, problem): (PathBuf, u64, _)| Error::Damaged { path, offset, problem };
        let bytes = bytes.map_err(damaged)?;
        let analysis = analyze(&bytes);
        let now = unix_now();
        let entry = Entry {
            uid,
            flags: Flags::NONE,
            size: orphan.size,
            internal_date: InternalDate { timestamp: now, offset_minutes: 0 },
            save_date: now,
            sent_day: analysis.sent.map(|sent| sent.day),
            email: new_number(),
            thread: analysis.thread,
            has_no_nul: memchr::memchr(0, &bytes).is_none(),
            blob: BlobRef::Inline(orphan.blob),
            meta: orphan.meta,
            meta_len: orphan.meta_len,
            keywords: Default::default(),
        };
        let mut payload = Vec::new();
        Append::put_head(mailbox, modseq, 1, false, &mut payload);
        entry.put(&mut payload);
        Ok(payload)
    }

    /// Meta records, as the beginning of the segment `next`, for messages that have lost theirs.
    fn recomputed(&mut self, next: u32) -> Result<Vec<u8>> {
        let mut txn = Transaction::new(Log::start_of(next));
        let mut moved: HashMap<LogPos, (LogPos, u32)> = HashMap::new();
        for (mailbox, uid) in std::mem::take(&mut self.references.recompute) {
            let Some(message) = find(&self.scan.state, mailbox, uid) else { continue };
            if moved.contains_key(&message.meta) {
                continue;
            }
            let analysis = self.analyzed(message)?;
            let mut len = 0;
            let place = txn.record(Kind::Meta, |out| len = Meta::put(&analysis, out));
            moved.insert(message.meta, (place, len));
        }
        for mailbox in self.scan.state.mailboxes.values_mut() {
            mailbox.amend(|message| {
                if let Some((place, len)) = moved.get(&message.meta) {
                    (message.meta, message.meta_len) = (*place, *len);
                }
            });
        }
        if !moved.is_empty() {
            self.did(format!("what is kept about messages was computed anew: {}", moved.len()));
        }
        Ok(txn.bytes().to_vec())
    }

    /// What is to be kept about a message whose bytes are whole.
    fn analyzed(&self, message: &Message) -> Result<Analysis> {
        match message.blob {
            BlobRef::File(number) => {
                let path = blob_path(self.dir, number);
                let map = open_for_reading(&path).and_then(|file: File| sys::map(&file));
                Ok(analyze(&map.map_err(Error::io("cannot read", path))?))
            }
            BlobRef::Inline(place) => {
                let mut places = Places::new(self.dir, self.mark, &self.scan);
                let bytes = places.read(place, Kind::Blob, message.size);
                let damaged =
                    |(path, offset, problem): (PathBuf, u64, _)| Error::Damaged { path, offset, problem };
                Ok(analyze(&bytes.map_err(damaged)?))
            }
        }
    }
}

fn find(state: &State, mailbox: MailboxId, uid: Uid) -> Option<&Message> {
    state.mailboxes.get(&mailbox)?.messages_between(uid, uid).next()
}

/// Clients may have seen what is lost: none of its numbers comes again.
fn jump(state: &mut State) {
    state.last_uid_validity = state.last_uid_validity.saturating_add(EPOCH_UID_VALIDITY_JUMP);
    for mailbox in state.mailboxes.values_mut() {
        mailbox.raise(&Floor {
            mailbox: mailbox.id,
            uid_next: mailbox.uid_next + u64::from(EPOCH_UID_JUMP),
            modseq: ModSeq(mailbox.highest_modseq.0 + EPOCH_MODSEQ_JUMP),
        });
    }
}
