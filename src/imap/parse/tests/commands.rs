//! Every command but FETCH and SEARCH.

use std::borrow::Cow;

use smallvec::smallvec;

use super::*;
use crate::imap::types::*;
use crate::store::ModSeq;
use crate::sys::Secret;

fn name(text: &str) -> MailboxName<'_> {
    match MailboxName::new(text) {
        Ok(name) => name,
        Err(error) => panic!("{text}: {error}"),
    }
}

fn keyword(text: &str) -> Keyword<'_> {
    match Keyword::new(text) {
        Some(keyword) => keyword,
        None => panic!("no keyword: {text}"),
    }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

#[test]
fn commands_without_arguments() {
    for (command, expected) in [
        ("a CAPABILITY", CommandBody::Capability),
        ("a noop", CommandBody::Noop),
        ("a Logout", CommandBody::Logout),
        ("a STARTTLS", CommandBody::StartTls),
        ("a NAMESPACE", CommandBody::Namespace),
        ("a IDLE", CommandBody::Idle),
        ("a CHECK", CommandBody::Check),
        ("a CLOSE", CommandBody::Close),
        ("a UNSELECT", CommandBody::Unselect),
        ("a EXPUNGE", CommandBody::Expunge { uids: None }),
    ] {
        assert_eq!(parsed(command), expected);
        assert!(error(&format!("{command} x")).starts_with("expected the end of the command"));
    }
}

#[test]
fn tags_are_kept() {
    for tag in ["a", "A001", "1.2.3", "]", "a&b", "x-y_z"] {
        let command = format!("{tag} NOOP");
        assert_eq!(parse_command(command.as_bytes(), Dialect::REV1).map(|c| c.tag.as_str()), Ok(tag));
    }
}

#[test]
fn logins() {
    let login = |user: &'static str, password| CommandBody::Login {
        user: Cow::Borrowed(user.as_bytes()),
        password: secret(password),
    };
    for (command, expected) in [
        ("a LOGIN ada pass", login("ada", "pass")),
        ("a LOGIN \"a b\" \"q\\\"\\\\\"", login("a b", "q\"\\")),
        ("a LOGIN {3}\r\nada {4+}\r\np\r\nw", login("ada", "p\r\nw")),
        ("a LOGIN \"\u{e4}\" \"\"", login("\u{e4}", "")),
        ("a LOGIN a]b p]", login("a]b", "p]")),
    ] {
        assert_eq!(parsed(command), expected);
    }
    assert!(!format!("{:?}", parsed("a LOGIN ada geheim")).contains("geheim"));
}

#[test]
fn authentications() {
    let authenticate = |mechanism, initial: Option<&str>| CommandBody::Authenticate {
        mechanism,
        initial: initial.map(secret),
    };
    for (command, expected) in [
        ("a AUTHENTICATE PLAIN", authenticate("PLAIN", None)),
        ("a authenticate SCRAM-SHA-256 =", authenticate("SCRAM-SHA-256", Some(""))),
        ("a AUTHENTICATE PLAIN AGEAYg==", authenticate("PLAIN", Some("\0a\0b"))),
    ] {
        assert_eq!(parsed(command), expected);
    }
    assert_eq!(error("a AUTHENTICATE PLAIN !!"), "expected base64 or \"=\" at byte 22 of the command");
    assert_eq!(decode_sasl(b"*"), Ok(SaslLine::Cancel));
    assert_eq!(decode_sasl(b""), Ok(SaslLine::Data(secret(""))));
    assert_eq!(decode_sasl(b"AGEAYg"), Err(InvalidBase64));
    assert!(is_done(b"done") && !is_done(b"DONE ") && !is_done(b"a NOOP"));
}

