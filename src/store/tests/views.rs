//! What sessions see, and when.

use super::*;
use crate::store::uid_set::tests::members;

fn seqs(changes: &Changes) -> Vec<u32> {
    changes.expunged_seqs.iter().map(|seq| seq.get()).collect()
}

#[test]
fn a_view_changes_only_when_it_is_synced() {
    let place = Place::new();
    let (one, two) = (place.ada(), place.ada());
    append_many(&one, "INBOX", 5);
    let (mut mine, mut theirs) = (select(&one, "INBOX"), select(&two, "INBOX"));
    assert_eq!(mine.sync(Expunges::Report).unwrap(), Changes::default());

    delete(&mut theirs, &UidSet::from_ranges([(uid(2), uid(2)), (uid(4), uid(4))]));
    append(&two, "INBOX", 6);
    assert_eq!(mine.exists(), 5);

    let deferred = mine.sync(Expunges::Defer).unwrap();
    assert_eq!((seqs(&deferred), deferred.exists), (vec![], Some(6)), "EXISTS may come, EXPUNGE may not");
    assert_eq!(mine.uids().seq_of(uid(5)).map(SeqNo::get), Some(5), "numbers stay while they are in use");
    assert_eq!(mine.sync(Expunges::Defer).unwrap(), Changes::default());

    let told = mine.sync(Expunges::Report).unwrap();
    assert_eq!((seqs(&told), told.exists), (vec![4, 2], None));
    assert_eq!(mine.exists(), 4);
    assert_eq!(seqs(&theirs.sync(Expunges::Report).unwrap()), [4, 2]);
}

#[test]
fn expunged_messages_stay_readable_and_take_flags() {
    let place = Place::new();
    let (one, two) = (place.ada(), place.ada());
    append_many(&one, "INBOX", 3);
    let (mut mine, mut theirs) = (select(&one, "INBOX"), select(&two, "INBOX"));
    delete(&mut theirs, &uids(2..=2));

    let stored = add(&mut mine, &uids(1..=3), flags(Flags::SEEN, &[]));
    assert_eq!(stored.done, uids(1..=3), "the client gets an answer for each");
    let mut messages = Vec::new();
    mine.messages(&mine.uids().to_set(), Uid::MIN, 9, &mut messages).unwrap();
    assert!(messages.iter().all(|message| message.flags.contains(Flags::SEEN)));
    assert!(in_words(&mine, &messages[1]).contains("number 2"));
    assert_eq!(mine.sync(Expunges::Report).unwrap().expunged, uids(2..=2));
    assert_eq!(mine.copy(&uids(2..=2), "INBOX").unwrap().source, UidSet::new(), "but it cannot be copied");
}

/// Whoever read the log anew forgot who was looking at it.
#[test]
fn expunged_messages_stay_readable_after_the_log_was_read_anew() {
    let place = Place::new();
    let user = place.ada();
    append_many(&user, "INBOX", 200);
    let (mine, mut theirs) = (select(&user, "INBOX"), select(&user, "INBOX"));
    let dying = user.clone();
    let died = std::thread::spawn(move || {
        dying.transact(|_, _| -> Result<()> { panic!("in the middle of a change") })
    });
    assert!(died.join().is_err());

    delete(&mut theirs, &uids(1..=200));
    theirs.sync(Expunges::Report).unwrap();
    let mut messages = Vec::new();
    mine.messages(&mine.uids().to_set(), Uid::MIN, usize::MAX, &mut messages).unwrap();
    assert_eq!(messages.len(), 200);
    assert!(in_words(&mine, &messages[99]).contains("number 100"));
}

