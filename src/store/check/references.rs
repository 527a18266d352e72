//! What messages point to: their bytes in the log and in files, and who may read these.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::disk::{Disk, Local, open_for_reading};
use super::super::error::{Error, Result};
use super::super::files::{PackName, segment_path};
use super::super::log::blob_path;
use super::super::message::{BlobRef, LogPos, Message};
use super::super::meta::Meta;
use super::super::names::{MailboxId, Uid};
use super::super::pack::Unit;
use super::super::record::{HEADER, Header, Kind};
use super::scan::{Scan, damaged_places};
use crate::sys::read_at;

/// What is wrong with messages and files.
#[derive(Default)]
pub(super) struct References {
    /// Messages whose bytes are not whole.
    pub lost: Vec<(MailboxId, Uid)>,
    /// Messages whose bytes are whole, and not what was computed from them.
    pub recompute: Vec<(MailboxId, Uid)>,
    /// Message files that are not whole.
    pub files: Vec<PathBuf>,
    /// Files and directories that others may read.
    pub modes: Vec<PathBuf>,
    pub notes: Vec<String>,
}

impl References {
    /// Checks all messages of a scan; what is found is added to it.
    pub fn check(dir: &Path, mark: u128, scan: &mut Scan) -> Result<References> {
        let mut found = References::default();
        if scan.is_newer {
            return Ok(found);
        }
        let mut places = Places::new(dir, mark, scan);
        let mut named = HashSet::new();
        let mut problems = Vec::new();
        for mailbox in scan.state.mailboxes.values() {
            for message in mailbox.live_messages() {
                if let BlobRef::File(number) = message.blob {
                    named.insert(number);
                }
                let whom = format!("{}:{}", mailbox.name, message.uid);
                if let Err((file, offset, problem)) = places.body(message) {
                    problems.push((file.clone(), offset, format!("{problem}: the message {whom} is lost")));
                    found.lost.push((mailbox.id, message.uid));
                    if matches!(message.blob, BlobRef::File(_)) {
                        found.files.push(file);
                    }
                } else if let Err((file, offset, problem)) = places.meta(message) {
                    problems.push((file, offset, format!("{problem}: computed from {whom}, which is whole")));
                    found.recompute.push((mailbox.id, message.uid));
                }
            }
        }
        if let Some(archive) = &scan.state.archive {
            let files = archive.gone.iter().filter_map(|gone| match gone.message.blob {
                BlobRef::File(number) => Some(number),
                BlobRef::Inline(_) => None,
            });
            named.extend(files);
        }
        let Places { bytes, mut broken, .. } = places;
        scan.bytes += bytes;
        scan.broken.append(&mut broken);
        problems.into_iter().for_each(|(file, offset, problem)| scan.find(file, offset, &problem));
        found.files.sort_unstable();
        found.files.dedup();
        found.files(dir, &named, scan)?;
        Ok(found)
    }

    /// Looks at every file: who owns it, who may read it, and whether anybody needs it.
    fn files(&mut self, dir: &Path, named: &HashSet<u64>, scan: &mut Scan) -> Result<()> {
        let mut orphans = 0;
        for (part, is_blob) in [(dir.to_owned(), false), (dir.join("log"), false), (dir.join("blob"), true)] {
            self.permissions(&part, 0o700, scan)?;
            for path in entries(&part)? {
                if !path.is_dir() || path.is_symlink() {
                    self.permissions(&path, 0o600, scan)?;
                    orphans += u64::from(is_blob && is_orphan(&path, named));
                }
            }
        }
        if orphans > 0 {
            self.notes
                .push(format!("{orphans} files in {} that no message needs", dir.join("blob").display()));
        }
        Ok(())
    }

    fn permissions(&mut self, path: &Path, mode: u32, scan: &mut Scan) -> Result<()> {
        let found = match fs::symlink_metadata(path) {
            // Removed meanwhile, or an upload that has ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found.map_err(Error::io("cannot stat", path))?,
        };
        if found.is_symlink() {
            scan.find(path.to_owned(), 0, "is a symbolic link, which the store does not follow");
        } else if found.uid() != nix::unistd::geteuid().as_raw() {
            scan.find(path.to_owned(), 0, "belongs to another account: use chown");
        } else if found.permissions().mode() & 0o777 & !mode != 0 {
            scan.find(path.to_owned(), 0, "others may read or write it");
            self.modes.push(path.to_owned());
        }
        Ok(())
    }
}

fn is_orphan(path: &Path, named: &HashSet<u64>) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let number = u64::from_str_radix(name, 16).ok().filter(|_| name.len() == 16);
    number.is_some_and(|number| !named.contains(&number))
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(Error::io("cannot read", dir))?,
    };
    let paths = listed.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
    let mut paths = paths.map_err(Error::io("cannot read", dir))?;
    paths.sort_unstable();
    Ok(paths)
}

