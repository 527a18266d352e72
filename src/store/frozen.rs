//! A user's store as it was at one instant, read while others write: what a backup is made of.
//!
//! No lock is taken. The instant is a place in the log; all before it is on stable storage, so that the store never
//! falls behind what was read here.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint;
use super::disk::{Disk, Local, check_dirs, open_for_reading};
use super::epoch;
use super::error::{Error, Result};
use super::log::{Log, blob_path};
use super::message::{BlobRef, LogPos, Message};
use super::names::{MailboxId, UserName};
use super::path::{user_dir, user_mark};
use super::record::{Header, Kind};
use super::replay::{Tail, catch_up, is_damaged};
use super::snapshot;
use super::state::State;

/// How often the end of the log is read again while somebody writes there.
const LOOKS: usize = 10;

/// A user's store as of one instant.
pub(super) struct Frozen {
    root: PathBuf,
    name: UserName,
    dir: PathBuf,
    log: Log,
    pub state: State,
}

/// The bytes of a message.
pub(super) enum Body {
    Memory(Vec<u8>),
    /// In a file of so many bytes.
    File(File, u64),
    /// Expunged since, and its bytes are gone.
    Gone,
}

impl Frozen {
    /// Reads the user's log up to its end; `None` when there is no such user.
    ///
    /// # Errors
    /// When the files cannot be read, or are damaged.
    pub fn open(root: &Path, name: &UserName) -> Result<Option<Frozen>> {
        let (dir, mark) = (user_dir(root, name), user_mark(name));
        for part in ["log", "blob"] {
            check_dirs(root, &dir.join(part))?;
        }
        let disk: Arc<dyn Disk> = Arc::new(Local);
        let Some(log) = Log::open(&disk, &dir, mark)? else { return Ok(None) };
        let (log, state) = read_from_best(root, log, mark)?;
        log.active().sync_data().map_err(Error::io("cannot sync the log of", &dir))?;
        Ok(Some(Frozen { root: root.to_owned(), name: name.clone(), dir, log, state }))
    }

    pub fn name(&self) -> &UserName {
        &self.name
    }

    /// The bytes of a message of this instant, verified as far as the store knows their checksum.
    ///
    /// # Errors
    /// When they cannot be read, or are damaged.
    pub fn body(&self, mailbox: MailboxId, message: &Message) -> Result<Body> {
        match self.read(message) {
            Err(error) if error.is_missing() => self.read_later(mailbox, message),
            read => read,
        }
    }

    fn read(&self, message: &Message) -> Result<Body> {
        match message.blob {
            BlobRef::Inline(place) => self.inline(place, message.size).map(Body::Memory),
            BlobRef::File(number) => self.file(number, message.size),
        }
    }

    fn inline(&self, place: LogPos, size: u32) -> Result<Vec<u8>> {
        let reader = self.log.reader(place)?;
        let damaged = |problem| self.log.damaged(place, problem);
        let header = Header::decode(&reader.header()?, place.offset)
            .ok()
            .filter(|header| header.kind == Kind::Blob && header.len == size)
            .ok_or_else(|| damaged("not the message that it has to be"))?;
        let mut bytes = Vec::new();
        reader.read(0, size as usize, &mut bytes)?;
        if header.matches(&bytes) { Ok(bytes) } else { Err(damaged("a message has a wrong checksum")) }
    }

    fn file(&self, number: u64, size: u32) -> Result<Body> {
        let path = blob_path(&self.dir, number);
        let file = open_for_reading(&path).map_err(Error::io("cannot open", &path))?;
        let len = file.metadata().map_err(Error::io("cannot stat", &path))?.len();
        if len == u64::from(size) {
            return Ok(Body::File(file, len));
        }
        Err(Error::Damaged {
            path,
            offset: len.min(size.into()),
            problem: "file has not the message's length",
        })
    }

    /// The message may have been expunged meanwhile: the log says so by now.
    fn read_later(&self, mailbox: MailboxId, message: &Message) -> Result<Body> {
        let later = Frozen::open(&self.root, &self.name)?;
        let found = later.as_ref().and_then(|later| later.state.mailboxes.get(&mailbox));
        let found = found.and_then(|mailbox| mailbox.messages_between(message.uid, message.uid).next());
        if found.is_some_and(|found| found.expunged.is_none()) { self.read(message) } else { Ok(Body::Gone) }
    }
}

/// Reads from the snapshot on, or, where the log has made room since, from the newest checkpoint on.
fn read_from_best(root: &Path, log: Log, mark: u128) -> Result<(Log, State)> {
    let dir = log.dir().to_owned();
    let mut log = log;
    if let Some(state) = snapshot::load(&dir, mark) {
        match read_from(root, &mut log, state) {
            Err(error) if error.is_missing() => {}
            read => return Ok((log, read?)),
        }
    }
    let mut looks = 1;
    loop {
        let newest = checkpoint::newest(&dir, mark, None)?;
        let state = newest.unwrap_or_else(|| State::new(Log::start_of(1)));
        match read_from(root, &mut log, state) {
            // The next checkpoint has come meanwhile.
            Err(error) if error.is_missing() && looks < LOOKS => looks += 1,
            read => return Ok((log, read?)),
        }
    }
}

fn read_from(root: &Path, log: &mut Log, mut state: State) -> Result<State> {
    log.advance(state.position.segment)?;
    read_to_end(root, log, &mut state)?;
    Ok(state)
}

/// Applies whole transactions up to the end of the log. What looks like damage may be the work of somebody who cuts off
/// what a dead writer has left, and writes there: only what stays is damage.
fn read_to_end(root: &Path, log: &mut Log, state: &mut State) -> Result<()> {
    let mut looks = 1;
    loop {
        let Tail::Torn(tear) = catch_up(log, state, false)? else { return Ok(()) };
        if !is_damaged(log, state, epoch::coming(root)?, tear)? {
            return Ok(());
        }
        if looks == LOOKS {
            return Err(log.damaged(tear.at, "a record is damaged"));
        }
        looks += 1;
    }
}
