//! Threads as they are told: messages with their children in order, told apart from how they were found.

use super::link_cut::NONE;
use crate::store::Uid;

/// The threads of some messages.
///
/// Messages have the numbers from 0 on. Behind them come the dummies, which stand for messages that are not there and have
/// two or more threads beneath them; only a whole thread can begin with one (RFC 5256 §3).
#[derive(Debug)]
pub struct Forest {
    uids: Vec<Uid>,
    /// Where the children of each node begin, and at the end those of nobody: the threads.
    starts: Vec<u32>,
    children: Vec<u32>,
}

/// Nodes that are siblings, from and up to a place among all children.
pub type Siblings = std::ops::Range<u32>;

impl Forest {
    /// `parents` has a node or [`NONE`] for each message and each dummy, `order` all messages by sent date: so come
    /// siblings, and a dummy goes by its first child.
    pub(super) fn new(uids: Vec<Uid>, parents: &[u32], order: impl Iterator<Item = u32>) -> Self {
        let nodes = parents.len();
        let slot = |parent: u32| if parent == NONE { nodes } else { parent as usize };
        let mut sequence = Vec::with_capacity(nodes);
        let mut placed = vec![false; nodes - uids.len()];
        for message in order {
            let parent = parents[message as usize];
            if let Some(dummy) = (parent as usize).checked_sub(uids.len()).filter(|_| parent != NONE)
                && !std::mem::replace(&mut placed[dummy], true)
            {
                sequence.push(parent);
            }
            sequence.push(message);
        }
        let mut starts = vec![0; nodes + 2];
        sequence.iter().for_each(|&node| starts[slot(parents[node as usize]) + 1] += 1);
        for slot in 1..starts.len() {
            starts[slot] += starts[slot - 1];
        }
        let (mut next, mut children) = (starts.clone(), vec![0; sequence.len()]);
        for node in sequence {
            let at = &mut next[slot(parents[node as usize])];
            children[*at as usize] = node;
            *at += 1;
        }
        Forest { uids, starts, children }
    }

    /// The threads.
    pub fn roots(&self) -> Siblings {
        let nobody = self.starts.len() - 2;
        self.starts[nobody]..self.starts[nobody + 1]
    }

    pub fn children(&self, node: u32) -> Siblings {
        self.starts[node as usize]..self.starts[node as usize + 1]
    }

    /// The node at the first of these places, and the others.
    pub fn split_first(&self, siblings: Siblings) -> Option<(u32, Siblings)> {
        let Siblings { start, end } = siblings;
        (start < end).then(|| (self.children[start as usize], start + 1..end))
    }

    /// The message of a node; `None` for a dummy.
    pub fn uid(&self, node: u32) -> Option<Uid> {
        self.uids.get(node as usize).copied()
    }
}
