//! Dialogues: text files that read like the examples of an RFC and are executed.
//!
//! ```text
//! # A comment.
//! state: selected
//! inbox: hello hello
//!
//! message hello:
//! | Subject: hello
//! |
//! | Hi there.
//!
//! C: a1 STORE 1 +FLAGS (\Seen)
//! S: * 1 FETCH (FLAGS (\Seen ...))
//! S: a1 OK
//! ```
//!
//! | line | meaning |
//! |---|---|
//! | `C: …` | the client sends this; `{name}` and `{name+}` send a block as a literal |
//! | `S: …` | the next response (see [`pattern`](super::pattern)) |
//! | `S?: …` | the next response, if it matches; otherwise nothing |
//! | `U: …` | like `S`, but consecutive `U` lines match in any order; `U?` may be absent |
//! | `S: ...` | any number of untagged responses, up to one that matches the next line |
//! | `S: (closed)` | the server closes the connection |
//! | `C2:`, `S2:` | a second connection, opened when it is first used |
//! | `assert <b> > <a>` | compares two captured numbers (`>`, `=`, `!=`) |
//! | `message x:`, `text x:` | a block: its `|` lines with CRLF; in a `text` the last line has none |
//!
//! The first paragraph may hold headers. `state` says how far a connection is brought when it opens: `start` (the
//! greeting is still to come), `greeted`, `login` (the default) or `selected` (INBOX). `inbox` names the messages
//! that the user's INBOX holds before the dialogue begins. `enable` names extensions that every connection enables.
//! `needs` names capabilities without which the dialogue makes no sense, and `choice: yes` says that it shows what
//! the RFCs leave to the server: other servers are then not asked.
//! Known names: `$user`, `$pass`, and `$plain`, the two as SASL PLAIN wants them. In blocks `\x00` stands for a
//! byte, `\\` for a backslash.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::pattern::{Scope, capture, matches};
use super::server::PASSWORD;
use super::wire::{Received, Wire};

/// A dialogue that was read but not executed yet.
pub struct Dialogue {
    name: String,
    headers: HashMap<String, String>,
    blocks: HashMap<String, Vec<u8>>,
    steps: Vec<(usize, Step)>,
}

#[derive(Clone, Debug)]
enum Step {
    Client { connection: u8, text: String },
    Server { connection: u8, pattern: String, optional: bool, ordered: bool },
    Assert { left: String, operator: String, right: String },
}

impl Dialogue {
    /// Reads a dialogue.
    ///
    /// # Panics
    /// On a line that makes no sense.
    pub fn parse(name: &str, text: &str) -> Dialogue {
        let mut dialogue = Dialogue {
            name: name.to_owned(),
            headers: HashMap::new(),
            blocks: HashMap::new(),
            steps: Vec::new(),
        };
        let mut block: Option<(String, bool)> = None;
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(content) = line.strip_prefix('|') {
                let (name, _) = block.as_ref().unwrap_or_else(|| panic!("{name}:{number}: no block is open"));
                let content = unescape(content.strip_prefix(' ').unwrap_or(content));
                dialogue.blocks.entry(name.clone()).or_default().extend(content);
                continue;
            }
            dialogue.close_block(block.take());
            block = block_start(line);
            if block.is_none() && !line.is_empty() && !line.starts_with('#') {
                dialogue.read_line(number, line);
            }
        }
        dialogue.close_block(block);
        dialogue
    }

    fn close_block(&mut self, block: Option<(String, bool)>) {
        if let Some((name, ends_with_crlf)) = block {
            let content = self.blocks.entry(name).or_default();
            if !ends_with_crlf {
                content.truncate(content.len().saturating_sub(2));
            }
        }
    }

    fn read_line(&mut self, number: usize, line: &str) {
        if let Some(step) = step(line) {
            self.steps.push((number, step));
        } else if let (true, Some((key, value))) = (self.steps.is_empty(), line.split_once(": ")) {
            self.headers.insert(key.to_owned(), value.to_owned());
        } else {
            panic!("{}:{number}: not a line of a dialogue: {line}", self.name);
        }
    }

    fn header(&self, key: &str) -> &str {
        self.headers.get(key).map_or("", String::as_str)
    }

    /// Capabilities without which the dialogue makes no sense.
    pub fn needs(&self) -> impl Iterator<Item = &str> {
        self.header("needs").split_whitespace()
    }

    /// Whether another server may answer otherwise.
    pub fn is_choice(&self) -> bool {
        self.headers.contains_key("choice")
    }

    /// Executes the dialogue as `user` and says what went wrong: expected, came, and all that was said before.
    pub fn run(&self, addr: SocketAddr, user: &str) -> Result<(), String> {
        let mut stage = Stage::new(self, addr, user);
        stage.fill_inbox()?;
        let mut at = 0;
        while let Some((number, step)) = self.steps.get(at) {
            at += 1;
            match step {
                Step::Client { connection, text } => stage.say(*connection, text),
                Step::Assert { left, operator, right } => stage.compare(left, operator, right),
                Step::Server { ordered: true, connection, pattern, optional } => {
                    stage.hear(*connection, pattern, *optional)
                }
                Step::Server { connection, .. } => {
                    let group = self.group(at - 1, *connection);
                    at += group.len() - 1;
                    stage.hear_in_any_order(*connection, group)
                }
            }
            .map_err(|failure| stage.report(*number, &failure))?;
        }
        Ok(())
    }

    /// The consecutive `U` lines of a connection.
    fn group(&self, start: usize, connection: u8) -> Vec<(&str, bool)> {
        let lines = self.steps[start..].iter().map_while(|(_, step)| match step {
            Step::Server { connection: other, pattern, optional, ordered: false } if *other == connection => {
                Some((pattern.as_str(), *optional))
            }
            _ => None,
        });
        lines.collect()
    }
}

