//! THREAD=REFERENCES as RFC 5256 §3 tells it, on a tree of boxes, without regard to time.

use std::collections::HashMap;

use super::Mail;
use crate::message::base_subject;

/// A message or a dummy (no mail) with what is under it.
#[derive(Clone, Debug)]
struct Node {
    mail: Option<usize>,
    children: Vec<Node>,
}

pub struct Model<'a> {
    mails: &'a [Mail],
    threads: Vec<Node>,
}

impl<'a> Model<'a> {
    pub fn of(mails: &'a [Mail]) -> Self {
        let (parents, names) = links(mails);
        let roots = (0..parents.len()).filter(|&node| parents[node].is_none());
        let threads = roots.map(|root| tree(root, &parents, &names)).collect();
        let mut model = Model { mails, threads };
        model.prune();
        model.sort();
        model.gather();
        model.sort();
        model
    }

    pub fn shown(&self) -> String {
        self.threads.iter().map(shown).collect()
    }

    /// Step 3.
    fn prune(&mut self) {
        let threads = std::mem::take(&mut self.threads);
        for mut thread in threads {
            thread.children = pruned(thread.children);
            match (thread.mail, thread.children.len()) {
                (None, 0) => {}
                (None, 1) => self.threads.append(&mut thread.children),
                _ => self.threads.push(thread),
            }
        }
    }

    /// Steps 4 and 6.
    fn sort(&mut self) {
        let mut threads = std::mem::take(&mut self.threads);
        self.sort_siblings(&mut threads);
        self.threads = threads;
    }

    fn sort_siblings(&self, siblings: &mut [Node]) {
        siblings.iter_mut().for_each(|node| self.sort_siblings(&mut node.children));
        siblings.sort_by_key(|node| {
            let first = first(node);
            (self.mails[first].date, first)
        });
    }

    /// Step 5.
    fn gather(&mut self) {
        let mut table: HashMap<String, Node> = HashMap::new();
        for thread in &self.threads {
            let (subject, is_reply) = self.subject(thread);
            if subject.is_empty() {
                continue;
            }
            let is_better = table.get(&subject).is_none_or(|known| {
                known.mail.is_some() && (thread.mail.is_none() || self.subject(known).1 && !is_reply)
            });
            if is_better {
                table.insert(subject, thread.clone());
            }
        }
        // What each subject's thread begins with: it does not change when others are put under it.
        let heads: HashMap<String, usize> = table.iter().map(|(s, node)| (s.clone(), first(node))).collect();
        let mut left = Vec::new();
        for thread in std::mem::take(&mut self.threads) {
            let (subject, is_reply) = self.subject(&thread);
            if subject.is_empty() {
                left.push(thread);
                continue;
            }
            if heads[&subject] == first(&thread) {
                continue;
            }
            let Some(known) = table.get_mut(&subject) else { continue };
            match (known.mail, thread.mail) {
                (None, None) => known.children.extend(thread.children),
                (None, Some(_)) => known.children.push(thread),
                (Some(mail), _) if is_reply && !base(&self.mails[mail].subject).1 => {
                    known.children.push(thread)
                }
                _ => {
                    let former = std::mem::replace(known, Node { mail: None, children: Vec::new() });
                    known.children = vec![former, thread];
                }
            }
        }
        self.threads = left;
        self.threads.extend(table.into_values());
    }

    fn subject(&self, thread: &Node) -> (String, bool) {
        let (subject, is_reply) = base(&self.mails[first(thread)].subject);
        (subject, is_reply && thread.mail.is_some())
    }
}

fn base(subject: &str) -> (String, bool) {
    let mut folded = String::new();
    let is_reply = base_subject(subject.as_bytes(), &mut folded);
    (folded, is_reply)
}

/// The message that stands for a thread.
fn first(node: &Node) -> usize {
    node.mail.unwrap_or_else(|| first(&node.children[0]))
}

fn shown(node: &Node) -> String {
    let name = node.mail.map_or("_".to_owned(), |mail| (mail + 1).to_string());
    format!("({name}{})", node.children.iter().map(shown).collect::<String>())
}

/// Step 1: the parents of nodes, and which message each is.
fn links(mails: &[Mail]) -> (Vec<Option<usize>>, Vec<Option<usize>>) {
    let (mut ids, mut parents, mut names) = (HashMap::new(), Vec::new(), Vec::new());
    // First of all every message gets its node, so that it is clear which one has an id.
    let mut of_mails = Vec::new();
    for (mail, message) in mails.iter().enumerate() {
        of_mails.push(parents.len());
        if let Some(id) = &message.id {
            ids.entry(id.clone()).or_insert(parents.len());
        }
        parents.push(None);
        names.push(Some(mail));
    }
    for (message, &own) in mails.iter().zip(&of_mails) {
        let mut before = None;
        for id in &message.references {
            let node = *ids.entry(id.clone()).or_insert_with(|| {
                parents.push(None);
                names.push(None);
                parents.len() - 1
            });
            if let Some(parent) = before
                && parents[node].is_none()
                && !is_under(&parents, parent, node)
            {
                parents[node] = Some(parent);
            }
            before = Some(node);
        }
        parents[own] = None;
        parents[own] = before.filter(|&parent| !is_under(&parents, parent, own));
    }
    (parents, names)
}

fn is_under(parents: &[Option<usize>], node: usize, other: usize) -> bool {
    node == other || parents[node].is_some_and(|parent| is_under(parents, parent, other))
}

fn tree(root: usize, parents: &[Option<usize>], names: &[Option<usize>]) -> Node {
    let children = (0..parents.len()).filter(|&node| parents[node] == Some(root));
    Node { mail: names[root], children: children.map(|node| tree(node, parents, names)).collect() }
}

fn pruned(siblings: Vec<Node>) -> Vec<Node> {
    let mut left = Vec::new();
    for mut node in siblings {
        node.children = pruned(node.children);
        if node.mail.is_some() {
            left.push(node);
        } else {
            left.append(&mut node.children);
        }
    }
    left
}
