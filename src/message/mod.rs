//! Room `message`.
