//! LIST and LSUB (RFC 9051 §6.3.9; RFC 5258, RFC 5819, RFC 6154, RFC 3501 §6.3.9).

use std::collections::{BTreeMap, btree_map};
use std::mem;
use std::sync::Arc;

use super::list_names::{Attributes, BETWEEN_GLANCES, Criteria, Finder, Name, Walk, ancestors};
use super::pattern::Pattern;
use super::status::write_status;
use crate::imap::code::Failure;
use crate::imap::session::{Completion, ImapSession, Started, Sync, Work};
use crate::imap::types::{self, Dialect, StatusItems};
use crate::imap::write;
use crate::session::{Io, Step};
use crate::store::{SpecialUses, Tree, User};

/// Names on their way to the client.
pub(in crate::imap) struct Listing {
    user: Arc<User>,
    command: &'static str,
    names: Names,
    status: Option<StatusItems>,
    dialect: Dialect,
    /// The log has been looked at in an earlier slice only.
    is_resumed: bool,
}

/// Where the names come from.
enum Names {
    /// Told as they are found.
    Walk(Walk),
    /// Not all found yet.
    Find(Finder),
    Found(btree_map::IntoIter<String, Name>),
}

impl ImapSession {
    pub(in crate::imap) fn list(
        &mut self,
        command: &types::List<'_>,
        io: &mut Io<'_>,
    ) -> Result<Started, Failure> {
        let user = self.user()?.clone();
        let done = Completion::plain("LIST completed");
        let is_root = !command.extended && command.patterns.iter().any(|pattern| pattern.is_empty());
        if is_root {
            io.output.extend_from_slice(b"* LIST (\\Noselect) \"/\" \"\"\r\n");
            return Ok(Started::done(Sync::Report, done));
        }
        let (criteria, tree) = (Criteria::new(command, self.enabled.rev2), user.tree()?);
        self.note_look();
        let names = if criteria.has_selection() {
            Names::Find(Finder::new(criteria, tree))
        } else {
            Names::Walk(Walk::new(criteria, tree))
        };
        let asked = command.returns.status;
        if asked.is_some_and(|items| items.contains(StatusItems::HIGHESTMODSEQ)) {
            self.enable_condstore(io.output);
        }
        let mut listing = Listing {
            user,
            command: "LIST",
            names,
            status: asked,
            dialect: self.enabled.dialect(),
            is_resumed: false,
        };
        let step = listing.run(self, io)?;
        Ok(Started::after(step, || Work::List(Box::new(listing)), Sync::Report, done))
    }

    /// As LIST (SUBSCRIBED), but a `%` also shows the parents of what it does not reach.
    pub(in crate::imap) fn lsub(
        &mut self,
        reference: &str,
        pattern: Option<&str>,
    ) -> Result<Started, Failure> {
        let user = self.user()?.clone();
        let tree = user.tree()?;
        self.note_look();
        let pattern = pattern.map(|pattern| Pattern::new(&[reference, pattern].concat()));
        let names = pattern.map(|pattern| subscribed_names(&tree, &pattern)).unwrap_or_default();
        let listing = Listing {
            user,
            command: "LSUB",
            names: Names::Found(names.into_iter()),
            status: None,
            dialect: self.enabled.dialect(),
            is_resumed: false,
        };
        let done = Completion::plain("LSUB completed");
        Ok(Started::Run { work: Work::List(Box::new(listing)), sync: Sync::Report, done })
    }
}

fn subscribed_names(tree: &Tree, pattern: &Pattern) -> BTreeMap<String, Name> {
    let mut names = BTreeMap::new();
    for name in tree.subscriptions() {
        if pattern.matches(name) {
            let no_select = tree.find(name).is_none();
            let attributes = Attributes { no_select, ..Attributes::default() };
            names.insert(name.clone(), Name { attributes, ..Name::default() });
        } else if pattern.ends_in_percent() {
            for parent in ancestors(name).filter(|parent| pattern.matches(parent)) {
                let attributes = Attributes { no_select: true, ..Attributes::default() };
                names.entry(parent.to_owned()).or_insert(Name { attributes, ..Name::default() });
            }
        }
    }
    for name in tree.subscriptions() {
        if let Some(shown) = names.get_mut(name).filter(|_| tree.find(name).is_some()) {
            shown.attributes.no_select = false;
        }
    }
    names
}

