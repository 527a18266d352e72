//! BODY and BODYSTRUCTURE (RFC 9051 §7.5.2), and mail-parser as the judge of offsets.

use mail_parser::{MessageParser, PartType};

use super::*;

fn body(message: &str) -> String {
    text(checked(&crlf(message)).body())
}

fn body_structure(message: &str) -> String {
    text(checked(&crlf(message)).body_structure())
}

const PLAIN: &str = "\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\"";

#[test]
fn plain_messages() {
    for (message, expected) in [
        ("", format!("({PLAIN} 0 0)")),
        ("Subject: s\n\nhello\n", format!("({PLAIN} 7 1)")),
        ("Content-Type: nonsense\n\none\ntwo", format!("({PLAIN} 8 1)")),
        (
            "Content-Type: Text/HTML; Charset=\"utf-8\"\nContent-Transfer-Encoding: 8BIT\n\nx\n",
            "(\"Text\" \"HTML\" (\"Charset\" \"utf-8\") NIL NIL \"8BIT\" 3 1)".into(),
        ),
        ("Content-Type: image/png\n\nx\n", "(\"image\" \"png\" NIL NIL NIL \"7bit\" 3)".into()),
    ] {
        assert_eq!(body(message), expected, "{message}");
    }
}

#[test]
fn every_extension_field() {
    let message = "Content-Type: application/pdf; name*0*=utf-8''a; name*1=\"b.pdf\"\nContent-ID: <1@x>\n\
        Content-Description: a\n folded one\nContent-Transfer-Encoding: base64\nContent-MD5: abc==\n\
        Content-Disposition: attachment; filename=\"a \\\"b\\\".pdf\"; size=4\nContent-Language: en, de\n\
        Content-Location: http://x/y\n\nAAAA\n";
    let expected = "(\"application\" \"pdf\" (\"name*0*\" \"utf-8''a\" \"name*1\" \"b.pdf\") \"<1@x>\" \
        \"a folded one\" \"base64\" 6 \"abc==\" (\"attachment\" (\"filename\" \"a \\\"b\\\".pdf\" \"size\" \"4\")) \
        (\"en\" \"de\") \"http://x/y\")";
    assert_eq!(body_structure(message), expected);
}

#[test]
fn multiparts_and_messages_inside() {
    let message = "Content-Type: multipart/mixed; boundary=b\nContent-Language: fr\n\n--b\n\none\n\n\
        --b\nContent-Type: message/rfc822\n\nSubject: in\nFrom: a@x\n\ntwo\nlines\n--b--\n";
    let ada = "((NIL NIL \"a\" \"x\"))";
    let inner = format!("(NIL \"in\" {ada} {ada} {ada} NIL NIL NIL NIL NIL)");
    let message_part = format!("\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 36 {inner}");
    assert_eq!(body(message), format!("(({PLAIN} 5 1)({message_part} ({PLAIN} 10 1) 4) \"mixed\")"));
    let none = "NIL NIL NIL NIL";
    assert_eq!(
        body_structure(message),
        format!(
            "(({PLAIN} 5 1 {none})({message_part} ({PLAIN} 10 1 {none}) 4 {none}) \"mixed\" \
             (\"boundary\" \"b\") NIL (\"fr\") NIL)"
        )
    );
}

#[test]
fn digests_default_to_messages() {
    let structure = body("Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: s\n\nx\n--b--\n");
    assert!(
        structure.starts_with("((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 15 (NIL \"s\""),
        "{structure}"
    );
}

#[test]
fn odd_bytes_go_out_as_literals() {
    let raw = b"Content-Type: a/b; n=\"\xc3\xa9\"\r\nContent-ID: x\0y\r\n\r\n";
    assert_eq!(checked(raw).body(), b"(\"a\" \"b\" (\"n\" {2}\r\n\xc3\xa9) {2}\r\nxy NIL \"7bit\" 0)");
}

/// Leaves as mail-parser finds them: where each begins and ends.
fn judged(raw: &[u8]) -> Vec<(u64, u64)> {
    let message = MessageParser::new().parse(raw).unwrap();
    let mut leaves = Vec::new();
    collect(&message, 0, &mut leaves);
    leaves
}

fn collect(message: &mail_parser::Message<'_>, base: u64, leaves: &mut Vec<(u64, u64)>) {
    for part in &message.parts {
        match &part.body {
            PartType::Multipart(_) => (),
            PartType::Message(inner) => collect(inner, base, leaves),
            _ => leaves.push((base + u64::from(part.offset_body), base + u64::from(part.offset_end))),
        }
    }
}

#[test]
fn mail_parser_finds_the_same_leaves() {
    let leaf = |kind: &str, body: &str| format!("Content-Type: {kind}\n\n{body}");
    let multipart = |boundary: &str, parts: &[String]| {
        let parts: String = parts.iter().map(|part| format!("--{boundary}\n{part}\n")).collect();
        format!("Content-Type: multipart/mixed; boundary={boundary}\n\npro\n{parts}--{boundary}--\nepi\n")
    };
    let inner = multipart("one", &[leaf("text/plain", "a\nb\n"), leaf("image/png", "x")]);
    let middle = multipart("two", &[inner.clone(), leaf("text/html", "<p>\n\n"), inner.clone()]);
    for message in [
        leaf("text/plain", "only\n"),
        inner.clone(),
        middle.clone(),
        multipart("three", &[middle, leaf("text/plain", "\nx\n\n\n"), leaf("text/csv", "1;2")]),
    ] {
        let message = crlf(&format!("From: a@x\n{message}"));
        let own: Vec<_> = checked(&message)
            .parts
            .iter()
            .filter(|part| matches!(part.kind, Kind::Text | Kind::Other))
            .map(|part| (part.body().start, part.body().end))
            .collect();
        assert_eq!(own, judged(&message), "{}", text(&message));
    }
}
