//! Results, as lines for people or as JSON.

use std::fmt::Write;

/// How results are written.
#[derive(Clone, Copy)]
pub struct Out {
    pub json: bool,
}

/// One result: names and values, in order.
pub struct Row {
    out: Out,
    line: String,
}

impl Out {
    /// Begins a result; `what` names the measurement.
    pub fn row(self, what: &str) -> Row {
        let line = if self.json { format!("{{\"what\":\"{what}\"") } else { format!("{what:10}") };
        Row { out: self, line }
    }
}

impl Row {
    /// Adds a number; whole ones without a fraction.
    pub fn number(mut self, name: &str, value: f64) -> Row {
        let value = if value.is_finite() { value } else { 0.0 };
        let digits = if value.fract() == 0.0 { 0 } else { 3 };
        let _ = match self.out.json {
            true => write!(self.line, ",\"{name}\":{value:.digits$}"),
            false => write!(self.line, " {name}={value:.digits$}"),
        };
        self
    }

    /// Adds a number when there is one.
    pub fn maybe(self, name: &str, value: Option<f64>) -> Row {
        match value {
            Some(value) => self.number(name, value),
            None => self,
        }
    }

    /// Adds a word; it must need no escaping.
    pub fn word(mut self, name: &str, value: &str) -> Row {
        let _ = match self.out.json {
            true => write!(self.line, ",\"{name}\":\"{value}\""),
            false => write!(self.line, " {value:24}"),
        };
        self
    }

    /// Writes the line.
    pub fn print(self) {
        println!("{}{}", self.line, if self.out.json { "}" } else { "" });
    }
}
