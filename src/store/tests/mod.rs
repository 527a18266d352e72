//! The store as its callers see it. A second [`Store`] on the same directory stands for a second worker process: it
//! shares nothing with the first but the files.

mod backup;
mod changes;
mod check;
mod compact;
mod crash;
mod faults;
mod golden;
mod life;
mod mailboxes;
mod power;
mod sharing;
mod simulated;
mod views;

use std::sync::Arc;

use super::*;

pub(super) struct Deaf;

impl ChangeListener for Deaf {
    fn changed(&self, _: &UserName, _: MailboxId, _: ModSeq) {}
}

/// A directory that goes away; in memory where that is to be had, since it is the simulated disk that fails.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A store in a directory that goes away.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { dir: scratch() }
    }

    fn open(&self) -> Store {
        self.open_with(|_| ())
    }

    fn open_with(&self, set: impl FnOnce(&mut Options)) -> Store {
        let mut options = Options::new(self.dir.path());
        set(&mut options);
        Store::open(options, Arc::new(Deaf)).unwrap()
    }

    fn ada(&self) -> Arc<User> {
        self.open().user(&ada()).unwrap()
    }

    fn ada_dir(&self) -> std::path::PathBuf {
        path::user_dir(self.dir.path(), &ada())
    }
}

fn ada() -> UserName {
    UserName::new("ada").unwrap()
}

fn uid(n: u32) -> Uid {
    Uid::new(n).unwrap()
}

fn uids(range: std::ops::RangeInclusive<u32>) -> UidSet {
    UidSet::from_ranges([(uid(*range.start()), uid(*range.end()))])
}

fn body(n: usize) -> Vec<u8> {
    format!("From: ada@example.com\r\nSubject: number {n}\r\n\r\nThe body of message {n}.\r\n").into_bytes()
}

fn flags(system: Flags, keywords: &[&str]) -> FlagList {
    FlagList { system, keywords: keywords.iter().map(|name| Keyword::new(name).unwrap()).collect() }
}

fn message(user: &User, bytes: &[u8], flags: FlagList) -> NewMessage {
    let mut upload = user.upload();
    upload.write(bytes).unwrap();
    NewMessage { body: upload, flags, internal_date: None }
}

fn append(user: &Arc<User>, mailbox: &str, n: usize) -> u32 {
    let new = message(user, &body(n), FlagList::default());
    user.append(mailbox, vec![new], None).unwrap().uids.first().unwrap().get()
}

fn append_many(user: &Arc<User>, mailbox: &str, count: usize) {
    let new: Vec<_> = (1..=count).map(|n| message(user, &body(n), FlagList::default())).collect();
    user.append(mailbox, new, None).unwrap();
}

fn select(user: &Arc<User>, mailbox: &str) -> Selected {
    user.select(mailbox, Access::ReadWrite, true).unwrap()
}

fn add(view: &mut Selected, uids: &UidSet, what: FlagList) -> Stored {
    view.store(uids, FlagChange::Add, &what, None).unwrap()
}

fn delete(view: &mut Selected, uids: &UidSet) {
    add(view, uids, flags(Flags::DELETED, &[]));
    view.expunge(Some(uids)).unwrap();
}

/// All that a mailbox shows, in words.
fn contents(user: &Arc<User>, mailbox: &str) -> Vec<String> {
    let view = user.select(mailbox, Access::ReadOnly, false).unwrap();
    let mut messages = Vec::new();
    view.messages(&view.uids().to_set(), Uid::MIN, usize::MAX, &mut messages).unwrap();
    messages.retain(|message| view.uids().contains(message.uid));
    messages.iter().map(|message| in_words(&view, message)).collect()
}

