//! Real clients: what mbsync and curl store, Python's imaplib, mbsync and curl read back, byte for byte.
//!
//! Needs isync, curl and python3; `.ci/run` installs them.

mod common;

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use common::corpus::Corpus;
use common::server::{Options, PASSWORD};
use common::target::Target;

/// How many messages mbsync stores.
const BY_MBSYNC: usize = 1400;

/// How many messages curl stores.
const BY_CURL: usize = 100;

#[test]
fn what_mbsync_and_curl_store_others_read_back() {
    let target = Target::start(Options::default());
    let work = tempfile::tempdir().expect("make a temporary directory");
    let messages: Vec<Vec<u8>> = Corpus::new(7).take(BY_MBSYNC + BY_CURL).collect();
    let (first, rest) = messages.split_at(BY_MBSYNC);

    fill_maildir(&work.path().join("here/box"), first);
    mbsync(&target, work.path(), "here");
    for message in rest {
        curl_upload(&target, work.path(), message);
    }

    let read = read_back(&target, work.path());
    compare("imaplib", &messages, read);

    mbsync(&target, work.path(), "there");
    compare("mbsync", &messages, read_maildir(&work.path().join("there/box")));

    for uid in [1, BY_MBSYNC / 2, BY_MBSYNC + BY_CURL] {
        let message = curl_download(&target, uid);
        let id = message_id(&message);
        let original =
            messages.iter().find(|original| message_id(original) == id).expect("a message of ours");
        assert!(without_tuid(&message) == *original, "curl reads UID {uid} ({id}) differently");
    }
}

#[test]
fn curl_lists_searches_and_examines() {
    let target = Target::start(Options::default().users(["bob"]));
    let mut client = target.login("bob");
    client.ok("CREATE box/sub");
    client.append("box/sub", b"Subject: hello\r\n\r\nHi.\r\n").expect("an answer");
    let list = curl(&target, "bob", "", &[]);
    assert!(list.contains("box/sub") && list.contains("INBOX"), "curl lists {list}");
    let found = curl(&target, "bob", "box%2Fsub?SUBJECT%20hello", &[]);
    assert!(found.contains("SEARCH 1"), "curl finds {found}");
    let status = curl(&target, "bob", "", &["--request", "STATUS box/sub (MESSAGES)"]);
    assert!(status.contains("MESSAGES 1"), "curl is told {status}");
}

/// Every message came back once and unchanged.
fn compare(reader: &str, originals: &[Vec<u8>], read: Vec<Vec<u8>>) {
    assert_eq!(read.len(), originals.len(), "{reader} reads another number of messages");
    let mut by_id: HashMap<String, Vec<u8>> = HashMap::new();
    for message in read {
        let id = message_id(&message);
        assert!(by_id.insert(id.clone(), without_tuid(&message)).is_none(), "{reader} reads {id} twice");
    }
    for original in originals {
        let id = message_id(original);
        let read = by_id.get(&id).unwrap_or_else(|| panic!("{reader} does not find {id}"));
        assert!(read == original, "{reader} reads {id} differently");
    }
}

fn message_id(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let start = text.find("Message-ID: ").expect("a Message-ID") + "Message-ID: ".len();
    text[start..].split(['\r', '\n']).next().unwrap_or_default().to_owned()
}

/// A message without the header by which mbsync recognizes what it has stored.
fn without_tuid(message: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(message.len());
    let mut in_header = true;
    for line in message.split_inclusive(|&byte| byte == b'\n') {
        in_header &= line != b"\r\n";
        if !(in_header && line.starts_with(b"X-TUID: ")) {
            kept.extend_from_slice(line);
        }
    }
    kept
}

/// A Maildir holds messages with LF.
fn fill_maildir(path: &Path, messages: &[Vec<u8>]) {
    for folder in ["cur", "new", "tmp"] {
        fs::create_dir_all(path.join(folder)).expect("make a Maildir");
    }
    for (number, message) in messages.iter().enumerate() {
        let unix = String::from_utf8_lossy(message).replace("\r\n", "\n");
        fs::write(path.join(format!("cur/{number}.test:2,S")), unix).expect("write a message");
    }
}

fn read_maildir(path: &Path) -> Vec<Vec<u8>> {
    let files = ["cur", "new"].map(|folder| fs::read_dir(path.join(folder)).expect("list a Maildir"));
    files
        .into_iter()
        .flatten()
        .map(|entry| fs::read(entry.expect("a file").path()).expect("read a message"))
        .map(|message| String::from_utf8_lossy(&message).replace('\n', "\r\n").into_bytes())
        .collect()
}

/// Brings the mailbox `box` and the Maildir `side/box` into agreement.
fn mbsync(target: &Target, work: &Path, side: &str) {
    let (addr, local) = (target.addr(), work.join(side));
    fs::create_dir_all(&local).expect("make a directory");
    let config = local.join("mbsyncrc");
    let text = format!(
        "IMAPAccount test\nHost {}\nPort {}\nUser {}\nPass {PASSWORD}\nSSLType None\nAuthMechs LOGIN\n\n\
         IMAPStore remote\nAccount test\n\nMaildirStore local\nPath {local}/\nInbox {local}/inbox\nSubFolders Verbatim\n\n\
         Channel test\nFar :remote:\nNear :local:\nPatterns box\nCreate Both\nSync All\nSyncState *\n",
        addr.ip(),
        addr.port(),
        target.user("ada"),
        local = local.display(),
    );
    fs::write(&config, text).expect("write mbsync's configuration");
    run("isync", Command::new("mbsync").arg("--config").arg(config).arg("test"));
}

fn curl_upload(target: &Target, work: &Path, message: &[u8]) {
    let file = work.join("message.eml");
    fs::write(&file, message).expect("write a message");
    run("curl", curl_command(target, "ada", "box").arg("--upload-file").arg(file));
}

fn curl_download(target: &Target, uid: usize) -> Vec<u8> {
    run("curl", &mut curl_command(target, "ada", &format!("box;UID={uid}")))
}

fn curl(target: &Target, user: &str, path: &str, args: &[&str]) -> String {
    String::from_utf8_lossy(&run("curl", curl_command(target, user, path).args(args))).into_owned()
}

fn curl_command(target: &Target, user: &str, path: &str) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--user"]).arg(format!("{}:{PASSWORD}", target.user(user)));
    command.arg(format!("imap://{}/{path}", target.addr()));
    command
}

fn read_back(target: &Target, work: &Path) -> Vec<Vec<u8>> {
    let (addr, out) = (target.addr(), work.join("python"));
    fs::create_dir_all(&out).expect("make a directory");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/read_back.py");
    let mut command = Command::new("python3");
    command.arg(script).args([addr.ip().to_string(), addr.port().to_string()]);
    command.args([&target.user("ada"), PASSWORD, "box"]).arg(&out);
    run("python3", &mut command);
    let files = fs::read_dir(&out).expect("list what python wrote");
    files.map(|entry| fs::read(entry.expect("a file").path()).expect("read a message")).collect()
}

/// Runs a client to its end and returns what it printed.
fn run(package: &str, command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|e| missing(package, &e));
    assert!(
        output.status.success(),
        "{package} failed: {}\n{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    output.stdout
}

fn missing(package: &str, error: &std::io::Error) -> ! {
    match error.kind() {
        ErrorKind::NotFound => panic!("this test needs {package}: install it (apt-get install {package})"),
        _ => panic!("cannot run {package}: {error}"),
    }
}
