//! Flags that a client may set (RFC 9051 §2.3.2).

use std::fmt;

use smallvec::SmallVec;

use super::bits::bit_set;
use crate::imap::chars::Class;
use crate::imap::limits::MAX_KEYWORD;

bit_set! {
    /// The system flags that a client may change.
    SystemFlags: u8 {
        ANSWERED = 0,
        FLAGGED = 1,
        DELETED = 2,
        SEEN = 3,
        DRAFT = 4,
    }
}

impl SystemFlags {
    /// Every flag with its name on the wire, in the order in which responses list them.
    pub const NAMES: [(SystemFlags, &'static str); 5] = [
        (SystemFlags::ANSWERED, "\\Answered"),
        (SystemFlags::FLAGGED, "\\Flagged"),
        (SystemFlags::DELETED, "\\Deleted"),
        (SystemFlags::SEEN, "\\Seen"),
        (SystemFlags::DRAFT, "\\Draft"),
    ];

    /// The flag with this name, backslash included, in any case.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name))
            .map(|(flag, _)| *flag)
    }
}

/// A keyword: an atom of at most [`MAX_KEYWORD`] bytes. Keywords that differ in case only are the same keyword
/// (RFC 9051 §2.3.2), so equality ignores ASCII case.
#[derive(Clone, Copy)]
pub struct Keyword<'a>(&'a str);

impl<'a> Keyword<'a> {
    /// The keyword with this name; `None` when it is no atom or too long.
    pub fn new(name: &'a str) -> Option<Self> {
        let valid = !name.is_empty() && name.len() <= MAX_KEYWORD && Class::ATOM.has_all(name.as_bytes());
        valid.then_some(Keyword(name))
    }

    /// The keyword of this name, which is an atom; `None` when it is too long.
    pub(in crate::imap) fn of_atom(atom: &'a str) -> Option<Self> {
        (atom.len() <= MAX_KEYWORD).then_some(Keyword(atom))
    }

    pub fn as_str(self) -> &'a str {
        self.0
    }
}

impl PartialEq for Keyword<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }
}

impl Eq for Keyword<'_> {}

impl fmt::Debug for Keyword<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The flags of a STORE or APPEND, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagList<'a> {
    pub system: SystemFlags,
    pub keywords: SmallVec<[Keyword<'a>; 2]>,
}
