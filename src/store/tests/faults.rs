//! Disks that are full or broken, and files that are not what they should be: every one of them has a clear answer,
//! nothing that was acknowledged is lost, and service goes on when the cause is gone.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};

use super::life::{look, open, open_with, say};
use super::simulated::{Call, Image, Mood, Op, Simulated, Verdict, Whim};
use super::*;

/// A user on a simulated disk, in as many processes as a test needs.
struct Scene {
    dir: tempfile::TempDir,
    disk: Arc<Simulated>,
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let disk = Simulated::new(dir.path());
        epoch::begin(&*disk, dir.path(), [b'1'; 36]).unwrap();
        Scene { dir, disk }
    }

    fn process(&self) -> (Arc<Simulated>, Arc<User>) {
        let disk = self.disk.for_another();
        let (_, user) = open(self.dir.path(), disk.clone()).unwrap();
        (disk, user)
    }

    fn messages(&self) -> Vec<String> {
        contents(&self.process().1, "INBOX")
    }

    /// Subjects of what is in INBOX after each of many losses of power at this moment.
    fn after_losses_of_power(&self) -> Vec<Vec<String>> {
        let mut image = Image::new();
        self.disk.ops().iter().for_each(|op| image.apply(op));
        let moods = [Mood::Thorough, Mood::Mild, Mood::Backward].into_iter().chain([Mood::Wild; 12]);
        moods.enumerate().map(|(luck, mood)| boot_after(&image, Whim::new(mood, luck as u64))).collect()
    }
}

fn boot_after(image: &Image, mut whim: Whim) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let (disk, _) = image.cut_power(&mut whim).restore(dir.path());
    epoch::begin(&*disk, dir.path(), [b'2'; 36]).unwrap();
    let (_store, user) = open(dir.path(), disk).unwrap();
    contents(&user, "INBOX")
}

fn try_append(user: &Arc<User>, n: usize) -> Result<Appended> {
    let appended = user.append("INBOX", vec![message(user, &body(n), FlagList::default())], None)?;
    user.settle(&user.log_end()?, None)?;
    Ok(appended)
}

fn code_of(error: &Error) -> Option<i32> {
    match error {
        Error::Io { source, .. } => source.raw_os_error(),
        _ => None,
    }
}

/// One kind of call fails, for as long as the trouble lasts.
fn failing(call: Call, code: i32) -> impl FnMut(Call) -> Verdict + Send + 'static {
    move |asked| match (asked == call, call) {
        (false, _) => Verdict::Pass,
        (true, Call::Write) => Verdict::Short(100, code),
        (true, _) => Verdict::Fail(code),
    }
}

#[test]
fn a_full_or_broken_disk_fails_the_command_and_nothing_else() {
    let table = [
        (Call::Write, libc::ENOSPC),
        (Call::Write, libc::EDQUOT),
        (Call::Write, libc::EIO),
        (Call::Write, libc::EROFS),
        (Call::Sync, libc::EIO),
        (Call::Sync, libc::ENOSPC),
    ];
    for (call, code) in table {
        let scene = Scene::new();
        let (disk, user) = scene.process();
        try_append(&user, 1).unwrap();
        disk.trouble(failing(call, code));
        let failed = try_append(&user, 2).unwrap_err();
        assert_eq!(code_of(&failed), Some(code), "{call:?}: {failed}");
        assert!(failed.to_string().contains("ada"), "the message names the place: {failed}");
        disk.mend();
        try_append(&user, 3).unwrap();
        let now = contents(&user, "INBOX");
        assert_eq!(scene.messages(), now, "{call:?} {code}");
        for found in scene.after_losses_of_power() {
            assert_eq!(found, now, "{call:?} {code}");
        }
    }
}

