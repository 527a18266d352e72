//! Client access filters: `service.imap.domainallowed` and `service.imap.domainnotallowed`.
//!
//! ```text
//! filters  = filter *("$" filter)
//! filter   = services ":" clients
//! services, clients = words ["EXCEPT" (the same again)]        words are separated by blanks or commas
//! service  = "imap" | "imaps" | "ALL" | "*" | another of the mail system's, which is not ours
//! client   = "ALL" | "*" | ADDRESS | ADDRESS "/" (NETMASK | BITS) | "10.1."
//! ```
//!
//! A filter that allows and matches decides first, then one that refuses. Nobody else is refused, unless there are
//! only filters that allow. Names of hosts are no clients here: whoever has the reverse zone of an address can give it
//! any name, and a slow DNS would keep everybody waiting.

use std::net::{IpAddr, Ipv4Addr};

use thiserror::Error;

use super::value::{is_in_network, prefix, words};

/// Both lists.
#[derive(Clone, Debug, Default)]
pub struct ClientFilters {
    pub allow: FilterList,
    pub deny: FilterList,
}

/// The value of one of the options.
#[derive(Clone, Debug, Default)]
pub struct FilterList(Vec<Filter>);

/// What a client connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Imap,
    /// TLS from the first byte.
    Imaps,
}

#[derive(Clone, Debug)]
struct Filter {
    services: Exceptions<ServiceWord>,
    clients: Exceptions<ClientWord>,
}

/// Groups of words: the first, but not the second, unless the third, and so on.
#[derive(Clone, Debug)]
struct Exceptions<W>(Vec<Vec<W>>);

#[derive(Clone, Copy, Debug)]
enum ServiceWord {
    All,
    Imaps,
    Both,
    NotOurs,
}

#[derive(Clone, Copy, Debug)]
enum ClientWord {
    All,
    Network { address: IpAddr, prefix: u8 },
}

/// Why a text is no list of filters.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FilterError {
    #[error("filter {0} has no colon: write SERVICES: CLIENTS")]
    NoColon(usize),
    #[error("filter {0} names nobody before or behind its colon or an EXCEPT")]
    Nobody(usize),
    #[error("`{0}` is not a service: write imap, imaps or ALL")]
    Service(String),
    #[error(
        "`{0}` is not a client: write addresses, ADDRESS/NETMASK, ADDRESS/BITS or ALL; names are not looked up"
    )]
    Client(String),
}

/// Services of the mail system that run elsewhere; filters may be shared with them.
const OTHERS: [&str; 11] =
    ["pop", "pops", "pop3", "pop3s", "smtp", "smtps", "http", "https", "smime", "mmp", "lmtp"];

impl ClientFilters {
    /// Whether a client with this address may connect.
    pub fn permits(&self, service: Service, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.allow.matches(service, client)
            || !(self.deny.matches(service, client) || self.deny.0.is_empty() && !self.allow.0.is_empty())
    }
}

impl FilterList {
    /// # Errors
    /// What is wrong with the first filter that makes no sense.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let filters = text.split('$').enumerate().filter(|(_, filter)| !filter.trim().is_empty());
        Ok(FilterList(
            filters.map(|(index, filter)| Filter::parse(filter, index + 1)).collect::<Result<_, _>>()?,
        ))
    }

    fn matches(&self, service: Service, client: IpAddr) -> bool {
        self.0.iter().any(|filter| {
            filter.services.hold(|word| word.is(service)) && filter.clients.hold(|word| word.is(client))
        })
    }
}

impl Filter {
    fn parse(text: &str, number: usize) -> Result<Self, FilterError> {
        let (services, clients) = text.split_once(':').ok_or(FilterError::NoColon(number))?;
        Ok(Filter {
            services: Exceptions::parse(services, number, ServiceWord::parse)?,
            clients: Exceptions::parse(clients, number, ClientWord::parse)?,
        })
    }
}

impl<W> Exceptions<W> {
    fn parse(
        text: &str,
        number: usize,
        parse: impl Fn(&str) -> Result<W, FilterError>,
    ) -> Result<Self, FilterError> {
        let mut groups = vec![Vec::new()];
        for word in words(text) {
            if word.eq_ignore_ascii_case("EXCEPT") {
                groups.push(Vec::new());
            } else if let Some(group) = groups.last_mut() {
                group.push(parse(word)?);
            }
        }
        if groups.iter().any(Vec::is_empty) {
            Err(FilterError::Nobody(number))
        } else {
            Ok(Exceptions(groups))
        }
    }

    /// From the end: each group holds where the exceptions behind it do not.
    fn hold(&self, matches: impl Fn(&W) -> bool) -> bool {
        self.0.iter().rev().fold(false, |is_excepted, group| !is_excepted && group.iter().any(&matches))
    }
}

