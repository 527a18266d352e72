//! The commands, one file per family. Each is a method of the session that does its first part and says what is
//! left ([`Started`](super::session::Started)).

pub(super) mod append;
mod copy;
mod expunge;
mod fetch;
pub(super) mod list;
mod list_names;
mod mailbox;
mod misc;
mod pattern;
pub(super) mod search;
mod search_key;
mod select;
pub(super) mod sort;
mod status;
mod store;
pub(super) mod thread;

use crate::imap::types;
use crate::store::{FlagList, Flags, Keyword};

/// The flags of a command in the store's terms.
fn flag_list(named: &types::FlagList<'_>) -> FlagList {
    let given = SYSTEM_FLAGS.iter().filter(|(flag, _)| named.system.contains(*flag));
    let system = given.fold(Flags::NONE, |all, (_, flag)| all | *flag);
    let keywords = named.keywords.iter().filter_map(|keyword| Keyword::new(keyword.as_str())).collect();
    FlagList { system, keywords }
}

/// The system flags, and what the store calls them.
const SYSTEM_FLAGS: [(types::SystemFlags, Flags); 5] = [
    (types::SystemFlags::ANSWERED, Flags::ANSWERED),
    (types::SystemFlags::FLAGGED, Flags::FLAGGED),
    (types::SystemFlags::DELETED, Flags::DELETED),
    (types::SystemFlags::SEEN, Flags::SEEN),
    (types::SystemFlags::DRAFT, Flags::DRAFT),
];

/// One system flag in the store's terms.
pub(super) fn system_flag(flag: types::SystemFlags) -> Flags {
    SYSTEM_FLAGS.iter().find(|(named, _)| *named == flag).map_or(Flags::NONE, |(_, flag)| *flag)
}
