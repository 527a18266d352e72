//! The IMAP protocol, without sockets: bytes in, bytes out.
//!
//! | file | holds |
//! |---|---|
//! | [`types`] | what a command says, apart from how it is spelled |
//! | [`sequence`] | sequence sets, asked for and resolved |
//! | [`write`] | the primitives of responses |
//! | [`utf7`] | mailbox names on the wire before `ENABLE IMAP4rev2` |
//! | [`limits`] | every bound of the above, with its reason |

pub mod limits;
pub mod sequence;
pub mod types;
pub mod utf7;
pub mod write;
