//! A message on its way in.
//!
//! Most are held in memory until they are complete; a large one goes to a file beside the log while it arrives.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::disk::{Disk, Open};
use super::error::{Error, Refusal, Result};
use super::flags::FlagList;
use super::limits::{INLINE_MAX, INLINE_TOTAL_MAX, MAX_ARRIVING, SMALL};
use super::log::{blob_path, sync_dir};
use super::message::{BlobRef, InternalDate, LogPos};
use super::meta::Meta;
use super::record::{Kind, Transaction};
use super::wire::PutFields;
use crate::message::{Analysis, analyze};
use crate::spare::Lent;
use crate::sys;

/// Bytes of one message while they arrive. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    disk: Arc<dyn Disk>,
    dir: Arc<Path>,
    limit: u64,
    len: u64,
    /// How much will come, when that is known; 0 otherwise.
    expected: u64,
    has_nul: bool,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Memory(Lent<u8>, Claim),
    File(File, Scratch),
}

/// Memory that messages take while they arrive.
#[derive(Debug, Default)]
pub(super) struct Arriving {
    of_user: AtomicUsize,
    of_worker: Arc<AtomicUsize>,
}

impl Arriving {
    /// What a user's uploads take, as part of what those of its worker do.
    pub fn within(of_worker: &Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Arriving { of_user: AtomicUsize::new(0), of_worker: of_worker.clone() })
    }

    /// Whether a message of `whole` bytes, of which `more` are new, may stay in memory. A worker that has much there
    /// already has room for small messages only.
    fn has_room(&self, more: usize, whole: usize) -> bool {
        let of_user = self.of_user.load(Ordering::Relaxed) + more;
        let of_worker = self.of_worker.load(Ordering::Relaxed) + more;
        let most = if of_worker <= MAX_ARRIVING { INLINE_MAX } else { SMALL };
        whole <= most && of_user <= INLINE_TOTAL_MAX
    }
}

/// One message's part of it, given back when it is dropped.
#[derive(Debug)]
struct Claim {
    arriving: Arc<Arriving>,
    bytes: usize,
}

