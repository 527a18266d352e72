//! A random life of one user in two processes, written down step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::rc::Rc;

use super::compact::{GRACE, now, pass};
use super::simulated::{Call, Mood, Simulated, Verdict, Whim};
use super::*;

/// Segments end after so many bytes, so that a life has several.
const SEGMENT: u32 = 6000;

/// Bytes of a journal's files, so that a life turns from one to the other often.
const JOURNAL: u64 = 5000;

/// All that clients of a user can see, counters apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sight {
    pub mailboxes: BTreeMap<String, Shown>,
    pub subscriptions: BTreeSet<String>,
}

/// A mailbox and its messages, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub id: MailboxId,
    pub uid_validity: u32,
    pub uses: u16,
    pub recent: u32,
    pub keywords: Vec<String>,
    pub messages: Vec<String>,
}

/// The greatest numbers that anybody has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub uid_next: BTreeMap<u128, u64>,
    pub modseq: BTreeMap<u128, ModSeq>,
    pub uid_validity: u32,
}

/// One command of a life, and what was there behind it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub what: String,
    /// Calls of the disk before it began, and before it answered.
    pub began: usize,
    pub answered: usize,
    /// Its answer promised that it is on stable storage, and so all before it.
    pub durable: bool,
    pub sight: Rc<Sight>,
    pub seen: Rc<Seen>,
}

/// Opens the user in a process of its own, without a housekeeper: the life decides when it syncs.
pub(super) fn open(root: &Path, disk: Arc<Simulated>) -> Result<(Store, Arc<User>)> {
    open_with(root, disk, SEGMENT)
}

/// As [`open`], with segments of this size.
pub(super) fn open_with(root: &Path, disk: Arc<Simulated>, segment_size: u32) -> Result<(Store, Arc<User>)> {
    let mut options = Options::new(root);
    options.segment_size = segment_size;
    options.disk = disk;
    (options.min_garbage, options.clock) = (0, now);
    options.journal = journal::Bounds { others: 0, size: JOURNAL };
    let store = Store::open(options, Arc::new(Deaf))?;
    store.close();
    let user = store.user(&ada())?;
    Ok((store, user))
}

/// What a user's clients see, and the numbers that they must never see again.
pub(super) fn look(user: &Arc<User>) -> (Sight, Seen) {
    let tree = user.tree().unwrap();
    let (mut sight, mut seen) = (Sight::default(), Seen::default());
    for entry in tree.mailboxes() {
        let status = user.status(&entry.name).unwrap();
        seen.uid_next.insert(entry.id.0, status.uid_next);
        seen.modseq.insert(entry.id.0, status.highest_modseq);
        seen.uid_validity = seen.uid_validity.max(status.uid_validity);
        let view = user.select(&entry.name, Access::ReadOnly, false).unwrap();
        let shown = Shown {
            id: entry.id,
            uid_validity: status.uid_validity,
            uses: entry.uses.bits(),
            recent: status.recent,
            keywords: view.keywords().names().map(str::to_owned).collect(),
            messages: messages(&view),
        };
        sight.mailboxes.insert(entry.name.clone(), shown);
    }
    sight.subscriptions = tree.subscriptions().clone();
    (sight, seen)
}

fn messages(view: &Selected) -> Vec<String> {
    let mut messages = Vec::new();
    view.messages(&view.uids().to_set(), Uid::MIN, usize::MAX, &mut messages).unwrap();
    messages.retain(|message| view.uids().contains(message.uid));
    messages.iter().map(|message| full_words(view, message)).collect()
}

fn full_words(view: &Selected, message: &Message) -> String {
    let mut bytes = Vec::new();
    view.read(message, 0..u64::MAX, &mut bytes).unwrap();
    let dates = (message.internal_date, message.save_date, message.sent_day);
    format!("{} {dates:?} {} {}", in_words(view, message), message.email, crc32fast::hash(&bytes))
}

/// A sight in lines, to read when a test fails.
pub(super) fn say(sight: &Sight) -> String {
    let mut out = String::new();
    for (name, shown) in &sight.mailboxes {
        let _ = writeln!(out, "  {name} {} recent {} {:?}", shown.uid_validity, shown.recent, shown.keywords);
        shown.messages.iter().for_each(|message| out.push_str(&format!("    {message}\n")));
    }
    let _ = writeln!(out, "  subscribed {:?}", sight.subscriptions);
    out
}

/// What happened, and to which disk.
pub(super) struct Life {
    pub disk: Arc<Simulated>,
    pub steps: Vec<Step>,
}

impl Life {
    pub fn live(seed: u64, commands: usize) -> Life {
        let dir = scratch();
        let disk = Simulated::new(dir.path());
        epoch::begin(&*disk, dir.path(), [b'1'; 36]).unwrap();
        let began = disk.len();
        let processes = [0, 1].map(|_| Process::start(dir.path(), &disk));
        let mut life = Living {
            root: dir.path(),
            disk,
            processes,
            whim: Whim::new(Mood::Wild, seed),
            steps: Vec::new(),
            made: 0,
        };
        life.note("birth".into(), began, true);
        for _ in 0..commands {
            life.command();
        }
        Life { disk: life.disk, steps: life.steps }
    }
}

