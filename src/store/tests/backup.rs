//! Mail goes through a backup and comes back.

use super::life::{Sight, look, say};
use super::*;
use crate::store::backup::{
    Aim, BackupError, Dump, Event, Former, Restored, Restorer, Scope, Selection, Since, Stream, list, verify,
};

/// Backs up what is wanted of ada.
fn dump(place: &Place, since: Since, wanted: &[&str]) -> Vec<u8> {
    let mut dump = Dump::begin(Vec::new(), place.dir.path(), since).unwrap();
    let dumped = dump.user(&ada(), &selection(wanted)).unwrap();
    assert_eq!(dumped.problems, [""; 0]);
    dump.finish().unwrap()
}

pub(super) fn full(place: &Place) -> Vec<u8> {
    dump(place, Since::Beginning, &[])
}

fn after(place: &Place, former: &[u8]) -> Vec<u8> {
    dump(place, Since::Former(Former::read(former).unwrap()), &[])
}

fn selection(wanted: &[&str]) -> Selection {
    Selection::new(wanted.iter().map(|path| path.parse().unwrap()).collect())
}

/// Brings back a chain; what was said, and done.
pub(super) fn bring_back(
    place: &Place,
    chain: &[&[u8]],
    wanted: &[&str],
) -> Result<(Vec<String>, Restored), BackupError> {
    let (store, wanted) = (place.open(), selection(wanted));
    let aim = if let [_, .., last] = chain { Aim::read(*last)? } else { Aim::default() };
    let restorer = Restorer::new(place.dir.path(), Some(&store), &wanted, &aim);
    run(restorer, chain)
}

fn run(mut restorer: Restorer<'_>, chain: &[&[u8]]) -> Result<(Vec<String>, Restored), BackupError> {
    let mut said = Vec::new();
    for (at, stream) in chain.iter().enumerate() {
        let is_last = at + 1 == chain.len();
        restorer.stream(Stream::open(*stream)?, is_last, &mut |event| said.push(in_short(event)))?;
    }
    Ok((said, restorer.finish()?))
}

fn in_short(event: Event) -> String {
    match event {
        Event::Note(note) => note,
        Event::Mailbox { path, back, present, renumbered, .. } => {
            format!("{path} {back} back {present} there {renumbered} renumbered")
        }
    }
}

/// What clients see, without the mod-sequences, which a restoration gives anew.
fn sight(place: &Place) -> Sight {
    let (mut sight, _) = look(&place.ada());
    for shown in sight.mailboxes.values_mut() {
        for message in &mut shown.messages {
            let cut = message.find(" modseq ").map(|at| at..at + 8 + message[at + 8..].find(' ').unwrap());
            message.replace_range(cut.unwrap(), "");
        }
    }
    sight
}

#[track_caller]
fn assert_same(original: &Sight, restored: &Sight) {
    assert!(original == restored, "was:\n{}\nis:\n{}", say(original), say(restored));
}

/// A user with all that a backup has to keep.
fn lively() -> Place {
    let place = Place::new();
    let user = place.ada();
    append_many(&user, "INBOX", 6);
    drop(select(&user, "INBOX"));
    for name in ["Entwürfe/2024", "日本語", "a&b", "with space/\"quote\""] {
        user.create(name, SpecialUses::NONE).unwrap();
    }
    user.create("Sent", SpecialUses::from_bits(32)).unwrap();
    let mut view = select(&user, "INBOX");
    add(&mut view, &uids(1..=3), flags(Flags::SEEN, &["$Forwarded", "odd!~#$"]));
    view.copy(&uids(2..=4), "日本語").unwrap();
    view.move_to(&uids(5..=5), "Sent").unwrap();
    delete(&mut view, &uids(1..=1));
    let large = [b"Subject: number 7\r\n\r\n".to_vec(), b"0123456789abcdef\r\n".repeat(40_000)].concat();
    let mut dated = message(&user, &large, flags(Flags::DRAFT, &["Work"]));
    dated.internal_date = Some(InternalDate { timestamp: -86_400, offset_minutes: -570 });
    user.append("a&b", vec![dated], None).unwrap();
    append(&user, "a&b", 8);
    append(&user, "INBOX", 9);
    user.subscribe("Sent", true).unwrap();
    user.subscribe("gone", true).unwrap();
    place
}