impl Claim {
    /// Claims memory for `whole` bytes of the message in all; false when it has to go to a file.
    fn grow_to(&mut self, whole: usize) -> bool {
        let more = whole.saturating_sub(self.bytes);
        let has_room = self.arriving.has_room(more, whole);
        if has_room {
            self.arriving.of_user.fetch_add(more, Ordering::Relaxed);
            self.arriving.of_worker.fetch_add(more, Ordering::Relaxed);
            self.bytes += more;
        }
        has_room
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.arriving.of_user.fetch_sub(self.bytes, Ordering::Relaxed);
        self.arriving.of_worker.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A message with what APPEND says about it.
#[derive(Debug)]
pub struct NewMessage {
    pub body: Upload,
    pub flags: FlagList,
    /// Now, when `None`.
    pub internal_date: Option<InternalDate>,
}

impl Upload {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: Arc<Path>, limit: u64, arriving: Arc<Arriving>) -> Self {
        let body = Body::Memory(Lent::own(0), Claim { arriving, bytes: 0 });
        Upload { disk, dir, limit, len: 0, expected: 0, has_nul: false, body }
    }

    /// Says how many bytes will come, so that they find their place at once.
    pub fn expecting(mut self, bytes: u64) -> Self {
        self.expected = bytes;
        self
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether there is a NUL among the bytes so far.
    pub fn has_nul(&self) -> bool {
        self.has_nul
    }

    /// Takes the next bytes of the message.
    ///
    /// # Errors
    /// [`Refusal::TooBig`] beyond the limit; the disk's errors.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let before = self.len;
        self.len += bytes.len() as u64;
        if self.len > self.limit {
            return Err(Refusal::TooBig.into());
        }
        self.has_nul = self.has_nul || memchr::memchr(0, bytes).is_some();
        match &mut self.body {
            Body::Memory(held, claim) => {
                let whole = held.len() + bytes.len();
                let wanted = usize::try_from(self.expected).map_or(whole, |all| all.max(whole));
                if claim.grow_to(wanted) {
                    if held.is_empty() {
                        // What is not all there yet may be long in coming.
                        *held = if wanted > bytes.len() { Lent::own(wanted) } else { Lent::new() };
                        held.reserve_exact(wanted);
                    }
                    held.extend_from_slice(bytes);
                } else {
                    self.body = spill(&self.disk, &self.dir, held, bytes)?;
                }
                Ok(())
            }
            Body::File(file, scratch) => {
                self.disk.write_at(file, bytes, before).map_err(Error::io("cannot write", &scratch.path))
            }
        }
    }

    /// Computes what is kept about the message, and makes a large one durable.
    pub(super) fn prepare(self) -> Result<Prepared> {
        let (size, has_no_nul) = (self.len, !self.has_nul);
        match self.body {
            Body::Memory(bytes, _) => {
                Ok(Prepared::new(analyze(&bytes), size, has_no_nul, Stored::Inline(bytes)))
            }
            Body::File(file, mut scratch) => {
                let mapped = sys::map(&file).map_err(Error::io("cannot map", &scratch.path))?;
                let analysis = analyze(&mapped);
                let number = new_number();
                sys::about_to_block();
                self.disk.sync_all(&file).map_err(Error::io("cannot sync", &scratch.path))?;
                scratch.rename(blob_path(&self.dir, number))?;
                Ok(Prepared::new(analysis, size, has_no_nul, Stored::File(number, scratch)))
            }
        }
    }
}

/// A file for a message that has come in part: what was in memory, and what came now.
fn spill(disk: &Arc<dyn Disk>, dir: &Path, held: &[u8], bytes: &[u8]) -> Result<Body> {
    let path = dir.join("blob").join(format!("new-{:016x}", random()));
    let file = disk.open(&path, Open::New).map_err(Error::io("cannot make", &path))?;
    let scratch = Scratch { disk: disk.clone(), path, keep: false };
    let written = disk.write_at(&file, held, 0).and_then(|()| disk.write_at(&file, bytes, held.len() as u64));
    written.map_err(Error::io("cannot write", &scratch.path))?;
    Ok(Body::File(file, scratch))
}

/// A file that goes away unless a record names it.
#[derive(Debug)]
pub(super) struct Scratch {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    pub keep: bool,
}

impl Scratch {
    fn rename(&mut self, path: PathBuf) -> Result<()> {
        self.disk.rename(&self.path, &path).map_err(Error::io("cannot rename", &self.path))?;
        self.path = path;
        self.path.parent().map_or(Ok(()), |dir| sync_dir(&*self.disk, dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = self.disk.remove(&self.path)
        {
            log::warn!(file = self.path.display().to_string(), error = error.to_string(); "cannot remove upload");
        }
    }
}

/// Where a prepared message is.
#[derive(Debug)]
pub(super) enum Stored {
    Inline(Lent<u8>),
    File(u64, Scratch),
}

/// Where the records of a message are.
pub(super) struct Recorded {
    pub blob: BlobRef,
    pub meta: LogPos,
    pub meta_len: u32,
}

/// A message ready for its Append record.
#[derive(Debug)]
pub(super) struct Prepared {
    pub size: u32,
    pub has_no_nul: bool,
    pub stored: Stored,
    pub analysis: Analysis,
}

impl Prepared {
    fn new(analysis: Analysis, size: u64, has_no_nul: bool, stored: Stored) -> Self {
        Prepared {
            // The limit of an upload is below 4 GiB.
            size: size as u32,
            has_no_nul,
            stored,
            analysis,
        }
    }

    /// Bytes that [`record`](Self::record) writes, or a few more.
    pub fn most_len(&self) -> usize {
        let body = if let Stored::Inline(bytes) = &self.stored { bytes.len() } else { 0 };
        body + Meta::most_len(&self.analysis)
    }

    /// Records what is kept about a message, and its bytes unless they are in a file; says where they are.
    pub fn record(&self, txn: &mut Transaction) -> Recorded {
        let blob = match &self.stored {
            Stored::Inline(bytes) => BlobRef::Inline(txn.record(Kind::Blob, |out| out.put(bytes))),
            Stored::File(number, _) => BlobRef::File(*number),
        };
        let mut meta_len = 0;
        let meta = txn.record(Kind::Meta, |out| meta_len = Meta::put(&self.analysis, out));
        Recorded { blob, meta, meta_len }
    }

    /// The day of the Date field.
    pub fn sent_day(&self) -> Option<i32> {
        self.analysis.sent.map(|sent| sent.day)
    }
}

/// A number for a file or an EMAILID: none comes twice, also when messages of another log are restored to this one.
pub(super) fn new_number() -> u64 {
    random() | 1 << 63
}

/// A number that nobody guesses or repeats.
///
/// # Panics
/// When the kernel has no randomness, which it has from boot on.
pub(super) fn random() -> u64 {
    getrandom::u64().expect("the kernel gives random numbers")
}
