//! What the fuzzers call, and `tests/fuzz_corpus.rs` with the inputs that they have found. Any bytes may come; a panic is
//! a find.
//!
//! Checksums keep random bytes out of the store. Where the first byte of an input is odd, its checksums are made right
//! first, so that what is behind them is reached as well.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heliograph::imap::framing::{Frame, FrameLimits, Framer};
use heliograph::imap::parse::{decode_sasl, parse_append, parse_append_next, parse_command, tag_of};
use heliograph::imap::sequence::SequenceSet;
use heliograph::imap::types::Dialect;
use heliograph::imap::utf7;
use heliograph::message::{self, EnvelopeField, Needle, Parts, Scope};
use heliograph::store::backup;
use heliograph::store::{
    self, Access, ChangeListener, MailboxId, ModSeq, Options, SpecialUses, Store, Uid, User, UserName,
};

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// The name of each, which is its corpus's, too.
pub const TARGETS: &[(&str, Target)] = &[
    ("framing", framing),
    ("grammar", grammar),
    ("message", message),
    ("sequence", sequence),
    ("log", log),
    ("snapshot", snapshot),
    ("backup", backup_stream),
];

/// Commands are found in the same places, however the bytes come.
pub fn framing(data: &[u8]) {
    let Some((&mode, input)) = data.split_first() else { return };
    let whole = frames(input, mode, input.len().max(1));
    let pieces = frames(input, mode, 1 + usize::from(mode >> 4));
    assert_eq!(whole, pieces, "the frames depend on how the bytes come");
}

/// What the framer says of bytes that come in pieces of this size; the mode decides about literals.
fn frames(input: &[u8], mode: u8, piece: usize) -> Vec<String> {
    let limits = if mode & 1 == 0 { FrameLimits::AFTER_LOGIN } else { FrameLimits::BEFORE_LOGIN };
    let (mut framer, mut said) = (Framer::new(limits), Vec::new());
    let (mut from, mut to, mut streamed) = (0, 0, 0);
    loop {
        let framed = framer.next(&input[from..to]);
        assert!(framed.consumed <= to - from, "more was taken than there is");
        from += framed.consumed;
        match framed.frame {
            Frame::Incomplete if to == input.len() => return said,
            Frame::Incomplete => to = input.len().min(to + piece),
            Frame::Broken => {
                said.push("broken".to_owned());
                return said;
            }
            // Pieces of a streamed message are as they come; together they are the same.
            Frame::Data { bytes, left } => {
                streamed += bytes.len();
                if left == 0 {
                    said.push(format!("message of {streamed}"));
                    streamed = 0;
                }
            }
            Frame::Literal { literal, head } => {
                let taken = mode & 2 == 0 && framer.accept(head).is_ok();
                match (taken, mode & 4 == 0) {
                    (true, _) => {}
                    (false, true) => framer.stream(),
                    (false, false) => framer.refuse(),
                }
                said.push(format!("{literal:?} {taken}"));
            }
            frame => said.push(format!("{frame:?}")),
        }
    }
}

/// A command is read or refused.
pub fn grammar(data: &[u8]) {
    let Some((&mode, input)) = data.split_first() else { return };
    let dialect = if mode & 1 == 0 { Dialect::REV1 } else { Dialect::REV2 };
    match parse_command(input, dialect) {
        Ok(command) => assert!(tag_of(input).is_some(), "a command without a tag: {command:?}"),
        Err(error) => assert!(error.to_string().len() < 1000, "a long story about a short line"),
    }
    let _ = parse_append(input, dialect);
    let _ = parse_append_next(input, dialect);
    let _ = decode_sasl(input);
    if let Ok(name) = utf7::decode(input) {
        let mut encoded = Vec::new();
        utf7::encode(&name, &mut encoded);
        assert_eq!(utf7::decode(&encoded).as_deref(), Ok(&*name), "a mailbox name changes on the wire");
    }
}

