//! Mailbox names, always as UTF-8 inside the server (RFC 9051 §5.1).

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use super::Dialect;
use crate::imap::limits::MAX_MAILBOX_NAME;
use crate::imap::utf7;

/// Separates the levels of a mailbox name.
pub const DELIMITER: char = '/';

/// The one name that every user has and that is matched in any case.
pub const INBOX: &str = "INBOX";

/// A mailbox name as UTF-8: 1 to [`MAX_MAILBOX_NAME`] bytes, no control characters or line separators. `INBOX`, alone
/// or as the first level, is in capitals. Whether the levels make sense (`a//b`, a trailing delimiter) depends on the
/// command and is not checked here.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailboxName<'a>(Cow<'a, str>);

/// Why bytes are not a mailbox name. The server answers NO, since the command's syntax is right.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MailboxNameError {
    #[error("mailbox name is empty")]
    Empty,
    #[error("mailbox name is longer than {MAX_MAILBOX_NAME} bytes")]
    TooLong,
    #[error("mailbox name has a control character")]
    Control,
    #[error("mailbox name is not canonical modified UTF-7, see RFC 3501 section 5.1.3")]
    Utf7,
    #[error("mailbox name is not UTF-8")]
    Utf8,
}

impl<'a> MailboxName<'a> {
    /// Checks a name that is UTF-8 already.
    pub fn new(name: impl Into<Cow<'a, str>>) -> Result<Self, MailboxNameError> {
        let name = name.into();
        if name.is_empty() {
            return Err(MailboxNameError::Empty);
        }
        if name.len() > MAX_MAILBOX_NAME {
            return Err(MailboxNameError::TooLong);
        }
        if has_control(&name) {
            return Err(MailboxNameError::Control);
        }
        Ok(MailboxName(with_canonical_inbox(name)))
    }

    /// Decodes a name as it stands in a command.
    pub fn from_wire(wire: Cow<'a, [u8]>, dialect: Dialect) -> Result<Self, MailboxNameError> {
        decode(wire, dialect).and_then(Self::new)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_inbox(&self) -> bool {
        self.0 == INBOX
    }

    pub fn into_owned(self) -> MailboxName<'static> {
        MailboxName(Cow::Owned(self.0.into_owned()))
    }

    pub fn into_string(self) -> String {
        self.0.into_owned()
    }
}

impl fmt::Debug for MailboxName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for MailboxName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// From the wire's encoding to UTF-8, for names and LIST patterns alike.
pub(crate) fn decode(wire: Cow<'_, [u8]>, dialect: Dialect) -> Result<Cow<'_, str>, MailboxNameError> {
    if wire.len() > 4 * MAX_MAILBOX_NAME {
        return Err(MailboxNameError::TooLong);
    }
    if dialect.utf8 {
        return into_utf8(wire).ok_or(MailboxNameError::Utf8);
    }
    if wire.contains(&b'&') {
        return utf7::decode(&wire).map(Cow::Owned).map_err(|_| MailboxNameError::Utf7);
    }
    if !wire.is_ascii() {
        return Err(MailboxNameError::Utf7);
    }
    into_utf8(wire).ok_or(MailboxNameError::Utf7)
}

fn into_utf8(wire: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match wire {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// RFC 9051 §5.1 and RFC 5198 §2: no controls (C0, DEL, C1), no line or paragraph separator.
fn has_control(name: &str) -> bool {
    if name.is_ascii() {
        return name.bytes().any(|byte| byte.is_ascii_control());
    }
    name.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

/// A client that sends `inbox/child` means a child of the INBOX that others spell in capitals.
fn with_canonical_inbox(name: Cow<'_, str>) -> Cow<'_, str> {
    let (Some(first), rest) = (name.get(..INBOX.len()), name.get(INBOX.len()..).unwrap_or_default()) else {
        return name;
    };
    let is_level = rest.is_empty() || rest.starts_with(DELIMITER);
    if first == INBOX || !is_level || !first.eq_ignore_ascii_case(INBOX) {
        return name;
    }
    if rest.is_empty() { Cow::Borrowed(INBOX) } else { Cow::Owned([INBOX, rest].concat()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_wire(wire: &[u8], dialect: Dialect) -> Result<String, MailboxNameError> {
        MailboxName::from_wire(Cow::Borrowed(wire), dialect).map(MailboxName::into_string)
    }

    #[test]
    fn hostile_names_threat_13() {
        use MailboxNameError::{Control, Empty, TooLong, Utf7, Utf8};
        let long = vec![b'x'; MAX_MAILBOX_NAME + 1];
        let huge = vec![b'&'; 64 * 1024];
        let cases: &[(&[u8], Dialect, Result<&str, MailboxNameError>)] = &[
            (b"", Dialect::REV1, Err(Empty)),
            (b"inBox", Dialect::REV1, Ok("INBOX")),
            (b"inbox/Child", Dialect::REV1, Ok("INBOX/Child")),
            (b"inboxes", Dialect::REV1, Ok("inboxes")),
            (b"../../etc/passwd", Dialect::REV1, Ok("../../etc/passwd")),
            (b"a\0b", Dialect::REV1, Err(Control)),
            (b"a\x7f", Dialect::REV2, Err(Control)),
            (b"&AIU-", Dialect::REV1, Err(Control)),
            (b"&ICg-", Dialect::REV1, Err(Control)),
            (b"&AOQ-", Dialect::REV1, Ok("\u{e4}")),
            (b"&AOQ-", Dialect::REV2, Ok("&AOQ-")),
            (b"&", Dialect::REV1, Err(Utf7)),
            (b"&-", Dialect::REV1, Ok("&")),
            (b"&AGE-", Dialect::REV1, Err(Utf7)),
            ("\u{e4}".as_bytes(), Dialect::REV1, Err(Utf7)),
            ("\u{e4}".as_bytes(), Dialect::REV2, Ok("\u{e4}")),
            (b"\xff", Dialect::REV2, Err(Utf8)),
            (&long, Dialect::REV1, Err(TooLong)),
            (&huge, Dialect::REV1, Err(TooLong)),
        ];
        for (wire, dialect, expected) in cases {
            let shown = String::from_utf8_lossy(&wire[..wire.len().min(20)]);
            assert_eq!(from_wire(wire, *dialect), expected.map(str::to_owned), "{shown} {dialect:?}");
        }
    }
}
