//! Reading the log: whole transactions only, applied to the state in order.

use std::cell::Cell;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;

use super::error::{Error, Result};
use super::log::Log;
use super::message::LogPos;
use super::record::{BadHeader, HEADER, Header, Kind, Transaction};
use super::state::State;
use super::wire::Fields;
use crate::sys::append_from;

/// Bytes read from a segment at once where all of them are looked at.
const WINDOW: u32 = 64 * 1024;
/// The same where message bytes are stepped over.
const GLANCE: u32 = 4096;

/// How a replay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// At the end of what is written.
    Clean,
    /// At a transaction that is not whole: being written, or left behind by a writer that died.
    Torn(Tear),
}

/// What is wrong with a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tear {
    /// Its first record that is missing or bad.
    pub at: LogPos,
    /// The segment ends before it does.
    short: bool,
}

/// Applies what was appended to the log since `state.position`. With `verify`, message bytes are checked as well.
pub(super) fn catch_up(log: &mut Log, state: &mut State, verify: bool) -> Result<Tail> {
    catch_up_to(log, state, u32::MAX, verify)
}

/// As [`catch_up`], but stops at the start of the segment `until`.
pub(super) fn catch_up_to(log: &mut Log, state: &mut State, until: u32, verify: bool) -> Result<Tail> {
    while state.position.segment < until {
        if !log.has_grown(state.position)? {
            return Ok(Tail::Clean);
        }
        let Ok(size) = u32::try_from(log.size()?) else {
            return Err(log.damaged(state.position, "segment is longer than 4 GiB"));
        };
        if size < state.position.offset {
            return Err(log.damaged(state.position, "segment is shorter than it was"));
        }
        let file = log.active().clone();
        let step = if verify { WINDOW } else { GLANCE };
        let mut source = Window { file: &file, size, step, bytes: SPARE_WINDOW.take(), start: 0 };
        let ending = replay(&mut source, log, state, verify);
        source.give_back();
        match ending? {
            Ending::At(tail) => return Ok(tail),
            Ending::Sealed(next) => {
                log.advance(next)?;
                state.position = Log::start_of(next);
            }
        }
    }
    Ok(Tail::Clean)
}

/// Applies a transaction that this process has just written at the end of the state.
pub(super) fn apply_own(txn: &Transaction, log: &Log, state: &mut State) -> Result<()> {
    for (kind, payload) in txn.records() {
        let applied = state.apply(kind, payload);
        applied.map_err(|_| log.damaged(txn.start(), "a record contradicts the ones before it"))?;
    }
    state.position = txn.end();
    Ok(())
}

enum Ending {
    At(Tail),
    Sealed(u32),
}

