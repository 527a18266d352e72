//! THREAD=REFERENCES (RFC 5256 §3), by its six steps.
//!
//! Step 1 is taken message by message, as they are read: [`Nodes`]. It links nodes for ids, those that no message has
//! included. Steps 2 to 5 then look at messages only: nodes without one leave nothing behind but, at the top, the fact
//! that several threads have a common root. Step 6 is [`Forest`](super::forest::Forest)'s.

use std::collections::HashMap;

use super::link_cut::{LinkCut, NONE};

/// The nodes of ids and messages, with their parents.
#[derive(Default)]
pub(super) struct Nodes {
    /// By the number of an id; [`NONE`] for those that nobody has named.
    of_ids: Vec<u32>,
    parents: Vec<u32>,
    /// Which message a node is; [`NONE`] for one that is only referred to.
    messages: Vec<u32>,
    has_children: Vec<bool>,
    trees: LinkCut,
    /// The node of each message.
    of_messages: Vec<u32>,
}

impl Nodes {
    pub fn len(&self) -> usize {
        self.parents.len()
    }

    /// Takes in the next message, with the number of its own id and those of the ids that it refers to, the nearest one
    /// last.
    pub fn add(&mut self, own: Option<u32>, references: &[u32]) {
        let node = self.node_of_message(own);
        let mut before = NONE;
        for &id in references {
            let reference = self.node(id);
            if before != NONE && self.parents[reference as usize] == NONE {
                self.link(reference, before);
            }
            before = reference;
        }
        // What others said of its parent counts for less than what the message says.
        if self.parents[node as usize] != before {
            self.unlink(node);
            if before != NONE {
                self.link(node, before);
            }
        }
    }

    /// Two messages with one id: only the first has it.
    fn node_of_message(&mut self, own: Option<u32>) -> u32 {
        let known = own.map(|id| self.node(id));
        let node = match known.filter(|&node| self.messages[node as usize] == NONE) {
            Some(node) => node,
            None => self.fresh(),
        };
        self.messages[node as usize] = self.of_messages.len() as u32;
        self.of_messages.push(node);
        node
    }

    fn node(&mut self, id: u32) -> u32 {
        let id = id as usize;
        if id >= self.of_ids.len() {
            self.of_ids.resize(id + 1, NONE);
        }
        if self.of_ids[id] == NONE {
            self.of_ids[id] = self.fresh();
        }
        self.of_ids[id]
    }

    fn fresh(&mut self) -> u32 {
        self.parents.push(NONE);
        self.messages.push(NONE);
        self.has_children.push(false);
        self.trees.add();
        self.parents.len() as u32 - 1
    }

    /// Makes a node that has no parent the child of another, unless that closes a loop.
    fn link(&mut self, child: u32, parent: u32) {
        if child == parent {
            return;
        }
        // A root is under nobody, and under a node without children is nobody.
        let may_loop = self.has_children[child as usize] && self.parents[parent as usize] != NONE;
        if may_loop && self.trees.root(parent) == child {
            return;
        }
        self.trees.link(child, parent);
        self.parents[child as usize] = parent;
        self.has_children[parent as usize] = true;
    }

    fn unlink(&mut self, node: u32) {
        if self.parents[node as usize] != NONE {
            self.trees.cut(node);
            self.parents[node as usize] = NONE;
        }
    }

    /// Steps 2 and 3: the parent of each message, [`NONE`] for those at the top. Several messages that a common dummy is
    /// the top of have a number behind all messages' as their parent, one for each dummy.
    fn pruned(mut self) -> Vec<u32> {
        self.trees = LinkCut::default();
        self.of_ids = Vec::new();
        let above: Vec<u32> = self.of_messages.clone().into_iter().map(|node| self.above(node)).collect();
        let is_dummy = |node: u32| self.messages[node as usize] == NONE;
        let mut children = vec![0u32; self.parents.len()];
        above.iter().filter(|&&node| node != NONE).for_each(|&node| children[node as usize] += 1);
        let mut dummies = self.of_messages.len() as u32..;
        let mut numbers = HashMap::new();
        let mut parent = |node: u32| match node {
            NONE => NONE,
            node if !is_dummy(node) => self.messages[node as usize],
            node if children[node as usize] == 1 => NONE,
            node => *numbers.entry(node).or_insert_with(|| dummies.next().unwrap_or(NONE)),
        };
        above.into_iter().map(&mut parent).collect()
    }

