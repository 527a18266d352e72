//! What an attacker sends: refused, in bounded memory and stack.

use proptest::prelude::*;

use super::*;
use crate::imap::limits::*;
use crate::imap::types::*;

fn refused(command: &str, expected: &str) {
    let found = error(command);
    assert!(found.starts_with(expected), "{}: {found}", &command[..command.len().min(40)]);
}

#[test]
fn bad_tags_threat_5() {
    let long = "a".repeat(1 << 20);
    for tag in [long.as_str(), "+", "*", "a+", "\"a\"", "a\0", "(a", "a{1", "\u{e4}", "a\\"] {
        let command = format!("{tag} NOOP");
        assert_eq!(tag_of(command.as_bytes()), None);
        refused(&command, "expected a tag at byte 1");
    }
    assert_eq!(tag_of(b"x1 LOGIN foo").map(Tag::as_str), Some("x1"));
    let longest = "a".repeat(MAX_TAG);
    assert!(parse_command(format!("{longest} NOOP").as_bytes(), Dialect::REV1).is_ok());
}

#[test]
fn parentheses_threat_6() {
    let open = "(".repeat(1_000_000);
    for (command, expected) in [
        ("ID ", "expected a field name in quotes"),
        ("LOGIN ", "expected a user name"),
        ("LIST ", "expected SUBSCRIBED"),
        ("LIST \"\" ", "expected a pattern"),
        ("FETCH 1 ", "expected a FETCH item"),
        ("SELECT x ", "expected CONDSTORE"),
        ("STORE 1 FLAGS ", "expected a keyword"),
        ("SEARCH ", "more than 64 nested search keys"),
    ] {
        refused(&format!("a {command}{open}"), expected);
    }
}

#[test]
fn id_has_limits_threat_8() {
    let pairs = |count| format!("a ID ({})", vec!["\"k\" \"v\""; count].join(" "));
    assert!(matches!(parsed(&pairs(MAX_ID_PAIRS)), CommandBody::Id(_)));
    refused(&pairs(MAX_ID_PAIRS + 1), "more than 30 ID fields");
    let value = |length| format!("a ID (\"k\" \"{}\")", "v".repeat(length));
    assert!(matches!(parsed(&value(MAX_ID_VALUE)), CommandBody::Id(_)));
    refused(&value(MAX_ID_VALUE + 1), "more than 1024 bytes in an ID value");
    refused(
        &format!("a ID (\"{}\" NIL)", "k".repeat(MAX_ID_FIELD + 1)),
        "more than 30 bytes in an ID field name",
    );
    refused("a ID (\"k\" \"v\r\nx NOOP\")", "expected a closing quote");
}

#[test]
fn names_and_patterns_threats_13_and_14() {
    refused(
        &format!("a SELECT {}", "x".repeat(MAX_MAILBOX_NAME + 1)),
        "mailbox name is longer than 1024 bytes",
    );
    refused(&format!("a SELECT {}", "x".repeat(64 * 1024)), "mailbox name is longer");
    let many = |count| format!("a LIST \"\" ({})", vec!["%"; count].join(" "));
    assert!(matches!(parsed(&many(MAX_LIST_PATTERNS)), CommandBody::List(_)));
    refused(&many(MAX_LIST_PATTERNS + 1), "more than 128 patterns");
    let long = format!("a LIST \"\" \"{}\"", "*%".repeat(MAX_LIST_PATTERN));
    match parsed(&long) {
        CommandBody::List(list) => assert!(list.patterns.is_empty(), "matches nothing"),
        other => panic!("{other:?}"),
    }
    let repeated = format!("a STATUS x ({})", vec!["MESSAGES"; 5000].join(" "));
    assert!(matches!(parsed(&repeated), CommandBody::Status { items: StatusItems::MESSAGES, .. }));
}

#[test]
fn sets_threat_15() {
    for set in ["0", "4294967296", "1,,2", "1:", ""] {
        refused(&format!("a FETCH {set} UID"), "expected a sequence set");
    }
    let many = format!("a FETCH {} UID", vec!["7,9"; 10_000].join(","));
    assert!(matches!(parsed(&many), CommandBody::Fetch(_)));
}

#[test]
fn sections_threat_16() {
    let path = |depth| format!("a FETCH 1 BODY[{}]", vec!["1"; depth].join("."));
    assert!(matches!(parsed(&path(MAX_SECTION_DEPTH)), CommandBody::Fetch(_)));
    refused(&path(MAX_SECTION_DEPTH + 1), "more than 100 numbers in a section");
    refused(&path(10_000), "more than 100 numbers in a section");
    let fields = |count| format!("a FETCH 1 BODY[HEADER.FIELDS ({})]", vec!["a"; count].join(" "));
    assert!(matches!(parsed(&fields(MAX_HEADER_FIELDS)), CommandBody::Fetch(_)));
    refused(&fields(10_000), "more than 256 header fields");
    let sections = |count| {
        let items: Vec<_> = (1..=count).map(|part| format!("BODY[{part}]")).collect();
        format!("a FETCH 1 ({})", items.join(" "))
    };
    assert!(matches!(parsed(&sections(MAX_FETCH_SECTIONS)), CommandBody::Fetch(_)));
    refused(&sections(MAX_FETCH_SECTIONS + 1), "more than 64 sections");
    let again = format!("a FETCH 1 ({})", vec!["BODY[] FLAGS RFC822"; 1000].join(" "));
    match parsed(&again) {
        CommandBody::Fetch(fetch) => assert_eq!(fetch.items.sections.len(), 2),
        other => panic!("{other:?}"),
    }
}

