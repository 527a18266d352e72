//! The file `config/msg.conf`, line by line: what was not changed is written back as it was.
//!
//! ```text
//! # a comment
//! service.imap.port = 1143
//! service.imap.banner = "  kept with its blanks  "
//! ```

use thiserror::Error;

/// Largest file, in bytes: every option many times over.
pub const MAX_CONFIG_FILE: u64 = 1024 * 1024;

/// The lines of a configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MsgConf {
    lines: Vec<Line>,
}

/// A line that sets an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub name: String,
    pub value: String,
    /// Counted from 1.
    pub line: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    /// Blank or a comment.
    Other(String),
    Set {
        text: String,
        name: String,
        value: String,
    },
}

/// A line that cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SyntaxError {
    #[error("line {0}: there is no `=`: write `option = value`, or put `#` before a comment")]
    NoEquals(usize),
    #[error("line {0}: there is no option name before the `=`")]
    NoName(usize),
    #[error("line {0}: the quotation mark is not closed")]
    OpenQuote(usize),
    #[error("line {0}: the text is not valid UTF-8")]
    NotUtf8(usize),
}

impl MsgConf {
    /// Reads the text of a file. Names and values are not checked here.
    ///
    /// # Errors
    /// The first line that cannot be read.
    pub fn parse(bytes: &[u8]) -> Result<Self, SyntaxError> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = &bytes[..error.valid_up_to()];
            SyntaxError::NotUtf8(1 + before.iter().filter(|byte| **byte == b'\n').count())
        })?;
        let lines = text.lines().enumerate().map(|(index, line)| parse_line(line, index + 1));
        Ok(MsgConf { lines: lines.collect::<Result<_, _>>()? })
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            text.push_str(match line {
                Line::Other(line) | Line::Set { text: line, .. } => line,
            });
            text.push('\n');
        }
        text
    }

    /// What the file sets, in its order.
    pub fn assignments(&self) -> impl Iterator<Item = Assignment> {
        self.lines.iter().enumerate().filter_map(|(index, line)| match line {
            Line::Set { name, value, .. } => {
                Some(Assignment { name: name.clone(), value: value.clone(), line: index + 1 })
            }
            Line::Other(_) => None,
        })
    }

    /// The value that the file gives to an option; the last one counts.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.lines.iter().rev().find_map(|line| match line {
            Line::Set { name: set, value, .. } if set.eq_ignore_ascii_case(name) => Some(value.as_str()),
            _ => None,
        })
    }

    /// Sets an option where it was set first, or at the end.
    pub fn set(&mut self, name: &str, value: &str) {
        let text = format!("{name} = {}", quoted(value));
        let line = Line::Set { text, name: name.into(), value: value.into() };
        let place = self.lines.iter().position(|line| sets(line, name));
        self.remove(name);
        match place {
            Some(place) => self.lines.insert(place, line),
            None => self.lines.push(line),
        }
    }

    /// Removes every line that sets an option; says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.lines.len();
        self.lines.retain(|line| !sets(line, name));
        self.lines.len() < before
    }

    /// Appends a comment, one line per line of the text, after an empty line.
    pub fn comment(&mut self, text: &str) {
        if !self.lines.is_empty() {
            self.lines.push(Line::Other(String::new()));
        }
        self.lines.extend(text.lines().map(|line| Line::Other(format!("# {line}"))));
    }
}

fn sets(line: &Line, option: &str) -> bool {
    matches!(line, Line::Set { name, .. } if name.eq_ignore_ascii_case(option))
}

fn parse_line(line: &str, number: usize) -> Result<Line, SyntaxError> {
    let trimmed = line.trim();
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return Ok(Line::Other(line.into()));
    }
    let (name, value) = trimmed.split_once('=').ok_or(SyntaxError::NoEquals(number))?;
    let name = name.trim_end();
    if name.is_empty() {
        return Err(SyntaxError::NoName(number));
    }
    let value = unquoted(value.trim_start()).ok_or(SyntaxError::OpenQuote(number))?;
    Ok(Line::Set { text: line.into(), name: name.into(), value })
}

/// A value as it is written: in quotation marks where blanks at its ends, or marks in it, would be lost.
fn quoted(value: &str) -> String {
    if value.trim() == value && !value.starts_with('"') {
        return value.into();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn unquoted(text: &str) -> Option<String> {
    let Some(rest) = text.strip_prefix('"') else { return Some(text.into()) };
    let mut value = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '\\' => value.push(chars.next()?),
            '"' => return chars.as_str().trim().is_empty().then_some(value),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# The plain port\n\nservice.imap.port=1143\n  # indented\nstore.admins = ada\n";

    fn file() -> MsgConf {
        MsgConf::parse(FILE.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_not_changed_stays_as_it_was() {
        assert_eq!(file().to_text(), FILE);
        let mut conf = file();
        conf.set("service.imap.port", "143");
        conf.set("service.imap.maxsessions", "10");
        assert_eq!(
            conf.to_text(),
            "# The plain port\n\nservice.imap.port = 143\n  # indented\nstore.admins = ada\n\
             service.imap.maxsessions = 10\n"
        );
    }

    #[test]
    fn removing_keeps_the_comments() {
        let mut conf = file();
        assert!(conf.remove("SERVICE.imap.port"));
        assert!(!conf.remove("service.imap.port"));
        assert_eq!(conf.to_text(), "# The plain port\n\n  # indented\nstore.admins = ada\n");
    }

    #[test]
    fn setting_heals_an_option_that_is_set_twice() {
        let mut conf = MsgConf::parse(b"a = 1\nb = 2\nA = 3\n").unwrap();
        assert_eq!(conf.value("a"), Some("3"));
        conf.set("a", "4");
        assert_eq!(conf.to_text(), "a = 4\nb = 2\n");
    }

    #[test]
    fn values_survive_the_file() {
        for value in
            ["", "x", " x ", "a = b", "# no comment", "\"", "\"quoted\"", "back\\slash", " \\\" ", "ü"]
        {
            let mut conf = MsgConf::default();
            conf.set("service.imap.banner", value);
            let read = MsgConf::parse(conf.to_text().as_bytes()).unwrap();
            assert_eq!(read.value("service.imap.banner"), Some(value), "{}", conf.to_text());
        }
    }

    #[test]
    fn damage_is_named_with_its_line() {
        for (text, error) in [
            (&b"a = 1\nwhat is this\n"[..], SyntaxError::NoEquals(2)),
            (b"\n\n = 1\n", SyntaxError::NoName(3)),
            (b"a = \"open\n", SyntaxError::OpenQuote(1)),
            (b"a = \"one\" two\n", SyntaxError::OpenQuote(1)),
            (b"a = 1\nb = \xff\n", SyntaxError::NotUtf8(2)),
        ] {
            assert_eq!(MsgConf::parse(text), Err(error));
        }
    }
}
