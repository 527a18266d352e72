//! One case: a user of its own, clients spread over the workers, and an observer that reads the truth after each
//! change. One command at a time, so that what has to happen is known exactly.

use std::collections::{BTreeMap, HashMap};

use crate::common::client::{Client, Reply};
use crate::common::server::Server;
use crate::common::wire::Received;

use super::act::ANY;
use super::line::{self, Fetched, Line};
use super::op::{Kind, Op, SESSIONS};
use super::session::{Allowed, Heard, Memory, Session, View};
use super::truth::{Owner, Truth};
use super::{Verdict, ensure};

/// Bytes of a line that the dialogue shows.
const SHOWN: usize = 400;

/// What a client is told at the end of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    No,
    /// All but EXPUNGE.
    Some,
    All,
}

pub struct Case<'a> {
    server: &'a Server,
    user: String,
    pub sessions: Vec<Session>,
    observer: Client,
    pub truth: Truth,
    /// `C1: …` and `S1: …`.
    pub dialogue: Vec<String>,
    views: u64,
}

impl<'a> Case<'a> {
    /// The clients are of these kinds.
    pub fn new(server: &'a Server, user: &str, kinds: [Kind; SESSIONS]) -> Verdict<Self> {
        let mut case = Case {
            server,
            user: user.to_owned(),
            sessions: Vec::new(),
            observer: server.login(user),
            truth: Truth::new(),
            dialogue: Vec::new(),
            views: 0,
        };
        case.observer.ok("CREATE box");
        for kind in kinds {
            let session = case.connect(case.sessions.len(), kind, HashMap::new())?;
            case.sessions.push(session);
        }
        case.observe(&[0, 1])?;
        Ok(case)
    }

    /// Carries out an operation and judges all that comes of it, at all clients.
    pub fn perform(&mut self, op: &Op) -> Verdict {
        self.end_idle(op.session)?;
        if self.is_doomed(op.session) {
            self.see_the_end(op.session)?;
        }
        self.act(op.session, &op.action)?;
        self.tell_idlers()
    }

    /// Every client looks once more; all have to see the same.
    pub fn finish(&mut self) -> Verdict {
        for number in 0..SESSIONS {
            self.end_idle(number)?;
            if self.is_doomed(number) {
                self.see_the_end(number)?;
            }
            self.noop(number)?;
        }
        Ok(())
    }

    fn connect(&mut self, number: usize, kind: Kind, memory: HashMap<usize, Memory>) -> Verdict<Session> {
        let mut client = self.server.login(&self.user);
        self.dialogue.push(format!("   (client {number} connects as {kind:?})"));
        if kind != Kind::Plain {
            client.ok(format!("ENABLE {}", kind.extensions()));
        }
        Ok(Session::new(client, kind, memory))
    }

    pub fn reconnect(&mut self, number: usize, kind: Kind) -> Verdict {
        self.remember(number);
        let memory = std::mem::take(&mut self.sessions[number].memory);
        self.sessions[number] = self.connect(number, kind, memory)?;
        Ok(())
    }

    /// A client with QRESYNC keeps what it knows of the mailbox that it leaves.
    pub fn remember(&mut self, number: usize) {
        let session = &mut self.sessions[number];
        let Some(view) = session.view.take().filter(|_| session.kind.has_qresync()) else { return };
        if let Some(validity) = self.truth.boxes[view.mailbox].validity {
            let flags = view.known.iter().map(|(uid, known)| (*uid, known.flags)).collect();
            session.memory.insert(view.mailbox, Memory { validity, modseq: view.complete, flags });
        }
    }

    pub fn next_view(&mut self, mailbox: usize, read_only: bool) -> View {
        self.views += 1;
        View::new(self.views, mailbox, read_only)
    }

    pub fn view(&self, number: usize) -> Option<&View> {
        self.sessions[number].view.as_ref()
    }

