//! Commands and their replies, for tests written in Rust.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::response::parse;
use super::wire::{Received, Wire};

/// A client that sends one command at a time.
pub struct Client {
    wire: Wire,
    /// The greeting, without its CRLF.
    pub greeting: String,
    sequence: u32,
}

/// What a command was answered.
#[derive(Debug)]
pub struct Reply {
    /// The untagged responses in their order, each with its literals.
    pub untagged: Vec<Vec<u8>>,
    /// The tagged response behind the tag: `OK [READ-WRITE] …`.
    pub status: String,
}

impl Reply {
    /// The untagged responses that contain `part`.
    pub fn with<'a>(&'a self, part: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.untagged.iter().map(Vec::as_slice).filter(move |line| contains(line, part.as_bytes()))
    }

    /// What stands between `before` and the next character of ` )]` in the tagged response.
    pub fn after<'a>(&'a self, before: &str) -> Option<&'a str> {
        let rest = &self.status[self.status.find(before)? + before.len()..];
        rest.split([' ', ')', ']']).next()
    }
}

/// UID and body in `* 1 FETCH (UID 7 BODY[] {3}…)`.
pub fn body(line: &[u8]) -> Option<(u32, Vec<u8>)> {
    let nodes = parse(line).ok()?;
    let items = nodes.iter().find_map(|node| (!node.list().is_empty()).then(|| node.list()))?;
    let value = |name: &str| items.chunks(2).find(|pair| pair[0].is_atom(name)).and_then(|pair| pair.get(1));
    let uid = std::str::from_utf8(value("UID")?.bytes()).ok()?.parse().ok()?;
    Some((uid, value("BODY[]")?.bytes().to_vec()))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

impl Client {
    /// Connects and reads the greeting.
    pub fn connect(addr: SocketAddr) -> Client {
        Client::try_connect(addr).unwrap_or_else(|| panic!("no greeting from {addr}"))
    }

    /// Connects to a server that may go away meanwhile.
    pub fn try_connect(addr: SocketAddr) -> Option<Client> {
        let mut wire = Wire::try_connect(addr).ok()?;
        match wire.receive() {
            Received::Response(line) => {
                Some(Client { wire, greeting: String::from_utf8_lossy(&line).into_owned(), sequence: 0 })
            }
            _ => None,
        }
    }

    /// The connection itself.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// Sends a command and reads its reply; `None` when the connection ends first.
    pub fn try_command(&mut self, command: impl AsRef<[u8]>) -> Option<Reply> {
        let tag = self.start(command);
        self.reply(&tag)
    }

    /// Sends a command and reads its reply.
    pub fn command(&mut self, command: impl AsRef<[u8]>) -> Reply {
        let command = command.as_ref();
        let shown = String::from_utf8_lossy(&command[..command.len().min(200)]).into_owned();
        self.try_command(command).unwrap_or_else(|| panic!("no answer to {shown}"))
    }

    /// A command that has to succeed.
    pub fn ok(&mut self, command: impl AsRef<[u8]>) -> Reply {
        self.expect("OK", command.as_ref())
    }

    /// A command that has to be refused.
    pub fn no(&mut self, command: impl AsRef<[u8]>) -> Reply {
        self.expect("NO", command.as_ref())
    }

    /// A command that has to be found wrong.
    pub fn bad(&mut self, command: impl AsRef<[u8]>) -> Reply {
        self.expect("BAD", command.as_ref())
    }

    fn expect(&mut self, condition: &str, command: &[u8]) -> Reply {
        let reply = self.command(command);
        let shown = String::from_utf8_lossy(&command[..command.len().min(200)]);
        assert!(reply.status.starts_with(condition), "{shown}: expected {condition}, came {}", reply.status);
        reply
    }

    /// Appends a message with a non-synchronizing literal, a literal8 where it has NUL bytes (RFC 3516 §4.4);
    /// `None` when the connection ends before the answer.
    pub fn append(&mut self, mailbox: &str, message: &[u8]) -> Option<Reply> {
        let kind = if message.contains(&0) { "~" } else { "" };
        let mut command = format!("APPEND {mailbox} {kind}{{{}+}}\r\n", message.len()).into_bytes();
        command.extend_from_slice(message);
        self.try_command(command)
    }

    /// The bodies of all messages of a mailbox, by UID.
    pub fn bodies(&mut self, mailbox: &str) -> BTreeMap<u32, Vec<u8>> {
        self.ok(format!("EXAMINE {mailbox}"));
        let reply = self.ok("UID FETCH 1:* (UID BODY.PEEK[])");
        reply.untagged.iter().filter_map(|line| body(line)).collect()
    }

    /// Sends a command and returns its tag.
    pub fn start(&mut self, command: impl AsRef<[u8]>) -> String {
        self.sequence += 1;
        let tag = format!("t{}", self.sequence);
        let mut line = format!("{tag} ").into_bytes();
        line.extend_from_slice(command.as_ref());
        line.extend_from_slice(b"\r\n");
        self.wire.send(line);
        tag
    }

    /// Reads up to the tagged response; `None` when the connection ends or stalls before.
    pub fn reply(&mut self, tag: &str) -> Option<Reply> {
        let mut untagged = Vec::new();
        loop {
            let Received::Response(line) = self.wire.receive() else { return None };
            match line.strip_prefix(tag.as_bytes()).and_then(|rest| rest.strip_prefix(b" ")) {
                Some(rest) => {
                    return Some(Reply { untagged, status: String::from_utf8_lossy(rest).into_owned() });
                }
                None => untagged.push(line),
            }
        }
    }
}
