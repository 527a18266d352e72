//! FETCH.

use super::*;

const MIXED: &str = "From: Ada <ada@example.com>\r\nSubject: two\r\n parts\r\nDate: Mon, 2 Mar 2020 10:00:00 +0000\r\n\
Message-ID: <1@example.com>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8gd29ybGQ=\r\n--b\r\n\
Content-Type: application/x-odd\r\nContent-Transfer-Encoding: x-odd\r\n\r\nodd\r\n--b--\r\n";

fn with_mixed() -> Client {
    let server = Box::leak(Box::new(Server::new()));
    let mut client = server.in_inbox();
    assert!(client.append("INBOX", "", MIXED).contains("a OK"));
    client
}

#[test]
fn items_and_sections() {
    let mut client = with_mixed();
    for (items, expected) in [
        ("UID", "* 1 FETCH (UID 1)\r\n"),
        ("(UID FLAGS)", "* 1 FETCH (UID 1 FLAGS (\\Recent))\r\n"),
        ("FAST", "FLAGS (\\Recent) INTERNALDATE \""),
        (
            "ENVELOPE",
            "ENVELOPE (\"Mon, 2 Mar 2020 10:00:00 +0000\" \"two parts\" ((\"Ada\" NIL \"ada\" \"example.com\"))",
        ),
        ("BODYSTRUCTURE", "((\"text\" \"plain\""),
        (
            "BODY.PEEK[HEADER.FIELDS (subject)]",
            "BODY[HEADER.FIELDS (subject)] {24}\r\nSubject: two\r\n parts\r\n\r\n)\r\n",
        ),
        ("BODY.PEEK[1]", "BODY[1] {16}\r\naGVsbG8gd29ybGQ=)\r\n"),
        ("BODY.PEEK[1]<2.4>", "BODY[1]<2> {4}\r\nVsbG)\r\n"),
        ("BODY.PEEK[1]<99.4>", "BODY[1]<99> {0}\r\n)\r\n"),
        ("BODY.PEEK[1.MIME]", "BODY[1.MIME] {"),
        ("BODY.PEEK[9]", "BODY[9] NIL)\r\n"),
        ("BINARY.PEEK[1]", "BINARY[1] {11}\r\nhello world)\r\n"),
        ("BINARY.PEEK[1]<6.99>", "BINARY[1]<6> {5}\r\nworld)\r\n"),
        ("BINARY.SIZE[1]", "BINARY.SIZE[1] 11)\r\n"),
        ("(BODY.PEEK[1] BODY.PEEK[2])", "(BODY[1] {16}\r\naGVsbG8gd29ybGQ= BODY[2] {3}\r\nodd)\r\n"),
        ("(UID BODY.PEEK[2])", "(UID 1 BODY[2] {3}\r\nodd)\r\n"),
        ("PREVIEW", "PREVIEW \"hello world\""),
        ("(EMAILID THREADID SAVEDATE)", "SAVEDATE \""),
        ("RFC822.HEADER", "RFC822.HEADER {"),
        ("BINARY.PEEK[2]", "a NO [UNKNOWN-CTE]"),
        ("BINARY.SIZE[2]", "a NO [UNKNOWN-CTE]"),
    ] {
        let said = client.say(&format!("a FETCH 1 {items}\r\n"));
        hears(&said, &[expected]);
    }
    hears(&client.say("a FETCH 1 FLAGS\r\n"), &["FLAGS (\\Recent))"]);
    let said = client.say("a FETCH 1 BODY.PEEK[]\r\n");
    hears(&said, &[&format!("BODY[] {{{}}}\r\n{MIXED})\r\na OK", MIXED.len())]);
}

