//! A user's store as one process sees it.
//!
//! Order of locks: the mutex of [`User`], then the lock on the log (between processes), then nothing. The mutex is
//! held for the time of a command's look into memory and of one `write`; a sync is waited for without it.

use std::borrow::Cow;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Message;
use super::checkpoint;
use super::content::Content;
use super::disk::check_dirs;
use super::durable::LogEnd;
use super::error::{Error, Result};
use super::files::LogFiles;
use super::group_sync::GroupSync;
use super::hot::Key;
use super::limits::MAX_UNSYNCED;
use super::log::{self, Log, PreparedSegment};
use super::message::LogPos;
use super::meta::Meta;
use super::names::{MailboxId, ModSeq, UserName};
use super::notes::Notes;
use super::path::{user_dir, user_mark};
use super::payload::MailboxCreate;
use super::record::{Kind, Transaction};
use super::replay::{Tail, apply_own, catch_up, settle};
use super::snapshot;
use super::state::State;
use super::store::Shared;
use super::telling::Untold;
use super::tree::SpecialUses;
use super::upload::{Arriving, Upload, random};
use super::wire::PutFields;

/// A handle that all sessions of a user in this process share.
pub struct User {
    name: UserName,
    pub(super) dir: Arc<Path>,
    pub(super) shared: Arc<Shared>,
    inner: Mutex<Inner>,
    /// The file whose lock orders writers of all processes.
    pub(super) lock: Arc<File>,
    pub(super) sync: Arc<GroupSync>,
    pub(super) untold: Untold,
    arriving: Arc<Arriving>,
    /// The housekeeper has been asked to look after it, and has not begun.
    pub(super) is_in_chores: AtomicBool,
    /// Tells this handle from others for the same user, before and after it.
    opened: u64,
}

pub(super) struct Inner {
    pub log: Log,
    pub state: State,
}

/// What a transaction gave, and what has to be synced for it.
#[derive(Debug)]
pub(super) struct Written<T> {
    pub value: T,
    pub end: Option<LogEnd>,
}

/// How often a user whose log makes room at this moment is read again.
const CHECKPOINT_LOOKS: usize = 4;

impl User {
    /// Opens the user's log, or makes it.
    pub(super) fn open(shared: Arc<Shared>, name: UserName) -> Result<User> {
        let dir = user_dir(&shared.options.root, &name);
        let mark = user_mark(&name);
        for part in ["log", "blob"] {
            check_dirs(&shared.options.root, &dir.join(part))?;
        }
        let disk = &shared.options.disk;
        let log = match Log::open(disk, &dir, mark)? {
            Some(log) => log,
            None => Log::create(disk, &dir, mark)?,
        };
        let inner = Inner::open(log, mark, &shared)?;
        // Nothing is known about what is on the disk but that the snapshot's part is: the first sync covers all.
        let sync = GroupSync::new(shared.options.disk.clone(), shared.listener.clone(), Log::start_of(1));
        let sync = Arc::new(sync);
        sync.note_written(inner.state.position);
        let lock = inner.log.lock_file();
        let notes = Notes::read(&lock);
        if let Some(from) = notes.suspect {
            // A note of another epoch may be of a time when the log was longer.
            sync.suspect(if notes.epoch == shared.epoch { from } else { Log::start_of(1) });
        }
        let opened = shared.opened.fetch_add(1, Ordering::Relaxed);
        let arriving = Arriving::within(&shared.arriving);
        let (dir, inner, untold) = (dir.into(), Mutex::new(inner), Untold::default());
        let is_in_chores = AtomicBool::new(false);
        let user = User { name, dir, shared, inner, lock, sync, untold, arriving, is_in_chores, opened };
        user.found(notes)?;
        Ok(user)
    }

    /// Begins the epoch that the store is in, and makes an INBOX where there is none. The first that opens the user in
    /// an epoch syncs what it found: whoever wrote that may have died before its own sync.
    fn found(&self, notes: Notes) -> Result<()> {
        let epoch = self.shared.epoch;
        let is_new = |state: &State| state.epoch < epoch || state.by_name("INBOX").is_none();
        if notes.epoch == epoch && !is_new(&self.known()?.state) {
            return Ok(());
        }
        let written = self.transact(|state, txn| {
            if state.epoch < epoch {
                txn.record(Kind::Epoch, |out| out.put_u64(epoch));
            }
            if state.by_name("INBOX").is_none() {
                new_mailbox("INBOX", SpecialUses::NONE, state.last_uid_validity, txn);
            }
            Ok(())
        })?;
        if notes.epoch == epoch {
            return self.wait_durable(&written);
        }
        self.known()?.log.sync_dirs()?;
        self.sync_all()?;
        self.leave(Notes { epoch, suspect: None });
        Ok(())
    }

