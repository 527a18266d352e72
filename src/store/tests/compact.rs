//! Making room, and bringing back what went.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::files::{LogFiles, segment_path};
use super::simulated::{Mood, Whim};
use super::upkeep::Upkeep;
use super::*;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
pub(super) const GRACE: Duration = Duration::from_secs(24 * 3600);
/// Segments of these tests.
const SEGMENT: u32 = 1024 * 1024;

thread_local! {
    /// How far the store's clock is ahead; each test has a thread.
    static AHEAD: Cell<i64> = const { Cell::new(0) };
}

/// The clock of a test.
pub(super) fn now() -> i64 {
    user::unix_now() + AHEAD.get()
}

pub(super) fn pass(seconds: i64) {
    AHEAD.set(AHEAD.get() + seconds);
}

fn store(place: &Place) -> Store {
    place.open_with(|options| (options.segment_size, options.clock) = (SEGMENT, now))
}

fn open(place: &Place) -> Arc<User> {
    store(place).user(&ada()).unwrap()
}

/// A user with much to be given back, and who looks after the store.
fn with_garbage(place: &Place) -> (Arc<User>, Keeper) {
    let user = open(place);
    fill(&user, "INBOX", 1, 80, 100_000);
    delete(&mut select(&user, "INBOX"), &uids(21..=80));
    pass(1);
    (user, Keeper::new(store(place)))
}

fn text(n: usize, len: usize) -> Vec<u8> {
    [body(n), b"one more line of a message\r\n".repeat(len / 28)].concat()
}

/// Appends `count` messages of about `len` bytes, numbered from `first` on.
fn fill(user: &Arc<User>, mailbox: &str, first: usize, count: usize, len: usize) {
    for n in first..first + count {
        user.append(mailbox, vec![message(user, &text(n, len), FlagList::default())], None).unwrap();
    }
}

/// Bytes of all files of the user.
fn used(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => used(&entry.path()),
            false => entry.metadata().unwrap().len(),
        })
        .sum()
}

fn live_bytes(user: &User) -> u64 {
    let inner = user.fresh().unwrap();
    let messages = inner.state.mailboxes.values().flat_map(|mailbox| mailbox.live_messages());
    messages.map(|message| u64::from(message.size) + u64::from(message.meta_len)).sum()
}

#[test]
fn space_comes_back_after_the_grace_time_and_not_before() {
    let place = Place::new();
    let user = open(&place);
    fill(&user, "INBOX", 1, 80, 100_000);
    delete(&mut select(&user, "INBOX"), &uids(11..=80));
    let before = used(&place.ada_dir());
    pass(DAY - HOUR);
    let early = user.compact(GRACE).unwrap();
    assert!(
        early.look_again.is_some_and(|at| at > now()) && early.freed == 0 && used(&place.ada_dir()) == before,
        "{early:?}"
    );
    pass(2 * HOUR);
    let expected = contents(&user, "INBOX");
    let done = user.compact(GRACE).unwrap();
    let after = used(&place.ada_dir());
    assert!(after < 2 * live_bytes(&user), "{after} bytes for {} of messages", live_bytes(&user));
    assert!(done.freed > 6_000_000 && before - after >= done.freed - 10_000, "{done:?}");
    assert_eq!(contents(&user, "INBOX"), expected, "who was there before");
    assert_eq!(contents(&open(&place), "INBOX"), expected, "who comes later");
    assert_eq!(user.compact(GRACE).unwrap().written, 0, "there is nothing left to do");
    assert_eq!(append(&user, "INBOX", 81), 81);
}

/// Space that was given up while a user was looked at once stayed taken until the user's log changed again.
#[test]
fn what_is_written_during_a_look_is_looked_at() {
    let place = Place::new();
    let (user, mut keeper) = with_garbage(&place);
    let mut looks = || {
        let looks = Cell::new(0);
        let done = keeper.round(|| Duration::ZERO, |_| looks.set(looks.get() + 1));
        (looks.get(), done.freed > 0)
    };
    assert_eq!(looks(), (1, true));
    pass(2);
    assert_eq!(looks(), (1, false), "somebody may have written meanwhile");
    assert_eq!(looks(), (0, false));

    // The files come to be as long as they were.
    for _ in 0..3 {
        fill(&user, "INBOX", 21, 60, 100_000);
        let view = select(&user, "INBOX");
        let all: Vec<Uid> = view.uids().iter().collect();
        delete(&mut select(&user, "INBOX"), &all[20..].iter().copied().collect());
        pass(1);
        assert!(looks().1, "a user who does the same again");
    }
}

