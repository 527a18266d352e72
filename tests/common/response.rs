//! A response as a tree of atoms, strings and lists.
//!
//! Patterns are read by the same code. Two forms exist only there: an atom `...` stands for anything, and
//! `{name}` for a string whose value a block of the dialogue gives.

use super::wire::literal_size;

/// One value of a response or of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// An atom, a number, a flag, or an item such as `BODY[HEADER.FIELDS (DATE)]`.
    Atom(Vec<u8>),
    /// A quoted string or a literal: which of the two is the server's choice.
    Text(Vec<u8>),
    /// A parenthesised list.
    List(Vec<Node>),
    /// In patterns: the string that the named block holds.
    Block(String),
}

impl Node {
    /// Whether this is the given atom, in any case.
    pub fn is_atom(&self, name: &str) -> bool {
        matches!(self, Node::Atom(atom) if atom.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The bytes of an atom or string; nothing for a list.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Node::Atom(bytes) | Node::Text(bytes) => bytes,
            Node::List(_) | Node::Block(_) => b"",
        }
    }

    /// The elements of a list; nothing for anything else.
    pub fn list(&self) -> &[Node] {
        match self {
            Node::List(nodes) => nodes,
            _ => &[],
        }
    }
}

/// Reads the values of `text`, or says what is wrong with them.
pub fn parse(text: &[u8]) -> Result<Vec<Node>, String> {
    let mut reader = Reader { text, at: 0 };
    let nodes = reader.sequence(0)?;
    match reader.peek() {
        None => Ok(nodes),
        Some(_) => Err("a ) too many".to_owned()),
    }
}

/// Deepest list that a test reads.
const NESTING: usize = 200;

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, String> {
        if depth > NESTING {
            return Err("lists nested too deeply".to_owned());
        }
        let mut nodes = Vec::new();
        loop {
            match self.peek() {
                None | Some(b')') => return Ok(nodes),
                Some(b' ') => self.at += 1,
                Some(b'(') => nodes.push(self.nested(depth)?),
                Some(b'"') => nodes.push(self.quoted()?),
                Some(b'{') => nodes.push(self.braced()?),
                Some(b'~') if self.text.get(self.at + 1) == Some(&b'{') => self.at += 1,
                Some(_) => nodes.push(self.atom()),
            }
        }
    }

    fn nested(&mut self, depth: usize) -> Result<Node, String> {
        self.at += 1;
        let nodes = self.sequence(depth + 1)?;
        if self.peek() != Some(b')') {
            return Err("a list without its )".to_owned());
        }
        self.at += 1;
        Ok(Node::List(nodes))
    }

    fn quoted(&mut self) -> Result<Node, String> {
        let mut value = Vec::new();
        loop {
            self.at += 1;
            match self.peek() {
                None => return Err("a string without its closing quote".to_owned()),
                Some(b'"') => break,
                Some(b'\\') => {
                    self.at += 1;
                    value.extend(self.peek());
                }
                Some(byte) => value.push(byte),
            }
        }
        self.at += 1;
        Ok(Node::Text(value))
    }

    /// A literal or, in a pattern, the name of a block.
    fn braced(&mut self) -> Result<Node, String> {
        let rest = &self.text[self.at..];
        let close = rest.iter().position(|&byte| byte == b'}').ok_or("a { without its }")?;
        let start = self.at + close + 1;
        match literal_size(&rest[..=close]) {
            Some(size) => {
                let value = self.text.get(start + 2..start + 2 + size).ok_or("a literal cut short")?;
                self.at = start + 2 + size;
                Ok(Node::Text(value.to_vec()))
            }
            None => {
                self.at = start;
                Ok(Node::Block(String::from_utf8_lossy(&rest[1..close]).into_owned()))
            }
        }
    }

    /// An atom; what stands in brackets belongs to it.
    fn atom(&mut self) -> Node {
        let start = self.at;
        let mut brackets = 0usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'[' => brackets += 1,
                b']' => brackets = brackets.saturating_sub(1),
                b' ' | b'(' | b')' if brackets == 0 => break,
                _ => {}
            }
            self.at += 1;
        }
        Node::Atom(self.text[start..self.at].to_vec())
    }
}
