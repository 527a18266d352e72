//! SEARCH.

use super::*;

fn with_messages() -> Client {
    let server = Box::leak(Box::new(Server::new()));
    let mut client = server.in_inbox();
    for (flags, message) in [
        (
            "\\Seen",
            "From: ada@example.com\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Mon, 2 Mar 2020 23:00:00 -0500\r\n\r\nfirst body\r\n",
        ),
        ("\\Flagged $x", "From: bob@example.com\r\nSubject: second\r\n\r\nsecond body with needle\r\n"),
        (
            "",
            "From: bob@example.com\r\nSubject: third needle\r\nDate: Fri, 6 Mar 2020 10:00:00 +0000\r\n\r\nbody\r\n",
        ),
        ("\\Deleted", "From: eve@example.com\r\n\r\nlast\r\n"),
    ] {
        hears(&client.append("INBOX", flags, message), &["a OK"]);
    }
    client.say("x STORE 4 +FLAGS (\\Deleted)\r\ny EXPUNGE\r\n");
    client
}

#[test]
fn keys() {
    let mut client = with_messages();
    client.append("INBOX", "", "Subject: fourth\r\n\r\n");
    for (keys, expected) in [
        ("ALL", " 1 2 3 4"),
        ("NOT ALL", ""),
        ("SEEN", " 1"),
        ("UNSEEN", " 2 3 4"),
        ("KEYWORD $X", " 2"),
        ("UNKEYWORD unknown", " 1 2 3 4"),
        ("SUBJECT \"gr\u{fc}\u{df}e\"", " 1"),
        ("CHARSET ISO-8859-1 SUBJECT {4+}\r\ngr\u{fc}", ""),
        ("FROM bob", " 2 3"),
        ("HEADER Subject \"\"", " 1 2 3 4"),
        ("HEADER Date \"\"", " 1 3"),
        ("BODY needle", " 2"),
        ("TEXT needle", " 2 3"),
        ("OR BODY first SUBJECT third", " 1 3"),
        ("NOT (FROM bob UNFLAGGED)", " 1 2 4"),
        ("2:3 UID 3:5", " 3"),
        ("NOT 2,4", " 1 3"),
        ("UID 5", " 4"),
        ("SENTON 2-Mar-2020", " 1"),
        ("SENTSINCE 3-Mar-2020", " 3"),
        ("SENTBEFORE 6-Mar-2020", " 1"),
        ("SINCE 1-Jan-2020", " 1 2 3 4"),
        ("BEFORE 1-Jan-2020", ""),
        ("LARGER 80", " 1 3"),
        ("SMALLER 30", " 4"),
        ("YOUNGER 3600", " 1 2 3 4"),
        ("OLDER 3600", ""),
        ("SAVEDSINCE 1-Jan-2020", " 1 2 3 4"),
        ("SAVEDATESUPPORTED", " 1 2 3 4"),
        ("RECENT", " 1 2 3 4"),
    ] {
        let said = client.say(&format!("a SEARCH {keys}\r\n"));
        assert_eq!(said, format!("* SEARCH{expected}\r\na OK SEARCH completed\r\n"), "{keys}");
    }
    hears(&client.say("a SEARCH CHARSET X-NONE ALL SUBJECT x\r\n"), &["a NO [BADCHARSET ("]);
    hears(&client.say("a UID SEARCH *\r\n"), &["* SEARCH 5\r\n"]);
    hears(&client.say("a SEARCH MODSEQ 1\r\n"), &["* SEARCH 1 2 3 4 (MODSEQ ", "a OK"]);
}

#[test]
fn results_in_the_extended_form() {
    let mut client = with_messages();
    for (command, expected) in [
        ("SEARCH RETURN () ALL", " ALL 1:3"),
        ("SEARCH RETURN (MIN MAX COUNT) ALL", " MIN 1 MAX 3 COUNT 3"),
        ("SEARCH RETURN (MIN) UNSEEN", " MIN 2"),
        ("UID SEARCH RETURN (ALL) 2:3", " UID ALL 2:3"),
        ("SEARCH RETURN (ALL COUNT) NOT ALL", " COUNT 0"),
        ("SEARCH RETURN (MIN) NOT ALL", ""),
    ] {
        let said = client.say(&format!("a {command}\r\n"));
        hears(&said, &[&format!("* ESEARCH (TAG \"a\"){expected}\r\na OK")]);
    }
}

