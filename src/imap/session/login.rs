//! LOGIN and AUTHENTICATE: what the auth process is asked, and what follows from its answer (RFC 9051 §6.2).

use std::time::SystemTime;

use super::input::Line;
use super::reply::{self, OwnedTag};
use super::{ImapSession, Mode, Started};
use crate::auth::{self, Mechanism};
use crate::imap::code::{Code, Failure};
use crate::imap::framing::FrameLimits;
use crate::imap::limits::MAX_FAILED_LOGINS;
use crate::imap::parse::{SaslLine, decode_sasl};
use crate::session::{Io, Step};
use crate::store::UserName;
use crate::sys::Secret;

impl ImapSession {
    /// LOGIN.
    pub(in crate::imap) fn login(
        &mut self,
        tag: &[u8],
        user: &[u8],
        password: Secret,
    ) -> Result<Started, Failure> {
        self.not_logged_in()?;
        self.may_take_password()?;
        let Ok(authentication) = String::from_utf8(user.to_vec()) else { return Err(denied()) };
        let request = self.request(Mechanism::Login, None, authentication, password);
        Ok(self.ask(tag, request))
    }

    /// AUTHENTICATE, with or without an initial response (RFC 4959).
    pub(in crate::imap) fn authenticate(
        &mut self,
        tag: &[u8],
        mechanism: &str,
        initial: Option<Secret>,
        io: &mut Io<'_>,
    ) -> Result<Started, Failure> {
        self.not_logged_in()?;
        if !mechanism.eq_ignore_ascii_case("PLAIN") {
            return Err(Failure::no(Code::Cannot, "mechanism is not supported, use PLAIN"));
        }
        self.may_take_password()?;
        match initial {
            Some(response) => self.plain(tag, response.expose()),
            None => {
                io.output.extend_from_slice(b"+ \r\n");
                self.mode = Mode::Sasl(OwnedTag::from_slice(tag));
                Ok(Started::Taken(None))
            }
        }
    }

    fn not_logged_in(&self) -> Result<(), Failure> {
        if self.is_logged_in() { Err(Failure::bad("already logged in")) } else { Ok(()) }
    }

    /// Reads the client's response to the empty challenge.
    pub(super) fn read_sasl(&mut self, tag: OwnedTag, io: &mut Io<'_>) -> Option<Step> {
        let started = match self.read_line(io) {
            Line::Incomplete => {
                self.mode = Mode::Sasl(tag);
                return Some(Step::Read);
            }
            Line::Whole(line) => self.sasl_response(&tag, &line),
            Line::Nonsense => Err(Failure::bad("SASL response is too long")),
        };
        self.begin(&tag, started, io.output.len(), io)
    }

    fn sasl_response(&mut self, tag: &[u8], line: &[u8]) -> Result<Started, Failure> {
        match decode_sasl(line) {
            Ok(SaslLine::Data(response)) => self.plain(tag, response.expose()),
            Ok(SaslLine::Cancel) => Err(Failure::bad("AUTHENTICATE was cancelled")),
            Err(error) => Err(Failure::bad(error.to_string())),
        }
    }

    /// RFC 4616: `authzid NUL authcid NUL passwd`.
    fn plain(&mut self, tag: &[u8], response: &[u8]) -> Result<Started, Failure> {
        let mut fields = response.split(|byte| *byte == 0);
        let (Some(authorization), Some(authentication), Some(password), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(Failure::bad("PLAIN response needs two NULs"));
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| denied());
        let authorization = text(authorization)?;
        let authorization = (!authorization.is_empty()).then_some(authorization);
        let password = Secret::new(password.to_vec());
        let request = self.request(Mechanism::Plain, authorization, text(authentication)?, password);
        Ok(self.ask(tag, request))
    }

    fn request(
        &self,
        mechanism: Mechanism,
        authorization: Option<String>,
        authentication: String,
        password: Secret,
    ) -> auth::Request {
        let remote = self.peer.remote.ip();
        auth::Request { mechanism, authorization, authentication, password, remote }
    }

    fn ask(&mut self, tag: &[u8], request: auth::Request) -> Started {
        self.mode = Mode::AwaitAuth(OwnedTag::from_slice(tag));
        Started::Taken(Some(Step::Authenticate(Box::new(request))))
    }

    /// Acts on the auth process's answer.
    pub(super) fn log_in(&mut self, tag: &[u8], reply: auth::Reply, io: &mut Io<'_>) -> Option<Step> {
        let entered = match reply {
            auth::Reply::Granted(user) => self.enter(&user),
            auth::Reply::Denied => Err(denied()),
            auth::Reply::Unavailable => {
                Err(Failure::no(Code::Unavailable, "logins are not possible now, try again later"))
            }
        };
        if let Err(failure) = entered {
            return self.refuse_login(tag, failure, io);
        }
        reply::ok(io.output, tag, self.capabilities().as_bytes(), "logged in");
        None
    }

    fn enter(&mut self, name: &UserName) -> Result<(), Failure> {
        self.user = Some(self.shared.store.user(name)?);
        self.login_time = Some(SystemTime::now());
        self.presence = self.shared.watcher.logged_in(name, self.peer.remote.ip());
        self.framer.set_limits(FrameLimits::AFTER_LOGIN);
        self.offences = 0;
        Ok(())
    }

    /// A few tries are a typing mistake; more are a guess.
    fn refuse_login(&mut self, tag: &[u8], failure: Failure, io: &mut Io<'_>) -> Option<Step> {
        let step = self.fail(io.output, tag, failure);
        self.failed_logins = self.failed_logins.saturating_add(1);
        if step.is_some() || self.failed_logins < MAX_FAILED_LOGINS {
            return step;
        }
        io.output.extend_from_slice(b"* BYE too many failed logins\r\n");
        Some(self.close("badlogins"))
    }
}

/// One text for every reason: it must not tell which names exist.
fn denied() -> Failure {
    Failure::no(Code::AuthenticationFailed, "wrong user name or password")
}