#[test]
fn a_full_disk_does_not_stop_reading_nor_a_cut_that_fails_too() {
    let scene = Scene::new();
    let (disk, user) = scene.process();
    try_append(&user, 1).unwrap();
    disk.trouble(|call| match call {
        Call::Write => Verdict::Short(70, libc::ENOSPC),
        _ => Verdict::Fail(libc::EIO),
    });
    assert_eq!(code_of(&try_append(&user, 2).unwrap_err()), Some(libc::ENOSPC));
    assert_eq!(contents(&user, "INBOX").len(), 1);
    disk.mend();
    assert_eq!(try_append(&user, 3).unwrap().uids, uids(2..=2));
    assert_eq!(scene.messages().len(), 2);
}

#[test]
fn what_a_failed_sync_left_out_is_written_again_before_anything_is_acknowledged() {
    let scene = Scene::new();
    let (disk, user) = scene.process();
    disk.trouble(failing(Call::Sync, libc::EIO));
    try_append(&user, 1).unwrap_err();
    disk.mend();
    try_append(&user, 2).unwrap();
    for found in scene.after_losses_of_power() {
        assert_eq!(found.len(), 2, "{found:?}");
    }
}

#[test]
fn a_failed_sync_concerns_processes_that_come_later_and_those_that_were_there() {
    for later in [false, true] {
        let scene = Scene::new();
        let (disk, user) = scene.process();
        let there = scene.process();
        disk.trouble(failing(Call::Sync, libc::EIO));
        try_append(&user, 1).unwrap_err();
        let (_, other) = if later { scene.process() } else { there };
        try_append(&other, 2).unwrap();
        for found in scene.after_losses_of_power() {
            assert_eq!(found.len(), 2, "came later: {later}, {found:?}");
        }
    }
}

/// Appends until the log is in its second segment, with trouble from the first message of the second on.
fn go_on_to_the_next_segment(trouble: impl Fn() -> Box<dyn FnMut(Call) -> Verdict + Send>) {
    let scene = Scene::new();
    let (disk, user) = scene.process();
    let (_, other) = scene.process();
    let mut acknowledged = 0;
    while fs::metadata(first_segment(&scene)).unwrap().len() <= 6000 {
        acknowledged += usize::from(try_append(&user, acknowledged).is_ok());
    }
    disk.trouble(trouble());
    acknowledged += usize::from(try_append(&user, 100).is_ok());
    acknowledged += usize::from(try_append(&other, 101).is_ok());
    disk.mend();
    for n in 102..105 {
        acknowledged += usize::from(try_append(&user, n).is_ok());
        acknowledged += usize::from(try_append(&other, n).is_ok());
    }
    assert_eq!(contents(&user, "INBOX"), contents(&other, "INBOX"));
    assert_eq!(scene.messages(), contents(&user, "INBOX"));
    for found in scene.after_losses_of_power() {
        assert!(found.len() >= acknowledged, "{} of {acknowledged} messages are there", found.len());
    }
}

fn first_segment(scene: &Scene) -> std::path::PathBuf {
    path::user_dir(scene.dir.path(), &ada()).join("log/0000000001")
}

#[test]
fn trouble_on_the_way_to_the_next_segment_loses_nothing() {
    for call in [Call::Open, Call::Write, Call::Sync, Call::Rename, Call::SyncDir] {
        for first in 0..4 {
            go_on_to_the_next_segment(|| {
                let mut calls = 0;
                Box::new(move |asked| {
                    calls += usize::from(asked == call);
                    if asked == call && calls > first { Verdict::Fail(libc::EIO) } else { Verdict::Pass }
                })
            });
        }
    }
}

#[test]
fn without_descriptors_a_user_is_opened_later() {
    let scene = Scene::new();
    try_append(&scene.process().1, 1).unwrap();
    let disk = scene.disk.for_another();
    disk.trouble(failing(Call::Open, libc::EMFILE));
    let refused = open(scene.dir.path(), disk.clone()).map(|_| ()).unwrap_err();
    assert_eq!(code_of(&refused), Some(libc::EMFILE));
    disk.mend();
    assert_eq!(contents(&open(scene.dir.path(), disk).unwrap().1, "INBOX").len(), 1);
}

