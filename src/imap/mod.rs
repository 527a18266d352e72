//! The IMAP protocol, without sockets: bytes in, bytes out.
//!
//! | file | holds |
//! |---|---|
//! | [`framing`] | where a command ends: lines, literals, limits, recovery after nonsense |
//! | [`parse`] | one whole command to [`types::Command`] |
//! | [`types`] | what a command says, apart from how it is spelled |
//! | [`sequence`] | sequence sets, asked for and resolved |
//! | [`mod@write`] | the primitives of responses |
//! | [`utf7`] | mailbox names on the wire before `ENABLE IMAP4rev2` |
//! | `chars` | character classes |
//! | [`limits`] | every bound of the above, with its reason |

mod chars;
pub mod framing;
pub mod limits;
pub mod parse;
pub mod sequence;
pub mod types;
pub mod utf7;
pub mod write;
