//! Damage of every kind is named, and what is whole comes back.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::store::check::{Checked, check, repair};
use crate::store::record::{HEADER, Header};

const GRACE: Duration = Duration::from_secs(86_400);

fn checked(place: &Place) -> Checked {
    check(place.dir.path(), &ada(), GRACE).unwrap()
}

#[track_caller]
fn mended(place: &Place) -> Checked {
    let mended = repair(place.dir.path(), &ada(), GRACE).unwrap();
    assert_eq!(mended.left, [], "after {mended:#?}");
    let again = checked(place);
    assert_eq!(again.findings, [], "after {mended:#?}");
    mended
}

/// A user with several segments, every type of record, and messages in files.
fn lively() -> Place {
    let place = Place::new();
    let user = place.open_with(|options| options.segment_size = 2500).user(&ada()).unwrap();
    append_many(&user, "INBOX", 6);
    drop(select(&user, "INBOX"));
    user.create("Work", SpecialUses::NONE).unwrap();
    user.create("doomed", SpecialUses::NONE).unwrap();
    let mut view = select(&user, "INBOX");
    add(&mut view, &uids(1..=3), flags(Flags::SEEN, &["$Forwarded"]));
    view.copy(&uids(2..=4), "Work").unwrap();
    delete(&mut view, &uids(1..=1));
    drop(view);
    append_many(&user, "INBOX", 6);
    user.delete("doomed").unwrap();
    user.rename("Work", "Play").unwrap();
    user.subscribe("Play", true).unwrap();
    let large = [b"Subject: number 7\r\n\r\n".to_vec(), b"0123456789abcdef\r\n".repeat(40_000)].concat();
    user.append("Play", vec![message(&user, &large, FlagList::default())], None).unwrap();
    append_many(&user, "Play", 6);
    append(&user, "INBOX", 20);
    place
}

fn segments(place: &Place) -> Vec<PathBuf> {
    let files = files::LogFiles::list(&place.ada_dir()).unwrap();
    files.segments.iter().map(|segment| files::segment_path(&place.ada_dir(), *segment)).collect()
}

/// Each record of a segment: offset, type, length.
fn records(bytes: &[u8]) -> Vec<(usize, record::Kind, usize)> {
    let mut found = Vec::new();
    let mut at = 64;
    while let Some(head) = bytes.get(at..).and_then(|rest| rest.first_chunk::<HEADER>()) {
        if head == &[0; HEADER] {
            break;
        }
        let header = Header::decode(head, at as u32).unwrap();
        found.push((at, header.kind, header.len as usize));
        at += header.stride() as usize;
    }
    found
}

fn save_snapshot(place: &Place) {
    let user = place.ada();
    user.known().unwrap().state.since_snapshot = u64::MAX / 2;
    user.save_snapshot().unwrap();
}

/// UIDs and subjects of a mailbox, and of one that has lost its name.
fn subjects(place: &Place, mailbox: &str) -> BTreeSet<String> {
    let user = place.ada();
    let tree = user.tree().unwrap();
    let names = tree.mailboxes().iter().map(|entry| entry.name.as_str());
    let names = names.filter(|name| *name == mailbox || name.starts_with("Recovered "));
    let words = |line: String| line.split(" Flags").next().unwrap().to_owned();
    names.flat_map(|name| contents(&user, name)).map(words).collect()
}

#[test]
fn a_whole_store_is_clean_with_and_without_a_snapshot() {
    let place = lively();
    assert!(segments(&place).len() > 2);
    let found = checked(&place);
    assert_eq!(found.findings, []);
    assert_eq!(found.messages, 22);
    save_snapshot(&place);
    assert_eq!(checked(&place).findings, []);
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for format in ["format-1.0", "compacted-1.0"] {
        let place = Place::new();
        let done = std::process::Command::new("cp")
            .arg("-r")
            .arg(golden.join(format).join("=user"))
            .arg(place.dir.path())
            .status();
        assert!(done.unwrap().success());
        for file in walk(&place.ada_dir()) {
            fs::set_permissions(&file, fs::Permissions::from_mode(if file.is_dir() { 0o700 } else { 0o600 }))
                .unwrap();
        }
        assert_eq!(checked(&place).findings, [], "{format}");
    }
}

