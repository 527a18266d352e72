//! The buffers of a pool thread; sessions borrow them while they run.

use crate::session::INPUT_LIMIT;

use super::limits::{OUTPUT_KEPT, READ_SIZE};

/// Input that a session has not consumed stands at `start..end`.
pub struct Scratch {
    input: Box<[u8]>,
    start: usize,
    end: usize,
    pub output: Vec<u8>,
}

impl Scratch {
    pub fn new() -> Self {
        Scratch { input: vec![0; INPUT_LIMIT + READ_SIZE].into(), start: 0, end: 0, output: Vec::new() }
    }

    /// Brings in what a session had left, and frees it.
    pub fn load(&mut self, leftover: &mut Vec<u8>) {
        self.start = 0;
        self.end = leftover.len();
        self.output.clear();
        self.input[..self.end].copy_from_slice(leftover);
        *leftover = Vec::new();
    }

    /// Gives back what the session leaves now: at most [`INPUT_LIMIT`] bytes.
    pub fn store(&mut self, leftover: &mut Vec<u8>) {
        if self.start < self.end {
            *leftover = self.input[self.start..self.end].to_vec();
        }
        if self.output.capacity() > OUTPUT_KEPT {
            self.output = Vec::new();
        }
    }

    pub fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    /// The input, and the output beside it.
    pub fn both(&mut self) -> (&[u8], &mut Vec<u8>) {
        (&self.input[self.start..self.end], &mut self.output)
    }

    pub fn consume(&mut self, count: usize) {
        self.start += count;
    }

    /// Room for more input behind what is there: [`READ_SIZE`] bytes, whenever less than [`INPUT_LIMIT`] wait.
    pub fn spare(&mut self) -> &mut [u8] {
        self.input.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let until = (self.end + READ_SIZE).min(self.input.len());
        &mut self.input[self.end..until]
    }

    /// `count` bytes were read into the spare room.
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
    fn a_full_leftover_still_leaves_room_to_read() {
        let mut scratch = Scratch::new();
        scratch.load(&mut vec![b'x'; INPUT_LIMIT]);
        assert_eq!(scratch.spare().len(), READ_SIZE);
    }
}
