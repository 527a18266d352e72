//! What may be wrong with a configuration as a whole, each with the next step.

use thiserror::Error;

use super::msgconf::SyntaxError;
use super::name::UnknownOption;
use super::service_user::ServiceUserError;
use super::settings::IdleObstacle;
use super::value::BadValue;

/// Whether the server starts all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Warning,
    Error,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Finding {
    #[error("{0}")]
    Syntax(#[from] SyntaxError),
    #[error("line {line}: {unknown}")]
    Unknown { line: usize, unknown: UnknownOption },
    #[error("line {line}: {name}: {reason}: {help}")]
    BadValue { line: usize, name: String, reason: BadValue, help: &'static str },
    #[error("line {second}: {name} is set on line {first} already: remove one of the two lines")]
    Twice { name: String, first: usize, second: usize },
    #[error("service.imap.enable and service.imap.enablesslport are both off: switch one of them on")]
    NothingToServe,
    #[error("{first} and {second} are both {port}: give one of them another port")]
    SamePort { first: &'static str, second: &'static str, port: u16 },
    #[error("{present} is set without {missing}: set both or none")]
    HalfCertificate { present: &'static str, missing: &'static str },
    #[error(
        "service.imap.plaintextmincipher is {0}, but no port offers TLS: nobody could log in: set it to 0"
    )]
    NobodyCanLogIn(i64),
    #[error("service.imap.plaintextmincipher is -1: nobody can log in with a password")]
    NoPasswords,
    #[error("store.defaultpartition is `{0}`: set store.partition.{0}.path")]
    NoPartition(String),
    #[error(
        "service.imap.connlimits ends without a catch-all: other addresses are not limited: add 0.0.0.0|0:NUMBER"
    )]
    NoCatchAll,
    #[error("local.serveruid: {0}")]
    ServiceUser(ServiceUserError),
    #[error("IDLE is not offered: {0}")]
    Idle(IdleObstacle),
}

impl Finding {
    /// Whether the server refuses to start because of this.
    pub fn severity(&self) -> Severity {
        match self {
            Finding::NoPasswords | Finding::NoCatchAll | Finding::Idle(_) => Severity::Warning,
            _ => Severity::Error,
        }
    }
}
