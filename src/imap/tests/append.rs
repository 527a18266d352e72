//! APPEND.

use super::*;

#[test]
fn append_answers_with_the_uid_and_the_news() {
    let server = Server::new();
    let mut client = server.in_inbox();
    let said = client.say("a APPEND INBOX (\\Seen $x) \"01-Feb-2020 03:04:05 +0100\" {6}\r\n");
    assert_eq!(said, "+ OK\r\n");
    let said = client.say("a: b\r\n\r\n");
    hears(
        &said,
        &["* FLAGS (", "$x)", "* 1 EXISTS\r\n* 1 RECENT\r\na OK [APPENDUID ", " 1] APPEND completed\r\n"],
    );
    let said = client.say("b FETCH 1 (FLAGS INTERNALDATE BODY.PEEK[])\r\n");
    hears(
        &said,
        &["FLAGS (\\Seen \\Recent $x) INTERNALDATE \" 1-Feb-2020 03:04:05 +0100\" BODY[] {6}\r\na: b\r\n)"],
    );
}

#[test]
fn many_at_once_or_none() {
    let server = Server::new();
    let mut client = server.in_inbox();
    let said = client.say("a APPEND INBOX {1+}\r\na (\\Flagged) {2+}\r\nbb {3+}\r\nccc\r\n");
    hears(&said, &["* 3 EXISTS", "a OK [APPENDUID ", " 1:3]"]);
    let said = client.say("b APPEND INBOX {1+}\r\na {700000+}\r\n");
    hears(&said, &["b NO [TOOBIG]"]);
    client.send(&vec![b'x'; 700_000]);
    hears(&client.say("\r\nc NOOP\r\n"), &["c OK"]);
    hears(
        &client.say("d APPEND INBOX {1+}\r\na nonsense\r\ne STATUS INBOX (MESSAGES)\r\n"),
        &["d BAD", "MESSAGES 3"],
    );
}

#[test]
fn what_cannot_be_is_refused_before_it_is_sent() {
    let server = Server::new();
    let mut client = server.ada();
    for (said, expected) in [
        ("a APPEND missing {3}\r\n", "a NO [TRYCREATE]"),
        ("a APPEND INBOX {600001}\r\n", "a NO [TOOBIG]"),
        ("a APPEND INBOX {0}\r\n", "a NO [CANNOT]"),
        ("a APPEND INBOX (\\Nonsense {3}\r\n", "a BAD"),
        ("a APPEND missing {3+}\r\nabc\r\n", "a NO [TRYCREATE]"),
        ("a APPEND missing {3+}\r\nabc {3+}\r\nabc\r\n", "a NO [TRYCREATE]"),
        ("a APPEND INBOX {3+}\r\na\0c\r\n", "a BAD a message with NUL"),
        ("a APPEND INBOX ~{3+}\r\na\0c\r\n", "a OK [APPENDUID"),
        ("a APPEND {5}\r\nINBOX {3+}\r\nabc\r\n", "a OK [APPENDUID"),
        ("a APPEND INBOX\r\n", "a BAD"),
    ] {
        let answer = client.say(said);
        hears(&answer, &[expected]);
        assert_eq!(client.say("z NOOP\r\n"), "z OK NOOP completed\r\n", "after {said}");
    }
    hears(&client.say("z STATUS INBOX (MESSAGES)\r\n"), &["MESSAGES 2"]);
}

#[test]
fn a_client_that_leaves_in_the_middle_leaves_nothing() {
    let server = Server::new();
    let mut client = server.ada();
    client.say("a APPEND INBOX {100000}\r\n");
    client.send(&[b'x'; 60_000]);
    drop(client);
    hears(&server.ada().say("a STATUS INBOX (MESSAGES)\r\n"), &["MESSAGES 0"]);
}
