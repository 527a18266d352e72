//! Sessions in IDLE, and processes that hold more of them than one process has descriptors for.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::connection::Connection;
use crate::target::{Target, sessions_per_process};

/// Threads that open sessions: logging in is a few round trips for each.
const OPENERS: usize = 8;

/// What a holder is told to hold.
#[derive(Args)]
pub struct Arguments {
    /// The serial number of its first session.
    #[arg(long)]
    first: usize,
    #[arg(long)]
    sessions: usize,
}

/// Holds sessions until standard input ends.
///
/// # Errors
/// When one cannot be opened.
pub fn run(target: &Target, arguments: &Arguments) -> Result<()> {
    let _sessions = open(target, arguments.first, arguments.sessions)?;
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Sessions that are open, here and in other processes.
#[derive(Default)]
pub struct Held {
    here: Vec<Connection>,
    elsewhere: Vec<Child>,
    count: usize,
}

impl Held {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Opens more, until there are `wanted`.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn grow(&mut self, target: &Target, wanted: usize) -> Result<()> {
        let per_process = sessions_per_process()?;
        let here = (per_process - self.here.len()).min(wanted.saturating_sub(self.count));
        self.here.extend(open(target, self.count, here)?);
        self.count += here;
        while self.count < wanted {
            let more = per_process.min(wanted - self.count);
            self.elsewhere.push(holder(target, self.count, more)?);
            self.count += more;
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for child in &mut self.elsewhere {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

/// This program again, with the same target, holding `sessions` more.
fn holder(target: &Target, first: usize, sessions: usize) -> Result<Child> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["hold", "--first", &first.to_string(), "--sessions", &sessions.to_string()])
        .args(target.arguments())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(said) = child.stdout.take() {
        BufReader::new(said).read_line(&mut line)?;
    }
    if line.trim() != "ready" {
        let _ = child.kill();
        let _ = child.wait();
    }
    ensure!(
        line.trim() == "ready",
        "a process that was to hold {sessions} sessions ended: its reason is above"
    );
    Ok(child)
}

fn open(target: &Target, first: usize, sessions: usize) -> Result<Vec<Connection>> {
    let next = AtomicUsize::new(first);
    let opener = || {
        let mut mine = Vec::new();
        loop {
            let serial = next.fetch_add(1, Ordering::Relaxed);
            if serial >= first + sessions {
                return Ok(mine);
            }
            let mut session = target
                .selected(serial, serial)
                .with_context(|| format!("{serial} sessions are open, the next one fails"))?;
            session.idle()?;
            mine.push(session);
        }
    };
    thread::scope(|scope| {
        let openers: Vec<_> = (0..OPENERS).map(|_| scope.spawn(opener)).collect();
        let opened = openers.into_iter().map(|opener| opener.join().expect("an opener panicked"));
        opened.collect::<Result<Vec<_>>>().map(|lists| lists.into_iter().flatten().collect())
    })
}
