//! Untagged responses, read.

use crate::common::response::{Node, parse};

use super::Verdict;
use super::op::FLAGS;

/// An untagged response.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Exists(usize),
    Recent(usize),
    Expunge(usize),
    Fetch(Fetched),
    /// UIDs; whether they are `(EARLIER)`.
    Vanished(Vec<u32>, bool),
    /// FLAGS: the known ones of them as bits.
    Flags(u8),
    /// `OK` with its code, without brackets.
    Ok(String),
    Search(Found),
    Status(String, Vec<(String, u64)>),
    Bye,
    /// CAPABILITY, ENABLED, LIST: nothing about messages.
    Other,
}

/// A FETCH response.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    pub seq: usize,
    pub uid: Option<u32>,
    /// Known flags as bits, and whether `\Recent` is among them.
    pub flags: Option<(u8, bool)>,
    pub modseq: Option<u64>,
    pub body: Option<Vec<u8>>,
    pub size: Option<usize>,
    /// The names of all items.
    pub names: Vec<String>,
}

/// What SEARCH or ESEARCH says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub extended: bool,
    pub uid: bool,
    pub all: Vec<u32>,
    pub min: Option<u32>,
    pub max: Option<u32>,
    pub count: Option<u32>,
    pub modseq: Option<u64>,
}

/// Reads a line that begins with `* `.
pub fn read(line: &[u8]) -> Verdict<Line> {
    let text = String::from_utf8_lossy(line);
    let rest = text.strip_prefix("* ").ok_or_else(|| format!("not an untagged response: {text}"))?;
    if rest.starts_with("BYE") {
        return Ok(Line::Bye);
    }
    if let Some(rest) = rest.strip_prefix("OK ") {
        let code = rest.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or_default();
        return Ok(Line::Ok(code.to_owned()));
    }
    let nodes = parse(&line[2..])?;
    nodes_to_line(&nodes).ok_or_else(|| format!("cannot read {text}"))
}

fn nodes_to_line(nodes: &[Node]) -> Option<Line> {
    if let Some(count) = number(nodes.first()?) {
        return match word(nodes.get(1)?).as_str() {
            "EXISTS" => Some(Line::Exists(count)),
            "RECENT" => Some(Line::Recent(count)),
            "EXPUNGE" => Some(Line::Expunge(count)),
            "FETCH" => fetched(count, nodes.get(2)?.list()).map(Line::Fetch),
            _ => None,
        };
    }
    match word(&nodes[0]).as_str() {
        "VANISHED" => {
            let earlier = nodes.len() == 3;
            Some(Line::Vanished(uids(nodes.last()?)?, earlier))
        }
        "FLAGS" => Some(Line::Flags(flag_bits(nodes.get(1)?.list())?.0)),
        "SEARCH" => search(&nodes[1..]).map(Line::Search),
        "ESEARCH" => esearch(&nodes[1..]).map(Line::Search),
        "STATUS" => {
            let items = nodes.get(2)?.list().chunks(2);
            let items =
                items.map(|pair| Some((word(&pair[0]), number(pair.get(1)?)?))).collect::<Option<_>>()?;
            Some(Line::Status(String::from_utf8_lossy(nodes[1].bytes()).into_owned(), items))
        }
        "CAPABILITY" | "ENABLED" | "LIST" => Some(Line::Other),
        _ => None,
    }
}

fn fetched(seq: usize, items: &[Node]) -> Option<Fetched> {
    let mut fetched = Fetched { seq, ..Fetched::default() };
    for pair in items.chunks(2) {
        let value = pair.get(1)?;
        let name = word(&pair[0]);
        match name.as_str() {
            "UID" => fetched.uid = Some(number(value)?),
            "FLAGS" => fetched.flags = Some(flag_bits(value.list())?),
            "MODSEQ" => fetched.modseq = Some(number(value.list().first()?)?),
            "RFC822.SIZE" => fetched.size = Some(number(value)?),
            "BODY[]" => fetched.body = Some(value.bytes().to_vec()),
            _ => return None,
        }
        fetched.names.push(name);
    }
    Some(fetched)
}

/// Bits, and whether `\Recent` is there; `None` for a flag that no client has ever used.
fn flag_bits(nodes: &[Node]) -> Option<(u8, bool)> {
    let mut flags = (0, false);
    for node in nodes {
        if node.is_atom("\\Recent") {
            flags.1 = true;
            continue;
        }
        flags.0 |= 1 << FLAGS.iter().position(|name| node.is_atom(name))?;
    }
    Some(flags)
}

fn search(nodes: &[Node]) -> Option<Found> {
    let mut found = Found::default();
    for node in nodes {
        match node.list() {
            [] => found.all.push(number(node)?),
            [name, value] if name.is_atom("MODSEQ") => found.modseq = Some(number(value)?),
            _ => return None,
        }
    }
    Some(found)
}

fn esearch(nodes: &[Node]) -> Option<Found> {
    let mut found = Found { extended: true, ..Found::default() };
    let mut nodes = nodes.iter().skip(1).peekable();
    found.uid = nodes.next_if(|node| node.is_atom("UID")).is_some();
    while let Some(name) = nodes.next() {
        let value = nodes.next()?;
        match word(name).as_str() {
            "MIN" => found.min = Some(number(value)?),
            "MAX" => found.max = Some(number(value)?),
            "COUNT" => found.count = Some(number(value)?),
            "MODSEQ" => found.modseq = Some(number(value)?),
            "ALL" => found.all = uids(value)?,
            _ => return None,
        }
    }
    Some(found)
}

fn word(node: &Node) -> String {
    String::from_utf8_lossy(node.bytes()).to_ascii_uppercase()
}

fn number<T: std::str::FromStr>(node: &Node) -> Option<T> {
    std::str::from_utf8(node.bytes()).ok()?.parse().ok()
}

fn uids(node: &Node) -> Option<Vec<u32>> {
    numbers(std::str::from_utf8(node.bytes()).ok()?)
}

/// The members of `1:3,7`, in the order in which they are named.
pub fn numbers(set: &str) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for part in set.split(',') {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        all.extend(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?);
    }
    Some(all)
}

/// `1:3,7`.
pub fn set_of(numbers: impl IntoIterator<Item = u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let texts = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}:{last}"),
    });
    texts.collect::<Vec<_>>().join(",")
}
