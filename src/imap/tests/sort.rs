//! SORT and THREAD, as they are written and as they are interrupted.

use super::*;

fn with_messages(messages: &[&str]) -> Client {
    let server = Box::leak(Box::new(Server::new()));
    let mut client = server.in_inbox();
    for message in messages {
        hears(&client.append("INBOX", "", message), &["a OK"]);
    }
    client.say("x NOOP\r\n");
    client
}

#[test]
fn extended_results_keep_the_order() {
    let subjects = ["f", "a", "b", "e", "d", "c"].map(|subject| format!("Subject: {subject}\r\n\r\n"));
    let mut client = with_messages(&subjects.each_ref().map(String::as_str));
    let told = client.say("a SORT RETURN (ALL) (SUBJECT) UTF-8 ALL\r\n");
    assert!(told.starts_with("* ESEARCH (TAG \"a\") ALL 2:3,6,5,4,1\r\n"), "{told}");
    let told = client.say("a SORT RETURN (ALL MIN MAX COUNT) (REVERSE SUBJECT) UTF-8 2:5\r\n");
    assert!(told.starts_with("* ESEARCH (TAG \"a\") MIN 4 MAX 2 COUNT 4 ALL 4:5,3,2\r\n"), "{told}");
}

/// What one command has read, the next one need not: it must not show.
#[test]
fn what_is_known_already_changes_nothing() {
    let message = |n: usize, subject: &str, parent: usize| {
        let parent = if parent == 0 { String::new() } else { format!("References: <{parent}@x>\r\n") };
        format!("Message-ID: <{n}@x>\r\n{parent}From: {subject}@x\r\nSubject: {subject}\r\n\r\n")
    };
    let messages = [message(1, "c", 0), message(2, "a", 3), message(3, "b", 0), message(4, "Re: c", 9)];
    let mut client = with_messages(&messages.each_ref().map(String::as_str));
    for (command, expected) in [
        ("SORT (SUBJECT) UTF-8 2,4", "* SORT 2 4"),
        ("THREAD REFERENCES UTF-8 2,4", "* THREAD (2)(4)"),
        ("SORT (SUBJECT) UTF-8 ALL", "* SORT 2 3 1 4"),
        ("SORT (REVERSE FROM DATE) UTF-8 ALL", "* SORT 4 1 3 2"),
        ("THREAD REFERENCES UTF-8 ALL", "* THREAD (1 4)(3 2)"),
        ("THREAD ORDEREDSUBJECT UTF-8 1:3", "* THREAD (1)(2)(3)"),
        ("THREAD REFERENCES UTF-8 3:4", "* THREAD (3)(4)"),
    ] {
        for _ in 0..2 {
            hears(&client.say(&format!("a {command}\r\n")), &[&format!("{expected}\r\n"), "a OK"]);
        }
    }
    client.append("INBOX", "", &message(5, "aa", 2));
    client.say("x STORE 3 +FLAGS (\\Deleted)\r\ny EXPUNGE\r\n");
    for (command, expected) in [
        ("SORT (SUBJECT) UTF-8 ALL", "* SORT 2 4 1 3"),
        ("UID SORT (SUBJECT) UTF-8 ALL", "* SORT 2 5 1 4"),
        ("THREAD REFERENCES UTF-8 ALL", "* THREAD (1 3)(2 4)"),
        ("UID THREAD REFERENCES UTF-8 ALL", "* THREAD (1 4)(2 5)"),
    ] {
        hears(&client.say(&format!("a {command}\r\n")), &[&format!("{expected}\r\n"), "a OK"]);
    }
}

/// More than fits into the output at once, so that it is left and taken up again, in the middle of nested threads too.
#[test]
fn long_answers_come_in_pieces() {
    let count = 20_000;
    let message = |n: usize| {
        let parent = if n.is_multiple_of(3) { n / 2 } else { n - 1 };
        format!("Message-ID: <{n}@x>\r\nReferences: <{parent}@x>\r\nSubject: {}\r\n\r\n", n % 10)
    };
    let messages: Vec<String> = (1..=count).map(message).collect();
    let server = Box::leak(Box::new(Server::new()));
    let mut client = server.in_inbox();
    for some in messages.chunks(1000) {
        let literals: String = some.iter().map(|one| format!(" {{{}+}}\r\n{one}", one.len())).collect();
        hears(&client.say(&format!("a APPEND INBOX{literals}\r\n")), &["a OK"]);
    }
    client.say("x NOOP\r\n");
    let digits = |text: &str| {
        let mut numbers: Vec<u32> =
            text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    };
    let all: Vec<u32> = (1..=count as u32).collect();
    for command in
        ["SORT (SUBJECT) UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL", "UID THREAD ORDEREDSUBJECT UTF-8 ALL"]
    {
        let told = client.say(&format!("a {command}\r\n"));
        let line = told.lines().next().unwrap_or_default();
        assert_eq!(digits(line), all, "{command}");
        let depth = line.chars().try_fold(0usize, |depth, c| match c {
            '(' => Some(depth + 1),
            ')' => depth.checked_sub(1),
            _ => Some(depth),
        });
        assert_eq!(depth, Some(0), "{command}: brackets go in pairs");
    }
}