#[test]
fn flags_of_others_are_told_and_own_ones_are_not() {
    let place = Place::new();
    let (one, two) = (place.ada(), place.ada());
    append_many(&one, "INBOX", 4);
    let (mut mine, mut theirs) = (select(&one, "INBOX"), select(&two, "INBOX"));
    add(&mut mine, &uids(1..=2), flags(Flags::SEEN, &["mine"]));
    add(&mut theirs, &uids(2..=3), flags(Flags::FLAGGED, &["theirs"]));

    let told = mine.sync(Expunges::Defer).unwrap();
    assert_eq!((&told.flags, told.keywords), (&uids(2..=3), true));
    add(&mut mine, &uids(4..=4), flags(Flags::DRAFT, &[]));
    let told = theirs.sync(Expunges::Report).unwrap();
    assert_eq!(told.flags, UidSet::from_ranges([(uid(1), uid(1)), (uid(4), uid(4))]), "2 was theirs last");
    assert_eq!(mine.sync(Expunges::Report).unwrap(), Changes::default());
}

#[test]
fn a_store_that_changes_nothing_is_answered_and_not_logged() {
    let place = Place::new();
    let user = place.ada();
    append_many(&user, "INBOX", 2);
    let mut view = select(&user, "INBOX");
    assert!(add(&mut view, &uids(1..=1), flags(Flags::SEEN, &["k"])).modseq.is_some());
    let again = add(&mut view, &uids(1..=1), flags(Flags::SEEN, &["K"]));
    assert_eq!((again.done, again.modseq), (uids(1..=1), None));
}

