//! Processes that die and power that fails.

use std::fs;
use std::path::Path;

use super::*;

/// Does a bit of everything.
fn live_a_little(user: &Arc<User>) {
    user.create("Work", SpecialUses::NONE).unwrap();
    append_many(user, "INBOX", 5);
    let mut view = select(user, "INBOX");
    add(&mut view, &uids(1..=3), flags(Flags::SEEN, &["$Label1"]));
    view.copy(&uids(2..=4), "Work").unwrap();
    delete(&mut view, &uids(1..=1));
    view.move_to(&uids(5..=5), "Work").unwrap();
    user.subscribe("Work", true).unwrap();
}

/// Where the records of a segment end.
fn log_end(log: &Path) -> u64 {
    without_reserve(log).len() as u64
}

fn without_reserve(log: &Path) -> Vec<u8> {
    let mut bytes = fs::read(log).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(written.next_multiple_of(8));
    bytes
}

fn everything(user: &Arc<User>) -> Vec<Vec<String>> {
    let tree = user.tree().unwrap();
    tree.mailboxes().iter().map(|entry| contents(user, &entry.name)).collect()
}

#[test]
fn a_snapshot_says_what_the_log_says() {
    let place = Place::new();
    let user = place.ada();
    live_a_little(&user);
    let expected = everything(&user);
    let inner = user.known().unwrap();
    let bytes = snapshot::encode(&inner.state, user.mark());
    drop(inner);
    snapshot::save(&disk::Local, &place.ada_dir(), &bytes).unwrap();
    assert_eq!(everything(&place.ada()), expected);

    // The log is what counts: one behind the snapshot is read, and a damaged snapshot is not missed.
    append(&user, "Work", 9);
    let expected = everything(&user);
    assert_eq!(everything(&place.ada()), expected);
    let mut damaged = bytes.clone();
    damaged[60] ^= 1;
    fs::write(place.ada_dir().join("snapshot"), damaged).unwrap();
    assert_eq!(everything(&place.ada()), expected);
}

#[test]
fn a_writer_that_dies_at_any_byte_leaves_whole_transactions() {
    let place = Place::new();
    let user = place.ada();
    live_a_little(&user);
    let log = place.ada_dir().join("log/0000000001");
    let before = log_end(&log);
    let expected_without = contents(&user, "INBOX");
    let both =
        vec![message(&user, &body(7), FlagList::default()), message(&user, &body(8), FlagList::default())];
    user.append("INBOX", both, None).unwrap();
    let expected_with = contents(&user, "INBOX");
    let whole = without_reserve(&log);
    drop(user);
    for len in before as usize..=whole.len() {
        fs::write(&log, &whole[..len]).unwrap();
        let reopened = place.ada();
        let expected = if len == whole.len() { &expected_with } else { &expected_without };
        assert_eq!(&contents(&reopened, "INBOX"), expected, "cut at {len}");
        let next = append(&reopened, "INBOX", 9);
        assert_eq!(
            contents(&place.ada(), "INBOX").len(),
            expected.len() + 1,
            "cut at {len}, then UID {next}"
        );
    }
}

#[test]
fn a_writer_that_dies_in_the_reserve_leaves_whole_transactions() {
    let place = Place::new();
    let user = place.ada();
    live_a_little(&user);
    let log = place.ada_dir().join("log/0000000001");
    let before = log_end(&log) as usize;
    let expected = contents(&user, "INBOX");
    user.append("INBOX", vec![message(&user, &[b'x'; 20_000], FlagList::default())], None).unwrap();
    let whole = without_reserve(&log);
    drop(user);
    for len in (before..whole.len()).filter(|len| len % 4096 == 0) {
        let mut bytes = whole[..len].to_vec();
        bytes.resize(whole.len() + 5000, 0);
        fs::write(&log, bytes).unwrap();
        let reopened = place.ada();
        assert_eq!(contents(&reopened, "INBOX"), expected, "cut at {len}");
        append(&reopened, "INBOX", 9);
        assert_eq!(contents(&place.ada(), "INBOX").len(), expected.len() + 1, "cut at {len}");
    }
}

#[test]
fn a_last_record_with_wrong_bytes_is_not_taken_for_one_that_breaks_off() {
    let place = Place::new();
    let user = place.ada();
    append_many(&user, "INBOX", 2);
    let mut view = select(&user, "INBOX");
    let log = place.ada_dir().join("log/0000000001");
    let at = log_end(&log) as usize;
    delete(&mut view, &uids(1..=1));
    drop((view, user));
    let mut bytes = fs::read(&log).unwrap();
    // The length of the payload; what fills up the last word is not looked at.
    let len = u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
    for damaged in at..at + record::HEADER + len {
        bytes[damaged] ^= 4;
        fs::write(&log, &bytes).unwrap();
        assert!(matches!(place.open().user(&ada()), Err(Error::Damaged { .. })), "byte {damaged}");
        bytes[damaged] ^= 4;
    }
}