    /// Sends a command and waits for its end.
    pub fn exchange(&mut self, number: usize, command: impl AsRef<[u8]>) -> Verdict<Reply> {
        self.note('C', number, command.as_ref());
        let reply = self.sessions[number].client.try_command(command);
        let reply = reply.ok_or("the connection ended, or nothing came")?;
        reply.untagged.iter().for_each(|line| self.note('S', number, line));
        self.note('S', number, format!("OK/NO/BAD: {}", reply.status).as_bytes());
        Ok(reply)
    }

    fn note(&mut self, who: char, number: usize, line: &[u8]) {
        let shown = line[..line.len().min(SHOWN)].escape_ascii().to_string().replace("\\\\", "\\");
        self.dialogue.push(format!("{who}{number}: {shown}"));
    }

    /// Judges a reply after the reference has changed: the observer finds what the reference says, each line is allowed,
    /// and afterwards the client knows what it has to.
    pub fn conclude(
        &mut self,
        number: usize,
        reply: &Reply,
        touched: &[usize],
        allowed: Allowed,
        news: News,
    ) -> Verdict<Heard> {
        let news = if reply.status.starts_with("OK") { news } else { News::No };
        self.claim_recent(number, touched, news);
        self.observe(touched)?;
        let mut heard = Heard::default();
        for line in &reply.untagged {
            self.sessions[number].hear(line::read(line)?, &mut self.truth, allowed, &mut heard)?;
        }
        if let Some(code) = reply.status.split_once('[').and_then(|(_, rest)| rest.split(']').next()) {
            heard.codes.push(code.to_owned());
        }
        if let Some(view) = &mut self.sessions[number].view {
            view.take_modseqs(&heard);
        }
        self.settle(number, news)?;
        Ok(heard)
    }

    fn settle(&mut self, number: usize, news: News) -> Verdict {
        let Some(view) = self.sessions[number].view.as_mut().filter(|_| news != News::No) else {
            return Ok(());
        };
        let mailbox = &self.truth.boxes[view.mailbox];
        let live = mailbox.live_uids();
        let missing: Vec<&u32> = live.iter().filter(|uid| !view.uids.contains(uid)).collect();
        ensure!(missing.is_empty(), "the client was not told of UIDs {missing:?}");
        view.knows_flags(mailbox)?;
        view.frontier = mailbox.next;
        if news == News::All {
            ensure!(view.uids == live, "the client sees {:?}, there are {live:?}", view.uids);
        }
        Ok(())
    }

    /// Who takes what nobody has as `\Recent`: the session that looks, unless one in IDLE may be faster.
    fn claim_recent(&mut self, number: usize, touched: &[usize], news: News) {
        let own = self.view(number).map(|view| (view.mailbox, view.id));
        let own = own.filter(|_| news != News::No && self.sessions[number].claims_recent());
        let mut mailboxes: Vec<usize> = touched.to_vec();
        mailboxes.extend(own.map(|(mailbox, _)| mailbox));
        for mailbox in mailboxes {
            let mut candidates = self.idlers_of(mailbox);
            candidates.extend(own.filter(|(open, _)| *open == mailbox).map(|(_, id)| id));
            let owner = match candidates.as_slice() {
                [] => continue,
                [only] => Owner::View(*only),
                _ => Owner::Somebody,
            };
            for message in self.truth.boxes[mailbox].all.iter_mut() {
                if message.owner == Owner::Nobody && message.gone.is_none() {
                    message.owner = owner;
                }
            }
        }
    }

    /// Views of clients in IDLE that take what is recent.
    fn idlers_of(&self, mailbox: usize) -> Vec<u64> {
        let idlers = self.sessions.iter().filter(|session| session.idle.is_some() && session.claims_recent());
        let views = idlers.filter_map(|session| session.view.as_ref());
        views.filter(|view| view.mailbox == mailbox).map(|view| view.id).collect()
    }

