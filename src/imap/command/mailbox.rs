//! CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 9051 §6.3.4 to §6.3.8, RFC 6154).

use crate::imap::code::{Code, Failure};
use crate::imap::session::{Completion, ImapSession, Started, Sync};
use crate::imap::types::{DELIMITER, MailboxName, SpecialUse};
use crate::store::SpecialUses;

impl ImapSession {
    /// A delimiter at the end announces children (RFC 9051 §6.3.4); every mailbox here can have some.
    pub(in crate::imap) fn create(
        &mut self,
        mailbox: &MailboxName<'_>,
        special_use: &[SpecialUse],
    ) -> Result<Started, Failure> {
        let user = self.user()?;
        let name = mailbox.as_str();
        let name = name.strip_suffix(DELIMITER).unwrap_or(name);
        check_name(name)?;
        let id = user.create(name, special_uses(special_use)?)?;
        let code = format!("MAILBOXID (F{id})").into_bytes();
        Ok(Started::done(Sync::Report, Completion::bytes(code, "CREATE completed")))
    }

    /// Deleting the selected mailbox leaves nothing selected.
    pub(in crate::imap) fn delete(&mut self, mailbox: &MailboxName<'_>) -> Result<Started, Failure> {
        let deleted = self.user()?.delete(mailbox.as_str())?;
        self.view.take_if(|view| view.selected.id() == deleted);
        Ok(Started::done(Sync::Report, Completion::plain("DELETE completed")))
    }

    pub(in crate::imap) fn rename(
        &mut self,
        from: &MailboxName<'_>,
        to: &MailboxName<'_>,
    ) -> Result<Started, Failure> {
        let user = self.user()?;
        let to = to.as_str();
        let to = to.strip_suffix(DELIMITER).unwrap_or(to);
        check_name(to)?;
        user.rename(from.as_str(), to)?;
        Ok(Started::done(Sync::Report, Completion::plain("RENAME completed")))
    }

    /// A mailbox need not exist to be subscribed (RFC 9051 §6.3.7).
    pub(in crate::imap) fn subscribe(
        &mut self,
        mailbox: &MailboxName<'_>,
        on: bool,
    ) -> Result<Started, Failure> {
        let user = self.user()?;
        let name = mailbox.as_str();
        user.subscribe(name.strip_suffix(DELIMITER).unwrap_or(name), on)?;
        let text = if on { "SUBSCRIBE completed" } else { "UNSUBSCRIBE completed" };
        Ok(Started::done(Sync::Report, Completion::plain(text)))
    }
}

/// A name that a new mailbox may have: no empty level, and no wildcard, which LIST could not ask for.
fn check_name(name: &str) -> Result<(), Failure> {
    if name.split(DELIMITER).any(str::is_empty) {
        return Err(Failure::no(Code::Cannot, "a level of the mailbox name is empty"));
    }
    if name.contains(['*', '%']) {
        return Err(Failure::no(
            Code::Cannot,
            "mailbox names cannot have * or %, which LIST gives a meaning",
        ));
    }
    Ok(())
}

fn special_uses(asked: &[SpecialUse]) -> Result<SpecialUses, Failure> {
    let mut uses = SpecialUses::default();
    for one in asked {
        let unknown = || Failure::no(Code::UseAttr, "special use is not known here");
        let name = one.name().ok_or_else(unknown)?;
        let (bit, _) = SpecialUses::NAMED.iter().find(|(_, known)| *known == name).ok_or_else(unknown)?;
        uses.insert(*bit);
    }
    Ok(uses)
}
