//! A user's mailboxes by name.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Range;

use super::error::Refusal;
use super::limits::{MAX_MAILBOX_DEPTH, MAX_MAILBOX_NAME};
use super::names::MailboxId;

/// The hierarchy delimiter.
pub const DELIMITER: char = '/';

/// Special uses of a mailbox (RFC 6154; `\Important` is RFC 8457).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpecialUses(u16);

impl SpecialUses {
    pub const NONE: SpecialUses = SpecialUses(0);

    /// Each use with its name.
    pub const NAMED: [(SpecialUses, &'static str); 8] = [
        (SpecialUses(1), "\\All"),
        (SpecialUses(2), "\\Archive"),
        (SpecialUses(4), "\\Drafts"),
        (SpecialUses(8), "\\Flagged"),
        (SpecialUses(16), "\\Junk"),
        (SpecialUses(32), "\\Sent"),
        (SpecialUses(64), "\\Trash"),
        (SpecialUses(128), "\\Important"),
    ];

    pub(super) const fn bits(self) -> u16 {
        self.0
    }

    pub(super) const fn from_bits(bits: u16) -> Self {
        SpecialUses(bits)
    }

    pub const fn contains(self, other: SpecialUses) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn intersects(self, other: SpecialUses) -> bool {
        self.0 & other.0 != 0
    }

    pub fn insert(&mut self, other: SpecialUses) {
        self.0 |= other.0;
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A mailbox in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    pub name: String,
    pub id: MailboxId,
    pub uses: SpecialUses,
}

/// All mailboxes and subscriptions of a user at one moment.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    mailboxes: Vec<TreeEntry>,
    subscriptions: BTreeSet<String>,
}

impl Tree {
    pub(crate) fn new(entries: impl IntoIterator<Item = TreeEntry>, subscriptions: BTreeSet<String>) -> Self {
        let mut mailboxes: Vec<TreeEntry> = entries.into_iter().collect();
        mailboxes.sort_unstable_by(|a, b| order(&a.name, &b.name));
        Tree { mailboxes, subscriptions }
    }

    /// Adds a mailbox in its place. Costs a move of what stands behind it.
    pub(super) fn insert(&mut self, entry: TreeEntry) {
        match self.place(&entry.name) {
            Ok(at) => self.mailboxes[at] = entry,
            Err(at) => self.mailboxes.insert(at, entry),
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Ok(at) = self.place(name) {
            self.mailboxes.remove(at);
        }
    }

    pub(super) fn subscribe(&mut self, name: &str, on: bool) {
        subscribe(&mut self.subscriptions, name, on);
    }

    /// Where the mailbox is, or would be.
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.mailboxes.binary_search_by(|entry| order(&entry.name, name))
    }

    /// The mailboxes that exist: INBOX first, children right behind their parent.
    pub fn mailboxes(&self) -> &[TreeEntry] {
        &self.mailboxes
    }

    pub fn find(&self, name: &str) -> Option<&TreeEntry> {
        self.mailboxes.get(self.place(name).ok()?)
    }

    /// Whether a mailbox exists beneath `name`.
    pub fn has_children(&self, name: &str) -> bool {
        !self.beneath(name).is_empty()
    }

    /// The mailboxes beneath `name`.
    pub fn beneath(&self, name: &str) -> &[TreeEntry] {
        let from = self.mailboxes.partition_point(|entry| order(&entry.name, name).is_le());
        let rest = &self.mailboxes[from..];
        let to = rest.partition_point(|entry| is_beneath(&entry.name, name));
        &rest[..to]
    }

    /// The places in `mailboxes` of `name`, if it exists, and of those beneath it; of all for the empty name.
    pub fn branch(&self, name: &str) -> Range<usize> {
        if name.is_empty() {
            return 0..self.mailboxes.len();
        }
        let from = self.mailboxes.partition_point(|entry| order(&entry.name, name).is_lt());
        let rest = &self.mailboxes[from..];
        from..from + rest.partition_point(|entry| entry.name == name || is_beneath(&entry.name, name))
    }

