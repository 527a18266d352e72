use std::fs;

use super::*;

struct Scene {
    dir: tempfile::TempDir,
    desk: Desk,
    now: Instant,
    next: u64,
}

impl Scene {
    fn new(users: &str) -> Self {
        let settings = AuthSettings {
            cache_size: 100,
            cache_ttl: Duration::from_secs(900),
            admins: vec!["root".into(), "nobody".into()],
        };
        let dir = tempfile::tempdir().unwrap();
        let desk = Desk::new(dir.path().join("users"), &settings).unwrap();
        let scene = Scene { dir, desk, now: Instant::now(), next: 0 };
        scene.write(users);
        scene
    }

    fn write(&self, users: &str) {
        crate::config::replace_file(&self.dir.path().join("users"), users.as_bytes(), 0o600).unwrap();
    }

    fn ask(&mut self, authorization: Option<&str>, name: &str, password: &str) -> Outbox {
        let mut out = Outbox::default();
        let request = Request {
            mechanism: Mechanism::Plain,
            authorization: authorization.map(str::to_owned),
            ..Request::login(name, password)
        };
        self.next += 1;
        self.desk.ask(Asker { peer: 1, id: self.next }, request, self.now, &mut out);
        out
    }

    /// Does the jobs until there is none left, letting time pass.
    fn settle(&mut self, mut out: Outbox) -> Vec<Reply> {
        loop {
            for job in std::mem::take(&mut out.jobs) {
                self.desk.judge(job.run(), self.now, &mut out);
            }
            match self.desk.next_due() {
                _ if !out.jobs.is_empty() => {}
                None => return out.replies.into_iter().map(|(_, reply)| reply).collect(),
                Some(due) => {
                    self.now = due;
                    self.desk.advance(due, &mut out);
                }
            }
        }
    }

    fn login(&mut self, name: &str, password: &str) -> Reply {
        let out = self.ask(None, name, password);
        self.settle(out).pop().unwrap()
    }
}

fn granted(name: &str) -> Reply {
    Reply::Granted(UserName::new(name).unwrap())
}

#[test]
fn the_right_password_and_no_other() {
    let mut scene = Scene::new("ada:{PLAIN}secret\ngrace:{PLAIN}hopper\n");
    for (name, password, reply) in [
        ("ada", "secret", granted("ada")),
        ("ada", "hopper", Reply::Denied),
        ("Ada", "secret", Reply::Denied),
        ("nobody", "secret", Reply::Denied),
        ("nobody", "hopper", Reply::Denied),
        ("", "secret", Reply::Denied),
        ("ada", "", Reply::Denied),
        ("ada\r\nx", "secret", Reply::Denied),
    ] {
        assert_eq!(scene.login(name, password), reply, "{name:?} {password:?}");
    }
    assert_eq!(scene.login(&"x".repeat(300), "secret"), Reply::Denied);
    assert_eq!(scene.login("ada", &"x".repeat(MAX_PASSWORD + 1)), Reply::Denied);
}

#[test]
fn unknown_users_cost_a_hash_too() {
    let mut scene = Scene::new("ada:{PLAIN}secret\n");
    assert_eq!(scene.ask(None, "nobody", "secret").jobs.len(), 1);
    let mut empty = Scene::new("");
    let out = empty.ask(None, "nobody", "nobody's password");
    assert_eq!(out.jobs.len(), 1);
    assert_eq!(empty.settle(out), [Reply::Denied], "not even with the dummy's");
}

#[test]
fn success_is_cached_and_failure_is_not() {
    let mut scene = Scene::new("ada:{PLAIN}secret\n");
    assert_eq!(scene.login("ada", "secret"), granted("ada"));
    assert_eq!(scene.ask(None, "ada", "secret").replies.len(), 1, "at once");
    for _ in 0..2 {
        let out = scene.ask(None, "ada", "wrong");
        assert_eq!(out.jobs.len(), 1);
        scene.settle(out);
    }
}

#[test]
fn a_changed_password_counts_at_once() {
    let mut scene = Scene::new("ada:{PLAIN}old\n");
    assert_eq!(scene.login("ada", "old"), granted("ada"));
    scene.write("ada:{PLAIN}new\n");
    assert_eq!(scene.login("ada", "old"), Reply::Denied);
    assert_eq!(scene.login("ada", "new"), granted("ada"));
    scene.write("");
    assert_eq!(scene.login("ada", "new"), Reply::Denied);
}

#[test]
fn a_password_that_changes_while_it_is_verified_is_verified_again() {
    let mut scene = Scene::new("ada:{PLAIN}old\n");
    let out = scene.ask(None, "ada", "old");
    scene.write("ada:{PLAIN}new\n");
    assert_eq!(scene.settle(out), [Reply::Denied]);
    assert_eq!(scene.ask(None, "ada", "old").replies, [], "nothing wrong was cached");
}

