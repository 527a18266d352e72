//! Trees that are joined and cut, and whose roots are found in logarithmic time (link-cut trees, Sleator and Tarjan 1983).
//!
//! THREAD must know before it makes one message the parent of another whether that closes a loop. Walking up from the
//! parent would do, were there not chains of a hundred thousand replies.
//!
//! The nodes of a path that was looked at last are in a splay tree, ordered by depth, so that its leftmost node is the
//! root; the root of each splay tree knows the parent of its topmost node.

/// No node.
pub(super) const NONE: u32 = u32::MAX;

/// A node's place in its splay tree.
#[derive(Clone, Copy)]
struct Node {
    /// In the splay tree; at its root, the parent of the path's topmost node.
    up: u32,
    /// Nearer to the root.
    left: u32,
    right: u32,
}

/// A forest of numbered nodes.
#[derive(Default)]
pub(super) struct LinkCut {
    nodes: Vec<Node>,
}

impl LinkCut {
    /// Adds a node, which is a tree of its own: the next number.
    pub fn add(&mut self) {
        self.nodes.push(Node { up: NONE, left: NONE, right: NONE });
    }

    /// Puts the tree whose root is `root` under `parent`, which is in another tree.
    pub fn link(&mut self, root: u32, parent: u32) {
        self.access(root);
        self.node(root).up = parent;
    }

    /// Takes a node with all that is under it away from its parent.
    pub fn cut(&mut self, node: u32) {
        self.access(node);
        let above = std::mem::replace(&mut self.node(node).left, NONE);
        if above != NONE {
            self.node(above).up = NONE;
        }
    }

    /// The root of a node's tree.
    pub fn root(&mut self, node: u32) -> u32 {
        self.access(node);
        let mut root = node;
        while self.node(root).left != NONE {
            root = self.node(root).left;
        }
        // What was walked down is paid for by what becomes short.
        self.splay(root);
        root
    }

    fn node(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize]
    }

    /// Makes the path from the root to a node a splay tree with the node at its root.
    fn access(&mut self, node: u32) {
        self.splay(node);
        self.node(node).right = NONE;
        while self.node(node).up != NONE {
            let above = self.node(node).up;
            self.splay(above);
            self.node(above).right = node;
            self.splay(node);
        }
    }

    fn splay(&mut self, node: u32) {
        while let Some(up) = self.splay_parent(node) {
            if let Some(grand) = self.splay_parent(up) {
                let straight = (self.node(up).left == node) == (self.node(grand).left == up);
                self.rotate(if straight { up } else { node });
            }
            self.rotate(node);
        }
    }

    fn splay_parent(&mut self, node: u32) -> Option<u32> {
        let up = self.node(node).up;
        if up == NONE {
            return None;
        }
        let Node { left, right, .. } = *self.node(up);
        (left == node || right == node).then_some(up)
    }

    /// Puts a node in the place of the one above it in their splay tree.
    fn rotate(&mut self, node: u32) {
        let up = self.node(node).up;
        let above = self.splay_parent(up);
        let over = self.node(up).up;
        let inner = if self.node(up).left == node {
            let inner = std::mem::replace(&mut self.node(node).right, up);
            self.node(up).left = inner;
            inner
        } else {
            let inner = std::mem::replace(&mut self.node(node).left, up);
            self.node(up).right = inner;
            inner
        };
        if inner != NONE {
            self.node(inner).up = up;
        }
        if let Some(above) = above {
            let above = self.node(above);
            *(if above.left == up { &mut above.left } else { &mut above.right }) = node;
        }
        self.node(node).up = over;
        self.node(up).up = node;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn root_by_walking(parents: &[u32], mut node: u32) -> u32 {
        while parents[node as usize] != NONE {
            node = parents[node as usize];
        }
        node
    }

    proptest! {
        #[test]
        fn roots_are_those_of_a_plain_forest(steps in prop::collection::vec((0..3u8, 0..12u32, 0..12u32), 0..200)) {
            let (mut trees, mut parents) = (LinkCut::default(), [NONE; 12]);
            (0..12).for_each(|_| trees.add());
            for (kind, a, b) in steps {
                match kind {
                    0 if parents[a as usize] == NONE && root_by_walking(&parents, b) != a => {
                        trees.link(a, b);
                        parents[a as usize] = b;
                    }
                    1 => {
                        trees.cut(a);
                        parents[a as usize] = NONE;
                    }
                    _ => {}
                }
                prop_assert_eq!(trees.root(b), root_by_walking(&parents, b));
            }
        }
    }
}
