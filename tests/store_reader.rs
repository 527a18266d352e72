//! `docs/store-format.md` says what is on the disk: a reader written from that page alone agrees with the server.
//!
//! Needs python3; `.ci/run` installs it.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::client::Client;
use common::response::{Node, parse};
use common::server::{Options, PASSWORD, Server};

const FLAGS: [&str; 5] = ["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"];

fn python(script: &str, arguments: &[&str]) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let output =
        Command::new("python3").arg(tests.join(script)).args(arguments).output().expect("run python3");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the script prints UTF-8")
}

/// The one user directory beneath a partition.
fn user_directory(partition: &Path) -> PathBuf {
    let only = |dir: PathBuf| {
        let mut entries =
            fs::read_dir(&dir).expect("a directory").map(|entry| entry.expect("an entry").path());
        let first = entries.next().expect("something in it");
        assert_eq!(entries.next(), None, "{}", dir.display());
        first
    };
    only(only(only(partition.join("=user"))))
}

#[test]
fn the_reader_agrees_with_golden_stores() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for store in ["format-1.0", "compacted-1.0", "restored-1.0"] {
        let directory = user_directory(&golden.join(store));
        let printed = python("store_reader.py", &[directory.to_str().expect("a plain path")]);
        let text = fs::read_to_string(golden.join(store).with_extension("0.txt"));
        assert_eq!(printed, text.expect("its text"), "{store}");
    }
}

#[test]
fn the_reader_agrees_with_the_server() {
    let server = Server::start(Options::default());
    let (host, port) = (server.addr().ip().to_string(), server.addr().port().to_string());
    python("clients/mixed_operations.py", &[&host, &port, "ada", PASSWORD]);

    let directory = user_directory(&server.dir().join("data/store/partition/primary"));
    let printed = python("store_reader.py", &[directory.to_str().expect("a plain path")]);
    let mut client = server.login("ada");
    client.ok("ENABLE IMAP4rev2 CONDSTORE");
    let mut lines = printed.lines().peekable();
    let (mut names, mut subscriptions, mut messages) = (Vec::new(), Vec::new(), 0);
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("subscription ") {
            subscriptions.push(name.to_owned());
            continue;
        }
        let (values, name) = values(line.strip_prefix("mailbox ").expect("a mailbox"), 7);
        let mut inside = Vec::new();
        while let Some(line) =
            lines.next_if(|line| line.starts_with("message ") || line.starts_with("keyword "))
        {
            inside.extend(line.strip_prefix("message "));
        }
        messages += inside.len();
        compare_mailbox(&mut client, name, &values, &inside);
        names.push(name.to_owned());
    }
    assert!(messages > 25, "{messages} messages");
    assert_eq!(sorted(listed(&mut client, "LIST \"\" *")), sorted(names));
    assert_eq!(sorted(listed(&mut client, "LIST (SUBSCRIBED) \"\" *")), sorted(subscriptions));
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// The first `count` words of a line, by name where they have one and by place where not, and the rest.
fn values(line: &str, count: usize) -> (BTreeMap<String, String>, &str) {
    let mut words = line.splitn(count, ' ');
    let first: Vec<&str> = words.by_ref().take(count - 1).collect();
    let named = first.iter().enumerate().map(|(at, word)| match word.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (at.to_string(), (*word).to_owned()),
    });
    (named.collect(), words.next().unwrap_or_default())
}

fn listed(client: &mut Client, command: &str) -> Vec<String> {
    let reply = client.ok(command);
    let names = reply.with("LIST ").filter_map(|line| {
        let nodes = parse(line).ok()?;
        let attributes = nodes.get(2)?.list();
        let exists = !attributes.iter().any(|node| node.is_atom("\\NonExistent"));
        let name = String::from_utf8_lossy(nodes.get(4)?.bytes()).into_owned();
        (exists || command.contains("SUBSCRIBED")).then_some(name)
    });
    names.collect()
}

