//! Event references: `enp://host/store/MAILBOX?evtType=NewMsg&numMsgs=16…`.
//!
//! Publishers and subscribers write the same form. An event goes to a subscription whose host, path and parameters
//! it carries; it may carry more. A path is compared level by level, so that `/store` stands for all mailboxes and
//! `/store/ada` for those of `ada`. A parameter that a subscription names several times may have any of the values.
//!
//! On the wire a reference is one word of printable ASCII: everything else is written `%XX` (RFC 3986 §2.1).

use std::borrow::Cow;
use std::fmt::Write as _;

use thiserror::Error;

use super::limits::{MAX_PARAMETERS, MAX_REFERENCE};

const SCHEME: &str = "enp://";

/// A reference, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    host: &'a str,
    path: Cow<'a, str>,
    parameters: Vec<Parameter<'a>>,
}

/// Name and value.
type Parameter<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Why a text is not a reference.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ReferenceError {
    #[error("event reference does not begin with enp://: write enp://HOST/store")]
    Scheme,
    #[error("event reference names no host: write enp://HOST/store")]
    Host,
    #[error("event reference has a % without two hexadecimal digits, or bytes that are not UTF-8")]
    Escape,
    #[error("event reference has a blank or another byte that must be written as %XX")]
    Byte,
    #[error("event reference has a parameter without a name: write NAME=VALUE")]
    Parameter,
    #[error("event reference is longer than {MAX_REFERENCE} bytes")]
    TooLong,
    #[error("event reference has more than {MAX_PARAMETERS} parameters")]
    TooMany,
}

impl<'a> Reference<'a> {
    /// # Errors
    /// When the text is not a reference, or beyond the limits.
    pub fn parse(text: &'a str) -> Result<Self, ReferenceError> {
        if text.len() > MAX_REFERENCE {
            return Err(ReferenceError::TooLong);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ReferenceError::Byte);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(ReferenceError::Scheme)?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, path) = place.split_at(place.find('/').unwrap_or(place.len()));
        if host.is_empty() {
            return Err(ReferenceError::Host);
        }
        let path = decode(path.trim_end_matches('/'))?;
        Ok(Reference { host, path, parameters: parameters(query)? })
    }

    /// The first value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_ref())
    }

    /// All parameters in their order.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// The same with nothing borrowed from the text, for keeping.
    pub fn into_subscription(self) -> Subscription {
        let own = |(name, value): Parameter<'_>| (name.into_owned(), value.into_owned());
        Subscription {
            host: self.host.to_ascii_lowercase(),
            path: self.path.into_owned(),
            parameters: self.parameters.into_iter().map(own).collect(),
        }
    }
}

/// A reference that events are compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    host: String,
    path: String,
    parameters: Vec<(String, String)>,
}

impl Subscription {
    /// Whether the event carries all that this names.
    pub fn matches(&self, event: &Reference<'_>) -> bool {
        event.host.eq_ignore_ascii_case(&self.host)
            && is_at_or_beneath(&event.path, &self.path)
            && self.parameters.iter().all(|(name, _)| self.accepts(name, event))
    }

    fn accepts(&self, name: &str, event: &Reference<'_>) -> bool {
        let Some(given) = event.parameter(name) else { return false };
        // A type in another case is a slip of the pen: no two types differ only in that.
        let is = |wanted: &str| {
            if name == super::event::TYPE { wanted.eq_ignore_ascii_case(given) } else { wanted == given }
        };
        self.parameters.iter().any(|(known, wanted)| known == name && is(wanted))
    }
}

fn is_at_or_beneath(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn parameters(query: &str) -> Result<Vec<Parameter<'_>>, ReferenceError> {
    let mut parameters = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name.is_empty() {
            return Err(ReferenceError::Parameter);
        }
        if parameters.len() == MAX_PARAMETERS {
            return Err(ReferenceError::TooMany);
        }
        parameters.push((decode(name)?, decode(value)?));
    }
    Ok(parameters)
}

fn decode(text: &str) -> Result<Cow<'_, str>, ReferenceError> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = digit().zip(digit()).ok_or(ReferenceError::Escape)?;
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| ReferenceError::Escape)
}

/// Appends a text as it may stand in the path or in a value.
pub(super) fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~/@:,!*'()$".contains(&byte);
        if is_plain {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// `local.store.notifyplugin.enseventkey`: what every event's reference begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventKey {
    /// With `%M` in its place, if it has one.
    template: String,
}

/// Stands for the mailbox.
const MAILBOX: &str = "%M";

