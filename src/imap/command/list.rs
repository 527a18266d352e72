//! LIST and LSUB (RFC 9051 §6.3.9; RFC 5258, RFC 5819, RFC 6154, RFC 3501 §6.3.9).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::pattern::Pattern;
use super::status::write_status;
use crate::imap::code::Failure;
use crate::imap::session::{Completion, ImapSession, Started, Sync, Work};
use crate::imap::types::{self, DELIMITER, Dialect, ListReturn, ListSelect, StatusItems};
use crate::imap::write;
use crate::session::{Io, Step};
use crate::store::{self, SpecialUses, Tree, User, canonical_inbox};

/// Candidates that are considered, or names that are told, before the slice is looked at.
const BETWEEN_GLANCES: usize = 64;

/// Names on their way to the client: first they are found, then told.
pub(in crate::imap) struct Listing {
    user: Arc<User>,
    command: &'static str,
    finder: Option<Finder>,
    names: std::collections::btree_map::IntoIter<String, Name>,
    status: Option<StatusItems>,
    dialect: Dialect,
}

/// What is said of a name.
#[derive(Default)]
struct Name {
    attributes: Attributes,
    uses: SpecialUses,
    /// A descendant that is not shown itself meets the criteria (RFC 5258 §4, CHILDINFO).
    child_info: bool,
    exists: bool,
}

