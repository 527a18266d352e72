//! Reading a user's log for what can be had of it: whole records are applied wherever they stand, the rest is named.
//!
//! A record says where it stands and has a check on that, so behind damage the next one is found again. Where a whole
//! snapshot stands behind damage, it knows what was lost in front of it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::archive::Archive;
use super::super::change::INBOX;
use super::super::checkpoint;
use super::super::disk::open_for_reading;
use super::super::error::{Error, Result};
use super::super::files::{LogFiles, segment_path};
use super::super::log::Log;
use super::super::mailbox::Mailbox;
use super::super::message::LogPos;
use super::super::names::MailboxId;
use super::super::notes::Notes;
use super::super::payload::Append;
use super::super::record::{BadHeader, HEADER, Header, Kind, segment_header};
use super::super::replay::{PAGE, breaks_off};
use super::super::snapshot;
use super::super::state::State;
use super::super::tree::SpecialUses;
use super::super::user::unix_now;
use super::super::wire::Fields;
use super::{Finding, NEWER};

/// Bytes that nobody can use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub segment: u32,
    pub from: u32,
    pub to: u32,
}

/// A message that no record tells of any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orphan {
    /// Where it may have been.
    pub mailbox: Option<MailboxId>,
    pub blob: LogPos,
    pub size: u32,
    pub meta: LogPos,
    pub meta_len: u32,
}

/// What a user's log says, as far as that can be read.
pub(super) struct Scan {
    dir: PathBuf,
    mark: u128,
    /// The partition's epoch: an older log may have been torn by a loss of power that nobody has recovered from yet.
    epoch: u64,
    pub files: LogFiles,
    pub state: State,
    /// The segment that the scan began with.
    pub start: u32,
    /// The segment that has no Seal, if the log comes to one, and where all that is written in it ends.
    pub active: Option<LogPos>,
    /// Blob and Meta records that are whole, from there on, with their lengths.
    pub bulk: HashMap<LogPos, (Kind, u32)>,
    pub regions: Vec<Region>,
    /// Segments whose header is damaged.
    pub headers: Vec<u32>,
    /// Files of the log that are damaged as a whole.
    pub broken: Vec<PathBuf>,
    /// Messages whose Append record is damaged, and they are not.
    pub orphans: Vec<Orphan>,
    /// Records that changed mailboxes are gone.
    pub has_gaps: bool,
    /// The snapshot is of no use.
    pub is_snapshot_bad: bool,
    /// A newer version wrote a part of it.
    pub is_newer: bool,
    pub findings: Vec<Finding>,
    /// Bytes that were read.
    pub bytes: u64,
    snapshot: Option<State>,
}

/// How a segment ended.
enum End {
    /// With a Seal that names the next.
    Sealed(u32),
    /// Without one; all that is written in it ends here.
    Open(u32),
}

impl Scan {
    /// Reads the log in a user's directory. What went after `horizon`, in seconds since 1970, is collected as well.
    pub fn run(dir: &Path, mark: u128, epoch: u64, horizon: i64) -> Result<Scan> {
        let files = LogFiles::list(dir)?;
        let mut scan = Scan {
            dir: dir.to_owned(),
            mark,
            epoch,
            state: State::new(Log::start_of(1)),
            start: 1,
            active: None,
            bulk: HashMap::new(),
            regions: Vec::new(),
            headers: Vec::new(),
            broken: Vec::new(),
            orphans: Vec::new(),
            has_gaps: false,
            is_snapshot_bad: false,
            is_newer: false,
            findings: Vec::new(),
            bytes: 0,
            snapshot: None,
            files,
        };
        scan.state.archive = Some(Box::new(Archive::new(horizon)));
        scan.load_snapshot();
        scan.load_checkpoint(horizon);
        scan.segments()?;
        scan.end();
        Ok(scan)
    }

    fn load_snapshot(&mut self) {
        self.snapshot = snapshot::load(&self.dir, self.mark);
        let path = self.dir.join("snapshot");
        self.bytes += fs::metadata(&path).map_or(0, |found| found.len());
        if self.snapshot.is_none() && path.exists() {
            self.is_snapshot_bad = true;
            self.find(path, 0, "is damaged or of another version; the log has all that it says");
        }
    }

