//! Keyed hashes: what the auth process remembers of credentials, and cannot be computed from outside.

use std::io;

use sha2::{Digest, Sha256};

/// A random key that lives as long as the process.
#[derive(Clone)]
pub struct Key([u8; 32]);

/// A keyed hash of several inputs, each with its length, so that no two different lists of inputs look the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Key {
    /// # Errors
    /// When the system has no random numbers.
    pub fn random() -> io::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Key(key))
    }

    /// The hash of all inputs.
    pub fn fingerprint(&self, inputs: &[&[u8]]) -> Fingerprint {
        let mut hash = Sha256::new_with_prefix(self.0);
        for input in inputs {
            hash.update((input.len() as u64).to_be_bytes());
            hash.update(input);
        }
        Fingerprint(hash.finalize().into())
    }

    /// A number that belongs to an input.
    pub fn number(&self, input: &[u8]) -> u64 {
        let Fingerprint(bytes) = self.fingerprint(&[input]);
        let [a, b, c, d, e, f, g, h, ..] = bytes;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl Fingerprint {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_and_its_borders_count() {
        let key = Key::random().unwrap();
        let lists: [&[&[u8]]; 6] =
            [&[b"ab", b"c"], &[b"a", b"bc"], &[b"abc"], &[b"abc", b""], &[b"", b"abc"], &[]];
        for (i, one) in lists.iter().enumerate() {
            for (j, other) in lists.iter().enumerate() {
                assert_eq!(key.fingerprint(one) == key.fingerprint(other), i == j);
            }
        }
        assert_ne!(key.fingerprint(&[b"a"]), Key::random().unwrap().fingerprint(&[b"a"]));
    }
}
