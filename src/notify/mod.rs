//! Room `notify`.
