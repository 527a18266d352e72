//! Who may connect to the Event Notification Service: `ENS_ACCESS` and `local.ens.access`.
//!
//! `+ADDRESS|MASK;-ADDRESS|MASK;…`: a rule matches a peer when both addresses are the same under the mask. A list
//! that is not empty refuses whom it does not name, and a rule that denies overrides every rule that allows,
//! wherever it stands. IPv6 (and IPv4, if you like) is written `+ADDRESS/BITS`. The manual's example prints `;` in
//! place of the last `|`, and breaks the line with a backslash: that is understood too, as is the dash that it prints for
//! a minus sign.

use std::env;
use std::net::IpAddr;

use thiserror::Error;

/// The variable with the rules of enpd; overrides `local.ens.access`.
pub const ENS_ACCESS: &str = "ENS_ACCESS";

/// The rules; without any, everybody may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessList(Vec<Rule>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    allows: bool,
    address: IpAddr,
    /// In the bits of its address: the lower 32 for IPv4.
    mask: u128,
}

/// A rule that makes no sense. Both numbers count from 1; the position is in bytes from the start of the list.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("rule {rule}, position {position}: {fault}")]
pub struct AccessError {
    pub rule: usize,
    pub position: usize,
    pub fault: AccessFault,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AccessFault {
    #[error("a rule begins with + to allow or - to deny")]
    NoSign,
    #[error("`{0}` is not an IP address")]
    NotAddress(String),
    #[error("the rule has no mask: write ADDRESS|MASK, or ADDRESS/BITS")]
    NoMask,
    #[error("`{0}` is not a mask of the address's kind")]
    NotMask(String),
}

impl AccessList {
    /// # Errors
    /// The first rule that cannot be understood.
    pub fn parse(text: &str) -> Result<Self, AccessError> {
        let mut rules = Vec::new();
        let mut pieces = Pieces { text, at: 0 }.peekable();
        while let Some(piece) = pieces.next() {
            let slip = pieces.next_if(|next| !piece.has_mask() && !next.has_sign());
            let rule = piece.rule(slip);
            rules.push(rule.map_err(|(position, fault)| AccessError {
                rule: rules.len() + 1,
                position: position + 1,
                fault,
            })?);
        }
        Ok(AccessList(rules))
    }

    /// The rules in [`ENS_ACCESS`]; `None` when it has none.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse).
    pub fn from_environment() -> Option<Result<Self, AccessError>> {
        let rules = env::var(ENS_ACCESS).ok().filter(|rules| !rules.trim().is_empty())?;
        Some(AccessList::parse(&rules))
    }

    /// Whether a peer with this address may connect.
    pub fn permits(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        let says = |allows: bool| self.0.iter().any(|rule| rule.allows == allows && rule.matches(peer));
        self.0.is_empty() || (says(true) && !says(false))
    }
}

impl Rule {
    fn matches(&self, peer: IpAddr) -> bool {
        peer.is_ipv4() == self.address.is_ipv4() && (bits(peer) ^ bits(self.address)) & self.mask == 0
    }
}

const ALLOW: char = '+';

/// How a rule begins: to allow, and three ways to write a minus sign.
const SIGNS: [char; 4] = [ALLOW, '-', '\u{2013}', '\u{2014}'];

/// What stands between two semicolons, without the blanks around it, and where.
#[derive(Clone, Copy)]
struct Piece<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Piece<'a> {
    fn has_sign(&self) -> bool {
        self.text.starts_with(SIGNS)
    }

    fn has_mask(&self) -> bool {
        self.text.contains(['|', '/'])
    }

    fn trimmed(text: &'a str, at: usize) -> Self {
        // A backslash is what is left of a line that was broken between quotes.
        let is_blank = |c: char| c.is_whitespace() || c == '\\';
        let rest = text.trim_start_matches(is_blank);
        Piece { text: rest.trim_end_matches(is_blank), at: at + text.len() - rest.len() }
    }

    /// The rule; `slip` is its mask when a semicolon stands where `|` belongs.
    fn rule(self, slip: Option<Piece<'_>>) -> Result<Rule, (usize, AccessFault)> {
        let sign = self.text.chars().next().filter(|sign| SIGNS.contains(sign));
        let Some(sign) = sign else { return Err((self.at, AccessFault::NoSign)) };
        let network = &self.text[sign.len_utf8()..];
        let at = self.at + sign.len_utf8();
        let split = network.find(['|', '/']);
        let (address, rest) = network.split_at(split.unwrap_or(network.len()));
        let address = Piece::trimmed(address, at);
        let parsed: IpAddr = address
            .text
            .parse()
            .map_err(|_| (address.at, AccessFault::NotAddress(address.text.to_owned())))?;
        let mask_at = at + network.len() - rest.len();
        let mask = match (rest.split_at_checked(1), slip) {
            (Some(("/", bits)), _) => prefix(Piece::trimmed(bits, mask_at + 1), parsed)?,
            (Some((_, mask)), _) => netmask(Piece::trimmed(mask, mask_at + 1), parsed)?,
            (None, Some(slip)) => netmask(slip, parsed)?,
            (None, None) => return Err((mask_at, AccessFault::NoMask)),
        };
        Ok(Rule { allows: sign == ALLOW, address: parsed, mask })
    }
}