#[test]
fn who_is_looked_after_already_is_looked_at_later() {
    let place = Place::new();
    let (user, mut keeper) = with_garbage(&place);
    let mut frees = || keeper.round(|| Duration::ZERO, |_| ()).freed > 0;
    let other = Upkeep::try_begin(&user).unwrap().unwrap();
    assert!(!frees());
    drop(other);
    assert!(frees());
}

#[test]
fn another_process_reads_on_while_a_segment_goes() {
    let place = Place::new();
    let (one, two) = (open(&place), open(&place));
    fill(&one, "INBOX", 1, 40, 100_000);
    let view = select(&two, "INBOX");
    let mut shown = Vec::new();
    view.messages(&view.uids().to_set(), Uid::MIN, usize::MAX, &mut shown).unwrap();
    let late = open(&place);
    let late_view = select(&late, "INBOX");
    in_words(&view, &shown[1]);
    delete(&mut select(&one, "INBOX"), &uids(2..=39));
    one.compact(Duration::ZERO).unwrap();
    pass(1);
    one.compact(Duration::ZERO).unwrap();
    assert!(!segment_path(&place.ada_dir(), 1).exists());
    in_words(&view, &shown[1]);
    assert!(in_words(&late_view, &shown[0]).contains("number 1"), "what is live is found in the pack");
    let gone = late_view.meta(&shown[1]);
    assert!(matches!(gone, Err(Error::Refused(Refusal::Expunged))), "{gone:?}");
    assert!(matches!(
        late_view.read(&shown[1], 0..9, &mut Vec::new()),
        Err(Error::Refused(Refusal::Expunged))
    ));
    assert_eq!(contents(&late, "INBOX"), contents(&one, "INBOX"));
}

#[test]
fn a_process_that_slept_through_it_all_goes_on_behind_the_checkpoint() {
    let place = Place::new();
    let (one, sleeper) = (open(&place), open(&place));
    fill(&one, "INBOX", 1, 3, 100);
    let mut view = select(&sleeper, "INBOX");
    for round in 0..3 {
        fill(&one, "INBOX", 4, 30, 100_000);
        let mut busy = select(&one, "INBOX");
        add(&mut busy, &uids(1..=1), flags(Flags::FLAGGED, &[&format!("round{round}")]));
        let doomed = one.fresh().unwrap().state.by_name("INBOX").unwrap().live_from(4);
        delete(&mut busy, &doomed);
        pass(DAY + HOUR);
        assert!(one.compact(GRACE).unwrap().freed > 0);
    }
    assert!(!LogFiles::list(&place.ada_dir()).unwrap().segments.contains(&2));
    let changes = view.sync(Expunges::Report).unwrap();
    assert_eq!(changes.flags, uids(1..=1), "{changes:?}");
    assert_eq!(contents(&sleeper, "INBOX"), contents(&one, "INBOX"));
    assert_eq!(append(&sleeper, "INBOX", 9), 94, "it writes, too");
    sleeper.close_removed().unwrap();
    assert_eq!(contents(&sleeper, "INBOX"), contents(&open(&place), "INBOX"));
}

#[test]
fn copies_keep_what_they_share() {
    let place = Place::new();
    let user = open(&place);
    fill(&user, "INBOX", 1, 30, 100_000);
    user.create("Kept", SpecialUses::NONE).unwrap();
    let mut view = select(&user, "INBOX");
    view.copy(&uids(7..=7), "Kept").unwrap();
    view.move_to(&uids(9..=9), "Kept").unwrap();
    delete(&mut view, &uids(1..=30));
    drop(view);
    let (kept, emails) = (contents(&user, "Kept"), emails(&user, "Kept"));
    pass(DAY + HOUR);
    user.compact(GRACE).unwrap();
    assert_eq!(contents(&open(&place), "Kept"), kept);
    assert_eq!(self::emails(&open(&place), "Kept"), emails);
    assert!(used(&place.ada_dir()) < 500_000);
}

fn emails(user: &Arc<User>, mailbox: &str) -> Vec<u64> {
    let view = user.select(mailbox, Access::ReadOnly, false).unwrap();
    let mut messages = Vec::new();
    view.messages(&view.uids().to_set(), Uid::MIN, usize::MAX, &mut messages).unwrap();
    messages.iter().map(|message| message.email).collect()
}