    /// Reads mailboxes as a stranger sees them, learns mod-sequences, and compares.
    pub fn observe(&mut self, mailboxes: &[usize]) -> Verdict {
        for &mailbox in mailboxes {
            if let Some(name) = self.truth.name_of(mailbox) {
                self.observe_one(mailbox, name).map_err(|error| format!("an observer of {name}: {error}"))?;
            }
        }
        Ok(())
    }

    fn observe_one(&mut self, mailbox: usize, name: &str) -> Verdict {
        let opened = self.observer.ok(format!("EXAMINE {name}"));
        let fetched = self.observer.ok("UID FETCH 1:* (UID FLAGS MODSEQ)");
        self.observer.ok("UNSELECT");
        let mut highest = 0;
        for line in &opened.untagged {
            if let Line::Ok(code) = line::read(line)? {
                self.compare_code(mailbox, &code)?;
                highest = number_in(&code, "HIGHESTMODSEQ").unwrap_or(highest);
            }
        }
        let mut found = BTreeMap::new();
        for line in &fetched.untagged {
            if let Line::Fetch(fetched) = line::read(line)? {
                found.insert(fetched.uid.unwrap_or_default(), fetched);
            }
        }
        let live = self.truth.boxes[mailbox].live_uids();
        ensure!(
            found.keys().copied().eq(live.iter().copied()),
            "there are {:?} instead of {live:?}",
            found.keys()
        );
        let is_idle = !self.idlers_of(mailbox).is_empty();
        self.learn(mailbox, &found, highest, is_idle)
    }

    fn compare_code(&mut self, mailbox: usize, code: &str) -> Verdict {
        let mailbox = &mut self.truth.boxes[mailbox];
        if let Some(next) = number_in(code, "UIDNEXT") {
            ensure!(next == u64::from(mailbox.next), "UIDNEXT is {next} instead of {}", mailbox.next);
        }
        if let Some(validity) = number_in(code, "UIDVALIDITY") {
            let known = *mailbox.validity.get_or_insert(validity as u32);
            ensure!(u64::from(known) == validity, "UIDVALIDITY is {validity} instead of {known}");
        }
        Ok(())
    }

    /// Flags are what they have to be; the mod-sequences of changes are higher than all before.
    fn learn(
        &mut self,
        mailbox: usize,
        found: &BTreeMap<u32, Fetched>,
        highest: u64,
        is_idle: bool,
    ) -> Verdict {
        let mailbox = &mut self.truth.boxes[mailbox];
        let before = mailbox.highest();
        ensure!(highest >= before, "HIGHESTMODSEQ goes back from {before} to {highest}");
        for message in &mut mailbox.all {
            if message.gone == Some(u64::MAX) {
                ensure!(highest > before, "HIGHESTMODSEQ is {highest} as before an expunge");
                message.gone = Some(highest);
            }
            let Some(seen) = found.get(&message.uid) else { continue };
            let uid = message.uid;
            let (Some((flags, recent)), Some(modseq)) = (seen.flags, seen.modseq) else {
                return Err(format!("UID {uid} without flags or MODSEQ"));
            };
            let (had, should) = message.history.last_mut().ok_or("a message without flags")?;
            let (real, wanted) = (super::session::names(flags), super::session::names(*should));
            ensure!(flags == *should, "UID {uid} has the flags {real:?} instead of {wanted:?}");
            match *had {
                0 => ensure!(modseq > before, "UID {uid} changed, and MODSEQ is {modseq}, not over {before}"),
                had => {
                    ensure!(modseq == had, "UID {uid} did not change, and MODSEQ went from {had} to {modseq}")
                }
            }
            ensure!(modseq <= highest, "UID {uid}: MODSEQ {modseq} is over HIGHESTMODSEQ {highest}");
            *had = modseq;
            let taken = message.owner != Owner::Nobody;
            ensure!(!(recent && taken && !is_idle), "UID {uid} is \\Recent again");
            ensure!(recent || taken, "UID {uid} is not \\Recent any more, and nobody has seen it");
        }
        if highest > before {
            mailbox.highs.push(highest);
        }
        Ok(())
    }