thread_local! {
    /// The room of the last replay, for the next: one that is not large.
    static SPARE: Cell<Found> = Cell::default();
    /// The same for what is read from a segment.
    static SPARE_WINDOW: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Room for payloads, in bytes, and for records that a thread keeps.
const KEPT: usize = 4096;
const KEPT_RECORDS: usize = 64;

fn replay(source: &mut impl Source, log: &Log, state: &mut State, verify: bool) -> Result<Ending> {
    let mut found = SPARE.take();
    let ending = replay_with(&mut found, source, log, state, verify);
    if found.payloads.capacity() <= KEPT && found.records.capacity() <= KEPT_RECORDS {
        SPARE.set(found);
    }
    ending
}

fn replay_with(
    found: &mut Found,
    source: &mut impl Source,
    log: &Log,
    state: &mut State,
    verify: bool,
) -> Result<Ending> {
    loop {
        let at = state.position;
        match found.read(source, at.offset, verify) {
            Ok(()) => {}
            Err(Stop::End) => return Ok(Ending::At(Tail::Clean)),
            Err(Stop::Torn { short }) => {
                let tear = Tear { at: LogPos::new(at.segment, found.end), short };
                return Ok(Ending::At(Tail::Torn(tear)));
            }
            Err(Stop::Unknown) => {
                return Err(log.damaged(at, "a newer version of this program wrote this record"));
            }
            Err(Stop::Io(error)) => return Err(Error::io("cannot read the log of", log.dir())(error)),
        }
        for (kind, payload) in &found.records {
            let applied = state.apply(*kind, &found.payloads[payload.clone()]);
            applied.map_err(|_| log.damaged(at, "a record contradicts the ones before it"))?;
        }
        // The state stands before a Seal until the next segment is open.
        if let Some(next) = found.seals() {
            return Ok(Ending::Sealed(next));
        }
        state.position = LogPos::new(at.segment, found.end);
    }
}

/// Why no transaction was read.
enum Stop {
    End,
    Torn { short: bool },
    Unknown,
    Io(std::io::Error),
}

/// One whole transaction.
#[derive(Default)]
struct Found {
    payloads: Vec<u8>,
    records: Vec<(Kind, Range<usize>)>,
    end: u32,
}

impl Found {
    fn read(&mut self, source: &mut impl Source, at: u32, verify: bool) -> Result<(), Stop> {
        self.payloads.clear();
        self.records.clear();
        self.end = at;
        while self.read_record(source, verify)? {}
        Ok(())
    }

    /// Reads one record; says whether the transaction goes on behind it.
    fn read_record(&mut self, source: &mut impl Source, verify: bool) -> Result<bool, Stop> {
        let first = self.records.is_empty();
        let bytes = source.bytes(self.end, HEADER as u32).map_err(Stop::Io)?;
        let bytes = bytes.and_then(|bytes| bytes.first_chunk::<HEADER>());
        let Some(bytes) = bytes else {
            return Err(if first && source.size() == self.end {
                Stop::End
            } else {
                Stop::Torn { short: true }
            });
        };
        if first && *bytes == [0; HEADER] {
            return Err(Stop::End);
        }
        let header = Header::decode(bytes, self.end).map_err(|bad| match bad {
            BadHeader::NotWhole => Stop::Torn { short: false },
            BadHeader::Unknown => Stop::Unknown,
        })?;
        let Some(end) = self.end.checked_add(header.stride()).filter(|end| *end <= source.size()) else {
            return Err(Stop::Torn { short: true });
        };
        let from = self.payloads.len();
        if verify || !header.kind.is_bulk() {
            let payload = source.bytes(self.end + HEADER as u32, header.len).map_err(Stop::Io)?;
            let payload =
                payload.filter(|payload| header.matches(payload)).ok_or(Stop::Torn { short: false })?;
            if !header.kind.is_bulk() {
                self.payloads.extend_from_slice(payload);
            }
        }
        self.records.push((header.kind, from..self.payloads.len()));
        self.end = end;
        Ok(header.continued)
    }

    fn seals(&self) -> Option<u32> {
        match self.records.last() {
            Some((Kind::Seal, payload)) => Fields(&self.payloads[payload.clone()]).u32(),
            _ => None,
        }
    }
}

/// Where records are read from.
trait Source {
    /// `len` bytes from `offset` on; `None` when the source ends before.
    fn bytes(&mut self, offset: u32, len: u32) -> std::io::Result<Option<&[u8]>>;
    /// The offset of the end.
    fn size(&self) -> u32;
}

/// A segment, of which a part is in memory.
struct Window<'a> {
    file: &'a File,
    size: u32,
    step: u32,
    bytes: Vec<u8>,
    start: u32,
}

/// How often a reader looks again at a segment that gets shorter under its eyes.
const LOOKS: usize = 8;

impl Window<'_> {
    fn holds(&self, offset: u32, end: u32) -> bool {
        offset >= self.start && end <= self.start + self.bytes.len() as u32
    }

    fn fill(&mut self, offset: u32, len: u32) -> std::io::Result<()> {
        let wanted = (self.size - offset).min(self.step.max(len));
        self.bytes.clear();
        self.start = offset;
        append_from(self.file, offset.into(), wanted as usize, &mut self.bytes)
    }

    /// Leaves the room to the next who catches up.
    fn give_back(mut self) {
        if self.bytes.capacity() <= GLANCE as usize {
            self.bytes.clear();
            SPARE_WINDOW.set(self.bytes);
        }
    }
}

impl Source for Window<'_> {
    fn bytes(&mut self, offset: u32, len: u32) -> std::io::Result<Option<&[u8]>> {
        let mut looks = 1;
        loop {
            let Some(end) = offset.checked_add(len).filter(|end| *end <= self.size) else { return Ok(None) };
            if self.holds(offset, end) {
                let from = (offset - self.start) as usize;
                return Ok(self.bytes.get(from..from + len as usize));
            }
            match self.fill(offset, len) {
                // A writer has cut off the reserve, or what a dead one had left.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof && looks < LOOKS => {
                    looks += 1;
                    self.size = u32::try_from(self.file.metadata()?.len()).unwrap_or(u32::MAX);
                }
                filled => filled?,
            }
        }
    }

    fn size(&self) -> u32 {
        self.size
    }
}

/// Records in memory.
struct Memory<'a> {
    bytes: &'a [u8],
    start: u32,
}

impl Source for Memory<'_> {
    fn bytes(&mut self, offset: u32, len: u32) -> std::io::Result<Option<&[u8]>> {
        let from = (offset - self.start) as usize;
        Ok(self.bytes.get(from..from + len as usize))
    }

    fn size(&self) -> u32 {
        self.start + self.bytes.len() as u32
    }
}

/// Whether `bytes`, which begin at `start`, are whole transactions, message bytes included. A reserve may follow the
/// last one of a sealed segment, and nowhere else.
pub(super) fn are_whole(bytes: &[u8], start: u32) -> bool {
    let mut source = Memory { bytes, start };
    let mut found = Found { end: start, ..Found::default() };
    loop {
        let sealed = found.seals().is_some();
        match found.read(&mut source, found.end, true) {
            Ok(()) => {}
            Err(stop) => return matches!(stop, Stop::End) && (sealed || found.end == source.size()),
        }
    }
}