    /// Subscribed names; the mailbox need not exist.
    pub fn subscriptions(&self) -> &BTreeSet<String> {
        &self.subscriptions
    }
}

/// Puts a name among the subscriptions, or takes it out.
pub(super) fn subscribe(subscriptions: &mut BTreeSet<String>, name: &str, on: bool) {
    if on {
        subscriptions.insert(name.to_owned());
    } else {
        subscriptions.remove(name);
    }
}

/// Whether `name` is a descendant of `parent`.
pub fn is_beneath(name: &str, parent: &str) -> bool {
    name.strip_prefix(parent).is_some_and(|rest| rest.starts_with(DELIMITER))
}

/// Sorts INBOX first, and the delimiter before every other character, so that descendants follow their parent.
fn order(a: &str, b: &str) -> Ordering {
    let is_inbox = |name: &str| name == "INBOX" || is_beneath(name, "INBOX");
    let weight = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    is_inbox(b).cmp(&is_inbox(a)).then_with(|| {
        let common = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
        a.as_bytes().get(common).map(weight).cmp(&b.as_bytes().get(common).map(weight))
    })
}

/// Checks a name that a client gives to a mailbox, and spells INBOX in one way.
///
/// # Errors
/// [`Refusal::BadName`] for empty names and levels, control characters, and names over the limits.
pub(super) fn canonical_name(name: &str) -> Result<String, Refusal> {
    let sound = !name.is_empty()
        && name.len() <= MAX_MAILBOX_NAME
        && name.split(DELIMITER).count() <= MAX_MAILBOX_DEPTH
        && name.split(DELIMITER).all(|level| !level.is_empty())
        && !name.chars().any(char::is_control);
    if sound { Ok(canonical_inbox(name).into_owned()) } else { Err(Refusal::BadName) }
}

/// The name with its first level `INBOX` in capitals, whatever its case was: it is case-insensitive, also as the parent
/// of others (RFC 9051 §5.1).
pub fn canonical_inbox(name: &str) -> Cow<'_, str> {
    match name.split_at_checked(5) {
        Some((first, rest))
            if first != "INBOX"
                && first.eq_ignore_ascii_case("INBOX")
                && (rest.is_empty() || rest.starts_with('/')) =>
        {
            Cow::Owned(format!("INBOX{rest}"))
        }
        _ => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(names: &[&str]) -> Tree {
        let entry = |(at, name): (usize, &&str)| TreeEntry {
            name: (*name).to_owned(),
            id: MailboxId(at as u128),
            uses: SpecialUses::NONE,
        };
        Tree::new(names.iter().enumerate().map(entry), BTreeSet::new())
    }

    #[test]
    fn children_follow_their_parent() {
        let tree = tree(&["b", "a-b", "a/c", "a", "INBOX/x", "A", "INBOX", "a/c/d", "INBOXES"]);
        let names: Vec<_> = tree.mailboxes().iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["INBOX", "INBOX/x", "A", "INBOXES", "a", "a/c", "a/c/d", "a-b", "b"]);
        assert_eq!(tree.beneath("a").len(), 2);
        let branch = |name| tree.mailboxes()[tree.branch(name)].iter().map(|entry| entry.name.as_str());
        assert!(
            branch("a").eq(["a", "a/c", "a/c/d"]) && branch("a/").eq([""; 0]) && branch("a/x").eq([""; 0])
        );
        assert!(branch("INBOX").eq(["INBOX", "INBOX/x"]) && branch("INBO").eq([""; 0]));
        assert_eq!(tree.branch(""), 0..9);
        assert_eq!(tree.beneath("INBOX").len(), 1);
        assert!(!tree.has_children("a-b") && !tree.has_children("a/c/d") && tree.has_children("a/c"));
        assert_eq!(tree.find("a/c").map(|entry| entry.id), Some(MailboxId(2)));
        assert_eq!(tree.find("c"), None);
    }

    #[test]
    fn a_tree_that_is_kept_equals_one_that_is_made() {
        let names = ["b", "a-b", "a/c", "a", "INBOX/x", "A", "INBOX", "a/c/d", "INBOXES"];
        let made = tree(&names);
        let mut kept = Tree::default();
        for entry in made.mailboxes().iter().rev() {
            kept.insert(entry.clone());
        }
        assert_eq!(kept.mailboxes(), made.mailboxes());
        kept.insert(made.mailboxes()[3].clone());
        assert_eq!(kept.mailboxes(), made.mailboxes());
        for (gone, name) in names.iter().enumerate() {
            kept.remove(name);
            kept.remove("none");
            let left = names[gone + 1..].iter().filter_map(|name| made.find(name).cloned());
            assert_eq!(kept.mailboxes(), Tree::new(left, BTreeSet::new()).mailboxes());
        }
    }

    #[test]
    fn names_are_checked_and_inbox_has_one_spelling() {
        for (given, kept) in
            [("inbox", "INBOX"), ("InBox/Work", "INBOX/Work"), ("inboxes", "inboxes"), ("é/ü", "é/ü")]
        {
            assert_eq!(canonical_name(given).as_deref(), Ok(kept));
        }
        let deep = vec!["x"; MAX_MAILBOX_DEPTH + 1].join("/");
        let long = "x".repeat(MAX_MAILBOX_NAME + 1);
        for bad in ["", "/", "/a", "a/", "a//b", "a\u{7f}", "a\nb", &deep, &long] {
            assert_eq!(canonical_name(bad), Err(Refusal::BadName), "{bad:?}");
        }
    }
}
