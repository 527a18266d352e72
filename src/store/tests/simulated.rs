//! A disk that remembers what it was asked for, fails on demand, and tells in which states a loss of power may leave
//! it: what was not synced is there, missing, or torn, and in any order.
//!
//! The files themselves stand for the page cache: they are real, in a temporary directory, and never really synced.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, Local, Open};

/// The smallest piece that a disk writes whole.
const SECTOR: usize = 512;

type FileId = usize;

/// Something that a disk was asked for, with paths relative to its root.
#[derive(Clone, Debug)]
pub(super) enum Op {
    MakeDir(PathBuf),
    Create(PathBuf, FileId),
    Write(FileId, u64, Vec<u8>),
    SetLen(FileId, u64),
    Sync(FileId),
    /// The kernel gave up on what was unsynced, and a later sync will not bring it back.
    FailedSync(FileId),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncDir(PathBuf),
}

/// The calls that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Open,
    Write,
    SetLen,
    Sync,
    Rename,
    Remove,
    MakeDirs,
    SyncDir,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    Pass,
    Fail(i32),
    /// A write that stops after so many bytes.
    Short(usize, i32),
    /// The process is dead: the call is never made.
    Dead,
}

type Trouble = Box<dyn FnMut(Call) -> Verdict + Send>;

#[derive(Default)]
struct Trace {
    ops: Vec<Op>,
    inodes: HashMap<u64, FileId>,
    next_file: FileId,
    /// How often syncing a file has failed.
    failures: HashMap<FileId, usize>,
}

/// The disk as one process sees it.
pub(super) struct Simulated {
    root: PathBuf,
    trace: Arc<Mutex<Trace>>,
    trouble: Mutex<Option<Trouble>>,
    /// Failures of syncs that this process has been told of.
    told: Mutex<HashMap<FileId, usize>>,
}

