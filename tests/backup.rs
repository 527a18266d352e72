//! `imsbackup` and `imsrestore` beside running servers: what was backed up comes back, as clients and as
//! `tests/store_reader.py` see it.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use common::client::Client;
use common::response::parse;
use common::server::{Options, PASSWORD, Server};

const USERS: [&str; 4] = ["ada", "bob@example.com", "o'neil smith", "érase"];

fn server() -> Server {
    Server::start(Options::default().users(&USERS[1..]))
}

fn call(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heliograph"));
    let base = server.dir();
    command.env("MSG_SVR_BASE", base).args(arguments).stdin(Stdio::null()).output().expect("run heliograph")
}

#[track_caller]
fn run(server: &Server, arguments: &[&str]) -> String {
    let output = call(server, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn login(server: &Server, user: &str) -> Client {
    let mut client = server.connect();
    client.ok(format!("AUTHENTICATE PLAIN {}", base64(format!("\0{user}\0{PASSWORD}").as_bytes())));
    client
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A bit of everything for each user.
fn live(server: &Server) {
    let (host, port) = (server.addr().ip().to_string(), server.addr().port().to_string());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/mixed_operations.py");
    for user in &USERS[..2] {
        let done = Command::new("python3")
            .arg(&script)
            .args([host.as_str(), port.as_str(), user, PASSWORD])
            .output();
        let done = done.expect("run python3");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let mut client = login(server, USERS[2]);
    client.ok("CREATE \"Gesendet &- weg\" (USE (\\Sent))");
    let large = [b"Subject: large\r\n\r\n".to_vec(), b"0123456789abcdef\r\n".repeat(60_000)].concat();
    client.append("\"Gesendet &- weg\"", &large).expect("an answer");
    client.append("INBOX", b"Subject: small\r\n\r\nx\r\n").expect("an answer");
    login(server, USERS[3]).append("INBOX", b"Subject: one\r\n\r\n").expect("an answer");
}

/// All that a user's client can see, but for what a restoration gives anew.
fn sight(server: &Server, user: &str) -> Vec<String> {
    let mut client = login(server, user);
    client.ok("ENABLE IMAP4rev2 CONDSTORE");
    let listed = client.ok("LIST \"\" * RETURN (SPECIAL-USE)");
    let mut seen: Vec<String> = listed.with("LIST ").map(text).collect();
    let names: Vec<String> = listed.with("LIST ").map(name).collect();
    seen.extend(client.ok("LIST (SUBSCRIBED) \"\" *").with("LIST ").map(text));
    for name in names {
        let status = client.ok(format!("STATUS {name} (MESSAGES UIDVALIDITY UNSEEN DELETED SIZE MAILBOXID)"));
        seen.extend(status.with("STATUS").map(text));
        client.ok(format!("EXAMINE {name}"));
        let items = "UID FLAGS INTERNALDATE SAVEDATE EMAILID THREADID ENVELOPE BODYSTRUCTURE BODY.PEEK[]";
        let fetched = client.command(format!("UID FETCH 1:* ({items})"));
        seen.extend(fetched.with("EMAILID").map(text));
    }
    seen.sort();
    seen
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).replace("\\Recent ", "").replace(" \\Recent", "").replace("\\Recent", "")
}

/// The name in a LIST response, as it stands there.
fn name(line: &[u8]) -> String {
    let nodes = parse(line).expect("a response");
    let bytes = nodes.get(4).expect("a name").bytes().to_vec();
    let name = String::from_utf8(bytes).expect("UTF-8");
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What `tests/store_reader.py` reads, but for the counters.
fn on_disk(server: &Server) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store_reader.py");
    let mut all = Vec::new();
    for directory in user_directories(&server.dir().join("data/store/partition/primary/=user")) {
        let printed = Command::new("python3").arg(&script).arg(&directory).output().expect("run python3");
        assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
        all.push(directory.file_name().expect("a name").to_string_lossy().into_owned());
        let printed = String::from_utf8(printed.stdout).expect("UTF-8");
        all.extend(printed.lines().map(|line| {
            let counts = |word: &&str| {
                !["modseq=", "uidnext=", "recent="].iter().any(|counter| word.starts_with(counter))
            };
            line.split(' ').filter(counts).collect::<Vec<_>>().join(" ")
        }));
    }
    all
}

fn user_directories(at: &Path) -> Vec<PathBuf> {
    let entries = |dir: &Path| -> Vec<PathBuf> {
        fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()).collect()
    };
    let mut found: Vec<PathBuf> =
        entries(at).iter().flat_map(|low| entries(low)).flat_map(|high| entries(&high)).collect();
    found.sort();
    found
}

#[test]
fn a_lost_store_comes_back_as_it_was() {
    let (original, other) = (server(), server());
    live(&original);
    let files = tempfile::tempdir().expect("a directory");
    let file = |name: &str| files.path().join(name).to_str().expect("a plain path").to_owned();
    let (first, second) = (file("monday"), file("tuesday"));

    // Somebody appends all the time.
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = login(&original, USERS[3]);
            let mut is_first = true;
            while std::mem::take(&mut is_first) || !over.load(Ordering::Relaxed) {
                client.append("INBOX", b"Subject: meanwhile\r\n\r\n").expect("an answer");
            }
        });
        let said = run(&original, &["imsbackup", "-f", &first, "-v"]);
        assert!(said.contains("user/o'neil smith: 2 messages, 1.0 MiB\n"), "{said}");
        over.store(true, Ordering::Relaxed);
        writer.join().expect("the writer");
    });
    let mut ada = login(&original, "ada");
    ada.ok("SELECT old");
    ada.ok("STORE 1:2 +FLAGS (\\Flagged $New)");
    ada.ok("STORE 3 +FLAGS (\\Deleted)");
    ada.ok("EXPUNGE");
    ada.ok("RENAME Projects Work");
    ada.append("INBOX", b"Subject: tuesday\r\n\r\n").expect("an answer");
    run(&original, &["imsbackup", "-f", &second, "-d", &first]);
    assert!(fs::metadata(&second).expect("a file").len() < fs::metadata(&first).expect("a file").len() / 10);

    let tried = run(&other, &["imsrestore", "-n", "-f", &first, "-f", &second]);
    let done = run(&other, &["imsrestore", "-f", &first, "-f", &second]);
    assert!(tried.contains(" of 8 users would come back"), "two streams of four users: {tried}");
    assert!(done.contains(" of 8 users came back; 0 were there"), "{done}");
    for user in USERS {
        assert_eq!(sight(&other, user), sight(&original, user), "{user}");
    }
    assert_eq!(on_disk(&other), on_disk(&original));
    let again = run(&other, &["imsrestore", "-f", &first, "-f", &second]);
    assert!(again.starts_with("0 messages "), "{again}");
}

