//! What commands say, apart from how they are spelled.
//!
//! A [`Command`] borrows from the bytes of its command. What outlives the call that parsed it (a FETCH that
//! is suspended) owns its data: [`Fetch`], [`SequenceSet`]. Values that the grammar restricts are made only by
//! checked constructors. One file per command family.

mod bits;
mod command;
mod date;
mod fetch;
mod flags;
mod list;
mod mailbox;
mod search;
mod sort;

pub use crate::imap::sequence::{NumberSet, SequenceSet};
pub use command::{
    Append, AppendPrefix, Command, CommandBody, Dialect, IdPairs, MessageLiteral, Qresync, Select,
    SequenceMatch, Store, StoreAction, Tag,
};
pub use date::{InternalDate, NaiveDay};
pub use fetch::{
    Fetch, FetchAttributes, FetchItems, FetchSection, PartPath, Partial, SectionKind, SectionText,
};
pub use flags::{FlagList, Keyword, SystemFlags};
pub use list::{List, ListReturn, ListSelect, SpecialUse, StatusItems};
pub(crate) use mailbox::decode as decode_mailbox;
pub use mailbox::{DELIMITER, INBOX, MailboxName, MailboxNameError};
pub use search::{DateField, DateTest, ModSeqEntry, Search, SearchKey, SearchReturn};
pub use sort::{Sort, Thread};
