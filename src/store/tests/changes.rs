//! What a listener that asks is told.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Writes down what it is told, in words.
#[derive(Default)]
struct Scribe {
    asks: AtomicBool,
    said: Mutex<Vec<String>>,
}

impl ChangeListener for Scribe {
    fn changed(&self, _: &UserName, _: MailboxId, _: ModSeq) {}

    fn asks(&self) -> bool {
        self.asks.load(Ordering::Relaxed)
    }

    fn happened(&self, change: &Change<'_>) {
        let numbers = |uids: &UidSet| uids.iter().map(Uid::get).collect::<Vec<_>>();
        let what = match change.what {
            What::Arrived(uids) => {
                let lengths = uids.iter().map(|uid| {
                    let message = change.message(uid).expect("it is there");
                    change.header_len(&message).expect("it has a header")
                });
                format!("arrived {:?} headers {:?}", numbers(uids), lengths.collect::<Vec<_>>())
            }
            What::Flags(steps) => {
                let step = |step: &FlagStep| {
                    format!("{} {:02} to {:02}", step.uid, step.before.bits(), step.after.bits())
                };
                format!("flags {}", steps.iter().map(step).collect::<Vec<_>>().join(", "))
            }
            What::Expunged(uids) => format!("expunged {:?}", numbers(uids)),
            What::Created => "created".into(),
            What::Deleted => "deleted".into(),
            What::Renamed { from } => format!("renamed from {from}"),
        };
        let Counters { messages, seen, deleted, seen_deleted, last_uid, .. } = change.counters;
        let counters = format!("{messages} {seen} {deleted} {seen_deleted} last {last_uid}");
        self.said.lock().unwrap().push(format!("{}: {what} [{counters}]", change.name));
    }
}

impl Scribe {
    /// What it is told as soon as the user's changes are on stable storage.
    fn settle(&self, user: &Arc<User>) -> Vec<String> {
        user.settle(&user.log_end().unwrap(), None).unwrap();
        self.take()
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.said.lock().unwrap())
    }
}

fn open() -> (Place, Arc<Scribe>, Arc<User>, Store) {
    let (place, scribe) = (Place::new(), Arc::new(Scribe::default()));
    let store = Store::open(Options::new(place.dir.path()), scribe.clone()).unwrap();
    let user = store.user(&ada()).unwrap();
    scribe.asks.store(true, Ordering::Relaxed);
    (place, scribe, user, store)
}

#[test]
fn messages_that_come_change_and_go() {
    let (_place, scribe, user, _store) = open();
    append_many(&user, "inbox", 2);
    assert_eq!(scribe.settle(&user), ["INBOX: arrived [1, 2] headers [44, 44] [2 0 0 0 last 2]"]);
    let mut view = select(&user, "INBOX");
    add(&mut view, &uids(1..=1), flags(Flags::SEEN, &["$Forwarded"]));
    add(&mut view, &uids(1..=2), flags(Flags::SEEN | Flags::DELETED, &[]));
    assert_eq!(
        scribe.take(),
        ["INBOX: flags 1 00 to 01 [2 1 0 0 last 2]", "INBOX: flags 1 01 to 09, 2 00 to 09 [2 2 2 2 last 2]"]
    );
    add(&mut view, &uids(1..=2), flags(Flags::SEEN, &["keyword"]));
    add(&mut view, &uids(1..=2), flags(Flags::SEEN, &[]));
    assert_eq!(scribe.take(), [""; 0], "no system flag has changed");
    user.create("box", SpecialUses::NONE).unwrap();
    view.copy(&uids(1..=1), "box").unwrap();
    view.move_to(&uids(1..=1), "box").unwrap();
    view.expunge(None).unwrap();
    view.expunge(None).unwrap();
    assert_eq!(
        scribe.settle(&user),
        [
            "box: created [0 0 0 0 last 0]",
            "box: arrived [1] headers [44] [2 2 2 2 last 2]",
            "box: arrived [2] headers [44] [2 2 2 2 last 2]",
            "INBOX: expunged [1] [0 0 0 0 last 2]",
            "INBOX: expunged [2] [0 0 0 0 last 2]",
        ],
        "the counters are those of the time when it is told"
    );
}