#[test]
fn a_session_sees_at_once_what_comes_back() {
    let server = server();
    let mut client = server.login("ada");
    for number in 1..=3 {
        client.append("INBOX", format!("Subject: {number}\r\n\r\n").as_bytes()).expect("an answer");
    }
    let files = tempfile::tempdir().expect("a directory");
    let file = files.path().join("backup");
    let file = file.to_str().expect("a plain path");
    let paths = ["/partition/primary/user/ada/INBOX"];
    run(&server, &["imsbackup", "-f", file, paths[0]]);
    client.ok("SELECT INBOX");
    client.ok("STORE 2 +FLAGS (\\Deleted)");
    client.ok("EXPUNGE");
    client.start("IDLE");
    let mut next = || match client.wire().receive() {
        common::wire::Received::Response(line) => String::from_utf8_lossy(&line).into_owned(),
        other => panic!("{other:?}"),
    };
    assert!(next().starts_with('+'));
    let done = run(&server, &["imsrestore", "-f", file, "user/ada/INBOX:2"]);
    assert!(done.contains("user/ada/INBOX: 1 message back (1 with a new UID"), "{done}");
    assert_eq!(next(), "* 3 EXISTS");
}

#[test]
fn a_backup_that_is_cut_or_damaged_changes_nothing() {
    let (original, other) = (server(), server());
    live(&original);
    let files = tempfile::tempdir().expect("a directory");
    let (good, bad) = (files.path().join("good"), files.path().join("bad"));
    run(&original, &["imsbackup", "-f", good.to_str().expect("plain"), "ada"]);
    let bytes = fs::read(&good).expect("the backup");
    let restore = |bytes: &[u8], says: &str| {
        fs::write(&bad, bytes).expect("write");
        let output = call(&other, &["imsrestore", "-f", bad.to_str().expect("plain")]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(says), "{error}");
    };
    restore(&bytes[..bytes.len() / 2], "ends too early");
    let mut flipped = bytes.clone();
    flipped[bytes.len() - 500] ^= 4;
    restore(&flipped, "wrong checksum");
    let mut newer = bytes.clone();
    newer[8] = 9;
    let crc = crc32fast::hash(&newer[..76]);
    newer[76..80].copy_from_slice(&crc.to_le_bytes());
    restore(&newer, "newer version (9)");
    restore(b"From ada Mon Jan", "not a backup");
    assert!(!other.dir().join("data/store/partition/primary/=user").exists(), "nothing half done");

    let refused = call(&original, &["imsbackup", "-f", "/nowhere/backup"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("cannot write /nowhere/backup"));
    let nobody = call(&original, &["imsbackup", "-f", bad.to_str().expect("plain"), "user/nobody"]);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("user nobody has no mail here"));
    let chain = call(
        &other,
        &["imsrestore", "-f", good.to_str().expect("plain"), "-f", good.to_str().expect("plain")],
    );
    assert!(String::from_utf8_lossy(&chain.stderr).contains("not the one before it"));
}
