//! Each command: its text, what it does to the reference, and what has to be answered.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::client::Reply;

use super::case::{Case, News, number_in};
use super::line::{Fetched, numbers, set_of};
use super::op::{Action, DELETED, How, NAMES, Resync, SEEN, Set};
use super::session::{Allowed, Heard, names};
use super::{Verdict, ensure};

/// What may be told during a command that names messages by number.
pub(super) const NO_EXPUNGE: Allowed = Allowed { expunge: false, earlier: false, bare_flags: false };
/// What may be told during any other.
pub(super) const ANY: Allowed = Allowed { expunge: true, earlier: false, bare_flags: false };

/// A set of messages in a command.
pub(super) struct Named {
    pub(super) text: String,
    /// Messages of the view.
    pub(super) uids: Vec<u32>,
    /// All UIDs, in the view or not.
    pub(super) asked: BTreeSet<u32>,
}

impl Case<'_> {
    pub(super) fn act(&mut self, number: usize, action: &Action) -> Verdict {
        match action {
            Action::Select { mailbox, examine, resync } => self.select(number, *mailbox, *examine, *resync),
            Action::Close => self.close(number),
            Action::Unselect => self.unselect(number),
            Action::Noop => self.noop(number),
            Action::Idle => self.start_idle(number),
            Action::Reconnect(kind) => self.reconnect(number, *kind),
            Action::Append { mailbox, flags } => self.append(number, *mailbox, flags),
            Action::Store { uid, set, how, silent, flags, since } => {
                self.store(number, *uid, set, (*how, *flags), *silent, *since)
            }
            Action::Expunge(set) => self.expunge(number, set.as_ref()),
            Action::Copy { uid, set, mailbox, moves } => self.copy(number, *uid, set, *mailbox, *moves),
            Action::Fetch { uid, set, items, since, vanished } => {
                self.fetch(number, *uid, set, *items, *since, *vanished)
            }
            Action::Search { uid, key, returns } => self.search(number, *uid, key, *returns),
            Action::Status(mailbox) => self.status(number, *mailbox),
            Action::Create(name) => self.create(number, *name),
            Action::Delete(name) => self.delete(number, *name),
            Action::Rename(from, to) => self.rename(number, *from, *to),
        }
    }

    pub(super) fn noop(&mut self, number: usize) -> Verdict {
        let reply = self.exchange(number, "NOOP")?;
        expect(&reply, "OK")?;
        self.conclude(number, &reply, &[], ANY, News::All).map(|_| ())
    }

    fn select(&mut self, number: usize, name: usize, examine: bool, resync: Resync) -> Verdict {
        let had_view = self.view(number).is_some();
        self.remember(number);
        let target = self.truth.names[name];
        let session = &self.sessions[number];
        let memory = target.filter(|_| session.kind.has_qresync()).and_then(|at| session.memory.get(&at));
        let memory = memory.filter(|_| resync != Resync::No).cloned();
        let verb = if examine { "EXAMINE" } else { "SELECT" };
        let parameter = memory.as_ref().map_or(String::new(), |memory| {
            let uids: Vec<u32> = memory.flags.keys().copied().collect();
            format!(" (QRESYNC ({} {}{}))", memory.validity, memory.modseq, known_uids(&uids, resync))
        });
        let reply = self.exchange(number, format!("{verb} {}{parameter}", NAMES[name]))?;
        let Some(mailbox) = target else {
            expect(&reply, "NO")?;
            return self.conclude(number, &reply, &[], ANY, News::No).map(|_| ());
        };
        expect(&reply, if examine { "OK [READ-ONLY]" } else { "OK [READ-WRITE]" })?;
        let mut view = self.next_view(mailbox, examine);
        view.fill(&self.truth.boxes[mailbox]);
        self.sessions[number].view = Some(view);
        let allowed = Allowed { earlier: memory.is_some(), ..NO_EXPUNGE };
        let heard = self.conclude(number, &reply, &[mailbox], allowed, News::All)?;
        ensure!(heard.codes.iter().any(|code| code == "CLOSED") == had_view, "CLOSED, or not");
        self.check_selected(number, &heard)?;
        match memory {
            Some(memory) => self.check_resync(mailbox, memory.flags, memory.modseq, &heard),
            None => Ok(()),
        }
    }

    fn check_selected(&mut self, number: usize, heard: &Heard) -> Verdict {
        let session = &mut self.sessions[number];
        let rev2 = session.kind.is_rev2();
        let Some(view) = &mut session.view else { return Ok(()) };
        let mailbox = &self.truth.boxes[view.mailbox];
        let told = |name: &str| heard.codes.iter().find_map(|code| number_in(code, name));
        ensure!(heard.exists == Some(view.uids.len()), "EXISTS is {:?}", heard.exists);
        ensure!(heard.recent.is_some() != rev2, "RECENT is {:?}", heard.recent);
        let wanted = [
            ("UIDVALIDITY", mailbox.validity.map(u64::from)),
            ("UIDNEXT", Some(u64::from(mailbox.next))),
            ("HIGHESTMODSEQ", Some(mailbox.highest())),
        ];
        for (name, value) in wanted {
            ensure!(told(name) == value, "{name} is {:?} instead of {value:?}", told(name));
        }
        let unseen = mailbox.live().position(|message| message.flags() & SEEN == 0);
        let unseen = unseen.filter(|_| !rev2).map(|at| at as u64 + 1);
        ensure!(told("UNSEEN") == unseen, "UNSEEN is {:?} instead of {unseen:?}", told("UNSEEN"));
        let permanent = heard.code("PERMANENTFLAGS").ok_or("no PERMANENTFLAGS")?;
        let flags: Vec<&str> = permanent.trim_matches(['(', ')']).split(' ').collect();
        for flag in names(if view.read_only { 0 } else { mailbox.keywords }) {
            ensure!(flags.contains(&flag), "{flag} is not in PERMANENTFLAGS ({flags:?})");
        }
        ensure!(flags.contains(&"\\*") != view.read_only, "PERMANENTFLAGS {flags:?}");
        Ok(())
    }

    /// What a client makes of its memory and the answer is what is there (RFC 7162 §3.2.5).
    fn check_resync(
        &self,
        mailbox: usize,
        mut known: BTreeMap<u32, u8>,
        since: u64,
        heard: &Heard,
    ) -> Verdict {
        let mailbox = &self.truth.boxes[mailbox];
        for uid in heard.earlier.iter().flatten() {
            ensure!(!mailbox.is_live(*uid), "VANISHED (EARLIER) of UID {uid}, which is there");
            known.remove(uid);
        }
        for (uid, fetched) in &heard.fetched {
            ensure!(fetched.modseq > Some(since), "UID {uid} has not changed since {since}");
            known.insert(*uid, fetched.flags.map_or(0, |(flags, _)| flags));
        }
        // Known UIDs keep new ones out of the answer; the client fetches those by itself.
        for message in mailbox.live() {
            known.entry(message.uid).or_insert(message.flags());
        }
        let real: BTreeMap<u32, u8> = mailbox.live().map(|message| (message.uid, message.flags())).collect();
        ensure!(known == real, "the client makes {known:?} of it, there is {real:?}");
        Ok(())
    }

    fn close(&mut self, number: usize) -> Verdict {
        let reply = self.exchange(number, "CLOSE")?;
        let Some(view) = self.view(number) else { return expect(&reply, "BAD") };
        expect(&reply, "OK")?;
        let (mailbox, uids, read_only) = (view.mailbox, view.uids.clone(), view.read_only);
        let gone = if read_only { Vec::new() } else { self.truth.expunge(mailbox, &uids) };
        let heard = self.conclude(number, &reply, &[mailbox], NO_EXPUNGE, News::No)?;
        if let Some(view) = self.sessions[number].view.as_mut().filter(|view| !view.read_only) {
            view.known.retain(|_, known| known.flags & DELETED == 0);
        }
        self.remember(number);
        let told = heard.codes.iter().any(|code| code.starts_with("HIGHESTMODSEQ"));
        let wanted = !gone.is_empty() && self.sessions[number].kind.has_qresync();
        ensure!(told == wanted, "HIGHESTMODSEQ in the answer to CLOSE: {told}");
        Ok(())
    }

    /// With QRESYNC, what removes messages answers with HIGHESTMODSEQ (RFC 7162 §3.2.7).
    fn check_highest(&self, number: usize, mailbox: usize, heard: &Heard, removed: bool) -> Verdict {
        let told = heard.codes.iter().find_map(|code| number_in(code, "HIGHESTMODSEQ"));
        let highest = self.truth.boxes[mailbox].highest();
        let wanted = (removed && self.sessions[number].kind.has_qresync()).then_some(highest);
        ensure!(told == wanted, "HIGHESTMODSEQ is {told:?} instead of {wanted:?}");
        Ok(())
    }

    fn unselect(&mut self, number: usize) -> Verdict {
        let reply = self.exchange(number, "UNSELECT")?;
        expect(&reply, if self.view(number).is_some() { "OK" } else { "BAD" })?;
        self.remember(number);
        self.conclude(number, &reply, &[], NO_EXPUNGE, News::No).map(|_| ())
    }

    fn append(&mut self, number: usize, name: usize, flags: &[u8]) -> Verdict {
        let messages: Vec<(u8, usize)> = flags.iter().map(|flags| (*flags, self.truth.compose())).collect();
        let mut command = format!("APPEND {}", NAMES[name]).into_bytes();
        for (flags, body) in &messages {
            let body = &self.truth.bodies[*body];
            command.extend(format!(" ({}) {{{}+}}\r\n", names(*flags).join(" "), body.len()).bytes());
            command.extend(body);
        }
        let reply = self.exchange(number, command)?;
        let Some(mailbox) = self.truth.names[name] else {
            expect(&reply, "NO [TRYCREATE]")?;
            return self.conclude(number, &reply, &[], ANY, News::No).map(|_| ());
        };
        expect(&reply, "OK [APPENDUID")?;
        let uids = self.truth.append(mailbox, &messages);
        let heard = self.conclude(number, &reply, &[mailbox], ANY, News::All)?;
        let told: Vec<&str> = heard.code("APPENDUID").unwrap_or_default().split(' ').collect();
        let validity = self.truth.boxes[mailbox].validity.unwrap_or_default().to_string();
        ensure!(told == [validity.as_str(), set_of(uids.iter().copied()).as_str()], "APPENDUID is {told:?}");
        Ok(())
    }

    fn store(
        &mut self,
        number: usize,
        uid: bool,
        set: &Set,
        (how, flags): (How, u8),
        silent: bool,
        since: Option<usize>,
    ) -> Verdict {
        let Some(named) = self.named(number, uid, set) else { return Ok(()) };
        let Some(view) = self.view(number) else { return Ok(()) };
        let (mailbox, read_only, before) = (view.mailbox, view.read_only, view.uids.clone());
        let since = since.map(|pick| self.modseq(mailbox, pick));
        let command = format!(
            "{}STORE {} {}{}{} ({})",
            if uid { "UID " } else { "" },
            named.text,
            since.map_or(String::new(), |since| format!("(UNCHANGEDSINCE {since}) ")),
            how.name(),
            if silent { ".SILENT" } else { "" },
            names(flags).join(" "),
        );
        let reply = self.exchange(number, command)?;
        let allowed = if uid { ANY } else { NO_EXPUNGE };
        if read_only {
            expect(&reply, "NO [READ-ONLY]")?;
            return self.conclude(number, &reply, &[], allowed, News::No).map(|_| ());
        }
        expect(&reply, "OK")?;
        self.sessions[number].condstore |= since.is_some();
        let spared = self.truth.store(mailbox, &named.uids, how, flags, since);
        let live = |uid: &u32| self.truth.boxes[mailbox].is_live(*uid);
        let done: Vec<u32> =
            named.uids.iter().copied().filter(|uid| live(uid) && !spared.contains(uid)).collect();
        if silent {
            self.believe(number, &done, how, flags);
        }
        let heard =
            self.conclude(number, &reply, &[mailbox], allowed, if uid { News::All } else { News::Some })?;
        self.check_stored(number, &done, silent, &heard)?;
        self.check_modified(mailbox, uid, &before, &spared, &heard)
    }

    /// A client that asks for silence takes it that its own change is all that has happened.
    fn believe(&mut self, number: usize, uids: &[u32], how: How, flags: u8) {
        let Some(view) = &mut self.sessions[number].view else { return };
        for uid in uids {
            if let Some(known) = view.known.get_mut(uid) {
                known.flags = how.apply(known.flags, flags);
            }
        }
    }

    fn check_stored(&self, number: usize, done: &[u32], silent: bool, heard: &Heard) -> Verdict {
        let condstore = self.sessions[number].condstore;
        for uid in done {
            let answered = |wanted: fn(&Fetched) -> bool| {
                heard.fetched.iter().any(|(told, fetched)| told == uid && wanted(fetched))
            };
            ensure!(silent || answered(|fetched| fetched.flags.is_some()), "no FLAGS for UID {uid}");
            ensure!(!condstore || answered(|fetched| fetched.modseq.is_some()), "no MODSEQ for UID {uid}");
        }
        Ok(())
    }

    /// MODIFIED names all that were spared; of expunged ones it may name any.
    fn check_modified(
        &self,
        mailbox: usize,
        uid: bool,
        before: &[u32],
        spared: &BTreeSet<u32>,
        heard: &Heard,
    ) -> Verdict {
        let told =
            heard.code("MODIFIED").map_or(Some(Vec::new()), numbers).ok_or("MODIFIED without a set")?;
        let told: Option<BTreeSet<u32>> = match uid {
            true => Some(told.into_iter().collect()),
            false => told.into_iter().map(|seq| before.get(seq as usize - 1).copied()).collect(),
        };
        let told = told.ok_or("MODIFIED names a message that is not there")?;
        let live: BTreeSet<u32> =
            told.into_iter().filter(|uid| self.truth.boxes[mailbox].is_live(*uid)).collect();
        ensure!(live == *spared, "MODIFIED names {live:?} instead of {spared:?}");
        Ok(())
    }

    fn expunge(&mut self, number: usize, set: Option<&Set>) -> Verdict {
        let named = set.and_then(|set| self.named(number, true, set));
        let Some(view) = self.view(number) else { return Ok(()) };
        let (mailbox, read_only) = (view.mailbox, view.read_only);
        let among = named.as_ref().map_or_else(|| view.uids.clone(), |named| named.uids.clone());
        let command = named.map_or("EXPUNGE".to_owned(), |named| format!("UID EXPUNGE {}", named.text));
        let reply = self.exchange(number, command)?;
        if read_only {
            expect(&reply, "NO [READ-ONLY]")?;
            return self.conclude(number, &reply, &[], ANY, News::No).map(|_| ());
        }
        expect(&reply, "OK")?;
        let gone = self.truth.expunge(mailbox, &among);
        let heard = self.conclude(number, &reply, &[mailbox], ANY, News::All)?;
        self.check_highest(number, mailbox, &heard, !gone.is_empty())
    }

    fn copy(&mut self, number: usize, uid: bool, set: &Set, name: usize, moves: bool) -> Verdict {
        let Some(named) = self.named(number, uid, set) else { return Ok(()) };
        let Some(view) = self.view(number) else { return Ok(()) };
        let (from, read_only) = (view.mailbox, view.read_only);
        let verb = if moves { "MOVE" } else { "COPY" };
        let prefix = if uid { "UID " } else { "" };
        let reply = self.exchange(number, format!("{prefix}{verb} {} {}", named.text, NAMES[name]))?;
        let to = self.truth.names[name];
        let is_gone = named.uids.iter().all(|uid| !self.truth.boxes[from].is_live(*uid));
        let refusal = match to {
            _ if moves && read_only => Some("NO [READ-ONLY]"),
            None => Some("NO [TRYCREATE]"),
            _ if is_gone && !named.uids.is_empty() => Some("NO [EXPUNGEISSUED]"),
            _ => None,
        };
        let (Some(to), None) = (to, refusal) else {
            expect(&reply, refusal.unwrap_or("NO"))?;
            return self.conclude(number, &reply, &[], ANY, News::No).map(|_| ());
        };
        expect(&reply, "OK")?;
        let (source, target) = self.truth.transfer(from, &named.uids, to, moves);
        let heard = self.conclude(number, &reply, &[from, to], ANY, News::All)?;
        let told = heard.code("COPYUID");
        let validity = self.truth.boxes[to].validity.unwrap_or_default();
        let copied = !source.is_empty();
        let wanted = copied.then(|| format!("{validity} {} {}", set_of(source), set_of(target)));
        ensure!(told == wanted.as_deref(), "COPYUID is {told:?} instead of {wanted:?}");
        self.check_highest(number, from, &heard, moves && copied)
    }

    fn status(&mut self, number: usize, name: usize) -> Verdict {
        let command = format!(
            "STATUS {} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ)",
            NAMES[name]
        );
        let reply = self.exchange(number, command)?;
        let Some(mailbox) = self.truth.names[name] else {
            expect(&reply, "NO")?;
            return self.conclude(number, &reply, &[], ANY, News::No).map(|_| ());
        };
        expect(&reply, "OK")?;
        self.sessions[number].condstore = true;
        let heard = self.conclude(number, &reply, &[], ANY, News::All)?;
        let (told_name, told) = heard.status.ok_or("no STATUS")?;
        let mailbox = &self.truth.boxes[mailbox];
        let size: usize = mailbox.live().map(|message| self.truth.bodies[message.body].len()).sum();
        let wanted = [
            ("MESSAGES", mailbox.live().count() as u64),
            ("UIDNEXT", u64::from(mailbox.next)),
            ("UIDVALIDITY", u64::from(mailbox.validity.unwrap_or_default())),
            ("UNSEEN", mailbox.count(SEEN, false) as u64),
            ("DELETED", mailbox.count(DELETED, true) as u64),
            ("SIZE", size as u64),
            ("HIGHESTMODSEQ", mailbox.highest()),
        ];
        ensure!(told_name == NAMES[name], "STATUS of {told_name}");
        for (item, value) in wanted {
            let told = told.iter().find(|(name, _)| name == item).map(|(_, value)| *value);
            ensure!(told == Some(value), "STATUS says {item} {told:?} instead of {value}");
        }
        Ok(())
    }

    fn create(&mut self, number: usize, name: usize) -> Verdict {
        let reply = self.exchange(number, format!("CREATE {}", NAMES[name]))?;
        if self.truth.names[name].is_some() {
            expect(&reply, "NO [ALREADYEXISTS]")?;
            return self.conclude(number, &reply, &[], ANY, News::No).map(|_| ());
        }
        expect(&reply, "OK")?;
        self.truth.create(name);
        let new = self.truth.boxes.len() - 1;
        self.conclude(number, &reply, &[new], ANY, News::All)?;
        self.check_validity(new)
    }

    /// A name's next mailbox has another UIDVALIDITY; here it is greater than all before.
    fn check_validity(&self, new: usize) -> Verdict {
        let (older, newest) = (&self.truth.boxes[..new], &self.truth.boxes[new]);
        let older = older.iter().filter_map(|mailbox| mailbox.validity).max();
        ensure!(newest.validity > older, "UIDVALIDITY {:?} after {older:?}", newest.validity);
        Ok(())
    }

    fn delete(&mut self, number: usize, name: usize) -> Verdict {
        let reply = self.exchange(number, format!("DELETE {}", NAMES[name]))?;
        let Some(mailbox) = self.truth.names[name] else {
            expect(&reply, "NO [NONEXISTENT]")?;
            return self.conclude(number, &reply, &[], ANY, News::No).map(|_| ());
        };
        expect(&reply, "OK")?;
        if self.view(number).is_some_and(|view| view.mailbox == mailbox) {
            self.sessions[number].view = None;
        }
        self.truth.delete(name);
        self.conclude(number, &reply, &[], ANY, News::All).map(|_| ())
    }

    fn rename(&mut self, number: usize, from: usize, to: usize) -> Verdict {
        let reply = self.exchange(number, format!("RENAME {} {}", NAMES[from], NAMES[to]))?;
        let Some(source) = self.truth.names[from].filter(|_| self.truth.names[to].is_none()) else {
            expect(&reply, "NO")?;
            return self.conclude(number, &reply, &[], ANY, News::No).map(|_| ());
        };
        expect(&reply, "OK")?;
        self.truth.rename(from, to);
        let touched = [Some(source), self.truth.names[to]].map(|at| at.unwrap_or(source));
        self.conclude(number, &reply, &touched, ANY, News::All).map(|_| ())
    }

    /// The messages of a set; `None` where nothing can be named.
    pub(super) fn named(&self, number: usize, uid: bool, set: &Set) -> Option<Named> {
        let view = self.view(number)?;
        if set.saved {
            let uids: Vec<u32> = view.uids.iter().copied().filter(|uid| view.saved.contains(uid)).collect();
            return Some(Named { text: "$".to_owned(), asked: uids.iter().copied().collect(), uids });
        }
        let most = if uid { view.frontier as usize + 1 } else { view.uids.len() };
        let star = set.star && !view.uids.is_empty();
        let largest = if uid { view.uids.last().map_or(1, |uid| *uid as usize) } else { view.uids.len() };
        if most == 0 {
            return None;
        }
        let (mut texts, mut asked) = (Vec::new(), BTreeSet::new());
        for (at, (first, last)) in set.parts.iter().enumerate() {
            let (first, last) = (first % most + 1, last % most + 1);
            let star = star && at + 1 == set.parts.len();
            let last = if star { largest } else { last };
            texts.push(format!("{first}:{}", if star { "*".to_owned() } else { last.to_string() }));
            asked.extend((first.min(last)..=first.max(last)).map(|number| number as u32));
        }
        let is_named = |(at, known): (usize, &u32)| {
            let number = if uid { *known } else { at as u32 + 1 };
            asked.contains(&number).then_some(*known)
        };
        let uids = view.uids.iter().enumerate().filter_map(is_named).collect();
        Some(Named { text: texts.join(","), uids, asked })
    }

    /// One of the last values that HIGHESTMODSEQ has had.
    pub(super) fn modseq(&self, mailbox: usize, pick: usize) -> u64 {
        let highs = &self.truth.boxes[mailbox].highs;
        highs.iter().rev().nth(pick % highs.len().max(1)).copied().unwrap_or(1)
    }
}

/// The last arguments of QRESYNC: known UIDs, and some of them with their numbers.
fn known_uids(uids: &[u32], resync: Resync) -> String {
    if uids.is_empty() || matches!(resync, Resync::No | Resync::Modseq) {
        return String::new();
    }
    let set = set_of(uids.iter().copied());
    if resync == Resync::KnownUids {
        return format!(" {set}");
    }
    let places: BTreeSet<usize> = [0, uids.len() / 2, uids.len() - 1].into();
    let seqs = set_of(places.iter().map(|at| *at as u32 + 1));
    format!(" {set} ({seqs} {})", set_of(places.iter().map(|at| uids[*at])))
}

pub(super) fn expect(reply: &Reply, status: &str) -> Verdict {
    ensure!(reply.status.starts_with(status), "expected {status}, came {}", reply.status);
    Ok(())
}