/// A message is described, whatever it is, and the description fits it.
pub fn message(data: &[u8]) {
    let found = message::analyze(data);
    assert_eq!(found.parts.message_len(), data.len() as u64);
    let mut table = Vec::new();
    found.parts.encode(&mut table);
    assert_eq!(
        Parts::decode(&table).ok().as_ref(),
        Some(&found.parts),
        "the table of parts does not survive"
    );
    let at = |range: std::ops::Range<u64>| &data[range.start as usize..range.end as usize];
    let mut decoded = Vec::new();
    for part in found.parts.iter() {
        let (header, body) = (at(part.header()), at(part.body()));
        let names = [&b"subject"[..], b"to"].into_iter().collect();
        message::header_fields(header, &names, false, &mut decoded);
        let _ = message::decode_words(header);
        let _ = message::decode_transfer(part.encoding, body, &mut decoded);
        decoded.clear();
    }
    for text in ["sun", "Grüße", ""] {
        let needle = Needle::new(text);
        message::search_text(data, &found.parts, &needle, Scope::Text);
        message::search_header(data, b"subject", &needle);
    }
    let _ = Parts::decode(data);
    sort_keys(found.envelope(), data);
}

/// What messages are sorted and threaded by is read from an envelope, or from anything.
fn sort_keys(envelope: &[u8], data: &[u8]) {
    let mut base = String::new();
    for bytes in [envelope, data] {
        for field in [EnvelopeField::Date, EnvelopeField::Subject, EnvelopeField::From, EnvelopeField::Cc] {
            let _ = message::envelope_text(bytes, field);
            let _ = message::first_address(bytes, field);
        }
        message::base_subject(bytes, &mut base);
        assert!(message::message_ids(bytes).all(|id| id.contains(&b'@')), "an id without its sign");
    }
}

/// A set is resolved without walking through it.
pub fn sequence(data: &[u8]) {
    let Some((set, length)) = SequenceSet::parse_prefix(data) else { return };
    assert!(length <= data.len());
    assert!(SequenceSet::parse(&data[..length]).is_some());
    for largest in [0, 1, 1000, u32::MAX] {
        let resolved = set.resolve(largest);
        let ranges: Vec<_> = resolved.ranges().collect();
        assert!(ranges.windows(2).all(|pair| pair[0].end() < pair[1].start()), "ranges overlap");
        let count: u64 = ranges.iter().map(|range| u64::from(range.end() - range.start()) + 1).sum();
        assert_eq!(count, resolved.count());
        assert!(
            ranges.iter().all(|range| resolved.contains(*range.start()) && resolved.contains(*range.end()))
        );
    }
    set.numbers().take(10_000).for_each(drop);
}

/// The first segment of a log: it is read, cut, or refused. What is read once is read again.
pub fn log(data: &[u8]) {
    let Some((&mode, input)) = data.split_first() else { return };
    with_place(|place| {
        let mut segment = input.to_vec();
        if mode & 1 == 1 {
            seal_segment(&mut segment, &place.mark);
        }
        place.clear();
        fs::write(place.user.join("log/0000000001"), segment).expect("write the segment");
        fs::write(place.user.join("lock"), []).expect("make the lock");
        place.open_twice();
    });
}

/// A snapshot is used or passed over: the log behind it is whole.
pub fn snapshot(data: &[u8]) {
    let Some((&mode, input)) = data.split_first() else { return };
    with_place(|place| {
        let mut snapshot = input.to_vec();
        if mode & 1 == 1 {
            seal_snapshot(&mut snapshot, &place.mark);
        }
        place.clear();
        for (name, bytes) in &place.segments {
            fs::write(place.user.join("log").join(name), bytes).expect("write a segment");
        }
        fs::write(place.user.join("snapshot"), snapshot).expect("write the snapshot");
        fs::write(place.user.join("lock"), []).expect("make the lock");
        place.open_twice();
    });
}

