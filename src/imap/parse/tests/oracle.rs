//! imap-codec as a second opinion: on the forms that it knows, both parsers accept and refuse the same lines, and read
//! the same strings.

use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::command as theirs;
use imap_codec::imap_types::core::AString;
use proptest::prelude::*;

use super::*;

/// Their reading of a line, which must be used up.
fn decoded<T>(line: &str, check: impl FnOnce(Option<&theirs::CommandBody<'_>>) -> T) -> T {
    let wire = format!("{line}\r\n");
    let result = CommandCodec::default().decode(wire.as_bytes());
    check(result.ok().filter(|(rest, _)| rest.is_empty()).map(|(_, command)| command.body).as_ref())
}

/// A line made of `forms`, each of which is one of several spellings, with a chance of one spelling from anywhere else.
fn lines(forms: &'static [&'static [&'static str]]) -> impl Strategy<Value = String> {
    let slots: Vec<_> = forms.iter().map(|spellings| prop::sample::select(*spellings)).collect();
    let any: Vec<_> = forms.iter().flat_map(|spellings| spellings.iter().copied()).collect();
    let slip = prop::option::weighted(0.4, (0..forms.len(), prop::sample::select(any)));
    (slots, slip).prop_map(|(mut words, slip)| {
        if let Some((at, word)) = slip {
            words[at] = word;
        }
        words.concat()
    })
}

const SETS: &[&str] = &["1", "1:*", "*:4,7", "4294967295", "0", "1,", "4294967296", "1:2:3"];
const NAMES: &[&str] = &["INBOX", "x/y", "\"a b\"", "a]", "~x", "\"\\\"\"", "a b", "(x)", "\"", "%", "a\\b"];
const SEARCH_KEYS: &[&str] = &[
    "ALL",
    "SEEN",
    "NOT UNSEEN",
    "OR 1 2",
    "OR NEW OLD",
    "(DRAFT)",
    "(1 UID 3)",
    "FROM x",
    "HEADER a \"\"",
    "KEYWORD k",
    "SINCE 1-Jan-2020",
    "BEFORE \"02-Feb-2021\"",
    "LARGER 5",
    "UID 4:*",
    "NOT (OR 1 (SEEN))",
    "()",
    "NOT",
    "OR 1",
    "FOO",
    "KEYWORD \"k\"",
    "ON 1-Foo-2020",
    "SUBJECT",
    "SMALLER x",
];

const FETCHES: &[&[&str]] = &[
    &["a FETCH ", "a UID FETCH "],
    SETS,
    &[" "],
    &["(", "", "(UID "],
    &[
        "FLAGS",
        "UID",
        "BODY",
        "BODYSTRUCTURE",
        "BODY[]",
        "BODY.PEEK[TEXT]",
        "BODY[1.2]",
        "BODY[1.MIME]",
        "BODY[MIME]",
        "BODY[HEADER.FIELDS (To Cc)]<0.5>",
        "BODY[3.HEADER.FIELDS.NOT (a)]",
        "RFC822.SIZE",
        "RFC822.HEADER",
        "ALL",
        "FOO",
        "BODY[0]",
        "BODY[]<1.0>",
        "BODY[HEADER.FIELDS ()]",
        "ENVELOPE INTERNALDATE",
        "RFC822 RFC822.TEXT",
        "",
    ],
    &[")", ""],
];

const OTHERS: &[&[&str]] = &[
    &["a "],
    &[
        "SELECT ",
        "EXAMINE ",
        "DELETE ",
        "SUBSCRIBE ",
        "UNSUBSCRIBE ",
        "CREATE ",
        "RENAME x ",
        "COPY 1:3 ",
        "UID MOVE 4 ",
    ],
    NAMES,
];

const STORES: &[&[&str]] = &[
    &["a STORE ", "a UID STORE "],
    SETS,
    &[" FLAGS ", " +FLAGS ", " -FLAGS.SILENT ", " +FLAG ", " FLAGS"],
    &["(", "", "()"],
    &["\\Seen", "\\Deleted $x", "k", "", "\\*", "a]", "\"x\""],
    &[")", ""],
];

const SEARCHES: &[&[&str]] = &[
    &["a SEARCH ", "a UID SEARCH ", "a SEARCH CHARSET UTF-8 ", "a SEARCH CHARSET "],
    SEARCH_KEYS,
    &["", " "],
    SEARCH_KEYS,
];

const STATUSES: &[&[&str]] = &[
    &["a STATUS "],
    NAMES,
    &[" (", " ", " ()"],
    &["MESSAGES", "UIDNEXT UNSEEN", "RECENT UIDVALIDITY", "FOO", ""],
    &[")", ""],
];

const LOGINS: &[&[&str]] = &[&["a LOGIN "], NAMES, &[" ", ""], NAMES];

/// Where they are laxer than the grammar: empty lists, and system flags that do not exist.
fn is_known_difference(line: &str) -> bool {
    let empty_list = line.contains(" ()") && !line.contains("FLAGS ()");
    let unknown_flag = ["\\Seen", "\\Deleted"].iter().any(|flag| {
        line.split_once(flag).is_some_and(|(_, rest)| !matches!(rest.chars().next(), None | Some(' ' | ')')))
    });
    empty_list || unknown_flag
}

fn agree(line: &str) -> Result<(), TestCaseError> {
    let ours = parse_command(line.as_bytes(), Dialect::REV1);
    let theirs = decoded(line, |body| body.is_some());
    if !is_known_difference(line) {
        prop_assert_eq!(ours.is_ok(), theirs, "{}: {:?}", line, ours);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn fetch_agrees(line in lines(FETCHES)) {
        agree(&line)?;
    }

    #[test]
    fn store_agrees(line in lines(STORES)) {
        agree(&line)?;
    }

    #[test]
    fn search_agrees(line in lines(SEARCHES)) {
        agree(&line)?;
    }

    #[test]
    fn status_agrees(line in lines(STATUSES)) {
        agree(&line)?;
    }

    #[test]
    fn commands_on_mailboxes_agree(line in lines(OTHERS)) {
        agree(&line)?;
    }

    #[test]
    fn login_agrees_on_both_strings(line in lines(LOGINS)) {
        agree(&line)?;
        let Ok(CommandBody::Login { user, password }) = body_of(line.as_bytes(), Dialect::REV1) else { return Ok(()) };
        let bytes = |string: &AString<'_>| string.as_ref().to_vec();
        let theirs = decoded(&line, |body| match body {
            Some(theirs::CommandBody::Login { username, password }) => {
                Some((bytes(username), bytes(password.declassify())))
            }
            _ => None,
        });
        prop_assert_eq!(theirs, Some((user.into_owned(), password.expose().to_vec())));
    }
}