    pub(super) fn leave(&self, notes: Notes) {
        notes.leave(&*self.shared.options.disk, &self.lock, &self.dir);
    }

    pub fn name(&self) -> &UserName {
        &self.name
    }

    /// Where all of the user's files are.
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// Seconds since 1970, as the store's clock has them.
    pub(super) fn now(&self) -> i64 {
        (self.shared.options.clock)()
    }

    pub(super) fn mark(&self) -> u128 {
        user_mark(&self.name)
    }

    /// Room for a message that arrives. Beyond a few megabytes of messages in flight, uploads go to disk at once.
    pub fn upload(&self) -> Upload {
        let (disk, max_message) = (self.shared.options.disk.clone(), self.shared.tuning.load().max_message);
        Upload::new(disk, self.dir.clone(), max_message, self.arriving.clone())
    }

    /// The state as it was last seen; no look at the disk.
    pub(super) fn known(&self) -> Result<MutexGuard<'_, Inner>> {
        self.inner.lock().or_else(|poisoned| {
            // A thread died while it changed the state: only the log can be trusted.
            let mut inner = poisoned.into_inner();
            inner.reload(self.mark(), &self.shared)?;
            self.inner.clear_poison();
            Ok(inner)
        })
    }

    /// The state with what other processes have written.
    pub(super) fn fresh(&self) -> Result<MutexGuard<'_, Inner>> {
        let mut inner = self.known()?;
        let Inner { log, state, .. } = &mut *inner;
        let before = state.position;
        match catch_up(log, state, false) {
            Ok(Tail::Clean) => {}
            Ok(Tail::Torn(_)) if !is_mended(log, state) => {}
            Ok(Tail::Torn(_)) => inner.reload(self.mark(), &self.shared)?,
            Err(error) => self.overtake(&mut inner, error)?,
        }
        if inner.state.position != before {
            self.sync.note_written(inner.state.position);
        }
        Ok(inner)
    }

    /// What this process would have to read next is gone, since it has not looked for so long, or was damaged and has
    /// been mended: it goes on behind the checkpoint that stands for it.
    fn overtake(&self, inner: &mut Inner, error: Error) -> Result<()> {
        if error.is_missing() || is_mended(&inner.log, &inner.state) {
            inner.reload(self.mark(), &self.shared)
        } else {
            Err(error)
        }
    }

    /// Appends what `build` records, all or nothing. `build` sees the state up to date and nobody else can write
    /// meanwhile.
    pub(super) fn transact<T>(
        &self,
        build: impl FnOnce(&mut State, &mut Transaction) -> Result<T>,
    ) -> Result<Written<T>> {
        loop {
            let mut inner = self.known()?;
            let held = log::lock(&self.lock)?;
            let Inner { log, state, .. } = &mut *inner;
            if let Err(error) = settle(log, state, self.shared.epoch, false) {
                drop(held);
                self.overtake(&mut inner, error)?;
                continue;
            }
            if self.sync.lag(state.position) <= MAX_UNSYNCED {
                return self.commit(&mut inner, build);
            }
            drop(held);
            drop(inner);
            self.sync_all()?;
        }
    }

    /// Writes one transaction at the end of the log, with its lock held.
    fn commit<T>(
        &self,
        inner: &mut Inner,
        build: impl FnOnce(&mut State, &mut Transaction) -> Result<T>,
    ) -> Result<Written<T>> {
        let Inner { log, state } = inner;
        if state.position.offset > self.shared.options.segment_size {
            self.roll(log, state)?;
        }
        self.sync_sealed(log, state.position)?;
        let mut txn = Transaction::new(state.position);
        let value = build(state, &mut txn)?;
        if txn.is_empty() {
            return Ok(Written { value, end: None });
        }
        let end = self.write(&txn, log, state)?;
        Ok(Written { value, end: Some(LogEnd { file: log.active().clone(), at: end }) })
    }

    fn write(&self, txn: &Transaction, log: &mut Log, state: &mut State) -> Result<LogPos> {
        append(txn, log)?;
        apply_own(txn, log, state)?;
        self.sync.note_written(state.position);
        Ok(state.position)
    }

    /// Seals the active segment and goes on in the next.
    fn roll(&self, log: &mut Log, state: &mut State) -> Result<()> {
        let next = log.make_next()?;
        self.go_on_in(next, log, state)
    }

    /// Seals the active segment with one that names the next, which is on stable storage.
    fn go_on_in(&self, next: u32, log: &mut Log, state: &mut State) -> Result<()> {
        let mut txn = Transaction::new(state.position);
        txn.record(Kind::Seal, |out| out.put_u32(next));
        append(&txn, log)?;
        // The reserve is of no use any more. One that stays does no harm.
        let _ = log.cut(txn.end());
        catch_up(log, state, false)?;
        self.sync.note_written(state.position);
        Ok(())
    }

    /// Begins a segment, unless the active one has no record yet. Returns its number, all before it being on stable
    /// storage, and for how long nobody else could use the log.
    pub(super) fn begin_segment(&self) -> Result<(u32, Duration)> {
        // What is synced now need not be synced while others wait.
        drop(self.fresh()?);
        self.sync_all()?;
        let (active, held) = self.seal()?;
        self.sync_all()?;
        Ok((active, held))
    }

    fn seal(&self) -> Result<(u32, Duration)> {
        let position = self.fresh()?.state.position;
        let prepared = if position == Log::start_of(position.segment) {
            None
        } else {
            let disk = &*self.shared.options.disk;
            PreparedSegment::make(disk, &self.dir, position.segment + 1, self.mark())?
        };
        // Again, so that next to nothing is left to read with the lock held.
        drop(self.fresh()?);
        let mut inner = self.known()?;
        let _held = log::lock(&self.lock)?;
        let began = Instant::now();
        let Inner { log, state, .. } = &mut *inner;
        settle(log, state, self.shared.epoch, false)?;
        let is_begun = state.position != Log::start_of(state.position.segment);
        match prepared.filter(|made| made.segment == state.position.segment + 1 && made.is_in_place()) {
            Some(made) => self.go_on_in(made.segment, log, state)?,
            None if is_begun => self.roll(log, state)?,
            None => {}
        }
        Ok((state.position.segment, began.elapsed()))
    }

    /// Writes a snapshot when enough has happened since the last one.
    pub(super) fn save_snapshot(&self) -> Result<()> {
        let (end, bytes) = {
            let mut inner = self.known()?;
            if !snapshot::is_due(&inner.state) {
                return Ok(());
            }
            let bytes = snapshot::encode(&inner.state, self.mark());
            inner.state.note_snapshot(bytes.len() as u64);
            (inner.end(), bytes)
        };
        self.sync_to(&end, None)?;
        snapshot::save(&*self.shared.options.disk, &self.dir, &bytes)
    }

    pub(super) fn is_snapshot_due(inner: &Inner) -> bool {
        snapshot::is_due(&inner.state)
    }

    /// Tells the listener, and the housekeeper when the log has grown.
    pub(super) fn changed(self: &Arc<Self>, mailbox: MailboxId, modseq: ModSeq) {
        self.shared.listener.changed(&self.name, mailbox, modseq);
        if self.known().is_ok_and(|inner| Self::is_snapshot_due(&inner)) {
            self.shared.defer_sync(self);
        }
    }

    /// Tells this opening of the user from every other one in this process.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    fn hot_key(&self, message: &Message) -> Key {
        Key { opened: self.opened, place: message.meta }
    }

    /// [`meta`](Self::meta) of these will be asked for soon.
    pub(super) fn expect_metas(&self, messages: &[Message]) {
        messages.iter().for_each(|message| self.shared.hot.expect(self.hot_key(message)));
    }

    /// What was computed about a message at APPEND.
    pub(super) fn meta(&self, message: &Message) -> Result<Arc<Meta>> {
        let key = self.hot_key(message);
        if let Some(meta) = self.shared.hot.find(key) {
            return Ok(meta);
        }
        let meta = Arc::new(self.read_meta(message)?);
        self.shared.hot.keep(key, &meta);
        Ok(meta)
    }

    fn read_meta(&self, message: &Message) -> Result<Meta> {
        let mut bytes = Vec::new();
        let at = message.meta;
        let reader = self.known()?.log.reader(at)?;
        reader.read(0, message.meta_len as usize, &mut bytes)?;
        let damaged = || self.known().map(|inner| inner.log.damaged(at, "a Meta record does not add up"));
        Meta::decode(bytes).map_or_else(|| Err(damaged()?), Ok)
    }

    /// The header of a message whose Meta is `meta`.
    pub(super) fn header<'m>(&self, message: &Message, meta: &'m Meta) -> Result<Cow<'m, [u8]>> {
        meta.header(|range, out| self.read(message, range, out))
    }

    /// Appends `range` of a message, cut to its size, to `out`.
    pub(super) fn read(
        &self,
        message: &Message,
        range: std::ops::Range<u64>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        Content::open(self, message)?.read(range, out)
    }

    /// Lets go of files that making room has removed, since their space comes back only then.
    pub(super) fn close_removed(&self) -> Result<()> {
        let inner = self.known()?;
        inner.log.close_removed();
        if inner.log.is_left_behind() {
            drop(inner);
            drop(self.fresh()?);
        }
        Ok(())
    }

    /// Whether no session uses this handle but the cache.
    pub(super) fn is_idle(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1
    }
}