#[test]
fn searches_threat_18() {
    for (prefix, suffix) in [("NOT ", ""), ("OR ALL ", ""), ("OR ", " ALL")] {
        // Chains are flat: only the number of keys bounds them.
        let fits = format!("a SEARCH {}ALL{}", prefix.repeat(1000), suffix.repeat(1000));
        assert!(matches!(parsed(&fits), CommandBody::Search(_)), "{prefix}");
        let long = format!("a SEARCH {}ALL{}", prefix.repeat(10_000), suffix.repeat(10_000));
        refused(&long, "more than 4096 search keys");
    }
    for nest in ["(", "NOT (ALL ", "OR ALL (SEEN "] {
        refused(&format!("a SEARCH {}", nest.repeat(10_000)), "more than 64 nested search keys");
    }
    refused(&format!("a SEARCH {}", vec!["ALL"; 100_000].join(" ")), "more than 4096 search keys");
    let needle = |length| format!("a SEARCH TEXT \"{}\"", "x".repeat(length));
    assert!(matches!(parsed(&needle(MAX_SEARCH_STRING)), CommandBody::Search(_)));
    refused(&needle(1 << 20), "more than 8192 bytes in a search string");
}

#[test]
fn flags_and_capabilities_have_limits() {
    let flags = |count| format!("a STORE 1 FLAGS ({})", vec!["x"; count].join(" "));
    assert!(matches!(parsed(&flags(MAX_FLAGS)), CommandBody::Store(_)));
    refused(&flags(MAX_FLAGS + 1), "more than 256 flags");
    let keyword = |length| format!("a STORE 1 FLAGS ({})", "x".repeat(length));
    assert!(matches!(parsed(&keyword(MAX_KEYWORD)), CommandBody::Store(_)));
    refused(&keyword(MAX_KEYWORD + 1), "expected a keyword of at most 255 bytes");
    refused(&format!("a ENABLE {}", vec!["x"; MAX_ENABLE + 1].join(" ")), "more than 32 capabilities");
    let uses = vec!["\\Sent"; MAX_SPECIAL_USES + 1].join(" ");
    refused(&format!("a CREATE x (USE ({uses}))"), "more than 16 special-use attributes");
}

#[test]
fn control_bytes_are_refused() {
    for byte in (0u8..0x20).chain([0x7f]) {
        for template in ["a NOOP?", "a SELECT ?", "a LOGIN x y?", "a FETCH 1 (UID?FLAGS)", "a SEARCH TEXT x?"]
        {
            if byte == b' ' || (byte == b'\r' && template.ends_with('?')) {
                continue;
            }
            let command = template.replace('?', &char::from(byte).to_string());
            assert!(parse_command(command.as_bytes(), Dialect::REV1).is_err(), "{command:?}");
        }
    }
    for byte in [0, b'\r', b'\n'] {
        let command = [b"a LOGIN \"x", &[byte][..], b"\" y"].concat();
        assert!(parse_command(&command, Dialect::REV1).is_err(), "{byte}");
    }
}

/// Pieces of commands in any order reach deeper than random bytes do.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "a ",
        "UID ",
        "FETCH ",
        "SEARCH ",
        "STORE ",
        "LIST ",
        "SELECT ",
        "APPEND ",
        "ID ",
        "LOGIN ",
        "CREATE ",
        "STATUS ",
        "1:*",
        "$",
        "4294967295",
        " ",
        "(",
        ")",
        "[",
        "]",
        "<0.1>",
        "\"",
        "\\",
        "{3}\r\n",
        "{1+}\r\n",
        "~{2}\r\n",
        "BODY",
        "HEADER.FIELDS ",
        "OR ",
        "NOT ",
        "ALL",
        "RETURN ",
        "CHARSET ",
        "1-Jan-2020",
        " \"1-Jan-2020 00:00:00 +0000\"",
        "FLAGS",
        "\\Seen",
        "&AOQ-",
        "&",
        "*",
        "%",
        "NIL",
        "QRESYNC ",
        "USE ",
        "\u{e4}",
        "\0",
        "\r",
        "18446744073709551616",
    ]);
    prop::collection::vec(words, 0..16).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop_oneof![pieces(), prop::collection::vec(any::<u8>(), 0..80)], utf8: bool) {
        let dialect = Dialect { utf8 };
        for input in [bytes.clone(), [b"a ", &bytes[..]].concat()] {
            if let Err(error) = parse_command(&input, dialect) {
                prop_assert!(error.position <= input.len() + 1);
                prop_assert_eq!(error.tag.is_some(), tag_of(&input).is_some());
            }
            let _ = parse_append(&input, dialect);
            let _ = parse_append_next(&input, dialect);
            let _ = decode_sasl(&input);
        }
    }
}