#[derive(Clone, Copy, Default)]
struct Attributes {
    no_select: bool,
    non_existent: bool,
    subscribed: bool,
    /// `\HasChildren` or `\HasNoChildren`.
    has_children: Option<bool>,
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
        let finder = Finder::new(command, self.enabled.rev2, user.tree()?);
        let asked = command.returns.status;
        if asked.is_some_and(|items| items.contains(StatusItems::HIGHESTMODSEQ)) {
            self.enable_condstore(io.output);
        }
        let listing = Listing {
            user,
            command: "LIST",
            finder: Some(finder),
            names: BTreeMap::new().into_iter(),
            status: asked,
            dialect: self.enabled.dialect(),
        };
        Ok(Started::Run { work: Work::List(Box::new(listing)), sync: Sync::Report, done })
    }

    /// As LIST (SUBSCRIBED), but a `%` also shows the parents of what it does not reach.
    pub(in crate::imap) fn lsub(
        &mut self,
        reference: &str,
        pattern: Option<&str>,
    ) -> Result<Started, Failure> {
        let user = self.user()?.clone();
        let tree = user.tree()?;
        let pattern = pattern.map(|pattern| Pattern::new(&[reference, pattern].concat()));
        let names = pattern.map(|pattern| subscribed_names(&tree, &pattern)).unwrap_or_default();
        let listing = Listing {
            user,
            command: "LSUB",
            finder: None,
            names: names.into_iter(),
            status: None,
            dialect: self.enabled.dialect(),
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

/// `a/b/c` has `a/b` and `a`.
fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(parent(name), |name| parent(name))
}

fn parent(name: &str) -> Option<&str> {
    name.rsplit_once(DELIMITER).map(|(parent, _)| parent)
}

/// Where the tree has mailboxes that can match, no place twice.
fn branches(tree: &Tree, patterns: &[Pattern]) -> Vec<Range<usize>> {
    let branch =
        |pattern: &Pattern| tree.branch(&canonical_inbox(&String::from_utf8_lossy(pattern.branch())));
    let mut branches: Vec<Range<usize>> = patterns.iter().map(branch).collect();
    branches.sort_unstable_by_key(|range| range.start);
    branches.dedup_by(|next, range| {
        let joined = next.start <= range.end;
        range.end = if joined { range.end.max(next.end) } else { range.end };
        joined
    });
    branches
}

/// Finds the names that a LIST asks for.
struct Finder {
    patterns: Vec<Pattern>,
    select: ListSelect,
    returns: ListReturn,
    /// The plain form of RFC 3501: `\Noselect` where later ones say `\NonExistent`.
    extended: bool,
    all_attributes: bool,
    tree: Arc<Tree>,
    /// Places in the tree that are still to be considered.
    left: Vec<Range<usize>>,
    names: BTreeMap<String, Name>,
}

impl Finder {
    fn new(command: &types::List<'_>, rev2: bool, tree: Arc<Tree>) -> Self {
        let pattern = |pattern: &Cow<'_, str>| Pattern::new(&[&command.reference, pattern.as_ref()].concat());
        let patterns: Vec<Pattern> = command.patterns.iter().map(pattern).collect();
        let mut finder = Finder {
            left: branches(&tree, &patterns),
            patterns,
            select: command.select,
            returns: command.returns,
            extended: command.extended,
            all_attributes: !command.extended || rev2,
            tree: tree.clone(),
            names: BTreeMap::new(),
        };
        if finder.select.contains(ListSelect::SUBSCRIBED) {
            finder.left.clear();
            tree.subscriptions().iter().for_each(|name| finder.consider(name));
        }
        finder
    }

    /// Considers some more candidates; whether any are left.
    fn go_on(&mut self) -> bool {
        let Some(range) = self.left.pop() else { return false };
        let (tree, end) = (self.tree.clone(), range.end.min(range.start + BETWEEN_GLANCES));
        tree.mailboxes()[range.start..end].iter().for_each(|entry| self.consider(&entry.name));
        if end < range.end {
            self.left.push(end..range.end);
        }
        true
    }

    /// Shows a candidate, or the parents that it makes worth showing.
    fn consider(&mut self, name: &str) {
        if !self.is_selected(name) {
            return;
        }
        if self.select.is_empty() {
            self.show_parents(name, false);
        }
        if self.matches(name) {
            if !self.names.contains_key(name) {
                let found = self.describe(name);
                self.names.insert(name.to_owned(), found);
            }
            return;
        }
        if self.select.contains(ListSelect::RECURSIVE_MATCH) {
            self.show_parents(name, true);
        }
    }

    fn matches(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// Shows levels above a name: with `child_info` those that lead to what is looked for, otherwise those without a
    /// mailbox, which nothing else would show.
    fn show_parents(&mut self, name: &str, child_info: bool) {
        for parent in ancestors(name) {
            if let Some(found) = self.names.get_mut(parent) {
                found.child_info |= child_info;
            } else if (child_info || self.tree.find(parent).is_none()) && self.matches(parent) {
                let found = Name { child_info, ..self.describe(parent) };
                self.names.insert(parent.to_owned(), found);
            }
        }
    }

    /// The selection options (RFC 5258 §3.1, RFC 6154 §2).
    fn is_selected(&self, name: &str) -> bool {
        let has_use = || self.tree.find(name).is_some_and(|entry| !entry.uses.is_empty());
        !self.select.contains(ListSelect::SPECIAL_USE) || has_use()
    }

    fn describe(&self, name: &str) -> Name {
        let entry = self.tree.find(name);
        let exists = entry.is_some();
        let with_subscribed = self.returns.subscribed || self.select.contains(ListSelect::SUBSCRIBED);
        let with_uses =
            self.all_attributes || self.returns.special_use || self.select.contains(ListSelect::SPECIAL_USE);
        Name {
            attributes: Attributes {
                no_select: !exists && !self.extended,
                non_existent: !exists && self.extended,
                subscribed: with_subscribed && self.tree.subscriptions().contains(name),
                has_children: Some(self.tree.has_children(name)),
            },
            uses: entry.filter(|_| with_uses).map(|entry| entry.uses).unwrap_or_default(),
            child_info: false,
            exists,
        }
    }
}

impl Listing {
    /// Goes on; `None` at the end. Each STATUS may have to read a mailbox, so the slice is watched.
    pub(in crate::imap) fn run(
        &mut self,
        session: &mut ImapSession,
        io: &mut Io<'_>,
    ) -> Result<Option<Step>, Failure> {
        while let Some(finder) = &mut self.finder {
            if io.is_slice_over() {
                return Ok(Some(Step::Yield));
            }
            if !finder.go_on() {
                self.names = std::mem::take(&mut finder.names).into_iter();
                self.finder = None;
            }
        }
        loop {
            if io.is_above_high_water() {
                return Ok(Some(Step::Flush));
            }
            let is_glance = self.status.is_some() || self.names.len().is_multiple_of(BETWEEN_GLANCES);
            if is_glance && io.is_slice_over() {
                return Ok(Some(Step::Yield));
            }
            let Some((name, found)) = self.names.next() else { return Ok(None) };
            found.write(io.output, self.command, &name, self.dialect);
            if let Some(items) = self.status.filter(|_| found.exists) {
                self.tell_status(&name, items, session, io)?;
            }
        }
    }

    /// A mailbox that was deleted meanwhile has no status, which is no reason to end the list (RFC 5819 §2).
    fn tell_status(
        &self,
        name: &str,
        items: StatusItems,
        session: &ImapSession,
        io: &mut Io<'_>,
    ) -> Result<(), Failure> {
        match self.user.status(name) {
            Ok(status) => {
                let limit = session.shared.settings.append_limit;
                write_status(io.output, name, &status, items, limit, self.dialect);
                Ok(())
            }
            Err(store::Error::Refused(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
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