    fn load_checkpoint(&mut self, horizon: i64) {
        for segment in self.files.checkpoints.clone().into_iter().rev() {
            match checkpoint::load(&self.dir, segment, self.mark, Some(horizon)) {
                Ok(state) => {
                    self.state = state;
                    self.start = segment;
                    return;
                }
                Err(Error::Damaged { path, offset, problem }) => {
                    self.has_gaps = true;
                    self.find(path.clone(), offset, problem);
                    self.broken.push(path);
                }
                Err(error) => self.find(self.dir.join("log"), 0, &error.to_string()),
            }
        }
        // Without a checkpoint, the log begins with its first segment; what was in front of it the snapshot may know.
        self.start = self.files.segments.first().copied().unwrap_or(1);
        if self.start > 1 {
            self.has_gaps = true;
        }
    }

    fn segments(&mut self) -> Result<()> {
        if self.files.is_empty() && self.never_was() {
            return Ok(());
        }
        let segments: Vec<u32> = self.files.segments.iter().copied().filter(|s| *s >= self.start).collect();
        let mut expected = self.start;
        for (at, segment) in segments.iter().copied().enumerate() {
            if segment != expected {
                self.missing(expected, segment);
            }
            let is_last = at + 1 == segments.len() || self.is_leftover(&segments[at + 1..])?;
            self.pass(LogPos::new(segment, 0));
            self.state.position = Log::start_of(segment);
            expected = match self.segment(segment, is_last)? {
                End::Sealed(next) => next,
                End::Open(end) if is_last => {
                    self.active = Some(LogPos::new(segment, end));
                    return Ok(());
                }
                End::Open(_) => {
                    self.has_gaps = true;
                    self.find(
                        segment_path(&self.dir, segment),
                        0,
                        "the record that names the next segment is lost",
                    );
                    segment + 1
                }
            };
        }
        if segments.is_empty() || segments.last().is_some_and(|last| *last < expected) {
            self.missing(expected, expected + 1);
        }
        Ok(())
    }

    /// Whether the user's first log is being made, or its maker died before it was.
    fn never_was(&self) -> bool {
        let lock = open_for_reading(&self.dir.join("lock"));
        self.snapshot.is_none() && lock.map_or(true, |lock| Notes::read(&lock).epoch == 0)
    }

    /// Whether what follows is one empty segment, which somebody has made before the Seal that names it.
    fn is_leftover(&self, following: &[u32]) -> Result<bool> {
        let [next] = following else { return Ok(false) };
        let path = segment_path(&self.dir, *next);
        let len = fs::metadata(&path).map_err(Error::io("cannot stat", &path))?.len();
        Ok(len <= segment_header::LEN as u64)
    }

    fn missing(&mut self, from: u32, to: u32) {
        self.has_gaps = true;
        for segment in from..to.min(from + 100) {
            self.find(segment_path(&self.dir, segment), 0, "is missing");
        }
    }

    fn segment(&mut self, segment: u32, is_last: bool) -> Result<End> {
        let path = segment_path(&self.dir, segment);
        let mut bytes = Vec::new();
        let opened = open_for_reading(&path).map_err(Error::io("cannot open", &path))?;
        let read = opened.take(u32::MAX.into()).read_to_end(&mut bytes);
        self.bytes += read.map_err(Error::io("cannot read", &path))? as u64;
        if let Err(problem) = segment_header::check(&bytes, segment, self.mark) {
            self.is_newer |= problem == NEWER;
            self.find(path, 0, problem);
            self.headers.push(segment);
        }
        let start = segment_header::LEN as u32;
        let mut walk = Walk {
            segment,
            bytes: &bytes,
            at: start,
            start,
            open: Vec::new(),
            bulk: Vec::new(),
            broken: None,
            is_last,
        };
        while !self.is_newer && (walk.at as usize) < bytes.len() {
            match self.step(&mut walk)? {
                Step::Next => {}
                Step::Sealed(next) => return Ok(End::Sealed(next)),
                Step::End => return Ok(End::Open(walk.at.max(walk.written()))),
            }
        }
        Ok(End::Open(walk.at))
    }

