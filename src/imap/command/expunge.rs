//! EXPUNGE and UID EXPUNGE (RFC 9051 §6.4.3 and §6.4.9, RFC 4315).

use crate::imap::code::Failure;
use crate::imap::session::{Completion, Detail, ImapSession, Started, Sync};
use crate::imap::types::SequenceSet;

impl ImapSession {
    pub(in crate::imap) fn expunge(&mut self, only: Option<&SequenceSet>) -> Result<Started, Failure> {
        let qresync = self.enabled.qresync;
        let view = self.view()?;
        let only = only.map(|set| view.resolve(set, true)).transpose()?;
        let expunged = view.writable()?.expunge(only.as_ref())?;
        view.note_look();
        let detail = if qresync && expunged.count > 0 { Detail::HighestModSeq } else { Detail::None };
        let text = if only.is_some() { "UID EXPUNGE completed" } else { "EXPUNGE completed" };
        Ok(Started::written(expunged.count > 0, Sync::Report, Completion { detail, text }))
    }
}
