//! What a session asks the auth process, and what it hears back.

use std::net::IpAddr;

use crate::store::UserName;
use crate::sys::Secret;

/// How the client presented its credentials; the log says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The LOGIN command (RFC 9051 §6.2.3).
    Login,
    /// SASL PLAIN (RFC 4616).
    Plain,
}

/// A question to the auth process.
#[derive(Debug)]
pub struct Request {
    pub mechanism: Mechanism,
    /// Who wants to be served; for SASL PLAIN with an authorization identity, that one.
    pub authorization: Option<String>,
    /// Whose password this is, as the client sent it (not yet checked).
    pub authentication: String,
    pub password: Secret,
    pub remote: IpAddr,
}

#[cfg(test)]
impl Request {
    /// As from a LOGIN command of a client somewhere.
    pub(super) fn login(name: &str, password: &str) -> Self {
        Request {
            mechanism: Mechanism::Login,
            authorization: None,
            authentication: name.to_owned(),
            password: Secret::new(password.into()),
            remote: [192, 0, 2, 1].into(),
        }
    }
}

/// The answer of the auth process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Serve this user.
    Granted(UserName),
    /// Wrong name, wrong password, or not allowed; the log of the auth process knows which.
    Denied,
    /// The auth process cannot answer now (RFC 5530 `UNAVAILABLE`).
    Unavailable,
}
