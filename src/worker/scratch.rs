//! The buffers of a pool thread; sessions borrow them while they run.

use crate::session::INPUT_LIMIT;

use super::limits::{HEAD_ROOM, OUTPUT_KEPT, READ_SIZE};

/// What a run of a session needs beside its own state.
pub struct Scratch {
    /// Input that the session has not consumed.
    input: Buffer,
    /// For the client, behind [`HEAD_ROOM`] bytes that are nobody's.
    output: Vec<u8>,
    /// Of sessions over TLS; a thread that has run none owns no such buffers.
    sealed: Sealed,
}

/// Bytes of TLS on their way.
#[derive(Default)]
struct Sealed {
    /// From the socket: records that are not opened yet.
    arrived: Buffer,
    /// For the socket.
    outgoing: Outgoing,
}

/// Bytes that arrive at the end and leave at the front: those at `start..end` are there.
#[derive(Default)]
pub struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

/// Records for the socket.
#[derive(Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    end: usize,
}

impl Scratch {
    pub fn new() -> Self {
        let (input, output) = (Buffer::new(INPUT_LIMIT + READ_SIZE), vec![0; HEAD_ROOM]);
        Scratch { input, output, sealed: Sealed::default() }
    }

    /// Brings in what a session had left, and frees it.
    pub fn load(&mut self, leftover: &mut Vec<u8>) {
        self.clear_output();
        self.input.load(leftover);
    }

    /// Gives back what the session leaves now: at most [`INPUT_LIMIT`] bytes.
    pub fn store(&mut self, leftover: &mut Vec<u8>) {
        self.input.store(leftover);
        if self.output.capacity() > OUTPUT_KEPT {
            self.output = vec![0; HEAD_ROOM];
        }
    }

    /// As `load`, for a session over TLS: `partial` is the record that has not arrived in full.
    pub fn load_sealed(&mut self, partial: &mut Vec<u8>) {
        if self.sealed.arrived.bytes.is_empty() {
            self.sealed.arrived = Buffer::new(READ_SIZE);
        }
        self.sealed.arrived.load(partial);
        self.sealed.outgoing.clear();
    }

    /// As `store`, for a session over TLS.
    pub fn store_sealed(&mut self, partial: &mut Vec<u8>) {
        self.sealed.arrived.store(partial);
        if self.sealed.outgoing.bytes.capacity() > OUTPUT_KEPT {
            self.sealed.outgoing = Outgoing::default();
        }
    }

    pub fn input(&self) -> &[u8] {
        self.input.bytes()
    }

    pub fn output(&self) -> &[u8] {
        self.output.get(HEAD_ROOM..).unwrap_or_default()
    }

    /// The buffer that the output is put into, behind what is there.
    pub fn output_buffer(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    pub fn clear_output(&mut self) {
        self.output.resize(HEAD_ROOM, 0);
    }

    /// The input, and [`Self::output_buffer`].
    pub fn both(&mut self) -> (&[u8], &mut Vec<u8>) {
        (self.input.bytes(), &mut self.output)
    }

    /// Everything that TLS works on.
    pub fn all(&mut self) -> Parts<'_> {
        Parts {
            input: &mut self.input,
            output: self.output.get(HEAD_ROOM..).unwrap_or_default(),
            arrived: &mut self.sealed.arrived,
            outgoing: &mut self.sealed.outgoing,
        }
    }

    pub fn consume(&mut self, count: usize) {
        self.input.consume(count);
    }

    /// Forgets the input; how much it was.
    pub fn drop_input(&mut self) -> usize {
        let count = self.input().len();
        self.consume(count);
        count
    }

    /// Room for more input behind what is there: [`READ_SIZE`] bytes, whenever less than [`INPUT_LIMIT`] wait.
    pub fn spare(&mut self) -> &mut [u8] {
        self.input.spare()
    }

    /// `count` bytes were read into the spare room.
    pub fn filled(&mut self, count: usize) {
        self.input.filled(count);
    }
}

