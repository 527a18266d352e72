//! Which names a LIST shows, and what it says of them.
//!
//! Without selection options the tree is walked in its order and each name is told when it is found ([`Walk`]). With
//! them, a name may turn out to be worth showing when one beneath it is met, so that all are found first ([`Finder`]).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use super::pattern::Pattern;
use crate::imap::types::{self, DELIMITER, ListReturn, ListSelect};
use crate::store::{MailboxId, SpecialUses, Tree, TreeEntry, canonical_inbox, is_beneath};

/// Candidates that are considered, or names that are told, before the slice is looked at.
pub(super) const BETWEEN_GLANCES: usize = 64;

/// Places in the tree.
type Branches = SmallVec<[Range<usize>; 1]>;

/// What is said of a name.
#[derive(Default)]
pub(super) struct Name {
    pub(super) attributes: Attributes,
    pub(super) uses: SpecialUses,
    /// A descendant that is not shown itself meets the criteria (RFC 5258 §4, CHILDINFO).
    pub(super) child_info: bool,
    /// The mailbox of this name, when there is one.
    pub(super) mailbox: Option<MailboxId>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Attributes {
    pub(super) no_select: bool,
    pub(super) non_existent: bool,
    pub(super) subscribed: bool,
    /// `\HasChildren` or `\HasNoChildren`.
    pub(super) has_children: Option<bool>,
}

/// What a LIST asks for.
pub(super) struct Criteria {
    patterns: SmallVec<[Pattern; 1]>,
    select: ListSelect,
    returns: ListReturn,
    /// The plain form of RFC 3501: `\Noselect` where later ones say `\NonExistent`.
    extended: bool,
    all_attributes: bool,
}

impl Criteria {
    pub(super) fn new(command: &types::List<'_>, rev2: bool) -> Self {
        let pattern = |pattern: &Cow<'_, str>| match command.reference.as_ref() {
            "" => Pattern::new(pattern),
            reference => Pattern::new(&[reference, pattern.as_ref()].concat()),
        };
        Criteria {
            patterns: command.patterns.iter().map(pattern).collect(),
            select: command.select,
            returns: command.returns,
            extended: command.extended,
            all_attributes: !command.extended || rev2,
        }
    }

    pub(super) fn has_selection(&self) -> bool {
        !self.select.is_empty()
    }

    fn matches(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// `entry` is the mailbox of this name, when there is one.
    fn describe(&self, name: &str, entry: Option<&TreeEntry>, has_children: bool, tree: &Tree) -> Name {
        let exists = entry.is_some();
        let with_subscribed = self.returns.subscribed || self.select.contains(ListSelect::SUBSCRIBED);
        let with_uses =
            self.all_attributes || self.returns.special_use || self.select.contains(ListSelect::SPECIAL_USE);
        Name {
            attributes: Attributes {
                no_select: !exists && !self.extended,
                non_existent: !exists && self.extended,
                subscribed: with_subscribed && tree.subscriptions().contains(name),
                has_children: Some(has_children),
            },
            uses: entry.filter(|_| with_uses).map(|entry| entry.uses).unwrap_or_default(),
            child_info: false,
            mailbox: entry.map(|entry| entry.id),
        }
    }

    /// Where the tree has mailboxes that can match, in its order, no place twice.
    fn branches(&self, tree: &Tree) -> Branches {
        let branch =
            |pattern: &Pattern| tree.branch(&canonical_inbox(&String::from_utf8_lossy(pattern.branch())));
        let mut branches: Branches = self.patterns.iter().map(branch).collect();
        branches.sort_unstable_by_key(|range| range.start);
        branches.dedup_by(|next, range| {
            let joined = next.start <= range.end;
            range.end = if joined { range.end.max(next.end) } else { range.end };
            joined
        });
        branches
    }
}

/// The names of a LIST without selection options.
pub(super) struct Walk {
    criteria: Criteria,
    tree: Arc<Tree>,
    /// Places in the tree that are still to be told, in reverse order.
    left: Branches,
}

impl Walk {
    pub(super) fn new(criteria: Criteria, tree: Arc<Tree>) -> Self {
        let mut left = criteria.branches(&tree);
        left.reverse();
        Walk { criteria, tree, left }
    }

    /// The next place to be told; `None` at the end.
    pub(super) fn next_place(&mut self) -> Option<usize> {
        loop {
            let range = self.left.last_mut()?;
            if let Some(at) = range.next() {
                return Some(at);
            }
            self.left.pop();
        }
    }

    /// Whether it is time to look at the slice.
    pub(super) fn is_glance(&self) -> bool {
        self.left.last().is_none_or(|range| range.start.is_multiple_of(BETWEEN_GLANCES))
    }