#[test]
fn what_was_expunged_comes_back_once() {
    let place = Place::new();
    let user = open(&place);
    user.create("Other", SpecialUses::NONE).unwrap();
    let dated = InternalDate { timestamp: 1_000_000_000, offset_minutes: -300 };
    let mut first = message(&user, &text(1, 500), flags(Flags::SEEN | Flags::FLAGGED, &["Work"]));
    first.internal_date = Some(dated);
    user.append("INBOX", vec![first], None).unwrap();
    fill(&user, "INBOX", 2, 4, 600_000);
    let mut view = select(&user, "INBOX");
    view.move_to(&uids(5..=5), "Other").unwrap();
    let before = emails(&user, "INBOX");
    delete(&mut view, &uids(1..=3));
    pass(DAY - HOUR);
    let restored = user.restore(Some("inbox"), GRACE).unwrap();
    assert_eq!(restored, [Restored { mailbox: "INBOX".into(), made: false, messages: 3 }]);
    let words = contents(&user, "INBOX");
    assert_eq!(words.len(), 4, "{words:?}");
    assert!(words[1].starts_with("6 number 1 Flags(5) [\"Work\"]"), "{words:?}");
    assert_eq!(emails(&user, "INBOX").into_iter().skip(1).collect::<Vec<_>>(), before[..3]);
    let mut messages = Vec::new();
    let again = select(&user, "INBOX");
    again.messages(&again.uids().to_set(), uid(6), 1, &mut messages).unwrap();
    assert_eq!(messages[0].internal_date, dated);
    assert_eq!(view.sync(Expunges::Report).unwrap().exists, Some(4), "a running session hears of it");
    assert_eq!(user.restore(None, GRACE).unwrap(), [], "it is all there");
}

#[test]
fn a_deleted_mailbox_comes_back_through_a_checkpoint() {
    let place = Place::new();
    let user = open(&place);
    user.create("Trips/2024", SpecialUses::NONE).unwrap();
    fill(&user, "Trips/2024", 1, 3, 200);
    add(&mut select(&user, "Trips/2024"), &uids(2..=2), flags(Flags::FLAGGED, &["$Label1"]));
    delete(&mut select(&user, "Trips/2024"), &uids(1..=1));
    user.delete("Trips/2024").unwrap();
    fill(&user, "INBOX", 1, 40, 100_000);
    delete(&mut select(&user, "INBOX"), &uids(1..=40));
    pass(HOUR);
    // What INBOX lost is out of reach of this one.
    pass(-HOUR);
    user.compact(GRACE).unwrap();
    let mut view = select(&user, "INBOX");
    fill(&user, "INBOX", 41, 1, 10);
    view.sync(Expunges::Report).unwrap();
    pass(2 * HOUR);
    assert!(matches!(user.restore(Some("Never"), GRACE), Err(Error::Refused(Refusal::NonExistent))));
    let restored = user.restore(Some("Trips/2024"), GRACE).unwrap();
    assert_eq!(restored, [Restored { mailbox: "Trips/2024".into(), made: true, messages: 3 }]);
    let words = contents(&open(&place), "Trips/2024");
    assert!(words[0].starts_with("1 number 1 Flags(0)"), "{words:?}");
    assert!(words[1].starts_with("2 number 2 Flags(4) [\"$Label1\"]"), "{words:?}");
}

#[test]
fn what_waits_for_its_grace_time_outlives_a_pass() {
    let place = Place::new();
    let user = open(&place);
    fill(&user, "INBOX", 1, 30, 100_000);
    delete(&mut select(&user, "INBOX"), &uids(1..=27));
    pass(DAY);
    delete(&mut select(&user, "INBOX"), &uids(28..=28));
    user.create("Gone", SpecialUses::NONE).unwrap();
    fill(&user, "Gone", 1, 2, 600_000);
    user.delete("Gone").unwrap();
    pass(HOUR);
    assert!(user.compact(GRACE).unwrap().freed > 2_000_000);
    let fresh = open(&place);
    let restored = fresh.restore(None, GRACE).unwrap();
    let of = |mailbox: &str, made, messages| Restored { mailbox: mailbox.into(), made, messages };
    assert_eq!(restored, [of("Gone", true, 2), of("INBOX", false, 1)]);
    assert!(contents(&fresh, "INBOX").last().unwrap().contains("number 28"));
    assert_eq!(contents(&fresh, "Gone").len(), 2);
    pass(3 * DAY);
    assert_eq!(fresh.restore(None, GRACE).unwrap(), []);
}

