//! Search programs over a mailbox: what a SEARCH key tree becomes, and how it is carried out.
//!
//! A [`Program`] narrows the messages with sets first, then looks at what memory holds of each (flags, dates, sizes),
//! and reads headers and bodies only of those that are left and only when the answer depends on them. A [`Search`]
//! carries it out in slices, so that a search of a large mailbox stops nobody.

mod evaluate;
mod program;

pub use evaluate::Search;
pub use program::{Day, Program, Test};
