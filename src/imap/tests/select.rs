//! SELECT and what sessions tell each other's clients.

use super::*;

#[test]
fn select_describes_the_mailbox() {
    let server = Server::new();
    let mut client = server.ada();
    client.append_many(2);
    let said = client.say("a SELECT inbox\r\n");
    hears(
        &said,
        &[
            "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\r\n",
            "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)]",
            "* 2 EXISTS\r\n* 2 RECENT\r\n* OK [UNSEEN 1]",
            "* OK [UIDVALIDITY ",
            "* OK [UIDNEXT 3]",
            "* OK [HIGHESTMODSEQ ",
            "* OK [MAILBOXID (F",
            "a OK [READ-WRITE] SELECT completed\r\n",
        ],
    );
    let said = client.say("b EXAMINE INBOX\r\n");
    hears(&said, &["* OK [CLOSED]", "[PERMANENTFLAGS ()]", "* 0 RECENT", "b OK [READ-ONLY]"]);
    hears(&client.say("c STORE 1 +FLAGS (\\Seen)\r\n"), &["c NO [READ-ONLY]"]);
    hears(&client.say("d SELECT missing\r\n"), &["* OK [CLOSED]", "d NO [NONEXISTENT]"]);
    hears(&client.say("e FETCH 1 FLAGS\r\n"), &["e BAD no mailbox is selected"]);
}

#[test]
fn rev2_is_another_language() {
    let server = Server::new();
    let mut client = server.ada();
    client.append_many(1);
    client.say("a ENABLE IMAP4rev2\r\nb CREATE \"B\u{fc}cher\"\r\n");
    client.heard();
    let said = client.say("c SELECT \"B\u{fc}cher\"\r\n");
    hears(&said, &["* 0 EXISTS", "* LIST () \"/\" \"B\u{fc}cher\"\r\n", "c OK"]);
    hears_not(&said, "RECENT");
    let said = client.say("d SELECT INBOX\r\n");
    hears_not(&said, "UNSEEN");
    hears(&client.say("e SEARCH ALL\r\n"), &["* ESEARCH (TAG \"e\") ALL 1\r\n", "e OK"]);
    hears_not(&client.say("f FETCH 1 FLAGS\r\n"), "Recent");
}

#[test]
fn others_changes_come_at_the_end_of_commands() {
    let server = Server::new();
    let (mut a, mut b) = (server.in_inbox(), server.in_inbox());
    a.append_many(3);
    hears(&b.say("1 NOOP\r\n"), &["* 3 EXISTS", "1 OK"]);
    a.say("2 STORE 2 +FLAGS ($Label \\Deleted)\r\n");
    let said = b.say("3 NOOP\r\n");
    hears(
        &said,
        &["* FLAGS (", "$Label)", "[PERMANENTFLAGS", "* 2 FETCH (FLAGS (\\Deleted", "$Label))", "3 OK"],
    );
    hears(&a.say("4 EXPUNGE\r\n"), &["* 2 EXPUNGE\r\n", "4 OK"]);
    a.append_many(1);
    let said = b.say("5 FETCH 1:3 UID\r\n");
    hears(&said, &["* 1 FETCH (UID 1)", "* 2 FETCH (UID 2)", "* 3 FETCH (UID 3)", "* 4 EXISTS", "5 OK"]);
    hears_not(&said, "EXPUNGE");
    hears_not(&b.say("6 SEARCH ALL\r\n"), "EXPUNGE");
    hears(&b.say("7 FETCH 2 BODY[]\r\n"), &["number 2", "7 OK"]);
    hears(&b.say("8 STORE 2 FLAGS (\\Seen)\r\n"), &["* 2 FETCH (FLAGS (\\Seen))", "8 OK"]);
    hears(&b.say("9 COPY 2 INBOX\r\n"), &["9 NO [EXPUNGEISSUED]"]);
    hears(&b.say("9 NOOP\r\n"), &["* 2 EXPUNGE\r\n", "9 OK"]);
    assert_eq!(b.say("9 NOOP\r\n"), "9 OK NOOP completed\r\n");
}

#[test]
fn a_client_that_has_counted_already_hears_of_no_expunge() {
    let server = Server::new();
    let (mut a, mut b) = (server.in_inbox(), server.in_inbox());
    a.append_many(3);
    b.say("1 NOOP\r\n");
    a.say("2 STORE 1 +FLAGS.SILENT (\\Deleted)\r\n3 EXPUNGE\r\n");
    let said = b.say("4 NOOP\r\n5 FETCH 3 UID\r\n6 NOOP\r\n");
    hears(&said, &["4 OK", "* 3 FETCH (UID 3)", "5 OK", "* 1 EXPUNGE", "6 OK"]);
}

