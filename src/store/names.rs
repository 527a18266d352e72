//! Names and numbers of the store, each a type of its own.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::num::NonZeroU32;

use thiserror::Error;

/// Longest user name, in bytes.
pub const MAX_USER_NAME: usize = 255;

/// A user: valid UTF-8 without control characters, 1 to 255 bytes. Never used as a path unescaped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(String);

/// Why a string is not a user name.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum UserNameError {
    #[error("user name is empty")]
    Empty,
    #[error("user name is longer than {MAX_USER_NAME} bytes")]
    TooLong,
    #[error("user name has a control character")]
    Control,
}

impl UserName {
    pub fn new(name: impl Into<String>) -> Result<Self, UserNameError> {
        let name = name.into();
        if name.is_empty() {
            return Err(UserNameError::Empty);
        }
        if name.len() > MAX_USER_NAME {
            return Err(UserNameError::TooLong);
        }
        if name.chars().any(char::is_control) {
            return Err(UserNameError::Control);
        }
        Ok(UserName(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Unique identifier of a message in a mailbox (RFC 9051 §2.3.1.1). Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(NonZeroU32);

impl Uid {
    pub const MIN: Uid = Uid(NonZeroU32::MIN);
    pub const MAX: Uid = Uid(NonZeroU32::MAX);

    pub fn new(value: u32) -> Option<Self> {
        NonZeroU32::new(value).map(Uid)
    }

    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Message sequence number in a session's view (RFC 9051 §2.3.1.2). Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeqNo(NonZeroU32);

impl SeqNo {
    pub fn new(value: u32) -> Option<Self> {
        NonZeroU32::new(value).map(SeqNo)
    }

    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for SeqNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Modification sequence (RFC 7162 §3.1): 1 to 2^63-1 on messages, grows with every change of a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModSeq(pub u64);

impl fmt::Display for ModSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A mailbox's identity (RFC 8474 MAILBOXID): random, never reused, survives RENAME.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MailboxId(pub u128);

impl Hash for MailboxId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

/// Something for each mailbox. Every command looks into one of these several times.
pub(super) type MailboxMap<T> = HashMap<MailboxId, T, BuildHasherDefault<IdHasher>>;

/// Leaves what is random already as it is; nobody but the server chooses the identity of a mailbox.
#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl fmt::Display for MailboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
