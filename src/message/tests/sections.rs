//! Section addressing (RFC 9051 §6.4.5), with CRLF and with bare LF.

use super::*;

const NESTED: &str = "From: a@x\nContent-Type: multipart/mixed; boundary=\"out\n er\"\n\nprologue\n\
--out er\nContent-Type: text/plain\n\none\n\n\
--out er  \nContent-Type: message/rfc822\nContent-Description: inner mail\n\n\
Subject: inner\nContent-Type: multipart/digest; boundary=in\n\ninner prologue\n\
--in\n\nSubject: d1\n\nfirst\n\
--in\nX-Mime: yes\n\nSubject: d2\nContent-Type: message/rfc822\n\nSubject: deep\n\ndeepest\n\
--in--\ninner epilogue\n\
--out er--\nepilogue\n";

/// What a section holds; `None` when there is no such section. Line ends are shown as LF.
fn section(raw: &[u8], path: &[u32], which: Which) -> Option<String> {
    let range = checked(raw).parts.locate(path, which)?;
    Some(text(&raw[range.start as usize..range.end as usize]).replace("\r\n", "\n"))
}

fn assert_sections(message: &str, expected: &[(&[u32], Which, Option<&str>)]) {
    for raw in [crlf(message), message.as_bytes().to_vec()] {
        for &(path, which, content) in expected {
            assert_eq!(section(&raw, path, which).as_deref(), content, "{path:?} {which:?}");
        }
    }
}

#[test]
fn nested_parts_have_their_numbers() {
    let inner = "Subject: inner\nContent-Type: multipart/digest; boundary=in\n\n";
    let deep = "Subject: deep\n\ndeepest";
    assert_sections(
        NESTED,
        &[
            (&[], Which::Full, Some(NESTED)),
            (&[], Which::Mime, None),
            (&[1], Which::Full, Some("one\n")),
            (&[1], Which::Mime, Some("Content-Type: text/plain\n\n")),
            (&[1], Which::Header, None),
            (&[1, 1], Which::Full, None),
            (&[2], Which::Mime, Some("Content-Type: message/rfc822\nContent-Description: inner mail\n\n")),
            (&[2], Which::Header, Some(inner)),
            (&[2, 1], Which::Full, Some("Subject: d1\n\nfirst")),
            (&[2, 1], Which::Mime, Some("\n")),
            (&[2, 1], Which::Header, Some("Subject: d1\n\n")),
            (&[2, 1], Which::Text, Some("first")),
            (&[2, 1, 1], Which::Full, Some("first")),
            (&[2, 2], Which::Mime, Some("X-Mime: yes\n\n")),
            (&[2, 2, 1], Which::Full, Some(deep)),
            (&[2, 2, 1], Which::Header, Some("Subject: deep\n\n")),
            (&[2, 2, 1, 1], Which::Full, Some("deepest")),
            (&[2, 2, 1, 2], Which::Full, None),
            (&[2, 3], Which::Full, None),
            (&[3], Which::Full, None),
            (&[0], Which::Full, None),
            (&[u32::MAX], Which::Full, None),
        ],
    );
}

#[test]
fn single_part_messages_have_part_one() {
    assert_sections(
        "Subject: s\n\nbody\n",
        &[
            (&[], Which::Header, Some("Subject: s\n\n")),
            (&[], Which::Text, Some("body\n")),
            (&[1], Which::Full, Some("body\n")),
            (&[1], Which::Mime, Some("Subject: s\n\n")),
            (&[1], Which::Text, None),
            (&[1, 1], Which::Full, None),
        ],
    );
}

#[test]
fn a_message_that_is_a_message() {
    assert_sections(
        "Content-Type: message/rfc822\n\nContent-Type: message/rfc822\n\nSubject: in\n\ntext\n",
        &[
            (&[1], Which::Header, Some("Content-Type: message/rfc822\n\n")),
            (&[1, 1], Which::Full, Some("Subject: in\n\ntext\n")),
            (&[1, 1], Which::Header, Some("Subject: in\n\n")),
            (&[1, 1, 1], Which::Full, Some("text\n")),
            (&[1, 1, 1, 1], Which::Full, None),
        ],
    );
}