fn walk(dir: &std::path::Path) -> Vec<PathBuf> {
    let mut all = vec![dir.to_owned()];
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { all.extend(walk(&entry)) } else { all.push(entry) }
    }
    all
}

#[test]
fn a_flipped_bit_in_any_record_is_named_and_costs_that_record_only() {
    let whole = lively();
    let inbox = subjects(&whole, "INBOX");
    for (number, path) in segments(&whole).iter().enumerate() {
        let bytes = fs::read(path).unwrap();
        for (at, kind, len) in records(&bytes) {
            for flipped in [at + 1, at + HEADER + len / 2] {
                if flipped >= at + HEADER + len.max(1) {
                    continue;
                }
                let place = lively();
                let mut bad = bytes_of(&place, number);
                let (at, _, _) = *records(&bad).iter().find(|record| record.0 == at).unwrap();
                bad[flipped] ^= 2;
                fs::write(&segments(&place)[number], &bad).unwrap();
                let what = format!("{kind:?} at {at} of segment {}, byte {flipped}", number + 1);
                let found = checked(&place);
                assert!(found.findings.iter().any(|f| f.offset == at as u64), "{what}: {found:#?}");
                let done = mended(&place);
                let is = subjects(&place, "INBOX");
                // A message whose Append record is damaged comes back with a new UID.
                let subject = |line: &String| line.split_once(' ').unwrap().1.to_owned();
                let have: Vec<String> = is.iter().map(subject).collect();
                let had: Vec<String> = inbox.iter().map(subject).collect();
                let count = |all: &[String], one: &String| all.iter().filter(|other| *other == one).count();
                let missing = |one: &&String| count(&have, one) < count(&had, one);
                let lost = had.iter().collect::<BTreeSet<_>>().into_iter().filter(missing).count();
                let may_lose = match kind {
                    // Those that are still there as copies, in another mailbox.
                    record::Kind::Append => 3,
                    record::Kind::Blob => 1,
                    _ => 0,
                };
                assert!(lost <= may_lose, "{what}: {lost} lost, {done:#?}");
                if kind == record::Kind::Blob {
                    assert!(!done.lost.is_empty() || flipped != at, "{what}: {done:#?}");
                }
                assert!(u64::from(append(&place.ada(), "INBOX", 30)) > 12, "{what}");
                assert_eq!(checked(&place).findings, [], "{what}");
            }
        }
    }
}

fn bytes_of(place: &Place, number: usize) -> Vec<u8> {
    fs::read(&segments(place)[number]).unwrap()
}

#[test]
fn a_snapshot_knows_what_the_log_has_lost_in_front_of_it() {
    let place = lively();
    save_snapshot(&place);
    let (inbox, play) = (contents(&place.ada(), "INBOX").len(), contents(&place.ada(), "Play").len());
    let mut bad = bytes_of(&place, 0);
    let (at, ..) = *records(&bad).iter().find(|record| record.1 == record::Kind::Append).unwrap();
    bad[at + HEADER + 30] ^= 1;
    fs::write(&segments(&place)[0], &bad).unwrap();
    let found = checked(&place);
    assert!(found.findings[0].problem.contains("INBOX:1,2,3,4,5,6"), "{found:#?}");
    let done = mended(&place);
    assert_eq!(done.lost, [""; 0]);
    assert_eq!((contents(&place.ada(), "INBOX").len(), contents(&place.ada(), "Play").len()), (inbox, play));
}

