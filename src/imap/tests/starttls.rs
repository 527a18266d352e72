//! STARTTLS, and when passwords are taken.

use super::*;

const PLAIN: Security = Security::Plain;
const WEAK: Security = Security::Tls { bits: 128 };
const STRONG: Security = Security::Tls { bits: 256 };

fn server(starttls: bool, plaintext_min_cipher: i64) -> Server {
    Server::with(|settings| {
        settings.starttls = starttls;
        settings.plaintext_min_cipher = plaintext_min_cipher;
    })
}

#[test]
fn passwords_are_taken_as_plaintextmincipher_says() {
    for (bits, security, is_taken) in [
        (-1, PLAIN, false),
        (-1, STRONG, false),
        (0, PLAIN, true),
        (0, WEAK, true),
        (1, PLAIN, false),
        (1, WEAK, true),
        (128, WEAK, true),
        (129, WEAK, false),
        (256, STRONG, true),
        (512, STRONG, false),
    ] {
        let server = server(false, bits);
        let at = format!("{bits} over {security:?}");
        let mut client = server.stranger_over(security);
        for list in [client.heard(), client.say("a CAPABILITY\r\n")] {
            assert_eq!(list.contains("LOGINDISABLED"), !is_taken, "{at}: {list}");
            assert_eq!(list.contains("AUTH=PLAIN"), is_taken, "{at}: {list}");
        }
        let refusal = if bits < 0 { "NO [CANNOT]" } else { "NO [PRIVACYREQUIRED]" };
        for command in [
            "LOGIN ada secret",
            "LOGIN ada {6+}\r\nsecret",
            "AUTHENTICATE PLAIN AGFkYQBzZWNyZXQ=",
            "authenticate plain\r\nAGFkYQBzZWNyZXQ=",
        ] {
            let mut client = server.stranger_over(security);
            client.heard();
            let said = client.say(&format!("a {command}\r\n"));
            hears(&said, &[&format!("a {}", if is_taken { "OK" } else { refusal })]);
        }
    }
}

#[test]
fn nobody_is_invited_to_send_a_password_that_is_not_taken() {
    let server = server(true, 128);
    for command in ["LOGIN {3}", "LOGIN ada {6}", "login \"ada\" {6}", "AUTHENTICATE PLAIN"] {
        let mut client = server.stranger();
        client.heard();
        let said = client.say(&format!("a {command}\r\n"));
        assert!(said.starts_with("a NO [PRIVACYREQUIRED] passwords need TLS here, use STARTTLS"), "{said}");
        hears(&client.say("b NOOP\r\n"), &["b OK"]);
    }
}

#[test]
fn starttls_is_offered_once_and_before_login() {
    let server = server(true, 0);
    let mut client = server.stranger();
    hears(&client.heard(), &["AUTH=PLAIN STARTTLS"]);
    assert_eq!(client.say("a STARTTLS\r\n"), "a OK begin TLS now\r\n");
    hears_not(&client.say("b CAPABILITY\r\n"), "STARTTLS");
    hears(&client.say("c STARTTLS\r\n"), &["c BAD TLS is on already"]);
    let mut client = server.ada();
    hears(&client.say("a STARTTLS\r\n"), &["a BAD already logged in"]);
    hears_not(&client.say("b CAPABILITY\r\n"), "STARTTLS");
    let mut client = server.stranger_over(WEAK);
    hears_not(&client.heard(), "STARTTLS");
    hears(&client.say("a STARTTLS\r\n"), &["a BAD"]);
}

#[test]
fn what_came_before_tls_is_forgotten_threat_1() {
    let server = server(true, 0);
    let mut client = server.stranger();
    client.say(&"x LOGIN ada guess\r\n".repeat(usize::from(limits::MAX_FAILED_LOGINS) - 1));
    let said = client.say("a STARTTLS\r\nb LOGIN ada secret\r\n");
    assert_eq!(said, "a OK begin TLS now\r\n", "the second command is not carried out");
    hears(&client.say("c SELECT INBOX\r\n"), &["c BAD log in first"]);
    hears(&client.say("d LOGIN ada guess\r\n"), &["d NO"]);
    hears(&client.say("e LOGIN ada secret\r\n"), &["e OK"]);
}

#[test]
fn a_client_hello_on_the_plain_port_is_sent_away() {
    let mut client = server(true, 0).stranger();
    client.heard();
    client.send(b"\x16\x03\x01\x02\x00\x01\x00");
    assert!(client.heard().starts_with("* BYE ") && client.is_closed);
    assert_eq!(client.session.summary().reason, "tls on the plain port");
}
