//! Room `master`.