#[test]
fn whole_files_may_be_missing_or_cut() {
    for damage in ["middle", "first", "cut", "tail", "blob", "short blob", "snapshot", "header", "modes"] {
        let place = lively();
        save_snapshot(&place);
        let before = subjects(&place, "INBOX");
        let segment = segments(&place)[1].clone();
        let blob = fs::read_dir(place.ada_dir().join("blob")).unwrap().next().unwrap().unwrap().path();
        let cut = |path: &PathBuf, keep: fn(usize) -> usize| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..keep(bytes.len())]).unwrap();
        };
        match damage {
            "middle" => fs::remove_file(&segment).unwrap(),
            "first" => fs::remove_file(&segments(&place)[0]).unwrap(),
            "cut" => cut(&segment, |len| len / 2),
            "tail" => {
                let last = segments(&place).len() - 1;
                let bytes = bytes_of(&place, last);
                let (at, _, len) = *records(&bytes).last().unwrap();
                fs::write(&segments(&place)[last], &bytes[..at + len - 200]).unwrap();
            }
            "blob" => fs::remove_file(&blob).unwrap(),
            "short blob" => cut(&blob, |len| len / 2),
            "snapshot" => cut(&place.ada_dir().join("snapshot"), |len| len / 2),
            "header" => {
                let mut bytes = fs::read(&segment).unwrap();
                bytes[9] ^= 1;
                bytes[40] ^= 1;
                fs::write(&segment, bytes).unwrap();
            }
            _ => fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).unwrap(),
        }
        if damage == "header" {
            let mut bytes = fs::read(&segment).unwrap();
            bytes[9] ^= 1;
            fs::write(&segment, bytes).unwrap();
        }
        let found = checked(&place);
        assert!(!found.findings.is_empty(), "{damage}");
        let done = mended(&place);
        let after = subjects(&place, "INBOX");
        if ["blob", "short blob", "snapshot", "header", "modes"].contains(&damage) {
            assert_eq!(after, before, "{damage}");
        }
        if damage.ends_with("blob") {
            assert_eq!(done.lost, ["Play:4"], "{damage}");
        }
        append(&place.ada(), "INBOX", 30);
        assert_eq!(checked(&place).findings, [], "{damage}");
    }
}

#[test]
fn others_who_have_the_user_open_go_on_with_what_is_whole() {
    let place = lively();
    let (reader, writer) = (place.ada(), place.ada());
    let mut view = select(&reader, "INBOX");
    let gone = view.exists();
    let last = segments(&place).len() - 1;
    let mut bad = bytes_of(&place, last);
    let (at, ..) = *records(&bad).iter().rev().find(|record| record.1 == record::Kind::Blob).unwrap();
    bad[at + HEADER] ^= 1;
    fs::write(&segments(&place)[last], &bad).unwrap();
    assert!(place.open().user(&ada()).is_err(), "who opens it sees the damage");
    let done = mended(&place);
    assert_eq!(done.lost.len(), 1, "{done:#?}");
    let changes = view.sync(Expunges::Report).unwrap();
    assert_eq!((changes.expunged.len(), view.exists()), (1, gone - 1));
    let uid = append(&writer, "INBOX", 40);
    assert_eq!(view.sync(Expunges::Report).unwrap().exists, Some(gone));
    assert!(view.uids().contains(Uid::new(uid).unwrap()));
    assert_eq!(contents(&place.ada(), "INBOX").len(), gone as usize);
    assert_eq!(checked(&place).findings, []);
}

#[test]
fn a_transaction_that_is_being_written_is_not_damage() {
    let place = lively();
    let last = segments(&place).len() - 1;
    let bytes = bytes_of(&place, last);
    let (at, _, len) = *records(&bytes).last().unwrap();
    for cut in [at + 3, at + HEADER, at + HEADER + len / 2] {
        fs::write(&segments(&place)[last], &bytes[..cut]).unwrap();
        assert_eq!(checked(&place).findings, [], "cut at {cut}");
    }
}
