//! FETCH and SEARCH: what has to be found, and what may be.

use std::collections::BTreeSet;

use super::act::{ANY, NO_EXPUNGE, expect};
use super::case::{Case, News};
use super::line::Found;
use super::op::{FLAGS, Items, Key, Returns, Set};
use super::session::{Allowed, Heard};
use super::truth::Message;
use super::{Verdict, ensure};

/// How SEARCH names flags that are not keywords.
const SEARCH_KEYS: [[&str; 2]; 5] = [
    ["UNANSWERED", "ANSWERED"],
    ["UNFLAGGED", "FLAGGED"],
    ["UNDELETED", "DELETED"],
    ["UNSEEN", "SEEN"],
    ["UNDRAFT", "DRAFT"],
];

impl Case<'_> {
    pub(super) fn fetch(
        &mut self,
        number: usize,
        uid: bool,
        set: &Set,
        items: Items,
        since: Option<usize>,
        vanished: bool,
    ) -> Verdict {
        // Which messages this marks as seen depends on what the worker knows: let it know all.
        if items == Items::Body {
            self.noop(number)?;
        }
        let Some(named) = self.named(number, uid, set) else { return Ok(()) };
        let Some(view) = self.view(number) else { return Ok(()) };
        let (mailbox, read_only, frontier) = (view.mailbox, view.read_only, view.frontier);
        let before = view.uids.clone();
        let since = since.filter(|_| items != Items::Body).map(|pick| self.modseq(mailbox, pick));
        let vanished = vanished && uid && !set.saved && self.sessions[number].kind.has_qresync();
        let modifier = since.map_or(String::new(), |since| {
            format!(" (CHANGEDSINCE {since}{})", if vanished { " VANISHED" } else { "" })
        });
        let prefix = if uid { "UID " } else { "" };
        let command = format!("{prefix}FETCH {} {}{modifier}", named.text, items.text());
        let reply = self.exchange(number, command)?;
        expect(&reply, "OK")?;
        self.sessions[number].condstore |= since.is_some() || items == Items::All;
        if items == Items::Body && !read_only {
            self.truth.mark_seen(mailbox, &named.uids);
        }
        let bare_flags = since.is_none() && matches!(items, Items::Flags | Items::Body);
        let allowed = Allowed { expunge: uid, earlier: vanished && since.is_some(), bare_flags };
        let news = if uid { News::All } else { News::Some };
        let heard = self.conclude(number, &reply, &[mailbox], allowed, news)?;
        self.check_fetched(mailbox, &named.uids, items, since, &heard)?;
        match since.filter(|_| vanished) {
            Some(since) => {
                let missed = |message: &&Message| {
                    message.gone.is_some_and(|gone| gone > since)
                        && message.uid < frontier
                        && named.asked.contains(&message.uid)
                        && !before.contains(&message.uid)
                };
                self.check_earlier(mailbox, &named.asked, missed, &heard)
            }
            None => Ok(()),
        }
    }

    fn check_fetched(
        &self,
        mailbox: usize,
        uids: &[u32],
        items: Items,
        since: Option<u64>,
        heard: &Heard,
    ) -> Verdict {
        let mailbox = &self.truth.boxes[mailbox];
        for (uid, fetched) in &heard.fetched {
            let message = mailbox.message(*uid).ok_or("a message that never was")?;
            let body = &self.truth.bodies[message.body];
            ensure!(fetched.body.as_ref().is_none_or(|told| told == body), "UID {uid} has another body");
            ensure!(fetched.size.is_none_or(|size| size == body.len()), "UID {uid}: RFC822.SIZE");
        }
        for uid in uids {
            let lines = || heard.fetched.iter().filter(|(told, _)| told == uid).map(|(_, fetched)| fetched);
            let has = |name: &&str| lines().any(|line| line.names.iter().any(|known| known == name));
            match since {
                None => {
                    let missing: Vec<_> = items.answered().iter().filter(|name| !has(name)).collect();
                    ensure!(missing.is_empty(), "UID {uid} without {missing:?}");
                }
                Some(since) => {
                    let Some(message) = mailbox.message(*uid).filter(|message| message.gone.is_none()) else {
                        continue;
                    };
                    let modseq = message.modseq();
                    let told = lines().any(|line| line.modseq == Some(modseq));
                    ensure!(told || modseq <= since, "UID {uid} changed at {modseq}, and is left out");
                }
            }
        }
        Ok(())
    }

    fn check_earlier(
        &self,
        mailbox: usize,
        asked: &BTreeSet<u32>,
        missed: impl FnMut(&&Message) -> bool,
        heard: &Heard,
    ) -> Verdict {
        let mailbox = &self.truth.boxes[mailbox];
        let told: BTreeSet<u32> = heard.earlier.iter().flatten().copied().collect();
        for uid in &told {
            ensure!(asked.contains(uid), "VANISHED (EARLIER) of UID {uid}, which was not asked for");
            ensure!(!mailbox.is_live(*uid), "VANISHED (EARLIER) of UID {uid}, which is there");
        }
        let missed: Vec<u32> = mailbox.all.iter().filter(missed).map(|message| message.uid).collect();
        for uid in missed {
            ensure!(told.contains(&uid), "UID {uid} is gone, and VANISHED (EARLIER) is {told:?}");
        }
        Ok(())
    }

    pub(super) fn search(&mut self, number: usize, uid: bool, key: &Key, returns: Returns) -> Verdict {
        // What is saved has to be known exactly.
        if returns == Returns::Save {
            self.noop(number)?;
        }
        let Some(view) = self.view(number) else { return Ok(()) };
        let mailbox = view.mailbox;
        let before = view.uids.clone();
        let Some((text, test)) = self.key(number, key) else { return Ok(()) };
        let (least, most) = self.matches(number, &test);
        let option = match returns {
            Returns::Nothing => "",
            Returns::All => "RETURN (ALL) ",
            Returns::Numbers => "RETURN (MIN MAX COUNT) ",
            Returns::Save => "RETURN (SAVE) ",
        };
        let prefix = if uid { "UID " } else { "" };
        let reply = self.exchange(number, format!("{prefix}SEARCH {option}{text}"))?;
        expect(&reply, "OK")?;
        self.sessions[number].condstore |= matches!(key, Key::Modseq(_));
        let allowed = if uid { ANY } else { NO_EXPUNGE };
        let news = if uid { News::All } else { News::Some };
        let heard = self.conclude(number, &reply, &[mailbox], allowed, news)?;
        if returns == Returns::Save {
            ensure!(heard.found.is_none(), "SAVE alone asks for no answer");
            if let Some(view) = &mut self.sessions[number].view {
                view.saved = least;
            }
            return Ok(());
        }
        let extended = returns != Returns::Nothing || self.sessions[number].kind.is_rev2();
        let found = heard.found.ok_or("no result")?;
        ensure!(found.extended == extended, "the result has the other form");
        ensure!(!extended || found.uid == uid, "the result has UID, or not");
        let told = Told { found: &found, uid, before: &before };
        if returns == Returns::Numbers {
            told.check_numbers(&least, &most)
        } else {
            told.check_all(&least, &most)
        }
    }

    /// Messages of the view that a search has to find, and those that it may find: what others have changed and the
    /// client was not told yet may count as before; so may what is gone.
    fn matches(&self, number: usize, test: &Test) -> (BTreeSet<u32>, BTreeSet<u32>) {
        let (mut least, mut most) = (BTreeSet::new(), BTreeSet::new());
        let Some(view) = self.view(number) else { return (least, most) };
        for uid in &view.uids {
            let Some(message) = self.truth.boxes[view.mailbox].message(*uid) else { continue };
            let known = view.known.get(uid).map_or(0, |known| known.at);
            let states = &message.history[known..];
            let hits = states.iter().filter(|state| test.matches(*uid, state)).count();
            let is_vague = message.gone.is_some() && !matches!(test, Test::Uids(_) | Test::All);
            if hits > 0 || is_vague {
                most.insert(*uid);
            }
            if hits == states.len() && !is_vague {
                least.insert(*uid);
            }
        }
        (least, most)
    }

    fn key(&self, number: usize, key: &Key) -> Option<(String, Test)> {
        let mailbox = self.view(number)?.mailbox;
        Some(match key {
            Key::All => ("ALL".to_owned(), Test::All),
            Key::Flag(at, has) => {
                let text = match SEARCH_KEYS.get(*at) {
                    Some(names) => names[usize::from(*has)].to_owned(),
                    None => format!("{}KEYWORD {}", if *has { "" } else { "UN" }, FLAGS[*at]),
                };
                (text, Test::Flag(1 << at, *has))
            }
            Key::Set(uid, set) => {
                let named = self.named(number, *uid, set)?;
                let prefix = if *uid && !set.saved { "UID " } else { "" };
                (format!("{prefix}{}", named.text), Test::Uids(named.uids.into_iter().collect()))
            }
            Key::Modseq(pick) => {
                let modseq = self.modseq(mailbox, *pick).max(1);
                (format!("MODSEQ {modseq}"), Test::Modseq(modseq))
            }
        })
    }
}