impl std::fmt::Debug for Simulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulated").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Simulated {
    /// An empty disk on an existing directory.
    pub fn new(root: &Path) -> Arc<Simulated> {
        Self::with_trace(root, Arc::default())
    }

    fn with_trace(root: &Path, trace: Arc<Mutex<Trace>>) -> Arc<Simulated> {
        let (trouble, told) = (Mutex::default(), Mutex::default());
        Arc::new(Simulated { root: root.to_owned(), trace, trouble, told })
    }

    /// The same disk for another process.
    pub fn for_another(&self) -> Arc<Simulated> {
        Self::with_trace(&self.root, self.trace.clone())
    }

    /// From now on `trouble` decides what becomes of the calls of this process.
    pub fn trouble(&self, trouble: impl FnMut(Call) -> Verdict + Send + 'static) {
        *self.trouble.lock().unwrap() = Some(Box::new(trouble));
    }

    pub fn mend(&self) {
        *self.trouble.lock().unwrap() = None;
    }

    /// How much was asked for so far.
    pub fn len(&self) -> usize {
        self.trace().ops.len()
    }

    pub fn ops(&self) -> Vec<Op> {
        self.trace().ops.clone()
    }

    fn trace(&self) -> MutexGuard<'_, Trace> {
        self.trace.lock().unwrap()
    }

    fn judge(&self, call: Call) -> Verdict {
        self.trouble.lock().unwrap().as_mut().map_or(Verdict::Pass, |trouble| trouble(call))
    }

    fn check(&self, call: Call) -> io::Result<()> {
        match self.judge(call) {
            Verdict::Pass => Ok(()),
            Verdict::Fail(code) | Verdict::Short(_, code) => Err(io::Error::from_raw_os_error(code)),
            Verdict::Dead => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn record(&self, op: Op) {
        self.trace().ops.push(op);
    }

    fn relative(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.root).ok().map(Path::to_owned)
    }

    fn id(&self, file: &File) -> FileId {
        let inode = file.metadata().unwrap().ino();
        self.trace().inodes[&inode]
    }

    fn written(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        Local.write_at(file, bytes, offset)?;
        self.record(Op::Write(self.id(file), offset, bytes.to_vec()));
        Ok(())
    }

    /// Reports a failed sync once to every process that had the file open, as the kernel does.
    fn sync(&self, file: &File) -> io::Result<()> {
        let id = self.id(file);
        if let Err(error) = self.check(Call::Sync) {
            if error.raw_os_error().is_none() {
                return Err(error);
            }
            let mut trace = self.trace();
            trace.ops.push(Op::FailedSync(id));
            *trace.failures.entry(id).or_default() += 1;
            self.told.lock().unwrap().insert(id, trace.failures[&id]);
            return Err(error);
        }
        self.record(Op::Sync(id));
        let failures = self.trace().failures.get(&id).copied().unwrap_or(0);
        let told = self.told.lock().unwrap().insert(id, failures).unwrap_or(0);
        if told < failures { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }
}

impl Disk for Simulated {
    fn open(&self, path: &Path, how: Open) -> io::Result<File> {
        self.check(Call::Open)?;
        let was_there = path.exists();
        let file = Local.open(path, how)?;
        let inode = file.metadata()?.ino();
        let mut trace = self.trace();
        if !was_there {
            let id = trace.next_file;
            trace.next_file += 1;
            trace.inodes.insert(inode, id);
            trace.ops.push(Op::Create(self.relative(path).unwrap(), id));
        } else if how == Open::Empty {
            let id = trace.inodes[&inode];
            trace.ops.push(Op::SetLen(id, 0));
        }
        let id = trace.inodes[&inode];
        let failures = trace.failures.get(&id).copied().unwrap_or(0);
        self.told.lock().unwrap().entry(id).or_insert(failures);
        Ok(file)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.judge(Call::Write) {
            Verdict::Pass => self.written(file, bytes, offset),
            Verdict::Fail(code) => Err(io::Error::from_raw_os_error(code)),
            Verdict::Dead => Err(io::ErrorKind::BrokenPipe.into()),
            Verdict::Short(count, code) => {
                self.written(file, &bytes[..stop(file, offset, count.min(bytes.len()))], offset)?;
                Err(io::Error::from_raw_os_error(code))
            }
        }
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        self.check(Call::SetLen)?;
        Local.set_len(file, len)?;
        self.record(Op::SetLen(self.id(file), len));
        Ok(())
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        self.sync(file)
    }

    fn sync_all(&self, file: &File) -> io::Result<()> {
        self.sync(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Call::Rename)?;
        Local.rename(from, to)?;
        self.record(Op::Rename(self.relative(from).unwrap(), self.relative(to).unwrap()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(Call::Remove)?;
        Local.remove(path)?;
        self.record(Op::Remove(self.relative(path).unwrap()));
        Ok(())
    }

    fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        self.check(Call::MakeDirs)?;
        let missing: Vec<PathBuf> =
            dir.ancestors().take_while(|dir| !dir.exists()).map(Path::to_owned).collect();
        Local.make_dirs(dir)?;
        for dir in missing.iter().rev() {
            self.record(Op::MakeDir(self.relative(dir).unwrap()));
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.check(Call::SyncDir)?;
        // What is above the root of the store was there before.
        if let Some(dir) = self.relative(dir) {
            self.record(Op::SyncDir(dir));
        }
        Ok(())
    }
}

/// Where a write that breaks off after `count` bytes really stops: in bytes that the file has already, between two
/// pages.
fn stop(file: &File, offset: u64, count: usize) -> usize {
    let end = offset + count as u64;
    let within = end < file.metadata().unwrap().len();
    if within { (end - end % 4096).saturating_sub(offset) as usize } else { count }
}

/// What has happened to a file since it was last known to be on the disk.
#[derive(Clone, Debug)]
enum Change {
    Write(u64, Arc<Vec<u8>>),
    SetLen(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// A sync will make it durable; until then it may be or not.
    Open,
    /// A sync has failed: it may be on the disk or not, for ever.
    Forgotten,
    Durable,
}

#[derive(Clone, Debug, Default)]
struct FileImage {
    durable: Vec<u8>,
    changes: Vec<(Change, Fate)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Dir,
    File(FileId),
}

#[derive(Clone, Debug)]
enum Renaming {
    Link(PathBuf, Entry),
    Unlink(PathBuf),
    Move(PathBuf, PathBuf, Entry),
}

#[derive(Clone, Debug, Default)]
struct DirImage {
    durable: BTreeMap<PathBuf, Entry>,
    pending: Vec<Renaming>,
}

/// What is on a disk for certain, and what may be.
#[derive(Clone, Debug)]
pub(super) struct Image {
    files: BTreeMap<FileId, FileImage>,
    dirs: BTreeMap<PathBuf, DirImage>,
}

/// Directories and files as a boot finds them.
#[derive(Clone, Debug, Default)]
pub(super) struct Remains {
    dirs: Vec<PathBuf>,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Image {
    /// An empty disk.
    pub fn new() -> Image {
        Image { files: BTreeMap::new(), dirs: BTreeMap::from([(PathBuf::new(), DirImage::default())]) }
    }

    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::MakeDir(path) => {
                self.dirs.insert(path.clone(), DirImage::default());
                self.rename(path, Renaming::Link(path.clone(), Entry::Dir));
            }
            Op::Create(path, id) => {
                self.files.insert(*id, FileImage::default());
                self.rename(path, Renaming::Link(path.clone(), Entry::File(*id)));
            }
            Op::Write(id, offset, bytes) => self.change(*id, Change::Write(*offset, Arc::new(bytes.clone()))),
            Op::SetLen(id, len) => self.change(*id, Change::SetLen(*len)),
            Op::Sync(id) => self.files.get_mut(id).unwrap().sync(),
            Op::FailedSync(id) => self.files.get_mut(id).unwrap().forget(),
            Op::Rename(from, to) => {
                let entry = self.dirs[from.parent().unwrap()].now()[from];
                self.rename(from, Renaming::Move(from.clone(), to.clone(), entry));
            }
            Op::Remove(path) => self.rename(path, Renaming::Unlink(path.clone())),
            Op::SyncDir(path) => self.dirs.get_mut(path).unwrap().sync(),
        }
    }

    fn rename(&mut self, path: &Path, renaming: Renaming) {
        self.dirs.get_mut(path.parent().unwrap()).unwrap().pending.push(renaming);
    }

    fn change(&mut self, id: FileId, change: Change) {
        self.files.get_mut(&id).unwrap().changes.push((change, Fate::Open));
    }

    /// Whether a loss of power would change nothing.
    pub fn is_certain(&self) -> bool {
        self.files.values().all(|file| file.changes.is_empty())
            && self.dirs.values().all(|dir| dir.pending.is_empty())
    }

    /// What a loss of power leaves, as `whim` has it.
    pub fn cut_power(&self, whim: &mut Whim) -> Remains {
        let mut remains = Remains::default();
        self.leave(Path::new(""), whim, &mut remains);
        remains
    }

    fn leave(&self, dir: &Path, whim: &mut Whim, remains: &mut Remains) {
        for (path, entry) in self.dirs[dir].after(whim) {
            match entry {
                Entry::Dir => {
                    remains.dirs.push(path.clone());
                    self.leave(&path, whim, remains);
                }
                Entry::File(id) => remains.files.push((path, self.files[&id].after(whim))),
            }
        }
    }
}

impl FileImage {
    fn sync(&mut self) {
        for (_, fate) in self.changes.iter_mut().filter(|(_, fate)| *fate == Fate::Open) {
            *fate = Fate::Durable;
        }
        let certain = self.changes.iter().take_while(|(_, fate)| *fate == Fate::Durable).count();
        for (change, _) in self.changes.drain(..certain) {
            change.apply(&mut self.durable);
        }
    }

    fn forget(&mut self) {
        for (_, fate) in self.changes.iter_mut().filter(|(_, fate)| *fate == Fate::Open) {
            *fate = Fate::Forgotten;
        }
    }

    fn after(&self, whim: &mut Whim) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let count = self.changes.len();
        for (index, (change, fate)) in self.changes.iter().enumerate() {
            match (fate, whim.choose(index + 1 == count)) {
                (Fate::Durable, _) | (_, Choice::Kept) => change.apply(&mut bytes),
                (_, Choice::Lost) => {}
                (_, Choice::Torn) => change.tear(whim).iter().for_each(|part| part.apply(&mut bytes)),
            }
        }
        bytes
    }
}

/// As `resize`, which takes its time without optimisation.
fn set_len(bytes: &mut Vec<u8>, len: usize) {
    bytes.truncate(len);
    bytes.extend_from_slice(&vec![0; len - bytes.len()]);
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::SetLen(len) => set_len(bytes, *len as usize),
            Change::Write(offset, written) => {
                let (from, to) = (*offset as usize, *offset as usize + written.len());
                set_len(bytes, bytes.len().max(to));
                bytes[from..to].copy_from_slice(written);
            }
        }
    }

    /// A write of which the disk did a part: the beginning, or some sectors of a file that has its new size.
    fn tear(&self, whim: &mut Whim) -> Vec<Change> {
        let Change::Write(offset, bytes) = self else { return Vec::new() };
        if whim.chance(2) {
            let kept = whim.below(bytes.len() + 1);
            return vec![Change::Write(*offset, Arc::new(bytes[..kept].to_vec()))];
        }
        let mut parts = vec![Change::Write(*offset + bytes.len() as u64, Arc::default())];
        let (mut at, end) = (*offset as usize, *offset as usize + bytes.len());
        while at < end {
            let next = ((at / SECTOR + 1) * SECTOR).min(end);
            if whim.chance(2) {
                let piece = bytes[at - *offset as usize..next - *offset as usize].to_vec();
                parts.push(Change::Write(at as u64, Arc::new(piece)));
            }
            at = next;
        }
        parts
    }
}

