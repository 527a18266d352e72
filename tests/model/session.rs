//! One client: what it has been told, and whether the server may tell it what comes next.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::common::client::Client;

use super::case::number_in;
use super::line::{Fetched, Found, Line};
use super::op::{FLAGS, KEYWORDS, Kind};
use super::truth::{Mailbox, Owner, Truth};
use super::{Verdict, ensure};

/// A connection that is logged in.
pub struct Session {
    pub client: Client,
    pub kind: Kind,
    pub condstore: bool,
    /// The tag of IDLE while that goes on.
    pub idle: Option<String>,
    pub view: Option<View>,
    /// What a client with QRESYNC remembers of a mailbox, by its place in the reference.
    pub memory: HashMap<usize, Memory>,
}

/// The selected mailbox as the client has it.
pub struct View {
    /// Unlike any other's of the case.
    pub id: u64,
    pub mailbox: usize,
    pub read_only: bool,
    pub uids: Vec<u32>,
    pub known: BTreeMap<u32, Known>,
    /// No UID of the view is beyond; none below may come anew.
    pub frontier: u32,
    /// Keywords that FLAGS has named.
    pub keywords: u8,
    pub saved: BTreeSet<u32>,
    /// HIGHESTMODSEQ as the client has it.
    pub complete: u64,
}

/// Flags as the client believes them, no older than this place in the message's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub flags: u8,
    pub at: usize,
}

/// What a client keeps for the next time.
#[derive(Clone, Debug)]
pub struct Memory {
    pub validity: u32,
    pub modseq: u64,
    pub flags: BTreeMap<u32, u8>,
}

/// What a command allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    /// EXPUNGE and VANISHED (RFC 9051 §7.5.1).
    pub expunge: bool,
    /// VANISHED (EARLIER).
    pub earlier: bool,
    /// FLAGS without MODSEQ: a FETCH that has asked for just these.
    pub bare_flags: bool,
}

/// Untagged responses that belong to a command, for its own checks.
#[derive(Debug, Default)]
pub struct Heard {
    /// FETCH responses with the UIDs of their messages.
    pub fetched: Vec<(u32, Fetched)>,
    pub earlier: Option<Vec<u32>>,
    pub found: Option<Found>,
    pub status: Option<(String, Vec<(String, u64)>)>,
    pub codes: Vec<String>,
    pub bye: bool,
    pub exists: Option<usize>,
    pub recent: Option<usize>,
}

impl Heard {
    /// The rest of the code that begins with `name`.
    pub fn code(&self, name: &str) -> Option<&str> {
        self.codes.iter().find_map(|code| code.strip_prefix(name)?.strip_prefix(' '))
    }
}

impl View {
    pub fn new(id: u64, mailbox: usize, read_only: bool) -> Self {
        View {
            id,
            mailbox,
            read_only,
            uids: Vec::new(),
            known: BTreeMap::new(),
            frontier: 1,
            keywords: 0,
            saved: BTreeSet::new(),
            complete: 0,
        }
    }

    /// The mailbox as SELECT shows it: a client that reads all flags at once.
    pub fn fill(&mut self, mailbox: &Mailbox) {
        self.grow(mailbox);
        self.complete = mailbox.highest();
    }

    /// Takes in what is new, with its flags.
    fn grow(&mut self, mailbox: &Mailbox) {
        for message in mailbox.live().filter(|message| message.uid >= self.frontier) {
            self.uids.push(message.uid);
            let at = message.history.len() - 1;
            self.known.insert(message.uid, Known { flags: message.flags(), at });
        }
        self.frontier = mailbox.next;
    }

    /// The client's copy of HIGHESTMODSEQ at a tagged response (RFC 7162 §6): the response code, whatever it is, or the
    /// highest MODSEQ that came.
    pub fn take_modseqs(&mut self, heard: &Heard) {
        let told = heard.fetched.iter().filter_map(|(_, fetched)| fetched.modseq).max();
        let code = heard.codes.iter().rev().find_map(|code| number_in(code, "HIGHESTMODSEQ"));
        self.complete = code.unwrap_or_else(|| told.unwrap_or_default().max(self.complete));
    }

    fn remove(&mut self, at: usize) {
        let uid = self.uids.remove(at);
        self.known.remove(&uid);
    }