impl EventKey {
    /// # Errors
    /// When the key, with any mailbox in place of `%M`, is not a reference.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let (place, _) = text.split_once('?').unwrap_or((text, ""));
        Reference::parse(&place.replace(MAILBOX, "x"))?;
        let key = EventKey { template: place.trim_end_matches('/').to_owned() };
        // The host, too, has to be there whatever the mailbox is.
        Reference::parse(key.top())?;
        Ok(key)
    }

    /// Appends the key with `mailbox` in place of `%M`.
    pub(super) fn write(&self, mailbox: &str, out: &mut String) {
        let mut parts = self.template.split(MAILBOX);
        out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            encode(mailbox, out);
            out.push_str(part);
        }
    }

    /// The reference of a subscription to all events with this key.
    pub fn top(&self) -> &str {
        let top = self.template.split(MAILBOX).next().unwrap_or_default();
        top.trim_end_matches('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(subscription: &str, event: &str) -> bool {
        let subscription = Reference::parse(subscription).unwrap().into_subscription();
        subscription.matches(&Reference::parse(event).unwrap())
    }

    const EVENT: &str =
        "enp://127.0.0.1/store/ada/Old%20mail?evtType=NewMsg&pid=476&mailboxName=ada/Old%20mail";

    #[test]
    fn an_event_matches_what_it_carries() {
        for (subscription, is_match) in [
            ("enp://127.0.0.1/store", true),
            ("enp://127.0.0.1/store/", true),
            ("enp://127.0.0.1", true),
            ("enp://127.0.0.1/store/ada", true),
            ("enp://127.0.0.1/store/ada/Old%20mail", true),
            ("enp://127.0.0.1/store/ada/Old", false),
            ("enp://127.0.0.1/store/ad", false),
            ("enp://127.0.0.1/store/ada/Old%20mail/2024", false),
            ("enp://other/store", false),
            ("enp://127.0.0.1/store?evtType=NewMsg", true),
            ("enp://127.0.0.1/store?evtType=newmsg", true),
            ("enp://127.0.0.1/store?evtType=ReadMsg", false),
            ("enp://127.0.0.1/store?evtType=ReadMsg&evtType=NewMsg&pid=476", true),
            ("enp://127.0.0.1/store?evtType=NewMsg&pid=477", false),
            ("enp://127.0.0.1/store?mailboxName=ada/Old%20mail", true),
            ("enp://127.0.0.1/store?size=3", false),
        ] {
            assert_eq!(matches(subscription, EVENT), is_match, "{subscription}");
        }
        assert!(matches("enp://Mail.Example/store", "enp://mail.example/store?evtType=Login"));
    }

    #[test]
    fn the_guide_s_example_is_read() {
        let reference = Reference::parse(
            "enp://127.0.0.1/store?evtType=NewMsg&timestamp=1047488403000&hostname=eman&process=imta&pid=476\
             &mailboxName=testuser&numMsgs=16&uidValidity=1046993605&imapUid=62&size=877&hdrLen=814",
        )
        .unwrap();
        assert_eq!(reference.parameter("numMsgs"), Some("16"));
        assert_eq!(reference.parameters().count(), 11);
    }

    #[test]
    fn nonsense_is_refused() {
        let long = format!("enp://h/{}", "x".repeat(MAX_REFERENCE));
        let many = format!("enp://h/s?{}", "a=1&".repeat(MAX_PARAMETERS + 1));
        for (text, error) in [
            ("http://h/store", ReferenceError::Scheme),
            ("enp:///store", ReferenceError::Host),
            ("enp://h/%4", ReferenceError::Escape),
            ("enp://h/%zz", ReferenceError::Escape),
            ("enp://h/%ff", ReferenceError::Escape),
            ("enp://h/a b", ReferenceError::Byte),
            ("enp://h/s?=x", ReferenceError::Parameter),
            (&long, ReferenceError::TooLong),
            (&many, ReferenceError::TooMany),
        ] {
            assert_eq!(Reference::parse(text), Err(error), "{text:.40}");
        }
    }

    #[test]
    fn a_key_names_the_mailbox() {
        for (key, mailbox, written, top) in [
            ("enp://127.0.0.1/store/%M", "ada", "enp://127.0.0.1/store/ada", "enp://127.0.0.1/store"),
            ("enp://h/%M/x", "ada/ö b", "enp://h/ada/%C3%B6%20b/x", "enp://h"),
            ("enp://127.0.0.1/store", "ada", "enp://127.0.0.1/store", "enp://127.0.0.1/store"),
            ("enp://h/%M", "a?b=%M&c#", "enp://h/a%3Fb%3D%25M%26c%23", "enp://h"),
        ] {
            let key = EventKey::parse(key).unwrap();
            let mut out = String::new();
            key.write(mailbox, &mut out);
            assert_eq!((out.as_str(), key.top()), (written, top));
        }
        assert!(EventKey::parse("enp://%M").is_err());
        assert_eq!(EventKey::parse("enp:///%M"), Err(ReferenceError::Host));
    }

    #[test]
    fn any_name_survives() {
        for name in ["plain", "a b", "100%", "ä/ö?&=#", "\u{1F600}"] {
            let mut text = "enp://h/store/".to_owned();
            encode(name, &mut text);
            text.push_str("?mailboxName=");
            encode(name, &mut text);
            assert_eq!(Reference::parse(&text).unwrap().parameter("mailboxName"), Some(name));
        }
    }
}
