//! Tables of commands: what they mean, and how what is wrong with them is told.

mod commands;
mod fetch;
mod hostile;
mod oracle;
mod search;
mod sort;

use super::*;
use crate::imap::types::SequenceSet;

/// The body of a command that must parse; the tag is `a`.
fn parsed(command: &str) -> CommandBody<'_> {
    parsed_in(command, Dialect::REV1)
}

fn parsed_in(command: &str, dialect: Dialect) -> CommandBody<'_> {
    match body_of(command.as_bytes(), dialect) {
        Ok(body) => body,
        Err(error) => panic!("{command}: {error}"),
    }
}

fn body_of(command: &[u8], dialect: Dialect) -> Result<CommandBody<'_>, ParseError<'_>> {
    parse_command(command, dialect).map(|command| command.body)
}

/// What is wrong with a command.
fn error(command: &str) -> String {
    match parse_command(command.as_bytes(), Dialect::REV1) {
        Ok(command) => panic!("parsed: {command:?}"),
        Err(error) => error.to_string(),
    }
}

fn set(text: &str) -> SequenceSet {
    match SequenceSet::parse(text.as_bytes()) {
        Some(set) => set,
        None => panic!("no set: {text}"),
    }
}