    /// The next message above a node, or else the topmost dummy, or else [`NONE`]. All dummies on the way then have it as
    /// their parent, so that nobody goes that way again.
    fn above(&mut self, node: u32) -> u32 {
        let mut end = self.parents[node as usize];
        while end != NONE && self.messages[end as usize] == NONE && self.parents[end as usize] != NONE {
            end = self.parents[end as usize];
        }
        let mut at = node;
        while self.parents[at as usize] != end {
            at = std::mem::replace(&mut self.parents[at as usize], end);
        }
        end
    }
}

/// What step 5 asks about a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    /// Equal for equal base subjects; 0 for the empty one.
    pub number: u32,
    /// Whether it is a reply or a forward.
    pub is_reply: bool,
}

/// Steps 2 to 5: the parents of messages and of dummies, which come behind them. `order` has the messages by sent date.
pub(super) fn thread(nodes: Nodes, subjects: &[Subject], order: &[u32]) -> Vec<u32> {
    let mut threads = Threads::new(nodes.pruned(), subjects, order);
    threads.fill_table();
    threads.merge();
    threads.parents()
}

/// The threads at the top, on their way through step 5.
struct Threads<'a> {
    subjects: &'a [Subject],
    /// Of messages, then of dummies; those are all at the top.
    parents: Vec<u32>,
    /// The nodes at the top in the order of step 4, with the message whose subject is the thread's.
    roots: Vec<(u32, u32)>,
    /// The node for each subject.
    table: Vec<u32>,
    /// The dummy that has the children of this one now; itself at first.
    successors: Vec<u32>,
}

impl<'a> Threads<'a> {
    fn new(mut parents: Vec<u32>, subjects: &'a [Subject], order: &[u32]) -> Self {
        let messages = subjects.len();
        let dummies = parents.iter().filter(|&&parent| parent != NONE && parent as usize >= messages);
        let dummies = dummies.max().map_or(0, |&last| last as usize + 1 - messages);
        let mut met = vec![false; dummies];
        let mut roots = Vec::new();
        for &message in order {
            let parent = parents[message as usize];
            if parent == NONE {
                roots.push((message, message));
            } else if parent as usize >= messages
                && !std::mem::replace(&mut met[parent as usize - messages], true)
            {
                roots.push((parent, message));
            }
        }
        parents.resize(messages + dummies, NONE);
        let numbers = subjects.iter().map(|subject| subject.number as usize + 1).max().unwrap_or(0);
        let successors = (messages as u32..).take(dummies).collect();
        Threads { subjects, parents, roots, table: vec![NONE; numbers], successors }
    }

    fn is_dummy(&self, node: u32) -> bool {
        node as usize >= self.subjects.len()
    }

    fn is_reply(&self, node: u32) -> bool {
        self.subjects.get(node as usize).is_some_and(|subject| subject.is_reply)
    }

    /// The nodes at the top whose threads have a subject, and its number.
    fn named(&self) -> impl Iterator<Item = (u32, usize)> + use<'a> {
        let subjects = self.subjects;
        let roots = self.roots.clone().into_iter();
        roots
            .map(move |(node, first)| (node, subjects[first as usize].number as usize))
            .filter(|(_, subject)| *subject != 0)
    }

    /// Step 5.B: of the threads with one subject, a dummy, or else one that is no reply, or else the first.
    fn fill_table(&mut self) {
        for (node, subject) in self.named() {
            let known = self.table[subject];
            let is_better = known == NONE
                || !self.is_dummy(known)
                    && (self.is_dummy(node) || self.is_reply(known) && !self.is_reply(node));
            if is_better {
                self.table[subject] = node;
            }
        }
    }

    /// Step 5.C.
    fn merge(&mut self) {
        for (node, subject) in self.named() {
            let known = self.table[subject];
            if known == node {
                continue;
            }
            if self.is_dummy(known) && self.is_dummy(node) {
                let messages = self.subjects.len();
                self.successors[node as usize - messages] = known;
            } else if self.is_dummy(known) || self.is_reply(node) && !self.is_reply(known) {
                self.parents[node as usize] = known;
            } else {
                self.table[subject] = self.join(known, node);
            }
        }
    }

    /// Puts two messages beneath a new dummy.
    fn join(&mut self, one: u32, other: u32) -> u32 {
        let dummy = self.parents.len() as u32;
        self.parents.push(NONE);
        self.successors.push(dummy);
        self.parents[one as usize] = dummy;
        self.parents[other as usize] = dummy;
        dummy
    }

    fn parents(mut self) -> Vec<u32> {
        let messages = self.subjects.len();
        for parent in self.parents.iter_mut().filter(|parent| **parent != NONE) {
            if let Some(dummy) = (*parent as usize).checked_sub(messages) {
                *parent = self.successors[dummy];
            }
        }
        self.parents
    }
}
