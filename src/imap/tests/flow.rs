//! How a session reads, waits and goes on.

use super::*;
use crate::session::{Goodbye, OUTPUT_HIGH_WATER};

const DIALOGUE: &str = "a NOOP\r\nb LIST \"\" {1}\r\n%\r\nc APPEND INBOX (\\Seen) {12+}\r\nSubject: x\r\n\r\nd FETCH 1 (UID RFC822.SIZE)\r\n\
     e IDLE\r\nDONE\r\nf STORE 1 +FLAGS (a b)\r\ng SEARCH SUBJECT {1+}\r\nx\r\nh LOGOUT\r\n";

#[test]
fn bytes_may_come_one_by_one() {
    let whole = Server::new().in_inbox().say(DIALOGUE);
    let mut client = Server::new().in_inbox();
    for byte in DIALOGUE.as_bytes().chunks(1) {
        client.send(byte);
    }
    let without_ids = |said: &str| {
        let mut lines: Vec<_> =
            said.lines().map(|line| line.split(" [").next().unwrap().to_owned()).collect();
        lines.retain(|line| !line.is_empty());
        lines
    };
    assert_eq!(without_ids(&client.heard()), without_ids(&whole));
    hears(
        &whole,
        &["a OK", "+ OK", "* LIST", "b OK", "* 1 EXISTS", "c OK", "RFC822.SIZE 12", "+ idling", "e OK"],
    );
    hears(&whole, &["f OK", "* SEARCH 1\r\n", "g OK", "h OK LOGOUT"]);
}

const TLS: Security = Security::Tls { bits: 256 };

/// A client with so many messages of the same large body.
fn with_large(server: &Server, count: usize, lines: usize) -> (Client, String) {
    let mut client = server.in_inbox();
    let body = format!("Subject: large\r\n\r\n{}\r\n", "0123456789".repeat(lines));
    for _ in 0..count {
        client.append("INBOX", "", &body);
    }
    client.waits = 0;
    (client, body)
}

impl Client {
    /// Sends a command, and does not do what the session answers first. On a busy machine its slice of time may be over
    /// before that.
    fn begin(&mut self, command: &str) -> Step {
        self.unread.extend_from_slice(command.as_bytes());
        loop {
            match self.one_call(|session, io| session.step(io)) {
                Step::Yield => {}
                step => return step,
            }
        }
    }
}

#[test]
fn a_slow_reader_suspends_fetch() {
    let server = Server::new();
    let (mut client, body) = with_large(&server, 3, 15_000);
    client.security = TLS;
    let said = client.say("a FETCH 1:3 BODY.PEEK[]\r\nb NOOP\r\n");
    assert!(client.waits >= 3 * body.len() / (2 * OUTPUT_HIGH_WATER), "{} waits", client.waits);
    assert_eq!(said.matches(&body).count(), 3);
    assert!(said.ends_with("a OK FETCH completed\r\nb OK NOOP completed\r\n"));

    assert!(matches!(client.begin("c FETCH 1:3 BODY.PEEK[]\r\n"), Step::Flush));
    assert!(client.output.len() <= 2 * OUTPUT_HIGH_WATER, "one call says {} bytes", client.output.len());
}

#[test]
fn large_sections_leave_straight_from_their_files() {
    let server = Server::new();
    let (mut client, body) = with_large(&server, 3, 15_000);
    let said = client.say("a FETCH 1:3 (BODY.PEEK[] UID BODY.PEEK[]<7.99993>)\r\nb NOOP\r\n");
    assert_eq!(client.waits, 6, "one step for each section");
    let parts = [
        &body,
        "* 3 FETCH (UID 3 BODY[] {150020}\r\n",
        &format!("BODY[]<7> {{99993}}\r\n{})", &body[7..100_000]),
    ];
    assert_eq!(said.matches(&body).count(), 3);
    assert!(
        parts.iter().all(|part| said.contains(*part))
            && said.ends_with("a OK FETCH completed\r\nb OK NOOP completed\r\n")
    );

    let Step::Send(range) = client.begin("c FETCH 1 BODY.PEEK[]\r\n") else {
        panic!("it is not sent from its file")
    };
    assert_eq!(range.len(), body.len() as u64);
    assert_eq!(client.output, b"* 1 FETCH (BODY[] {150020}\r\n");
}

