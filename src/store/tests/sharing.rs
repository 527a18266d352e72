//! Several users in one process, whose syncs go through its journal.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;

use super::disk::Disk;
use super::journal::{Bounds, directory, lock_path};
use super::simulated::{Image, Mood, Simulated, Whim};
use super::*;

/// The journal is used as soon as anybody waits.
const AT_ONCE: Bounds = Bounds { others: 0, size: 8192 };

/// Notes who is told what.
#[derive(Default)]
struct Recorder(Mutex<Vec<(&'static str, u64)>>);

impl ChangeListener for Recorder {
    fn changed(&self, _: &UserName, _: MailboxId, _: ModSeq) {}

    fn synced(&self, waiter: Waiter) {
        self.0.lock().unwrap().push(("synced", waiter.0));
    }

    fn syncs_next(&self, waiter: Waiter) -> bool {
        self.0.lock().unwrap().push(("next", waiter.0));
        true
    }
}

impl Recorder {
    fn take(&self) -> Vec<(&'static str, u64)> {
        let mut told = std::mem::take(&mut *self.0.lock().unwrap());
        told.sort_unstable();
        told
    }
}

fn user(store: &Store, name: &str) -> Arc<User> {
    store.user(&UserName::new(name).unwrap()).unwrap()
}

fn open(root: &Path, disk: Arc<dyn Disk>, listener: Arc<dyn ChangeListener>) -> Store {
    let mut options = Options::new(root);
    (options.journal, options.disk) = (AT_ONCE, disk);
    Store::open(options, listener).unwrap()
}

fn settle(user: &Arc<User>, waiter: u64) -> bool {
    user.settle(&user.log_end().unwrap(), Some(Waiter(waiter))).unwrap()
}

/// Of the messages in INBOX.
fn numbers(user: &Arc<User>) -> Vec<usize> {
    contents(user, "INBOX").iter().filter_map(|line| line.split(' ').nth(2)?.parse().ok()).collect()
}

fn journals(root: &Path) -> usize {
    fs::read_dir(directory(root)).map_or(0, |entries| entries.count().saturating_sub(1))
}

#[test]
fn users_who_come_while_a_batch_is_written_share_the_next() {
    let dir = scratch();
    let (disk, recorder) = (Arc::new(Counting::default()), Arc::new(Recorder::default()));
    let store = open(dir.path(), disk.clone(), recorder.clone());
    let users: Vec<_> = ["ada", "bob", "cy", "di"].iter().map(|name| user(&store, name)).collect();
    users.iter().for_each(|user| _ = append(user, "INBOX", 1));
    assert!(settle(&users[3], 3), "the journal is made");
    append(&users[0], "INBOX", 2);
    let before = disk.syncs.load(SeqCst);
    let busy = disk.busy.lock().unwrap();
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| settle(&users[0], 0));
        while disk.syncs.load(SeqCst) == before {
            std::thread::yield_now();
        }
        assert!(!settle(&users[1], 1) && !settle(&users[2], 2));
        drop(busy);
        assert!(leader.join().unwrap());
    });
    assert_eq!(recorder.take(), [("next", 2)]);
    assert!(settle(&users[2], 2));
    assert_eq!(recorder.take(), [("synced", 1)]);
    assert_eq!(disk.syncs.load(SeqCst) - before, 2, "one for each batch");
    assert!(settle(&users[1], 1), "it was in the second one");
}

#[test]
fn what_a_journal_promised_outlives_a_loss_of_power() {
    for mood in [Mood::Thorough, Mood::Backward, Mood::Tearing, Mood::Wild] {
        let dir = scratch();
        let disk = Simulated::new(dir.path());
        epoch::begin(&*disk, dir.path(), [b'1'; 36]).unwrap();
        let store = open(dir.path(), disk.clone(), Arc::new(Recorder::default()));
        let names: Vec<String> = (0..5).map(|n| format!("user{n}")).collect();
        let users: Vec<_> = names.iter().map(|name| user(&store, name)).collect();
        // Enough to turn from one file to the other several times.
        for n in 1..=60 {
            append(&users[n % 5], "INBOX", n);
            assert!(settle(&users[n % 5], 0));
        }
        let mut image = Image::new();
        disk.ops().iter().for_each(|op| image.apply(op));
        let remains = image.cut_power(&mut Whim::new(mood, 7));
        let after = scratch();
        let (disk, _) = remains.restore(after.path());
        epoch::begin(&*disk, after.path(), [b'2'; 36]).unwrap();
        let store = open(after.path(), disk, Arc::new(Recorder::default()));
        for (n, name) in names.iter().enumerate() {
            let bodies: Vec<usize> = (1..=60).filter(|made| made % 5 == n).collect();
            assert_eq!(numbers(&user(&store, name)), bodies, "{name} after {mood:?}");
        }
        assert_eq!(journals(after.path()), 0, "done with");
    }
}

#[test]
fn the_journal_of_a_process_that_died_is_seen_to_and_that_of_one_that_lives_is_not() {
    let dir = scratch();
    let recorder: Arc<Recorder> = Arc::default();
    let disk = Arc::new(Counting::default());
    let lives = open(dir.path(), disk.clone(), recorder.clone());
    let ada = user(&lives, "ada");
    append(&ada, "INBOX", 1);
    assert!(settle(&ada, 0));
    assert_eq!(journals(dir.path()), 2);
    let looks = open(dir.path(), disk.clone(), recorder.clone());
    assert_eq!(journals(dir.path()), 2, "somebody has it");
    let note = directory(dir.path()).join("note");
    fs::write(&note, b"not a journal").unwrap();
    // The files of a process are unlocked when it dies.
    lives.shared().journal.die();
    let before = disk.syncs.load(SeqCst);
    let next = open(dir.path(), disk.clone(), recorder);
    fs::remove_file(&note).expect("a file that is no journal stays");
    assert_eq!(journals(dir.path()), 0);
    assert_eq!(disk.syncs.load(SeqCst) - before, 1, "the log that it spoke of is synced");
    assert_eq!(numbers(&user(&next, "ada")), [1]);
    drop((looks, lives));
}

