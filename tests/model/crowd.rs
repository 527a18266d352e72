//! All clients at once, each in a thread of its own. Nobody knows in which order the commands come, so that each client
//! holds the server to what must be true in any: numbers stay until they may shift, mod-sequences grow, and in the end
//! all see the same, without anything lost or doubled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::common::client::{Client, Reply};
use crate::common::server::Server;

use super::case::number_in;
use super::line::{self, Fetched, Line, numbers};
use super::op::{Action, DELETED, Items, Kind, Op, SESSIONS, Set};
use super::session::names;
use super::{Verdict, ensure};

/// What all clients together were told.
#[derive(Default)]
pub struct Records {
    /// Messages by what APPEND said, with their numbers.
    appended: BTreeMap<u32, usize>,
    /// UIDs that COPY and MOVE gave, with the UIDs that they were made of.
    copied: BTreeMap<u32, u32>,
    expunged: BTreeSet<u32>,
    /// The most expunges that one client was told of before it knew the UID.
    unnamed: usize,
    dialogue: Vec<String>,
}

/// A client that knows what it has been told, and no more.
struct Member<'a> {
    number: usize,
    kind: Kind,
    client: Client,
    /// UIDs by sequence number, as far as the client knows them.
    view: Vec<Option<u32>>,
    /// The last flags and the highest mod-sequence of each message.
    told: BTreeMap<u32, (u8, u64)>,
    records: &'a Mutex<Records>,
    appended: usize,
    unnamed: usize,
    /// HIGHESTMODSEQ as the client has it (RFC 7162 §6), and what came since the last tagged response.
    highest: u64,
    heard_modseq: u64,
    heard_code: Option<u64>,
}