impl Inner {
    /// How far the log is known.
    pub fn end(&self) -> LogEnd {
        LogEnd { file: self.log.active().clone(), at: self.state.position }
    }

    fn open(log: Log, mark: u128, shared: &Shared) -> Result<Inner> {
        let mut inner = Inner { log, state: State::new(Log::start_of(1)) };
        inner.reload(mark, shared)?;
        Ok(inner)
    }

    /// Builds the state from the snapshot and the log behind it, and mends the end of the log. Views stay.
    fn reload(&mut self, mark: u128, shared: &Shared) -> Result<()> {
        let views = self.state.take_views();
        let done = self.read_anew(mark, shared);
        self.state.put_views(views);
        done
    }

    fn read_anew(&mut self, mark: u128, shared: &Shared) -> Result<()> {
        let dir = self.log.dir().to_owned();
        if let Some(state) = snapshot::load(&dir, mark) {
            match self.replay_from(state, shared) {
                // The log that it would need has made room; the checkpoint is newer.
                Err(error) if error.is_missing() => {}
                done => return done,
            }
        }
        // A checkpoint may be followed by the next one, and the log between them go, while it is read.
        for _ in 1..CHECKPOINT_LOOKS {
            match self.replay_from_checkpoint(&dir, mark, shared) {
                Err(error) if error.is_missing() => {}
                done => return done,
            }
        }
        self.replay_from_checkpoint(&dir, mark, shared)
    }

