//! STATUS (RFC 9051 §6.3.11; HIGHESTMODSEQ RFC 7162, MAILBOXID RFC 8474, APPENDLIMIT RFC 7889, SIZE RFC 8438).

use std::io::Write as _;

use crate::imap::code::Failure;
use crate::imap::session::{Completion, ImapSession, Started, Sync};
use crate::imap::types::{Dialect, MailboxName, StatusItems};
use crate::imap::write;
use crate::session::Io;
use crate::store::Status;

impl ImapSession {
    pub(in crate::imap) fn status(
        &mut self,
        mailbox: &MailboxName<'_>,
        items: StatusItems,
        io: &mut Io<'_>,
    ) -> Result<Started, Failure> {
        let status = self.user()?.status(mailbox.as_str())?;
        self.note_look();
        if items.contains(StatusItems::HIGHESTMODSEQ) {
            self.enable_condstore(io.output);
        }
        let limit = self.shared.settings.append_limit;
        write_status(io.output, mailbox.as_str(), &status, items, limit, self.enabled.dialect());
        Ok(Started::done(Sync::Report, Completion::plain("STATUS completed")))
    }
}

/// `* STATUS name (…)`.
pub(super) fn write_status(
    out: &mut Vec<u8>,
    name: &str,
    status: &Status,
    items: StatusItems,
    append_limit: u64,
    dialect: Dialect,
) {
    out.extend_from_slice(b"* STATUS ");
    write::mailbox(out, name, dialect);
    out.extend_from_slice(b" (");
    let asked = StatusItems::NAMES.iter().filter(|(item, _)| items.contains(*item));
    for (index, (item, item_name)) in asked.enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(item_name.as_bytes());
        out.push(b' ');
        match number(*item, status, append_limit) {
            Some(value) => write::number(out, value),
            // Writing to memory does not fail.
            None => drop(write!(out, "(F{})", status.id)),
        }
    }
    out.extend_from_slice(b")\r\n");
}

/// The value of an item; `None` for MAILBOXID, which is no number.
fn number(item: StatusItems, status: &Status, append_limit: u64) -> Option<u64> {
    Some(match item {
        StatusItems::MESSAGES => u64::from(status.messages),
        StatusItems::RECENT => u64::from(status.recent),
        StatusItems::UIDNEXT => status.uid_next,
        StatusItems::UIDVALIDITY => u64::from(status.uid_validity),
        StatusItems::UNSEEN => u64::from(status.unseen),
        StatusItems::DELETED => u64::from(status.deleted),
        StatusItems::SIZE => status.size,
        StatusItems::HIGHESTMODSEQ => status.highest_modseq.0,
        StatusItems::APPENDLIMIT => append_limit,
        _ => return None,
    })
}
