//! What enpd, publishers and subscribers say to each other: `docs/ens-protocol.md`.
//!
//! Lines of printable ASCII that end with CRLF; an event may have a block of bytes behind its line. Everything that
//! comes from outside is bounded before it is kept.

use std::io::Write as _;

use thiserror::Error;

use super::limits::{MAX_DATA, MAX_LINE};
use super::reference::{Reference, encode};
use crate::store::{MailboxId, UserName};

/// The version of the protocol.
pub(super) const VERSION: u32 = 1;

/// What a publisher has to tell, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand(u8);

impl Demand {
    pub const NONE: Demand = Demand(0);
    /// Somebody has subscribed to events.
    pub const EVENTS: Demand = Demand(1);
    /// A worker of another server wants to hear which mailboxes change.
    pub const CHANGES: Demand = Demand(2);
    /// As long as nothing is known.
    pub const ALL: Demand = Demand(3);

    pub fn with(self, other: Demand, is_wanted: bool) -> Demand {
        if is_wanted { Demand(self.0 | other.0) } else { self }
    }

    pub fn contains(self, other: Demand) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn bits(self) -> u8 {
        self.0
    }

    pub fn from_bits(bits: u8) -> Demand {
        Demand(bits & Demand::ALL.0)
    }
}

/// A message in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Client: begins the dialogue. All connections of one server have the same origin.
    Hello { version: u32, origin: u64, name: String },
    /// enpd: its answer.
    Welcome { version: u32 },
    /// Client: events that match this reference, please.
    Subscribe(String),
    /// Client: changes of mailboxes by other origins, please.
    Follow,
    /// Client: I publish; tell me what is in demand.
    Publish,
    /// An event, from a publisher or to a subscriber: its reference and the bytes that go with it.
    Event { reference: String, data: Vec<u8> },
    /// A mailbox has changed.
    Changed { mailbox: MailboxId, user: UserName },
    /// So many messages were lost; 0 when nobody counted.
    Lost(u64),
    /// enpd: what a publisher has to tell from now on.
    Demand(Demand),
    /// Client: nothing of this demand is held back any more.
    Have(Demand),
    /// enpd: what was asked for is in effect.
    Ok,
    /// enpd: refused, with the reason; the end of the connection.
    No(String),
}

/// Why a stream of bytes is not this protocol.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WireError {
    #[error("a line is longer than {MAX_LINE} bytes")]
    LineTooLong,
    #[error("an event carries more bytes than it may, {MAX_DATA} at most")]
    DataTooLong,
    #[error("a line cannot be understood")]
    Nonsense,
}

impl Message {
    /// Appends the message as it stands on the wire.
    pub fn encode(&self, out: &mut Vec<u8>) {
        // Writing to a vector does not fail.
        let _ = match self {
            Message::Hello { version, origin, name } => {
                write!(out, "HELLO {version} {origin:016x} {}", escaped(name))
            }
            Message::Welcome { version } => write!(out, "WELCOME {version}"),
            Message::Subscribe(reference) => write!(out, "SUBSCRIBE {reference}"),
            Message::Follow => write!(out, "FOLLOW"),
            Message::Publish => write!(out, "PUBLISH"),
            Message::Event { reference, data } => write!(out, "EVENT {} {reference}", data.len()),
            Message::Changed { mailbox, user } => {
                write!(out, "CHANGED {mailbox} {}", escaped(user.as_str()))
            }
            Message::Lost(count) => write!(out, "LOST {count}"),
            Message::Demand(demand) => write!(out, "DEMAND {}", demand.0),
            Message::Have(demand) => write!(out, "HAVE {}", demand.0),
            Message::Ok => write!(out, "OK"),
            Message::No(reason) => write!(out, "NO {}", escaped(reason)),
        };
        out.extend_from_slice(b"\r\n");
        if let Message::Event { data, .. } = self {
            out.extend_from_slice(data);
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    encode(text, &mut out);
    out
}

/// Takes messages out of a stream of bytes.
pub(super) struct Decoder {
    /// Most bytes of data behind a line.
    max_data: usize,
    buffer: Vec<u8>,
    /// What is before this place has been taken.
    start: usize,
    /// No line ends before this place.
    searched: usize,
}

impl Decoder {
    /// Events may carry up to `max_data` bytes; 0 for a peer who has not said that it publishes.
    pub fn new(max_data: usize) -> Self {
        Decoder { max_data, buffer: Vec::new(), start: 0, searched: 0 }
    }

    /// From now on events may carry data.
    pub fn allow_data(&mut self) {
        self.max_data = MAX_DATA;
    }

    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message.
    pub fn next(&mut self) -> Result<Option<Message>, WireError> {
        let Some(found) = memchr::memchr(b'\n', &self.buffer[self.searched..]) else {
            self.searched = self.buffer.len();
            let is_too_long = self.buffer.len() - self.start > MAX_LINE;
            return if is_too_long { Err(WireError::LineTooLong) } else { Ok(None) };
        };
        let end = self.searched + found;
        if end - self.start > MAX_LINE {
            return Err(WireError::LineTooLong);
        }
        let line = &self.buffer[self.start..end];
        let line = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line));
        let Parsed { message, data: wanted } = parse(line.map_err(|_| WireError::Nonsense)?)?;
        if wanted > self.max_data {
            return Err(WireError::DataTooLong);
        }
        let Some(bytes) = self.buffer.get(end + 1..end + 1 + wanted) else {
            // The line is looked at again when its data has come.
            self.searched = end;
            return Ok(None);
        };
        let message = match message {
            Message::Event { reference, .. } => Message::Event { reference, data: bytes.to_vec() },
            other => other,
        };
        self.start = end + 1 + wanted;
        self.searched = self.start;
        Ok(Some(message))
    }
}

