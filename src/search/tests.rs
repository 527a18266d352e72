//! Threads against the words of RFC 5256, and against a model that follows them literally.

mod model;

use std::fmt::Write;

use proptest::prelude::*;

use super::forest::{Forest, Siblings};
use super::known::Known;
use super::order::subject_key;
use super::thread::{Algorithm, Collected};
use crate::store::Uid;
use model::Model;

/// A message as THREAD sees it; the date decides about the order of siblings.
#[derive(Clone, Debug)]
struct Mail {
    date: i64,
    subject: String,
    id: Option<String>,
    references: Vec<String>,
}

/// `id <- references: subject`, one message per line; `-` for no id.
fn mails(text: &str) -> Vec<Mail> {
    let mail = |(date, line): (i64, &str)| {
        let (head, subject) = line.split_once(':').unwrap();
        let (id, references) = head.split_once("<-").unwrap_or((head, ""));
        Mail {
            date,
            subject: subject.trim().to_owned(),
            id: Some(id.trim().to_owned()).filter(|id| id != "-"),
            references: references.split_whitespace().map(str::to_owned).collect(),
        }
    };
    (0..).zip(text.lines().filter(|line| !line.trim().is_empty())).map(mail).collect()
}

fn forest(mails: &[Mail], algorithm: Algorithm) -> Forest {
    let (mut collected, mut known, mut text) = (Collected::default(), Known::default(), String::new());
    for (mail, uid) in mails.iter().zip(1..) {
        let references: Vec<u32> = mail.references.iter().map(|id| known.id(id.as_bytes())).collect();
        let own = mail.id.as_ref().map(|id| known.id(id.as_bytes()));
        let subject = subject_key(mail.subject.as_bytes(), &mut known.texts, &mut text);
        collected.nodes.add(own, &references);
        collected.push(Uid::new(uid).unwrap(), mail.date, subject);
    }
    collected.forest(algorithm)
}

/// As on the wire, but for the choice between `a b` and `a (b)(c)`: every list of children is in brackets.
fn shown(forest: &Forest) -> String {
    enum Task {
        Show(Siblings),
        Close,
    }
    let (mut out, mut left) = (String::new(), vec![Task::Show(forest.roots())]);
    while let Some(task) = left.pop() {
        let Task::Show(siblings) = task else {
            out.push(')');
            continue;
        };
        let Some((node, others)) = forest.split_first(siblings) else { continue };
        let name = forest.uid(node).map_or("_".to_owned(), |uid| uid.to_string());
        _ = write!(out, "({name}");
        left.extend([Task::Show(others), Task::Close, Task::Show(forest.children(node))]);
    }
    out
}

fn references(text: &str) -> String {
    shown(&forest(&mails(text), Algorithm::References))
}

#[test]
fn replies_are_under_what_they_answer() {
    for (text, expected) in [
        ("", ""),
        ("a: x", "(1)"),
        ("a: x\nb <- a: Re: x\nc <- a b: Re: x", "(1(2(3)))"),
        ("c <- a b: x\nb <- a: y\na: z", "(3(2(1)))"),
        ("a: x\nb <- a: y\nc <- a: z\nd <- b: u", "(1(2(4))(3))"),
        // Without the message between them.
        ("a: x\nc <- a b: y", "(1(2))"),
        // References hold where they do not contradict what the message itself says.
        ("d <- a b c: x\nc <- a: y\na: z", "(3(2(1)))"),
        ("b: x\nc <- a b: y", "(1(2))"),
    ] {
        assert_eq!(references(text), expected, "{text}");
    }
}

#[test]
fn loops_are_not_closed() {
    for (text, expected) in [
        ("a <- a: x", "(1)"),
        ("a <- b: x\nb <- a: y", "(2(1))"),
        ("a: x\nb <- a c: y\nc <- b: z", "(1)(3(2))"),
        ("a <- c: x\nb <- a: y\nc <- b: z", "(3(1(2)))"),
        ("z <- a b a c b: x", "(1)"),
    ] {
        assert_eq!(references(text), expected, "{text}");
    }
}

#[test]
fn an_id_belongs_to_the_first_who_has_it() {
    assert_eq!(references("a: x\na: y\nb <- a: z"), "(1(3))(2)");
    assert_eq!(references("-: x\n-: y"), "(1)(2)");
    assert_eq!(references("b <- a: z\na: x\na <- b: y"), "(2(1(3)))");
}

