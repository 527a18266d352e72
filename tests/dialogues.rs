//! Runs the dialogues in `tests/dialogues` against one server, several at a time.
//!
//! `HELIOGRAPH_DIALOGUE=fetch cargo test --test dialogues` runs those whose name contains `fetch`.
//! Against another server (`HELIOGRAPH_TEST_ADDR`, see `common::target`) dialogues that need a capability which it
//! lacks, or that show a choice of ours, are left out.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use common::dialogue::Dialogue;
use common::pattern::{Scope, matches};
use common::server::Options;
use common::target::Target;

/// How many dialogues run at the same time.
const AT_ONCE: usize = 8;

#[test]
fn the_dialogues_go_as_written() {
    let mut dialogues = dialogues();
    assert!(!dialogues.is_empty(), "no dialogue was chosen");
    let target = Target::start(Options::default().users(dialogues.keys()));
    if let Target::Elsewhere { .. } = target {
        leave_out(&target, &mut dialogues);
    }
    let failures = run_all(&target, &dialogues);
    drop(target);
    assert!(failures.is_empty(), "{} dialogues failed\n\n{}", failures.len(), failures.join("\n"));
}

/// The chosen dialogues by name.
fn dialogues() -> BTreeMap<String, Dialogue> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let chosen = std::env::var("HELIOGRAPH_DIALOGUE").unwrap_or_default();
    let files =
        std::fs::read_dir(folder).expect("list tests/dialogues").map(|entry| entry.expect("a file").path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "imap"))
        .map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), path))
        .filter(|(name, _)| name.contains(&chosen))
        .map(|(name, path)| {
            let text = std::fs::read_to_string(path).expect("read a dialogue");
            let dialogue = Dialogue::parse(&name, &text);
            (name, dialogue)
        })
        .collect()
}

/// Leaves out what another server cannot or need not do.
fn leave_out(target: &Target, dialogues: &mut BTreeMap<String, Dialogue>) {
    let reply = target.login("probe").ok("CAPABILITY");
    let capabilities: String = reply.with("CAPABILITY").map(String::from_utf8_lossy).collect();
    let has = |name: &str| capabilities.split_whitespace().any(|known| known.eq_ignore_ascii_case(name));
    dialogues.retain(|name, dialogue| {
        let missing: Vec<&str> = dialogue.needs().filter(|need| !has(need)).collect();
        if !missing.is_empty() {
            eprintln!("left out: {name}, which needs {}", missing.join(" "));
        }
        missing.is_empty() && !dialogue.is_choice()
    });
}

/// Runs the dialogues, each as the user of its name, and returns what went wrong.
fn run_all(target: &Target, dialogues: &BTreeMap<String, Dialogue>) -> Vec<String> {
    let waiting = Mutex::new(dialogues.iter());
    let failures = Mutex::new(Vec::new());
    let work = || {
        loop {
            let Some((name, dialogue)) = waiting.lock().expect("the list of dialogues").next() else {
                return;
            };
            if let Err(failure) = dialogue.run(target.addr(), &target.user(name)) {
                failures.lock().expect("the list of failures").push(failure);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    failures.into_inner().expect("the list of failures")
}

#[test]
fn a_pattern_matches_what_the_rfcs_leave_open() {
    let yes = [
        ("* 1 FETCH (UID <uid> FLAGS (\\Seen \\Deleted))", "* 1 FETCH (FLAGS (\\Deleted \\Seen) UID 7)"),
        ("* 1 FETCH (BODY[TEXT] \"hi\")", "* 1 FETCH (BODY[TEXT] {2}\r\nhi)"),
        ("* 1 FETCH (UID 7 ...)", "* 1 FETCH (FLAGS () UID 7)"),
        ("* 1 FETCH (BODY[] ...)", "* 1 FETCH (BODY[] \"hi\")"),
        ("* LIST (\\Marked \\Noselect) \"/\" a", "* LIST (\\noselect \\marked) \"/\" \"a\""),
        ("* SEARCH 1 2", "* SEARCH 2 1"),
        ("* ESEARCH (TAG \"a\") UID COUNT 2 ALL 1,2", "* ESEARCH (TAG \"a\") UID ALL 1:2 COUNT 2"),
        ("a OK", "a OK [READ-ONLY] done"),
        ("a OK [COPYUID <v> 1:2 <to>]", "a OK [COPYUID 9 1,2 8:9] copied"),
        ("* OK [PERMANENTFLAGS (\\* \\Seen ...)]", "* OK [PERMANENTFLAGS (\\Answered \\Seen \\*)] limited"),
        ("+ ...", "+ go ahead"),
        ("* BYE", "* BYE see you"),
        ("* STATUS ... (MESSAGES 1 ...)", "* STATUS \"a b\" (UIDNEXT 4 MESSAGES 1)"),
    ];
    for (pattern, response) in yes {
        assert!(
            matches(pattern, response.as_bytes(), &mut Scope::default()),
            "{pattern} should match {response}"
        );
    }
    let no = [
        ("* 1 FETCH (UID 7)", "* 1 FETCH (UID 7 FLAGS ())"),
        ("* 1 FETCH (BODY[TEXT] NIL)", "* 1 FETCH (BODY[TEXT] \"NIL\")"),
        ("* 1 EXISTS", "* 1 RECENT"),
        ("* SEARCH", "* SEARCH 1"),
        ("a OK [READ-WRITE]", "a OK done"),
        ("a OK", "b OK done"),
        ("* LIST (\\Marked) \"/\" a", "* LIST () \"/\" a"),
        ("* ESEARCH (TAG \"a\") UID ALL 1", "* ESEARCH (TAG \"a\") ALL 1"),
    ];
    for (pattern, response) in no {
        assert!(
            !matches(pattern, response.as_bytes(), &mut Scope::default()),
            "{pattern} should not match {response}"
        );
    }
}
