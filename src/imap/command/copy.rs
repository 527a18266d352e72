//! COPY and MOVE (RFC 9051 §6.4.7 and §6.4.8, RFC 4315, RFC 6851).

use crate::imap::code::{Code, Failure};
use crate::imap::session::{Completion, Detail, ImapSession, Started, Sync, write_uids};
use crate::imap::types::{MailboxName, SequenceSet};
use crate::imap::write;
use crate::session::Io;
use crate::store::Copied;

impl ImapSession {
    /// Messages that another session has expunged are left out (RFC 2180 §4.4.2).
    pub(in crate::imap) fn copy(
        &mut self,
        uid: bool,
        set: &SequenceSet,
        target: &MailboxName<'_>,
    ) -> Result<Started, Failure> {
        let text = if uid { "UID COPY completed" } else { "COPY completed" };
        let view = self.view()?;
        let uids = view.resolve(set, uid)?;
        let copied = view.selected.copy(&uids, target.as_str()).map_err(Failure::of_target)?;
        view.note_look();
        if copied.source.is_empty() {
            return nothing_done(uids.is_empty(), text);
        }
        Ok(Started::Written { sync: Sync::Report, done: Completion::bytes(copyuid(&copied), text) })
    }

    /// COPYUID comes before the expunges, which come before the tagged reply.
    pub(in crate::imap) fn move_messages(
        &mut self,
        uid: bool,
        set: &SequenceSet,
        target: &MailboxName<'_>,
        io: &mut Io<'_>,
    ) -> Result<Started, Failure> {
        let text = if uid { "UID MOVE completed" } else { "MOVE completed" };
        let qresync = self.enabled.qresync;
        let view = self.view()?;
        let uids = view.resolve(set, uid)?;
        let copied = view.writable()?.move_to(&uids, target.as_str()).map_err(Failure::of_target)?;
        view.note_look();
        if copied.source.is_empty() {
            return nothing_done(uids.is_empty(), text);
        }
        io.output.extend_from_slice(b"* OK [");
        io.output.extend_from_slice(&copyuid(&copied));
        io.output.extend_from_slice(b"] moved\r\n");
        let detail = if qresync { Detail::HighestModSeq } else { Detail::None };
        Ok(Started::Written { sync: Sync::Report, done: Completion { detail, text } })
    }
}

/// A set without messages is fine; one whose messages are all gone is not.
fn nothing_done(is_empty_set: bool, text: &'static str) -> Result<Started, Failure> {
    if is_empty_set {
        return Ok(Started::done(Sync::Report, Completion::plain(text)));
    }
    Err(Failure::no(Code::ExpungeIssued, "the messages have been expunged"))
}

fn copyuid(copied: &Copied) -> Vec<u8> {
    let mut code = b"COPYUID ".to_vec();
    write::number(&mut code, u64::from(copied.uid_validity));
    code.push(b' ');
    write_uids(&mut code, &copied.source);
    code.push(b' ');
    write_uids(&mut code, &copied.target);
    code
}
