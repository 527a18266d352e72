//! Mailboxes as a whole.

use super::*;

fn names(user: &User) -> Vec<String> {
    user.tree().unwrap().mailboxes().iter().map(|entry| entry.name.clone()).collect()
}

fn refusal<T: std::fmt::Debug>(result: Result<T>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_new_user_has_an_inbox() {
    let place = Place::new();
    assert_eq!(names(&place.ada()), ["INBOX"]);
    assert_eq!(names(&place.ada()), ["INBOX"]);
}

#[test]
fn names_identities_and_subscriptions_survive() {
    let place = Place::new();
    let user = place.ada();
    let sent = SpecialUses::NAMED[5].0;
    let id = user.create("Gesendete Objekte/ü", sent).unwrap();
    user.subscribe("Gesendete Objekte/ü", true).unwrap();
    user.subscribe("not there", true).unwrap();
    let before = user.status("Gesendete Objekte/ü").unwrap();
    let other = place.ada();
    other.rename("Gesendete Objekte", "Sent").unwrap();
    let tree = user.tree().unwrap();
    let entry = tree.find("Sent/ü").unwrap();
    assert_eq!((entry.id, entry.uses), (id, sent));
    assert_eq!(user.status("Sent/ü").unwrap().uid_validity, before.uid_validity);
    assert_eq!(tree.subscriptions().len(), 2, "subscriptions are by name");
}

#[test]
fn the_tree_keeps_up_with_every_change() {
    let place = Place::new();
    let (user, other) = (place.ada(), place.ada());
    let change = |user: &Arc<User>, step| match step {
        0 => user.create("b/c", SpecialUses::NAMED[5].0).map(drop),
        1 => user.create("b", SpecialUses::NONE).map(drop),
        2 => user.subscribe("b/c", true),
        3 => user.rename("b", "a"),
        4 => user.delete("a/c").map(drop),
        5 => user.create("a/c", SpecialUses::NONE).map(drop),
        _ => user.subscribe("b/c", false),
    };
    for step in 0..7 {
        let before = user.tree().unwrap();
        let as_it_was = before.mailboxes().to_vec();
        change(if step % 2 == 0 { &user } else { &other }, step).unwrap();
        assert_eq!(before.mailboxes(), as_it_was, "who reads the tree keeps it");
        let (kept, made) = (user.tree().unwrap(), place.ada().tree().unwrap());
        assert_eq!(kept.mailboxes(), made.mailboxes(), "after step {step}");
        assert_eq!(kept.subscriptions(), made.subscriptions(), "after step {step}");
    }
}

#[test]
fn one_look_serves_many_statuses() {
    let place = Place::new();
    let (user, other) = (place.ada(), place.ada());
    let ids = ["a", "b", "c"].map(|name| user.create(name, SpecialUses::NONE).unwrap());
    user.look().unwrap();
    append_many(&other, "a", 2);
    other.delete("b").unwrap();
    other.rename("c", "d").unwrap();
    let known = |id, name| user.known_status(id, name).unwrap().map(|status| status.messages);
    assert_eq!((known(ids[0], "a"), known(ids[1], "b")), (Some(0), Some(0)), "not looked at yet");
    user.look().unwrap();
    assert_eq!((known(ids[0], "a"), known(ids[1], "b")), (Some(2), None));
    assert_eq!((known(ids[2], "c"), known(ids[2], "d")), (None, Some(0)));
}

#[test]
fn a_name_that_comes_again_is_another_mailbox() {
    let place = Place::new();
    let user = place.ada();
    let first = user.create("x", SpecialUses::NONE).unwrap();
    let validity = user.status("x").unwrap().uid_validity;
    user.delete("x").unwrap();
    let second = user.create("x", SpecialUses::NONE).unwrap();
    assert_ne!(first, second);
    assert!(user.status("x").unwrap().uid_validity > validity);
}

#[test]
fn renaming_moves_the_tree_and_inbox_gives_its_messages() {
    let place = Place::new();
    let user = place.ada();
    for name in ["a", "a/b", "a/b/c", "ab", "INBOX/kept"] {
        user.create(name, SpecialUses::NONE).unwrap();
    }
    user.rename("a", "z/y").unwrap();
    assert_eq!(names(&user), ["INBOX", "INBOX/kept", "ab", "z/y", "z/y/b", "z/y/b/c"]);
    append_many(&user, "INBOX", 3);
    user.rename("inbox", "Old").unwrap();
    assert_eq!(user.status("INBOX").unwrap().messages, 0);
    assert_eq!(contents(&place.ada(), "Old").len(), 3);
    assert!(names(&user).contains(&"INBOX/kept".to_owned()));
}

#[test]
fn what_cannot_be_done_is_refused() {
    let place = Place::new();
    let user = place.ada();
    user.create("a/b", SpecialUses::NONE).unwrap();
    user.create("c", SpecialUses::NONE).unwrap();
    assert_eq!(refusal(user.create("Inbox", SpecialUses::NONE)), Refusal::AlreadyExists);
    assert_eq!(refusal(user.create("a//b", SpecialUses::NONE)), Refusal::BadName);
    assert_eq!(refusal(user.delete("INBOX")), Refusal::InboxUndeletable);
    assert_eq!(refusal(user.delete("a")), Refusal::NonExistent);
    assert_eq!(refusal(user.rename("a", "a/x")), Refusal::BeneathItself);
    assert_eq!(refusal(user.rename("a/b", "c")), Refusal::AlreadyExists);
    assert_eq!(refusal(user.rename("nothing", "d")), Refusal::NonExistent);
    assert_eq!(refusal(user.status("a")), Refusal::NonExistent);
    assert_eq!(refusal(user.select("a", Access::ReadOnly, false)), Refusal::NonExistent);
    let new = message(&user, &body(1), FlagList::default());
    assert_eq!(refusal(user.append("nothing", vec![new], None)), Refusal::NonExistent);
}

#[test]
fn keywords_have_an_end_and_append_nothing_halfway() {
    let place = Place::new();
    let user = place.ada();
    append_many(&user, "INBOX", 1);
    let mut view = select(&user, "INBOX");
    let many: Vec<String> = (0..limits::MAX_KEYWORDS).map(|n| format!("k{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    add(&mut view, &uids(1..=1), flags(Flags::NONE, &many));
    let more = flags(Flags::NONE, &["more"]);
    assert_eq!(refusal(view.store(&uids(1..=1), FlagChange::Add, &more, None)), Refusal::TooManyKeywords);
    let both = vec![message(&user, &body(2), FlagList::default()), message(&user, &body(3), more)];
    assert_eq!(refusal(user.append("INBOX", both, None)), Refusal::TooManyKeywords);
    assert_eq!(user.status("INBOX").unwrap().messages, 1);
}
