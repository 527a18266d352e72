//! Which users, mailboxes and messages a backup or its restoration concerns.
//!
//! `user/ada`, `user/ada/Work`, `user/ada/Work:17,20:25`; the manual's `/partition/primary` may stand in front, and a
//! name without any slash is a user's.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::store::{Uid, UidSet, UserName, is_beneath};

/// A user, one of their mailboxes with those beneath it, or messages of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub user: UserName,
    pub mailbox: Option<String>,
    pub uids: Option<UidSet>,
}

/// Why a text is not a path.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PathError {
    #[error(
        "`{0}`: write user/NAME, user/NAME/MAILBOX or user/NAME/MAILBOX:UIDS, with %2F for a slash in a name"
    )]
    Form(String),
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Path::parse(text).ok_or_else(|| PathError::Form(text.to_owned()))
    }
}

impl Path {
    fn parse(text: &str) -> Option<Path> {
        if !text.contains('/') {
            return Some(Path { user: UserName::new(text).ok()?, mailbox: None, uids: None });
        }
        let mut rest = text.strip_prefix('/').unwrap_or(text);
        if let Some(behind) = rest.strip_prefix("partition/") {
            rest = behind.split_once('/')?.1;
        }
        let rest = rest.strip_prefix("user/")?;
        let (user, mailbox) = rest.split_once('/').map_or((rest, None), |(user, rest)| (user, Some(rest)));
        let user = UserName::new(user.replace("%2F", "/").replace("%25", "%")).ok()?;
        let Some(mailbox) = mailbox.filter(|name| !name.is_empty()) else {
            return Some(Path { user, mailbox: None, uids: None });
        };
        let (name, uids) = split_uids(mailbox);
        Some(Path { user, mailbox: Some(name.to_owned()), uids })
    }

    fn covers(&self, user: &UserName, mailbox: &str) -> bool {
        let is_named =
            |name: &String| same_inbox(name, mailbox) || (self.uids.is_none() && is_beneath(mailbox, name));
        self.user == *user && self.mailbox.as_ref().is_none_or(is_named)
    }
}

fn same_inbox(a: &str, b: &str) -> bool {
    a == b || (a.eq_ignore_ascii_case("INBOX") && b == "INBOX")
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user/{}", self.user)?;
        self.mailbox.as_ref().map_or(Ok(()), |mailbox| write!(f, "/{mailbox}"))
    }
}

/// Splits `Work:17,20:25` at the first colon that has a set of UIDs behind it.
fn split_uids(text: &str) -> (&str, Option<UidSet>) {
    let mut colons = text.match_indices(':');
    let found = colons.find_map(|(at, _)| Some((&text[..at], parse_uids(&text[at + 1..])?)));
    found.filter(|(name, _)| !name.is_empty()).map_or((text, None), |(name, uids)| (name, Some(uids)))
}

fn parse_uids(text: &str) -> Option<UidSet> {
    let number = |text: &str| if text == "*" { Some(Uid::MAX) } else { Uid::new(text.parse().ok()?) };
    let range = |text: &str| {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        let (first, last) = (number(first)?, number(last)?);
        Some((first.min(last), first.max(last)))
    };
    Some(UidSet::from_ranges(text.split(',').map(range).collect::<Option<Vec<_>>>()?))
}

/// What is wanted; everything, when no path is given.
#[derive(Clone, Debug, Default)]
pub struct Selection(Vec<Path>);

impl Selection {
    pub fn new(paths: Vec<Path>) -> Self {
        Selection(paths)
    }

    /// Whether everything is wanted.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// The users that are named, each once, in their order.
    pub fn users(&self) -> Vec<&UserName> {
        let mut users: Vec<&UserName> = Vec::new();
        self.0.iter().map(|path| &path.user).for_each(|user| {
            if !users.contains(&user) {
                users.push(user);
            }
        });
        users
    }

    /// Whether anything of a user is wanted.
    pub fn has_user(&self, user: &UserName) -> bool {
        self.0.is_empty() || self.0.iter().any(|path| path.user == *user)
    }

    /// Whether all of a user is wanted.
    pub fn has_all_of(&self, user: &UserName) -> bool {
        self.0.is_empty() || self.0.iter().any(|path| path.user == *user && path.mailbox.is_none())
    }

    /// Which messages of a mailbox are wanted: `None` for none, `Some(None)` for all.
    pub fn messages(&self, user: &UserName, mailbox: &str) -> Option<Option<UidSet>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let mut wanted: Option<Option<UidSet>> = None;
        for path in self.0.iter().filter(|path| path.covers(user, mailbox)) {
            wanted = match (wanted, &path.uids) {
                (Some(Some(known)), Some(uids)) => Some(Some(known.union(uids))),
                (None, Some(uids)) => Some(Some(uids.clone())),
                (Some(None), _) | (_, None) => return Some(None),
            };
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(paths: &[&str]) -> Selection {
        Selection::new(paths.iter().map(|path| path.parse().unwrap()).collect())
    }

    fn uids(text: &str) -> UidSet {
        parse_uids(text).unwrap()
    }

    #[test]
    fn paths_are_read_as_the_manual_writes_them() {
        for (text, user, mailbox, set) in [
            ("ada", "ada", None, None),
            ("user/ada", "ada", None, None),
            ("/partition/primary/user/ada/INBOX", "ada", Some("INBOX"), None),
            ("user/a%2Fb/Work/New", "a/b", Some("Work/New"), None),
            ("user/ada/Work:17,25:20", "ada", Some("Work"), Some("17,20:25")),
            ("user/ada/a:1:1:*", "ada", Some("a:1"), Some("1:*")),
            ("user/ada/10:30 train", "ada", Some("10:30 train"), None),
        ] {
            let path: Path = text.parse().unwrap();
            let expected = (user, mailbox, set.map(uids));
            assert_eq!((path.user.as_str(), path.mailbox.as_deref(), path.uids), expected, "{text}");
        }
        for bad in ["", "user/", "ada/INBOX", "/partition/user", "mail/ada"] {
            assert!(bad.parse::<Path>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mailbox_stands_for_those_beneath_it_and_uids_for_themselves() {
        let ada = UserName::new("ada").unwrap();
        let some = selection(&["user/ada/Work", "user/ada/inbox:3", "user/ada/INBOX:5"]);
        assert_eq!(some.messages(&ada, "Work/New"), Some(None));
        assert_eq!(some.messages(&ada, "Workers"), None);
        assert_eq!(some.messages(&ada, "INBOX"), Some(Some(uids("3,5"))));
        assert_eq!(some.messages(&ada, "INBOX/x"), None);
        assert!(!some.has_all_of(&ada) && selection(&["ada"]).has_all_of(&ada));
        assert_eq!(Selection::default().messages(&ada, "any"), Some(None));
        assert!(!some.has_user(&UserName::new("bob").unwrap()));
    }
}