/// imaptest's own_flags found a STORE that "didn't create keyword".
#[test]
fn a_keyword_that_is_taken_away_is_made_and_changes_no_message() {
    let place = Place::new();
    let (one, two) = (place.ada(), place.ada());
    append_many(&one, "INBOX", 2);
    let (mut mine, mut theirs) = (select(&one, "INBOX"), select(&two, "INBOX"));
    let before = mine.highest_modseq();
    let take = |view: &mut Selected| {
        view.store(&uids(2..=2), FlagChange::Remove, &flags(Flags::NONE, &["unknown"]), None).unwrap()
    };
    let removed = take(&mut mine);
    assert_eq!((removed.done, removed.keywords), (uids(2..=2), true));
    assert_eq!(mine.keywords().len(), 1);
    assert_eq!(take(&mut mine).modseq, None, "once is enough");
    let told = theirs.sync(Expunges::Report).unwrap();
    assert_eq!((told.keywords, told.flags), (true, UidSet::new()));
    assert_eq!(theirs.changed_since(before).unwrap(), UidSet::new());
    assert_eq!(select(&place.ada(), "INBOX").keywords().len(), 1, "who comes later");

    let many: Vec<String> = (1..limits::MAX_KEYWORDS).map(|n| format!("k{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    add(&mut mine, &uids(1..=1), flags(Flags::NONE, &many));
    let full = mine.store(&uids(1..=1), FlagChange::Remove, &flags(Flags::NONE, &["another", "k1"]), None);
    assert_eq!(full.unwrap().done, uids(1..=1), "it is not there, which is what was asked for");
    assert_eq!(mine.keywords().len(), limits::MAX_KEYWORDS);
}

#[test]
fn unchangedsince_fails_for_messages_that_changed() {
    let place = Place::new();
    let (one, two) = (place.ada(), place.ada());
    append_many(&one, "INBOX", 3);
    let (mut mine, mut theirs) = (select(&one, "INBOX"), select(&two, "INBOX"));
    let before = mine.highest_modseq();
    add(&mut theirs, &uids(2..=2), flags(Flags::SEEN, &[]));
    let stored =
        mine.store(&uids(1..=3), FlagChange::Add, &flags(Flags::FLAGGED, &[]), Some(before)).unwrap();
    assert_eq!(stored.modified, uids(2..=2));
    assert_eq!(stored.done.len(), 2);
}

#[test]
fn recent_belongs_to_exactly_one_session() {
    let place = Place::new();
    let (one, two) = (place.ada(), place.ada());
    append_many(&one, "INBOX", 3);
    let examined = two.select("INBOX", Access::ReadOnly, true).unwrap();
    assert_eq!(examined.recent(), 3, "EXAMINE shows them and does not take them");
    let (mut first, mut second) = (select(&one, "INBOX"), select(&two, "INBOX"));
    assert_eq!((first.recent(), second.recent()), (3, 0));
    append(&two, "INBOX", 4);
    let changes = second.sync(Expunges::Report).unwrap();
    assert_eq!((changes.exists, changes.recent), (Some(4), Some(1)));
    let changes = first.sync(Expunges::Report).unwrap();
    assert_eq!((changes.exists, changes.recent), (Some(4), None));
    let own = message(&one, &body(5), FlagList::default());
    one.append("INBOX", vec![own], Some(&mut first)).unwrap();
    second.sync(Expunges::Report).unwrap();
    assert_eq!(first.sync(Expunges::Report).unwrap().recent, Some(4));
    assert!(first.is_recent(uid(5)) && !second.is_recent(uid(5)));
    assert_eq!(one.status("INBOX").unwrap().recent, 0);
}

#[test]
fn what_vanished_is_remembered_across_a_restart() {
    let place = Place::new();
    let one = place.ada();
    append_many(&one, "INBOX", 300);
    let mut view = select(&one, "INBOX");
    delete(&mut view, &uids(10..=12));
    view.sync(Expunges::Report).unwrap();
    let since = view.highest_modseq();
    delete(&mut view, &uids(20..=20));
    add(&mut view, &uids(30..=30), flags(Flags::SEEN, &[]));
    for again in [select(&one, "INBOX"), select(&place.ada(), "INBOX")] {
        assert_eq!(again.vanished_since(since, None).unwrap(), uids(20..=20));
        assert_eq!(again.vanished_since(ModSeq(1), Some(&uids(1..=15))).unwrap(), uids(10..=12));
        assert_eq!(again.changed_since(since).unwrap(), uids(30..=30));
    }
}

/// What a client knows who applies what it is told: the UIDs by their sequence numbers.
fn told(known: &mut Vec<u32>, view: &mut Selected, expunges: Expunges) {
    let changes = view.sync(expunges).unwrap();
    let gone = changes.expunged_seqs.iter().map(|seq| known.remove(seq.get() as usize - 1));
    assert_eq!(gone.collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>(), members(&changes.expunged));
    if let Some(exists) = changes.exists {
        let fresh = (known.len() as u32 + 1..=exists).filter_map(SeqNo::new);
        known.extend(fresh.filter_map(|seq| view.uids().uid_at(seq)).map(Uid::get));
    }
    assert_eq!(*known, view.uids().iter().map(Uid::get).collect::<Vec<_>>());
}

/// So many gaps that their UIDs stand in several blocks, and sessions that hear of changes at different times.
#[test]
fn mailboxes_full_of_gaps_are_told_like_any_others() {
    let place = Place::new();
    let (one, two) = (place.ada(), place.ada());
    append_many(&one, "INBOX", 3000);
    let (mut mine, mut theirs) = (select(&one, "INBOX"), select(&two, "INBOX"));
    let [mut known, mut known_there] = [(); 2].map(|()| (1..=3000).collect::<Vec<u32>>());
    delete(&mut theirs, &(1..=3000).step_by(2).map(uid).collect());
    told(&mut known_there, &mut theirs, Expunges::Report);
    assert_eq!(theirs.exists(), 1500);
    for round in 0..30u32 {
        let here = 2 * (round * 37 % 1500 + 1);
        delete(&mut mine, &UidSet::from_ranges([(uid(here), uid(here))]));
        append(&one, "INBOX", 1);
        let often = if round % 3 == 0 { Expunges::Report } else { Expunges::Defer };
        told(&mut known, &mut mine, often);
        let there: UidSet = (round * 40..round * 40 + 20).step_by(4).map(|n| uid(n + 2)).collect();
        delete(&mut theirs, &there);
        told(&mut known_there, &mut theirs, Expunges::Report);
        append(&two, "INBOX", 2);
    }
    told(&mut known, &mut mine, Expunges::Report);
    told(&mut known_there, &mut theirs, Expunges::Report);
    assert_eq!(known, known_there);
    assert_eq!(known, select(&place.ada(), "INBOX").uids().iter().map(Uid::get).collect::<Vec<_>>());
}

#[test]
fn what_changed_since_any_moment_is_what_the_mod_sequences_say() {
    let place = Place::new();
    let one = place.ada();
    append_many(&one, "INBOX", 8);
    let mut view = select(&one, "INBOX");
    add(&mut view, &uids(2..=3), flags(Flags::SEEN, &[]));
    delete(&mut view, &uids(5..=5));
    append(&one, "INBOX", 9);
    add(&mut view, &uids(1..=1), flags(Flags::FLAGGED, &[]));
    append(&one, "INBOX", 10);
    view.sync(Expunges::Report).unwrap();
    add(&mut view, &uids(9..=9), flags(Flags::SEEN, &[]));
    for again in [select(&one, "INBOX"), select(&place.ada(), "INBOX")] {
        let mut messages = Vec::new();
        again.messages(&again.uids().to_set(), uid(1), 100, &mut messages).unwrap();
        assert_eq!(messages.len(), 9);
        for since in (0..=again.highest_modseq().0).map(ModSeq) {
            let newer = messages.iter().filter(|message| message.modseq > since).map(|message| message.uid);
            assert_eq!(again.changed_since(since).unwrap(), newer.collect(), "{since:?}");
        }
    }
}

#[test]
fn move_within_a_mailbox_gives_new_uids() {
    let place = Place::new();
    let user = place.ada();
    append_many(&user, "INBOX", 3);
    let mut view = select(&user, "INBOX");
    let moved = view.move_to(&uids(1..=2), "INBOX").unwrap();
    assert_eq!((moved.source, moved.target), (uids(1..=2), uids(4..=5)));
    let changes = view.sync(Expunges::Report).unwrap();
    assert_eq!((seqs(&changes), changes.exists), (vec![2, 1], Some(3)));
    assert_eq!(contents(&user, "INBOX"), contents(&place.ada(), "INBOX"));
}

#[test]
fn copies_share_their_identity_and_write_no_body() {
    let place = Place::new();
    let user = place.ada();
    user.create("Archive", SpecialUses::NONE).unwrap();
    let new = message(&user, &[body(1), vec![b'x'; 50_000]].concat(), flags(Flags::SEEN, &["Work"]));
    user.append("INBOX", vec![new], None).unwrap();
    let size = || std::fs::metadata(place.ada_dir().join("log/0000000001")).unwrap().len();
    let before = size();
    let mut view = select(&user, "INBOX");
    let copied = view.copy(&uids(1..=1), "Archive").unwrap();
    assert_eq!(copied.target, uids(1..=1));
    assert!(size() - before < 300, "{} bytes for a copy", size() - before);
    let there = select(&place.ada(), "Archive");
    let (mut here, mut copy) = (Vec::new(), Vec::new());
    view.messages(&view.uids().to_set(), Uid::MIN, 1, &mut here).unwrap();
    there.messages(&there.uids().to_set(), Uid::MIN, 1, &mut copy).unwrap();
    assert_eq!((here[0].email, here[0].thread), (copy[0].email, copy[0].thread));
    assert!(in_words(&there, &copy[0]).contains("Work"));
}

#[test]
fn a_deleted_mailbox_is_told_once_and_refuses_everything() {
    let place = Place::new();
    let (one, two) = (place.ada(), place.ada());
    one.create("Gone", SpecialUses::NONE).unwrap();
    append_many(&one, "Gone", 1);
    let mut view = select(&one, "Gone");
    two.delete("Gone").unwrap();
    assert!(view.sync(Expunges::Report).unwrap().deleted);
    let refused = view.store(&uids(1..=1), FlagChange::Add, &flags(Flags::SEEN, &[]), None);
    assert!(matches!(refused, Err(Error::Refused(Refusal::NonExistent))));
}

#[test]
fn a_read_only_view_refuses_changes() {
    let place = Place::new();
    let user = place.ada();
    append_many(&user, "INBOX", 1);
    let mut view = user.select("INBOX", Access::ReadOnly, true).unwrap();
    let refused = [
        view.store(&uids(1..=1), FlagChange::Add, &flags(Flags::SEEN, &[]), None).err(),
        view.expunge(None).err(),
        view.move_to(&uids(1..=1), "INBOX").err(),
    ];
    for error in refused {
        assert!(matches!(error, Some(Error::Refused(Refusal::ReadOnly))));
    }
}

#[test]
fn counters_agree_with_a_count() {
    let place = Place::new();
    let user = place.ada();
    append_many(&user, "INBOX", 200);
    let mut view = select(&user, "INBOX");
    add(&mut view, &uids(1..=100), flags(Flags::SEEN, &[]));
    add(&mut view, &uids(50..=60), flags(Flags::DELETED, &[]));
    view.store(&uids(10..=10), FlagChange::Replace, &FlagList::default(), None).unwrap();
    assert_eq!(select(&user, "INBOX").first_unseen().map(SeqNo::get), Some(10));
    assert_eq!(view.expunge(Some(&uids(1..=55))).unwrap().count, 6);
    for user in [user.clone(), place.ada()] {
        let status = user.status("INBOX").unwrap();
        assert_eq!((status.messages, status.unseen, status.deleted), (194, 101, 5));
        let size: u64 = (1..=200).filter(|n| !(50..=55).contains(n)).map(|n| body(n).len() as u64).sum();
        assert_eq!((status.size, status.uid_next), (size, 201));
    }
}

#[test]
fn headers_read_ahead_are_those_read_one_by_one() {
    let place = Place::new();
    let user = place.ada();
    let long = format!("X: {}\r\n", "y".repeat(70)).repeat(200);
    let form = |n: usize| match n % 8 {
        0 => b"no header\r\nat all\r\n".to_vec(),
        1 => b"\r\nonly a body\r\n".to_vec(),
        2 => format!("Subject: {n}\r\n{long}\r\nbody\r\n").into_bytes(),
        3 => format!("Subject: {n}\r\n\r\n{}", "large\r\n".repeat(80_000)).into_bytes(),
        4 => format!("Subject: {n}\r\n").into_bytes(),
        _ => body(n),
    };
    let new = (0..160).map(|n| message(&user, &form(n), FlagList::default()));
    user.append("INBOX", new, None).unwrap();
    let view = select(&user, "INBOX");
    let mut messages = Vec::new();
    view.messages(&view.uids().to_set(), uid(1), 1000, &mut messages).unwrap();
    for step in [1, 3, 8, 13] {
        let (mut headers, mut cheap) = (Headers::default(), 0);
        for (at, message) in messages.iter().enumerate().step_by(step).map(|(at, message)| (at + 1, message))
        {
            let meta = view.meta(message).unwrap();
            let header = view.header(message, &meta).unwrap();
            if let Some(found) = view.header_ahead(message, messages[at..].iter(), &mut headers) {
                assert_eq!(found, &*header, "message {at}");
                cheap += 1;
            }
        }
        let known = if step == 8 { 0 } else { 160 * 3 / 8 / step };
        assert!(cheap >= known, "{cheap} of {known}");
    }
}

#[test]
fn neighbours_in_the_log_are_read_at_once() {
    let place = Place::new();
    let ada = place.ada();
    append_many(&ada, "INBOX", 8);
    let far = vec![message(&ada, &[b'x'; 50_000], FlagList::default())];
    ada.append("INBOX", far, None).unwrap();
    append(&ada, "INBOX", 10);
    let view = select(&ada, "INBOX");
    let mut messages = Vec::new();
    view.messages(&view.uids().to_set(), Uid::MIN, 99, &mut messages).unwrap();

    let window = view.window(&messages).unwrap().expect("it pays");
    for message in &messages {
        let mut bytes = Vec::new();
        view.read(message, 0..u64::MAX, &mut bytes).unwrap();
        assert_eq!(window.find(message), Some(&bytes[..]), "message {}", message.uid);
    }
    let some = view.window(&messages[1..3]).unwrap().expect("it pays");
    assert_eq!(some.find(&messages[0]), None);
    let is_read = |messages: &[Message]| view.window(messages).unwrap().is_some();
    assert!(!is_read(&messages[..1]), "one is no row");
    assert!(!is_read(&[messages[7].clone(), messages[9].clone()]), "too much lies between");
    messages.reverse();
    assert!(!is_read(&messages), "not in the order of the log");
}