/// `message name:` or `text name:`; the flag says whether the last line keeps its CRLF.
fn block_start(line: &str) -> Option<(String, bool)> {
    let (kind, name) = line.strip_suffix(':')?.split_once(' ')?;
    match kind {
        "message" => Some((name.to_owned(), true)),
        "text" => Some((name.to_owned(), false)),
        _ => None,
    }
}

fn step(line: &str) -> Option<Step> {
    if let Some(comparison) = line.strip_prefix("assert ") {
        let mut words = comparison.split_whitespace().map(str::to_owned);
        return Some(Step::Assert { left: words.next()?, operator: words.next()?, right: words.next()? });
    }
    let (who, text) = line.split_once(':')?;
    let text = text.strip_prefix(' ').unwrap_or(text).to_owned();
    let (who, optional) = who.strip_suffix('?').map_or((who, false), |who| (who, true));
    let (side, number) = who.split_at_checked(1)?;
    let connection = if number.is_empty() { 1 } else { number.parse().ok()? };
    match side {
        "C" => Some(Step::Client { connection, text }),
        "S" | "U" => Some(Step::Server { connection, pattern: text, optional, ordered: side == "S" }),
        _ => None,
    }
}

/// A block's line, with its escapes undone and its CRLF.
fn unescape(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match (byte, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                bytes.push(b'\\');
                tail
            }
            (b'\\', [b'x', high, low, tail @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).expect("two hexadecimal digits");
                bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
                tail
            }
            _ => {
                bytes.push(byte);
                tail
            }
        };
    }
    bytes.extend(b"\r\n");
    bytes
}

/// A dialogue while it is executed.
struct Stage<'a> {
    dialogue: &'a Dialogue,
    addr: SocketAddr,
    wires: BTreeMap<u8, Wire>,
    /// Connections on which untagged responses may come before the next expected one.
    skipping: BTreeMap<u8, bool>,
    scope: Scope,
    transcript: String,
}

impl<'a> Stage<'a> {
    fn new(dialogue: &'a Dialogue, addr: SocketAddr, user: &str) -> Self {
        let plain = STANDARD.encode(format!("\0{user}\0{PASSWORD}"));
        let values = [("$user", user), ("$pass", PASSWORD), ("$plain", &plain)];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Stage {
            dialogue,
            addr,
            wires: BTreeMap::new(),
            skipping: BTreeMap::new(),
            scope: Scope { values, blocks: dialogue.blocks.clone() },
            transcript: String::new(),
        }
    }