#[test]
fn enable_and_id() {
    assert_eq!(parsed("a ENABLE IMAP4rev2 X-y"), CommandBody::Enable(smallvec!["IMAP4rev2", "X-y"]));
    let pair = |field: &'static str, value: Option<&'static str>| {
        (Cow::Borrowed(field.as_bytes()), value.map(|value| Cow::Borrowed(value.as_bytes())))
    };
    for (command, expected) in [
        ("a ID NIL", vec![]),
        ("a ID ()", vec![]),
        ("a ID (\"name\" \"x\" \"os\" NIL)", vec![pair("name", Some("x")), pair("os", None)]),
    ] {
        assert_eq!(parsed(command), CommandBody::Id(expected));
    }
}

#[test]
fn selections() {
    let plain = Select { mailbox: name("INBOX"), read_only: false, condstore: false, qresync: None };
    let qresync = |known_uids: Option<&str>, sequence_match: Option<(&str, &str)>| Qresync {
        uid_validity: 67,
        modseq: ModSeq(90),
        known_uids: known_uids.map(set),
        sequence_match: sequence_match
            .map(|(sequence, uids)| SequenceMatch { sequence: set(sequence), uids: set(uids) }),
    };
    let synced = |qresync| Select { qresync: Some(qresync), ..plain.clone() };
    for (command, expected) in [
        ("a SELECT inbox", plain.clone()),
        ("a EXAMINE \"Inbox\"", Select { read_only: true, ..plain.clone() }),
        ("a SELECT INBOX (CONDSTORE)", Select { condstore: true, ..plain.clone() }),
        ("a SELECT INBOX (QRESYNC (67 90))", synced(qresync(None, None))),
        ("a SELECT INBOX (QRESYNC (67 90 1:5,7))", synced(qresync(Some("1:5,7"), None))),
        ("a SELECT INBOX (QRESYNC (67 90 (1,2 5,9)))", synced(qresync(None, Some(("1,2", "5,9"))))),
        ("a SELECT INBOX (QRESYNC (67 90 1:9 (1 5)))", synced(qresync(Some("1:9"), Some(("1", "5"))))),
    ] {
        assert_eq!(parsed(command), CommandBody::Select(expected), "{command}");
    }
}

#[test]
fn names() {
    for (wire, dialect, expected) in [
        ("INBOX", Dialect::REV1, "INBOX"),
        ("a]b", Dialect::REV1, "a]b"),
        ("~foo", Dialect::REV1, "~foo"),
        ("\"a b\"", Dialect::REV1, "a b"),
        ("{5}\r\nInBoX", Dialect::REV1, "INBOX"),
        ("p&AOQA5A-", Dialect::REV1, "p\u{e4}\u{e4}"),
        ("\"p\u{e4}\"", Dialect::REV2, "p\u{e4}"),
        ("NIL", Dialect::REV1, "NIL"),
        ("#news", Dialect::REV1, "#news"),
    ] {
        let mailbox = name(expected);
        let found = |command: &str| match parsed_in(&format!("a {command} {wire}"), dialect) {
            CommandBody::Delete(name) => ("DELETE", name.into_owned()),
            CommandBody::Subscribe(name) => ("SUBSCRIBE", name.into_owned()),
            CommandBody::Unsubscribe(name) => ("UNSUBSCRIBE", name.into_owned()),
            other => panic!("{other:?}"),
        };
        for command in ["DELETE", "SUBSCRIBE", "UNSUBSCRIBE"] {
            assert_eq!(found(command), (command, mailbox.clone()));
        }
    }
}

#[test]
fn creations_and_renames() {
    for (command, special_use) in [
        ("a CREATE x/", vec![]),
        ("a CREATE x/ (USE ())", vec![]),
        (
            "a CREATE x/ (USE (\\Sent \\junk \\X))",
            vec![SpecialUse::Sent, SpecialUse::Junk, SpecialUse::Unknown],
        ),
    ] {
        let expected = CommandBody::Create { mailbox: name("x/"), special_use: special_use.into() };
        assert_eq!(parsed(command), expected);
    }
    assert_eq!(parsed("a RENAME x \"y z\""), CommandBody::Rename { from: name("x"), to: name("y z") });
}

