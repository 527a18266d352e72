//! The kinds of values that an option may have, and their one parser each.

use std::net::IpAddr;

use thiserror::Error;

use super::access::{AccessError, AccessList};
use super::filter::{FilterError, FilterList};
use crate::sys::Account;

/// What the value of an option may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// yes/no, on/off, true/false or 1/0, in any case.
    Boolean,
    /// A whole number in a range, both ends included.
    Integer { min: i64, max: i64 },
    /// A TCP port; 0 lets the kernel choose one.
    Port,
    /// Any text on one line.
    Text,
    /// A file or directory; relative to the base unless absolute.
    Path,
    /// A host name or address.
    Host,
    /// The name of a user of this machine.
    Account,
    /// IP addresses, separated by blanks or commas.
    Addresses,
    /// One of a few words, in any case.
    Choice(&'static [&'static str]),
    /// A level of the log.
    LogLevel,
    /// `enp://host/store…`.
    EventKey,
    /// `IP|MASK:NUM`, separated by commas.
    ConnLimits,
    /// `+IP|MASK` and `-IP|MASK`, separated by semicolons.
    Access,
    /// `SERVICES: CLIENTS`, separated by dollar signs.
    Filters,
}

/// Why a text is not a value of its kind.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadValue {
    #[error("`{0}` is neither yes nor no")]
    NotBoolean(String),
    #[error("`{value}` is not a whole number from {min} to {max}")]
    NotInRange { value: String, min: i64, max: i64 },
    #[error("`{0}` is not an IP address")]
    NotAddress(String),
    #[error("`{0}` is not a host name or address")]
    NotHost(String),
    #[error("`{0}` is not the name of a user")]
    NotAccount(String),
    #[error("this machine has no user `{0}`: make one with useradd --system {0}")]
    NoAccount(String),
    #[error("`{value}` is none of {}", choices.join(", "))]
    NotChoice { value: String, choices: &'static [&'static str] },
    #[error("`{0}` does not begin with enp://")]
    NotEventKey(String),
    #[error("`{0}` is not of the form IP|MASK:NUMBER")]
    NotConnLimit(String),
    #[error(transparent)]
    NotAccess(#[from] AccessError),
    #[error(transparent)]
    NotFilters(#[from] FilterError),
    #[error("value has a control character")]
    Control,
    #[error("value is longer than {MAX_VALUE} bytes")]
    TooLong,
}

/// Longest value, in bytes; a line of `msg.conf` stays readable.
pub const MAX_VALUE: usize = 4096;

/// Levels of the log, as the manual names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Nolog,
    Critical,
    Error,
    Warning,
    Notice,
    Information,
    Debug,
}

const LEVELS: &[(&str, Level)] = &[
    ("Nolog", Level::Nolog),
    ("Critical", Level::Critical),
    ("Error", Level::Error),
    ("Warning", Level::Warning),
    ("Notice", Level::Notice),
    ("Information", Level::Information),
    ("Debug", Level::Debug),
];

const LEVEL_NAMES: &[&str] = &["Nolog", "Critical", "Error", "Warning", "Notice", "Information", "Debug"];

/// One realm of `service.imap.connlimits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnLimit {
    pub address: IpAddr,
    /// Bits of the address that count.
    pub prefix: u8,
    /// Connections that one client address of this realm may hold.
    pub connections: u32,
}

impl ConnLimit {
    /// Whether every client address belongs to this realm.
    pub fn is_catch_all(&self) -> bool {
        self.prefix == 0
    }

    /// Whether this client address belongs to this realm.
    pub fn covers(&self, client: IpAddr) -> bool {
        self.is_catch_all() || is_in_network(client.to_canonical(), self.address, self.prefix)
    }
}

impl Kind {
    /// Checks a value; the empty one, which means "not set", is always right.
    ///
    /// # Errors
    /// What is wrong with the value.
    pub fn check(self, value: &str) -> Result<(), BadValue> {
        if value.len() > MAX_VALUE {
            return Err(BadValue::TooLong);
        }
        if value.chars().any(char::is_control) {
            return Err(BadValue::Control);
        }
        if value.is_empty() {
            return Ok(());
        }
        match self {
            Kind::Boolean => boolean(value).map(drop),
            Kind::Integer { min, max } => integer(value, min, max).map(drop),
            Kind::Port => port(value).map(drop),
            Kind::Text | Kind::Path => Ok(()),
            Kind::Host => host(value).map(drop),
            Kind::Account => account(value).map(drop),
            Kind::Addresses => addresses(value).map(drop),
            Kind::Choice(choices) => choice(value, choices).map(drop),
            Kind::LogLevel => level(value).map(drop),
            Kind::EventKey => event_key(value).map(drop),
            Kind::ConnLimits => conn_limits(value).map(drop),
            Kind::Access => access(value).map(drop),
            Kind::Filters => filters(value).map(drop),
        }
    }

