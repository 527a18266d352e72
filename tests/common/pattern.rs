//! What a dialogue expects, matched against what came.
//!
//! Where an RFC leaves an order open (flags, the items of a FETCH, STATUS or ESEARCH response, capabilities, the
//! numbers of a SEARCH response), any order matches. `...` stands for anything and `<name>` for a value that is
//! remembered; where the name is known already, it stands for that value.

use std::collections::{BTreeSet, HashMap};

use super::response::{Node, parse};

/// What the dialogue knows: captured values, and the blocks it defined.
#[derive(Clone, Default)]
pub struct Scope {
    pub values: HashMap<String, String>,
    pub blocks: HashMap<String, Vec<u8>>,
}

/// Matches a response line; on success the scope has the captured values.
pub fn matches(pattern: &str, response: &[u8], scope: &mut Scope) -> bool {
    let mut attempt = scope.clone();
    let matched = line(pattern.as_bytes(), response, &mut attempt);
    if matched {
        *scope = attempt;
    }
    matched
}

fn line(pattern: &[u8], response: &[u8], scope: &mut Scope) -> bool {
    let (expected_tag, expected) = split(pattern);
    let (tag, rest) = split(response);
    if tag == b"+" || expected_tag == b"+" {
        return tag == expected_tag && (expected.is_empty() || glob(expected, rest, Case::Exact, scope));
    }
    if !glob(expected_tag, tag, Case::Exact, scope) {
        return false;
    }
    match is_status(rest) {
        true => status(expected, rest, scope),
        false => data(expected, rest, scope),
    }
}

fn split(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|&byte| byte == b' ') {
        Some(space) => (&text[..space], &text[space + 1..]),
        None => (text, b""),
    }
}

fn is_status(rest: &[u8]) -> bool {
    let condition = split(rest).0;
    [b"OK".as_slice(), b"NO", b"BAD", b"BYE", b"PREAUTH"]
        .iter()
        .any(|name| condition.eq_ignore_ascii_case(name))
}

/// `OK [CODE …] text`. A pattern without a code accepts any; one that ends after condition or code, any text.
fn status(pattern: &[u8], response: &[u8], scope: &mut Scope) -> bool {
    let (expected_condition, expected) = split(pattern);
    let (condition, rest) = split(response);
    if !glob(expected_condition, condition, Case::Any, scope) {
        return false;
    }
    match code(expected) {
        None => expected.is_empty() || glob(expected, rest, Case::Exact, scope),
        Some((expected_code, expected_text)) => code(rest).is_some_and(|(code, text)| {
            response_code(expected_code, code, scope)
                && (expected_text.is_empty() || glob(expected_text, text, Case::Exact, scope))
        }),
    }
}

/// Splits `[CODE …] text`.
fn code(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"[")?;
    let mut quoted = false;
    let close = inner.iter().position(|&byte| {
        quoted ^= byte == b'"';
        byte == b']' && !quoted
    })?;
    let rest = &inner[close + 1..];
    Some((&inner[..close], rest.strip_prefix(b" ").unwrap_or(rest)))
}

fn response_code(pattern: &[u8], code: &[u8], scope: &mut Scope) -> bool {
    let (Ok(expected), Ok(nodes)) = (parse(pattern), parse(code)) else { return false };
    match nodes.first() {
        Some(name) if name.is_atom("PERMANENTFLAGS") => flags_then_rest(&expected, &nodes, 1, scope),
        Some(name) if name.is_atom("CAPABILITY") => any_order(&expected, &nodes, scope),
        _ => sequence(&expected, &nodes, Case::Any, scope),
    }
}

fn data(pattern: &[u8], response: &[u8], scope: &mut Scope) -> bool {
    let (Ok(expected), Ok(nodes)) = (parse(pattern), parse(response)) else { return false };
    let numbered = nodes.first().is_some_and(|node| node.bytes().iter().all(u8::is_ascii_digit));
    let Some(kind) = nodes.get(usize::from(numbered)) else { return false };
    let is = |name: &str| kind.is_atom(name);
    if is("FETCH") || is("STATUS") {
        pairs_at(&expected, &nodes, 2, scope)
    } else if is("ID") {
        pairs_at(&expected, &nodes, 1, scope)
    } else if is("ESEARCH") {
        esearch(&expected, &nodes, scope)
    } else if is("FLAGS") || is("LIST") || is("LSUB") {
        flags_then_rest(&expected, &nodes, 1, scope)
    } else if is("SEARCH") || is("CAPABILITY") || is("ENABLED") {
        expected.first().is_some_and(|node| node.is_atom(&String::from_utf8_lossy(kind.bytes())))
            && any_order(&expected, &nodes, scope)
    } else {
        sequence(&expected, &nodes, Case::Any, scope)
    }
}