#[test]
fn dummies_are_pruned() {
    for (text, expected) in [
        // One child takes its place at the top, several need something to hold them.
        ("b <- a: x", "(1)"),
        ("b <- a: x\nc <- a: y", "(_(1)(2))"),
        ("c <- a b: x\nd <- a b: y", "(_(1)(2))"),
        // Deeper ones never stay.
        ("a: x\nc <- a b: y\nd <- a b: z", "(1(2)(3))"),
        ("e <- a b c: x\nf <- a d: y\ng <- a b: z", "(_(1)(2)(3))"),
    ] {
        assert_eq!(references(text), expected, "{text}");
    }
}

#[test]
fn threads_with_one_subject_become_one() {
    for (text, expected) in [
        ("a: x\nb: Re: x", "(1(2))"),
        ("a: Re: x\nb: x", "(2(1))"),
        ("a: x\nb: x", "(_(1)(2))"),
        ("a: x\nb: x\nc: Re: x", "(_(1)(2)(3))"),
        ("a: Re: x\nb: Re: x", "(_(1)(2))"),
        ("a: \nb: \nc: Re:", "(1)(2)(3)"),
        ("a: x\nc <- b: x\nd <- b: y", "(_(1)(2)(3))"),
        ("c <- b: x\nd <- b: y\ne <- z: X\nf <- z: u", "(_(1)(2)(3)(4))"),
        // The subject of a thread is that of its first message.
        ("a: x\nb <- a: y\nc: y", "(1(2))(3)"),
    ] {
        assert_eq!(references(text), expected, "{text}");
    }
}

#[test]
fn siblings_and_threads_come_by_date() {
    let mut mails = mails("a: x\nb <- a: y\nc <- a: z\nd <- u: v\ne <- u: w");
    for (mail, date) in mails.iter_mut().zip([9, 3, 2, 8, 1]) {
        mail.date = date;
    }
    assert_eq!(shown(&forest(&mails, Algorithm::References)), "(_(5)(4))(1(3)(2))");
    assert_eq!(shown(&forest(&mails, Algorithm::OrderedSubject)), "(5)(3)(2)(4)(1)");
}

#[test]
fn ordered_subject_makes_flat_threads() {
    let mut mails = mails("-: a\n-: b\n-: Re: a\n-: Re: b\n-: \n-: Re:\n-: [l] A");
    assert_eq!(shown(&forest(&mails, Algorithm::OrderedSubject)), "(1(3)(7))(2(4))(5(6))");
    mails.iter_mut().for_each(|mail| mail.date = -mail.date);
    assert_eq!(shown(&forest(&mails, Algorithm::OrderedSubject)), "(7(3)(1))(6(5))(4(2))");
}

/// Every order in which a chain can come, for which walking up or down would be quadratic.
#[test]
fn long_chains_take_no_long_time() {
    let length = 100_000;
    let mail = |n: usize| Mail {
        date: n as i64,
        subject: String::new(),
        id: Some(n.to_string()),
        references: vec![(n - 1).to_string()],
    };
    let in_order: Vec<usize> = (1..length).collect();
    let backwards: Vec<usize> = in_order.iter().rev().copied().collect();
    let by_halves = in_order.iter().skip(1).step_by(2).chain(in_order.iter().step_by(2)).copied().collect();
    // Late ones close the gaps between long pieces, and then try to close loops.
    let (gaps, pieces): (Vec<usize>, Vec<usize>) = in_order.iter().partition(|&n| n % 1000 == 0);
    for order in [in_order, backwards, by_halves, [pieces, gaps].concat()] {
        let mut mails: Vec<Mail> = order.into_iter().map(mail).collect();
        let in_one = forest(&mails, Algorithm::References);
        assert_eq!(in_one.roots().len(), 1);
        for mail in mails.iter_mut().step_by(7) {
            mail.references.insert(0, (length - 1).to_string());
        }
        assert!(!forest(&mails, Algorithm::References).roots().is_empty());
    }
}

fn any_mail() -> impl Strategy<Value = Mail> {
    let id = || prop::sample::select(vec!["a", "b", "c", "d", "e", "f", "g"]).prop_map(str::to_owned);
    let subject =
        prop::sample::select(vec!["", "x", "Re: x", "y", "Fwd: y", "Re: z"]).prop_map(str::to_owned);
    (0..4i64, subject, prop::option::weighted(0.9, id()), prop::collection::vec(id(), 0..5))
        .prop_map(|(date, subject, id, references)| Mail { date, subject, id, references })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn threads_are_those_of_the_model(mails in prop::collection::vec(any_mail(), 0..9)) {
        prop_assert_eq!(shown(&forest(&mails, Algorithm::References)), Model::of(&mails).shown());
    }
}
