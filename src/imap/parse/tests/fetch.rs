//! FETCH items and sections.

use std::num::NonZeroU64;

use super::*;
use crate::imap::types::*;
use crate::store::ModSeq;

fn fetch(command: &str) -> Fetch {
    match parsed(command) {
        CommandBody::Fetch(fetch) => fetch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn items_without_arguments() {
    use FetchAttributes as A;
    for (items, expected) in [
        ("ALL", A::MACRO_ALL),
        ("fast", A::FLAGS | A::INTERNALDATE | A::RFC822_SIZE),
        ("FULL", A::MACRO_ALL | A::BODY),
        ("FLAGS", A::FLAGS),
        ("(UID FLAGS FLAGS)", A::UID | A::FLAGS),
        (
            "(ENVELOPE BODY BODYSTRUCTURE INTERNALDATE RFC822.SIZE)",
            A::ENVELOPE | A::BODY | A::BODYSTRUCTURE | A::INTERNALDATE | A::RFC822_SIZE,
        ),
        ("(MODSEQ EMAILID THREADID SAVEDATE)", A::MODSEQ | A::EMAILID | A::THREADID | A::SAVEDATE),
        ("PREVIEW", A::PREVIEW),
        ("(PREVIEW (LAZY) UID)", A::PREVIEW | A::PREVIEW_LAZY | A::UID),
        ("PREVIEW (CHANGEDSINCE 7)", A::PREVIEW | A::MODSEQ),
    ] {
        let command = format!("a FETCH 1:* {items}");
        assert_eq!(
            fetch(&command).items,
            FetchItems { attributes: expected, ..Default::default() },
            "{items}"
        );
    }
}

/// What comes back as the item's name in the response tells that it was understood.
#[test]
fn sections_are_repeated_in_the_response() {
    for (item, label, peek) in [
        ("BODY[]", "BODY[]", false),
        ("body.peek[]", "BODY[]", true),
        ("BODY[HEADER]", "BODY[HEADER]", false),
        ("BODY[text]", "BODY[TEXT]", false),
        ("BODY[1]", "BODY[1]", false),
        ("BODY[4.2.1.MIME]", "BODY[4.2.1.MIME]", false),
        ("BODY[1.HEADER]<0.1>", "BODY[1.HEADER]<0>", false),
        ("BODY[]<4294967295.9223372036854775807>", "BODY[]<4294967295>", false),
        ("BODY.PEEK[HEADER.FIELDS (Date \"X Y\" FROM)]", "BODY[HEADER.FIELDS (Date \"X Y\" FROM)]", true),
        ("BODY[3.HEADER.FIELDS.NOT (a)]<5.6>", "BODY[3.HEADER.FIELDS.NOT (a)]<5>", false),
        ("BODY[HEADER.FIELDS ({4}\r\nDate)]", "BODY[HEADER.FIELDS (Date)]", false),
        ("BINARY[1.2]", "BINARY[1.2]", false),
        ("BINARY.PEEK[]<0.10>", "BINARY[]<0>", true),
        ("BINARY.SIZE[2]", "BINARY.SIZE[2]", true),
        ("RFC822", "RFC822", false),
        ("RFC822.HEADER", "RFC822.HEADER", true),
        ("RFC822.TEXT", "RFC822.TEXT", false),
    ] {
        let command = format!("a FETCH 1 ({item} UID)");
        let fetch = fetch(&command);
        let [section] = &fetch.items.sections[..] else { panic!("{item}: {fetch:?}") };
        let mut out = Vec::new();
        section.write_label(&mut out);
        assert_eq!((String::from_utf8_lossy(&out).as_ref(), section.peek), (label, peek), "{item}");
    }
}

#[test]
fn sections_have_their_parts() {
    let fetch = fetch("a FETCH 1 (BODY[1.2.HEADER.FIELDS (To Cc)]<7.9> BODY[] BODY[])");
    let [fields, whole] = &fetch.items.sections[..] else { panic!("{fetch:?}") };
    assert_eq!(whole.text, SectionText::Full);
    assert_eq!(fields.path.as_slice(), [1, 2]);
    assert_eq!(fields.partial, NonZeroU64::new(9).map(|length| Partial { offset: 7, length }));
    let SectionText::HeaderFields(names) = &fields.text else { panic!("{fields:?}") };
    assert_eq!(names.iter().collect::<Vec<_>>(), [&b"To"[..], b"Cc"]);
}

#[test]
fn modifiers_bring_their_items() {
    let plain = fetch("a UID FETCH 5 FLAGS");
    assert_eq!(plain.items.attributes, FetchAttributes::FLAGS | FetchAttributes::UID);
    let changed = fetch("a UID FETCH 1:* (FLAGS) (CHANGEDSINCE 12345 VANISHED)");
    assert_eq!((changed.changed_since, changed.vanished), (Some(ModSeq(12345)), true));
    assert!(changed.items.attributes.contains(FetchAttributes::MODSEQ));
}

#[test]
fn broken_fetches_threat_16_and_22() {
    for (arguments, expected) in [
        ("1", "expected a space"),
        ("1 ()", "expected a FETCH item"),
        ("1 (ALL)", "expected a FETCH item"),
        ("1 (UID  FLAGS)", "expected a FETCH item"),
        ("1 (UID FLAGS", "expected \")\" or a space and one more"),
        ("1 BODY[0]", "expected a number above 0"),
        ("1 BODY[4294967296]", "expected a number below 2^32"),
        ("1 BODY[1.]", "expected a part number, HEADER, TEXT or MIME"),
        ("1 BODY[MIME]", "expected a part number, HEADER or TEXT"),
        ("1 BODY[HEADER.FIELDS ()]", "expected a header field name"),
        ("1 BODY[TEXT.1]", "expected a part number, HEADER or TEXT"),
        ("1 BODY[]<0.0>", "expected a length above 0"),
        ("1 BODY[]<0>", "expected \".\" and a length"),
        ("1 BINARY[HEADER]", "expected a part number"),
        ("1 BINARY.SIZE[1]<0.1>", "expected the end"),
        ("1 BODYSTRUCTURE[1]", "expected a FETCH item"),
        ("1 FLAGS (VANISHED)", "expected VANISHED in UID FETCH"),
        ("1 FLAGS (CHANGEDSINCE 1 VANISHED)", "expected VANISHED in UID FETCH"),
        ("1 FLAGS (CHANGEDSINCE 9223372036854775808)", "expected a number below 2^63"),
        ("1 FLAGS (CHANGEDSINCE 18446744073709551616)", "expected a number below 2^63"),
    ] {
        let found = error(&format!("a FETCH {arguments}"));
        assert!(found.starts_with(expected), "{arguments}: {found}");
    }
    let largest = fetch("a FETCH 1 FLAGS (CHANGEDSINCE 9223372036854775807)");
    assert_eq!(largest.changed_since, Some(ModSeq(i64::MAX as u64)));
}
