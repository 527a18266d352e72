//! The character classes of RFC 9051 §9, one table for parsing, checking and writing.

/// A set of classes; a byte is tested against one or several.
#[derive(Clone, Copy)]
pub(super) struct Class(u8);

impl Class {
    /// ATOM-CHAR
    pub const ATOM: Class = Class(1);
    /// ASTRING-CHAR: ATOM-CHAR and `]`
    pub const ASTRING: Class = Class(2);
    /// list-char: ASTRING-CHAR, `%` and `*`
    pub const LIST: Class = Class(4);
    /// tag: ASTRING-CHAR without `+`
    pub const TAG: Class = Class(8);
    /// Stands for itself in a quoted string. 8-bit bytes do: IMAP4rev2 allows UTF-8, and rev1 clients send it.
    pub const QUOTED: Class = Class(16);
    /// Letters, digits, `.` and `-`: names of commands, items and options
    pub const WORD: Class = Class(32);

    pub fn has(self, byte: u8) -> bool {
        CLASSES[usize::from(byte)] & self.0 != 0
    }

    pub fn has_all(self, bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| self.has(*byte))
    }

    /// How many bytes at the start of `bytes` are of the class.
    pub fn span(self, bytes: &[u8]) -> usize {
        bytes.iter().position(|byte| !self.has(*byte)).unwrap_or(bytes.len())
    }
}

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = classes_of(byte as u8);
        byte += 1;
    }
    table
}

const fn classes_of(byte: u8) -> u8 {
    let mut classes = 0;
    if byte > b' ' && byte < 0x7f && !matches!(byte, b'(' | b')' | b'{' | b'"' | b'\\') {
        classes |= match byte {
            b'%' | b'*' => Class::LIST.0,
            b']' => Class::LIST.0 | Class::ASTRING.0 | Class::TAG.0,
            b'+' => Class::LIST.0 | Class::ASTRING.0 | Class::ATOM.0,
            _ => Class::LIST.0 | Class::ASTRING.0 | Class::ATOM.0 | Class::TAG.0,
        };
    }
    if !matches!(byte, 0 | b'\r' | b'\n' | b'"' | b'\\') {
        classes |= Class::QUOTED.0;
    }
    if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-') {
        classes |= Class::WORD.0;
    }
    classes
}
