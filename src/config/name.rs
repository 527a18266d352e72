//! Option names: finding a definition, wildcards in names, the nearest names to a wrong one.

use std::fmt;

use thiserror::Error;

use super::table::table;
use super::value::Kind;

/// Whether a running server takes up a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// `refresh` (SIGHUP) is enough.
    Enough,
    /// The server has to be started anew.
    Restart,
}

/// All that is known about an option; a row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Parts in capitals stand for any name: `store.partition.NICK.path`.
    pub name: &'static str,
    pub kind: Kind,
    /// Empty when the option is not set by default.
    pub default: &'static str,
    /// What a number counts; empty when there is nothing to count.
    pub unit: &'static str,
    pub refresh: Refresh,
    /// One or two sentences.
    pub help: &'static str,
}

impl Definition {
    /// Whether the name has parts that stand for any name.
    pub fn is_pattern(&self) -> bool {
        self.name.split('.').any(is_placeholder)
    }
}

/// An option that exists, spelled as in the table, with the wildcard parts filled in.
#[derive(Clone, Debug)]
pub struct Name {
    text: String,
    definition: &'static Definition,
}

impl Name {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn definition(&self) -> &'static Definition {
        self.definition
    }
}

impl PartialEq for Name {
    /// Names are the same in any case.
    fn eq(&self, other: &Self) -> bool {
        self.text.eq_ignore_ascii_case(&other.text)
    }
}

impl Eq for Name {}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// No option has this name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("no option is named `{name}`{}", suggestion(nearest))]
pub struct UnknownOption {
    pub name: String,
    /// The names that were perhaps meant, best first; at most three.
    pub nearest: Vec<&'static str>,
}

/// All options, in the order in which they are listed.
pub fn definitions() -> impl Iterator<Item = &'static Definition> {
    table()
}

/// Finds an option; the case of letters does not matter.
///
/// # Errors
/// [`UnknownOption`], with the nearest names.
pub fn lookup(name: &str) -> Result<Name, UnknownOption> {
    table()
        .find_map(|definition| fill_in(definition, name))
        .ok_or_else(|| UnknownOption { name: printable(name), nearest: nearest(name) })
}

fn fill_in(definition: &'static Definition, name: &str) -> Option<Name> {
    let mut text = String::with_capacity(name.len());
    let mut given = name.split('.');
    for (index, part) in definition.name.split('.').enumerate() {
        let word = given.next()?;
        if index > 0 {
            text.push('.');
        }
        if is_placeholder(part) && is_word(word) {
            text.push_str(word);
        } else if !is_placeholder(part) && part.eq_ignore_ascii_case(word) {
            text.push_str(part);
        } else {
            return None;
        }
    }
    given.next().is_none().then_some(Name { text, definition })
}

fn is_placeholder(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn is_word(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= 64
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// A name that no option has may hold anything; what is shown of it is short and printable.
fn printable(name: &str) -> String {
    name.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn suggestion(nearest: &[&str]) -> String {
    match nearest {
        [] => ": `configutil -H` lists all options".into(),
        [one] => format!(": did you mean `{one}`?"),
        several => format!(": did you mean one of `{}`?", several.join("`, `")),
    }
}

/// How many names are suggested at most.
const MAX_SUGGESTIONS: usize = 3;

fn nearest(name: &str) -> Vec<&'static str> {
    let name: Vec<u8> = name.bytes().take(80).map(|byte| byte.to_ascii_lowercase()).collect();
    let near_enough = name.len() / 4 + 1;
    let mut near: Vec<_> = table()
        .map(|definition| (unlikeness(&name, definition.name), definition.name))
        .filter(|(distance, _)| *distance <= near_enough)
        .collect();
    near.sort();
    // A name that is much less like it than the best would only distract.
    let best = near.first().map_or(0, |(distance, _)| *distance);
    near.retain(|(distance, _)| *distance <= best * 2);
    near.truncate(MAX_SUGGESTIONS);
    near.into_iter().map(|(_, name)| name).collect()
}

/// The edit distance; one, whatever is missing, when only leading parts were left out (`imap.port`).
fn unlikeness(name: &[u8], option: &str) -> usize {
    let option = option.to_ascii_lowercase().into_bytes();
    let is_tail = option.strip_suffix(name).is_some_and(|lead| lead.ends_with(b"."));
    if is_tail { 1 } else { edit_distance(name, &option) }
}

/// Optimal string alignment: insertions, deletions, replacements and swaps of neighbours.
fn edit_distance(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, &y) in b.iter().enumerate() {
            let mut cost = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_spelled_as_in_the_table() {
        for (given, found) in [
            ("service.imap.port", "service.imap.port"),
            ("SERVICE.IMAP.Port", "service.imap.port"),
            ("Store.Partition.Big-1.PATH", "store.partition.Big-1.path"),
            ("store.expirerule.old.messageheader.Subject", "store.expirerule.old.messageheader.Subject"),
            ("local.store.notifyplugin.NewMsg.enable", "local.store.notifyplugin.newmsg.enable"),
        ] {
            assert_eq!(lookup(given).unwrap().as_str(), found);
        }
    }

    #[test]
    fn wrong_names_get_the_nearest() {
        for (given, near) in [
            ("service.imap.prot", "service.imap.port"),
            ("service.imap.maxsesions", "service.imap.maxsessions"),
            ("imap.idletimeout", "service.imap.idletimeout"),
            ("numprocesses", "service.imap.numprocesses"),
            ("local.store.notifyplugin.enshosts", "local.store.notifyplugin.enshost"),
        ] {
            let unknown = lookup(given).unwrap_err();
            assert!(unknown.nearest.contains(&near), "{given}: {:?}", unknown.nearest);
        }
    }

    #[test]
    fn no_name_is_made_up() {
        for given in [
            "",
            ".",
            "service.imap",
            "service.imap.port.x",
            "store.partition..path",
            "store.partition.a/b.path",
            "store.partition.../x.path",
        ] {
            assert!(lookup(given).is_err(), "{given}");
        }
        assert_eq!(lookup("\x1b[31mxyzzyplugh\n").unwrap_err().name, "?[31mxyzzyplugh?");
        assert!(lookup(&"x".repeat(1_000_000)).is_err());
    }

    #[test]
    fn distances() {
        for (a, b, distance) in
            [("", "abc", 3), ("port", "prot", 1), ("kitten", "sitting", 3), ("ab", "ba", 1)]
        {
            assert_eq!(edit_distance(a.as_bytes(), b.as_bytes()), distance, "{a} {b}");
        }
    }
}
