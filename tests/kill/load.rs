//! One client's work while processes are killed under it.
//!
//! A client has two mailboxes of its own and knows what is in them: each command that is acknowledged changes that, and
//! one that was cut off has happened as a whole or not at all. Which of the two, the client reads when it is back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::common::client::{Client, Reply, body};
use crate::common::response::parse;
use crate::common::server::PASSWORD;
use crate::common::wire::TIMEOUT;

use super::place::Place;

/// More messages than these are thinned out.
const MANY: usize = 60;

/// Flags that come and go.
const FLAGS: [&str; 4] = ["\\Seen", "\\Flagged", "\\Answered", "kept"];

/// Ids and flags of a mailbox's messages, by UID.
type Mailbox = BTreeMap<u32, (String, u8)>;

/// Numbers without a pattern that a seed can bring back (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((value ^ (value >> 31)) % bound.max(1) as u64) as usize
    }
}

/// What a client has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Commands that were acknowledged, each checked afterwards.
    pub acknowledged: usize,
    /// Connections that broke.
    pub broken: usize,
    /// Commands that had happened although nobody said so.
    pub unheard: usize,
    /// The longest time that a command on a living connection took.
    pub slowest: Duration,
}

pub struct Load<'a> {
    place: &'a Place,
    user: String,
    mailboxes: [String; 2],
    dice: Dice,
    client: Option<Client>,
    known: [Mailbox; 2],
    sent: usize,
    number: usize,
    pub done: Done,
}

/// The connection is gone, and with it the answer.
struct Broken;

impl<'a> Load<'a> {
    pub fn new(place: &'a Place, user: &str, number: usize, seed: u64) -> Self {
        Load {
            place,
            user: user.to_owned(),
            mailboxes: [format!("a{number}"), format!("b{number}")],
            dice: Dice(seed.wrapping_add(number as u64)),
            client: None,
            known: Default::default(),
            sent: 0,
            number,
            done: Done::default(),
        }
    }

    /// Makes the mailboxes, while nobody is killed yet.
    pub fn prepare(&mut self) {
        self.connect();
        for mailbox in self.mailboxes.clone() {
            self.client.as_mut().expect("a connection").ok(format!("CREATE {mailbox}"));
        }
    }

    pub fn work(&mut self, end: Instant) {
        while Instant::now() < end {
            self.connect();
            let before = self.known.clone();
            if self.one_command().is_err() {
                self.done.broken += 1;
                self.client = None;
                let after = std::mem::replace(&mut self.known, before);
                self.find_out(&after);
            }
        }
    }

    /// What is there is what was acknowledged.
    pub fn check(&mut self) {
        self.client = None;
        loop {
            self.connect();
            if let Ok(found) = self.read_all() {
                self.insist(&found, &self.known.clone());
                return;
            }
        }
    }

    /// After a break: the mailboxes are as before the command, or as after it.
    fn find_out(&mut self, after: &[Mailbox; 2]) {
        let found = loop {
            self.connect();
            match self.read_all() {
                Ok(found) => break found,
                Err(Broken) => self.client = None,
            }
        };
        if contents(&found) == contents(after) && contents(after) != contents(&self.known) {
            self.done.unheard += 1;
        } else {
            self.insist(&found, &self.known);
        }
        self.known = found;
    }

    fn insist(&self, found: &[Mailbox; 2], wanted: &[Mailbox; 2]) {
        let (found, wanted) = (contents(found), contents(wanted));
        for (mailbox, (found, wanted)) in self.mailboxes.iter().zip(found.iter().zip(&wanted)) {
            let too_many: Vec<_> = found.iter().filter(|message| !wanted.contains(message)).collect();
            let missing: Vec<_> = wanted.iter().filter(|message| !found.contains(message)).collect();
            assert!(
                found == wanted,
                "{} {mailbox}: {} messages instead of {}; not expected {too_many:?}, missing {missing:?}",
                self.user,
                found.len(),
                wanted.len()
            );
        }
    }