/// The buffers, each on its own.
pub struct Parts<'a> {
    pub input: &'a mut Buffer,
    pub output: &'a [u8],
    pub arrived: &'a mut Buffer,
    pub outgoing: &'a mut Outgoing,
}

impl Buffer {
    fn new(size: usize) -> Self {
        Buffer { bytes: vec![0; size].into(), start: 0, end: 0 }
    }

    fn load(&mut self, leftover: &mut Vec<u8>) {
        self.start = 0;
        self.end = leftover.len();
        self.bytes[..self.end].copy_from_slice(leftover);
        *leftover = Vec::new();
    }

    fn store(&mut self, leftover: &mut Vec<u8>) {
        if self.start < self.end {
            *leftover = self.bytes().to_vec();
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The same, for opening records in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    pub fn consume(&mut self, count: usize) {
        self.start += count;
    }

    /// Room behind what is there, [`READ_SIZE`] bytes at most.
    pub fn spare(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let until = (self.end + READ_SIZE).min(self.bytes.len());
        &mut self.bytes[self.end..until]
    }

    pub fn filled(&mut self, count: usize) {
        self.end += count;
    }

    /// Copies bytes to the end. `false`: there is no room for all of them.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        if self.bytes.len() - self.end < bytes.len() {
            self.spare();
        }
        match self.bytes.get_mut(self.end..self.end + bytes.len()) {
            Some(room) => room.copy_from_slice(bytes),
            None => return false,
        }
        self.end += bytes.len();
        true
    }
}

impl Outgoing {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.end]
    }

    pub fn clear(&mut self) {
        self.end = 0;
    }

    /// Room for this many bytes. The buffer keeps its size, so that it is not zeroed each time.
    pub fn room(&mut self, size: usize) -> &mut [u8] {
        if self.bytes.len() - self.end < size {
            self.bytes.resize(self.end + size, 0);
        }
        &mut self.bytes[self.end..]
    }

    pub fn filled(&mut self, count: usize) {
        self.end += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_come_back_with_more_behind_them() {
        let mut scratch = Scratch::new();
        let mut leftover = Vec::new();
        scratch.load(&mut leftover);
        scratch.spare()[..6].copy_from_slice(b"a NOOP");
        scratch.filled(6);
        scratch.consume(2);
        scratch.store(&mut leftover);
        assert_eq!(leftover, b"NOOP");

        scratch.load(&mut leftover);
        assert_eq!(leftover.capacity(), 0, "an idle session owns no buffer");
        scratch.spare()[..2].copy_from_slice(b"\r\n");
        scratch.filled(2);
        assert_eq!(scratch.input(), b"NOOP\r\n");
        scratch.consume(6);
        scratch.store(&mut leftover);
        assert!(leftover.is_empty());
    }

    #[test]
    fn output_begins_behind_its_head_room() {
        let mut scratch = Scratch::new();
        for text in [&b"* OK\r\n"[..], &[b'x'; OUTPUT_KEPT + 1], b"bye"] {
            scratch.load(&mut Vec::new());
            scratch.both().1.extend_from_slice(text);
            assert_eq!(scratch.output(), text);
            assert_eq!(scratch.all().output, text);
            scratch.clear_output();
            assert!(scratch.output().is_empty());
            scratch.store(&mut Vec::new());
        }
    }

    #[test]
    fn as_much_as_was_read_can_be_pushed() {
        let mut scratch = Scratch::new();
        scratch.load(&mut vec![b'x'; INPUT_LIMIT - 1]);
        scratch.consume(1);
        let input = scratch.all().input;
        assert!(input.push(&[b'y'; READ_SIZE]));
        assert!(input.push(b"12") && !input.push(b"3"));
        assert!(input.bytes().starts_with(b"xx") && input.bytes().ends_with(b"y12"));
    }

    #[test]
    fn a_full_leftover_still_leaves_room_to_read() {
        let mut scratch = Scratch::new();
        scratch.load(&mut vec![b'x'; INPUT_LIMIT]);
        assert_eq!(scratch.spare().len(), READ_SIZE);
    }
}