/// Plays all operations of all clients at once, in one mailbox, and compares.
pub fn play(server: &Server, user: &str, kinds: [Kind; SESSIONS], ops: &[Op]) -> Verdict {
    let records = Mutex::new(Records::default());
    let members: Vec<Member<'_>> = kinds
        .into_iter()
        .enumerate()
        .map(|(number, kind)| Member::new(server, user, number, kind, &records))
        .collect::<Verdict<_>>()?;
    let played = std::thread::scope(|scope| {
        let threads: Vec<_> =
            members.into_iter().map(|member| scope.spawn(move || member.play(server, user, ops))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a client panicked")?)
            .collect::<Verdict<Vec<_>>>()
    });
    let verdict = played.and_then(|members| compare(members, server, user, &records));
    verdict.map_err(|error| format!("{}\n{error}", records.lock().expect("the records").dialogue.join("\n")))
}

/// In the end all clients know the same, and it is what the commands have made.
fn compare(mut members: Vec<Member<'_>>, server: &Server, user: &str, records: &Mutex<Records>) -> Verdict {
    let mut fresh = Member::new(server, user, SESSIONS, Kind::Condstore, records)?;
    let truth = fresh.read_all()?;
    for member in &mut members {
        let number = member.number;
        member.command("NOOP", true)?;
        for (uid, (flags, _)) in &truth {
            if let Some((told, _)) = member.told.get(uid) {
                ensure!(
                    told == flags,
                    "client {number} was told {:?} of UID {uid}, it has {:?}",
                    names(*told),
                    names(*flags)
                );
            }
        }
        let seen = member.read_all()?;
        ensure!(seen == truth, "client {number} reads {seen:?}, another {truth:?}");
    }
    let records = records.lock().map_err(|_| "a client panicked")?;
    let made: BTreeSet<u32> = records.appended.keys().chain(records.copied.keys()).copied().collect();
    let left: BTreeSet<u32> = made.difference(&records.expunged).copied().collect();
    let real: BTreeSet<u32> = truth.keys().copied().collect();
    let (lost, returned): (Vec<_>, Vec<_>) =
        (left.difference(&real).collect(), real.difference(&left).collect());
    ensure!(returned.is_empty(), "{returned:?} nobody made, or are there again");
    ensure!(lost.len() <= records.unnamed, "{lost:?} are gone, and nobody has expunged them");
    check_bodies(&mut fresh, &records)
}

/// A copy has the bytes of its origin, and that those that were sent.
fn check_bodies(fresh: &mut Member<'_>, records: &Records) -> Verdict {
    for (uid, body) in fresh.client.bodies("INBOX") {
        let mut origin = uid;
        while let Some(before) = records.copied.get(&origin) {
            origin = *before;
        }
        let number = records.appended.get(&origin).ok_or_else(|| format!("UID {uid} came from nowhere"))?;
        ensure!(body == message(*number), "UID {uid} is not message {number}");
    }
    Ok(())
}

fn connect(server: &Server, user: &str, kind: Kind) -> Client {
    let mut client = server.login(user);
    if kind != Kind::Plain {
        client.ok(format!("ENABLE {}", kind.extensions()));
    }
    client
}

fn message(number: usize) -> Vec<u8> {
    format!("Subject: {number}\r\n\r\nmessage {number}\r\n").into_bytes()
}

impl<'a> Member<'a> {
    fn new(
        server: &Server,
        user: &str,
        number: usize,
        kind: Kind,
        records: &'a Mutex<Records>,
    ) -> Verdict<Self> {
        let mut member = Member {
            number,
            kind,
            client: connect(server, user, kind),
            view: Vec::new(),
            told: BTreeMap::new(),
            records,
            appended: 0,
            unnamed: 0,
            highest: 0,
            heard_modseq: 0,
            heard_code: None,
        };
        member.command("SELECT INBOX", false)?;
        Ok(member)
    }

    fn play(mut self, server: &Server, user: &str, ops: &[Op]) -> Verdict<Self> {
        self.command("UID FETCH 1:* (UID FLAGS)", true)?;
        let number = self.number;
        for op in ops.iter().filter(|op| op.session == number) {
            match &op.action {
                Action::Reconnect(_) if self.kind.has_qresync() => self.come_back(server, user)?,
                action => self.act(action)?,
            }
        }
        Ok(self)
    }

    /// The connection is lost. What the client remembers, with what QRESYNC tells it, is the mailbox; the flags that it
    /// believes are compared in the end.
    fn come_back(&mut self, server: &Server, user: &str) -> Verdict {
        if self.view.contains(&None) {
            self.command("UID FETCH 1:* (UID FLAGS)", true)?;
        }
        if self.view.contains(&None) || self.view.is_empty() {
            return Ok(());
        }
        let validity = self.validity()?;
        let memory: BTreeSet<u32> = std::mem::take(&mut self.view).into_iter().flatten().collect();
        self.client = connect(server, user, self.kind);
        let reply = self.command(format!("SELECT INBOX (QRESYNC ({validity} {}))", self.highest), false)?;
        let mut known = memory.clone();
        for line in &reply.untagged {
            if let Line::Vanished(uids, true) = line::read(line)? {
                known.retain(|uid| !uids.contains(uid));
            }
        }
        known.extend(self.view.iter().flatten());
        self.told.retain(|uid, _| known.contains(uid));
        let gone: Vec<u32> = memory.difference(&known).copied().collect();
        self.record(|records| records.expunged.extend(gone))?;
        ensure!(
            known.len() == self.view.len(),
            "the client makes {known:?} of it, and there are {}",
            self.view.len()
        );
        let agrees = known.iter().zip(&self.view).all(|(known, told)| told.is_none_or(|told| told == *known));
        ensure!(agrees, "the client makes {known:?} of it, and was told {:?}", self.view);
        self.view = known.into_iter().map(Some).collect();
        Ok(())
    }

    fn validity(&mut self) -> Verdict<u64> {
        let reply = self.client.ok("STATUS INBOX (UIDVALIDITY)");
        self.hear_all(&reply.untagged, true)?;
        let items = reply.untagged.iter().find_map(|line| match line::read(line) {
            Ok(Line::Status(_, items)) => Some(items),
            _ => None,
        });
        items.and_then(|items| Some(items.first()?.1)).ok_or_else(|| "no UIDVALIDITY".to_owned())
    }

    /// The operations that make sense within one mailbox.
    fn act(&mut self, action: &Action) -> Verdict {
        match action {
            Action::Append { flags, .. } => self.append(flags.first().copied().unwrap_or_default()),
            Action::Store { uid, set, how, silent, flags, .. } => {
                let Some(set) = self.named(*uid, set) else { return Ok(()) };
                let (prefix, silent) = (if *uid { "UID " } else { "" }, if *silent { ".SILENT" } else { "" });
                let text =
                    format!("{prefix}STORE {set} {}{silent} ({})", how.name(), names(*flags).join(" "));
                // What a silent change has made of flags, the client may not know: it forgets them.
                self.told.clear();
                self.command(text, *uid).map(|_| ())
            }
            Action::Expunge(set) => {
                let set = set.as_ref().and_then(|set| self.named(true, set));
                self.command(set.map_or("EXPUNGE".to_owned(), |set| format!("UID EXPUNGE {set}")), true)
                    .map(|_| ())
            }
            Action::Copy { uid, set, moves, .. } => self.copy(*uid, set, *moves),
            Action::Fetch { uid, set, items, .. } => {
                let Some(set) = self.named(*uid, set) else { return Ok(()) };
                let items = if *items == Items::Body { Items::Peek } else { *items };
                let prefix = if *uid { "UID " } else { "" };
                self.command(format!("{prefix}FETCH {set} {}", items.text()), *uid).map(|_| ())
            }
            Action::Search { uid, .. } => {
                let prefix = if *uid { "UID " } else { "" };
                self.command(format!("{prefix}SEARCH DELETED"), *uid).map(|_| ())
            }
            Action::Idle => self.idle(),
            _ => self.command("NOOP", true).map(|_| ()),
        }
    }

    fn append(&mut self, flags: u8) -> Verdict {
        let number = self.number * 1000 + self.appended;
        self.appended += 1;
        let body = message(number);
        let mut command =
            format!("APPEND INBOX ({}) {{{}+}}\r\n", names(flags & !DELETED).join(" "), body.len())
                .into_bytes();
        command.extend(body);
        let reply = self.command(command, true)?;
        let uid = reply.status.split(']').next().and_then(|code| code.rsplit(' ').next()?.parse().ok());
        let uid = uid.ok_or_else(|| format!("APPEND: {}", reply.status))?;
        let doubled = self.record(|records| records.appended.insert(uid, number))?;
        ensure!(doubled.is_none(), "two messages have UID {uid}");
        Ok(())
    }

    fn copy(&mut self, uid: bool, set: &Set, moves: bool) -> Verdict {
        let Some(set) = self.named(uid, set) else { return Ok(()) };
        let prefix = if uid { "UID " } else { "" };
        let verb = if moves { "MOVE" } else { "COPY" };
        let reply = self.command(format!("{prefix}{verb} {set} INBOX"), true)?;
        let untagged = reply.untagged.iter().map(|line| String::from_utf8_lossy(line).into_owned());
        let mut lines = untagged.chain([reply.status.clone()]);
        let code = lines.find_map(|line| Some(line.split_once("[COPYUID ")?.1.split(']').next()?.to_owned()));
        let Some(code) = code else { return Ok(()) };
        let sets: Vec<&str> = code.split(' ').skip(1).collect();
        let [source, target] = sets[..] else { return Err(format!("COPYUID {code}")) };
        let (source, target) = (numbers(source).unwrap_or_default(), numbers(target).unwrap_or_default());
        ensure!(source.len() == target.len() && !source.is_empty(), "COPYUID {code}");
        self.record(|records| {
            records.expunged.extend(source.iter().filter(|_| moves));
            records.copied.extend(target.into_iter().zip(source));
        })
    }

    fn idle(&mut self) -> Verdict {
        let tag = self.client.start("IDLE");
        self.note(&format!("C{}: IDLE", self.number));
        std::thread::sleep(std::time::Duration::from_millis(2));
        self.client.wire().send("DONE\r\n");
        let reply = self.client.reply(&tag).ok_or("no answer to DONE")?;
        let mut untagged = reply.untagged;
        untagged.retain(|line| !line.starts_with(b"+"));
        self.hear_all(&untagged, true)?;
        self.take_modseqs();
        Ok(())
    }

    /// What a tagged response makes of HIGHESTMODSEQ (RFC 7162 §6).
    fn take_modseqs(&mut self) {
        let told = std::mem::take(&mut self.heard_modseq).max(self.highest);
        self.highest = self.heard_code.take().unwrap_or(told);
    }

    fn command(&mut self, command: impl AsRef<[u8]>, may_expunge: bool) -> Verdict<Reply> {
        let tag = self.client.start(&command);
        self.note(&format!("C{}: {}", self.number, command.as_ref().escape_ascii()));
        let reply = self.client.reply(&tag).ok_or_else(|| format!("no answer to client {}", self.number))?;
        self.hear_all(&reply.untagged, may_expunge)?;
        self.note(&format!("S{}: {}", self.number, reply.status));
        let code = reply.status.split_once("[HIGHESTMODSEQ ").and_then(|(_, rest)| rest.split(']').next());
        self.heard_code = code.and_then(|code| code.parse().ok()).or(self.heard_code);
        self.take_modseqs();
        ensure!(!reply.status.starts_with("BAD"), "{}", reply.status);
        Ok(reply)
    }

    fn hear_all(&mut self, lines: &[Vec<u8>], may_expunge: bool) -> Verdict {
        for line in lines {
            self.note(&format!("S{}: {}", self.number, line.escape_ascii()));
            let heard = self.hear(line::read(line)?, may_expunge);
            heard.map_err(|error| format!("client {}: {error}", self.number))?;
        }
        Ok(())
    }

    fn hear(&mut self, line: Line, may_expunge: bool) -> Verdict {
        match line {
            Line::Expunge(seq) => {
                ensure!(may_expunge && !self.kind.has_qresync(), "EXPUNGE now");
                ensure!((1..=self.view.len()).contains(&seq), "EXPUNGE {seq} of {}", self.view.len());
                match self.view.remove(seq - 1) {
                    Some(uid) => self.expunged(uid)?,
                    None => self.unnamed()?,
                }
            }
            Line::Vanished(uids, false) => {
                ensure!(may_expunge && self.kind.has_qresync(), "VANISHED now");
                for uid in uids {
                    let at =
                        self.place(uid).ok_or_else(|| format!("VANISHED of UID {uid}, which is unknown"))?;
                    self.view.remove(at);
                    self.expunged(uid)?;
                }
            }
            Line::Exists(count) => {
                ensure!(count >= self.view.len(), "EXISTS {count} after {}", self.view.len());
                self.view.resize(count, None);
            }
            Line::Fetch(fetched) => self.hear_fetch(&fetched)?,
            Line::Recent(_) => ensure!(!self.kind.is_rev2(), "RECENT under IMAP4rev2"),
            Line::Ok(code) => self.heard_code = number_in(&code, "HIGHESTMODSEQ").or(self.heard_code),
            Line::Bye => return Err("BYE".to_owned()),
            _ => {}
        }
        Ok(())
    }

    fn expunged(&mut self, uid: u32) -> Verdict {
        self.told.remove(&uid);
        self.record(|records| records.expunged.insert(uid)).map(|_| ())
    }

    /// Where a UID is in the view, or can be: UIDs ascend.
    fn place(&self, uid: u32) -> Option<usize> {
        let known = self.view.iter().position(|known| *known == Some(uid));
        known.or_else(|| {
            let below = self.view.iter().rposition(|known| known.is_some_and(|known| known < uid));
            let from = below.map_or(0, |at| at + 1);
            self.view.get(from)?.is_none().then_some(from)
        })
    }

    fn unnamed(&mut self) -> Verdict {
        self.unnamed += 1;
        let unnamed = self.unnamed;
        self.record(|records| records.unnamed = records.unnamed.max(unnamed))
    }

    fn hear_fetch(&mut self, fetched: &Fetched) -> Verdict {
        self.heard_modseq = self.heard_modseq.max(fetched.modseq.unwrap_or_default());
        let seq = fetched.seq;
        ensure!((1..=self.view.len()).contains(&seq), "FETCH {seq} of {}", self.view.len());
        if let Some(uid) = fetched.uid {
            let known = self.view[seq - 1].replace(uid);
            ensure!(known.is_none_or(|known| known == uid), "message {seq} was {known:?}, and is UID {uid}");
            let in_order = self.view.iter().flatten().is_sorted_by(|one, next| one < next);
            ensure!(in_order, "UIDs do not ascend: {:?}", self.view);
        }
        let (Some(uid), Some((flags, _))) = (self.view[seq - 1], fetched.flags) else { return Ok(()) };
        let before = self.told.get(&uid).map_or(0, |(_, modseq)| *modseq);
        let modseq = fetched.modseq.unwrap_or(before);
        ensure!(modseq >= before, "MODSEQ of UID {uid} goes back from {before} to {modseq}");
        self.told.insert(uid, (flags, modseq));
        Ok(())
    }

    /// Reads all flags anew, and with them the UIDs that the client did not know; every message is told once.
    fn read_all(&mut self) -> Verdict<BTreeMap<u32, (u8, u64)>> {
        let reply = self.command("UID FETCH 1:* (UID FLAGS MODSEQ)", true)?;
        let mut all = BTreeMap::new();
        for line in &reply.untagged {
            if let Line::Fetch(Fetched { uid: Some(uid), flags: Some((flags, _)), modseq, .. }) =
                line::read(line)?
            {
                let doubled = all.insert(uid, (flags, modseq.unwrap_or_default()));
                ensure!(doubled.is_none(), "UID {uid} is told twice");
            }
        }
        ensure!(all.len() == self.view.len(), "{all:?} in a view of {:?}", self.view);
        Ok(all)
    }

    fn named(&self, uid: bool, set: &Set) -> Option<String> {
        let most = if uid { 30 } else { self.view.len() };
        if most == 0 {
            return None;
        }
        let parts = set.parts.iter().map(|(first, last)| format!("{}:{}", first % most + 1, last % most + 1));
        Some(parts.collect::<Vec<_>>().join(","))
    }

    fn record<T>(&self, note: impl FnOnce(&mut Records) -> T) -> Verdict<T> {
        Ok(note(&mut *self.records.lock().map_err(|_| "a client panicked")?))
    }

    fn note(&self, line: &str) {
        if let Ok(mut records) = self.records.lock() {
            records.dialogue.push(line.to_owned());
        }
    }
}