    fn replay_from_checkpoint(&mut self, dir: &Path, mark: u128, shared: &Shared) -> Result<()> {
        let state = checkpoint::newest(dir, mark, None)?.unwrap_or_else(|| State::new(Log::start_of(1)));
        self.replay_from(state, shared)
    }

    fn replay_from(&mut self, state: State, shared: &Shared) -> Result<()> {
        self.log.advance(state.position.segment)?;
        self.state = state;
        let lock_file = self.log.lock_file();
        let _held = log::lock(&lock_file)?;
        settle(&mut self.log, &mut self.state, shared.epoch, true)
    }
}

/// Whether the log cannot be read on, and need not be, since a checkpoint stands behind it.
fn is_mended(log: &Log, state: &State) -> bool {
    let newest = LogFiles::list(log.dir()).ok().and_then(|files| files.checkpoints.last().copied());
    newest.is_some_and(|newest| newest > state.position.segment)
}

fn append(txn: &Transaction, log: &mut Log) -> Result<()> {
    let written = log.append(txn.start(), txn.bytes());
    if written.is_err() {
        // What cannot be cut off now is cut off before the next transaction.
        let _ = log.cut(txn.start());
    }
    written
}

/// Records a new mailbox with an identity and a UIDVALIDITY that the user never had.
pub(super) fn new_mailbox(
    name: &str,
    uses: SpecialUses,
    last_uid_validity: u32,
    txn: &mut Transaction,
) -> (MailboxId, u32) {
    let mailbox = MailboxId(u128::from(random()) << 64 | u128::from(random()));
    let uid_validity = (unix_now() as u32).max(last_uid_validity.saturating_add(1));
    let create = MailboxCreate { mailbox, uid_validity, uses: uses.bits(), name };
    txn.record(Kind::MailboxCreate, |out| create.put(out));
    (mailbox, uid_validity)
}

/// Seconds since 1970-01-01 UTC.
pub(super) fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}
