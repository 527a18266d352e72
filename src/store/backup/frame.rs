//! The envelope of a stream: its header, and frames with numbers, lengths and checksums (`docs/backup-format.md`).

use std::io::{self, Read, Write};

use super::super::wire::{Fields, PutFields};
use super::error::{BackupError, Result};
use super::limits::{MAX_BODY, MAX_FRAME};

const MAGIC: &[u8; 8] = b"HELIOBAK";
const MAJOR: u16 = 1;
const MINOR: u16 = 0;

/// Bytes of the stream's header, and of a frame's.
const STREAM_HEADER: usize = 80;
const FRAME_HEADER: usize = 24;

/// A reader that does not know the type may skip the frame.
const IGNORABLE: u8 = 1;

/// What a stream covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Full,
    /// What has changed since another backup.
    SinceBackup,
    /// Messages that came into their mailboxes since a time, in seconds since 1970.
    SinceDate(i64),
}

/// How a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHeader {
    /// Random: no other stream has it.
    pub id: u128,
    /// The stream that this one continues; 0 for none.
    pub predecessor: u128,
    pub scope: Scope,
    /// Seconds since 1970.
    pub begun: i64,
}

impl StreamHeader {
    fn encode(&self) -> Vec<u8> {
        let (kind, since) = match self.scope {
            Scope::Full => (0, 0),
            Scope::SinceBackup => (1, 0),
            Scope::SinceDate(since) => (2, since),
        };
        let mut out = Vec::with_capacity(STREAM_HEADER);
        out.put(MAGIC);
        out.put_u16(MAJOR);
        out.put_u16(MINOR);
        out.put_u32(kind);
        out.put_u128(self.id);
        out.put_u128(self.predecessor);
        out.put_i64(self.begun);
        out.put_i64(since);
        out.resize(STREAM_HEADER - 4, 0);
        out.put_u32(crc32fast::hash(&out));
        out
    }

    fn decode(bytes: &[u8; STREAM_HEADER]) -> Result<StreamHeader> {
        let (body, crc) = bytes.split_at(STREAM_HEADER - 4);
        let mut fields = Fields(body);
        if fields.bytes(8) != Some(MAGIC) {
            return Err(BackupError::Foreign);
        }
        if Fields(crc).u32() != Some(crc32fast::hash(body)) {
            return Err(BackupError::Damaged { offset: 0, problem: "its header has a wrong checksum" });
        }
        match fields.u16() {
            Some(MAJOR) => {}
            major => return Err(BackupError::Newer(major.unwrap_or_default())),
        }
        let short = BackupError::Damaged { offset: 0, problem: "its header makes no sense" };
        Self::take(&mut fields).ok_or(short)
    }

    fn take(fields: &mut Fields<'_>) -> Option<StreamHeader> {
        fields.u16()?;
        let kind = fields.u32()?;
        let (id, predecessor, begun, since) = (fields.u128()?, fields.u128()?, fields.i64()?, fields.i64()?);
        let scope = match kind {
            0 => Scope::Full,
            1 => Scope::SinceBackup,
            2 => Scope::SinceDate(since),
            _ => return None,
        };
        Some(StreamHeader { id, predecessor, scope, begun })
    }
}

/// The types of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Subscription,
    Mailbox,
    Message,
    Body,
    Flags,
    Lost,
    UserEnd,
    Skipped,
    End,
}

impl Kind {
    const ALL: [Kind; 10] = [
        Kind::User,
        Kind::Subscription,
        Kind::Mailbox,
        Kind::Message,
        Kind::Body,
        Kind::Flags,
        Kind::Lost,
        Kind::UserEnd,
        Kind::Skipped,
        Kind::End,
    ];

    fn code(self) -> u8 {
        Kind::ALL.iter().position(|known| *known == self).map_or(u8::MAX, |at| at as u8 + 1)
    }

    fn from_code(code: u8) -> Option<Kind> {
        usize::from(code).checked_sub(1).and_then(|at| Kind::ALL.get(at)).copied()
    }
}

/// Writes a stream.
pub(super) struct FrameWriter<W> {
    out: W,
    number: u64,
    payload: Vec<u8>,
}

impl<W: Write> FrameWriter<W> {
    pub fn begin(mut out: W, header: &StreamHeader) -> Result<Self> {
        out.write_all(&header.encode()).map_err(BackupError::Write)?;
        Ok(FrameWriter { out, number: 0, payload: Vec::new() })
    }

    /// Writes a frame whose payload `put` appends.
    pub fn frame(&mut self, kind: Kind, put: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        put(&mut payload);
        let written = self.bytes(kind, &payload);
        self.payload = payload;
        written
    }

