//! Room `imap`.