    /// Reads one record, or what stands in its place.
    fn step(&mut self, walk: &mut Walk<'_>) -> Result<Step> {
        if walk.open.is_empty() {
            walk.start = walk.at;
            self.pass(LogPos::new(walk.segment, walk.at));
        }
        let (header, payload) = match walk.record() {
            Ok(record) => record,
            Err(Unreadable::Newer) => {
                self.is_newer = true;
                self.find(segment_path(&self.dir, walk.segment), walk.at.into(), NEWER);
                return Ok(Step::End);
            }
            Err(Unreadable::Nothing | Unreadable::Unfinished) => return Ok(Step::End),
            Err(Unreadable::Bad) => {
                self.skip(walk);
                return Ok(Step::Next);
            }
        };
        let place = LogPos::new(walk.segment, walk.at);
        let end = walk.at + header.stride();
        if !header.matches(payload) {
            self.damaged_record(place, end, header, payload);
            if header.kind == Kind::Append {
                walk.broken = Some(Fields(payload).u128().map(MailboxId));
            }
        } else if header.kind.is_bulk() {
            self.bulk.insert(place, (header.kind, header.len));
            walk.bulk.push((place, header.kind, header.len));
        } else {
            walk.open.push((place, header.kind, payload));
        }
        walk.at = end;
        let sealed = if header.continued { None } else { self.apply(walk) };
        if !header.continued {
            self.adopt_bodies(walk);
        }
        Ok(sealed.map_or(Step::Next, Step::Sealed))
    }

    /// Goes on at the next record behind something that is none.
    fn skip(&mut self, walk: &mut Walk<'_>) {
        let from = walk.at;
        let next = walk.next_record();
        walk.at = next.unwrap_or(walk.written());
        let may_be_torn = walk.is_last && next.is_none() && self.state.epoch < self.epoch;
        if may_be_torn {
            return;
        }
        self.find(segment_path(&self.dir, walk.segment), from.into(), "what stands here is no record");
        self.lose(Region { segment: walk.segment, from, to: walk.at });
        // It may have been the Append record of what stands in front of it.
        walk.broken = Some(None);
        self.adopt_bodies(walk);
        let behind = LogPos::new(walk.segment, walk.at);
        if self.snapshot.as_ref().is_some_and(|snapshot| snapshot.position <= behind) {
            self.believe_snapshot();
        }
    }

    /// The end of a transaction: messages whose Append record is damaged are not forgotten.
    fn adopt_bodies(&mut self, walk: &mut Walk<'_>) {
        let bulk = std::mem::take(&mut walk.bulk);
        let Some(mailbox) = walk.broken.take() else { return };
        for pair in bulk.windows(2) {
            if let [(blob, Kind::Blob, size), (meta, Kind::Meta, meta_len)] = *pair {
                self.orphans.push(Orphan { mailbox, blob, size, meta, meta_len });
            }
        }
    }

    fn damaged_record(&mut self, place: LogPos, end: u32, header: Header, payload: &[u8]) {
        let path = segment_path(&self.dir, place.segment);
        let region = Region { segment: place.segment, from: place.offset, to: end };
        if header.kind.is_bulk() {
            // Whom that concerns, the messages say.
            self.find(path, place.offset.into(), &format!("{:?} record has a wrong checksum", header.kind));
            self.regions.push(region);
            return;
        }
        let concerns = self.concerned(header.kind, payload);
        let problem = format!("{:?} record has a wrong checksum{concerns}", header.kind);
        self.find(path, place.offset.into(), &problem);
        self.lose(region);
    }

