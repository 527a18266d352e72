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
