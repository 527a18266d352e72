//! What can happen to a SORT or THREAD.

use thiserror::Error;

use crate::store;

/// Why there is no order.
#[derive(Debug, Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A bound of [`limits`](super::limits).
    #[error("too many messages to put in order at once, narrow the search")]
    TooMany,
}

/// Of a SORT or THREAD.
pub type Result<T> = std::result::Result<T, Error>;
