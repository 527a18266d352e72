//! SORT and THREAD.

use super::*;
use crate::imap::limits::MAX_SORT_CRITERIA;
use crate::imap::types::*;
use crate::search::{Algorithm, Criterion, SortKey};

fn all(uid: bool, returns: Option<SearchReturn>, charset: &str) -> Search<'_> {
    Search { uid, returns, charset: Some(charset), key: SearchKey::All }
}

fn criteria(command: &str) -> Vec<(SortKey, bool)> {
    match parsed(command) {
        CommandBody::Sort(sort) => sort.criteria.iter().map(|c| (c.key, c.reverse)).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_criterion() {
    use SortKey::*;
    for (words, expected) in [
        ("ARRIVAL CC DATE", &[(Arrival, false), (Cc, false), (Date, false)][..]),
        ("From reverse SIZE subject", &[(From, false), (Size, true), (Subject, false)]),
        ("REVERSE TO DISPLAYFROM", &[(To, true), (DisplayFrom, false)]),
        ("reverse DISPLAYTO", &[(DisplayTo, true)]),
        ("DATE SIZE REVERSE DATE", &[(Date, false), (Size, false)]),
    ] {
        assert_eq!(criteria(&format!("a SORT ({words}) UTF-8 ALL")), expected, "{words}");
    }
}

#[test]
fn results_charsets_and_algorithms() {
    let date = Criterion { key: SortKey::Date, reverse: false };
    let sort = |search| CommandBody::Sort(Sort { criteria: [date].into_iter().collect(), search });
    let returns = Some(SearchReturn { min: true, count: true, ..Default::default() });
    let plain = Some(SearchReturn { all: true, ..Default::default() });
    let thread = |algorithm, search| CommandBody::Thread(Thread { algorithm, search });
    for (command, expected) in [
        ("a SORT (DATE) UTF-8 ALL", sort(all(false, None, "UTF-8"))),
        ("a UID SORT (DATE) \"x y\" ALL", sort(all(true, None, "x y"))),
        ("a SORT RETURN (COUNT MIN) (DATE) UTF-8 ALL", sort(all(false, returns, "UTF-8"))),
        ("a UID SORT return () (DATE) UTF-8 ALL", sort(all(true, plain, "UTF-8"))),
        ("a THREAD references utf-8 ALL", thread(Algorithm::References, all(false, None, "utf-8"))),
        ("a UID THREAD ORDEREDSUBJECT us-ascii ALL", {
            thread(Algorithm::OrderedSubject, all(true, None, "us-ascii"))
        }),
    ] {
        assert_eq!(parsed(command), expected, "{command}");
    }
}

#[test]
fn broken_sorts_and_threads() {
    for (command, expected) in [
        ("SORT", "expected a space"),
        ("SORT DATE UTF-8 ALL", "expected \"(\""),
        ("SORT () UTF-8 ALL", "expected a sort key"),
        ("SORT (REVERSE) UTF-8 ALL", "expected a space"),
        ("SORT (REVERSE REVERSE DATE) UTF-8 ALL", "expected a sort key"),
        ("SORT (DATE,SIZE) UTF-8 ALL", "expected \")\""),
        ("SORT (COLOUR) UTF-8 ALL", "expected a sort key"),
        ("SORT (DATE) ALL", "expected a space"),
        ("SORT (DATE) (ALL) ALL", "expected a charset"),
        ("SORT (DATE) UTF-8 ", "expected a search key"),
        ("SORT (DATE) CHARSET UTF-8 ALL", "expected a search key"),
        ("SORT RETURN (PARTIAL) (DATE) UTF-8 ALL", "expected MIN, MAX, ALL, COUNT or SAVE"),
        ("THREAD UTF-8 ALL", "expected ORDEREDSUBJECT or REFERENCES"),
        ("THREAD REFERENCES ALL", "expected a space"),
        ("THREAD REFERENCES UTF-8 NONE", "expected a search key"),
    ] {
        let found = error(&format!("a {command}"));
        assert!(found.starts_with(expected), "{command}: {found}");
    }
}

#[test]
fn criteria_have_a_limit() {
    let sort = |count: usize| format!("a SORT ({}) UTF-8 ALL", vec!["DATE"; count].join(" "));
    assert_eq!(criteria(&sort(MAX_SORT_CRITERIA)).len(), 1);
    assert!(error(&sort(MAX_SORT_CRITERIA + 1)).starts_with("more than 32 sort criteria"));
}