fn netmask(mask: Piece<'_>, address: IpAddr) -> Result<u128, (usize, AccessFault)> {
    let parsed = mask.text.parse().ok().filter(|parsed: &IpAddr| parsed.is_ipv4() == address.is_ipv4());
    parsed.map(bits).ok_or_else(|| (mask.at, AccessFault::NotMask(mask.text.to_owned())))
}

fn prefix(length: Piece<'_>, address: IpAddr) -> Result<u128, (usize, AccessFault)> {
    let width = if address.is_ipv4() { 32 } else { 128 };
    let parsed = length.text.parse().ok().filter(|length: &u32| *length <= width);
    let mask = parsed.map(|length| u128::MAX.checked_shr(length).map_or(u128::MAX, |hosts| !hosts));
    mask.map(|mask| mask >> (128 - width))
        .ok_or_else(|| (length.at, AccessFault::NotMask(length.text.to_owned())))
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The pieces of a list that are not empty.
struct Pieces<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        while let Some(rest) = self.text.get(self.at..).filter(|rest| !rest.is_empty()) {
            let end = rest.find(';').unwrap_or(rest.len());
            let piece = Piece::trimmed(&rest[..end], self.at);
            self.at += end + 1;
            if !piece.text.is_empty() {
                return Some(piece);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permitted<'a>(list: &str, peers: &[&'a str]) -> Vec<&'a str> {
        let list = AccessList::parse(list).unwrap();
        peers.iter().copied().filter(|peer| list.permits(peer.parse().unwrap())).collect()
    }

    const PEERS: [&str; 6] = ["127.0.0.1", "127.0.0.2", "192.168.0.7", "192.168.0.17", "10.0.0.1", "::1"];

    #[test]
    fn the_manual_s_examples() {
        assert_eq!(permitted("", &PEERS), PEERS);
        assert_eq!(permitted("+127.0.0.1|255.255.255.255", &PEERS), ["127.0.0.1"]);
        let network = "+192.168.0.1|255.255.255.0;+127.0.0.1|255.255.255.255;-192.168.0.17|255.255.255.255";
        assert_eq!(permitted(network, &PEERS), ["127.0.0.1", "192.168.0.7"]);
        for as_printed in [
            "+192.168.0.1|255.255.255.0;+127.0.0.1|255.255.255.255;-192.168.0.17;255.255.255.255",
            "+192.168.0.1|255.255.255.0;+127.0.0.1|255.255.255.255; \\\n    -192.168.0.17;255.255.255.255",
            "+192.168.0.1|255.255.255.0;+127.0.0.1|255.255.255.255;\u{2014} 192.168.0.17|255.255.255.255",
        ] {
            assert_eq!(AccessList::parse(as_printed), AccessList::parse(network), "{as_printed}");
        }
    }

    #[test]
    fn deny_overrides_allow_in_any_order() {
        for list in
            ["+10.0.0.0/8; -10.0.0.0/16;", "-10.0.0.0/16;+10.0.0.0/8", " - 10.0.0.0 / 16 ; + 10.0.0.0 / 8"]
        {
            assert_eq!(permitted(list, &["10.0.0.1", "10.1.0.1", "11.0.0.1"]), ["10.1.0.1"], "{list}");
        }
    }

    #[test]
    fn families_do_not_mix() {
        assert_eq!(permitted("+::/0", &PEERS), ["::1"]);
        assert_eq!(permitted("+0.0.0.0|0.0.0.0", &PEERS), PEERS[..5]);
        assert_eq!(permitted("+127.0.0.1/32", &["::ffff:127.0.0.1"]), ["::ffff:127.0.0.1"]);
        let six = ["2001:db8::1", "2001:db8:1::1", "2001:db9::1"];
        assert_eq!(permitted("+2001:db8::/32;-2001:db8:1::/48", &six), ["2001:db8::1"]);
        assert_eq!(permitted("+2001:db8::|ffff:ffff::", &six), six[..2]);
    }

    #[test]
    fn what_is_malformed_is_named_with_its_place() {
        for (list, says) in [
            ("127.0.0.1|255.255.255.255", "rule 1, position 1: a rule begins with +"),
            ("+127.0.0.1|255.255.255.255; 10.0.0.1|255.0.0.0", "rule 2, position 29: a rule begins with +"),
            ("+127.0.0.x|255.255.255.255", "rule 1, position 2: `127.0.0.x` is not an IP address"),
            ("+127.0.0.1", "rule 1, position 11: the rule has no mask"),
            ("+::/0;-10.0.0.1/33", "rule 2, position 17: `33` is not a mask"),
            ("+10.0.0.1|ffff::", "rule 1, position 11: `ffff::` is not a mask"),
            ("+::1|255.0.0.0", "rule 1, position 6: `255.0.0.0` is not a mask"),
            ("-192.168.0.17;255.255", "rule 1, position 15: `255.255` is not a mask"),
            ("+", "rule 1, position 2: `` is not an IP address"),
        ] {
            let error = AccessList::parse(list).unwrap_err().to_string();
            assert!(error.starts_with(says), "{list}: {error}");
        }
    }
}