#[test]
fn files_that_nobody_names_go_when_they_are_old() {
    let place = Place::new();
    let user = open(&place);
    fill(&user, "INBOX", 1, 2, 600_000);
    let blob = |name: &str| place.ada_dir().join("blob").join(name);
    for name in ["00000000000000aa", "new-0123456789abcdef"] {
        fs::write(blob(name), b"x").unwrap();
    }
    let temporary = place.ada_dir().join("log/0000000001-0000000003.new-1");
    fs::write(&temporary, b"x").unwrap();
    delete(&mut select(&user, "INBOX"), &uids(1..=1));
    let files = || fs::read_dir(blob("")).unwrap().count();
    user.compact(GRACE).unwrap();
    assert_eq!(files(), 4, "too young");
    pass(2 * HOUR);
    user.compact(GRACE).unwrap();
    assert!(files() == 3 && blob("new-0123456789abcdef").exists());
    pass(DAY);
    user.compact(GRACE).unwrap();
    assert!(files() == 1 && !temporary.exists(), "the expunged one, and the upload");
    assert_eq!(contents(&open(&place), "INBOX").len(), 1);
}

#[test]
fn a_small_mailbox_is_left_alone() {
    let place = Place::new();
    let user = open(&place);
    fill(&user, "INBOX", 1, 20, 40_000);
    delete(&mut select(&user, "INBOX"), &uids(1..=20));
    pass(2 * DAY);
    assert_eq!(user.compact(GRACE).unwrap().written, 0);
    assert_eq!(LogFiles::list(&place.ada_dir()).unwrap().segments, [1]);
}

#[test]
fn flags_alone_do_not_fill_the_disk() {
    let place = Place::new();
    let user = open(&place);
    append_many(&user, "INBOX", 100);
    let mut view = select(&user, "INBOX");
    let odd = UidSet::from_ranges((1..=50).map(|n| (uid(2 * n - 1), uid(2 * n - 1))));
    for round in 0..5000 {
        let how = if round % 2 == 0 { FlagChange::Add } else { FlagChange::Remove };
        view.store(&odd, how, &flags(Flags::SEEN, &[]), None).unwrap();
    }
    let (before, expected) = (used(&place.ada_dir()), contents(&user, "INBOX"));
    user.compact(GRACE).unwrap();
    let after = used(&place.ada_dir());
    assert!(before > 2_000_000 && after < 100_000, "{before} bytes, then {after}");
    assert_eq!(contents(&open(&place), "INBOX"), expected);
}

#[test]
fn a_damaged_message_keeps_its_segment() {
    let place = Place::new();
    let user = open(&place);
    fill(&user, "INBOX", 1, 30, 100_000);
    delete(&mut select(&user, "INBOX"), &uids(3..=30));
    pass(2 * DAY);
    let path = segment_path(&place.ada_dir(), 1);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(9).position(|found| found == b"number 2\r").unwrap() + 200;
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    user.compact(GRACE).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes, "reconstruct will want to see it");
    assert!(!segment_path(&place.ada_dir(), 2).exists(), "the others go");
    assert!(contents(&open(&place), "INBOX")[0].contains("number 1"));
}

/// Whether a byte is one of the zeros behind a record.
fn is_padding(file: &[u8], at: usize) -> bool {
    file[at] == 0 && file[at..at.next_multiple_of(8)].iter().all(|byte| *byte == 0)
}

#[test]
fn a_damaged_checkpoint_is_said_and_not_forgotten() {
    let place = Place::new();
    let user = open(&place);
    fill(&user, "INBOX", 1, 30, 100_000);
    delete(&mut select(&user, "INBOX"), &uids(3..=30));
    pass(2 * DAY);
    user.compact(GRACE).unwrap();
    let segment = LogFiles::list(&place.ada_dir()).unwrap().checkpoints[0];
    let path = files::checkpoint_path(&place.ada_dir(), segment);
    let good = fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 4;
        fs::write(&path, &bad).unwrap();
        match place.open().user(&ada()) {
            Err(error) => assert!(matches!(error, Error::Damaged { .. }), "byte {at}: {error}"),
            Ok(user) => assert!(is_padding(&good, at) && contents(&user, "INBOX").len() == 2, "byte {at}"),
        }
        fs::write(&path, &good[..at]).unwrap();
        assert!(place.open().user(&ada()).is_err(), "cut at {at}");
    }
    fs::write(&path, &good).unwrap();
    assert_eq!(contents(&open(&place), "INBOX").len(), 2);
}

