//! Search keys, as the normalised tree that they make.

use std::fmt::Write;

use super::*;
use crate::imap::types::*;

/// The tree as an s-expression, so that tables stay readable.
fn shown(key: &SearchKey<'_>) -> String {
    let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let group = |name: &str, keys: &[SearchKey<'_>]| {
        let mut out = format!("({name}");
        keys.iter().for_each(|key| _ = write!(out, " {}", shown(key)));
        out + ")"
    };
    match key {
        SearchKey::And(keys) => group("and", keys),
        SearchKey::Or(keys) => group("or", keys),
        SearchKey::Not(key) => format!("(not {})", shown(key)),
        SearchKey::Sequence(set) => format!("{:?}", set.resolve(9).ranges().collect::<Vec<_>>()),
        SearchKey::Uids(set) => format!("uid{:?}", set.resolve(9).ranges().collect::<Vec<_>>()),
        SearchKey::System { flag, set } => {
            let names: Vec<_> =
                SystemFlags::NAMES.iter().filter(|(f, _)| f == flag).map(|(_, n)| *n).collect();
            format!("{}{}", if *set { "" } else { "-" }, names.join(""))
        }
        SearchKey::Keyword { keyword, set } => format!("{}{}", if *set { "" } else { "-" }, keyword.as_str()),
        SearchKey::Header { field, value } => format!("{}~{}", string(field), string(value)),
        SearchKey::Body(text) => format!("body~{}", string(text)),
        SearchKey::Text(text) => format!("text~{}", string(text)),
        SearchKey::Date { field, test, day } => format!("{field:?}{test:?}{:?}", day.to_date()),
        other => format!("{other:?}"),
    }
}