#[test]
fn users_without_sessions_make_room_for_one_who_comes() {
    let scene = Scene::new();
    let disk = scene.disk.for_another();
    let (store, one) = open(scene.dir.path(), disk.clone()).unwrap();
    let bob = UserName::new("bob").unwrap();
    let cached = Arc::downgrade(&one);
    disk.trouble(move |call| match call {
        Call::Open if cached.strong_count() > 0 => Verdict::Fail(libc::EMFILE),
        _ => Verdict::Pass,
    });
    let refused = store.user(&bob).map(|_| ()).unwrap_err();
    assert_eq!(code_of(&refused), Some(libc::EMFILE), "a session has its user open");
    drop(one);
    assert!(store.user(&bob).is_ok(), "nobody needs the files of a user without a session");
}

#[test]
fn a_new_user_comes_into_being_after_any_trouble() {
    for call in [Call::Open, Call::Write, Call::Sync, Call::Rename, Call::SyncDir, Call::MakeDirs] {
        let scene = Scene::new();
        let disk = scene.disk.for_another();
        disk.trouble(failing(call, libc::ENOSPC));
        let refused = open(scene.dir.path(), disk.clone()).map(|_| ()).unwrap_err();
        assert_eq!(code_of(&refused), Some(libc::ENOSPC), "{call:?}: {refused}");
        disk.mend();
        let (_, user) = open(scene.dir.path(), disk).unwrap();
        try_append(&user, 1).unwrap();
        for found in scene.after_losses_of_power() {
            assert_eq!(found.len(), 1, "{call:?} {found:?}");
        }
    }
}

#[test]
fn a_large_message_that_does_not_fit_leaves_nothing_behind() {
    let scene = Scene::new();
    let (disk, user) = scene.process();
    disk.trouble(failing(Call::Write, libc::ENOSPC));
    let mut upload = user.upload();
    let failed = (0..60).find_map(|_| upload.write(&[b'x'; 20_000]).err()).unwrap();
    assert_eq!(code_of(&failed), Some(libc::ENOSPC));
    drop(upload);
    disk.mend();
    let blobs = path::user_dir(scene.dir.path(), &ada()).join("blob");
    assert_eq!(fs::read_dir(blobs).unwrap().count(), 0);
    try_append(&user, 1).unwrap();
}

#[test]
fn a_process_that_dies_while_it_makes_a_user_leaves_nothing_that_is_taken_for_durable() {
    for calls in 0..30 {
        let scene = Scene::new();
        let disk = scene.disk.for_another();
        let mut left = calls;
        disk.trouble(move |_| {
            left -= 1;
            if left < 0 { Verdict::Dead } else { Verdict::Pass }
        });
        let _ = open(scene.dir.path(), disk);
        let (_, user) = scene.process();
        try_append(&user, 1).unwrap();
        for found in scene.after_losses_of_power() {
            assert_eq!(found.len(), 1, "it died after {calls} calls");
        }
    }
}

#[test]
fn a_writer_waits_for_a_sync_when_too_much_could_be_lost() {
    let scene = Scene::new();
    let process = || open_with(scene.dir.path(), scene.disk.for_another(), limits::SEGMENT_SIZE).unwrap().1;
    let (writer, other) = (process(), process());
    let large = [b"Subject: large\r\n\r\n".to_vec(), vec![b'x'; 100_000]].concat();
    for _ in 0..limits::MAX_UNSYNCED / 100_000 + 1 {
        writer.append("INBOX", vec![message(&writer, &large, FlagList::default())], None).unwrap();
    }
    let mut view = other.select("INBOX", Access::ReadWrite, false).unwrap();
    let before = scene.disk.len();
    add(&mut view, &uids(1..=1), flags(Flags::SEEN, &[]));
    let ops = &scene.disk.ops()[before..];
    assert!(matches!(ops, [Op::Sync(_), Op::Write(..)]), "{} calls", ops.len());
}