/// A search key as a test of a message's flags at one time.
enum Test {
    All,
    Flag(u8, bool),
    Uids(BTreeSet<u32>),
    Modseq(u64),
}

impl Test {
    fn matches(&self, uid: u32, (modseq, flags): &(u64, u8)) -> bool {
        match self {
            Test::All => true,
            Test::Flag(bit, has) => (flags & bit != 0) == *has,
            Test::Uids(uids) => uids.contains(&uid),
            Test::Modseq(least) => modseq >= least,
        }
    }
}

/// A search result in a view.
struct Told<'a> {
    found: &'a Found,
    uid: bool,
    before: &'a [u32],
}

impl Told<'_> {
    fn uid(&self, number: u32) -> Verdict<u32> {
        if self.uid {
            return Ok(number);
        }
        let uid = (number as usize).checked_sub(1).and_then(|at| self.before.get(at));
        uid.copied().ok_or_else(|| format!("SEARCH finds message {number} of {}", self.before.len()))
    }

    fn check_all(&self, least: &BTreeSet<u32>, most: &BTreeSet<u32>) -> Verdict {
        let found =
            self.found.all.iter().map(|number| self.uid(*number)).collect::<Verdict<BTreeSet<u32>>>()?;
        ensure!(
            least.is_subset(&found) && found.is_subset(most),
            "SEARCH finds {found:?}, not what is between {least:?} and {most:?}"
        );
        Ok(())
    }

    fn check_numbers(&self, least: &BTreeSet<u32>, most: &BTreeSet<u32>) -> Verdict {
        let count = self.found.count.ok_or("no COUNT")? as usize;
        ensure!((least.len()..=most.len()).contains(&count), "COUNT {count}, not {least:?} to {most:?}");
        for bound in [self.found.min, self.found.max].into_iter().flatten() {
            let uid = self.uid(bound)?;
            ensure!(most.contains(&uid), "MIN or MAX is UID {uid}, not of {most:?}");
        }
        let bounds = [self.found.min, self.found.max];
        ensure!(bounds.iter().all(|bound| bound.is_some() == (count > 0)), "MIN and MAX {bounds:?}");
        Ok(())
    }
}