    /// Whom a damaged record was about, as far as can be guessed.
    fn concerned(&self, kind: Kind, payload: &[u8]) -> String {
        let id = Fields(payload).u128().map(MailboxId);
        let Some(mailbox) = id.and_then(|id| self.state.mailboxes.get(&id)) else { return String::new() };
        let uids: Vec<String> = match Append::take(payload).filter(|_| kind == Kind::Append) {
            Some(append) => append.entries().map_while(|entry| Some(entry?.uid.to_string())).collect(),
            None => Vec::new(),
        };
        if uids.is_empty() {
            format!(", it was about {}", mailbox.name)
        } else {
            format!(", it was about {}:{}", mailbox.name, uids.join(","))
        }
    }

    fn lose(&mut self, region: Region) {
        self.has_gaps = true;
        self.regions.push(region);
    }

    /// Applies the records of a transaction that are whole.
    fn apply(&mut self, walk: &mut Walk<'_>) -> Option<u32> {
        let mut sealed = None;
        for (place, kind, payload) in std::mem::take(&mut walk.open) {
            if kind == Kind::Seal {
                sealed = Fields(payload).u32();
            }
            let misfit = self.state.apply(kind, payload).is_err();
            if misfit && !self.adopt(place, kind, payload) {
                let path = segment_path(&self.dir, place.segment);
                let to = place.offset + HEADER as u32 + payload.len() as u32;
                self.find(
                    path,
                    place.offset.into(),
                    &format!("{kind:?} record contradicts what is before it"),
                );
                self.lose(Region { segment: place.segment, from: place.offset, to });
            }
        }
        self.state.position = LogPos::new(walk.segment, walk.at);
        sealed
    }

    /// Makes a mailbox that is only known from its messages, and applies the record again; says whether that went well.
    fn adopt(&mut self, place: LogPos, kind: Kind, payload: &[u8]) -> bool {
        let is_about_messages = matches!(kind, Kind::Append | Kind::Flags | Kind::Expunge | Kind::Recent);
        let id = Fields(payload).u128().map(MailboxId).filter(|_| is_about_messages);
        let Some(id) = id.filter(|id| !self.state.mailboxes.contains_key(id)) else { return false };
        // INBOX is made first: what comes before it is most likely INBOX itself.
        let is_inbox = self.state.by_name(INBOX).is_none();
        let name = if is_inbox { INBOX.to_owned() } else { format!("Recovered {:08x}", id.0 >> 96) };
        let problem =
            format!("{kind:?} record is about a mailbox that nothing else tells of: it becomes `{name}`");
        self.find(segment_path(&self.dir, place.segment), place.offset.into(), &problem);
        self.has_gaps = true;
        let uid_validity = (unix_now() as u32).max(self.state.last_uid_validity.saturating_add(1));
        self.state.insert(Mailbox::new(id, name, uid_validity, SpecialUses::NONE));
        self.state.apply(kind, payload).is_ok()
    }

    /// Compares with the snapshot where it was made.
    fn pass(&mut self, place: LogPos) {
        let Some(snapshot) = self.snapshot.as_ref().filter(|snapshot| snapshot.position <= place) else {
            return;
        };
        if self.has_gaps {
            self.believe_snapshot();
        } else if snapshot.position < place {
            // It stands in front of the checkpoint, or between records; another one will take its place.
            self.snapshot = None;
        } else {
            let is_same = snapshot::says_the_same(snapshot, &self.state);
            self.snapshot = None;
            if !is_same {
                self.is_snapshot_bad = true;
                self.find(self.dir.join("snapshot"), 0, "says something else than the log");
            }
        }
    }

    /// The snapshot knows what was lost in front of it.
    fn believe_snapshot(&mut self) {
        if let Some(mut snapshot) = self.snapshot.take() {
            snapshot.archive = self.state.archive.take();
            self.orphans.clear();
            snapshot.position = self.state.position;
            self.state = snapshot;
        }
    }

    /// The log has been read to its end.
    fn end(&mut self) {
        self.pass(self.state.position);
        let Some(snapshot) = &self.snapshot else { return };
        if snapshot.position > self.state.position {
            self.has_gaps = true;
            self.find(self.dir.join("snapshot"), 0, "is ahead of the log, of which a part is missing");
            self.believe_snapshot();
        }
    }