#[test]
fn counters_follow_the_flags_wherever_they_go() {
    let (place, scribe, user, store) = open();
    append_many(&user, "INBOX", 4);
    scribe.settle(&user);
    let mut view = select(&user, "INBOX");
    let both = Flags::SEEN | Flags::DELETED;
    add(&mut view, &uids(1..=3), flags(both, &[]));
    for (uid, flag) in [(1, Flags::SEEN), (2, Flags::DELETED)] {
        view.store(&uids(uid..=uid), FlagChange::Remove, &flags(flag, &[]), None).unwrap();
    }
    view.expunge(Some(&uids(3..=3))).unwrap();
    let said = scribe.settle(&user);
    let counters: Vec<_> = said.iter().filter_map(|said| Some(said.rsplit_once('[')?.1)).collect();
    assert_eq!(counters, ["4 3 3 3 last 4]", "4 2 3 2 last 4]", "4 2 2 1 last 4]", "3 1 1 0 last 4]"]);
    add(&mut view, &uids(1..=1), flags(Flags::SEEN, &[]));
    drop((view, user, store));
    let counters = place.ada().known().unwrap().state.by_name("INBOX").map(Counters::of).unwrap();
    assert_eq!((counters.deleted, counters.seen_deleted), (1, 1), "read from the log");
}

#[test]
fn mailboxes_that_get_other_names() {
    let (_place, scribe, user, _store) = open();
    for name in ["a", "a/b", "c/x"] {
        user.create(name, SpecialUses::NONE).unwrap();
    }
    append(&user, "INBOX", 1);
    scribe.settle(&user);
    user.rename("a", "c").unwrap();
    let mut said = scribe.take();
    said.sort();
    assert_eq!(said, ["c/b: renamed from a/b [0 0 0 0 last 0]", "c: renamed from a [0 0 0 0 last 0]"]);
    user.rename("inbox", "kept").unwrap();
    user.delete("c").unwrap();
    assert_eq!(
        scribe.take(),
        [
            "kept: created [1 0 0 0 last 1]",
            "INBOX: expunged [1] [0 0 0 0 last 1]",
            "c: deleted [0 0 0 0 last 0]"
        ]
    );
}

#[test]
fn nobody_is_told_who_does_not_ask() {
    let (_place, scribe, user, _store) = open();
    scribe.asks.store(false, Ordering::Relaxed);
    append(&user, "INBOX", 1);
    let mut view = select(&user, "INBOX");
    delete(&mut view, &uids(1..=1));
    user.create("box", SpecialUses::NONE).unwrap();
    user.rename("box", "other").unwrap();
    user.delete("other").unwrap();
    assert_eq!(scribe.settle(&user), [""; 0]);
}

#[test]
fn changes_that_came_together_share_a_sync_and_are_told_after_it_in_their_order() {
    let (place, scribe, disk) = (Place::new(), Arc::new(Scribe::default()), Arc::new(Counting::default()));
    let store = Store::open(Options::new(place.dir.path()).on(disk.clone()), scribe.clone()).unwrap();
    let user = store.user(&ada()).unwrap();
    scribe.asks.store(true, Ordering::Relaxed);
    append(&user, "INBOX", 1);
    scribe.settle(&user);
    disk.syncs.store(0, Ordering::Relaxed);
    let mut view = select(&user, "INBOX");
    append(&user, "INBOX", 1);
    add(&mut view, &uids(1..=1), flags(Flags::DELETED, &[]));
    view.expunge(None).unwrap();
    assert_eq!((scribe.take(), disk.syncs.load(Ordering::Relaxed)), (vec![], 0));
    assert_eq!(
        scribe.settle(&user),
        [
            "INBOX: arrived [2] headers [44] [1 0 0 0 last 2]",
            "INBOX: flags 1 00 to 08 [1 0 0 0 last 2]",
            "INBOX: expunged [1] [1 0 0 0 last 2]",
        ]
    );
    assert_eq!(disk.syncs.load(Ordering::Relaxed), 1);
    append(&user, "INBOX", 1);
    user.create("box", SpecialUses::NONE).unwrap();
    assert_eq!(
        scribe.take(),
        ["INBOX: arrived [3] headers [44] [2 0 0 0 last 3]", "box: created [0 0 0 0 last 0]"],
        "what made the second durable did it for the first"
    );
}

#[test]
fn what_nobody_settles_is_told_soon() {
    let (_place, scribe, user, _store) = open();
    append(&user, "INBOX", 1);
    user.settle_soon();
    while scribe.take().is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