/// The nodes before `at` in order, the list at `at` in any order, the rest in order.
fn flags_then_rest(expected: &[Node], nodes: &[Node], at: usize, scope: &mut Scope) -> bool {
    let (Some(Node::List(wanted)), Some(Node::List(came))) = (expected.get(at), nodes.get(at)) else {
        return sequence(expected, nodes, Case::Any, scope);
    };
    sequence(&expected[..at], &nodes[..at], Case::Any, scope)
        && any_order(wanted, came, scope)
        && sequence(&expected[at + 1..], &nodes[at + 1..], Case::Any, scope)
}

/// The nodes before `at` in order, then one list of names and values whose order is open.
fn pairs_at(expected: &[Node], nodes: &[Node], at: usize, scope: &mut Scope) -> bool {
    let (Some(Node::List(wanted)), Some(Node::List(came))) = (expected.get(at), nodes.get(at)) else {
        return sequence(expected, nodes, Case::Any, scope);
    };
    expected.len() == nodes.len()
        && sequence(&expected[..at], &nodes[..at], Case::Any, scope)
        && pairs(wanted, came, scope)
}

/// `ESEARCH (TAG "a1") UID COUNT 2 ALL 1:2`: correlator and UID in place, then pairs (RFC 4466).
fn esearch(expected: &[Node], nodes: &[Node], scope: &mut Scope) -> bool {
    let head = |nodes: &[Node]| {
        let list = usize::from(matches!(nodes.get(1), Some(Node::List(_))));
        1 + list + usize::from(nodes.get(1 + list).is_some_and(|node| node.is_atom("UID")))
    };
    let (wanted, came) = (head(expected), head(nodes));
    sequence(&expected[..wanted.min(expected.len())], &nodes[..came], Case::Any, scope)
        && pairs(&expected[wanted.min(expected.len())..], &nodes[came..], scope)
}

/// Names and values; a lone `...` at the end lets others be there too.
fn pairs(wanted: &[Node], came: &[Node], scope: &mut Scope) -> bool {
    let open = wanted.len() % 2 == 1 && wanted.last().is_some_and(is_anything);
    let wanted = &wanted[..wanted.len() - usize::from(open)];
    let mut left: Vec<&[Node]> = came.chunks(2).collect();
    for pair in wanted.chunks(2) {
        let [name, value] = pair else { return false };
        let Some(found) = left.iter().position(|came| {
            let [came_name, came_value] = came else { return false };
            node(name, came_name, Case::Any, scope) && pair_value(came_name, value, came_value, scope)
        }) else {
            return false;
        };
        left.remove(found);
    }
    open || left.is_empty()
}

fn pair_value(name: &Node, wanted: &Node, came: &Node, scope: &mut Scope) -> bool {
    match (wanted, came) {
        (Node::List(wanted), Node::List(came)) if name.is_atom("FLAGS") => any_order(wanted, came, scope),
        _ if name.is_atom("BODY") || name.is_atom("BODYSTRUCTURE") => node(wanted, came, Case::Any, scope),
        _ => node(wanted, came, Case::Exact, scope),
    }
}

/// Every expected element is there once and, unless `...` is among them, nothing else.
fn any_order(expected: &[Node], nodes: &[Node], scope: &mut Scope) -> bool {
    let mut left: Vec<&Node> = nodes.iter().collect();
    for wanted in expected.iter().filter(|node| !is_anything(node)) {
        let Some(found) = left.iter().position(|came| node(wanted, came, Case::Any, scope)) else {
            return false;
        };
        left.remove(found);
    }
    left.is_empty() || expected.iter().any(is_anything)
}