struct Process {
    disk: Arc<Simulated>,
    user: Arc<User>,
}

impl Process {
    fn start(root: &Path, disk: &Simulated) -> Process {
        let disk = disk.for_another();
        let (_, user) = open(root, disk.clone()).unwrap();
        Process { disk, user }
    }
}

struct Living<'a> {
    root: &'a Path,
    disk: Arc<Simulated>,
    processes: [Process; 2],
    whim: Whim,
    steps: Vec<Step>,
    /// Messages and mailboxes so far.
    made: usize,
}

impl Living<'_> {
    fn command(&mut self) {
        let began = self.disk.len();
        let user = self.processes[self.whim.below(2)].user.clone();
        let mailbox = self.a_mailbox(&user);
        let (what, durable) = match self.whim.below(36) {
            0..5 => self.append(&user, &mailbox, 1),
            5..8 => self.append(&user, &mailbox, 4),
            8..11 => self.transfer(&user, &mailbox, false),
            11..14 => self.transfer(&user, &mailbox, true),
            14..19 => self.store(&user, &mailbox),
            19..21 => self.expunge(&user, &mailbox),
            21..23 => self.create(&user),
            23 => self.rename(&user, &mailbox),
            24 => self.delete(&user, &mailbox),
            25 => self.subscribe(&user, &mailbox),
            26 => {
                drop(select(&user, &mailbox));
                (format!("SELECT {mailbox}"), false)
            }
            27 => (format!("sync {:?}", user.sync_all()), true),
            28..30 => self.snapshot(&user),
            30 => self.restart(),
            31 => self.die_while_writing(&mailbox),
            32..34 => self.compact(),
            34 => self.die_while_compacting(),
            _ => self.restore(&user, &mailbox),
        };
        self.note(what, began, durable);
    }

    fn compact(&mut self) -> (String, bool) {
        let which = self.whim.below(2);
        pass([1, 40][self.whim.below(2)] * 3600);
        let done = self.processes[which].user.compact(GRACE).unwrap();
        (format!("compaction {done:?}"), true)
    }

    /// A process dies somewhere on its way.
    fn die_while_compacting(&mut self) -> (String, bool) {
        let which = self.whim.below(2);
        let Process { disk, user } = &self.processes[which];
        let (disk, user) = (disk.clone(), user.clone());
        let mut left = self.whim.below(24);
        disk.trouble(move |_| {
            left = left.saturating_sub(1);
            if left == 0 { Verdict::Dead } else { Verdict::Pass }
        });
        pass(40 * 3600);
        let done = user.compact(GRACE);
        self.processes[which] = Process::start(self.root, &self.disk);
        (format!("died while compacting: {done:?}"), false)
    }

    fn restore(&mut self, user: &Arc<User>, mailbox: &str) -> (String, bool) {
        let restored = user.restore(Some(mailbox), GRACE).unwrap();
        (format!("restored {restored:?}"), !restored.is_empty())
    }

    /// Both processes see the same, and it is written down.
    fn note(&mut self, what: String, began: usize, durable: bool) {
        let answered = self.disk.len();
        let (sight, mut seen) = look(&self.processes[0].user);
        let (other, _) = look(&self.processes[1].user);
        assert!(sight == other, "after {what} one process sees\n{}and one\n{}", say(&sight), say(&other));
        if let Some(last) = self.steps.last() {
            last.seen.uid_next.iter().for_each(|(id, next)| {
                let next = seen.uid_next.get(id).copied().unwrap_or(0).max(*next);
                seen.uid_next.insert(*id, next);
            });
            seen.uid_validity = seen.uid_validity.max(last.seen.uid_validity);
        }
        let (sight, seen) = (Rc::new(sight), Rc::new(seen));
        self.steps.push(Step { what, began, answered, durable, sight, seen });
    }

    fn a_mailbox(&mut self, user: &User) -> String {
        let tree = user.tree().unwrap();
        let names = tree.mailboxes();
        if self.whim.chance(2) { "INBOX".into() } else { names[self.whim.below(names.len())].name.clone() }
    }

    fn a_name(&mut self) -> String {
        self.made += 1;
        let parent = ["", "Work/", "Entwürfe/a/"][self.whim.below(3)];
        format!("{parent}box {}", self.made)
    }

    fn some_flags(&mut self) -> FlagList {
        let system = [Flags::SEEN, Flags::DELETED, Flags::FLAGGED | Flags::DRAFT, Flags::default()]
            [self.whim.below(4)];
        let keywords: &[&str] = [&[][..], &["$Junk"], &["$Label1", "Work"], &[]][self.whim.below(4)];
        flags(system, keywords)
    }

    fn some_uids(&mut self, view: &Selected) -> UidSet {
        view.uids().iter().filter(|_| self.whim.chance(3)).collect()
    }

    fn a_message(&mut self, user: &User) -> NewMessage {
        self.made += 1;
        let mut bytes = body(self.made);
        let lines = if self.whim.chance(40) { 36_000 } else { self.whim.below(40) };
        bytes.extend(b"one more line\r\n".repeat(lines));
        let flags = self.some_flags();
        message(user, &bytes, flags)
    }

    fn append(&mut self, user: &Arc<User>, mailbox: &str, count: usize) -> (String, bool) {
        let messages: Vec<_> = (0..count).map(|_| self.a_message(user)).collect();
        let appended = user.append(mailbox, messages, None).unwrap();
        assert_eq!(appended.uids.len() as usize, count);
        (format!("APPEND {mailbox} {count}"), self.may_settle(user))
    }

    fn transfer(&mut self, user: &Arc<User>, mailbox: &str, moves: bool) -> (String, bool) {
        let target = self.a_mailbox(user);
        let mut view = select_quietly(user, mailbox);
        let uids = self.some_uids(&view);
        if moves { view.move_to(&uids, &target) } else { view.copy(&uids, &target) }.unwrap();
        let name = if moves { "MOVE" } else { "COPY" };
        (format!("{name} {mailbox} {uids:?} {target}"), !uids.is_empty() && self.may_settle(user))
    }

    /// Mostly a session answers at once; sometimes its next command has come already, and one sync will do for both.
    fn may_settle(&mut self, user: &Arc<User>) -> bool {
        let settles = !self.whim.chance(4);
        if settles {
            // Through the log's own sync, or through the journal, where nobody else is at it.
            let waiter = self.made.is_multiple_of(2).then_some(Waiter(1));
            assert!(user.settle(&user.log_end().unwrap(), waiter).unwrap());
        }
        settles
    }

    fn store(&mut self, user: &Arc<User>, mailbox: &str) -> (String, bool) {
        let mut view = select_quietly(user, mailbox);
        let uids = self.some_uids(&view);
        let how = [FlagChange::Add, FlagChange::Remove, FlagChange::Replace][self.whim.below(3)];
        let flags = self.some_flags();
        view.store(&uids, how, &flags, None).unwrap();
        (format!("STORE {mailbox} {uids:?} {how:?} {flags:?}"), false)
    }

    fn expunge(&mut self, user: &Arc<User>, mailbox: &str) -> (String, bool) {
        let gone = select_quietly(user, mailbox).expunge(None).unwrap().count;
        (format!("EXPUNGE {mailbox}"), gone > 0 && self.may_settle(user))
    }

    fn create(&mut self, user: &Arc<User>) -> (String, bool) {
        let name = self.a_name();
        user.create(&name, SpecialUses::NONE).unwrap();
        (format!("CREATE {name}"), true)
    }

    fn rename(&mut self, user: &Arc<User>, mailbox: &str) -> (String, bool) {
        let name = self.a_name();
        user.rename(mailbox, &name).unwrap();
        (format!("RENAME {mailbox} {name}"), true)
    }

    fn delete(&mut self, user: &Arc<User>, mailbox: &str) -> (String, bool) {
        let deleted = user.delete(mailbox).is_ok();
        (format!("DELETE {mailbox}"), deleted)
    }

    fn subscribe(&mut self, user: &Arc<User>, mailbox: &str) -> (String, bool) {
        let on = !user.tree().unwrap().subscriptions().contains(mailbox);
        user.subscribe(mailbox, on).unwrap();
        (format!("SUBSCRIBE {mailbox} {on}"), true)
    }

    fn snapshot(&mut self, user: &Arc<User>) -> (String, bool) {
        user.known().unwrap().state.since_snapshot = u64::MAX / 2;
        user.save_snapshot().unwrap();
        ("snapshot".into(), true)
    }

    fn restart(&mut self) -> (String, bool) {
        let which = self.whim.below(2);
        self.processes[which] = Process::start(self.root, &self.disk);
        ("restart".into(), false)
    }

    /// A process dies in the middle of a write; the kernel keeps what it had taken.
    fn die_while_writing(&mut self, mailbox: &str) -> (String, bool) {
        let which = self.whim.below(2);
        let Process { disk, user } = &self.processes[which];
        let (disk, user) = (disk.clone(), user.clone());
        let new = self.a_message(&user);
        let part = self.whim.below(900);
        disk.trouble(move |call| match call {
            Call::Write => Verdict::Short(part, libc::EIO),
            _ => Verdict::Dead,
        });
        assert!(user.append(mailbox, vec![new], None).is_err());
        self.processes[which] = Process::start(self.root, &self.disk);
        (format!("died after {part} bytes"), false)
    }
}

/// A view whose session does not take `\Recent`.
pub(super) fn select_quietly(user: &Arc<User>, mailbox: &str) -> Selected {
    user.select(mailbox, Access::ReadWrite, false).unwrap()
}