impl ServiceWord {
    fn parse(word: &str) -> Result<Self, FilterError> {
        match word.to_ascii_lowercase().as_str() {
            "all" | "*" => Ok(ServiceWord::All),
            "imap" => Ok(ServiceWord::Both),
            "imaps" => Ok(ServiceWord::Imaps),
            other if OTHERS.contains(&other) => Ok(ServiceWord::NotOurs),
            _ => Err(FilterError::Service(word.to_owned())),
        }
    }

    fn is(self, service: Service) -> bool {
        match self {
            ServiceWord::All | ServiceWord::Both => true,
            ServiceWord::Imaps => service == Service::Imaps,
            ServiceWord::NotOurs => false,
        }
    }
}

impl ClientWord {
    fn parse(word: &str) -> Result<Self, FilterError> {
        if word.eq_ignore_ascii_case("ALL") || word == "*" {
            return Ok(ClientWord::All);
        }
        network(word).ok_or_else(|| FilterError::Client(word.to_owned()))
    }

    fn is(self, client: IpAddr) -> bool {
        match self {
            ClientWord::All => true,
            ClientWord::Network { address, prefix } => is_in_network(client, address, prefix),
        }
    }
}

fn network(word: &str) -> Option<ClientWord> {
    if let Some(beginning) = word.strip_suffix('.') {
        let bytes: Vec<u8> = beginning.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
        let mut address = [0; 4];
        address.get_mut(..bytes.len()).filter(|_| bytes.len() < 4)?.copy_from_slice(&bytes);
        return Some(ClientWord::Network {
            address: Ipv4Addr::from(address).into(),
            prefix: 8 * bytes.len() as u8,
        });
    }
    let (address, mask) = word.split_once('/').map_or((word, None), |(address, mask)| (address, Some(mask)));
    let address: IpAddr = address.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    Some(ClientWord::Network { address, prefix: mask.map_or(Some(width), |mask| prefix(mask, address))? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(allow: &str, deny: &str) -> ClientFilters {
        ClientFilters { allow: FilterList::parse(allow).unwrap(), deny: FilterList::parse(deny).unwrap() }
    }

    #[test]
    fn who_may_connect() {
        const ALL_OF_TEN: &str = "ALL: 10.0.0.0/255.0.0.0";
        for (allow, deny, granted, refused) in [
            ("", "", &["10.0.0.1", "2001:db8::1"][..], &[][..]),
            (ALL_OF_TEN, "", &["10.0.0.1"], &["11.0.0.1", "2001:db8::1"]),
            ("", ALL_OF_TEN, &["11.0.0.1", "2001:db8::1"], &["10.0.0.1", "::ffff:10.0.0.1"]),
            (ALL_OF_TEN, "ALL: ALL", &["10.0.0.1"], &["11.0.0.1"]),
            (ALL_OF_TEN, "ALL: 12.0.0.0/8", &["10.0.0.1", "11.0.0.1"], &["12.0.0.1"]),
            ("", "pop, http: ALL", &["10.0.0.1"], &[]),
            ("", "ALL EXCEPT pop: 10.", &["11.0.0.1"], &["10.0.0.1"]),
            ("", "ALL EXCEPT imap: 10.", &["10.0.0.1"], &[]),
            (
                "imap: 192.0.2.7 [2001:db8::]/32",
                "*:*",
                &["192.0.2.7", "2001:db8::1"],
                &["192.0.2.8", "2001:db9::1"],
            ),
            (
                "",
                "ALL: 10. EXCEPT 10.1. EXCEPT 10.1.1.",
                &["10.1.0.1", "11.0.0.1"],
                &["10.0.0.1", "10.1.1.1"],
            ),
            ("imap: 10.0.0.1 $ imap: 10.0.0.2", "", &["10.0.0.1", "10.0.0.2"], &["10.0.0.3"]),
        ] {
            let filters = filters(allow, deny);
            for (clients, expected) in [(granted, true), (refused, false)] {
                for client in clients {
                    let is_granted = filters.permits(Service::Imap, client.parse().unwrap());
                    assert_eq!(is_granted, expected, "{client}: allow `{allow}`, deny `{deny}`");
                }
            }
        }
    }

    #[test]
    fn the_tls_port_can_be_told_apart() {
        let only_tls = filters("imaps: ALL", "ALL: ALL");
        let client = [192, 0, 2, 1].into();
        assert!(only_tls.permits(Service::Imaps, client) && !only_tls.permits(Service::Imap, client));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, says) in [
            ("imap", "filter 1 has no colon"),
            ("ALL: ALL $ imap", "filter 2 has no colon"),
            ("ALL:", "filter 1 names nobody"),
            (": ALL", "names nobody"),
            ("ALL: EXCEPT 10.", "names nobody"),
            ("ALL: 10. EXCEPT", "names nobody"),
            ("imp: ALL", "`imp` is not a service"),
            ("ALL: mail.example", "names are not looked up"),
            ("ALL: .example LOCAL", "`.example` is not a client"),
            ("ALL: 10.0.0.0/33", "is not a client"),
            ("ALL: 10.0.0.0.", "is not a client"),
            ("ALL: 256.", "is not a client"),
        ] {
            let error = FilterList::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