fn sequence(expected: &[Node], nodes: &[Node], case: Case, scope: &mut Scope) -> bool {
    match expected {
        [] => nodes.is_empty(),
        [first, rest @ ..] if is_anything(first) => {
            (0..=nodes.len()).any(|skip| sequence(rest, &nodes[skip..], case, scope))
        }
        [first, rest @ ..] => nodes.split_first().is_some_and(|(came, others)| {
            let before = scope.clone();
            let matched = node(first, came, case, scope) && sequence(rest, others, case, scope);
            if !matched {
                *scope = before;
            }
            matched
        }),
    }
}

fn is_anything(node: &Node) -> bool {
    matches!(node, Node::Atom(atom) if atom == b"...")
}

fn node(expected: &Node, came: &Node, case: Case, scope: &mut Scope) -> bool {
    match (expected, came) {
        (expected, _) if is_anything(expected) => true,
        (Node::Atom(wanted), Node::Atom(came)) => {
            glob(wanted, came, Case::Any, scope) || same_numbers(wanted, came)
        }
        (Node::Text(wanted), Node::Text(came)) => glob(wanted, came, case, scope),
        (Node::Atom(wanted), Node::Text(came)) => !is_nil(wanted) && glob(wanted, came, case, scope),
        (Node::Text(wanted), Node::Atom(came)) => !is_nil(came) && glob(wanted, came, case, scope),
        (Node::Block(name), Node::Text(came)) => scope.blocks.get(name).is_some_and(|block| block == came),
        (Node::List(wanted), Node::List(came)) => sequence(wanted, came, case, scope),
        _ => false,
    }
}

fn is_nil(atom: &[u8]) -> bool {
    atom.eq_ignore_ascii_case(b"NIL")
}

/// Whether letters have to agree in case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Exact,
    Any,
}

fn glob(pattern: &[u8], text: &[u8], case: Case, scope: &mut Scope) -> bool {
    if let Some(rest) = pattern.strip_prefix(b"...") {
        return (0..=text.len()).any(|skip| glob(rest, &text[skip..], case, scope));
    }
    if let Some((name, rest)) = capture(pattern) {
        return match scope.values.get(name).cloned() {
            Some(value) => {
                text.strip_prefix(value.as_bytes()).is_some_and(|text| glob(rest, text, case, scope))
            }
            None => capture_value(name, rest, text, case, scope),
        };
    }
    match (pattern, text) {
        ([], []) => true,
        ([wanted, pattern @ ..], [came, text @ ..]) => {
            let same = wanted == came || (case == Case::Any && wanted.eq_ignore_ascii_case(came));
            same && glob(pattern, text, case, scope)
        }
        _ => false,
    }
}

/// Splits `<name>…`; a name is made of small letters, digits and `_`, and begins with a letter.
pub fn capture(pattern: &[u8]) -> Option<(&str, &[u8])> {
    let inner = pattern.strip_prefix(b"<")?;
    let close = inner.iter().position(|&byte| byte == b'>')?;
    let name = std::str::from_utf8(&inner[..close]).ok()?;
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let letter = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    (plain && letter).then_some((name, &inner[close + 1..]))
}

fn capture_value(name: &str, rest: &[u8], text: &[u8], case: Case, scope: &mut Scope) -> bool {
    let longest = text.iter().position(|byte| b" ()[]\"".contains(byte)).unwrap_or(text.len());
    (1..=longest).rev().any(|length| {
        let matched = glob(rest, &text[length..], case, scope);
        if matched {
            scope.values.insert(name.to_owned(), String::from_utf8_lossy(&text[..length]).into_owned());
        }
        matched
    })
}

/// Largest range in a sequence set that a dialogue compares number by number.
const RANGE: u32 = 10_000;

/// Whether two sequence sets name the same numbers: `1,2,3` and `1:3`.
fn same_numbers(one: &[u8], other: &[u8]) -> bool {
    match (numbers(one), numbers(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

fn numbers(set: &[u8]) -> Option<BTreeSet<u32>> {
    let mut all = BTreeSet::new();
    for range in std::str::from_utf8(set).ok()?.split(',') {
        let (low, high) = range.split_once(':').unwrap_or((range, range));
        let (low, high): (u32, u32) = (low.parse().ok()?, high.parse().ok()?);
        let (low, high) = (low.min(high), low.max(high));
        if high - low > RANGE {
            return None;
        }
        all.extend(low..=high);
    }
    Some(all)
}