    /// Tells what is to be shown for the mailbox at a place: the levels above it that are no mailboxes, unless the
    /// mailbox in front of it had the same, and itself.
    pub(super) fn show<E>(
        &self,
        at: usize,
        mut tell: impl FnMut(&str, &Name) -> Result<(), E>,
    ) -> Result<(), E> {
        let mailboxes = self.tree.mailboxes();
        let Some(entry) = mailboxes.get(at) else { return Ok(()) };
        let name = entry.name.as_str();
        // What is beneath a level stands together in the tree, right behind its own mailbox.
        let before = at.checked_sub(1).map_or("", |at| mailboxes[at].name.as_str());
        for (end, _) in name.match_indices(DELIMITER) {
            let parent = &name[..end];
            let is_told = before == parent || is_beneath(before, parent);
            if !is_told && self.criteria.matches(parent) {
                tell(parent, &self.criteria.describe(parent, None, true, &self.tree))?;
            }
        }
        if self.criteria.matches(name) {
            let has_children = mailboxes.get(at + 1).is_some_and(|next| is_beneath(&next.name, name));
            tell(name, &self.criteria.describe(name, Some(entry), has_children, &self.tree))?;
        }
        Ok(())
    }
}

/// Finds the names of a LIST with selection options.
pub(super) struct Finder {
    criteria: Criteria,
    tree: Arc<Tree>,
    /// Places in the tree that are still to be considered.
    left: Branches,
    names: BTreeMap<String, Name>,
}

impl Finder {
    pub(super) fn new(criteria: Criteria, tree: Arc<Tree>) -> Self {
        let left = criteria.branches(&tree);
        let mut finder = Finder { criteria, left, tree: tree.clone(), names: BTreeMap::new() };
        if finder.criteria.select.contains(ListSelect::SUBSCRIBED) {
            finder.left.clear();
            tree.subscriptions().iter().for_each(|name| finder.consider(name));
        }
        finder
    }

    /// What was found, once [`go_on`](Self::go_on) says that nothing is left.
    pub(super) fn take_names(&mut self) -> BTreeMap<String, Name> {
        mem::take(&mut self.names)
    }

    /// Considers some more candidates; whether any are left.
    pub(super) fn go_on(&mut self) -> bool {
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
        if self.criteria.matches(name) {
            if !self.names.contains_key(name) {
                let found = self.describe(name);
                self.names.insert(name.to_owned(), found);
            }
        } else if self.criteria.select.contains(ListSelect::RECURSIVE_MATCH) {
            self.show_parents(name);
        }
    }

    /// Shows levels above a name that lead to what is looked for.
    fn show_parents(&mut self, name: &str) {
        for parent in ancestors(name) {
            if let Some(found) = self.names.get_mut(parent) {
                found.child_info = true;
            } else if self.criteria.matches(parent) {
                let found = Name { child_info: true, ..self.describe(parent) };
                self.names.insert(parent.to_owned(), found);
            }
        }
    }

    /// The selection options (RFC 5258 §3.1, RFC 6154 §2).
    fn is_selected(&self, name: &str) -> bool {
        let has_use = || self.tree.find(name).is_some_and(|entry| !entry.uses.is_empty());
        !self.criteria.select.contains(ListSelect::SPECIAL_USE) || has_use()
    }

    fn describe(&self, name: &str) -> Name {
        self.criteria.describe(name, self.tree.find(name), self.tree.has_children(name), &self.tree)
    }
}

/// `a/b/c` has `a/b` and `a`.
pub(super) fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    let parent = |name: &str| name.rfind(DELIMITER);
    std::iter::successors(parent(name), move |end| parent(&name[..*end])).map(|end| &name[..end])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn shown(mailboxes: &BTreeSet<String>, patterns: &[String]) -> Vec<(String, bool, bool)> {
        let entry =
            |name: &String| TreeEntry { name: name.clone(), id: MailboxId(1), uses: SpecialUses::NONE };
        let tree = Arc::new(Tree::new(mailboxes.iter().map(entry), BTreeSet::new()));
        let command = types::List {
            extended: true,
            select: ListSelect::NONE,
            reference: "".into(),
            patterns: patterns.iter().map(|pattern| pattern.as_str().into()).collect(),
            returns: ListReturn::default(),
        };
        let mut walk = Walk::new(Criteria::new(&command, true), tree);
        let mut told = Vec::new();
        while let Some(at) = walk.next_place() {
            let done: Result<(), ()> = walk.show(at, |name, found| {
                let has_children = found.attributes.has_children == Some(true);
                told.push((name.to_owned(), found.mailbox.is_some(), has_children));
                Ok(())
            });
            assert!(done.is_ok());
        }
        told
    }

    proptest! {
        #[test]
        fn each_name_is_told_once_with_the_levels_above_it(
            mailboxes in prop::collection::btree_set("(INBOX|[ab-]{1,2})(/[ab-]{1,2}){0,3}", 0..12),
            patterns in prop::collection::vec("[ab/*%]{0,4}", 0..3),
        ) {
            let told = shown(&mailboxes, &patterns);
            let matching: Vec<Pattern> = patterns.iter().map(|pattern| Pattern::new(pattern)).collect();
            let expected: BTreeSet<(String, bool, bool)> = mailboxes
                .iter()
                .flat_map(|name| ancestors(name).chain([name.as_str()]))
                .filter(|name| matching.iter().any(|pattern| pattern.matches(name)))
                .map(|name| {
                    let has_children = mailboxes.iter().any(|other| is_beneath(other, name));
                    (name.to_owned(), mailboxes.contains(name), has_children)
                })
                .collect();
            prop_assert_eq!(told.len(), expected.len(), "{:?}", told);
            prop_assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), expected);
        }
    }
}