/// Whether `bytes`, which begin at `start`, are one whole transaction and `apply` takes all of its records.
pub(super) fn whole_transaction(
    bytes: &[u8],
    start: u32,
    mut apply: impl FnMut(Kind, &[u8]) -> bool,
) -> bool {
    let mut found = Found::default();
    let whole = found.read(&mut Memory { bytes, start }, start, true).is_ok();
    let mut records = found.records.iter();
    whole
        && found.end as usize == start as usize + bytes.len()
        && records.all(|(kind, payload)| apply(*kind, &found.payloads[payload.clone()]))
}

/// Catches up with the lock held, and cuts off what a dead writer left behind, so that the end of the log is
/// where the next transaction goes.
///
/// A process that died leaves a transaction that breaks off, and nothing behind it. A loss of power can leave
/// wrong bytes, and whole records behind them, none of which was acknowledged; these are set aside. At any other time
/// they are damage, which only `heliograph reconstruct` may touch.
pub(super) fn settle(log: &mut Log, state: &mut State, epoch: u64, verify: bool) -> Result<()> {
    let tear = match catch_up(log, state, verify)? {
        Tail::Torn(tear) => tear,
        Tail::Clean if verify => Tear { at: state.position, short: false },
        Tail::Clean => return Ok(()),
    };
    let at = state.position;
    let tail = log.tail(at)?;
    if tail.is_empty() {
        return Ok(());
    }
    let may_be_torn = state.epoch < epoch;
    if !may_be_torn && !tear.short && !breaks_off(&tail, at, tear.at, PAGE) {
        return Err(log.damaged(tear.at, "a record has a wrong checksum"));
    }
    if has_record_behind(&tail, at, tear.at) {
        if !may_be_torn {
            return Err(log.damaged(tear.at, "a record claims more bytes than there are"));
        }
        let path = log.set_aside(at, &tail)?;
        log::warn!(file = path.display().to_string(); "set aside records that a loss of power had torn");
    }
    log.cut(at)
}

/// Whether a log that was read without its lock ends in damage, which is more than a transaction that is being written,
/// was left behind by a process that died, or was torn by a loss of power that nobody has recovered from yet.
pub(super) fn is_damaged(log: &Log, state: &State, epoch: u64, tear: Tear) -> Result<bool> {
    let at = state.position;
    if state.epoch < epoch {
        return Ok(false);
    }
    let tail = log.tail(at)?;
    let unfinished = tear.short || breaks_off(&tail, at, tear.at, WORD);
    Ok(!unfinished || has_record_behind(&tail, at, tear.at))
}

/// Bytes that are written in one piece, whatever happens to the writer, when others look.
const WORD: u32 = 8;
/// The same when a process has died: the kernel stops a write between two pages.
pub(super) const PAGE: u32 = 4096;

/// Whether the writer of the record at `tear` stopped in the middle of it: then there is nothing but the reserve from
/// the end of some piece of it on.
pub(super) fn breaks_off(tail: &[u8], start: LogPos, tear: LogPos, piece: u32) -> bool {
    let header = tail.get((tear.offset - start.offset) as usize..);
    let header = header.and_then(|bytes| bytes.first_chunk::<HEADER>());
    let header = header.and_then(|bytes| Header::decode(bytes, tear.offset).ok());
    let end = u64::from(tear.offset) + u64::from(header.map_or(HEADER as u32, |header| header.stride()));
    (u64::from(start.offset) + tail.len() as u64).next_multiple_of(piece.into()) < end
}

/// Looks for a record header behind `tear`: its check and its own offset make a chance match next to impossible.
fn has_record_behind(tail: &[u8], start: LogPos, tear: LogPos) -> bool {
    let from = (tear.offset - start.offset) as usize + 8;
    (from..tail.len()).step_by(8).any(|at| {
        let header = tail.get(at..).and_then(|bytes| bytes.first_chunk::<HEADER>());
        header.is_some_and(|bytes| Header::decode(bytes, start.offset + at as u32).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_reserve_may_go_while_the_log_is_read() {
        let mut txn = Transaction::new(LogPos::new(1, 64));
        txn.record(Kind::Subscribe, |out| out.resize(out.len() + 40, b'x'));
        let end = txn.end().offset;
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(txn.bytes(), 64).unwrap();
        // The reader saw the file when it was a reserve longer.
        let mut window = Window { file: &file, size: end + 9000, step: GLANCE, bytes: Vec::new(), start: 0 };
        let mut found = Found::default();
        assert!(found.read(&mut window, 64, false).is_ok());
        assert_eq!((found.end, found.records.len()), (end, 1));
        assert!(matches!(found.read(&mut window, end, false), Err(Stop::End)));
    }
}