    fn fill_inbox(&mut self) -> Result<(), String> {
        let messages = self.dialogue.header("inbox").split_whitespace();
        let mut wire = None;
        for (index, name) in messages.enumerate() {
            let wire = wire.get_or_insert_with(|| self.greeted().0);
            if index == 0 {
                self.quietly(wire, &format!("LOGIN {} {PASSWORD}", self.scope.values["$user"]))?;
            }
            let message =
                self.scope.blocks.get(name).ok_or_else(|| format!("no message is called {name}"))?;
            let message = String::from_utf8_lossy(message);
            self.quietly(wire, &format!("APPEND INBOX {{{}+}}\r\n{message}", message.len()))?;
        }
        Ok(())
    }

    /// Connects and reads the greeting.
    fn greeted(&self) -> (Wire, Received) {
        let mut wire = Wire::connect(self.addr);
        let greeting = wire.receive();
        (wire, greeting)
    }

    /// Sends a command that is no part of the dialogue and has to succeed.
    fn quietly(&self, wire: &mut Wire, command: &str) -> Result<(), String> {
        wire.send(format!("setup {command}\r\n"));
        loop {
            match wire.receive() {
                Received::Response(line) if line.starts_with(b"setup OK") => return Ok(()),
                Received::Response(line) if line.starts_with(b"*") => {}
                other => return Err(format!("{}: while preparing: {}", self.dialogue.name, show(&other))),
            }
        }
    }

    /// Opens a connection and brings it where the dialogue begins.
    fn open(&mut self, connection: u8) -> Result<(), String> {
        if self.wires.contains_key(&connection) {
            return Ok(());
        }
        let (mut wire, greeting) = self.greeted();
        let state = self.dialogue.header("state");
        if state == "start" {
            wire.push_back(greeting);
        }
        if !matches!(state, "start" | "greeted") {
            self.quietly(&mut wire, &format!("LOGIN {} {PASSWORD}", self.scope.values["$user"]))?;
            if !self.dialogue.header("enable").is_empty() {
                self.quietly(&mut wire, &format!("ENABLE {}", self.dialogue.header("enable")))?;
            }
        }
        if state == "selected" {
            self.quietly(&mut wire, "SELECT INBOX")?;
        }
        self.wires.insert(connection, wire);
        Ok(())
    }

    fn wire(&mut self, connection: u8) -> &mut Wire {
        self.wires.get_mut(&connection).expect("the connection is open")
    }

    /// Sends a line, its literals in the way it asks for.
    fn say(&mut self, connection: u8, text: &str) -> Result<(), String> {
        self.open(connection)?;
        let text = self.substitute(text);
        self.note('C', connection, text.as_bytes());
        let mut rest = text.as_str();
        while let Some((before, name, synchronizing, after)) = next_literal(rest) {
            let Some(block) = self.scope.blocks.get(name).cloned() else {
                return Err(format!("no block is called {name}"));
            };
            let plus = if synchronizing { "" } else { "+" };
            self.wire(connection).send(format!("{before}{{{}{plus}}}\r\n", block.len()));
            if synchronizing {
                self.hear(connection, "+", false)?;
            }
            self.wire(connection).send(block);
            rest = after;
        }
        self.wire(connection).send(format!("{rest}\r\n"));
        Ok(())
    }