fn in_words(view: &Selected, message: &Message) -> String {
    let mut bytes = Vec::new();
    view.read(message, 0..u64::MAX, &mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or("-").to_owned();
    let meta = view.meta(message).unwrap();
    assert!(
        String::from_utf8_lossy(meta.envelope()).contains(&subject),
        "the Meta record belongs to another message"
    );
    let keywords: Vec<_> = message.keywords.iter().filter_map(|index| view.keywords().name(index)).collect();
    format!("{} {subject} {:?} {keywords:?} modseq {}", message.uid, message.flags, message.modseq)
}

#[test]
fn what_was_appended_is_read_back_by_another_process() {
    let place = Place::new();
    let one = place.ada();
    let mut rich = message(&one, &body(1), flags(Flags::SEEN | Flags::FLAGGED, &["$Junk", "Work"]));
    rich.internal_date = Some(InternalDate { timestamp: 1_000_000_000, offset_minutes: -300 });
    let appended =
        one.append("INBOX", vec![rich, message(&one, &body(2), FlagList::default())], None).unwrap();
    assert_eq!(appended.uids, uids(1..=2));

    let two = place.ada();
    assert_eq!(contents(&one, "INBOX"), contents(&two, "INBOX"));
    let view = select(&two, "inbox");
    let mut messages = Vec::new();
    view.messages(&view.uids().to_set(), Uid::MIN, 9, &mut messages).unwrap();
    let first = &messages[0];
    assert_eq!(first.flags, Flags::SEEN | Flags::FLAGGED);
    assert_eq!(view.keywords().names().collect::<Vec<_>>(), ["$Junk", "Work"]);
    assert_eq!(first.internal_date, InternalDate { timestamp: 1_000_000_000, offset_minutes: -300 });
    assert_eq!(first.size as usize, body(1).len());
    let mut part = b"> ".to_vec();
    view.read(first, 6..9, &mut part).unwrap();
    assert_eq!(part, b"> ada");
    view.read(first, 10_000..20_000, &mut part).unwrap();
    assert_eq!(part, b"> ada", "nothing is behind the end");
}

#[test]
fn a_large_message_goes_to_a_file_while_it_arrives() {
    let place = Place::new();
    let one = place.ada();
    let text = [b"Subject: large\r\n\r\n".to_vec(), b"0123456789abcde\n".repeat(40_000)].concat();
    let mut upload = one.upload();
    for chunk in text.chunks(10_000) {
        upload.write(chunk).unwrap();
    }
    let files = || std::fs::read_dir(place.ada_dir().join("blob")).unwrap().count();
    assert_eq!(files(), 1, "on disk before it is complete");
    let abandoned = {
        let mut other = one.upload();
        other.write(&text).unwrap();
        files()
    };
    assert_eq!((abandoned, files()), (2, 1), "an upload that is given up leaves nothing");
    one.append(
        "INBOX",
        vec![NewMessage { body: upload, flags: FlagList::default(), internal_date: None }],
        None,
    )
    .unwrap();

    let view = select(&place.ada(), "INBOX");
    let mut messages = Vec::new();
    view.messages(&view.uids().to_set(), Uid::MIN, 9, &mut messages).unwrap();
    let mut back = Vec::new();
    view.read(&messages[0], 0..u64::MAX, &mut back).unwrap();
    assert!(back == text);
}

/// Uploads that say how long they will be, one byte in.
fn begun(user: &User, bytes: u64) -> Upload {
    let mut upload = user.upload().expecting(bytes);
    upload.write(b"x").unwrap();
    upload
}

#[test]
fn an_announced_length_decides_where_a_message_goes() {
    let place = Place::new();
    let user = place.ada();
    let files = || std::fs::read_dir(place.ada_dir().join("blob")).unwrap().count();
    let inline = begun(&user, limits::INLINE_MAX as u64);
    assert_eq!(files(), 0);
    let large = begun(&user, limits::INLINE_MAX as u64 + 1);
    assert_eq!(files(), 1, "from its first byte on");
    drop((inline, large));
}

#[test]
fn memory_for_what_arrives_has_bounds_for_a_user_and_for_a_worker() {
    let place = Place::new();
    let (user, whole) = (place.ada(), limits::INLINE_MAX as u64);
    let files = || std::fs::read_dir(place.ada_dir().join("blob")).unwrap().count();
    let fit = limits::INLINE_TOTAL_MAX / limits::INLINE_MAX;
    let mut held: Vec<_> = (0..fit).map(|_| begun(&user, whole)).collect();
    assert_eq!(files(), 0);
    held.push(begun(&user, 1));
    assert_eq!(files(), 1, "the user has no more room");
    held.clear();
    assert_eq!(files(), 0);
    let all = &user.shared.arriving;
    all.fetch_add(limits::MAX_ARRIVING, std::sync::atomic::Ordering::Relaxed);
    held.push(begun(&user, limits::SMALL as u64));
    assert_eq!(files(), 0, "small messages stay in memory");
    held.push(begun(&user, limits::SMALL as u64 + 1));
    assert_eq!(files(), 1, "the worker has room for no others");
    held.clear();
    assert_eq!(all.load(std::sync::atomic::Ordering::Relaxed), limits::MAX_ARRIVING, "all is given back");
}

#[test]
fn an_upload_beyond_the_limit_is_refused() {
    let place = Place::new();
    let user = place.open_with(|options| options.tuning.max_message = 100).user(&ada()).unwrap();
    let mut upload = user.upload();
    upload.write(&[b'x'; 100]).unwrap();
    assert!(matches!(upload.write(b"x"), Err(Error::Refused(Refusal::TooBig))));
}

#[test]
fn the_log_goes_on_in_the_next_segment() {
    let place = Place::new();
    let small = |place: &Place| place.open_with(|options| options.segment_size = 4096).user(&ada()).unwrap();
    let (one, two) = (small(&place), small(&place));
    for n in 1..=40 {
        append(if n % 2 == 0 { &one } else { &two }, "INBOX", n);
    }
    let segments = std::fs::read_dir(place.ada_dir().join("log")).unwrap().count();
    assert!(segments > 3, "{segments} segments");
    let expected = contents(&one, "INBOX");
    assert_eq!(expected.len(), 40);
    assert_eq!(contents(&two, "INBOX"), expected);
    assert_eq!(contents(&small(&place), "INBOX"), expected);
}

#[test]
fn two_processes_never_give_the_same_uid() {
    let place = Place::new();
    let users: Vec<_> = (0..4).map(|_| place.ada()).collect();
    std::thread::scope(|scope| {
        for user in &users {
            scope.spawn(|| {
                for n in 0..25 {
                    append(user, "INBOX", n);
                }
            });
        }
    });
    let view = select(&users[0], "INBOX");
    assert_eq!(view.exists(), 100);
    assert_eq!(*view.uids(), uids(1..=100));
}
