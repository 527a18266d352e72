//! LIST with its extensions and STATUS (RFC 9051 §6.3.9 and §6.3.11, RFC 5258, RFC 5819, RFC 6154).

use std::borrow::Cow;

use smallvec::SmallVec;

use super::bits::bit_set;

/// A LIST command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<'a> {
    /// Whether the extended form was used: an empty pattern then has no special meaning (RFC 5258 §3).
    pub extended: bool,
    pub select: ListSelect,
    /// UTF-8; empty for the user's own hierarchy.
    pub reference: Cow<'a, str>,
    /// UTF-8 with the wildcards `*` and `%`. Patterns that no mailbox name can match, because they are not in the
    /// dialect's encoding or are too long, are left out; there may be none.
    pub patterns: SmallVec<[Cow<'a, str>; 1]>,
    pub returns: ListReturn,
}

bit_set! {
    /// Which mailboxes LIST shows. RECURSIVEMATCH never stands alone.
    ListSelect: u8 {
        SUBSCRIBED = 0,
        REMOTE = 1,
        RECURSIVE_MATCH = 2,
        SPECIAL_USE = 3,
    }
}

/// What LIST tells about a mailbox besides its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListReturn {
    pub subscribed: bool,
    pub children: bool,
    pub special_use: bool,
    /// `RETURN (STATUS (…))` of RFC 5819.
    pub status: Option<StatusItems>,
}

bit_set! {
    /// What STATUS tells (RFC 9051 §6.3.11; HIGHESTMODSEQ RFC 7162, MAILBOXID RFC 8474, APPENDLIMIT RFC 7889).
    StatusItems: u16 {
        MESSAGES = 0,
        RECENT = 1,
        UIDNEXT = 2,
        UIDVALIDITY = 3,
        UNSEEN = 4,
        DELETED = 5,
        SIZE = 6,
        HIGHESTMODSEQ = 7,
        MAILBOXID = 8,
        APPENDLIMIT = 9,
    }
}

impl StatusItems {
    /// Every item with its name, in the order in which responses list them.
    pub const NAMES: [(StatusItems, &'static str); 10] = [
        (StatusItems::MESSAGES, "MESSAGES"),
        (StatusItems::RECENT, "RECENT"),
        (StatusItems::UIDNEXT, "UIDNEXT"),
        (StatusItems::UIDVALIDITY, "UIDVALIDITY"),
        (StatusItems::UNSEEN, "UNSEEN"),
        (StatusItems::DELETED, "DELETED"),
        (StatusItems::SIZE, "SIZE"),
        (StatusItems::HIGHESTMODSEQ, "HIGHESTMODSEQ"),
        (StatusItems::MAILBOXID, "MAILBOXID"),
        (StatusItems::APPENDLIMIT, "APPENDLIMIT"),
    ];
}

/// A special-use attribute (RFC 6154 §2, RFC 8457).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpecialUse {
    All,
    Archive,
    Drafts,
    Flagged,
    Important,
    Junk,
    Sent,
    Trash,
    /// An attribute that the server does not know; CREATE answers `NO [USEATTR]`.
    Unknown,
}

impl SpecialUse {
    /// Every known attribute with its name.
    pub const NAMES: [(SpecialUse, &'static str); 8] = [
        (SpecialUse::All, "\\All"),
        (SpecialUse::Archive, "\\Archive"),
        (SpecialUse::Drafts, "\\Drafts"),
        (SpecialUse::Flagged, "\\Flagged"),
        (SpecialUse::Important, "\\Important"),
        (SpecialUse::Junk, "\\Junk"),
        (SpecialUse::Sent, "\\Sent"),
        (SpecialUse::Trash, "\\Trash"),
    ];

    /// The attribute with this name, backslash included, in any case.
    pub fn from_name(name: &[u8]) -> Self {
        let known = Self::NAMES.iter().find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name));
        known.map_or(SpecialUse::Unknown, |(attribute, _)| *attribute)
    }

    /// The name on the wire; `None` for [`SpecialUse::Unknown`].
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.iter().find(|(attribute, _)| *attribute == self).map(|(_, name)| *name)
    }
}