    /// Checks a value against this machine, as far as it speaks of it.
    ///
    /// # Errors
    /// What is missing here.
    pub fn check_here(self, value: &str) -> Result<(), BadValue> {
        let is_missing = || matches!(Account::find(value), Ok(None));
        if self == Kind::Account && !value.is_empty() && is_missing() {
            return Err(BadValue::NoAccount(value.into()));
        }
        Ok(())
    }

    /// What a person may write, for help texts.
    pub fn describe(self) -> String {
        match self {
            Kind::Boolean => "yes or no".into(),
            Kind::Integer { min, max } => format!("{min} to {max}"),
            Kind::Port => "port, 0 to 65535".into(),
            Kind::Text => "text".into(),
            Kind::Path => "path, relative to the base".into(),
            Kind::Host => "host name or address".into(),
            Kind::Account => "name of a user of this machine".into(),
            Kind::Addresses => "IP addresses".into(),
            Kind::Choice(choices) => choices.join(", "),
            Kind::LogLevel => LEVEL_NAMES.join(", "),
            Kind::EventKey => "event reference, enp://…".into(),
            Kind::ConnLimits => "IP|MASK:NUMBER, …".into(),
            Kind::Access => "+IP|MASK or -IP|MASK; …".into(),
            Kind::Filters => "SERVICES: CLIENTS $ …".into(),
        }
    }
}

pub fn boolean(value: &str) -> Result<bool, BadValue> {
    const WORDS: [(&str, bool); 8] = [
        ("yes", true),
        ("no", false),
        ("on", true),
        ("off", false),
        ("true", true),
        ("false", false),
        ("1", true),
        ("0", false),
    ];
    let found = WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(value));
    found.map(|(_, truth)| *truth).ok_or_else(|| BadValue::NotBoolean(value.into()))
}

pub fn integer(value: &str, min: i64, max: i64) -> Result<i64, BadValue> {
    let number = value.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| BadValue::NotInRange { value: value.into(), min, max })
}

pub fn port(value: &str) -> Result<u16, BadValue> {
    value.parse().map_err(|_| BadValue::NotInRange { value: value.into(), min: 0, max: 65535 })
}

pub fn host(value: &str) -> Result<&str, BadValue> {
    let is_name = value.len() <= 253
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if is_name || value.parse::<IpAddr>().is_ok() { Ok(value) } else { Err(BadValue::NotHost(value.into())) }
}

/// What `useradd` takes, and a little more; whether there is such a user is another question.
pub fn account(value: &str) -> Result<&str, BadValue> {
    let is_name = !value.starts_with('-')
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'$'));
    if is_name { Ok(value) } else { Err(BadValue::NotAccount(value.into())) }
}

pub fn addresses(value: &str) -> Result<Vec<IpAddr>, BadValue> {
    words(value).map(|word| word.parse().map_err(|_| BadValue::NotAddress(word.into()))).collect()
}

pub fn choice(value: &str, choices: &'static [&'static str]) -> Result<&'static str, BadValue> {
    let found = choices.iter().find(|choice| choice.eq_ignore_ascii_case(value));
    found.copied().ok_or_else(|| BadValue::NotChoice { value: value.into(), choices })
}

pub fn level(value: &str) -> Result<Level, BadValue> {
    let found = LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
    found
        .map(|(_, level)| *level)
        .ok_or_else(|| BadValue::NotChoice { value: value.into(), choices: LEVEL_NAMES })
}

pub fn event_key(value: &str) -> Result<&str, BadValue> {
    if value.starts_with("enp://") { Ok(value) } else { Err(BadValue::NotEventKey(value.into())) }
}

pub fn conn_limits(value: &str) -> Result<Vec<ConnLimit>, BadValue> {
    value.split(',').map(str::trim).filter(|realm| !realm.is_empty()).map(conn_limit).collect()
}

pub fn access(value: &str) -> Result<AccessList, BadValue> {
    Ok(AccessList::parse(value)?)
}

pub fn filters(value: &str) -> Result<FilterList, BadValue> {
    Ok(FilterList::parse(value)?)
}

/// The words of a list that is separated by blanks or commas.
pub fn words(value: &str) -> impl Iterator<Item = &str> {
    value.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|word| !word.is_empty())
}

/// `IP|MASK:NUM`; the mask is written as an address or as a number of bits.
fn conn_limit(realm: &str) -> Result<ConnLimit, BadValue> {
    let parse = || {
        let (network, connections) = realm.rsplit_once(':')?;
        let (address, mask) = network.split_once('|')?;
        let address: IpAddr = address.trim().parse().ok()?;
        let prefix = prefix(mask.trim(), address)?;
        Some(ConnLimit { address, prefix, connections: connections.trim().parse().ok()? })
    };
    parse().ok_or_else(|| BadValue::NotConnLimit(realm.into()))
}

