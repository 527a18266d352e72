//! `mboxutil`: lists, makes, deletes, renames and restores mailboxes, beside a running server or without one.
//!
//! Mailboxes are named `user/UID/FOLDER`, INBOX included; `user/UID` stands for all of a user's.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{ArgGroup, Args};

use super::base::Place;
use super::logging::printable;
use super::mail;
use crate::config::{Base, Config};
use crate::store::{INBOX, SpecialUses, Status, Store, TreeEntry, User, UserName};

/// Lists, makes, deletes, renames and restores mailboxes. Sessions of a running server see the change at once.
///
/// Mailboxes are named user/UID/FOLDER: user/ada/INBOX, user/ada/Sent.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("action").required(true).args(["list", "create", "delete", "rename", "restore"]))]
pub struct Arguments {
    /// List mailboxes: messages, kilobytes and name.
    #[arg(short = 'l')]
    list: bool,
    /// With -l: only names that match; `*` stands for anything, `%` for anything within one level.
    #[arg(short = 'p', value_name = "PATTERN", requires = "list")]
    pattern: Option<String>,
    /// With -l: only names.
    #[arg(short = 's', requires = "list", conflicts_with = "extended")]
    short: bool,
    /// With -l: also UIDVALIDITY, the next UID, the mailbox's identity and the user's directory.
    #[arg(short = 'x', requires = "list")]
    extended: bool,
    /// Make mailboxes; user/UID/INBOX makes a user's store.
    #[arg(short = 'c', value_name = "MAILBOX", num_args = 1..)]
    create: Vec<String>,
    /// Delete mailboxes; -R brings them back within store.cleanupage hours.
    #[arg(short = 'd', value_name = "MAILBOX", num_args = 1..)]
    delete: Vec<String>,
    /// Rename a mailbox and those beneath it; of INBOX, the messages move.
    #[arg(short = 'r', value_names = ["OLD", "NEW"], num_args = 2)]
    rename: Vec<String>,
    /// Bring back messages that were expunged less than store.cleanupage hours ago, and deleted mailboxes; user/UID: all
    /// of a user's. Messages get new UIDs and lose \Deleted. Those that MOVE took elsewhere stay there.
    #[arg(short = 'R', value_name = "MAILBOX", num_args = 1..)]
    restore: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When a mailbox is not there, is there already, or the store cannot be used. What was done before stays done.
pub fn run(place: &Place, arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let tool = Tool::open(place)?;
    let result = tool.run(arguments, out);
    tool.store.close();
    result
}

struct Tool {
    base: Base,
    partition: PathBuf,
    grace: Duration,
    store: Store,
}

impl Tool {
    fn open(place: &Place) -> Result<Tool> {
        let base = place.open()?;
        let settings = Config::load(&base)?.settings()?;
        let partition = settings.partition(&base);
        let store = mail::open(&base, &partition)?;
        Ok(Tool { base, partition, grace: settings.store.cleanup_age, store })
    }

    fn run(&self, arguments: &Arguments, out: &mut impl Write) -> Result<()> {
        if arguments.list {
            return self.list(arguments, out);
        }
        if let [old, new] = &arguments.rename[..] {
            return self.rename(old, new, out);
        }
        arguments.create.iter().try_for_each(|name| self.create(name, out))?;
        arguments.delete.iter().try_for_each(|name| self.delete(name, out))?;
        arguments.restore.iter().try_for_each(|name| self.restore(name, out))
    }

    fn list(&self, arguments: &Arguments, out: &mut impl Write) -> Result<()> {
        if !arguments.short {
            writeln!(out, "{:>8} {:>10}  mailbox", "messages", "kilobytes")?;
        }
        let users = mail::everybody(&self.base, &self.partition)?;
        let mut names: Vec<UserName> = users.into_iter().filter_map(|user| user.name).collect();
        names.sort_unstable();
        for name in names {
            match self.store.existing_user(&name) {
                Ok(Some(user)) => self.list_user(&user, arguments, out)?,
                Ok(None) => {}
                // The others are listed all the same.
                Err(error) => log::error!(user = name.as_str(), error:% = error; "cannot list"),
            }
        }
        Ok(())
    }