#[test]
fn reading_marks_as_seen_once() {
    let mut client = with_mixed();
    let said = client.say("a FETCH 1 BODY[1]\r\n");
    hears(&said, &["* 1 FETCH (FLAGS (\\Seen \\Recent) BODY[1] {16}\r\n", "a OK"]);
    hears_not(&client.say("b FETCH 1 BODY[1]\r\n"), "FLAGS");
    let mut client = with_mixed();
    client.say("a EXAMINE INBOX\r\n");
    hears_not(&client.say("b FETCH 1 BODY[1]\r\n"), "Seen");
}

#[test]
fn sets_of_messages_threat_15() {
    let server = Server::new();
    let mut client = server.in_inbox();
    hears(&client.say("a FETCH 1:* FLAGS\r\n"), &["a OK"]);
    client.append_many(3);
    for (command, uids) in [
        ("FETCH 1:3", &[1, 2, 3][..]),
        ("FETCH *", &[3]),
        ("FETCH *:2", &[2, 3]),
        ("FETCH 2,1,2", &[1, 2]),
        ("UID FETCH 1:4294967295", &[1, 2, 3]),
        ("UID FETCH 4294967295:3", &[3]),
        ("UID FETCH 9:*", &[3]),
        ("UID FETCH 9", &[]),
    ] {
        let said = client.say(&format!("a {command} UID\r\n"));
        let found: Vec<u32> = (1..=9).filter(|uid| said.contains(&format!("(UID {uid})"))).collect();
        assert_eq!(found, uids, "{command}: {said}");
        hears(&said, &["a OK"]);
    }
    for bad in ["4", "3:4", "0", "4294967296", "1:4294967295"] {
        hears(&client.say(&format!("a FETCH {bad} UID\r\n")), &["a BAD"]);
    }
}

#[test]
fn header_fields_are_looked_for_within_bounds_threat_19() {
    let server = Server::with(|settings| settings.append_limit = 4 << 20);
    let mut client = server.in_inbox();
    let filler = format!("X-Filler: {}\r\n", "x".repeat(900)).repeat(limits::MAX_HEADER_READ as usize / 900);
    client.append("INBOX", "", &format!("Subject: early\r\n{filler}Late: header\r\n\r\nbody\r\n"));
    let said = client.say("a FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT LATE)]\r\n");
    hears(&said, &["{18}\r\nSubject: early\r\n\r\n)\r\na OK"]);
}

#[test]
fn a_keyword_of_another_session_has_its_name_at_once() {
    let server = Server::new();
    let (mut one, mut other) = (server.in_inbox(), server.in_inbox());
    one.append_many(1);
    other.say("a NOOP\r\n");
    one.say("a STORE 1 FLAGS.SILENT (fresh)\r\n");
    let said = other.say("a FETCH 1 FLAGS\r\n");
    hears(&said, &["* FLAGS (", "fresh", "* 1 FETCH (FLAGS (", "fresh", "a OK"]);
    hears_not(&said, "FLAGS ())");
}

#[test]
fn neighbours_and_others_come_in_their_order() {
    let server = Server::new();
    let mut client = server.in_inbox();
    client.append_many(20);
    client.say("c COPY 20 INBOX\r\nd COPY 3 INBOX\r\n");
    client.append("INBOX", "", &"x".repeat(560_000));
    client.append_many(5);
    let said = client.say("f FETCH 1:* (BODY.PEEK[] BODY.PEEK[]<9.5>)\r\n");
    let numbers = (1..=20).chain([20, 3]).chain([0]).chain(1..=5);
    let expected: String = numbers
        .zip(1..)
        .map(|(number, seq)| {
            let body = match number {
                0 => "x".repeat(560_000),
                number => format!("Subject: number {number}\r\n\r\nbody of {number}\r\n"),
            };
            let (size, part) = (body.len(), &body[9..14]);
            format!("* {seq} FETCH (BODY[] {{{size}}}\r\n{body} BODY[]<9> {{5}}\r\n{part})\r\n")
        })
        .collect();
    assert!(said == expected + "f OK FETCH completed\r\n", "{}", &said[..2000]);
}
