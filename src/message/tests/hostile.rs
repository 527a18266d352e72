//! Mail that is out to do harm: it degrades, and no limit is passed. Each repeats itself some hundred thousand
//! times, so that anything worse than linear would not end.

use super::*;

fn deepest(analysis: &Analysis) -> usize {
    analysis.parts.iter().map(|part| usize::from(part.depth)).max().unwrap()
}

#[test]
fn multiparts_ten_thousand_deep() {
    let raw: String = (0..10_000)
        .map(|level| format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n"))
        .collect();
    let analysis = checked(raw.as_bytes());
    assert_eq!(deepest(&analysis), limits::MAX_NESTING);
    assert!(text(analysis.body()).contains("\"application\" \"octet-stream\""));
}

#[test]
fn messages_ten_thousand_deep() {
    let raw = "Content-Type: message/rfc822\r\n\r\n".repeat(10_000);
    let analysis = checked(raw.as_bytes());
    assert_eq!(deepest(&analysis), limits::MAX_NESTING);
    assert!(analysis.parts.locate(&[1; 10_000], Which::Full).is_none());
    assert!(analysis.parts.locate(&[1; limits::MAX_NESTING], Which::Full).is_some());
}

#[test]
fn a_million_parts() {
    let raw = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n\r\n".repeat(1_000_000));
    assert_eq!(checked(raw.as_bytes()).parts.iter().count(), limits::MAX_PARTS);
    let raw =
        format!("Content-Type: multipart/digest; boundary=b\r\n\r\n{}", "--b\r\n\r\n\r\n".repeat(100_000));
    assert!(checked(raw.as_bytes()).parts.iter().count() <= limits::MAX_PARTS);
}

#[test]
fn a_hundred_boundaries_that_almost_match() {
    let common = "x".repeat(limits::MAX_BOUNDARY - 3);
    let open: String = (0..limits::MAX_NESTING)
        .map(|level| {
            format!(
                "Content-Type: multipart/mixed; boundary={common}{level:03}\r\n\r\n--{common}{level:03}\r\n"
            )
        })
        .collect();
    let raw = format!("{open}\r\n{}", format!("--{common}999\r\n").repeat(10_000));
    assert_eq!(deepest(&checked(raw.as_bytes())), limits::MAX_NESTING);
}

#[test]
fn boundaries_of_any_length() {
    for length in [1, limits::MAX_BOUNDARY, limits::MAX_BOUNDARY + 1, 1 << 20] {
        let boundary = "b".repeat(length);
        let raw =
            format!("Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n--{boundary}\r\n\r\nx\r\n");
        let analysis = checked(raw.as_bytes());
        assert_eq!(analysis.parts.root().is_multipart(), length <= limits::MAX_BOUNDARY, "{length}");
        assert!(analysis.preview().is_some());
    }
}

#[test]
fn structures_that_take_too_much_room() {
    let param = format!("; name=\"{}\"", "\\\"".repeat(limits::MAX_STRUCTURE));
    let raw = format!("Content-Type: text/plain{param}\r\n\r\nx");
    let analysis = checked(raw.as_bytes());
    assert_eq!(analysis.body(), b"(\"application\" \"octet-stream\" NIL NIL NIL \"7bit\" 1)");
    assert_eq!(
        analysis.body_structure(),
        b"(\"application\" \"octet-stream\" NIL NIL NIL \"7bit\" 1 NIL NIL NIL NIL)"
    );
}

#[test]
fn headers_without_end() {
    let many = 1 << 18;
    for raw in [
        format!("Subject: {}", "x".repeat(32 * many)),
        format!("Subject: x{}\r\n\r\n", "\r\n x".repeat(many)),
        "X: y\r\n".repeat(many),
        "no colon\r\n".repeat(many),
        "\r".repeat(many),
        "\n".repeat(many),
        "\0".repeat(many),
        "-".repeat(many),
        "--\r\n".repeat(many),
        format!("To: {}\r\n\r\n", "a:".repeat(many)),
        format!("To: {}\r\n\r\n", "(".repeat(8 * many)),
        format!("To: a@x {}\r\n\r\n", "(x)".repeat(many)),
        format!("To: \"{}\r\n\r\n", "\\".repeat(many)),
        format!("To: {}\r\n\r\n", "<".repeat(many)),
        format!("To: {}\r\n\r\n", "x ".repeat(many)),
        "To: a@x\r\n".repeat(many),
        "From: a@x\r\nSender: b\r\nReply-To:\r\nTo: c\r\nCc: d\r\nReferences: e\r\n".repeat(many / 8),
        format!("Date: {}\r\n\r\n", "1 ".repeat(many)),
        format!("References: {}\r\n\r\n", "<".repeat(many)),
        format!("Content-Type: a/b{}\r\n\r\n", ";".repeat(many)),
        format!("Content-Type: a/b; {}\r\n\r\n", "=\"".repeat(many)),
        format!("Content-Type: {}\r\n\r\n", "/".repeat(many)),
        format!(
            "Content-Type: a/b{}\r\n\r\n",
            (0..20_000).map(|n| format!("; n*{n}*=x")).collect::<String>()
        ),
        format!("Content-Language: {}\r\n\r\n", "a,".repeat(many)),
    ] {
        let analysis = checked(raw.as_bytes());
        assert!(analysis.envelope().len() < 32 * limits::MAX_ENVELOPE_FIELD, "{}", &raw[..20]);
    }
}

#[test]
fn searches_stay_linear() {
    let many = 1 << 18;
    let body = format!("Subject: {}\r\n\r\n{}", "=?x?q?".repeat(many), "a".repeat(4 * many));
    let parts = checked(body.as_bytes()).parts;
    for needle in ["a".repeat(many) + "b", "é".repeat(1000), "a".repeat(3) + "b", "=?x?q?".repeat(1000) + "y"]
    {
        let needle = Needle::new(&needle);
        assert!(!search_text(body.as_bytes(), &parts, &needle, Scope::Text));
        assert!(!search_header(body.as_bytes(), b"subject", &needle));
    }
}

#[test]
fn selecting_ten_thousand_names_from_many_fields() {
    let header = "X-Field: y\r\n".repeat(100_000);
    let names: Vec<String> = (0..10_000).map(|n| format!("name{n}")).collect();
    let names = names.iter().map(String::as_bytes).collect();
    let mut out = Vec::new();
    header_fields(header.as_bytes(), &names, false, &mut out);
    assert_eq!(out, b"\r\n");
}

#[test]
fn html_that_never_closes() {
    for html in ["<", "<!--", "<style>", "</", "&", "&#", "<p ", "<style></x>"] {
        let raw = format!("Content-Type: text/html\r\n\r\n{}", html.repeat(1 << 18));
        checked(raw.as_bytes());
    }
}

#[test]
fn encodings_that_are_none() {
    for encoding in ["base64", "quoted-printable", "x-unknown"] {
        for body in ["=", "=\r\n", "====", "A", "\r\n", " ", "=4"] {
            let raw = format!("Content-Transfer-Encoding: {encoding}\r\n\r\n{}", body.repeat(1 << 18));
            let parts = checked(raw.as_bytes()).parts;
            let part = parts.part(&[1]).unwrap();
            let mut out = Vec::new();
            let decoded =
                decode_transfer(part.encoding, &raw.as_bytes()[part.body().start as usize..], &mut out);
            assert_eq!(decoded.is_err(), encoding == "x-unknown");
            assert!(out.len() <= raw.len());
        }
    }
}

#[test]
fn small_and_odd_messages() {
    for raw in [
        "",
        "x",
        "\n",
        "\r",
        "\r\n",
        "From x@y Mon Jan  1 00:00:00 2001\nSubject: s\n\nb",
        ":",
        "a:",
        " ",
        "--",
    ] {
        checked(raw.as_bytes());
    }
}