    fn list_user(&self, user: &User, arguments: &Arguments, out: &mut impl Write) -> Result<()> {
        for entry in user.tree()?.mailboxes() {
            let name = format!("user/{}/{}", user.name(), entry.name);
            if arguments.pattern.as_ref().is_some_and(|pattern| !matches(pattern, &name)) {
                continue;
            }
            if arguments.short {
                writeln!(out, "{}", printable(&name))?;
                continue;
            }
            let status = user.status(&entry.name)?;
            write!(out, "{:>8} {:>10}  {}", status.messages, status.size.div_ceil(1024), printable(&name))?;
            if arguments.extended {
                self.write_extended(user, entry, &status, out)?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn write_extended(
        &self,
        user: &User,
        entry: &TreeEntry,
        status: &Status,
        out: &mut impl Write,
    ) -> Result<()> {
        let (validity, next) = (status.uid_validity, status.uid_next);
        let directory = user.directory().display();
        Ok(write!(out, "  uidvalidity={validity} uidnext={next} id={} {directory}", entry.id)?)
    }

    fn create(&self, name: &str, out: &mut impl Write) -> Result<()> {
        let (owner, folder) = named(name)?;
        match self.store.existing_user(&owner)? {
            None if folder == INBOX => {
                self.store.user(&owner)?;
            }
            None => bail!("no such user's store: make user/{owner}/{INBOX} first"),
            Some(user) => {
                let made = user.create(&folder, SpecialUses::NONE);
                made.with_context(|| printable(name).into_owned())?;
            }
        }
        Ok(writeln!(out, "{}: created", printable(name))?)
    }

    fn delete(&self, name: &str, out: &mut impl Write) -> Result<()> {
        let (owner, folder) = named(name)?;
        self.user(&owner)?.delete(&folder).with_context(|| printable(name).into_owned())?;
        Ok(writeln!(out, "{}: deleted", printable(name))?)
    }

    fn rename(&self, old: &str, new: &str, out: &mut impl Write) -> Result<()> {
        let ((owner, from), (new_owner, to)) = (named(old)?, named(new)?);
        ensure!(owner == new_owner, "a mailbox stays with its user: name a mailbox of user/{owner}");
        self.user(&owner)?.rename(&from, &to).with_context(|| printable(old).into_owned())?;
        Ok(writeln!(out, "{}: renamed to {}", printable(old), printable(new))?)
    }

    fn restore(&self, name: &str, out: &mut impl Write) -> Result<()> {
        let (owner, folder) = parse(name)?;
        let user = self.user(&owner)?;
        let restored =
            user.restore(folder.as_deref(), self.grace).with_context(|| printable(name).into_owned())?;
        if restored.is_empty() {
            writeln!(out, "{}: nothing to restore", printable(name))?;
        }
        for back in restored {
            let (made, messages) = (if back.made { ", mailbox made anew" } else { "" }, back.messages);
            let plural = if messages == 1 { "" } else { "s" };
            let folder = printable(&back.mailbox);
            writeln!(out, "user/{owner}/{folder}: {messages} message{plural} restored{made}")?;
        }
        Ok(())
    }

    fn user(&self, name: &UserName) -> Result<Arc<User>> {
        let user = self.store.existing_user(name)?;
        user.with_context(|| format!("no such user's store: {}", printable(name.as_str())))
    }
}

/// A mailbox by its whole name.
fn named(name: &str) -> Result<(UserName, String)> {
    match parse(name)? {
        (user, Some(folder)) => Ok((user, folder)),
        (user, None) => bail!("user/{user} is not a mailbox: name one, like user/{user}/{INBOX}"),
    }
}

/// `user/UID` or `user/UID/FOLDER`.
fn parse(name: &str) -> Result<(UserName, Option<String>)> {
    let rest = name.strip_prefix("user/");
    let rest = rest.with_context(|| format!("`{}` is not user/UID/FOLDER", printable(name)))?;
    let (user, folder) = match rest.split_once('/') {
        Some((user, folder)) => (user, Some(folder.to_owned())),
        None => (rest, None),
    };
    let user = UserName::new(user).with_context(|| format!("`{}` cannot be a user", printable(user)))?;
    Ok((
        user,
        folder.map(|folder| if folder.eq_ignore_ascii_case(INBOX) { INBOX.to_owned() } else { folder }),
    ))
}

/// Whether a name matches a pattern with the wildcards of LIST (RFC 9051 §6.3.9). Linear in the pattern times the name.
fn matches(pattern: &str, name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    // Which beginnings of the name the pattern so far matches.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for wanted in pattern.chars() {
        let mut next = vec![false; name.len() + 1];
        for at in 0..=name.len() {
            let before = at.checked_sub(1).and_then(|before| Some((before, *name.get(before)?)));
            next[at] = match (wanted, before) {
                ('*', Some((before, _))) => reached[at] || next[before],
                ('%', Some((before, here))) => reached[at] || next[before] && here != '/',
                ('*' | '%', None) => reached[at],
                (_, Some((before, here))) => reached[before] && here == wanted,
                (_, None) => false,
            };
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_are_those_of_list() {
        for (pattern, name, expected) in [
            ("*", "user/ada/INBOX", true),
            ("user/ada/%", "user/ada/INBOX", true),
            ("user/ada/%", "user/ada/Work/2024", false),
            ("user/%/Work/*", "user/ada/Work/2024/x", true),
            ("user/ada", "user/ada/INBOX", false),
            ("*ü*", "user/ada/Entwürfe", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn names_begin_with_the_user() {
        let parsed = |name| parse(name).map(|(user, folder)| (user.as_str().to_owned(), folder));
        assert_eq!(parsed("user/ada").unwrap(), ("ada".into(), None));
        assert_eq!(parsed("user/ada/inbox").unwrap(), ("ada".into(), Some("INBOX".into())));
        assert_eq!(parsed("user/ada/a/b").unwrap(), ("ada".into(), Some("a/b".into())));
        for bad in ["ada", "user/", "users/ada", ""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(named("user/ada").is_err());
    }
}