#[test]
fn the_same_question_is_verified_once() {
    let mut scene = Scene::new("ada:{PLAIN}secret\n");
    let out = scene.ask(None, "ada", "secret");
    for _ in 0..99 {
        let joined = scene.ask(None, "ada", "secret");
        assert!(joined.jobs.is_empty() && joined.replies.is_empty());
    }
    assert_eq!(scene.ask(None, "ada", "other").jobs.len(), 1, "another question");
    assert_eq!(scene.settle(out), vec![granted("ada"); 100]);
}

#[test]
fn administrators_may_log_in_as_others() {
    let users = "root:{PLAIN}r\nada:{PLAIN}a\n";
    for (authorization, name, password, reply) in [
        (Some("ada"), "root", "r", granted("ada")),
        (Some(""), "ada", "a", granted("ada")),
        (Some("ada"), "ada", "a", granted("ada")),
        (Some("root"), "ada", "a", Reply::Denied),
        (Some("ada"), "root", "a", Reply::Denied),
        (Some("gone"), "root", "r", Reply::Denied),
        (Some("ada"), "nobody", "r", Reply::Denied),
        (Some("a\0"), "root", "r", Reply::Denied),
    ] {
        let mut scene = Scene::new(users);
        let out = scene.ask(authorization, name, password);
        assert_eq!(scene.settle(out), [reply], "{authorization:?} {name}");
    }
}

#[test]
fn guessing_becomes_slow_and_holds_up_nobody_else() {
    let mut scene = Scene::new("ada:{PLAIN}secret\ngrace:{PLAIN}hopper\n");
    let start = scene.now;
    for n in 0..8 {
        assert_eq!(scene.login("ada", &format!("guess{n}")), Reply::Denied);
    }
    assert!(scene.now - start >= Duration::from_secs(15));
    let late = scene.ask(None, "ada", "guess");
    assert!(late.jobs.is_empty(), "has to wait");
    assert_eq!(scene.ask(None, "grace", "hopper").jobs.len(), 1, "grace does not");
    assert_eq!(scene.settle(late), [Reply::Denied]);
}

#[test]
fn who_knows_the_password_was_not_guessing() {
    let mut scene = Scene::new("ada:{PLAIN}secret\n");
    assert_eq!(scene.login("ada", "secret"), granted("ada"));
    for n in 0..6 {
        scene.login("ada", &format!("typo{n}"));
    }
    let late = scene.ask(None, "ada", "typo");
    assert!(late.jobs.is_empty(), "has to wait");
    scene.settle(late);
    assert_eq!(scene.ask(None, "ada", "secret").replies.len(), 1, "at once, from the cache");
    assert_eq!(scene.ask(None, "ada", "another typo").jobs.len(), 1, "free again");
}

#[test]
fn guessing_all_at_once_is_refused_in_the_end() {
    let mut scene = Scene::new("ada:{PLAIN}secret\n");
    let mut all = Outbox::default();
    for n in 0..100 {
        let out = scene.ask(None, "ada", &format!("guess{n}"));
        all.jobs.extend(out.jobs);
        all.replies.extend(out.replies);
    }
    let replies = scene.settle(all);
    assert_eq!(replies.iter().filter(|reply| **reply == Reply::Denied).count(), 8, "verified");
    assert_eq!(replies.iter().filter(|reply| **reply == Reply::Unavailable).count(), 92);
    assert_eq!((scene.desk.waiting, scene.desk.flights.len()), (0, 0));
}

#[test]
fn waiting_questions_are_bounded() {
    let mut scene = Scene::new("ada:{PLAIN}secret\n");
    let first = scene.ask(None, "ada", "secret");
    for _ in 1..MAX_WAITING {
        scene.ask(None, "ada", "secret");
    }
    let full = scene.ask(None, "ada", "secret");
    assert_eq!(full.replies.into_iter().map(|(_, reply)| reply).collect::<Vec<_>>(), [Reply::Unavailable]);
    assert_eq!(scene.settle(first).len(), MAX_WAITING);
    assert_eq!(scene.login("ada", "secret"), granted("ada"));
}

#[test]
fn a_damaged_hash_keeps_one_user_out_and_an_unreadable_file_all() {
    let mut scene = Scene::new("ada:{NOSUCH}secret\ngrace:{PLAIN}hopper\n");
    assert_eq!(scene.login("ada", "secret"), Reply::Denied);
    assert_eq!(scene.login("grace", "hopper"), granted("grace"));
    let path = scene.dir.path().join("users");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(scene.login("grace", "hopper"), Reply::Unavailable);
}
