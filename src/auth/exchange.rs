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