    /// Whether another client has deleted the selected mailbox.
    pub fn is_doomed(&self, number: usize) -> bool {
        self.view(number).is_some_and(|view| self.truth.boxes[view.mailbox].is_deleted)
    }

    /// The server says BYE when it notices.
    fn see_the_end(&mut self, number: usize) -> Verdict {
        self.note('C', number, b"NOOP");
        self.sessions[number].client.start("NOOP");
        self.expect_bye(number)?;
        let kind = self.sessions[number].kind;
        self.sessions[number].view = None;
        self.reconnect(number, kind)
    }

    fn expect_bye(&mut self, number: usize) -> Verdict {
        loop {
            match self.sessions[number].client.wire().receive() {
                Received::Response(line) => {
                    self.note('S', number, &line);
                    if line.starts_with(b"* BYE") {
                        return Ok(());
                    }
                    ensure!(line.starts_with(b"* "), "the selected mailbox is deleted, and there is no BYE");
                }
                other => return Err(format!("expected BYE, came {other:?}")),
            }
        }
    }

    pub fn start_idle(&mut self, number: usize) -> Verdict {
        self.note('C', number, b"IDLE");
        let tag = self.sessions[number].client.start("IDLE");
        match self.sessions[number].client.wire().receive() {
            Received::Response(line) if line.starts_with(b"+") => self.note('S', number, &line),
            other => return Err(format!("expected a continuation, came {other:?}")),
        }
        self.claim_recent(number, &[], News::All);
        self.sessions[number].idle = Some(tag);
        Ok(())
    }

    fn end_idle(&mut self, number: usize) -> Verdict {
        let Some(tag) = self.sessions[number].idle.take() else { return Ok(()) };
        if self.is_doomed(number) {
            return Ok(());
        }
        self.note('C', number, b"DONE");
        self.sessions[number].client.wire().send("DONE\r\n");
        let reply = self.sessions[number].client.reply(&tag).ok_or("no answer to DONE")?;
        reply.untagged.iter().for_each(|line| self.note('S', number, line));
        ensure!(reply.status.starts_with("OK"), "DONE: {}", reply.status);
        self.conclude(number, &reply, &[], ANY, News::All)?;
        Ok(())
    }

    /// Every client in IDLE hears of what has changed, without a word of its own.
    fn tell_idlers(&mut self) -> Verdict {
        for number in 0..SESSIONS {
            let Some(view) = self.view(number).filter(|_| self.sessions[number].idle.is_some()) else {
                continue;
            };
            if self.truth.boxes[view.mailbox].is_deleted {
                self.expect_bye(number)?;
                self.sessions[number].idle = None;
                self.sessions[number].view = None;
                let kind = self.sessions[number].kind;
                self.reconnect(number, kind)?;
                continue;
            }
            self.hear_idle(number)?;
        }
        Ok(())
    }

    fn hear_idle(&mut self, number: usize) -> Verdict {
        let mut heard = Heard::default();
        loop {
            let session = &mut self.sessions[number];
            let Some(view) = &session.view else { return Ok(()) };
            if view.is_settled(&self.truth.boxes[view.mailbox]) {
                return Ok(());
            }
            match session.client.wire().receive() {
                Received::Response(line) => {
                    self.note('S', number, &line);
                    let read = line::read(&line)?;
                    self.sessions[number].hear(read, &mut self.truth, ANY, &mut heard)?;
                }
                other => return Err(format!("client {number} waits in IDLE for news, and has {other:?}")),
            }
        }
    }
}

/// The number in `NAME 12`.
pub fn number_in(code: &str, name: &str) -> Option<u64> {
    code.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()
}
