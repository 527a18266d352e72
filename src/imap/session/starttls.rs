//! STARTTLS, and what TLS has to do with logins (RFC 9051 §6.2.1, §6.2.3, §11.1).

use super::{ImapSession, Started, reply};
use crate::imap::capability::Stranger;
use crate::imap::code::{Code, Failure};
use crate::session::{Io, Security, Step};

/// The first bytes of a TLS client's hello: a handshake record, of any version.
const CLIENT_HELLO: &[u8] = b"\x16\x03";

impl ImapSession {
    /// The greeting has the capabilities, so that a client need not ask.
    pub(super) fn greet(&self, out: &mut Vec<u8>) {
        for part in ["* OK [", self.capabilities(), "] ", &self.shared.banner, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }

    /// What the server can now, for this client.
    pub(in crate::imap) fn capabilities(&self) -> &str {
        if self.is_logged_in() {
            return self.shared.capabilities.after_login();
        }
        let may_start_tls = self.may_start_tls();
        let may_log_in = self.shared.settings.takes_passwords(self.security);
        self.shared.capabilities.before_login(Stranger { may_start_tls, may_log_in })
    }

    fn may_start_tls(&self) -> bool {
        self.shared.settings.starttls && self.security == Security::Plain
    }

    /// STARTTLS. The worker drops what was pipelined behind it.
    pub(super) fn start_tls(&mut self, tag: &[u8], io: &mut Io<'_>) -> Result<Started, Failure> {
        if self.is_logged_in() {
            return Err(Failure::bad("already logged in"));
        }
        if self.security != Security::Plain {
            return Err(Failure::bad("TLS is on already"));
        }
        if !self.may_start_tls() {
            return Err(Failure::bad("STARTTLS is not offered here"));
        }
        reply::ok(io.output, tag, b"", "begin TLS now");
        Ok(Started::Taken(Some(Step::StartTls)))
    }

    /// TLS is on: whatever came before it may have been an attacker's.
    pub(super) fn begin_anew(&mut self, security: Security) {
        *self = ImapSession::new(self.shared.clone(), self.token, self.peer.clone());
        self.security = security;
    }

    /// Refuses a password that would cross an unprotected connection, or any, as `service.imap.plaintextmincipher`
    /// says; to be asked before the client is invited to send it (RFC 5530 has the code).
    pub(super) fn may_take_password(&self) -> Result<(), Failure> {
        if self.shared.settings.takes_passwords(self.security) {
            return Ok(());
        }
        let text = match (self.shared.settings.plaintext_min_cipher, self.security) {
            (..0, _) => return Err(Failure::no(Code::Cannot, "login with a password is off here")),
            (_, Security::Tls { .. }) => "passwords need a stronger TLS cipher here",
            (_, Security::Plain) if self.may_start_tls() => "passwords need TLS here, use STARTTLS first",
            (_, Security::Plain) => "passwords need TLS here, use the TLS port",
        };
        Err(Failure::no(Code::PrivacyRequired, text))
    }

    /// Sends a client away that begins with TLS where it should begin with IMAP.
    pub(super) fn expects_tls(&mut self, io: &mut Io<'_>) -> Option<Step> {
        if self.is_logged_in() || !io.input().starts_with(CLIENT_HELLO) {
            return None;
        }
        io.consume(io.input().len());
        reply::bye(io.output, "[CLIENTBUG] TLS does not begin at once on this port");
        Some(self.close("tls on the plain port"))
    }
}