    /// As many messages as `RECENT` may count: those that are certainly this session's, and those that may be.
    fn recent(&self, mailbox: &Mailbox) -> (usize, usize) {
        let owners: Vec<Owner> =
            self.uids.iter().filter_map(|uid| mailbox.message(*uid)).map(|message| message.owner).collect();
        let own = owners.iter().filter(|owner| **owner == Owner::View(self.id)).count();
        let open = owners.iter().filter(|owner| matches!(owner, Owner::Nobody | Owner::Somebody)).count();
        (own, own + open)
    }

    /// Whether the client knows all there is: after every command during which EXPUNGE may be sent, and soon in IDLE.
    pub fn is_settled(&self, mailbox: &Mailbox) -> bool {
        self.uids == mailbox.live_uids() && self.knows_flags(mailbox).is_ok()
    }

    /// Flags as the client believes them are what they are.
    pub fn knows_flags(&self, mailbox: &Mailbox) -> Verdict {
        for (uid, known) in &self.known {
            let Some(message) = mailbox.message(*uid).filter(|message| message.gone.is_none()) else {
                continue;
            };
            let (flags, told) = (names(message.flags()), names(known.flags));
            ensure!(flags == told, "UID {uid} has the flags {flags:?}, and the client was told {told:?}");
        }
        Ok(())
    }
}

impl Session {
    pub fn new(client: Client, kind: Kind, memory: HashMap<usize, Memory>) -> Self {
        Session { client, kind, condstore: kind.has_condstore(), idle: None, view: None, memory }
    }

    /// Whether this session takes `\Recent` from others.
    pub fn claims_recent(&self) -> bool {
        !self.kind.is_rev2() && self.view.as_ref().is_some_and(|view| !view.read_only)
    }