    /// Writes a frame with this payload.
    pub fn bytes(&mut self, kind: Kind, payload: &[u8]) -> Result<()> {
        if payload.len() > MAX_FRAME {
            return Err(BackupError::Write(io::Error::other("a mailbox is too fragmented for a frame")));
        }
        let mut header = Vec::with_capacity(FRAME_HEADER);
        header.put_u32(payload.len() as u32);
        header.put_u8(kind.code());
        header.put_u8(0);
        header.put_u16(0);
        header.put_u64(self.number);
        header.put_u32(crc32fast::hash(payload));
        header.put_u32(crc32fast::hash(&header));
        self.number += 1;
        self.out.write_all(&header).and_then(|()| self.out.write_all(payload)).map_err(BackupError::Write)
    }

    pub fn into_inner(self) -> W {
        self.out
    }
}

/// Where a stream is read from.
pub trait Input: Read {
    /// Goes over bytes that nobody wants.
    ///
    /// # Errors
    /// As reading them.
    fn skip(&mut self, count: u64) -> io::Result<()>
    where
        Self: Sized,
    {
        // A stream that ends here is found out by the next read.
        io::copy(&mut self.by_ref().take(count), &mut io::sink()).map(|_| ())
    }
}

impl Input for io::BufReader<std::fs::File> {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        self.seek_relative(count as i64)
    }
}

impl Input for io::StdinLock<'_> {}

impl Input for &[u8] {}

/// A frame's header that passed its check.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameHeader {
    pub kind: Kind,
    pub len: u32,
    crc: u32,
}

/// Reads a stream.
pub(super) struct FrameReader<R> {
    input: R,
    number: u64,
    /// Bytes that have been read.
    pub offset: u64,
}

impl<R: Input> FrameReader<R> {
    pub fn begin(mut input: R) -> Result<(StreamHeader, Self)> {
        let mut bytes = [0; STREAM_HEADER];
        match input.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(BackupError::Foreign),
            read => read.map_err(BackupError::Read)?,
        }
        let header = StreamHeader::decode(&bytes)?;
        Ok((header, FrameReader { input, number: 0, offset: STREAM_HEADER as u64 }))
    }

    /// The next frame that this version knows. A stream has an end frame: its end without one is an error.
    pub fn header(&mut self) -> Result<FrameHeader> {
        loop {
            let mut bytes = [0; FRAME_HEADER];
            self.fill(&mut bytes)?;
            let (len, code, options, crc) = self.check(&bytes)?;
            match Kind::from_code(code) {
                Some(kind) => return Ok(FrameHeader { kind, len, crc }),
                None if options & IGNORABLE != 0 => self.skip_bytes(len)?,
                None => return Err(self.damaged("a newer version of this program wrote this frame")),
            }
        }
    }

    fn check(&mut self, bytes: &[u8; FRAME_HEADER]) -> Result<(u32, u8, u8, u32)> {
        let mut fields = Fields(bytes);
        let mut take = || {
            let (len, code, options) = (fields.u32()?, fields.u8()?, fields.u8()?);
            fields.u16()?;
            Some((len, code, options, fields.u64()?, fields.u32()?, fields.u32()?))
        };
        let (len, code, options, number, crc, check) = take().ok_or(BackupError::Cut(self.offset))?;
        if check != crc32fast::hash(&bytes[..FRAME_HEADER - 4]) {
            return Err(self.damaged("a frame's header has a wrong checksum"));
        }
        if number != self.number {
            return Err(self.damaged("frames are missing, or in another order"));
        }
        let limit = if code == Kind::Body.code() { MAX_BODY } else { MAX_FRAME };
        if len as usize > limit {
            return Err(self.damaged("a frame is longer than any may be"));
        }
        self.number += 1;
        Ok((len, code, options, crc))
    }

    /// The payload behind a header, in `out`.
    pub fn payload(&mut self, header: FrameHeader, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        let wanted = u64::from(header.len);
        // Grows with what is there, whatever the length says.
        let read = self.input.by_ref().take(wanted).read_to_end(out).map_err(BackupError::Read)?;
        self.offset += read as u64;
        if (read as u64) < wanted {
            return Err(BackupError::Cut(self.offset));
        }
        if crc32fast::hash(out) == header.crc {
            Ok(())
        } else {
            Err(self.damaged("a frame has a wrong checksum"))
        }
    }

    /// Goes over the payload behind a header without a look at it.
    pub fn skip(&mut self, header: FrameHeader) -> Result<()> {
        self.skip_bytes(header.len)
    }

    fn skip_bytes(&mut self, count: u32) -> Result<()> {
        self.offset += u64::from(count);
        self.input.skip(count.into()).map_err(BackupError::Read)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        match self.input.read_exact(bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(BackupError::Cut(self.offset)),
            Err(error) => Err(BackupError::Read(error)),
            Ok(()) => {
                self.offset += bytes.len() as u64;
                Ok(())
            }
        }
    }

    pub fn damaged(&self, problem: &'static str) -> BackupError {
        BackupError::Damaged { offset: self.offset, problem }
    }
}