/// A line, and how many bytes come behind it.
struct Parsed {
    message: Message,
    data: usize,
}

fn parse(line: &str) -> Result<Parsed, WireError> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    if verb == "EVENT" {
        return parse_event(rest);
    }
    let message = parse_plain(verb, rest).ok_or(WireError::Nonsense)?;
    Ok(Parsed { message, data: 0 })
}

fn parse_event(rest: &str) -> Result<Parsed, WireError> {
    let (count, reference) = rest.split_once(' ').ok_or(WireError::Nonsense)?;
    let data = count.parse().map_err(|_| WireError::Nonsense)?;
    Ok(Parsed { message: Message::Event { reference: reference.to_owned(), data: Vec::new() }, data })
}

fn parse_plain(verb: &str, rest: &str) -> Option<Message> {
    let mut words = rest.split(' ');
    let message = match verb {
        "HELLO" => Message::Hello {
            version: words.next()?.parse().ok()?,
            origin: u64::from_str_radix(words.next()?, 16).ok()?,
            name: unescape(words.next()?)?,
        },
        "WELCOME" => Message::Welcome { version: words.next()?.parse().ok()? },
        "SUBSCRIBE" => Message::Subscribe(words.next()?.to_owned()),
        "FOLLOW" => Message::Follow,
        "PUBLISH" => Message::Publish,
        "CHANGED" => Message::Changed {
            mailbox: MailboxId(u128::from_str_radix(words.next()?, 16).ok()?),
            user: UserName::new(unescape(words.next()?)?).ok()?,
        },
        "LOST" => Message::Lost(words.next()?.parse().ok()?),
        "DEMAND" => Message::Demand(Demand::from_bits(words.next()?.parse().ok()?)),
        "HAVE" => Message::Have(Demand::from_bits(words.next()?.parse().ok()?)),
        "OK" => Message::Ok,
        "NO" => Message::No(unescape(words.next()?)?),
        _ => return None,
    };
    Some(message)
}

/// Undoes [`escaped`].
fn unescape(text: &str) -> Option<String> {
    let reference = format!("enp://x?x={text}");
    Reference::parse(&reference).ok()?.parameter("x").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Message> {
        vec![
            Message::Hello { version: 1, origin: 0xfeed, name: "a worker".into() },
            Message::Welcome { version: 1 },
            Message::Subscribe("enp://h/store?evtType=NewMsg".into()),
            Message::Follow,
            Message::Publish,
            Message::Event { reference: "enp://h/store".into(), data: b"Subject: x\r\n\r\n\0".to_vec() },
            Message::Event { reference: "enp://h/store".into(), data: Vec::new() },
            Message::Changed { mailbox: MailboxId(7), user: UserName::new("ädä & co").unwrap() },
            Message::Lost(3),
            Message::Demand(Demand::ALL),
            Message::Have(Demand::EVENTS),
            Message::Ok,
            Message::No("not permitted: 100%".into()),
        ]
    }

    #[test]
    fn messages_survive_any_cut() {
        let mut bytes = Vec::new();
        all().iter().for_each(|message| message.encode(&mut bytes));
        for size in [1, 2, 3, 7, 64, bytes.len()] {
            let (mut decoder, mut came) = (Decoder::new(MAX_DATA), Vec::new());
            for piece in bytes.chunks(size) {
                decoder.push(piece);
                while let Some(message) = decoder.next().unwrap() {
                    came.push(message);
                }
            }
            assert_eq!(came, all(), "in pieces of {size}");
        }
    }

    #[test]
    fn nonsense_ends_the_stream() {
        let long = [b"SUBSCRIBE ".as_slice(), &b"x".repeat(MAX_LINE)].concat();
        let much = format!("EVENT {} enp://h\r\n", MAX_DATA + 1);
        for (bytes, error) in [
            (&b"GET / HTTP/1.1\r\n"[..], WireError::Nonsense),
            (b"HELLO\r\n", WireError::Nonsense),
            (b"CHANGED 7 \r\n", WireError::Nonsense),
            (b"EVENT -1 enp://h\r\n", WireError::Nonsense),
            (b"\xff\r\n", WireError::Nonsense),
            (b"\r\n", WireError::Nonsense),
            (&long, WireError::LineTooLong),
            (much.as_bytes(), WireError::DataTooLong),
        ] {
            let mut decoder = Decoder::new(MAX_DATA);
            decoder.push(bytes);
            assert_eq!(
                decoder.next(),
                Err(error),
                "{:?}",
                String::from_utf8_lossy(&bytes[..20.min(bytes.len())])
            );
        }
    }
}