/// A backup is checked and listed.
pub fn backup_stream(data: &[u8]) {
    let Some((&mode, input)) = data.split_first() else { return };
    let mut stream = input.to_vec();
    if mode & 1 == 1 {
        seal_backup(&mut stream);
    }
    let verified = backup::verify(stream.as_slice()).is_ok();
    let listed = backup::list(stream.as_slice(), &mut io::sink());
    assert!(!verified || listed.is_ok(), "a good stream cannot be listed");
}

/// A store with one user, whose files each input replaces.
struct Place {
    root: tempfile::TempDir,
    user: PathBuf,
    /// The identity of the user, which all of its files have.
    mark: [u8; 16],
    /// Whole segments for a snapshot to stand on.
    segments: Vec<(String, Vec<u8>)>,
}

thread_local! {
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
}

fn with_place(run: impl FnOnce(&Place)) {
    PLACE.with_borrow_mut(|place| run(place.get_or_insert_with(Place::new)));
}

struct Deaf;

impl ChangeListener for Deaf {
    fn changed(&self, _: &UserName, _: MailboxId, _: ModSeq) {}
}

impl Place {
    /// Copies the golden store of format 1.0, in memory where that can be.
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let root = root.expect("make a directory");
        let golden = Path::new(env!("CARGO_MANIFEST_DIR"));
        let golden =
            golden.ancestors().map(|dir| dir.join("tests/golden/format-1.0")).find(|dir| dir.is_dir());
        let golden = golden.expect("the golden store");
        let below = Path::new("=user/2f/80/=ada");
        let user = root.path().join(below);
        fs::create_dir_all(user.join("log")).expect("make the user's directory");
        store::begin_epoch(root.path()).expect("begin an epoch");
        let logs = fs::read_dir(golden.join(below).join("log")).expect("the segments").flatten();
        let segments: Vec<(String, Vec<u8>)> = logs
            .map(|entry| {
                let name = entry.file_name().into_string().expect("a plain name");
                (name, fs::read(entry.path()).expect("read a segment"))
            })
            .collect();
        let mark = segments[0].1[16..32].try_into().expect("16 bytes");
        Place { root, user, mark, segments }
    }

    /// Removes what the last input has left, and what was made of it.
    fn clear(&self) {
        for entry in fs::read_dir(&self.user).expect("the user's directory").flatten() {
            let path = entry.path();
            match entry.file_name().to_str() {
                _ if path.is_dir() => {
                    fs::remove_dir_all(&path).expect("clear a directory");
                    fs::create_dir(&path).expect("make it again");
                }
                _ => fs::remove_file(&path).expect("remove a file"),
            }
        }
    }

    /// What was opened and read can be written to, and is the same the next time.
    fn open_twice(&self) {
        let first = self.open(|user| {
            let seen = describe(user);
            (seen, user.create(MADE, SpecialUses::NONE).is_ok())
        });
        let Some((seen, made)) = first else { return };
        let again = self.open(describe).expect("a store that was opened is opened again");
        let (new, old): (Vec<String>, Vec<String>) =
            again.into_iter().partition(|line| line.starts_with(MADE));
        if made {
            assert!(!new.is_empty(), "a mailbox that was made is gone");
            assert_eq!(seen, old, "the second opening sees another store");
        }
    }

    /// `None` where the store refuses.
    fn open<T>(&self, look: impl FnOnce(&Arc<User>) -> T) -> Option<T> {
        let store = Store::open(Options::new(self.root.path()), Arc::new(Deaf)).expect("open the store");
        let user = store.user(&UserName::new("ada").expect("a name")).ok();
        let looked = user.map(|user| look(&user));
        store.close();
        looked
    }
}

/// A mailbox that the fuzzer makes.
const MADE: &str = "made by the fuzzer";

