//! What commands cost in mailboxes of different sizes. Only those that speak of every message may grow.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::connection::Connection;
use crate::row::Out;
use crate::target::Target;
use crate::timing::{Effort, measure, timed};

/// Messages in one APPEND while filling.
const BATCH: usize = 500;

/// Which sizes.
#[derive(Args)]
pub struct Arguments {
    #[arg(long, value_delimiter = ',', default_value = "100,10000,100000")]
    sizes: Vec<usize>,
    /// Seconds for each command.
    #[arg(long, default_value_t = 0.5)]
    secs: f64,
}

/// Fills an INBOX for each size, each of another user, and measures; once more when every other message is gone.
///
/// # Errors
/// When the server refuses anything.
pub fn run(target: &Target, arguments: &Arguments, out: Out) -> Result<()> {
    ensure!(target.users.len() >= arguments.sizes.len(), "--users has to name one for each size");
    for (n, &size) in arguments.sizes.iter().enumerate() {
        fill(&mut target.login(n, 0)?, size)?;
        let sized = Sized { target, out, user: n, by: "messages", size, secs: arguments.secs };
        sized.measure()?;
        make_gaps(&mut target.selected(n, 0)?)?;
        Sized { by: "gaps", size: size / 2, ..sized }.measure()?;
    }
    Ok(())
}