/// Changes one byte of every record in the last transaction, and cuts the file at some places before.
#[test]
fn bits_that_flip_in_a_log_are_damage_and_never_cut_away() {
    let scene = Scene::new();
    let (_, user) = scene.process();
    try_append(&user, 1).unwrap();
    let path = first_segment(&scene);
    let from = fs::metadata(&path).unwrap().len();
    try_append(&user, 2).unwrap();
    drop(user);
    let whole = fs::read(&path).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    for at in from..whole.len() as u64 {
        let flipped = whole[at as usize] ^ 0x10;
        file.write_all_at(&[flipped], at).unwrap();
        match open(scene.dir.path(), scene.disk.for_another()) {
            Err(Error::Damaged { path: named, .. }) => assert_eq!(named, path),
            // Zeros between records are nobody's.
            Ok((_, user)) => assert_eq!(contents(&user, "INBOX").len(), 2, "flipped at {at}"),
            Err(error) => panic!("flipped at {at}: {error}"),
        }
        file.write_all_at(&whole[at as usize..][..1], at).unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole, "nothing was thrown away");
    }
    assert_eq!(scene.messages().len(), 2);
}

#[test]
fn a_snapshot_that_is_cut_or_flipped_anywhere_is_not_believed() {
    let scene = Scene::new();
    let (_, user) = scene.process();
    append_many(&user, "INBOX", 3);
    let expected = look(&user).0;
    user.known().unwrap().state.since_snapshot = u64::MAX / 2;
    user.save_snapshot().unwrap();
    let path = path::user_dir(scene.dir.path(), &ada()).join("snapshot");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        for bad in [&flipped[..], &whole[..at]] {
            fs::write(&path, bad).unwrap();
            let found = look(&scene.process().1).0;
            assert!(found == expected, "at {at} of {}: {}", whole.len(), say(&found));
        }
    }
}

#[test]
fn a_clock_that_jumps_back_gives_no_uidvalidity_twice() {
    let scene = Scene::new();
    let (_, user) = scene.process();
    let ahead = user::unix_now() as u32 + 1_000_000;
    user.transact(|state, txn| {
        user::new_mailbox("made tomorrow", SpecialUses::NONE, ahead.max(state.last_uid_validity), txn);
        Ok(())
    })
    .unwrap();
    user.delete("made tomorrow").unwrap();
    user.create("made today", SpecialUses::NONE).unwrap();
    assert!(user.status("made today").unwrap().uid_validity > ahead);
}

#[test]
fn links_in_the_store_are_not_followed() {
    let elsewhere = tempfile::tempdir().unwrap();
    for planted in ["", "log", "blob", "lock", "log/0000000001", "snapshot"] {
        let scene = Scene::new();
        let (_, user) = scene.process();
        try_append(&user, 1).unwrap();
        user.known().unwrap().state.since_snapshot = u64::MAX / 2;
        user.save_snapshot().unwrap();
        drop(user);
        let victim = path::user_dir(scene.dir.path(), &ada()).join(planted);
        let victim = victim.components().collect::<std::path::PathBuf>();
        let moved = elsewhere.path().join(format!("was {}", planted.replace('/', "-")));
        fs::rename(&victim, &moved).unwrap();
        symlink(&moved, &victim).unwrap();
        let opened = open(scene.dir.path(), scene.disk.for_another());
        if planted == "snapshot" {
            assert_eq!(contents(&opened.unwrap().1, "INBOX").len(), 1, "the log has it all");
        } else {
            let refused = opened.map(|_| ()).expect_err(planted).to_string();
            assert!(refused.contains(planted), "{planted}: {refused}");
        }
    }
}
