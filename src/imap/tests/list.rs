//! LIST, LSUB, STATUS and the commands that make mailboxes.

use super::*;

fn with_mailboxes() -> Client {
    let server = Box::leak(Box::new(Server::new()));
    let mut client = server.ada();
    for name in ["Sent (USE (\\Sent))", "work/", "work/a", "work/b", "lone/leaf", "R&APY-m"] {
        let said = client.say(&format!("c CREATE {name}\r\n"));
        assert!(said.starts_with("c OK [MAILBOXID (F"), "{name}: {said}");
    }
    for name in ["work/a", "gone", "lone/leaf"] {
        hears(&client.say(&format!("s SUBSCRIBE {name}\r\n")), &["s OK"]);
    }
    client
}

/// The names that a LIST or LSUB shows, with their attributes.
fn listed(said: &str) -> Vec<String> {
    let lines = said.lines().filter(|line| line.starts_with("* L"));
    lines
        .map(|line| line.split_once('(').unwrap().1.replacen(") \"/\" ", " ", 1))
        .map(|s| s.trim().to_owned())
        .collect()
}

#[test]
fn patterns_and_attributes() {
    let mut client = with_mailboxes();
    for (command, expected) in [
        ("LIST \"\" \"\"", &["\\Noselect \"\""][..]),
        ("LIST \"\" inbox", &["\\HasNoChildren INBOX"]),
        ("LIST \"\" S%", &["\\HasNoChildren \\Sent Sent"]),
        ("LIST work/ %", &["\\HasNoChildren work/a", "\\HasNoChildren work/b"]),
        ("LIST \"\" w%", &["\\HasChildren work"]),
        ("LIST \"\" lo*", &["\\Noselect \\HasChildren lone", "\\HasNoChildren lone/leaf"]),
        (
            "LIST \"\" (lone/* work/a lone/leaf lone)",
            &["\\NonExistent \\HasChildren lone", "\\HasNoChildren lone/leaf", "\\HasNoChildren work/a"],
        ),
        ("LIST () \"\" lon%", &["\\NonExistent \\HasChildren lone"]),
        ("LIST \"\" R*", &["\\HasNoChildren R&APY-m"]),
        ("LIST () \"\" work RETURN (SUBSCRIBED)", &["\\HasChildren work"]),
        (
            "LIST \"\" (work/a Sent) RETURN (SUBSCRIBED SPECIAL-USE)",
            &["\\HasNoChildren \\Sent Sent", "\\Subscribed \\HasNoChildren work/a"],
        ),
        ("LIST (SPECIAL-USE) \"\" *", &["\\HasNoChildren \\Sent Sent"]),
        ("LIST (SUBSCRIBED) \"\" g*", &["\\NonExistent \\Subscribed \\HasNoChildren gone"]),
        ("LIST (SUBSCRIBED RECURSIVEMATCH) \"\" w%", &["\\HasChildren work (CHILDINFO (\"SUBSCRIBED\"))"]),
        ("LIST (SUBSCRIBED RECURSIVEMATCH) \"\" work*", &["\\Subscribed \\HasNoChildren work/a"]),
        ("LSUB \"\" *", &["\\Noselect gone", "lone/leaf", "work/a"]),
        ("LSUB \"\" %", &["\\Noselect gone", "\\Noselect lone", "\\Noselect work"]),
    ] {
        let said = client.say(&format!("a {command}\r\n"));
        assert_eq!(listed(&said), expected, "{command}: {said}");
        hears(&said, &["a OK"]);
    }
}

#[test]
fn a_list_can_have_status() {
    let mut client = with_mailboxes();
    let said = client.say("a LIST \"\" % RETURN (STATUS (MESSAGES UIDNEXT) CHILDREN)\r\n");
    hears(
        &said,
        &["* LIST (\\HasNoChildren) \"/\" INBOX\r\n* STATUS INBOX (MESSAGES 0 UIDNEXT 1)\r\n", "a OK"],
    );
    hears(
        &client.say("b STATUS inbox (SIZE APPENDLIMIT)\r\n"),
        &["* STATUS INBOX (SIZE 0 APPENDLIMIT 600000)\r\n", "b OK"],
    );
    hears(&client.say("c STATUS nowhere (MESSAGES)\r\n"), &["c NO [NONEXISTENT]"]);
}

#[test]
fn names_that_cannot_be() {
    let mut client = with_mailboxes();
    for (command, expected) in [
        ("CREATE INBOX", "[ALREADYEXISTS]"),
        ("CREATE work/a", "[ALREADYEXISTS]"),
        ("CREATE a//b", "[CANNOT]"),
        ("CREATE /a", "[CANNOT]"),
        ("CREATE \"a*b\"", "[CANNOT]"),
        ("CREATE \"\"", "[CANNOT]"),
        ("CREATE \"&bad\"", "[CANNOT]"),
        ("CREATE x (USE (\\Nonsense))", "[USEATTR]"),
        ("DELETE INBOX", "[CANNOT]"),
        ("DELETE nowhere", "[NONEXISTENT]"),
        ("RENAME work work/x", "[CANNOT]"),
        ("RENAME nowhere x", "[NONEXISTENT]"),
        ("RENAME work/a work/b", "[ALREADYEXISTS]"),
        ("SELECT ~foo", "[NONEXISTENT]"),
    ] {
        let said = client.say(&format!("a {command}\r\n"));
        hears(&said, &["a NO ", expected]);
    }
    hears(
        &client.say("b RENAME work/a INBOX/c\r\nc LIST \"\" inbox/%\r\n"),
        &["b OK", "* LIST", "INBOX/c\r\n", "c OK"],
    );
}