/// Appends until INBOX has `size` messages.
fn fill(connection: &mut Connection, size: usize) -> Result<()> {
    let said = String::from_utf8_lossy(&connection.answer("STATUS INBOX (MESSAGES)")?).into_owned();
    let has = number_after(&said, "MESSAGES ").context("STATUS tells no number of messages")?;
    for first in (has..size).step_by(BATCH) {
        let texts: Vec<String> = (first..size.min(first + BATCH)).map(message).collect();
        connection.append("INBOX", &texts.iter().map(String::as_bytes).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Of threads in which every message has two answers.
fn message(n: usize) -> String {
    let parent = n / 2;
    format!(
        "Date: Mon, {} Jan 2024 {:02}:{:02}:00 +0000\r\nFrom: a@example.org\r\nSubject: Re: number {}\r\n\
         Message-ID: <{n}@example.org>\r\nReferences: <{}@example.org> <{parent}@example.org>\r\n\r\nbody of {n}\r\n",
        n % 31 + 1,
        n % 24,
        n % 60,
        n / 3,
        parent / 2,
    )
}

/// Expunges every other message of the selected INBOX.
fn make_gaps(connection: &mut Connection) -> Result<()> {
    /// So many UIDs fit a command line.
    const MARKED: usize = 5000;
    let said = String::from_utf8_lossy(&connection.answer("STATUS INBOX (UIDNEXT)")?).into_owned();
    let next = number_after(&said, "UIDNEXT ").context("STATUS tells no UIDNEXT")?;
    let odd: Vec<String> = (1..next).step_by(2).map(|uid| uid.to_string()).collect();
    for uids in odd.chunks(MARKED) {
        connection.command(&format!("UID STORE {} +FLAGS.SILENT (\\Deleted)", uids.join(",")))?;
    }
    connection.command("CLOSE")
}

/// The number behind a word.
pub fn number_after(text: &str, word: &str) -> Option<usize> {
    let rest = &text[text.find(word)? + word.len()..];
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A mailbox to measure in: by its messages, or by its gaps, which are then as many.
struct Sized<'a> {
    target: &'a Target,
    out: Out,
    user: usize,
    by: &'static str,
    size: usize,
    secs: f64,
}

impl Sized<'_> {
    fn measure(&self) -> Result<()> {
        let mut connection = self.target.selected(self.user, 0)?;
        let middle = self.size / 2 + 1;
        let commands = [
            ("SELECT", "SELECT INBOX".to_owned()),
            ("STATUS", "STATUS INBOX (MESSAGES UNSEEN UIDNEXT)".to_owned()),
            ("NOOP", "NOOP".to_owned()),
            ("FETCH one ENVELOPE", format!("FETCH {middle} (UID FLAGS ENVELOPE)")),
            ("FETCH 1:* FLAGS", "FETCH 1:* (FLAGS)".to_owned()),
            ("SEARCH FLAGGED", "SEARCH FLAGGED".to_owned()),
            ("SEARCH SINCE", "SEARCH SINCE 1-Jan-2090".to_owned()),
            ("SEARCH SUBJECT", "SEARCH SUBJECT \"no such\"".to_owned()),
            ("SEARCH BODY", "SEARCH BODY \"no such\"".to_owned()),
            ("SORT ARRIVAL", "SORT (ARRIVAL) UTF-8 ALL".to_owned()),
            ("SORT DATE", "SORT (DATE) UTF-8 ALL".to_owned()),
            ("SORT SUBJECT", "SORT (SUBJECT) UTF-8 ALL".to_owned()),
            ("THREAD REFERENCES", "THREAD REFERENCES UTF-8 ALL".to_owned()),
        ];
        // Searching does not depend on gaps.
        let wanted = if self.by == "gaps" { 5 } else { commands.len() };
        for (name, command) in commands.into_iter().take(wanted) {
            self.repeat(name, |_| timed(|| connection.command(&command)))?;
        }
        self.changes(&mut connection, middle)?;
        self.resume()
    }

    /// Commands that change something, and what it costs another session to hear of it.
    fn changes(&self, connection: &mut Connection, middle: usize) -> Result<()> {
        let mut other = self.target.selected(self.user, 0)?;
        let sign = |n: usize| if n.is_multiple_of(2) { '+' } else { '-' };
        self.repeat("STORE one", |n| {
            timed(|| connection.command(&format!("STORE {middle} {}FLAGS (\\Flagged)", sign(n))))
        })?;
        self.repeat("NOOP after STORE", |n| {
            connection.command(&format!("STORE {middle} {}FLAGS (\\Seen)", sign(n)))?;
            timed(|| other.command("NOOP"))
        })?;
        let message = b"From: a@example.org\r\nSubject: one more\r\n\r\nbody\r\n";
        self.repeat("APPEND", |_| timed(|| connection.append("INBOX", &[message])))?;
        // Never so many that the middle is gone.
        let mark = format!("STORE {middle} +FLAGS.SILENT (\\Deleted)");
        self.repeat_at_most(self.size / 6, "EXPUNGE one", |_| {
            connection.command(&mark)?;
            timed(|| connection.command("EXPUNGE"))
        })?;
        self.repeat_at_most(self.size / 6, "NOOP after EXPUNGE", |_| {
            connection.command(&mark)?;
            connection.command("EXPUNGE")?;
            timed(|| other.command("NOOP"))
        })
    }

    /// A session that comes back and has missed little: the last change only.
    fn resume(&self) -> Result<()> {
        let mut connection = self.target.login(self.user, 0)?;
        connection.command("ENABLE QRESYNC")?;
        let said = connection.answer("STATUS INBOX (UIDVALIDITY HIGHESTMODSEQ)")?;
        let said = String::from_utf8_lossy(&said);
        let (validity, modseq) = number_after(&said, "UIDVALIDITY ")
            .zip(number_after(&said, "HIGHESTMODSEQ "))
            .context("STATUS tells no HIGHESTMODSEQ")?;
        let select = format!("SELECT INBOX (QRESYNC ({validity} {}))", modseq.saturating_sub(1).max(1));
        self.repeat("QRESYNC resume", |_| timed(|| connection.command(&select)))
    }

    fn repeat(&self, name: &str, each: impl FnMut(usize) -> Result<Duration>) -> Result<()> {
        self.repeat_at_most(2000, name, each)
    }

    fn repeat_at_most(
        &self,
        most: usize,
        name: &str,
        each: impl FnMut(usize) -> Result<Duration>,
    ) -> Result<()> {
        let effort = Effort { least: 1, most: most.min(2000), time: Duration::from_secs_f64(self.secs) };
        measure(self.out, (self.by, self.size), name, &self.target.meter(), effort, each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_behind_their_words() {
        assert_eq!(number_after("* STATUS INBOX (MESSAGES 17)\r\n", "MESSAGES "), Some(17));
        assert_eq!(number_after("* STATUS INBOX ()", "MESSAGES "), None);
    }
}