    pub fn find(&mut self, file: PathBuf, offset: u64, problem: &str) {
        self.findings.push(Finding { file, offset, problem: problem.to_owned() });
    }
}

/// Whether two places are in damaged regions, quickly.
pub(super) fn damaged_places(regions: &[Region]) -> HashSet<LogPos> {
    regions.iter().map(|region| LogPos::new(region.segment, region.from)).collect()
}

/// What a step came to.
enum Step {
    Next,
    Sealed(u32),
    /// Nothing else is written.
    End,
}

/// A segment being read.
struct Walk<'a> {
    segment: u32,
    bytes: &'a [u8],
    at: u32,
    /// Where the transaction begins.
    start: u32,
    /// Records of a transaction whose end has not come yet.
    open: Vec<(LogPos, Kind, &'a [u8])>,
    /// Its Blob and Meta records, with their lengths.
    bulk: Vec<(LogPos, Kind, u32)>,
    /// Its Append record is damaged, and was about this mailbox, if that can be told.
    broken: Option<Option<MailboxId>>,
    is_last: bool,
}

/// Why no record was read.
enum Unreadable {
    /// Only the reserve follows.
    Nothing,
    /// Being written, or left by a writer that died: the next one cuts it off.
    Unfinished,
    Bad,
    Newer,
}

impl<'a> Walk<'a> {
    fn record(&self) -> Result<(Header, &'a [u8]), Unreadable> {
        let rest = self.bytes.get(self.at as usize..).unwrap_or_default();
        if self.open.is_empty() && self.written() <= self.at {
            return Err(Unreadable::Nothing);
        }
        let read = rest.first_chunk::<HEADER>().map(|bytes| Header::decode(bytes, self.at));
        let record = match read {
            Some(Err(BadHeader::Unknown)) => return Err(Unreadable::Newer),
            Some(Ok(header)) => {
                rest.get(HEADER..HEADER + header.len as usize).map(|payload| (header, payload))
            }
            Some(Err(BadHeader::NotWhole)) | None => None,
        };
        match record {
            Some((header, payload)) if header.matches(payload) && rest.len() >= header.stride() as usize => {
                Ok((header, payload))
            }
            _ if self.is_unfinished(rest.len()) => Err(Unreadable::Unfinished),
            Some((header, payload)) if rest.len() >= header.stride() as usize => Ok((header, payload)),
            _ => Err(Unreadable::Bad),
        }
    }

    /// Whether what stands here, which is no whole record, has to be put up with: recovery cuts it off.
    fn is_unfinished(&self, left: usize) -> bool {
        if !self.is_last || self.next_record().is_some() {
            return false;
        }
        let (start, here) = (LogPos::new(self.segment, self.start), LogPos::new(self.segment, self.at));
        let rest = self.bytes.get(self.at as usize..).unwrap_or_default();
        let header = rest.first_chunk::<HEADER>().map(|bytes| Header::decode(bytes, self.at));
        let is_short = match header {
            None => true,
            Some(header) => header.is_ok_and(|header| header.stride() as usize > left),
        };
        let tail = self.bytes.get(self.start as usize..self.written() as usize).unwrap_or_default();
        is_short || breaks_off(tail, start, here, PAGE)
    }

    /// Where all that is written ends, the reserve not counted.
    fn written(&self) -> u32 {
        let behind = self.bytes.get(self.start as usize..).unwrap_or_default();
        let last = behind.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let end = self.start as usize + last.next_multiple_of(8);
        end.min(self.bytes.len()) as u32
    }

    /// Where the next record behind this place stands.
    fn next_record(&self) -> Option<u32> {
        let from = (self.at as usize).next_multiple_of(8) + if self.at.is_multiple_of(8) { 8 } else { 0 };
        let is_record = |at: &usize| {
            let bytes = self.bytes.get(*at..).and_then(|rest| rest.first_chunk::<HEADER>());
            bytes.is_some_and(|bytes| Header::decode(bytes, *at as u32).is_ok())
        };
        (from..self.bytes.len()).step_by(8).find(is_record).map(|at| at as u32)
    }
}