fn tree(keys: &str) -> String {
    match parsed(&format!("a SEARCH {keys}")) {
        CommandBody::Search(search) => shown(&search.key),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_key() {
    for (keys, expected) in [
        ("ALL", "All"),
        ("seen", "\\Seen"),
        ("UNSEEN", "-\\Seen"),
        ("ANSWERED UNANSWERED", "(and \\Answered -\\Answered)"),
        ("DELETED UNDELETED", "(and \\Deleted -\\Deleted)"),
        ("FLAGGED UNFLAGGED", "(and \\Flagged -\\Flagged)"),
        ("DRAFT UNDRAFT", "(and \\Draft -\\Draft)"),
        ("RECENT", "Recent"),
        ("OLD", "(not Recent)"),
        ("NEW", "(and Recent -\\Seen)"),
        ("KEYWORD $x UNKEYWORD y", "(and $x -y)"),
        ("1:3,5", "[1..=3, 5..=5]"),
        ("*", "[9..=9]"),
        ("UID 4:*", "uid[4..=9]"),
        ("FROM x", "From~x"),
        ("TO x CC y BCC z", "(and To~x Cc~y Bcc~z)"),
        ("SUBJECT \"a \\\"b\\\"\"", "Subject~a \"b\""),
        ("HEADER Message-ID \"\"", "Message-ID~"),
        ("BODY {3}\r\na b", "body~a b"),
        ("TEXT \u{22}\u{e4}\u{22}", "text~\u{e4}"),
        ("LARGER 10 SMALLER 9223372036854775807", "(and Larger(10) Smaller(9223372036854775807))"),
        ("BEFORE 1-Feb-1994", "InternalBefore(1994, 2, 1)"),
        ("ON \"01-feb-1994\"", "InternalOn(1994, 2, 1)"),
        ("SINCE 29-FEB-2024", "InternalSince(2024, 2, 29)"),
        ("SENTBEFORE 1-Feb-1994", "SentBefore(1994, 2, 1)"),
        ("SENTON 1-Feb-1994", "SentOn(1994, 2, 1)"),
        ("SENTSINCE 1-Feb-1994", "SentSince(1994, 2, 1)"),
        ("SAVEDBEFORE 1-Feb-1994", "SavedBefore(1994, 2, 1)"),
        ("SAVEDON 1-Feb-1994", "SavedOn(1994, 2, 1)"),
        ("SAVEDSINCE 1-Feb-1994", "SavedSince(1994, 2, 1)"),
        ("SAVEDATESUPPORTED", "SaveDateSupported"),
        ("OLDER 60 YOUNGER 90", "(and Older(60) Younger(90))"),
        ("EMAILID M1_a-b", "EmailId(\"M1_a-b\")"),
        ("THREADID T2", "ThreadId(\"T2\")"),
        ("MODSEQ 620162338", "ModSeq { since: ModSeq(620162338), entry: None }"),
    ] {
        assert_eq!(tree(keys), expected, "{keys}");
    }
    assert!(tree("MODSEQ \"/flags/\\\\draft\" all 7").starts_with("ModSeq { since: ModSeq(7), entry: Some("));
}

#[test]
fn connectives_are_flat() {
    for (keys, expected) in [
        ("(SEEN)", "\\Seen"),
        ("(SEEN DELETED) DRAFT", "(and \\Seen \\Deleted \\Draft)"),
        ("NOT SEEN", "-\\Seen"),
        ("NOT ALL", "(not All)"),
        ("NOT NOT NOT ALL", "(not All)"),
        ("NOT (NOT (ALL))", "All"),
        ("NOT (ALL SEEN)", "(not (and All \\Seen))"),
        ("OR SEEN ALL", "(or \\Seen All)"),
        ("OR 1 OR 2 OR 3 4", "(or [1..=1] [2..=2] [3..=3] [4..=4])"),
        ("OR OR OR 1 2 3 4", "(or [1..=1] [2..=2] [3..=3] [4..=4])"),
        ("OR (OR 1 2) 3 ALL", "(and (or [1..=1] [2..=2] [3..=3]) All)"),
        ("OR (1 2) NOT OR 3 4", "(or (and [1..=1] [2..=2]) (not (or [3..=3] [4..=4])))"),
        ("OR 1 2 OR 3 4", "(and (or [1..=1] [2..=2]) (or [3..=3] [4..=4]))"),
        ("1:3 NOT UID 3", "(and [1..=3] (not uid[3..=3]))"),
        ("OLD NOT OLD", "(and (not Recent) Recent)"),
        ("NEW", "(and Recent -\\Seen)"),
    ] {
        assert_eq!(tree(keys), expected, "{keys}");
    }
}

#[test]
fn results_and_charsets() {
    let all = SearchReturn { all: true, ..Default::default() };
    let every = SearchReturn { min: true, max: true, all: true, count: true, save: true };
    for (command, uid, returns, charset) in [
        ("a SEARCH ALL", false, None, None),
        ("a UID SEARCH ALL", true, None, None),
        ("a SEARCH RETURN () ALL", false, Some(all), None),
        ("a SEARCH return (min MAX ALL COUNT SAVE) ALL", false, Some(every), None),
        ("a SEARCH CHARSET utf-8 ALL", false, None, Some("utf-8")),
        ("a UID SEARCH RETURN (ALL) CHARSET \"US-ASCII\" ALL", true, Some(all), Some("US-ASCII")),
    ] {
        let expected = Search { uid, returns, charset, key: SearchKey::All };
        assert_eq!(parsed(command), CommandBody::Search(expected));
    }
    match parsed("a SEARCH $") {
        CommandBody::Search(Search { key: SearchKey::Sequence(set), .. }) => assert!(set.is_saved()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn broken_searches_threat_18() {
    for (keys, expected) in [
        ("", "expected a search key at byte 10"),
        ("()", "expected a search key at byte 11"),
        ("(SEEN", "expected \")\" or a space and one more"),
        ("SEEN)", "expected the end of the command"),
        ("NOT", "expected a space"),
        ("OR SEEN", "expected a space"),
        ("OR SEEN ", "expected a search key"),
        ("SEEN  ALL", "expected a search key"),
        ("FOO", "expected a search key"),
        ("BODY", "expected a space and the key's argument"),
        ("KEYWORD \\Seen", "expected a keyword"),
        ("KEYWORD \"x\"", "expected a keyword"),
        ("KEYWORD (x)", "expected a keyword"),
        ("BEFORE 32-Jan-2020", "expected a date"),
        ("BEFORE 30-Feb-2020", "expected a date"),
        ("BEFORE 1-Foo-2020", "expected a date"),
        ("BEFORE 1-Jan-20", "expected a date"),
        ("BEFORE \"1-Jan-2020", "expected a closing quote"),
        ("LARGER -1", "expected a number"),
        ("OLDER 0", "expected a number above 0"),
        ("EMAILID \"x\"", "expected an object id"),
        ("RETURN (FOO) ALL", "expected MIN, MAX, ALL, COUNT or SAVE"),
        ("CHARSET", "expected a space"),
    ] {
        let found = error(&format!("a SEARCH {keys}"));
        assert!(found.starts_with(expected), "{keys}: {found}");
    }
}