#[test]
fn a_reader_waits_for_a_transaction_that_is_being_written() {
    let place = Place::new();
    let (writer, reader) = (place.ada(), place.ada());
    append_many(&writer, "INBOX", 2);
    let mut view = select(&reader, "INBOX");
    let log = place.ada_dir().join("log/0000000001");
    let before = log_end(&log) as usize;
    append(&writer, "INBOX", 3);
    let whole = without_reserve(&log);
    let handle = fs::File::options().write(true).open(&log).unwrap();
    handle.set_len(before as u64).unwrap();
    for len in before..whole.len() {
        std::os::unix::fs::FileExt::write_all_at(&handle, &whole[before..len], before as u64).unwrap();
        assert_eq!(view.sync(Expunges::Report).unwrap(), Changes::default(), "{len} bytes");
    }
    std::os::unix::fs::FileExt::write_all_at(&handle, &whole[before..], before as u64).unwrap();
    assert_eq!(view.sync(Expunges::Report).unwrap().exists, Some(3));
}

#[test]
fn damage_in_the_middle_is_reported_and_not_cut_away() {
    let place = Place::new();
    let user = place.ada();
    append_many(&user, "INBOX", 2);
    let log = place.ada_dir().join("log/0000000001");
    let at = log_end(&log) as usize;
    append(&user, "INBOX", 3);
    append(&user, "INBOX", 4);
    drop(user);
    let mut bytes = fs::read(&log).unwrap();
    // A header byte of the third message.
    bytes[at + 8] ^= 1;
    fs::write(&log, &bytes).unwrap();
    let opened = place.open().user(&ada());
    assert!(matches!(opened, Err(Error::Damaged { offset, .. }) if offset == at as u64), "{opened:?}");
    assert_eq!(fs::read(&log).unwrap(), bytes, "nothing was thrown away");
}

#[test]
fn zeros_in_the_middle_are_not_taken_for_the_end() {
    let place = Place::new();
    let user = place.ada();
    append_many(&user, "INBOX", 2);
    let log = place.ada_dir().join("log/0000000001");
    let at = log_end(&log) as usize;
    append(&user, "INBOX", 3);
    let end = log_end(&log) as usize;
    append(&user, "INBOX", 4);
    drop(user);
    let mut bytes = fs::read(&log).unwrap();
    bytes[at..end].fill(0);
    fs::write(&log, &bytes).unwrap();
    let opened = place.open().user(&ada());
    assert!(matches!(opened, Err(Error::Damaged { offset, .. }) if offset == at as u64), "{opened:?}");
    assert_eq!(fs::read(&log).unwrap(), bytes, "nothing was thrown away");
}

fn lose_power(place: &Place) {
    // The store was last used in another boot, and not closed.
    let path = place.dir.path().join("epoch");
    begin_epoch(place.dir.path()).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[16..52].fill(b'0');
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    begin_epoch(place.dir.path()).unwrap();
}

#[test]
fn after_a_loss_of_power_no_number_comes_again() {
    let place = Place::new();
    begin_epoch(place.dir.path()).unwrap();
    let user = place.ada();
    append_many(&user, "INBOX", 3);
    let log = place.ada_dir().join("log/0000000001");
    let synced = log_end(&log);
    // Seen by others, lost before it was synced.
    let lost = append(&user, "INBOX", 4);
    let modseq = user.status("INBOX").unwrap().highest_modseq;
    drop(user);
    fs::File::options().write(true).open(&log).unwrap().set_len(synced).unwrap();
    lose_power(&place);

    let user = place.ada();
    let status = user.status("INBOX").unwrap();
    assert_eq!(status.messages, 3);
    assert!(status.uid_next > u64::from(lost) && status.highest_modseq > modseq);
    assert!(append(&user, "INBOX", 5) > lost);
    let next = user.status("INBOX").unwrap().uid_next;
    assert_eq!(place.ada().status("INBOX").unwrap().uid_next, next, "it jumps once");
}

#[test]
fn a_hole_that_a_loss_of_power_left_is_set_aside() {
    let place = Place::new();
    begin_epoch(place.dir.path()).unwrap();
    let user = place.ada();
    append_many(&user, "INBOX", 2);
    let log = place.ada_dir().join("log/0000000001");
    let at = log_end(&log) as usize;
    append(&user, "INBOX", 3);
    append(&user, "INBOX", 4);
    drop(user);
    // The disk kept the last write and lost message bytes of the one before.
    let mut bytes = without_reserve(&log);
    bytes[at + 20..at + 40].fill(0);
    fs::write(&log, &bytes).unwrap();
    lose_power(&place);
    assert_eq!(contents(&place.ada(), "INBOX").len(), 2);
    let aside = fs::read(place.ada_dir().join(format!("log/0000000001.torn-{at}"))).unwrap();
    assert_eq!(aside, bytes[at..]);
    assert_eq!(contents(&place.ada(), "INBOX").len(), 2, "a second recovery changes nothing");
}

#[test]
fn another_user_s_log_is_not_opened() {
    let place = Place::new();
    drop(place.ada());
    let eve = UserName::new("eve").unwrap();
    let there = path::user_dir(place.dir.path(), &eve);
    fs::create_dir_all(there.parent().unwrap()).unwrap();
    fs::rename(place.ada_dir(), &there).unwrap();
    assert!(matches!(place.open().user(&eve), Err(Error::Damaged { .. })));
}