#[test]
fn lists() {
    let plain = List {
        extended: false,
        select: ListSelect::NONE,
        reference: Cow::Borrowed(""),
        patterns: smallvec![Cow::Borrowed("*")],
        returns: ListReturn::default(),
    };
    let with = |patterns: &[&'static str]| List {
        patterns: patterns.iter().copied().map(Cow::Borrowed).collect(),
        ..plain.clone()
    };
    let extended = List { extended: true, ..plain.clone() };
    let returns = ListReturn {
        subscribed: true,
        children: true,
        special_use: true,
        status: Some(StatusItems::MESSAGES | StatusItems::UNSEEN),
    };
    for (command, expected) in [
        ("a LIST \"\" *", plain.clone()),
        ("a LIST \"\" \"\"", with(&[""])),
        ("a LIST x/ %/a*", List { reference: Cow::Borrowed("x/"), ..with(&["%/a*"]) }),
        ("a LIST \"\" p&AOQ-%", with(&["p\u{e4}%"])),
        ("a LIST \"\" ~foo", with(&["~foo"])),
        ("a LIST \"\" !#$$&'+,-.0123456789:;<=>?@^_`|[}%*", with(&[])),
        ("a LIST \"\" (INBOX \"a b\" %)", List { extended: true, ..with(&["INBOX", "a b", "%"]) }),
        ("a LIST () \"\" *", extended.clone()),
        (
            "a LIST (SUBSCRIBED recursivematch) \"\" *",
            List { select: ListSelect::SUBSCRIBED | ListSelect::RECURSIVE_MATCH, ..extended.clone() },
        ),
        (
            "a LIST (REMOTE SPECIAL-USE) \"\" *",
            List { select: ListSelect::REMOTE | ListSelect::SPECIAL_USE, ..extended.clone() },
        ),
        ("a LIST \"\" * RETURN ()", extended.clone()),
        (
            "a LIST \"\" * RETURN (SUBSCRIBED CHILDREN SPECIAL-USE STATUS (MESSAGES UNSEEN))",
            List { returns, ..extended.clone() },
        ),
    ] {
        assert_eq!(parsed(command), CommandBody::List(expected), "{command}");
    }
    let lsub = |pattern| CommandBody::Lsub { reference: Cow::Borrowed(""), pattern };
    assert_eq!(parsed("a LSUB \"\" %"), lsub(Some(Cow::Borrowed("%"))));
    assert_eq!(parsed("a LSUB \"\" &"), lsub(None));
}

#[test]
fn statuses() {
    let mut all = StatusItems::NONE;
    for (item, word) in StatusItems::NAMES {
        let command = format!("a STATUS x ({word})");
        assert_eq!(parsed(&command), CommandBody::Status { mailbox: name("x"), items: item });
        all.insert(item);
    }
    let words = StatusItems::NAMES.map(|(_, word)| word.to_lowercase()).join(" ");
    let command = format!("a STATUS x ({words})");
    assert_eq!(parsed(&command), CommandBody::Status { mailbox: name("x"), items: all });
}

#[test]
fn stores() {
    let seen = FlagList { system: SystemFlags::SEEN, keywords: smallvec![] };
    let plain = Store {
        uid: false,
        set: set("1:3"),
        action: StoreAction::Replace,
        silent: false,
        flags: seen.clone(),
        unchanged_since: None,
    };
    let mixed = FlagList {
        system: SystemFlags::DELETED | SystemFlags::DRAFT,
        keywords: smallvec![keyword("$Forwarded"), keyword("x")],
    };
    for (command, expected) in [
        ("a STORE 1:3 FLAGS (\\Seen)", plain.clone()),
        ("a STORE 1:3 FLAGS \\seen", plain.clone()),
        ("a STORE 1:3 FLAGS ()", Store { flags: FlagList::default(), ..plain.clone() }),
        (
            "a UID STORE 1:3 +FLAGS.SILENT (\\Deleted $Forwarded \\DRAFT $forwarded x)",
            Store {
                uid: true,
                action: StoreAction::Add,
                silent: true,
                flags: mixed.clone(),
                ..plain.clone()
            },
        ),
        (
            "a STORE 1:3 (UNCHANGEDSINCE 0) -flags \\Deleted \\Draft $Forwarded x",
            Store {
                action: StoreAction::Remove,
                flags: mixed,
                unchanged_since: Some(ModSeq(0)),
                ..plain.clone()
            },
        ),
        ("a STORE $ FLAGS (\\Seen)", Store { set: set("$"), ..plain.clone() }),
    ] {
        assert_eq!(parsed(command), CommandBody::Store(expected), "{command}");
    }
}

