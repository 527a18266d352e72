//! Sessions in IDLE: what each takes, and how soon a message is heard of while all of them are open.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::connection::Connection;
use crate::hold::Held;
use crate::row::Out;
use crate::sizes::number_after;
use crate::stats::Samples;
use crate::target::Target;

/// Sessions that watch the mailbox a message goes to.
const WATCHERS_PER_USER: usize = 4;
/// Users whose mailboxes get messages: the last ones of the range. Idle sessions belong to the others.
const WATCHED_USERS: usize = 8;
/// How long news may take before it counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(10);
/// How long the server may take to give back what the first logins needed: hashing passwords takes megabytes.
const REST: Duration = Duration::from_secs(6);
/// Fewer sessions take less than what the server's memory moves by at rest.
const WEIGHED: usize = 100;
/// Between two messages: nobody waits in line.
const PAUSE: Duration = Duration::from_millis(3);
/// How often a watcher looks whether it is over.
const GLANCE: Duration = Duration::from_millis(200);
const MESSAGE: &[u8] =
    b"From: load@example.org\r\nTo: watcher@example.org\r\nSubject: news\r\n\r\nThere is news.\r\n";

/// How many sessions, and how much news.
#[derive(Args)]
pub struct Arguments {
    /// Numbers of sessions, rising; measured at each.
    #[arg(long, value_delimiter = ',', default_value = "1000")]
    sessions: Vec<usize>,
    /// Messages that are appended to measure how soon the others hear.
    #[arg(long, default_value_t = 500)]
    events: usize,
    /// Seconds after which no more are appended.
    #[arg(long, default_value_t = 20)]
    secs: u64,
}

/// Opens sessions step by step, and measures at each step.
///
/// # Errors
/// When the server refuses anything.
pub fn run(target: &Target, arguments: &Arguments, out: Out) -> Result<()> {
    ensure!(target.users.len() > WATCHED_USERS, "--users has to name more than {WATCHED_USERS}");
    let mut others = target.clone();
    others.users.last -= WATCHED_USERS;
    let meter = target.meter();
    // What a first session of each user brings with it is the user's, not the session's.
    for n in 0..others.users.len().min(arguments.sessions.iter().copied().max().unwrap_or(0)) {
        others.selected(n, 0)?;
    }
    thread::sleep(REST);
    let empty = meter.memory();
    let mut held = Held::default();
    for &wanted in &arguments.sessions {
        let begun = Instant::now();
        held.grow(&others, wanted)?;
        let opening = begun.elapsed();
        thread::sleep(Duration::from_millis(500));
        let grown = meter.memory().zip(empty).filter(|_| held.count() >= WEIGHED);
        let grown = grown.map(|(now, before)| (now - before) / held.count() as f64);
        let mut news = news(target, arguments)?;
        let mut row = out.row("idle").number("sessions", held.count() as f64).maybe("kib", grown);
        row = row.word("transport", if target.tls { "tls" } else { "plain" });
        row = row.number("opened_s", opening.as_secs_f64()).number("lost", news.lost as f64);
        for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)] {
            row = row.number(&format!("told_{name}"), news.told.percentile(share) / 1e3);
        }
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            row = row.number(&format!("told_after_ok_{name}"), news.told_after_ok.percentile(share) / 1e3);
            row = row.number(&format!("noop_{name}"), news.noop.percentile(share));
        }
        row.print();
    }
    Ok(())
}

/// What the news took.
#[derive(Default)]
struct News {
    /// From sending the APPEND to the news.
    told: Samples,
    /// From the APPEND's OK to the news; 0 when the news was first.
    told_after_ok: Samples,
    /// A NOOP of a bystander.
    noop: Samples,
    /// Sessions that were not told in time.
    lost: usize,
}

/// A watcher's report: which mailbox, how many messages it has now, when that was read.
type Report = (usize, usize, Instant);

/// Appends messages and waits each time until all watchers of that mailbox know.
fn news(target: &Target, arguments: &Arguments) -> Result<News> {
    let over = AtomicBool::new(false);
    let (said, heard) = mpsc::channel();
    let (mut appenders, mut watchers) = (Vec::new(), Vec::new());
    for n in 0..WATCHED_USERS {
        let user = target.users.len() - WATCHED_USERS + n;
        let mut appender = target.login(user, 0)?;
        let has = messages(&mut appender)?;
        appenders.push((appender, has));
        for _ in 0..WATCHERS_PER_USER {
            let mut watcher = target.selected(user, 0)?;
            watcher.idle()?;
            watchers.push((n, watcher));
        }
    }
    let bystander = Mutex::new(Samples::default());
    let result = thread::scope(|scope| {
        for (n, watcher) in watchers {
            let (said, over) = (said.clone(), &over);
            scope.spawn(move || watch(watcher, n, &said, over));
        }
        scope.spawn(|| stand_by(target, &over, &bystander));
        let result = append_and_hear(&mut appenders, &heard, arguments);
        over.store(true, Ordering::Relaxed);
        result
    });
    Ok(News { noop: bystander.into_inner().unwrap_or_default(), ..result? })
}

fn append_and_hear(
    appenders: &mut [(Connection, usize)],
    heard: &Receiver<Report>,
    arguments: &Arguments,
) -> Result<News> {
    let (mut news, begun) = (News::default(), Instant::now());
    for event in 0..arguments.events {
        if begun.elapsed().as_secs() >= arguments.secs {
            break;
        }
        thread::sleep(PAUSE);
        let n = event % appenders.len();
        let (appender, messages) = &mut appenders[n];
        let sent = Instant::now();
        appender.append("INBOX", &[MESSAGE])?;
        *messages += 1;
        let answered = Instant::now();
        let mut told = 0;
        while told < WATCHERS_PER_USER {
            let Ok((who, has, at)) = heard.recv_timeout(LOST_AFTER.saturating_sub(answered.elapsed())) else {
                news.lost += WATCHERS_PER_USER - told;
                break;
            };
            // What was late for an earlier message does not count for this one.
            if who == n && has >= *messages {
                news.told.add(at - sent);
                news.told_after_ok.add(at.saturating_duration_since(answered));
                told += 1;
            }
        }
    }
    Ok(news)
}

fn messages(connection: &mut Connection) -> Result<usize> {
    let said = connection.answer("STATUS INBOX (MESSAGES)")?;
    number_after(&String::from_utf8_lossy(&said), "MESSAGES ").context("STATUS tells no number of messages")
}

/// Says when it is told of a message.
fn watch(mut watcher: Connection, n: usize, said: &Sender<Report>, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        match watcher.news(GLANCE) {
            Ok(Some(line)) => {
                let line = String::from_utf8_lossy(&line);
                let number = line.trim_end().strip_suffix(" EXISTS").and_then(|rest| rest.strip_prefix("* "));
                if let Some(has) = number.and_then(|number| number.parse().ok()) {
                    let _ = said.send((n, has, Instant::now()));
                }
            }
            Ok(None) => (),
            Err(_) => return,
        }
    }
}

/// One session that says NOOP now and then.
fn stand_by(target: &Target, over: &AtomicBool, samples: &Mutex<Samples>) {
    let Ok(mut session) = target.selected(0, 0) else { return };
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        if session.command("NOOP").is_err() {
            return;
        }
        if let Ok(mut samples) = samples.lock() {
            samples.add(begun.elapsed());
        }
        thread::sleep(PAUSE);
    }
}