#[test]
fn an_empty_store_gets_all_of_it_back() {
    let (original, other) = (lively(), Place::new());
    let stream = full(&original);
    verify(&*stream).unwrap();
    let (_, done) = bring_back(&other, &[&stream], &[]).unwrap();
    assert_eq!((done.messages, done.present, done.renumbered), (11, 0, 0));
    assert_same(&sight(&original), &sight(&other));
    let (_, was) = look(&original.ada());
    let (_, is) = look(&other.ada());
    for (id, uid_next) in &was.uid_next {
        let jumped = uid_next + u64::from(limits::EPOCH_UID_JUMP);
        assert_eq!(is.uid_next[id], jumped, "mail that came after the backup may have been seen");
        assert!(is.modseq[id] > was.modseq[id]);
    }
    // The copies are copies again: one body for each.
    let end = |place: &Place| place.ada().known().unwrap().state.position.offset;
    assert!(end(&other) < end(&original) + 4096, "{} {}", end(&other), end(&original));

    let (said, again) = bring_back(&other, &[&stream], &[]).unwrap();
    assert_eq!((again.messages, again.present), (0, 11), "{said:?}");
    let (_, still) = look(&other.ada());
    assert_eq!(still.uid_next, is.uid_next, "nothing was restored, and no UID is skipped");
}

#[test]
fn what_is_listed_and_tried_changes_nothing() {
    let (original, other) = (lively(), Place::new());
    let stream = full(&original);
    let wanted = Selection::default();
    let aim = Aim::default();
    let (said, done) = run(Restorer::new(other.dir.path(), None, &wanted, &aim), &[&stream]).unwrap();
    assert_eq!(done.messages, 11);
    assert!(said.contains(&"user/ada/INBOX 5 back 0 there 0 renumbered".to_owned()), "{said:?}");
    assert_eq!(std::fs::read_dir(other.dir.path()).unwrap().count(), 0);
    let mut text = Vec::new();
    assert_eq!(list(&*stream, &mut text).unwrap().messages, 11);
    assert!(String::from_utf8(text).unwrap().contains("user/ada/日本語: 3 of 3 messages, "));
}

#[test]
fn three_in_a_row_give_the_last() {
    let original = lively();
    let first = full(&original);
    let user = original.ada();
    append_many(&user, "INBOX", 3);
    let mut view = select(&user, "INBOX");
    add(&mut view, &uids(3..=4), flags(Flags::FLAGGED, &["New"]));
    delete(&mut view, &uids(2..=2));
    user.rename("Entwürfe", "Drafts").unwrap();
    user.create("fresh", SpecialUses::NONE).unwrap();
    view.copy(&uids(3..=4), "fresh").unwrap();
    let second = after(&original, &first);
    user.delete("fresh").unwrap();
    user.delete("日本語").unwrap();
    user.create("日本語", SpecialUses::NONE).unwrap();
    append(&user, "日本語", 20);
    delete(&mut view, &uids(7..=8));
    let third = after(&original, &second);
    assert!(second.len() < first.len() / 20, "{} of {}", second.len(), first.len());

    let other = Place::new();
    bring_back(&other, &[&first, &second, &third], &[]).unwrap();
    assert_same(&sight(&original), &sight(&other));
    assert_eq!(*Stream::open(&*third).unwrap().header(), {
        let header = *Stream::open(&*third).unwrap().header();
        assert_eq!(header.predecessor, Stream::open(&*second).unwrap().header().id);
        assert_eq!(header.scope, Scope::SinceBackup);
        header
    });
    // Again, into what is there now: nothing doubles, and what was expunged stays away.
    let (_, done) = bring_back(&other, &[&first, &second, &third], &[]).unwrap();
    assert_eq!(done.messages, 0);
    assert_same(&sight(&original), &sight(&other));
    // From the first one's middle on, and from the second's.
    for (whole, cut) in
        [(&[][..], &first[..first.len() / 2]), (&[&first[..]][..], &second[..second.len() / 2])]
    {
        let other = Place::new();
        let chain: Vec<&[u8]> = whole.iter().copied().chain([cut]).collect();
        bring_back(&other, &chain, &[]).unwrap_err();
        bring_back(&other, &[&first, &second, &third], &[]).unwrap();
        assert_eq!(sight(&other).mailboxes.len(), sight(&original).mailboxes.len());
    }
}

#[test]
fn a_mailbox_that_went_on_keeps_what_it_has() {
    let place = lively();
    let stream = full(&place);
    let user = place.ada();
    let mut view = select(&user, "INBOX");
    add(&mut view, &uids(4..=4), flags(Flags::ANSWERED, &[]));
    delete(&mut view, &uids(2..=3));
    append(&user, "INBOX", 10);
    let before = sight(&place);
    let (said, done) = bring_back(&place, &[&stream], &["user/ada/INBOX"]).unwrap();
    assert_eq!((done.messages, done.present, done.renumbered), (2, 3, 2), "{said:?}");
    let after = sight(&place);
    let (was, is) = (&before.mailboxes["INBOX"].messages, &after.mailboxes["INBOX"].messages);
    assert_eq!(is[..was.len()], was[..], "nothing was overwritten");
    assert!(is[was.len()].starts_with("9 number 2 Flags(1) [\"$Forwarded\", \"odd!~#$\"]"), "{is:?}");

    let (_, again) = bring_back(&place, &[&stream], &["user/ada/INBOX"]).unwrap();
    assert_eq!((again.messages, again.present), (0, 5));
    assert_same(&after, &sight(&place));
}