#[test]
fn copies_and_moves() {
    for (command, uid) in [("a COPY 2,4:* Sent", false), ("a UID COPY 2,4:* Sent", true)] {
        assert_eq!(parsed(command), CommandBody::Copy { uid, set: set("2,4:*"), mailbox: name("Sent") });
    }
    for (command, uid) in [("a MOVE 2,4:* Sent", false), ("a UID MOVE 2,4:* Sent", true)] {
        assert_eq!(parsed(command), CommandBody::Move { uid, set: set("2,4:*"), mailbox: name("Sent") });
    }
    assert_eq!(parsed("a UID EXPUNGE 3:*"), CommandBody::Expunge { uids: Some(set("3:*")) });
}

#[test]
fn appends_come_in_pieces() {
    let message = MessageLiteral { flags: FlagList::default(), date: None, size: 310, binary: false };
    let date = InternalDate { timestamp: 1_162_632_300, offset_minutes: -480 };
    let flags = FlagList { system: SystemFlags::SEEN, keywords: smallvec![keyword("$x")] };
    let prefix = |mailbox, message| {
        let tag = Tag::new(b"a").unwrap_or_else(|| panic!("tag"));
        Append::Message(AppendPrefix { tag, mailbox: name(mailbox), message })
    };
    for (head, expected) in [
        ("a APPEND {5}\r\n", Append::Name),
        ("a APPEND {5+}\r\ninbox {310}\r\n", prefix("INBOX", message.clone())),
        ("a append x {310+}\r\n", prefix("x", message.clone())),
        ("a APPEND \"x\" () ~{310}\r\n", prefix("x", MessageLiteral { binary: true, ..message.clone() })),
        (
            "a APPEND x (\\Seen $x) \" 4-Nov-2006 01:25:00 -0800\" {310}\r\n",
            prefix("x", MessageLiteral { flags: flags.clone(), date: Some(date), ..message.clone() }),
        ),
        (
            "a APPEND x \"04-nov-2006 01:25:00 -0800\" {310}\r\n",
            prefix("x", MessageLiteral { date: Some(date), ..message.clone() }),
        ),
    ] {
        assert_eq!(parse_append(head.as_bytes(), Dialect::REV1), Ok(Some(expected)), "{head}");
    }
    assert_eq!(parse_append(b"a LOGIN {5}\r\n", Dialect::REV1), Ok(None));
    assert_eq!(parse_append_next(b"", Dialect::REV1), Ok(None));
    let next = parse_append_next(b" (\\Seen $x) {310}\r\n", Dialect::REV1);
    assert_eq!(next, Ok(Some(MessageLiteral { flags, ..message })));
}

#[test]
fn broken_appends() {
    for (head, expected) in [
        (
            "a APPEND x (\\Recent) {3}\r\n",
            "expected \\Answered, \\Flagged, \\Deleted, \\Seen or \\Draft at byte 13",
        ),
        ("a APPEND x \"1-Foo-2020 00:00:00 +0000\" {3}\r\n", "expected a date like"),
        ("a APPEND x \"1-Jan-2020 24:00:00 +0000\" {3}\r\n", "expected a date like"),
        ("a APPEND x \"31-Feb-2020 00:00:00 +0000\" {3}\r\n", "expected a date like"),
        ("a APPEND x foo {3}\r\n", "expected a message literal at byte 12"),
        ("a APPEND x() {3}\r\n", "expected a space at byte 11"),
        ("a APPEND & {3}\r\n", "mailbox name is not canonical modified UTF-7"),
    ] {
        match parse_append(head.as_bytes(), Dialect::REV1) {
            Err(error) => assert!(error.to_string().starts_with(expected), "{head}: {error}"),
            Ok(append) => panic!("{head}: {append:?}"),
        }
    }
    assert_eq!(error("a APPEND x \"text\""), "expected a message literal at byte 3 of the command");
    assert!(parse_append_next(b" x", Dialect::REV1).is_err());
}

