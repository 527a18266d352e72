//! Every option, once. Names and defaults are those of the Sun Java System Messaging Server 6.3 manuals where those
//! have them.

mod imap;
mod names;
mod notify;
mod operation;
mod store;

use super::name::{Definition, Refresh};
use super::value::Kind;

/// The options, grouped by what they are about, in the order in which they are listed.
pub fn table() -> impl Iterator<Item = &'static Definition> {
    [imap::OPTIONS, names::OPTIONS, notify::OPTIONS, store::OPTIONS, operation::OPTIONS].into_iter().flatten()
}

const fn row(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    unit: &'static str,
    refresh: Refresh,
    help: &'static str,
) -> Definition {
    Definition { name, kind, default, unit, refresh, help }
}

#[cfg(test)]
mod tests {
    use super::super::value::Kind::Integer;
    use super::*;
    use crate::config::lookup;

    #[test]
    fn defaults_obey_their_own_rules() {
        for definition in table() {
            assert_eq!(definition.kind.check(definition.default), Ok(()), "{}", definition.name);
        }
    }

    #[test]
    fn each_option_is_there_once_and_helps() {
        for definition in table() {
            assert!(definition.help.ends_with('.'), "{}", definition.name);
            let same = table().filter(|other| other.name.eq_ignore_ascii_case(definition.name));
            assert_eq!(same.count(), 1, "{}", definition.name);
            assert_eq!(lookup(definition.name).unwrap().definition().name, definition.name);
        }
    }

    #[test]
    fn numbers_say_what_they_count() {
        for definition in table() {
            let counts = matches!(definition.kind, Integer { .. });
            assert_eq!(counts, !definition.unit.is_empty(), "{}", definition.name);
        }
    }
}
