//! Search programs over a mailbox: what a SEARCH key tree becomes, and how it is carried out; the order of what is found.
//!
//! A [`Program`] narrows the messages with sets first, then looks at what memory holds of each (flags, dates, sizes),
//! and reads headers and bodies only of those that are left and only when the answer depends on them. A [`Search`]
//! carries it out in slices, so that a search of a large mailbox stops nobody.
//!
//! A [`Sort`] and a [`Thread`] (RFC 5256) search, then look once at each message found, in slices too, and keep a few
//! numbers of it: `order` and `references` say which. A [`Cache`] has these numbers for the next time.

mod cache;
mod error;
mod evaluate;
mod forest;
mod known;
pub mod limits;
mod link_cut;
mod order;
mod program;
mod references;
mod sort;
mod thread;
mod walk;

#[cfg(test)]
mod tests;

pub use cache::Cache;
pub use error::Error;
pub use evaluate::Search;
pub use forest::{Forest, Siblings};
pub use order::{Criterion, SortKey};
pub use program::{Day, HeaderTest, Program, Test};
pub use sort::Sort;
pub use thread::{Algorithm, Thread};