#[test]
fn errors_say_what_is_expected_and_where() {
    for (command, expected) in [
        ("", "expected a tag at byte 1 of the command"),
        ("* NOOP", "expected a tag at byte 1 of the command"),
        ("a", "expected a space at byte 2 of the command"),
        ("a FROB", "unknown command at byte 3 of the command"),
        ("a  NOOP", "unknown command at byte 3 of the command"),
        ("a NOOP ", "expected the end of the command at byte 7 of the command"),
        ("a SELECT", "expected a space at byte 9 of the command"),
        ("a SELECT ", "expected a mailbox name at byte 10 of the command"),
        ("a SELECT \"x", "expected a closing quote at byte 12 of the command"),
        ("a SELECT \"x\\y\"", "expected \\\" or \\\\ at byte 12 of the command"),
        ("a SELECT ~{3}\r\nabc", "expected the end of the command at byte 11 of the command"),
        ("a SELECT {9}\r\nabc", "expected the rest of a literal at byte 18 of the command"),
        ("a SELECT {3}\r\na\0c", "expected a literal without NUL at byte 15 of the command"),
        ("a SELECT x (FOO)", "expected CONDSTORE or QRESYNC, each once at byte 13 of the command"),
        ("a SELECT x (QRESYNC (0 1))", "expected a number above 0 at byte 22 of the command"),
        ("a SELECT x (QRESYNC (1 1 1:*))", "expected a set without * and $ at byte 26 of the command"),
        (
            "a UID NOOP",
            "expected FETCH, STORE, SEARCH, SORT, THREAD, COPY, MOVE or EXPUNGE at byte 7 of the command",
        ),
        (
            "a LIST (imaptest) \"\" \"\"",
            "expected SUBSCRIBED, REMOTE, RECURSIVEMATCH or SPECIAL-USE at byte 9",
        ),
        ("a LIST (RECURSIVEMATCH REMOTE) \"\" *", "expected RECURSIVEMATCH beside SUBSCRIBED or SPECIAL-USE"),
        ("a LIST \"\" \"\" RETURN (imaptest)", "expected SUBSCRIBED, CHILDREN, SPECIAL-USE or STATUS"),
        ("a STATUS x ()", "expected a STATUS item at byte 13"),
        ("a STORE 1 FLAGS (\\*)", "expected \\Answered"),
        ("a STORE 1 FLAGS (a]b)", "expected \")\" or a space and one more"),
        ("a STORE 0 FLAGS ()", "expected a sequence set at byte 9"),
        ("a STORE 1 ++FLAGS ()", "expected FLAGS, +FLAGS or -FLAGS"),
        ("a STORE 1 (UNCHANGEDSINCE 9223372036854775808) FLAGS ()", "expected a number below 2^63"),
        ("a COPY 1 ", "expected a mailbox name"),
        ("a ENABLE", "expected a space"),
        ("a ID (\"name\")", "expected a space"),
    ] {
        let found = error(command);
        assert!(found.starts_with(expected), "{command}: {found}");
    }
}

#[test]
fn impossible_names_are_refused_not_bad() {
    for (command, refusal) in
        [("a SELECT &", true), ("a SELECT \"\"", true), ("a SELECT", false), ("a FOO", false)]
    {
        let found = parse_command(command.as_bytes(), Dialect::REV1).map_err(|error| error.is_refusal());
        assert_eq!(found.err(), Some(refusal), "{command}");
    }
}