#[test]
fn boundaries_that_are_prefixes_of_each_other() {
    assert_sections(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\
         Content-Type: multipart/mixed; boundary=bb\n\n--bb\n\n1.1 --b\n--bbb\n--b-\n--bb\n\n1.2\n--bb--\n\
         --b\n\n2\n--b--\n--b\n\nnot a part\n",
        &[
            (&[1, 1], Which::Full, Some("1.1 --b\n--bbb\n--b-")),
            (&[1, 2], Which::Full, Some("1.2")),
            (&[2], Which::Full, Some("2")),
            (&[3], Which::Full, None),
        ],
    );
}

#[test]
fn outer_delimiters_end_inner_parts() {
    assert_sections(
        "Content-Type: multipart/mixed; boundary=o\n\n--o\n\
         Content-Type: multipart/mixed; boundary=i\n\n--i\n\n1.1\n--o\n\n2\n--i\nstill 2",
        &[(&[1, 1], Which::Full, Some("1.1")), (&[2], Which::Full, Some("2\n--i\nstill 2"))],
    );
}

#[test]
fn the_same_boundary_twice_belongs_to_the_inner() {
    assert_sections(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\
         Content-Type: multipart/mixed; boundary=b\n\n--b\n\n1.1\n--b--\n--b\n\n2\n--b--\n",
        &[(&[1, 1], Which::Full, Some("1.1")), (&[2], Which::Full, Some("2"))],
    );
}

#[test]
fn parts_without_a_blank_line() {
    assert_sections(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n--b\nno header at all\n\
         --b\n--b\n\n--b--",
        &[
            (&[1], Which::Mime, Some("Content-Type: text/html\n")),
            (&[1], Which::Full, Some("")),
            (&[2], Which::Mime, Some("")),
            (&[2], Which::Full, Some("no header at all")),
            (&[3], Which::Full, Some("")),
            (&[4], Which::Mime, Some("\n")),
            (&[4], Which::Full, Some("")),
        ],
    );
}

#[test]
fn one_broken_line_does_not_end_a_header() {
    let header = "Return-Path <a@x>\nSubject: s\nanother broken one\nFrom: a@x\n\n";
    assert_sections(
        &format!("{header}body\n"),
        &[(&[], Which::Header, Some(header)), (&[], Which::Text, Some("body\n"))],
    );
    assert_sections("no header\nat 12:00\n", &[(&[], Which::Text, Some("no header\nat 12:00\n"))]);
}

#[test]
fn multiparts_without_parts_are_text() {
    for message in [
        "Content-Type: multipart/mixed; boundary=never\n\nreadable\n",
        "Content-Type: multipart/mixed\n\nreadable\n",
        "Content-Type: multipart/mixed; boundary=\"\"\n\nreadable\n",
    ] {
        assert_sections(message, &[(&[1], Which::Full, Some("readable\n")), (&[2], Which::Full, None)]);
        assert_eq!(checked(&crlf(message)).preview(), Some("readable"));
    }
}

#[test]
fn damaged_tables_are_refused() {
    let mut stored = Vec::new();
    checked(&crlf(NESTED)).parts.encode(&mut stored);
    for length in 0..stored.len() {
        assert!(Parts::decode(&stored[..length]).is_err(), "cut to {length}");
    }
    for at in 0..stored.len() {
        for bit in 0..8 {
            let mut flipped = stored.clone();
            flipped[at] ^= 1 << bit;
            if let Ok(parts) = Parts::decode(&flipped) {
                assert!(parts.iter().all(|part| part.body().end <= parts.message_len()));
            }
        }
    }
    assert_eq!(Parts::decode(&[9]), Err(PartsError::Version(9)));
    assert_eq!(Parts::decode(&[1, 0]), Err(PartsError::Damaged(0)));
    stored.push(0);
    assert!(matches!(Parts::decode(&stored), Err(PartsError::Damaged(_))));
}