/// Messages come every day, are flagged, refiled, and go: most within weeks, some never.
#[test]
fn a_mailbox_that_lives_for_a_year_stays_within_twice_its_live_bytes() {
    const DAYS: usize = 365;
    const PER_DAY: usize = 40;
    let place = Place::new();
    let user = open(&place);
    user.create("Archive", SpecialUses::NONE).unwrap();
    let mut whim = Whim::new(Mood::Wild, 6);
    let (mut worst, mut written, mut appended) = (0.0_f64, 0, 0);
    for day in 0..DAYS {
        let sizes = (0..PER_DAY).map(|_| [300, 2000, 6000, 20_000, 60_000][whim.below(5)] + whim.below(1000));
        let mut texts: Vec<Vec<u8>> = sizes.map(|len| text(appended, len)).collect();
        if whim.chance(3) {
            texts.push(text(appended, 600_000));
        }
        appended += texts.iter().map(Vec::len).sum::<usize>();
        let new = texts.iter().map(|text| message(&user, text, FlagList::default()));
        user.append("INBOX", new, None).unwrap();
        let mut view = select(&user, "INBOX");
        for _ in 0..10 {
            let some: UidSet = view.uids().iter().filter(|_| whim.chance(9)).collect();
            let how = if whim.chance(3) { FlagChange::Remove } else { FlagChange::Add };
            view.store(&some, how, &flags(Flags::SEEN, &["$Label1"]), None).unwrap();
        }
        let old = view.uids().iter().take((view.exists() as usize).saturating_sub(30 * PER_DAY));
        let (kept, doomed): (Vec<Uid>, Vec<Uid>) = old.partition(|_| whim.chance(50));
        let new = view.uids().iter().skip((view.exists() as usize).saturating_sub(PER_DAY));
        let spam: Vec<Uid> = new.filter(|_| whim.chance(4)).collect();
        view.move_to(&kept.into_iter().collect(), "Archive").unwrap();
        delete(&mut view, &doomed.into_iter().chain(spam).collect());
        drop(view);
        pass(DAY);
        written += user.compact(GRACE).unwrap().written;
        let (used, live) = (used(&place.ada_dir()), live_bytes(&user));
        if live > 5_000_000 {
            let share = used as f64 / live as f64;
            assert!(share < 2.0, "day {day}: {used} bytes for {live}");
            worst = worst.max(share);
        }
    }
    let files = LogFiles::list(&place.ada_dir()).unwrap();
    let count = files.paths(&place.ada_dir()).count();
    println!("at most {worst:.2} times the live bytes, {count} files, {written} written for {appended}");
    assert!(worst > 1.0 && count < 60 && written < 2 * appended as u64);
    assert_eq!(contents(&user, "INBOX"), contents(&open(&place), "INBOX"));
}

/// Counts down when a thread ends, also when it fails.
struct Leaving<'a>(&'a AtomicUsize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Several processes write, expunge and read while one makes room all the time.
#[test]
fn writers_and_readers_go_on_beside_it() {
    let place = Place::new();
    // For the keeper the future has begun: what goes is gone at once.
    let open = |clock: fn() -> i64| {
        let set = |options: &mut Options| {
            (options.segment_size, options.min_garbage, options.clock) = (8000, 0, clock);
        };
        place.open_with(set).user(&ada()).unwrap()
    };
    let (keeper, writers) = (open(|| user::unix_now() + 10), [open(now), open(now), open(now)]);
    let left = AtomicUsize::new(writers.len());
    std::thread::scope(|scope| {
        for (number, user) in writers.iter().enumerate() {
            let left = &left;
            scope.spawn(move || {
                let _leaving = Leaving(left);
                let mut view = select(user, "INBOX");
                for round in 0..40 {
                    append_many(user, "INBOX", 4);
                    view.sync(Expunges::Report).unwrap();
                    let some: UidSet =
                        view.uids().iter().filter(|uid| uid.get() as usize % 5 == number + 1).collect();
                    delete(&mut view, &some);
                    read_all(&view);
                    if round % 10 == 0 {
                        let some = view.uids().iter().take(5).collect();
                        view.copy(&some, "INBOX").unwrap();
                    }
                }
            });
        }
        let mut passes = 0;
        while left.load(Ordering::Relaxed) > 0 {
            passes += usize::from(keeper.compact(Duration::ZERO).unwrap().written > 0);
        }
        assert!(passes > 3, "{passes} passes");
    });
    let expected = contents(&open(now), "INBOX");
    for user in writers.iter().chain([&keeper]) {
        assert_eq!(contents(user, "INBOX"), expected);
    }
}

/// Reads what a view shows; what is gone for good by now says so, and nothing else goes wrong.
fn read_all(view: &Selected) {
    let mut messages = Vec::new();
    view.messages(&view.uids().to_set(), Uid::MIN, usize::MAX, &mut messages).unwrap();
    for message in &messages {
        let mut bytes = Vec::new();
        match view.meta(message).and_then(|_| view.read(message, 0..u64::MAX, &mut bytes)) {
            Ok(()) => assert!(bytes.starts_with(b"From: ada"), "other bytes"),
            Err(error) => assert!(matches!(error, Error::Refused(Refusal::Expunged)), "{error}"),
        }
    }
}