#[test]
fn qresync_brings_a_client_up_to_date() {
    let server = Server::new();
    let mut a = server.in_inbox();
    a.append_many(5);
    let said = a.say("1 STATUS INBOX (UIDVALIDITY HIGHESTMODSEQ)\r\n");
    let status = &said[said.find("* STATUS").unwrap()..];
    let numbers: Vec<&str> =
        status.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty()).collect();
    let (validity, modseq) = (numbers[0], numbers[1]);
    a.say("2 STORE 2,4 +FLAGS.SILENT (\\Deleted)\r\n3 EXPUNGE\r\n4 STORE 3 +FLAGS (\\Flagged)\r\n");
    let mut b = server.ada();
    let select = format!("SELECT INBOX (QRESYNC ({validity} {modseq} 1:5))\r\n");
    hears(&b.say(&format!("1 {select}")), &["1 BAD ENABLE QRESYNC first"]);
    b.say("2 ENABLE QRESYNC\r\n");
    let said = b.say(&format!("3 {select}"));
    hears(
        &said,
        &["* VANISHED (EARLIER) 2,4\r\n", "* 3 FETCH (UID 5 FLAGS (\\Flagged) MODSEQ (", "3 OK [READ-WRITE]"],
    );
    a.say("5 STORE 1 +FLAGS (\\Deleted)\r\n6 EXPUNGE\r\n");
    hears(&b.say("4 NOOP\r\n"), &["* VANISHED 1\r\n", "4 OK"]);
    let said = b.say("5 UID STORE 3 +FLAGS (\\Deleted)\r\n6 EXPUNGE\r\n");
    hears(
        &said,
        &["* 1 FETCH (UID 3 FLAGS (\\Deleted) MODSEQ (", "* VANISHED 3\r\n", "6 OK [HIGHESTMODSEQ "],
    );
    let said = b.say(&format!("7 UID FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq} VANISHED)\r\n"));
    hears(&said, &["* VANISHED (EARLIER) 1:4\r\n", "* 1 FETCH (UID 5 FLAGS (\\Flagged) MODSEQ (", "7 OK"]);
}

#[test]
fn a_conditional_store_spares_what_has_changed() {
    let server = Server::new();
    let mut a = server.in_inbox();
    a.append_many(3);
    let said = a.say("1 STORE 1:3 (UNCHANGEDSINCE 1) +FLAGS (\\Seen)\r\n");
    hears(&said, &["1 OK [MODIFIED 1:3]"]);
    let said = a.say("2 STORE 2 (UNCHANGEDSINCE 9999999) +FLAGS.SILENT (\\Seen)\r\n");
    hears(&said, &["* 2 FETCH (MODSEQ (", "2 OK STORE completed"]);
    hears_not(&said, "FLAGS (");
    let said = a.say("3 UID STORE 3 FLAGS ()\r\n");
    hears(&said, &["* 3 FETCH (UID 3 FLAGS (\\Recent) MODSEQ (", "3 OK"]);
}

#[test]
fn close_expunges_in_silence_and_unselect_does_not() {
    let server = Server::new();
    let mut a = server.in_inbox();
    a.append_many(2);
    a.say("1 STORE 1 +FLAGS (\\Deleted)\r\n");
    assert_eq!(a.say("2 UNSELECT\r\n"), "2 OK UNSELECT completed\r\n");
    hears(&a.say("3 SELECT INBOX\r\n"), &["* 2 EXISTS"]);
    assert_eq!(a.say("4 CLOSE\r\n"), "4 OK CLOSE completed\r\n");
    hears(&a.say("5 SELECT INBOX\r\n"), &["* 1 EXISTS"]);
}

#[test]
fn a_mailbox_can_go_away() {
    let server = Server::new();
    let (mut a, mut b) = (server.ada(), server.ada());
    a.say("1 CREATE x\r\n2 SELECT x\r\n");
    b.say("1 SELECT x\r\n");
    hears(&a.say("3 DELETE x\r\n"), &["3 OK"]);
    hears(&a.say("4 FETCH 1 UID\r\n"), &["4 BAD"]);
    hears(&b.say("2 NOOP\r\n"), &["* BYE"]);
    assert!(b.is_closed);
}

#[test]
fn moving_takes_away_and_tells_where_to() {
    let server = Server::new();
    let mut a = server.in_inbox();
    a.append_many(4);
    a.say("1 CREATE x\r\n");
    hears(&a.say("2 COPY 1:2 missing\r\n"), &["2 NO [TRYCREATE]"]);
    hears(&a.say("2 COPY 2:3 x\r\n"), &["2 OK [COPYUID ", " 2:3 1:2]"]);
    let said = a.say("3 MOVE 1,4 x\r\n");
    hears(&said, &["* OK [COPYUID ", " 1,4 3:4]", "* 4 EXPUNGE\r\n* 1 EXPUNGE\r\n", "3 OK MOVE completed"]);
    assert_eq!(a.say("4 UID COPY 99 x\r\n"), "4 OK UID COPY completed\r\n");
    hears(
        &a.say("5 STATUS x (MESSAGES UIDNEXT SIZE)\r\n"),
        &["* STATUS x (MESSAGES 4 UIDNEXT 5 SIZE ", "5 OK"],
    );
    hears(&a.say("6 COPY 9 x\r\n"), &["6 BAD no such message"]);
}