/// File, offset and what is wrong there.
type Problem = (PathBuf, u64, &'static str);

/// Reads and verifies records by their places.
pub(super) struct Places<'a> {
    dir: PathBuf,
    mark: u128,
    scan: &'a Scan,
    damaged: HashSet<LogPos>,
    units: BTreeMap<PackName, Option<Arc<Unit>>>,
    /// Records in front of the scan that are whole.
    verified: HashSet<LogPos>,
    broken: Vec<PathBuf>,
    bytes: u64,
}

impl<'a> Places<'a> {
    pub fn new(dir: &Path, mark: u128, scan: &'a Scan) -> Self {
        let damaged = damaged_places(&scan.regions);
        Places {
            dir: dir.to_owned(),
            mark,
            scan,
            damaged,
            units: BTreeMap::new(),
            verified: HashSet::new(),
            broken: Vec::new(),
            bytes: 0,
        }
    }

    fn body(&mut self, message: &Message) -> Result<(), Problem> {
        match message.blob {
            BlobRef::Inline(place) => self.record(place, Kind::Blob, message.size),
            BlobRef::File(number) => {
                let path = blob_path(&self.dir, number);
                let len = open_for_reading(&path).and_then(|file| Ok(file.metadata()?.len()));
                match len {
                    Ok(len) if len == u64::from(message.size) => Ok(()),
                    Ok(len) => Err((path, len, "has not the message's length")),
                    Err(_) => Err((path, 0, "cannot be read")),
                }
            }
        }
    }

    fn meta(&mut self, message: &Message) -> Result<(), Problem> {
        self.record(message.meta, Kind::Meta, message.meta_len)
    }

    fn record(&mut self, place: LogPos, kind: Kind, len: u32) -> Result<(), Problem> {
        let path = segment_path(&self.dir, place.segment);
        if self.damaged.contains(&place) {
            return Err((path, place.offset.into(), "has a wrong checksum"));
        }
        if place.segment >= self.scan.start {
            let is_there = self.scan.bulk.get(&place) == Some(&(kind, len));
            return if is_there {
                Ok(())
            } else {
                Err((path, place.offset.into(), "the record is not there"))
            };
        }
        if self.verified.contains(&place) {
            return Ok(());
        }
        self.read(place, kind, len)?;
        self.verified.insert(place);
        Ok(())
    }

    /// The payload of a record, when it is whole.
    pub fn read(&mut self, place: LogPos, kind: Kind, len: u32) -> Result<Vec<u8>, Problem> {
        let unit = self.unit(place.segment);
        let path =
            unit.as_ref().map_or_else(|| segment_path(&self.dir, place.segment), |(path, _)| path.clone());
        let failed = |problem| (path.clone(), u64::from(place.offset), problem);
        let (_, unit) = unit.as_ref().ok_or_else(|| failed("nothing is left of it"))?;
        let at = unit.find(place).ok_or_else(|| failed("the record is not there"))?;
        let mut header = [0; HEADER];
        read_at(&unit.file, &mut header, at).map_err(|_| failed("cannot be read"))?;
        let header =
            Header::decode(&header, place.offset).map_err(|_| failed("what stands here is no record"))?;
        if (header.kind, header.len) != (kind, len) {
            return Err(failed("another record stands here"));
        }
        let mut payload = vec![0; len as usize];
        read_at(&unit.file, &mut payload, at + HEADER as u64).map_err(|_| failed("cannot be read"))?;
        self.bytes += u64::from(header.stride());
        let is_whole =
            header.matches(&payload) && (kind != Kind::Meta || Meta::decode(payload.clone()).is_some());
        if is_whole { Ok(payload) } else { Err(failed("has a wrong checksum")) }
    }

    /// The file that has what is left of a segment.
    fn unit(&mut self, segment: u32) -> Option<(PathBuf, Arc<Unit>)> {
        let own = PackName { first: segment, last: segment };
        let is_plain = self.scan.files.segments.contains(&segment);
        let name = if is_plain { own } else { self.scan.files.pack_of(segment)? };
        let path = if is_plain { segment_path(&self.dir, segment) } else { name.path(&self.dir) };
        if let Some(known) = self.units.get(&name) {
            return known.clone().map(|unit| (path, unit));
        }
        let disk: &dyn Disk = &Local;
        let opened = if is_plain {
            // Its header may be damaged; the records have checks of their own.
            open_for_reading(&path).ok().map(|file| Unit::segment(segment, file))
        } else {
            let opened = Unit::open_pack(disk, &self.dir, name, self.mark);
            if matches!(opened, Err(Error::Damaged { .. })) {
                self.broken.push(path.clone());
            }
            opened.ok()
        };
        let opened = opened.map(Arc::new);
        self.units.insert(name, opened.clone());
        opened.map(|unit| (path, unit))
    }
}
