//! `heliograph enscat`: follows events and prints them.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::thread;

use anyhow::{Context, Result};
use clap::Args;

use super::base::Place;
use super::logging::printable;
use crate::config::Config;
use crate::master;
use crate::notify::{Address, BackOff, EventKey, LinkError, Notice, Reference, Subscriber};

/// Who we say we are.
const NAME: &str = "enscat";

/// Prints events as they happen, one per line, until it is interrupted.
///
/// An event matches a reference when it has its host and path (or a path beneath) and every parameter that the
/// reference names; a parameter that is named several times may have any of the values. Without a reference: all
/// events under the key of this base.
///
/// When the service goes away, enscat connects again, and says that events may be missing.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Print JSON, one object per line, instead of text.
    #[arg(long)]
    json: bool,
    /// End after so many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Connect to the service on this host, not to the one that the configuration names.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The service's port.
    #[arg(long, value_name = "PORT", default_value_t = 7997, requires = "host")]
    port: u16,
    /// What to follow: `enp://127.0.0.1/store?evtType=NewMsg&mailboxName=ada`.
    references: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When a reference makes no sense, or the service cannot be reached or refuses.
pub fn run(place: &Place, arguments: Arguments, out: &mut impl Write) -> Result<()> {
    let (address, references) = target(place, &arguments)?;
    for reference in &references {
        Reference::parse(reference).with_context(|| reference.clone())?;
    }
    let mut printer = Printer { out, json: arguments.json, left: arguments.count };
    let mut subscriber = subscribe(&address, &references)?;
    // Whoever reads standard error knows that from here on nothing is missed.
    writeln!(io::stderr(), "heliograph: following {} at {address}", references.join(" "))?;
    while printer.left != Some(0) {
        match subscriber.receive() {
            Ok(notice) => printer.print(&notice)?,
            Err(error) => {
                writeln!(io::stderr(), "heliograph: {error}; connecting again")?;
                subscriber = subscribe_again(&address, &references)?;
                printer.print(&Notice::Lost(0))?;
            }
        }
    }
    Ok(())
}

/// Where to connect, and what to follow.
fn target(place: &Place, arguments: &Arguments) -> Result<(Address, Vec<String>)> {
    if let (Some(host), false) = (&arguments.host, arguments.references.is_empty()) {
        return Ok((Address::Tcp(host.clone(), arguments.port), arguments.references.clone()));
    }
    let base = place.open()?;
    let settings = Config::load(&base)?.settings()?;
    let address = match &arguments.host {
        Some(host) => Address::Tcp(host.clone(), arguments.port),
        None => master::event_service(&base, &settings),
    };
    let references = if arguments.references.is_empty() {
        let key = EventKey::parse(&settings.notify.event_key);
        vec![key.context("local.store.notifyplugin.enseventkey")?.top().to_owned()]
    } else {
        arguments.references.clone()
    };
    Ok((address, references))
}

fn subscribe(address: &Address, references: &[String]) -> Result<Subscriber, LinkError> {
    let mut subscriber = Subscriber::connect(address, NAME)?;
    references.iter().try_for_each(|reference| subscriber.subscribe(reference))?;
    Ok(subscriber)
}

/// Tries until the service is there again; it does not take no for an answer that a try mends.
fn subscribe_again(address: &Address, references: &[String]) -> Result<Subscriber, LinkError> {
    let mut back_off = BackOff::new();
    loop {
        thread::sleep(back_off.pause());
        match subscribe(address, references) {
            Err(error) if !matches!(error, LinkError::Refused(_)) => {}
            result => return result,
        }
    }
}

struct Printer<'a, W> {
    out: &'a mut W,
    json: bool,
    /// Events to come; `None` for no end.
    left: Option<u64>,
}

impl<W: Write> Printer<'_, W> {
    fn print(&mut self, notice: &Notice) -> Result<()> {
        let line = match notice {
            Notice::Event { reference, data } => {
                let event = Reference::parse(reference)?;
                if let Some(left) = &mut self.left {
                    *left -= 1;
                }
                if self.json { json(&event, data) } else { text(&event, data) }
            }
            Notice::Lost(count) if self.json => format!("{{\"lost\":{count}}}"),
            Notice::Lost(0) => "(events may be missing here)".to_owned(),
            Notice::Lost(count) => format!("({count} events are missing here)"),
        };
        writeln!(self.out, "{line}")?;
        // Programs read line by line.
        Ok(self.out.flush()?)
    }
}

/// `NewMsg mailboxName=ada numMsgs=16 …`, and what comes of the message behind it, each line marked with `|`.
fn text(event: &Reference<'_>, data: &[u8]) -> String {
    let mut line = event.parameter("evtType").unwrap_or("-").to_owned();
    for (name, value) in event.parameters().filter(|(name, _)| *name != "evtType") {
        // Writing to a string does not fail.
        let _ = match value.contains([' ', '"']) || value.is_empty() {
            true => write!(line, " {name}={value:?}"),
            false => write!(line, " {name}={value}"),
        };
    }
    let mut text = printable(&line).into_owned();
    for line in String::from_utf8_lossy(data).lines() {
        let _ = write!(text, "\n| {}", printable(line));
    }
    text
}

/// Parameters whose values are numbers.
const NUMBERS: [&str; 15] = [
    "timestamp",
    "pid",
    "numMsgs",
    "numSeen",
    "numDeleted",
    "numSeenDeleted",
    "uidValidity",
    "imapUid",
    "lastUid",
    "size",
    "hdrLen",
    "modseq",
    "diskquota",
    "diskquotaused",
    "msgquota",
];

fn json(event: &Reference<'_>, data: &[u8]) -> String {
    let mut object = String::from("{");
    for (name, value) in event.parameters() {
        quote(name, &mut object);
        object.push(':');
        match value.parse::<i64>() {
            Ok(number) if NUMBERS.contains(&name) => object.push_str(&number.to_string()),
            _ => quote(value, &mut object),
        }
        object.push(',');
    }
    if !data.is_empty() {
        object.push_str("\"data\":");
        quote(&String::from_utf8_lossy(data), &mut object);
    }
    if object.ends_with(',') {
        object.pop();
    }
    object.push('}');
    object
}

/// A JSON string (RFC 8259 §7).
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_as_text_and_as_json() {
        let reference =
            "enp://h/store/a?evtType=MsgFlags&mailboxName=a/%22b%1B&imapUid=7&oldflags=A%20%20%20%20&pid=x";
        let event = Reference::parse(reference).unwrap();
        assert_eq!(
            text(&event, b"Subject: x\r\n\r\nhi\x07"),
            "MsgFlags mailboxName=\"a/\\\"b\\u{1b}\" imapUid=7 oldflags=\"A    \" pid=x\n| Subject: x\n| \n| hi\\u{7}"
        );
        assert_eq!(
            json(&event, b"\xff\n"),
            "{\"evtType\":\"MsgFlags\",\"mailboxName\":\"a/\\\"b\\u001b\",\"imapUid\":7,\"oldflags\":\"A    \",\
             \"pid\":\"x\",\"data\":\"\u{fffd}\\n\"}"
        );
    }
}