    /// Judges one response, and takes in what it says.
    pub fn hear(&mut self, line: Line, truth: &mut Truth, allowed: Allowed, heard: &mut Heard) -> Verdict {
        match line {
            Line::Bye => heard.bye = true,
            Line::Ok(code) => heard.codes.push(code),
            Line::Status(name, items) => heard.status = Some((name, items)),
            Line::Search(found) => {
                ensure!(heard.found.is_none(), "a second result of one SEARCH");
                heard.found = Some(found);
            }
            Line::Other => {}
            line => {
                let (qresync, condstore, rev2) =
                    (self.kind.has_qresync(), self.condstore, self.kind.is_rev2());
                let view = self.view.as_mut().ok_or_else(|| format!("{line:?} with no mailbox selected"))?;
                let mailbox = &mut truth.boxes[view.mailbox];
                match line {
                    Line::Expunge(seq) => {
                        ensure!(!qresync, "EXPUNGE, where the client has enabled VANISHED");
                        view.hear_expunge(seq, mailbox, allowed)?;
                    }
                    Line::Vanished(uids, true) => {
                        ensure!(allowed.earlier && qresync, "VANISHED (EARLIER) unasked");
                        heard.earlier = Some(uids);
                    }
                    Line::Vanished(uids, false) => {
                        ensure!(qresync, "VANISHED without ENABLE QRESYNC");
                        view.hear_vanished(&uids, mailbox, allowed)?;
                    }
                    Line::Exists(count) => {
                        view.hear_exists(count, mailbox)?;
                        heard.exists = Some(count);
                    }
                    Line::Recent(count) => {
                        ensure!(!rev2, "RECENT under IMAP4rev2");
                        view.hear_recent(count, mailbox)?;
                        heard.recent = Some(count);
                    }
                    Line::Flags(flags) => view.keywords |= flags & KEYWORDS,
                    Line::Fetch(fetched) => {
                        let uid = view.hear_fetch(&fetched, mailbox, rev2)?;
                        ensure!(
                            allowed.bare_flags
                                || !condstore
                                || fetched.flags.is_none()
                                || fetched.modseq.is_some(),
                            "FLAGS without MODSEQ, which the client has enabled"
                        );
                        ensure!(!qresync || fetched.uid.is_some(), "FETCH without UID under QRESYNC");
                        heard.fetched.push((uid, fetched));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

impl View {
    fn hear_expunge(&mut self, seq: usize, mailbox: &Mailbox, allowed: Allowed) -> Verdict {
        ensure!(allowed.expunge, "EXPUNGE during a command that uses sequence numbers");
        ensure!((1..=self.uids.len()).contains(&seq), "EXPUNGE {seq} of {}", self.uids.len());
        let uid = self.uids[seq - 1];
        ensure!(!mailbox.is_live(uid), "EXPUNGE of UID {uid}, which is there");
        self.remove(seq - 1);
        Ok(())
    }

    fn hear_vanished(&mut self, uids: &[u32], mailbox: &Mailbox, allowed: Allowed) -> Verdict {
        ensure!(allowed.expunge, "VANISHED during a command that uses sequence numbers");
        for &uid in uids {
            ensure!(!mailbox.is_live(uid), "VANISHED of UID {uid}, which is there");
            let at = self.uids.iter().position(|known| *known == uid);
            self.remove(at.ok_or_else(|| format!("VANISHED of UID {uid}, which the client does not have"))?);
        }
        Ok(())
    }

    fn hear_exists(&mut self, count: usize, mailbox: &Mailbox) -> Verdict {
        ensure!(count >= self.uids.len(), "EXISTS {count} takes messages away from {}", self.uids.len());
        self.grow(mailbox);
        ensure!(count == self.uids.len(), "EXISTS {count}, where the client has to see {:?}", self.uids);
        Ok(())
    }

    fn hear_recent(&self, count: usize, mailbox: &Mailbox) -> Verdict {
        let (least, most) = self.recent(mailbox);
        let fits = if self.read_only { count <= self.uids.len() } else { (least..=most).contains(&count) };
        ensure!(fits, "RECENT {count}, where from {least} to {most} messages can be");
        Ok(())
    }

    fn hear_fetch(&mut self, fetched: &Fetched, mailbox: &mut Mailbox, rev2: bool) -> Verdict<u32> {
        let seq = fetched.seq;
        ensure!((1..=self.uids.len()).contains(&seq), "FETCH {seq} of {}", self.uids.len());
        let uid = self.uids[seq - 1];
        ensure!(fetched.uid.is_none_or(|told| told == uid), "message {seq} is UID {uid}");
        let read_only = self.read_only;
        let message = mailbox.message_mut(uid).ok_or("a message that never was")?;
        let is_live = message.gone.is_none();
        if let Some((flags, recent)) = fetched.flags {
            let unknown = flags & KEYWORDS & !self.keywords;
            ensure!(unknown == 0, "the keywords {:?} before FLAGS has named them", names(unknown));
            ensure!(!(recent && rev2), "\\Recent under IMAP4rev2");
            if !read_only && !rev2 {
                self.check_recent(recent, &mut message.owner)?;
            }
            if is_live {
                let known = self.known.get(&uid).map_or(0, |known| known.at);
                let at = place(&message.history, known, flags, fetched.modseq).ok_or_else(|| {
                    format!("UID {uid}: flags and MODSEQ are none of {:?}", &message.history[known..])
                })?;
                self.known.insert(uid, Known { flags, at });
            }
        }
        if let (Some(modseq), true, None) = (fetched.modseq, is_live, fetched.flags) {
            let known = message.history.iter().any(|(had, _)| *had == modseq);
            ensure!(known, "UID {uid}: MODSEQ {modseq} is none of {:?}", message.history);
        }
        Ok(uid)
    }

    /// A message is recent in one session only (RFC 3501 §2.3.2).
    fn check_recent(&self, recent: bool, owner: &mut Owner) -> Verdict {
        match (recent, *owner) {
            (true, Owner::View(other)) if other != self.id => Err("\\Recent in a second session".to_owned()),
            (false, Owner::View(own)) if own == self.id => Err("\\Recent is gone".to_owned()),
            (true, _) => {
                *owner = Owner::View(self.id);
                Ok(())
            }
            (false, _) => Ok(()),
        }
    }
}

/// The latest place in a history, from `known` on, that has these flags and this mod-sequence.
fn place(history: &[(u64, u8)], known: usize, flags: u8, modseq: Option<u64>) -> Option<usize> {
    (known..history.len()).rev().find(|&at| {
        let (had, what) = history[at];
        what == flags && modseq.is_none_or(|modseq| modseq == had)
    })
}

/// The names of flags.
pub fn names(flags: u8) -> Vec<&'static str> {
    (0..FLAGS.len()).filter(|bit| flags & (1 << bit) != 0).map(|bit| FLAGS[bit]).collect()
}