/// A line for each mailbox, after reading all that is known of its messages.
fn describe(user: &Arc<User>) -> Vec<String> {
    let Ok(tree) = user.tree() else { return Vec::new() };
    let names = tree.mailboxes().iter().map(|entry| entry.name.to_string());
    names.filter_map(|name| mailbox(user, &name).map(|counts| format!("{name} {counts}"))).collect()
}

fn mailbox(user: &Arc<User>, name: &str) -> Option<String> {
    let status = user.status(name).ok()?;
    let view = user.select(name, Access::ReadOnly, false).ok()?;
    let mut messages = Vec::new();
    view.messages(&view.uids().to_set(), Uid::MIN, usize::MAX, &mut messages).ok()?;
    let mut bytes = Vec::new();
    for message in &messages {
        let _ = view.meta(message).map(|meta| meta.parts().is_some());
        let _ = view.read(message, 0..4096, &mut bytes);
    }
    let flags: Vec<String> =
        messages.iter().map(|m| format!("{:?} {:?} {:?}", m.uid, m.flags, m.keywords)).collect();
    assert_eq!(status.messages as usize, messages.len(), "{name}: the count and the messages");
    Some(format!("{status:?} {flags:?} {:?}", view.keywords()))
}

/// Makes the checksums of a segment right (`docs/store-format.md`, "Segments"), and the places that records say of
/// themselves.
fn seal_segment(bytes: &mut [u8], mark: &[u8; 16]) {
    if bytes.len() < 64 {
        return;
    }
    bytes[..8].copy_from_slice(b"HELIOLOG");
    bytes[8..16].copy_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0]);
    bytes[16..32].copy_from_slice(mark);
    seal(bytes, 0..60, 60);
    let mut at = 64;
    while at + 16 <= bytes.len() {
        let len = clamp_len(bytes, at, 16);
        bytes[at + 8..at + 12].copy_from_slice(&(at as u32).to_le_bytes());
        seal(bytes, at + 16..at + 16 + len, at + 12);
        let mut check = crc32fast::Hasher::new();
        check.update(&bytes[at..at + 6]);
        check.update(&bytes[at + 8..at + 12]);
        bytes[at + 6..at + 8].copy_from_slice(&(check.finalize() as u16).to_le_bytes());
        at += 16 + len.next_multiple_of(8);
    }
}

fn seal_snapshot(bytes: &mut [u8], mark: &[u8; 16]) {
    if bytes.len() < 40 {
        return;
    }
    bytes[..12].copy_from_slice(b"HELIOSNP\x01\0\0\0");
    bytes[16..32].copy_from_slice(mark);
    let end = bytes.len();
    seal(bytes, 16..end, 12);
}

/// Makes the checksums and numbers of a backup's frames right (`docs/backup-format.md`).
fn seal_backup(bytes: &mut [u8]) {
    if bytes.len() < 80 {
        return;
    }
    bytes[..12].copy_from_slice(b"HELIOBAK\x01\0\0\0");
    seal(bytes, 0..76, 76);
    let (mut at, mut number) = (80, 0u64);
    while at + 24 <= bytes.len() {
        let len = clamp_len(bytes, at, 24);
        bytes[at + 8..at + 16].copy_from_slice(&number.to_le_bytes());
        seal(bytes, at + 24..at + 24 + len, at + 16);
        seal(bytes, at..at + 20, at + 20);
        (at, number) = (at + 24 + len, number + 1);
    }
}

/// The length that a header gives, made to fit what is there.
fn clamp_len(bytes: &mut [u8], at: usize, header: usize) -> usize {
    let said = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
    let len = said.min(bytes.len() - at - header);
    bytes[at..at + 4].copy_from_slice(&(len as u32).to_le_bytes());
    len
}

/// Writes the checksum of a range.
fn seal(bytes: &mut [u8], of: std::ops::Range<usize>, at: usize) {
    let crc = crc32fast::hash(&bytes[of]);
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}
