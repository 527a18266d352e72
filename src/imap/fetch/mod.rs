//! FETCH responses, a piece at a time (RFC 9051 §6.4.5 and §7.5.2).
//!
//! * [`Plan`] is what to say of each message,
//! * [`Cursor`] walks the messages and can stop after any of them, or in the middle of a body,
//! * [`section`] finds the bytes behind `BODY[…]` and `BINARY[…]`,
//! * [`items`] writes everything else.

mod batch;
mod cursor;
mod items;
mod plan;
mod section;

pub(in crate::imap) use cursor::Cursor;
pub(in crate::imap) use items::{EMAIL_PREFIX, THREAD_PREFIX, parse_object_id};
pub(in crate::imap) use plan::Plan;