/// A NUL, which only a literal8 can bring, must not stand in a literal (RFC 9051 §4.3).
#[test]
fn a_large_message_with_nul_does_not_leave_as_it_is() {
    let server = Server::new();
    let mut client = server.in_inbox();
    let header = "Content-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\n";
    let text = format!("{}\0{}", "a".repeat(100_000), "b".repeat(100_000));
    let size = header.len() + text.len();
    for text in [text.as_str(), &text.replace('\0', "c")] {
        hears(&client.say(&format!("a APPEND INBOX ~{{{size}+}}\r\n{header}{text}\r\n")), &["a OK"]);
    }
    let mut fetch = |number: usize, section: &str| {
        client.waits = 0;
        client.send(format!("b FETCH {number} {section}\r\n").as_bytes());
        (std::mem::take(&mut client.said), client.waits)
    };
    let has = |said: &[u8], text: &[u8]| said.windows(text.len()).any(|window| window == text);
    let (said, _) = fetch(1, "BODY.PEEK[]");
    assert!(!said.contains(&0) && has(&said, b"aa\x80bb"));
    let (said, waits) = fetch(1, "BINARY.PEEK[1]");
    assert!(waits == 1 && has(&said, b"BINARY[1] ~{200001}") && has(&said, b"aa\0bb"));
    let (said, waits) = fetch(2, "BODY.PEEK[]");
    assert!(waits == 1 && has(&said, b"aacbb"), "a literal8 without NUL is as good as a literal");
}

#[test]
fn a_goodbye_does_not_get_into_a_message() {
    let server = Server::new();
    let (mut client, body) = with_large(&server, 1, 15_000);
    for security in [Security::Plain, TLS] {
        client.security = security;
        let _ = client.begin("a FETCH 1 BODY.PEEK[]\r\n");
        let said = client.event(Event::Goodbye(Goodbye::Shutdown));
        let (head, rest) = said.split_once("\r\n").unwrap();
        assert_eq!(head, "* 1 FETCH (BODY[] {150020}");
        assert!(body.starts_with(rest) && client.is_closed, "{rest:.100}");
        client = server.in_inbox();
    }
}

/// Only a message that has a file of its own: its name goes while the client still reads.
#[test]
fn a_download_ends_well_when_the_message_is_removed_meanwhile() {
    for security in [Security::Plain, TLS] {
        let server = Server::new();
        let (mut client, body) = with_large(&server, 1, 56_000);
        client.security = security;
        let step = client.begin("a FETCH 1 BODY.PEEK[]\r\n");
        assert!(matches!(step, Step::Flush | Step::Send(_)));
        assert_eq!(server.remove_large_messages(), 1);
        client.follow(step);
        let said = client.say("b FETCH 1 BODY.PEEK[]\r\n");
        assert!(said.contains(&body) && said.contains("a OK FETCH completed\r\n"));
        hears(&said, &["b NO ["]);
        assert!(
            !client.is_closed && said.matches("* 1 FETCH").count() == 1,
            "refused before the answer begins"
        );
    }
}

#[test]
fn a_session_whose_slice_is_over_yields() {
    let server = Server::new();
    let mut client = server.in_inbox();
    client.append_many(3);
    client.unread.extend_from_slice(b"a SEARCH BODY number\r\n");
    let mut output = Vec::new();
    let Some(past) = Instant::now().checked_sub(crate::session::SLICE * 2) else { return };
    let mut io = Io::new(&client.unread, &mut output, past);
    assert!(matches!(client.session.step(&mut io), Step::Yield));
    let consumed = io.consumed();
    client.unread.drain(..consumed);
    hears(&client.say(""), &["* SEARCH\r\na OK"]);
}

#[test]
fn whatever_others_wrote_before_a_command_came_is_heard_at_its_end() {
    let server = Server::new();
    let other = server.other_process();
    let (mut client, mut writer) = (server.in_inbox(), other.in_inbox());
    writer.append_many(1);
    hears(&client.say("a CREATE box\r\n"), &["* 1 EXISTS", "a OK"]);
    let commands = [
        "a NOOP\r\n",
        "a STORE 1 +FLAGS (\\Seen)\r\n",
        "a STORE 1 +FLAGS (\\Seen)\r\nb NOOP\r\n",
        "a FETCH 1 FLAGS\r\n",
        "a STATUS INBOX (MESSAGES)\r\n",
        "a STATUS box (MESSAGES)\r\n",
        "a COPY 1 box\r\n",
        "a EXPUNGE\r\n",
        "a APPEND box {1+}\r\nx\r\n",
        "a SEARCH SEEN\r\n",
        "a LIST \"\" *\r\n",
        "a LIST \"\" * RETURN (STATUS (MESSAGES))\r\n",
        "a LSUB \"\" *\r\n",
    ];
    for (command, number) in commands.iter().zip(2..) {
        writer.append_many(1);
        hears(&client.say(command), &[&format!("* {number} EXISTS"), "a OK"]);
    }
    client.say("i IDLE\r\n");
    writer.append_many(1);
    hears(&client.event(Event::Changed), &[&format!("* {} EXISTS", commands.len() + 2)]);
}