fn compare_mailbox(client: &mut Client, name: &str, values: &BTreeMap<String, String>, messages: &[&str]) {
    let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
    let reply =
        client.ok(format!("STATUS \"{quoted}\" (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ MAILBOXID)"));
    let line = reply.with("STATUS ").next().expect("a STATUS response").to_vec();
    let nodes = parse(&line).expect("a response");
    let items = nodes.last().expect("items").list();
    let item = |name: &str| text(value(items, name));
    assert_eq!(item("MESSAGES"), messages.len().to_string(), "{name}");
    for (theirs, ours) in
        [("UIDNEXT", "uidnext"), ("UIDVALIDITY", "uidvalidity"), ("HIGHESTMODSEQ", "modseq")]
    {
        assert_eq!(item(theirs), values[ours], "{theirs} of {name}");
    }
    assert_eq!(text(&value(items, "MAILBOXID").list()[0]), format!("F{}", values["0"]), "{name}");
    if messages.is_empty() {
        return;
    }
    client.ok(format!("EXAMINE \"{quoted}\""));
    let fetched = client.ok("UID FETCH 1:* (UID FLAGS MODSEQ RFC822.SIZE EMAILID BODY.PEEK[])");
    let raw = client.ok("UID FETCH 1:* (UID ENVELOPE BODYSTRUCTURE)");
    let structures: Vec<&[u8]> = raw.with("ENVELOPE").collect();
    let fetched: Vec<&[u8]> = fetched.with("BODY[]").collect();
    assert_eq!((fetched.len(), structures.len()), (messages.len(), messages.len()), "{name}");
    for ((message, fetched), structure) in messages.iter().zip(fetched).zip(structures) {
        compare_message(message, fetched, structure);
    }
}

fn compare_message(line: &str, fetched: &[u8], structure: &[u8]) {
    let (values, keywords) = values(line, 16);
    let nodes = parse(fetched).expect("a response");
    let items = nodes.last().expect("items").list();
    assert_eq!(text(value(items, "UID")), values["0"]);
    assert_eq!(text(value(items, "RFC822.SIZE")), values["size"], "{line}");
    assert_eq!(text(&value(items, "MODSEQ").list()[0]), values["modseq"], "{line}");
    let bits: u16 = values["flags"].parse().expect("flags");
    let system =
        FLAGS.iter().enumerate().filter(|(at, _)| bits & 1 << at != 0).map(|(_, name)| (*name).to_owned());
    let expected: Vec<String> = system.chain(keywords.split_whitespace().map(str::to_owned)).collect();
    let flags = value(items, "FLAGS").list().iter().map(text).filter(|flag| flag != "\\Recent");
    assert_eq!(sorted(flags.collect()), sorted(expected), "{line}");
    assert_eq!(sum(value(items, "BODY[]").bytes()), values["10"], "{line}");
    // `* 1 FETCH (UID 2 ENVELOPE (…) BODYSTRUCTURE (…))`, with the stored bytes in place of the lists.
    let at = |name: &str| find(structure, name).unwrap_or_else(|| panic!("no {name} in {line}"));
    let envelope = &structure[at("ENVELOPE ") + 9..at(" BODYSTRUCTURE ")];
    let body_structure = &structure[at(" BODYSTRUCTURE ") + 15..structure.len() - 1];
    assert_eq!((sum(envelope), sum(body_structure)), (values["11"].clone(), values["13"].clone()), "{line}");
}

fn find(text: &[u8], part: &str) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part.as_bytes())
}

fn sum(bytes: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(bytes))
}

fn value<'a>(items: &'a [Node], name: &str) -> &'a Node {
    let at = items.iter().position(|item| item.is_atom(name)).unwrap_or_else(|| panic!("no {name}"));
    &items[at + 1]
}

fn text(node: &Node) -> String {
    String::from_utf8_lossy(node.bytes()).into_owned()
}
