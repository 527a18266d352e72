//! Authentication, names of hosts and domains, the directory.

use super::row;
use crate::config::name::Definition;
use crate::config::name::Refresh::{Enough, Restart};
use crate::config::value::Kind::{Host, Integer, Port, Text};

pub static OPTIONS: &[Definition] = &[
    row(
        "service.authcachesize",
        Integer { min: 0, max: 10000000 },
        "10000",
        "entries",
        Enough,
        "Logins that the authentication cache keeps; 0 switches it off.",
    ),
    row(
        "service.authcachettl",
        Integer { min: 0, max: 86400 },
        "900",
        "seconds",
        Enough,
        "How long the authentication cache keeps a login. A changed password takes effect at once all the same.",
    ),
    row(
        "sasl.default.mech_list",
        Text,
        "",
        "",
        Enough,
        "SASL mechanisms to offer, separated by blanks. Not set: all that are available.",
    ),
    row("service.dcroot", Text, "o=internet", "", Restart, "Root of the domain tree in the directory."),
    row("service.defaultdomain", Host, "", "", Enough, "Domain of users who log in without one."),
    row("local.hostname", Host, "", "", Enough, "Name of this host. Not set: what the system says."),
    row(
        "local.servername",
        Host,
        "",
        "",
        Enough,
        "Name of the server in its greeting. Not set: local.hostname.",
    ),
    row(
        "local.ugldaphost",
        Host,
        "",
        "",
        Restart,
        "Host of the LDAP directory. Not set: users are in config/users.",
    ),
    row("local.ugldapport", Port, "389", "", Restart, "Port of the LDAP directory."),
    row("local.ugldapbasedn", Text, "", "", Restart, "Where users are found in the LDAP directory."),
    row("local.ugldapbinddn", Text, "", "", Restart, "Who binds to the LDAP directory."),
    row("local.ugldapbindcred", Text, "", "", Restart, "Password for local.ugldapbinddn."),
];
