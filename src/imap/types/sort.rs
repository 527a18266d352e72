//! SORT and THREAD (RFC 5256; ESORT RFC 5267, SORT=DISPLAY RFC 5957).

use smallvec::SmallVec;

use super::Search;
use crate::search::{Algorithm, Criterion};

/// A SORT or UID SORT command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort<'a> {
    /// At least one; each key once, since a second time it decides nothing.
    pub criteria: SmallVec<[Criterion; 4]>,
    /// With its charset, and the result options of ESORT.
    pub search: Search<'a>,
}

/// A THREAD or UID THREAD command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread<'a> {
    pub algorithm: Algorithm,
    /// With its charset, and without result options.
    pub search: Search<'a>,
}