    fn substitute(&self, text: &str) -> String {
        let mut result = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['$', '<']) {
            result.push_str(&rest[..at]);
            rest = &rest[at..];
            let named = ["$user", "$pass", "$plain"].into_iter().find(|name| rest.starts_with(name));
            let captured = capture(rest.as_bytes()).map(|(name, _)| name);
            let (value, length) = match (named, captured.and_then(|name| self.scope.values.get(name))) {
                (Some(name), _) => (self.scope.values[name].as_str(), name.len()),
                (None, Some(value)) => (value.as_str(), captured.map_or(0, str::len) + 2),
                (None, None) => (&rest[..1], 1),
            };
            result.push_str(value);
            rest = &rest[length..];
        }
        result + rest
    }

    /// Waits for a response that matches.
    fn hear(&mut self, connection: u8, pattern: &str, optional: bool) -> Result<(), String> {
        self.open(connection)?;
        if pattern == "..." {
            self.skipping.insert(connection, true);
            return Ok(());
        }
        let pattern = self.named(pattern);
        loop {
            let received = self.wire(connection).receive();
            if fits(&pattern, &received, &mut self.scope) {
                self.heard(connection, &received);
                self.skipping.insert(connection, false);
                return Ok(());
            }
            if optional {
                self.wire(connection).push_back(received);
                return Ok(());
            }
            self.heard(connection, &received);
            if !(self.skipping.get(&connection) == Some(&true) && is_untagged(&received)) {
                return Err(self.mismatch(&[&pattern], &received));
            }
        }
    }

    /// Waits for responses that match the lines of a group, in whatever order they come.
    fn hear_in_any_order(&mut self, connection: u8, group: Vec<(&str, bool)>) -> Result<(), String> {
        self.open(connection)?;
        let open = group.iter().any(|(pattern, _)| *pattern == "...");
        let mut left: Vec<(String, bool)> = group
            .into_iter()
            .filter(|(pattern, _)| *pattern != "...")
            .map(|(pattern, optional)| (self.named(pattern), optional))
            .collect();
        while !left.is_empty() {
            let required = left.iter().any(|(_, optional)| !optional);
            let received = self.wire(connection).receive();
            let found = left.iter().position(|(pattern, _)| fits(pattern, &received, &mut self.scope));
            match found {
                Some(index) => drop(left.remove(index)),
                None if !required => {
                    self.wire(connection).push_back(received);
                    break;
                }
                None if open && is_untagged(&received) => {}
                None => {
                    self.heard(connection, &received);
                    let expected: Vec<&str> = left.iter().map(|(pattern, _)| pattern.as_str()).collect();
                    return Err(self.mismatch(&expected, &received));
                }
            }
            self.heard(connection, &received);
        }
        self.skipping.insert(connection, open);
        Ok(())
    }

    /// A pattern with the names that every dialogue knows replaced; captured values stay names.
    fn named(&self, pattern: &str) -> String {
        pattern.replace("$user", &self.scope.values["$user"])
    }

    fn compare(&mut self, left: &str, operator: &str, right: &str) -> Result<(), String> {
        let number = |text: &str| {
            let text = self.substitute(text);
            text.parse::<u64>().map_err(|_| format!("{text} is not a number"))
        };
        let (one, other) = (number(left)?, number(right)?);
        let holds = match operator {
            ">" => one > other,
            "=" => one == other,
            "!=" => one != other,
            _ => return Err(format!("unknown comparison {operator}")),
        };
        if holds {
            Ok(())
        } else {
            Err(format!("expected {left} {operator} {right}, but they are {one} and {other}"))
        }
    }

    fn heard(&mut self, connection: u8, received: &Received) {
        self.note('S', connection, show(received).as_bytes());
    }

    fn note(&mut self, side: char, connection: u8, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let _ = writeln!(self.transcript, "    {side}{connection}: {}", text.replace("\r\n", "\n        "));
    }

    fn mismatch(&self, expected: &[&str], received: &Received) -> String {
        let mut known: Vec<String> =
            self.scope.values.iter().map(|(name, value)| format!("{name}={value}")).collect();
        known.sort();
        format!(
            "  expected: {}\n  came:     {}\n  known:    {}",
            expected.join("\n        or: "),
            show(received),
            known.join(" ")
        )
    }

    fn report(&self, line: usize, failure: &str) -> String {
        format!("{}:{line}\n{failure}\n  so far:\n{}", self.dialogue.name, self.transcript)
    }
}

/// Splits at the next `{name}` or `{name+}`: what is before, the name, whether it synchronizes, what is after.
fn next_literal(text: &str) -> Option<(&str, &str, bool, &str)> {
    let mut from = 0;
    loop {
        let open = from + text[from..].find('{')?;
        let close = open + text[open..].find('}')?;
        let inner = &text[open + 1..close];
        let name = inner.strip_suffix('+').unwrap_or(inner);
        if name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Some((&text[..open], name, name == inner, &text[close + 1..]));
        }
        from = close;
    }
}

fn fits(pattern: &str, received: &Received, scope: &mut Scope) -> bool {
    match received {
        Received::Response(line) => matches(pattern, line, scope),
        Received::Closed => pattern == "(closed)",
        Received::Nothing => false,
    }
}

fn is_untagged(received: &Received) -> bool {
    matches!(received, Received::Response(line) if line.starts_with(b"* "))
}

fn show(received: &Received) -> String {
    match received {
        Received::Response(line) => String::from_utf8_lossy(line).into_owned(),
        Received::Closed => "(closed)".to_owned(),
        Received::Nothing => "(nothing)".to_owned(),
    }
}