#[test]
fn a_log_that_took_the_place_of_another_is_left_alone() {
    let dir = scratch();
    let store = open(dir.path(), Arc::new(Counting::default()), Arc::new(Recorder::default()));
    let ada = user(&store, "ada");
    (1..=9).for_each(|n| _ = append(&ada, "INBOX", n));
    assert!(settle(&ada, 0));
    let kept: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(directory(dir.path()))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| *path != lock_path(dir.path()))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    fs::remove_dir_all(ada.directory()).unwrap();
    drop((ada, store));
    let store = open(dir.path(), Arc::new(Counting::default()), Arc::new(Recorder::default()));
    append(&user(&store, "ada"), "INBOX", 77);
    drop(store);
    kept.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    let store = open(dir.path(), Arc::new(Counting::default()), Arc::new(Recorder::default()));
    assert_eq!(numbers(&user(&store, "ada")), [77]);
    assert_eq!(journals(dir.path()), 0);
}

#[test]
fn a_journal_that_cannot_be_written_holds_nobody_up() {
    let dir = scratch();
    let (disk, recorder) = (Arc::new(Counting::default()), Arc::new(Recorder::default()));
    let store = open(dir.path(), disk.clone(), recorder.clone());
    let ada = user(&store, "ada");
    fs::write(directory(dir.path()), b"not a directory").unwrap();
    append(&ada, "INBOX", 1);
    let before = disk.syncs.load(SeqCst);
    assert!(settle(&ada, 0), "it was synced by itself");
    assert_eq!(disk.syncs.load(SeqCst) - before, 1);
    fs::remove_file(directory(dir.path())).unwrap();
    append(&ada, "INBOX", 2);
    assert!(settle(&ada, 0));
    assert!(!directory(dir.path()).exists(), "and will be for a while");
}

#[test]
fn a_journal_that_saves_no_sync_is_not_used() {
    let dir = scratch();
    let store = open(dir.path(), Arc::new(Counting::default()), Arc::new(Recorder::default()));
    let paused = || store.shared().journal.is_paused();
    let ada = user(&store, "ada");
    for n in 0..1100 {
        append(&ada, "INBOX", n % 9);
        assert!(settle(&ada, 0));
    }
    assert!(!paused(), "one sync for many");
    for n in 0..1100 {
        append(&ada, "INBOX", n % 9);
        assert!(settle(&ada, 0));
        ada.sync_all().unwrap();
    }
    assert!(paused());
}

#[test]
fn whoever_waits_is_told_when_the_journal_fails() {
    let dir = scratch();
    let (disk, recorder) = (Arc::new(Counting::default()), Arc::new(Recorder::default()));
    let store = open(dir.path(), disk.clone(), recorder.clone());
    let [ada, bob, cy] = ["ada", "bob", "cy"].map(|name| user(&store, name));
    [&ada, &bob, &cy].into_iter().for_each(|user| _ = append(user, "INBOX", 1));
    let before = disk.syncs.load(SeqCst);
    let busy = disk.busy.lock().unwrap();
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| ada.settle(&ada.log_end()?, Some(Waiter(0))));
        while disk.syncs.load(SeqCst) == before {
            std::thread::yield_now();
        }
        disk.fails.store(true, SeqCst);
        assert!(!settle(&bob, 1) && !settle(&cy, 2));
        drop(busy);
        assert!(leader.join().unwrap().is_err(), "the log cannot be synced either");
    });
    assert_eq!(recorder.take(), [("synced", 1), ("synced", 2)]);
    disk.fails.store(false, SeqCst);
    assert!(settle(&bob, 1) && settle(&cy, 2) && settle(&ada, 0));
}

/// Ada, who waits for the journal, is nobody's business when the one who was called to lead next has no need of it any more.
#[test]
fn who_is_called_to_lead_and_need_not_calls_another() {
    let dir = scratch();
    let (disk, recorder) = (Arc::new(Counting::default()), Arc::new(Recorder::default()));
    let store = open(dir.path(), disk.clone(), recorder.clone());
    let users: Vec<_> = ["ada", "bob", "cy"].iter().map(|name| user(&store, name)).collect();
    users.iter().for_each(|user| _ = append(user, "INBOX", 1));
    assert!(settle(&users[2], 2), "the journal is made");
    append(&users[2], "INBOX", 2);
    let before = disk.syncs.load(SeqCst);
    let busy = disk.busy.lock().unwrap();
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| settle(&users[2], 2));
        while disk.syncs.load(SeqCst) == before {
            std::thread::yield_now();
        }
        assert!(!settle(&users[0], 0) && !settle(&users[1], 1), "they wait for the next batch");
        drop(busy);
        assert!(leader.join().unwrap());
    });
    let called: Vec<_> = recorder.take();
    let [("next", first)] = called[..] else { panic!("one of them is called: {called:?}") };
    users[first as usize].settle(&users[first as usize].log_end().unwrap(), None).unwrap();
    assert!(settle(&users[first as usize], first), "its log has been synced meanwhile");
    assert_eq!(recorder.take(), [("next", 1 - first)]);
}
