//! From the greeting to the login, and the end.

use super::*;
use crate::session::Goodbye;

#[test]
fn a_greeting_says_who_and_what() {
    let greeting = Server::new().stranger().heard();
    hears(
        &greeting,
        &[
            "* OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR AUTH=PLAIN",
            "] mx.example IMAP4 service (Heliograph ",
        ],
    );
    assert_eq!(greeting.matches("\r\n").count(), 1);
}

#[test]
fn logins() {
    let server = Server::new();
    for (said, expected) in [
        ("a LOGIN ada secret\r\n", "a OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ ID"),
        ("a LOGIN \"ada\" {6+}\r\nsecret\r\n", "a OK [CAPABILITY"),
        ("a LOGIN {3}\r\nada {6}\r\nsecret\r\n", "a OK [CAPABILITY"),
        ("a LOGIN ada wrong\r\n", "a NO [AUTHENTICATIONFAILED]"),
        ("a LOGIN nobody secret\r\n", "a NO [AUTHENTICATIONFAILED] wrong user name or password\r\n"),
        ("a LOGIN eve secret\r\n", "a NO [UNAVAILABLE]"),
        ("a AUTHENTICATE PLAIN AGFkYQBzZWNyZXQ=\r\n", "a OK [CAPABILITY"),
        ("a authenticate plain\r\nAGFkYQBzZWNyZXQ=\r\n", "+ \r\na OK [CAPABILITY"),
        ("a AUTHENTICATE PLAIN YWRhAGJvYgBzZWNyZXQ=\r\n", "a OK [CAPABILITY"),
        ("a AUTHENTICATE PLAIN =\r\n", "a BAD"),
        ("a AUTHENTICATE PLAIN\r\n*\r\n", "+ \r\na BAD AUTHENTICATE was cancelled"),
        ("a AUTHENTICATE PLAIN\r\n!!!\r\n", "+ \r\na BAD"),
        ("a AUTHENTICATE PLAIN AGFkYQBzZWNyZXQA\r\n", "a BAD"),
        ("a AUTHENTICATE GSSAPI\r\n", "a NO [CANNOT]"),
        ("a SELECT INBOX\r\n", "a BAD log in first"),
        ("a APPEND INBOX {3+}\r\nabc\r\n", "a BAD log in first"),
        ("a STARTTLS\r\n", "a BAD"),
    ] {
        let mut client = server.stranger();
        client.heard();
        let answer = client.say(said);
        hears(&answer, &[expected]);
        hears(&client.say("z NOOP\r\n"), &["z OK NOOP completed\r\n"]);
    }
}

#[test]
fn a_login_can_be_followed_at_once() {
    let mut client = Server::new().stranger();
    let said = client.say("a LOGIN ada secret\r\nb SELECT INBOX\r\nc NOOP\r\n");
    hears(&said, &["a OK", "b OK [READ-WRITE]", "c OK"]);
    let said = client.say("d LOGIN ada secret\r\n");
    hears(&said, &["d BAD already logged in"]);
}

#[test]
fn who_speaks_no_imap_is_sent_away() {
    let server = Server::new();
    let mut browser = server.stranger();
    hears(&browser.say("GET / HTTP/1.1\r\nHost: mx\r\n\r\n"), &["* BYE"]);
    assert!(browser.is_closed);
    let mut noise = server.stranger();
    hears(
        &noise.say("a XYZZY\r\nb XYZZY\r\nc XYZZY\r\nd NOOP\r\n"),
        &["a BAD", "b BAD", "c BAD", "* BYE [CLIENTBUG]"],
    );
    assert!(noise.is_closed);
    let mut user = server.ada();
    hears(&user.say("a XYZZY\r\nb XYZZY\r\nc XYZZY\r\nd XYZZY\r\ne NOOP\r\n"), &["d BAD", "e OK"]);
}

#[test]
fn who_guesses_is_sent_away() {
    let mut client = Server::new().stranger();
    let said = client.say(&"a LOGIN ada guess\r\n".repeat(9));
    assert_eq!(said.matches("AUTHENTICATIONFAILED").count(), usize::from(limits::MAX_FAILED_LOGINS));
    assert!(said.ends_with("* BYE too many failed logins\r\n") && client.is_closed);
}

#[test]
fn before_login_little_is_held_threat_4() {
    let server = Server::new();
    let mut client = server.stranger();
    hears(&client.say("a LOGIN {4294967295}\r\n"), &["a BAD"]);
    hears(&client.say("b NOOP\r\n"), &["b OK"]);
    let mut client = server.stranger();
    client.say("a LOGIN {99999999999999999999+}\r\n");
    assert!(client.is_closed);
}

#[test]
fn capabilities_and_small_talk() {
    let server = Server::new();
    let mut client = server.stranger();
    hears(&client.say("a ID (\"name\" \"x\\\"\")\r\n"), &["* ID (\"name\" \"Heliograph\"", "a OK"]);
    hears(&client.say("a CAPABILITY\r\n"), &["* CAPABILITY IMAP4rev1", "AUTH=PLAIN", "a OK"]);
    let mut client = server.ada();
    hears(&client.say("a CAPABILITY\r\n"), &["IDLE", "QRESYNC", "APPENDLIMIT=600000", "a OK"]);
    hears(&client.say("a NAMESPACE\r\n"), &["* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n", "a OK"]);
    let said = client.say("a ENABLE CONDSTORE X-NOTHING IMAP4rev2\r\n");
    hears(&said, &["* ENABLED CONDSTORE IMAP4rev2\r\n", "a OK"]);
    hears(&client.say("a ENABLE QRESYNC\r\n"), &["* ENABLED QRESYNC\r\n"]);
    let said = client.say("a LOGOUT\r\n");
    assert_eq!(said, "* BYE until next time\r\na OK LOGOUT completed\r\n");
    assert!(client.is_closed && client.session.summary().reason == "logout");
}

#[test]
fn the_server_says_goodbye() {
    let server = Server::new();
    let mut client = server.in_inbox();
    client.say("i IDLE\r\n");
    let said = client.event(Event::Goodbye(Goodbye::Shutdown));
    assert!(said.starts_with("* BYE [UNAVAILABLE]") && client.is_closed);
    assert_eq!(server.watches.count(), 0);
}

#[test]
fn the_banner_is_expanded() {
    for (pattern, expected) in [
        (
            "%h IMAP4 service (%P %V)",
            concat!("mx IMAP4 service (Heliograph ", env!("CARGO_PKG_VERSION"), ")"),
        ),
        ("100%% %x %", "100% %x %"),
        ("two\r\n* BYE lines", "two* BYE lines"),
        ("", "ready"),
    ] {
        let settings = Settings {
            banner: pattern.into(),
            host: "mx".into(),
            append_limit: 1,
            idle: true,
            starttls: false,
            plaintext_min_cipher: 0,
        };
        assert_eq!(banner(&settings), expected);
    }
}