impl Listing {
    /// Goes on; `None` at the end.
    pub(in crate::imap) fn run(
        &mut self,
        session: &mut ImapSession,
        io: &mut Io<'_>,
    ) -> Result<Option<Step>, Failure> {
        // One look at the log serves all mailboxes of a slice; that of the first gave the tree.
        if mem::replace(&mut self.is_resumed, true) && self.status.is_some() {
            self.user.look()?;
        }
        while let Names::Find(finder) = &mut self.names {
            if io.is_slice_over() {
                return Ok(Some(Step::Yield));
            }
            if !finder.go_on() {
                self.names = Names::Found(finder.take_names().into_iter());
            }
        }
        let teller = Teller {
            user: &self.user,
            command: self.command,
            status: self.status,
            dialect: self.dialect,
            append_limit: session.shared.settings.append_limit,
        };
        match &mut self.names {
            Names::Walk(walk) => walk_on(walk, &teller, io),
            Names::Find(_) => Ok(None),
            Names::Found(names) => tell_on(names, &teller, io),
        }
    }
}

/// Whether the names have to wait, for the client or for others.
fn pause(is_glance: bool, io: &Io<'_>) -> Option<Step> {
    if io.is_above_high_water() {
        return Some(Step::Flush);
    }
    (is_glance && io.is_slice_over()).then_some(Step::Yield)
}

fn walk_on(walk: &mut Walk, teller: &Teller<'_>, io: &mut Io<'_>) -> Result<Option<Step>, Failure> {
    loop {
        if let Some(step) = pause(walk.is_glance(), io) {
            return Ok(Some(step));
        }
        let Some(at) = walk.next_place() else { return Ok(None) };
        walk.show(at, |name, found| teller.tell(name, found, io.output))?;
    }
}

fn tell_on(
    names: &mut btree_map::IntoIter<String, Name>,
    teller: &Teller<'_>,
    io: &mut Io<'_>,
) -> Result<Option<Step>, Failure> {
    loop {
        if let Some(step) = pause(names.len().is_multiple_of(BETWEEN_GLANCES), io) {
            return Ok(Some(step));
        }
        let Some((name, found)) = names.next() else { return Ok(None) };
        teller.tell(&name, &found, io.output)?;
    }
}

/// Writes the lines of a name.
struct Teller<'a> {
    user: &'a User,
    command: &'static str,
    status: Option<StatusItems>,
    dialect: Dialect,
    append_limit: u64,
}

impl Teller<'_> {
    fn tell(&self, name: &str, found: &Name, out: &mut Vec<u8>) -> Result<(), Failure> {
        found.write(out, self.command, name, self.dialect);
        // A mailbox that was deleted meanwhile has no status, which is no reason to end the list (RFC 5819 §2).
        if let Some((items, mailbox)) = self.status.zip(found.mailbox)
            && let Some(status) = self.user.known_status(mailbox, name)?
        {
            write_status(out, name, &status, items, self.append_limit, self.dialect);
        }
        Ok(())
    }
}

impl Name {
    fn write(&self, out: &mut Vec<u8>, command: &str, name: &str, dialect: Dialect) {
        out.extend_from_slice(b"* ");
        out.extend_from_slice(command.as_bytes());
        out.extend_from_slice(b" (");
        self.write_attributes(out);
        out.extend_from_slice(b") \"/\" ");
        write::mailbox(out, name, dialect);
        if self.child_info {
            out.extend_from_slice(b" (CHILDINFO (\"SUBSCRIBED\"))");
        }
        out.extend_from_slice(b"\r\n");
    }

    fn write_attributes(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let attributes = self.attributes;
        let named = [
            (attributes.no_select, "\\Noselect"),
            (attributes.non_existent, "\\NonExistent"),
            (attributes.subscribed, "\\Subscribed"),
            (attributes.has_children == Some(true), "\\HasChildren"),
            (attributes.has_children == Some(false), "\\HasNoChildren"),
        ];
        let flags = named.iter().filter(|(has, _)| *has).map(|(_, name)| *name);
        let uses =
            SpecialUses::NAMED.iter().filter(|(one, _)| self.uses.contains(*one)).map(|(_, name)| *name);
        for attribute in flags.chain(uses) {
            if out.len() > start {
                out.push(b' ');
            }
            out.extend_from_slice(attribute.as_bytes());
        }
    }
}
