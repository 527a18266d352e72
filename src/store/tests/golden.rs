//! Stores that earlier versions wrote, in `tests/golden`, are read for ever.
//!
//! `HELIOGRAPH_GOLDEN=DIR cargo test golden` writes new ones into DIR, for a new version of the format. The text beside
//! each is what `tests/store_reader.py` prints.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::backup::{bring_back, full};
use super::compact::{GRACE, pass};
use super::life::{open_with, select_quietly};
use super::simulated::Simulated;
use super::*;

/// A directory each, and its text.
const FORMATS: &[&str] = &["format-1.0", "compacted-1.0", "restored-1.0"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[test]
fn what_went_from_a_golden_store_comes_back() {
    let place = Place::new();
    copy(&golden().join("compacted-1.0"), place.dir.path());
    let restored = place.ada().restore(None, Duration::from_secs(u64::MAX)).unwrap();
    let of = |mailbox: &str, made, messages| Restored { mailbox: mailbox.into(), made, messages };
    assert_eq!(restored, [of("INBOX", false, 2), of("verloren/日本語", true, 3)]);
    let lost = contents(&place.ada(), "verloren/日本語");
    assert!(lost[1].starts_with("2 number 2 Flags(1) [\"NonJunk\"]"), "{lost:?}");
}

#[test]
fn golden_stores_are_read() {
    if let Some(place) = std::env::var_os("HELIOGRAPH_GOLDEN") {
        write_golden(&Path::new(&place).join("format-1.0"));
        write_compacted(&Path::new(&place).join("compacted-1.0"));
        write_restored(&Path::new(&place).join("restored-1.0"));
    }
    for format in FORMATS {
        let place = Place::new();
        copy(&golden().join(format), place.dir.path());
        let expected = fs::read_to_string(golden().join(format).with_extension("0.txt")).unwrap();
        let with_snapshot = describe(&place.ada());
        assert_eq!(with_snapshot, expected, "{format}");
        fs::remove_file(place.ada_dir().join("snapshot")).unwrap();
        assert_eq!(describe(&place.ada()), expected, "{format} without its snapshot");
        let inbox = place.ada().status("INBOX").unwrap().uid_next;
        assert_eq!(u64::from(append(&place.ada(), "INBOX", 1)), inbox, "{format} goes on");
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// All of a user, a line per thing, as `tests/store_reader.py` prints it.
fn describe(user: &Arc<User>) -> String {
    let mut out = String::new();
    let tree = user.tree().unwrap();
    let mut entries: Vec<_> = tree.mailboxes().iter().collect();
    entries.sort_unstable_by_key(|entry| &entry.name);
    for entry in entries {
        let status = user.status(&entry.name).unwrap();
        let view = user.select(&entry.name, Access::ReadOnly, false).unwrap();
        let _ = writeln!(
            out,
            "mailbox {} uidvalidity={} uidnext={} modseq={} uses={} recent={} {}",
            entry.id,
            status.uid_validity,
            status.uid_next,
            status.highest_modseq,
            entry.uses.bits(),
            status.recent,
            entry.name
        );
        view.keywords().names().for_each(|name| out.push_str(&format!("keyword {name}\n")));
        let mut messages = Vec::new();
        view.messages(&view.uids().to_set(), Uid::MIN, usize::MAX, &mut messages).unwrap();
        messages.retain(|message| view.uids().contains(message.uid));
        messages.iter().for_each(|message| describe_message(&view, message, &mut out));
    }
    tree.subscriptions().iter().for_each(|name| out.push_str(&format!("subscription {name}\n")));
    out
}

fn describe_message(view: &Selected, message: &Message, out: &mut String) {
    let meta = view.meta(message).unwrap();
    let mut body = Vec::new();
    view.read(message, 0..u64::MAX, &mut body).unwrap();
    let parts = [&body, meta.envelope(), meta.body(), meta.body_structure()];
    let sums = parts.map(|part| format!("{:08x}", crc32fast::hash(part))).join(" ");
    let preview =
        meta.preview().map_or("none".into(), |text| format!("{:08x}", crc32fast::hash(text.as_bytes())));
    let mut keywords: Vec<_> = message.keywords.iter().filter_map(|at| view.keywords().name(at)).collect();
    keywords.sort_unstable();
    let line = format!(
        "message {} modseq={} flags={} size={} date={} zone={} saved={} sent={} email={:x} thread={:x} {sums} {preview} {}",
        message.uid,
        message.modseq,
        message.flags.bits(),
        message.size,
        message.internal_date.timestamp,
        message.internal_date.offset_minutes,
        message.save_date,
        message.sent_day.map_or("none".into(), |day| day.to_string()),
        message.email,
        message.thread,
        keywords.join(" ")
    );
    let _ = writeln!(out, "{}", line.trim_end());
}

/// A store with every type of record, names and keywords of every kind, several segments, and a message in a file.
fn write_golden(place: &Path) {
    fs::create_dir_all(place).unwrap();
    let disk = Simulated::new(place);
    epoch::begin(&*disk, place, [b'1'; 36]).unwrap();
    let open = |disk: &Simulated| open_with(place, disk.for_another(), 3000).unwrap().1;
    let user = open(&disk);
    append_many(&user, "INBOX", 6);
    drop(select(&user, "INBOX"));
    for name in
        ["Entwürfe/2024", "日本語", "a&b", "~peter/mail", "with space/\"quote\"", "🙂", "to be deleted"]
    {
        user.create(name, SpecialUses::NONE).unwrap();
    }
    user.create("Sent", SpecialUses::from_bits(32)).unwrap();
    let mut view = select_quietly(&user, "INBOX");
    add(&mut view, &uids(1..=3), flags(Flags::SEEN | Flags::FLAGGED, &["$Forwarded", "NonJunk", "odd!~#$"]));
    view.store(&uids(2..=2), FlagChange::Replace, &flags(Flags::ANSWERED, &["nonjunk"]), None).unwrap();
    view.store(&uids(3..=3), FlagChange::Remove, &flags(Flags::SEEN, &["NonJunk"]), None).unwrap();
    view.copy(&uids(2..=4), "日本語").unwrap();
    view.move_to(&uids(5..=5), "Sent").unwrap();
    view.copy(&uids(1..=2), "INBOX").unwrap();
    delete(&mut view, &uids(1..=1));
    drop(view);
    user.delete("to be deleted").unwrap();
    user.rename("Entwürfe/2024", "Entwürfe/älter").unwrap();
    user.subscribe("Sent", true).unwrap();
    user.subscribe("gone", true).unwrap();
    user.subscribe("gone", false).unwrap();
    let large = [b"Subject: number 7\r\n\r\n".to_vec(), b"0123456789abcdef\r\n".repeat(32_000)].concat();
    let mut dated = message(&user, &large, flags(Flags::DRAFT, &["NONJUNK"]));
    dated.internal_date = Some(InternalDate { timestamp: -86_400, offset_minutes: -570 });
    user.append("a&b", vec![dated], None).unwrap();
    save_snapshot(&user);
    user.rename("INBOX", "old mail").unwrap();
    epoch::begin(&*disk, place, [b'2'; 36]).unwrap();
    let user = open(&disk);
    append_many(&user, "INBOX", 2);
    fs::write(place.with_extension("0.txt"), describe(&user)).unwrap();
}

fn save_snapshot(user: &User) {
    user.known().unwrap().state.since_snapshot = u64::MAX / 2;
    user.save_snapshot().unwrap();
}

/// A store with a checkpoint that has all of its records, packs, a segment between them that was left alone, and a
/// snapshot.
fn write_compacted(place: &Path) {
    fs::create_dir_all(place).unwrap();
    let disk = Simulated::new(place);
    epoch::begin(&*disk, place, [b'1'; 36]).unwrap();
    let user = open_with(place, disk, 8000).unwrap().1;
    append_many(&user, "INBOX", 30);
    user.create("Entwürfe/日本語", SpecialUses::from_bits(4)).unwrap();
    let mut view = select(&user, "INBOX");
    add(&mut view, &uids(1..=9), flags(Flags::SEEN, &["$Forwarded", "NonJunk"]));
    view.copy(&uids(2..=3), "Entwürfe/日本語").unwrap();
    delete(&mut view, &uids(4..=28));
    user.subscribe("Entwürfe/日本語", true).unwrap();
    pass(48 * 3600);
    user.compact(GRACE).unwrap();
    append_many(&user, "INBOX", 25);
    user.create("verloren/日本語", SpecialUses::NONE).unwrap();
    append_many(&user, "verloren/日本語", 3);
    add(&mut select(&user, "verloren/日本語"), &uids(2..=2), flags(Flags::SEEN, &["NonJunk"]));
    user.delete("verloren/日本語").unwrap();
    delete(&mut view, &uids(1..=2));
    let large = [b"Subject: number 7\r\n\r\n".to_vec(), b"0123456789abcdef\r\n".repeat(32_000)].concat();
    user.append("Entwürfe/日本語", vec![message(&user, &large, FlagList::default())], None).unwrap();
    for round in 0..60 {
        let how = if round % 2 == 0 { FlagChange::Add } else { FlagChange::Remove };
        view.store(&uids(31..=50), how, &flags(Flags::FLAGGED, &["odd!~#$"]), None).unwrap();
    }
    user.compact(GRACE).unwrap();
    append_many(&user, "INBOX", 2);
    save_snapshot(&user);
    append_many(&user, "INBOX", 1);
    fs::write(place.with_extension("0.txt"), describe(&user)).unwrap();
}

/// A store with messages and mailboxes whose end was undone, and with others that came from a backup.
fn write_restored(place: &Path) {
    let original = Place::new();
    let user = original.ada();
    append_many(&user, "INBOX", 6);
    user.create("Gerettet/日本語", SpecialUses::from_bits(2)).unwrap();
    let mut view = select(&user, "INBOX");
    add(&mut view, &uids(2..=4), flags(Flags::FLAGGED, &["$Forwarded", "odd!~#$"]));
    view.copy(&uids(3..=5), "Gerettet/日本語").unwrap();
    delete(&mut view, &uids(1..=1));
    user.subscribe("Gerettet/日本語", true).unwrap();
    let backup = full(&original);

    let here = Place::new();
    epoch::begin(&disk::Local, here.dir.path(), [b'1'; 36]).unwrap();
    let user = here.ada();
    append_many(&user, "INBOX", 4);
    user.create("gelöscht", SpecialUses::NONE).unwrap();
    append_many(&user, "gelöscht", 2);
    let mut view = select(&user, "INBOX");
    add(&mut view, &uids(1..=2), flags(Flags::SEEN, &["NonJunk"]));
    delete(&mut view, &uids(1..=2));
    user.delete("gelöscht").unwrap();
    assert_eq!(user.restore(None, GRACE).unwrap().len(), 2);
    delete(&mut view, &uids(3..=3));
    drop((view, user));
    bring_back(&here, &[&backup], &[]).unwrap();
    let user = here.ada();
    save_snapshot(&user);
    append_many(&user, "INBOX", 1);
    fs::create_dir_all(place).unwrap();
    copy(here.dir.path(), place);
    fs::write(place.with_extension("0.txt"), describe(&user)).unwrap();
}