    /// Logs in, however often that takes.
    fn connect(&mut self) {
        while self.client.is_none() {
            self.client =
                Client::try_connect(self.place.addr()).filter(|client| client.greeting.starts_with("* OK"));
            let login = format!("LOGIN {} {PASSWORD}", self.user);
            if self.client.is_none() || !self.say(&login).is_ok_and(|reply| reply.status.starts_with("OK")) {
                self.client = None;
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// A command on a living connection is answered; who waits longer waits for a lock of the dead.
    fn say(&mut self, command: impl AsRef<[u8]>) -> Result<Reply, Broken> {
        let start = Instant::now();
        let reply = self.client.as_mut().ok_or(Broken)?.try_command(&command);
        let took = start.elapsed();
        if reply.is_some() {
            self.done.slowest = self.done.slowest.max(took);
        }
        let command = command.as_ref();
        let shown = String::from_utf8_lossy(&command[..command.len().min(80)]).into_owned();
        assert!(took < TIMEOUT, "{}: nothing came for {took:?} after {shown}", self.user);
        reply.ok_or(Broken)
    }

    /// A command that nothing but the end of the connection may keep from its OK.
    fn acknowledge(&mut self, command: impl AsRef<[u8]>) -> Result<Reply, Broken> {
        let reply = self.say(command)?;
        assert!(reply.status.starts_with("OK"), "{}: {}", self.user, reply.status);
        self.done.acknowledged += 1;
        Ok(reply)
    }

    /// What is changed in `known` before the answer counts once that has come.
    fn one_command(&mut self) -> Result<(), Broken> {
        let side = self.dice.below(2);
        if self.known[side].len() > MANY {
            return self.expunge(side, MANY / 2);
        }
        match self.dice.below(20) {
            0..8 => self.append(side),
            8..12 => self.store(side),
            12..15 => self.transfer(side, true),
            15..17 => self.transfer(side, false),
            17..19 => self.expunge(side, 5),
            _ => {
                self.client = None;
                Ok(())
            }
        }
    }

    fn append(&mut self, side: usize) -> Result<(), Broken> {
        let mut command = format!("APPEND {}", self.mailboxes[side]).into_bytes();
        let ids: Vec<String> = (0..1 + self.dice.below(3)).map(|_| self.next_id()).collect();
        let flags = self.dice.below(16) as u8;
        for (at, id) in ids.iter().enumerate() {
            let message = message(id);
            command.extend(format!(" ({}) {{{}+}}\r\n", names(flags), message.len()).bytes());
            command.extend(message);
            self.known[side].insert(u32::MAX - at as u32, (id.clone(), flags));
        }
        let reply = self.acknowledge(command)?;
        let uids = set(reply.after("[APPENDUID ").and_then(|_| reply.status.split(' ').nth(3)));
        assert_eq!(uids.len(), ids.len(), "{}", reply.status);
        for (at, uid) in uids.into_iter().enumerate() {
            let message = self.known[side].remove(&(u32::MAX - at as u32)).expect("it was put there");
            self.known[side].insert(uid, message);
        }
        Ok(())
    }

    fn next_id(&mut self) -> String {
        self.sent += 1;
        let lines = if self.sent % 37 == 36 { 4000 } else { self.dice.below(50) };
        format!("{}.{}.{lines}", self.number, self.sent)
    }

    fn store(&mut self, side: usize) -> Result<(), Broken> {
        let uids = self.some(side, 8);
        if uids.is_empty() {
            return Ok(());
        }
        self.select(side)?;
        let flags = self.dice.below(16) as u8;
        let how = ["FLAGS", "+FLAGS", "-FLAGS"][self.dice.below(3)];
        for uid in &uids {
            let (_, had) = self.known[side].get_mut(uid).expect("a known message");
            *had = match how {
                "FLAGS" => flags,
                "+FLAGS" => *had | flags,
                _ => *had & !flags,
            };
        }
        self.acknowledge(format!("UID STORE {} {how}.SILENT ({})", list(&uids), names(flags))).map(|_| ())
    }

    fn transfer(&mut self, side: usize, moves: bool) -> Result<(), Broken> {
        let uids = self.some(side, 6);
        if uids.is_empty() {
            return Ok(());
        }
        self.select(side)?;
        for (at, uid) in uids.iter().enumerate() {
            let message = self.known[side][uid].clone();
            self.known[1 - side].insert(u32::MAX - at as u32, message);
            if moves {
                self.known[side].remove(uid);
            }
        }
        let verb = if moves { "MOVE" } else { "COPY" };
        let reply = self.acknowledge(format!("UID {verb} {} {}", list(&uids), self.mailboxes[1 - side]))?;
        let untagged = reply.untagged.iter().map(|line| String::from_utf8_lossy(line).into_owned());
        let mut lines = untagged.chain([reply.status.clone()]);
        let code = lines.find_map(|line| Some(line.split_once("[COPYUID ")?.1.to_owned())).expect("COPYUID");
        for (at, uid) in set(code.split(' ').nth(2)).into_iter().enumerate() {
            let message =
                self.known[1 - side].remove(&(u32::MAX - at as u32)).expect("as many as were copied");
            self.known[1 - side].insert(uid, message);
        }
        Ok(())
    }

    /// Two commands; the mark is known to be there or not, as the message itself.
    fn expunge(&mut self, side: usize, most: usize) -> Result<(), Broken> {
        let uids = self.some(side, most);
        if uids.is_empty() {
            return Ok(());
        }
        self.select(side)?;
        let marked = self.say(format!("UID STORE {} +FLAGS.SILENT (\\Deleted)", list(&uids)))?;
        assert!(marked.status.starts_with("OK"), "{}", marked.status);
        uids.iter().for_each(|uid| drop(self.known[side].remove(uid)));
        self.acknowledge(format!("UID EXPUNGE {}", list(&uids))).map(|_| ())
    }

    fn select(&mut self, side: usize) -> Result<(), Broken> {
        let command = format!("SELECT {}", self.mailboxes[side]);
        let reply = self.say(command)?;
        assert!(reply.status.starts_with("OK"), "{}: {}", self.user, reply.status);
        Ok(())
    }

    fn some(&mut self, side: usize, most: usize) -> Vec<u32> {
        let all: Vec<u32> = self.known[side].keys().copied().collect();
        let count = self.dice.below(most.min(all.len())) + 1;
        let from = self.dice.below(all.len().saturating_sub(count) + 1);
        all.into_iter().skip(from).take(count).collect()
    }

    /// All messages with their flags; each is whole, and none is there that was not sent.
    fn read_all(&mut self) -> Result<[Mailbox; 2], Broken> {
        let mut found: [Mailbox; 2] = Default::default();
        for (side, mailbox) in found.iter_mut().enumerate() {
            let name = &self.mailboxes[side].clone();
            let reply = self.say(format!("EXAMINE {name}"))?;
            assert!(reply.status.starts_with("OK"), "{}: {}", self.user, reply.status);
            let reply = self.say("UID FETCH 1:* (UID FLAGS BODY.PEEK[])")?;
            assert!(reply.status.starts_with("OK"), "{}: {}", self.user, reply.status);
            for line in &reply.untagged {
                let Some((uid, bytes)) = body(line) else { continue };
                let id = id_of(&bytes);
                assert!(
                    bytes == message(&id),
                    "{} {name}: UID {uid} is not the message that was sent",
                    self.user
                );
                mailbox.insert(uid, (id, flags_of(line)));
            }
        }
        Ok(found)
    }
}

/// What counts: which messages there are, with which flags; not their UIDs, which a lost answer would have told.
fn contents(mailboxes: &[Mailbox; 2]) -> [Vec<(String, u8)>; 2] {
    [0, 1].map(|side| {
        let mut all: Vec<_> = mailboxes[side].values().cloned().collect();
        all.sort();
        all
    })
}

/// A message with this id: its number of lines is the last part.
fn message(id: &str) -> Vec<u8> {
    let lines: usize = id.rsplit('.').next().and_then(|lines| lines.parse().ok()).unwrap_or(0);
    let body: String = (0..lines).map(|line| format!("{id} line {line}\r\n")).collect();
    format!("Message-ID: <{id}>\r\nSubject: {id}\r\n\r\n{body}end of {id}\r\n").into_bytes()
}

fn id_of(message: &[u8]) -> String {
    let line = message.split(|&byte| byte == b'\r').next().unwrap_or_default();
    String::from_utf8_lossy(line).trim_start_matches("Message-ID: <").trim_end_matches('>').to_owned()
}

fn names(flags: u8) -> String {
    let names: Vec<&str> =
        (0..FLAGS.len()).filter(|bit| flags & (1 << bit) != 0).map(|bit| FLAGS[bit]).collect();
    names.join(" ")
}

/// Known flags of a FETCH response as bits. `\Deleted` is not among them: it is a step on the way to an expunge.
fn flags_of(line: &[u8]) -> u8 {
    let nodes = parse(line).unwrap_or_default();
    let items = nodes.last().map_or(&[][..], |node| node.list());
    let flags = items.chunks(2).find(|pair| pair[0].is_atom("FLAGS")).map_or(&[][..], |pair| pair[1].list());
    (0..FLAGS.len())
        .filter(|&bit| flags.iter().any(|flag| flag.is_atom(FLAGS[bit])))
        .fold(0, |all, bit| all | 1 << bit)
}

fn list(uids: &[u32]) -> String {
    uids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// The members of `1:3,7`, up to a bracket.
fn set(text: Option<&str>) -> Vec<u32> {
    let parts = text.unwrap_or_default().split(']').next().unwrap_or_default().split(',');
    let bounds = parts.filter_map(|part| {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    });
    bounds.flatten().collect()
}