#[test]
fn one_message_of_one_mailbox_comes_back() {
    let (original, other) = (lively(), Place::new());
    let stream = full(&original);
    append(&other.ada(), "INBOX", 1);
    let (_, done) = bring_back(&other, &[&stream], &["user/ada/INBOX:3", "user/ada/a&b:1"]).unwrap();
    assert_eq!((done.messages, done.renumbered), (2, 1));
    let is = sight(&other);
    let names: Vec<_> = is.mailboxes.keys().map(String::as_str).collect();
    assert_eq!(names, ["INBOX", "a&b"]);
    assert!(is.mailboxes["INBOX"].messages[1].starts_with("2 number 3 "), "in another mailbox of this name");
    let was = sight(&original);
    assert_eq!(is.mailboxes["a&b"].id, was.mailboxes["a&b"].id);
    assert_eq!(is.mailboxes["a&b"].messages, was.mailboxes["a&b"].messages[..1]);
    assert!(bring_back(&other, &[&stream], &["user/bob"]).unwrap().1.users == 0);
}

#[test]
fn a_date_leaves_out_what_was_there_before() {
    let place = lively();
    let count = |since| {
        let mut text = Vec::new();
        list(&*dump(&place, Since::Date(since), &[]), &mut text).unwrap().messages
    };
    assert_eq!((count(0), count(user::unix_now() + 60)), (11, 0));
}

#[test]
fn an_interrupted_restoration_goes_on() {
    let original = lively();
    let stream = full(&original);
    for cut in (0..stream.len()).step_by(stream.len() / 40) {
        let other = Place::new();
        let half = bring_back(&other, &[&stream[..cut]], &[]);
        assert!(matches!(half, Err(BackupError::Cut(_) | BackupError::Foreign)), "{cut}: {half:?}");
        bring_back(&other, &[&stream], &[]).unwrap();
        assert_same(&sight(&original), &sight(&other));
    }
}

#[test]
fn no_flipped_bit_and_no_cut_goes_unnoticed() {
    let place = Place::new();
    append_many(&place.ada(), "INBOX", 2);
    let stream = full(&place);
    for at in 0..stream.len() {
        let mut bad = stream.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(verify(&*bad).is_err(), "byte {at}");
        assert!(verify(&stream[..at]).is_err(), "cut at {at}");
    }
    let mut newer = stream;
    newer[8] = 2;
    let crc = crc32fast::hash(&newer[..76]);
    newer[76..80].copy_from_slice(&crc.to_le_bytes());
    assert!(matches!(verify(&*newer), Err(BackupError::Newer(2))));
}

#[test]
fn a_damaged_message_is_named_and_the_others_are_saved() {
    let place = Place::new();
    append_many(&place.ada(), "INBOX", 3);
    let log = place.ada_dir().join("log/0000000001");
    let mut bytes = std::fs::read(&log).unwrap();
    let at = bytes.windows(10).position(|part| part == b" message 2").unwrap();
    bytes[at] ^= 1;
    let snapshot = {
        let user = place.ada();
        user.known().unwrap().state.since_snapshot = u64::MAX / 2;
        user.save_snapshot()
    };
    snapshot.unwrap();
    std::fs::write(&log, &bytes).unwrap();
    let mut dump = Dump::begin(Vec::new(), place.dir.path(), Since::Beginning).unwrap();
    let dumped = dump.user(&ada(), &Selection::default()).unwrap();
    assert_eq!(dumped.messages, 2);
    assert!(dumped.problems[0].starts_with("user/ada/INBOX:2: "), "{:?}", dumped.problems);
    let stream = dump.finish().unwrap();
    let other = Place::new();
    let (said, done) = bring_back(&other, &[&stream], &[]).unwrap();
    assert_eq!(done.messages, 2);
    assert!(said.iter().any(|line| line.starts_with("user/ada/INBOX:2: not in the backup: ")), "{said:?}");
}

#[test]
fn a_backup_ends_where_it_began_while_others_append() {
    let place = lively();
    let (user, other) = (place.ada(), Place::new());
    let frozen = frozen::Frozen::open(place.dir.path(), &ada()).unwrap().unwrap();
    let then = sight(&place);
    append_many(&user, "INBOX", 50);
    assert_eq!(
        frozen.state.by_name("INBOX").unwrap().live.len() as usize,
        then.mailboxes["INBOX"].messages.len()
    );
    let stream = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..30 {
                append(&user, "INBOX", n);
            }
        });
        let stream = full(&place);
        writer.join().unwrap();
        stream
    });
    bring_back(&other, &[&stream], &[]).unwrap();
    let (is, was) = (sight(&other), sight(&place));
    let (is, was) = (&is.mailboxes["INBOX"].messages, &was.mailboxes["INBOX"].messages);
    assert!(is.len() >= 55, "{}", is.len());
    assert_eq!(is[..], was[..is.len()]);
}