impl DirImage {
    fn now(&self) -> BTreeMap<PathBuf, Entry> {
        let mut names = self.durable.clone();
        self.pending.iter().for_each(|renaming| renaming.apply(&mut names));
        names
    }

    fn sync(&mut self) {
        self.durable = self.now();
        self.pending.clear();
    }

    fn after(&self, whim: &mut Whim) -> BTreeMap<PathBuf, Entry> {
        let mut names = self.durable.clone();
        let count = self.pending.len();
        for (index, renaming) in self.pending.iter().enumerate() {
            if !matches!(whim.choose(index + 1 == count), Choice::Lost) {
                renaming.apply(&mut names);
            }
        }
        names
    }
}

impl Renaming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Entry>) {
        match self {
            Renaming::Link(path, entry) => {
                names.insert(path.clone(), *entry);
            }
            Renaming::Unlink(path) => {
                names.remove(path);
            }
            Renaming::Move(from, to, entry) => {
                names.remove(from);
                names.insert(to.clone(), *entry);
            }
        }
    }
}

impl Remains {
    /// Puts the files into `root`, for the next boot.
    pub fn restore(&self, root: &Path) -> (Arc<Simulated>, Image) {
        let (mut trace, mut image) = (Trace::default(), Image::new());
        for dir in &self.dirs {
            fs::create_dir(root.join(dir)).unwrap();
            image.apply(&Op::MakeDir(dir.clone()));
        }
        for (id, (path, bytes)) in self.files.iter().enumerate() {
            let file = File::create_new(root.join(path)).unwrap();
            file.write_all_at(bytes, 0).unwrap();
            trace.inodes.insert(file.metadata().unwrap().ino(), id);
            image.apply(&Op::Create(path.clone(), id));
            image.files.get_mut(&id).unwrap().durable = bytes.clone();
        }
        image.dirs.values_mut().for_each(DirImage::sync);
        trace.next_file = self.files.len();
        (Simulated::with_trace(root, Arc::new(Mutex::new(trace))), image)
    }
}

#[derive(Clone, Copy, Debug)]
enum Choice {
    Lost,
    Kept,
    Torn,
}

/// How a loss of power treats what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// All of it is lost.
    Thorough,
    /// None of it is lost.
    Mild,
    /// Only the last change of each file and directory is there.
    Backward,
    /// All but the last is there, and that in part.
    Tearing,
    /// Anything goes.
    Wild,
}

/// A mood and the luck of the day.
#[derive(Debug)]
pub(super) struct Whim {
    pub mood: Mood,
    state: u64,
}

impl Whim {
    pub fn new(mood: Mood, seed: u64) -> Whim {
        Whim { mood, state: seed }
    }

    /// SplitMix64.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Once in `of` times.
    pub fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn choose(&mut self, last: bool) -> Choice {
        match self.mood {
            Mood::Thorough => Choice::Lost,
            Mood::Mild => Choice::Kept,
            Mood::Backward if last => Choice::Kept,
            Mood::Backward => Choice::Lost,
            Mood::Tearing if last => Choice::Torn,
            Mood::Tearing => Choice::Kept,
            Mood::Wild => [Choice::Lost, Choice::Kept, Choice::Torn][self.below(3)],
        }
    }
}