#[test]
fn idle_tells_at_once() {
    let server = Server::new();
    let (mut a, mut b) = (server.in_inbox(), server.in_inbox());
    assert_eq!(b.say("i IDLE\r\n"), "+ idling\r\n");
    assert_eq!(server.watches.count(), 1);
    a.append_many(2);
    assert_eq!(b.event(Event::Changed), "* 2 EXISTS\r\n");
    assert_eq!(b.event(Event::Changed), "");
    a.say("1 STORE 1 +FLAGS (\\Deleted)\r\n");
    assert_eq!(b.event(Event::Changed), "* 1 FETCH (FLAGS (\\Deleted))\r\n");
    a.say("2 EXPUNGE\r\n");
    assert_eq!(b.event(Event::Changed), "* 1 EXPUNGE\r\n");
    assert_eq!(b.say("DO"), "");
    assert_eq!(b.say("NE\r\nj NOOP\r\n"), "i OK IDLE completed\r\nj OK NOOP completed\r\n");
    assert_eq!(server.watches.count(), 0);
    assert_eq!(b.event(Event::Changed), "", "a late event means nothing");
    hears(&b.say("k IDLE\r\nnonsense\r\nl NOOP\r\n"), &["+ idling", "k BAD expected DONE", "l OK"]);
}

#[test]
fn idle_is_refused_where_it_hears_nothing() {
    let server = Server::with(|settings| settings.idle = false);
    let mut client = server.ada();
    hears_not(&client.say("a CAPABILITY\r\n"), "IDLE");
    hears(&client.say("b IDLE\r\nc NOOP\r\n"), &["b NO [CANNOT] IDLE is off here", "c OK"]);
}

#[test]
fn a_client_that_only_talks_is_suspended_threat_10() {
    let server = Server::new();
    let mut client = server.in_inbox();
    client.unread = b"a NOOP\r\n".repeat(8000);
    let step = client.one_call(|session, io| session.step(io));
    assert!(!matches!(step, Step::Read));
    assert!(client.said.len() <= OUTPUT_HIGH_WATER + 100, "{} bytes", client.said.len());
    assert_eq!(client.say("").matches("a OK NOOP completed\r\n").count(), 8000);
}

#[test]
fn idle_needs_no_mailbox() {
    let server = Server::new();
    let mut client = server.ada();
    assert_eq!(client.say("i IDLE\r\nDONE\r\n"), "+ idling\r\ni OK IDLE completed\r\n");
}

#[test]
fn change_that_comes_while_idle_flushes_is_told_too() {
    let server = Server::new();
    let (mut a, mut b) = (server.in_inbox(), server.in_inbox());
    for _ in 0..1500 {
        a.append("INBOX", "", "Subject: s\r\n\r\n");
    }
    b.say("1 NOOP\r\n2 IDLE\r\n");
    let keyword = "k".repeat(100);
    a.say(&format!("1 STORE 1:1500 +FLAGS.SILENT ({keyword})\r\n"));
    let step = b.one_call(|session, io| session.event(Event::Changed, io));
    // On a slow machine its slice of time is over first.
    assert!(matches!(step, Step::Flush | Step::Yield));
    a.append("INBOX", "", "Subject: late\r\n\r\n");
    hears(&b.event(Event::Changed), &["* 1500 FETCH", "* 1501 EXISTS\r\n"]);
}

#[test]
fn a_long_answer_to_search_goes_on_where_a_slow_reader_stopped_it() {
    let server = Server::new();
    let mut client = server.in_inbox();
    client.append("INBOX", "", "Subject: s\r\n\r\n");
    for _ in 0..14 {
        client.say("a NOOP\r\nb COPY 1:* INBOX\r\n");
    }
    client.say("a STORE 100:200,301,303,5000 +FLAGS.SILENT (\\Deleted)\r\nb EXPUNGE\r\n");
    let gone = |uid: &u32| matches!(uid, 100..=200 | 301 | 303 | 5000);
    let expected: String = (1..=1 << 14).filter(|uid| !gone(uid)).map(|uid| format!(" {uid}")).collect();
    let before = client.waits;
    assert_eq!(
        client.say("c UID SEARCH ALL\r\n"),
        format!("* SEARCH{expected}\r\nc OK UID SEARCH completed\r\n")
    );
    assert!(client.waits > before, "{} bytes at once", expected.len());
}
