//! What waits for a subscriber, bounded in bytes.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::sync::Arc;

use crate::notify::limits::MAX_QUEUE;

/// Pieces that are written with one system call.
const PIECES: usize = 32;

/// Bytes on their way out. Those of an event are shared by all who get it.
#[derive(Default)]
pub struct Queue {
    pieces: VecDeque<Arc<[u8]>>,
    /// Bytes of the first piece that are gone.
    sent: usize,
    bytes: usize,
}

/// More waits than a queue may hold.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl Queue {
    pub fn push(&mut self, piece: Arc<[u8]>) -> Result<(), Full> {
        if self.bytes + piece.len() > MAX_QUEUE {
            return Err(Full);
        }
        self.bytes += piece.len();
        self.pieces.push_back(piece);
        Ok(())
    }

    /// Writes what the other end takes; says whether all is gone.
    pub fn write_to(&mut self, out: &mut impl Write) -> io::Result<bool> {
        while !self.pieces.is_empty() {
            let count = match self.write_once(out) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.drop_front(count);
        }
        Ok(true)
    }

    fn write_once(&self, out: &mut impl Write) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); PIECES];
        let mut skip = self.sent;
        let mut used = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece.get(skip..).unwrap_or_default());
            skip = 0;
            used += 1;
        }
        out.write_vectored(&slices[..used])
    }

    fn drop_front(&mut self, count: usize) {
        self.bytes = self.bytes.saturating_sub(count);
        self.sent += count;
        while let Some(first) = self.pieces.front().filter(|first| self.sent >= first.len()) {
            self.sent -= first.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at a time, then none for once.
    struct Narrow(Vec<u8>, bool);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if !self.1 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(3);
            self.0.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bytes_go_out_in_order_whatever_the_other_end_takes() {
        let (mut queue, mut out) = (Queue::default(), Narrow(Vec::new(), false));
        for text in ["one ", "two ", "", "three and more"] {
            queue.push(text.as_bytes().into()).unwrap();
        }
        while !queue.write_to(&mut out).unwrap() {}
        assert_eq!(
            (out.0.as_slice(), queue.pieces.is_empty(), queue.bytes),
            (&b"one two three and more"[..], true, 0)
        );
    }

    #[test]
    fn a_queue_has_an_end() {
        let mut queue = Queue::default();
        let piece: Arc<[u8]> = vec![0; MAX_QUEUE / 2].into();
        assert_eq!(queue.push(piece.clone()), Ok(()));
        assert_eq!(queue.push(piece), Ok(()));
        assert_eq!(queue.push(Arc::from(&b"x"[..])), Err(Full));
    }
}