/// How many bits a mask leaves, written as a number or as an address.
pub fn prefix(mask: &str, address: IpAddr) -> Option<u8> {
    let width = if address.is_ipv4() { 32 } else { 128 };
    if let Ok(bits) = mask.parse::<u8>() {
        return Some(bits).filter(|bits| *bits <= width);
    }
    // A netmask: ones, then zeros. The highest bits of both forms are aligned by the shift.
    let bits = match mask.parse().ok()? {
        IpAddr::V4(mask) if address.is_ipv4() => u128::from(mask.to_bits()) << 96,
        IpAddr::V6(mask) if address.is_ipv6() => mask.to_bits(),
        _ => return None,
    };
    let ones = bits.leading_ones();
    (ones == bits.count_ones()).then_some(ones as u8)
}

/// Whether the first `prefix` bits of the two addresses are the same.
pub fn is_in_network(client: IpAddr, address: IpAddr, prefix: u8) -> bool {
    let (differing, width) = match (client, address) {
        (IpAddr::V4(client), IpAddr::V4(address)) => (u128::from(client.to_bits() ^ address.to_bits()), 32),
        (IpAddr::V6(client), IpAddr::V6(address)) => (client.to_bits() ^ address.to_bits(), 128),
        _ => return false,
    };
    differing.checked_shr(width - u32::from(prefix)).unwrap_or_default() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_each_kind() {
        let idle = Kind::Integer { min: 30, max: 10_080 };
        let sync = Kind::Choice(&["immediate", "deferred"]);
        for (kind, good, bad) in [
            (Kind::Boolean, vec!["yes", "No", "ON", "off", "TRUE", "false", "1", "0"], vec!["2", "y", "ja"]),
            (idle, vec!["30", "10080"], vec!["29", "10081", "30 ", "3e1", "-1", "99999999999999999999"]),
            (Kind::Port, vec!["0", "143", "65535"], vec!["65536", "-1", "imap"]),
            (Kind::Host, vec!["localhost", "192.0.2.1", "2001:db8::1"], vec!["a b", "x:y", "ü"]),
            (Kind::Account, vec!["nobody", "_mail-1"], vec!["a b", "-x", "a:b", "ü"]),
            (Kind::Addresses, vec!["127.0.0.1 ::1", "127.0.0.1,::1"], vec!["localhost", "127.0.0"]),
            (sync, vec!["Deferred"], vec!["later"]),
            (Kind::LogLevel, vec!["nolog", "Information"], vec!["info"]),
            (Kind::EventKey, vec!["enp://127.0.0.1/store/%M"], vec!["http://127.0.0.1/"]),
            (
                Kind::ConnLimits,
                vec!["127.0.0.1|255.255.255.255:20,0.0.0.0|0:5", "2001:db8::|32:7"],
                vec![
                    "127.0.0.1:20",
                    "127.0.0.1|33:1",
                    "127.0.0.1|255.0.255.0:1",
                    "127.0.0.1|8:x",
                    "::|0.0.0.0:1",
                ],
            ),
            (Kind::Access, vec!["+127.0.0.1|255.255.255.255", "-::1/128;"], vec!["127.0.0.1|255.0.0.0"]),
            (Kind::Filters, vec!["ALL: ALL", "imap: 10. EXCEPT 10.1."], vec!["ALL", "ALL: host.example"]),
            (Kind::Text, vec!["anything at all"], vec!["two\nlines", "bell\x07"]),
        ] {
            for value in good {
                assert_eq!(kind.check(value), Ok(()), "{kind:?}: {value}");
            }
            for value in bad {
                assert!(kind.check(value).is_err(), "{kind:?}: {value}");
            }
            assert_eq!(kind.check(""), Ok(()), "{kind:?}: empty means not set");
        }
    }

    #[test]
    fn a_value_has_an_end() {
        assert_eq!(Kind::Text.check(&"x".repeat(MAX_VALUE)), Ok(()));
        assert_eq!(Kind::Text.check(&"x".repeat(MAX_VALUE + 1)), Err(BadValue::TooLong));
    }

    #[test]
    fn masks_count_bits() {
        let limits = conn_limits("10.0.0.0|255.128.0.0:3, 0.0.0.0|0.0.0.0:9").unwrap();
        assert_eq!((limits[0].prefix, limits[0].connections), (9, 3));
        assert!(limits[1].is_catch_all());
        let covers =
            |client: &str| limits.iter().map(|limit| limit.covers(client.parse().unwrap())).collect();
        for (client, expected) in
            [("10.127.0.1", [true, true]), ("10.128.0.1", [false, true]), ("2001:db8::1", [false, true])]
        {
            let covered: Vec<bool> = covers(client);
            assert_eq!(covered, expected, "{client}");
        }
    }

    #[test]
    fn every_level_has_a_name() {
        assert!(LEVELS.iter().map(|(name, _)| name).eq(LEVEL_NAMES));
    }
}