#[test]
fn a_result_can_be_used_again() {
    let mut client = with_messages();
    assert_eq!(client.say("a SEARCH RETURN (SAVE) FROM bob\r\n"), "a OK SEARCH completed\r\n");
    hears(&client.say("b FETCH $ UID\r\n"), &["* 2 FETCH (UID 2)", "* 3 FETCH (UID 3)", "b OK"]);
    hears(&client.say("c UID SEARCH $ TEXT needle SUBJECT third\r\n"), &["* SEARCH 3\r\n"]);
    client.say("d STORE 2 +FLAGS.SILENT (\\Deleted)\r\ne EXPUNGE\r\n");
    let said = client.say("f FETCH $ UID\r\n");
    hears(&said, &["* 2 FETCH (UID 3)", "f OK"]);
    assert_eq!(said.matches("FETCH (").count(), 1);
    client.say("g SEARCH RETURN (SAVE MIN) ALL\r\n");
    assert_eq!(client.say("h FETCH $ UID\r\n").matches("FETCH (").count(), 1);
    client.say("g SEARCH RETURN (SAVE MIN) UNDELETED\r\n");
    assert_eq!(client.say("h FETCH $ UID\r\n").matches("FETCH (").count(), 1);
    client.say("i SEARCH RETURN (SAVE) CHARSET X-NONE SUBJECT x\r\n");
    assert_eq!(client.say("j FETCH $ UID\r\n"), "j OK FETCH completed\r\n");
}

/// So many that headers are read ahead.
#[test]
fn headers_of_many_messages() {
    let server = Server::new();
    let mut client = server.in_inbox();
    for batch in 0..12 {
        let literal = |n: usize| {
            let message = format!("Subject: number {n}\r\nTo: u{}@example.org\r\n\r\nnumber 7\r\n", n % 3);
            format!(" {{{}+}}\r\n{message}", message.len())
        };
        let literals: String = (batch * 100..(batch + 1) * 100).map(literal).collect();
        hears(&client.say(&format!("a APPEND INBOX{literals}\r\n")), &["a OK"]);
    }
    for (keys, expected) in [
        ("SUBJECT \"number 117\"", "118 1171 1172 1173 1174 1175 1176 1177 1178 1179 1180"),
        ("SUBJECT \"number 117\" TO u2@", "1173 1176 1179"),
        ("NOT TO u0 NOT TO u1 UID 1:9,1197:*", "3 6 9 1197 1200"),
    ] {
        hears(&client.say(&format!("b SEARCH {keys}\r\n")), &[&format!("* SEARCH {expected}\r\n"), "b OK"]);
    }
    hears(&client.say("c STORE 7,118,300,1173:1180 +FLAGS.SILENT (\\Flagged)\r\n"), &["c OK"]);
    for (keys, expected) in [
        ("SUBJECT \"number 117\" TO u2@ FLAGGED", "1173 1176 1179"),
        ("FLAGGED NOT SUBJECT \"number 117\"", "7 300"),
        ("OR SUBJECT \"number 117\" FLAGGED NOT UID 1174:*", "7 118 300 1171 1172 1173"),
        ("UNFLAGGED SUBJECT \"number 117\" SMALLER 1000", "1171 1172"),
        ("FLAGGED UNFLAGGED SUBJECT \"number 117\"", ""),
    ] {
        let expected = format!("* SEARCH {expected}").trim_end().to_owned() + "\r\n";
        hears(&client.say(&format!("d SEARCH {keys}\r\n")), &[&expected, "d OK"]);
    }
    let said = client.say("e SEARCH RETURN (MIN) FLAGGED TO u2@\r\n");
    hears(&said, &["* ESEARCH (TAG \"e\") MIN 300\r\n", "e OK"]);
}
