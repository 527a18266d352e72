//! CAPABILITY, NOOP, CHECK, ID, ENABLE, NAMESPACE, LOGOUT.

use crate::imap::code::Failure;
use crate::imap::session::{Completion, ImapSession, Started, Sync, reply};
use crate::imap::types::IdPairs;
use crate::session::Io;

impl ImapSession {
    /// RFC 9051 §6.1.1
    pub(in crate::imap) fn capability(&self, io: &mut Io<'_>) -> Started {
        io.output.extend_from_slice(b"* ");
        io.output.extend_from_slice(self.capabilities().as_bytes());
        io.output.extend_from_slice(b"\r\n");
        Started::done(Sync::No, Completion::plain("CAPABILITY completed"))
    }

    /// RFC 2971. The pairs go to the log, where they help to find out which client misbehaves.
    pub(in crate::imap) fn id(&self, pairs: IdPairs<'_>, io: &mut Io<'_>) -> Started {
        if log::log_enabled!(log::Level::Debug) {
            let user = self.user.as_ref().map_or("", |user| user.name().as_str());
            for (field, value) in &pairs {
                let field = field.escape_ascii().to_string();
                let value = value.as_deref().unwrap_or_default().escape_ascii().to_string();
                log::debug!(user = user, field = field.as_str(), value = value.as_str(); "client id");
            }
        }
        io.output.extend_from_slice(
            concat!("* ID (\"name\" \"Heliograph\" \"version\" \"", env!("CARGO_PKG_VERSION"), "\")\r\n")
                .as_bytes(),
        );
        Started::done(Sync::No, Completion::plain("ID completed"))
    }

    /// RFC 5161: names what is newly enabled, ignores what cannot be.
    pub(in crate::imap) fn enable(&mut self, names: &[&str], io: &mut Io<'_>) -> Result<Started, Failure> {
        self.user()?;
        let before = self.enabled;
        let after = names.iter().fold(before, |enabled, name| enabled.with(name));
        io.output.extend_from_slice(b"* ENABLED");
        for (was, is, name) in [
            (before.condstore, after.condstore, " CONDSTORE"),
            (before.qresync, after.qresync, " QRESYNC"),
            (before.rev2, after.rev2, " IMAP4rev2"),
        ] {
            if is && !was {
                io.output.extend_from_slice(name.as_bytes());
            }
        }
        io.output.extend_from_slice(b"\r\n");
        if after.condstore {
            self.enable_condstore(io.output);
        }
        self.enabled = after;
        Ok(Started::done(Sync::No, Completion::plain("ENABLE completed")))
    }

    /// A client that begins to use mod-sequences while it has a mailbox selected learns the mailbox's (RFC 7162 §3.1).
    pub(in crate::imap) fn enable_condstore(&mut self, out: &mut Vec<u8>) {
        if self.enabled.condstore {
            return;
        }
        self.enabled.condstore = true;
        if let Some(view) = &self.view {
            let highest = view.selected.highest_modseq().0;
            reply::ok_number(out, "HIGHESTMODSEQ", highest, "mod-sequences are on");
        }
    }

    /// NOOP and CHECK: the news is all there is.
    pub(in crate::imap) fn news(&self, text: &'static str) -> Started {
        Started::done(Sync::Report, Completion::plain(text))
    }

    /// RFC 2342: one personal namespace, at the root.
    pub(in crate::imap) fn namespace(&self, io: &mut Io<'_>) -> Result<Started, Failure> {
        self.user()?;
        io.output.extend_from_slice(b"* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n");
        Ok(Started::done(Sync::Report, Completion::plain("NAMESPACE completed")))
    }

    /// RFC 9051 §6.1.3
    pub(in crate::imap) fn logout(&mut self, tag: &[u8], io: &mut Io<'_>) -> Started {
        reply::bye(io.output, "until next time");
        reply::ok(io.output, tag, b"", "LOGOUT completed");
        Started::Taken(Some(self.close("logout")))
    }
}
