//! The strings of SEARCH, from the command's charset to UTF-8.

use std::borrow::Cow;

use mail_parser::decoders::charsets::DecoderFnc;
use mail_parser::decoders::charsets::map::charset_decoder;
use thiserror::Error;

/// A charset that the server reads.
#[derive(Clone, Copy)]
pub struct Charset(Kind);

#[derive(Clone, Copy)]
enum Kind {
    Utf8,
    Ascii,
    Other(DecoderFnc),
}

/// Why a string was not decoded.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CharsetError {
    /// Answered `NO [BADCHARSET (…)]` with [`Charset::ADVERTISED`].
    #[error("unknown charset")]
    Unknown,
    /// Answered BAD.
    #[error("string is not valid in the charset of the search")]
    Malformed,
}

impl Charset {
    /// What the server tells a client whose charset it does not know; it reads more than these.
    pub const ADVERTISED: [&'static str; 8] = [
        "UTF-8",
        "US-ASCII",
        "ISO-8859-1",
        "ISO-8859-15",
        "WINDOWS-1252",
        "KOI8-R",
        "ISO-2022-JP",
        "GB18030",
    ];

    /// The charset with this name, in any case; without a name, UTF-8.
    pub fn from_name(name: Option<&str>) -> Result<Self, CharsetError> {
        let Some(name) = name else { return Ok(Charset(Kind::Utf8)) };
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("UTF-8") || is("UTF8") {
            return Ok(Charset(Kind::Utf8));
        }
        if is("US-ASCII") || is("ASCII") {
            return Ok(Charset(Kind::Ascii));
        }
        let decoder = charset_decoder(name.as_bytes()).ok_or(CharsetError::Unknown)?;
        Ok(Charset(Kind::Other(decoder)))
    }

    /// The string in UTF-8; borrowed when it is that already.
    pub fn decode(self, bytes: &[u8]) -> Result<Cow<'_, str>, CharsetError> {
        match self.0 {
            Kind::Ascii if !bytes.is_ascii() => Err(CharsetError::Malformed),
            Kind::Utf8 | Kind::Ascii => {
                std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| CharsetError::Malformed)
            }
            Kind::Other(decoder) => Ok(Cow::Owned(decoder(bytes))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(charset: Option<&str>, bytes: &[u8]) -> Result<String, CharsetError> {
        Charset::from_name(charset)?.decode(bytes).map(Cow::into_owned)
    }

    #[test]
    fn strings_become_utf8() {
        for (charset, bytes, expected) in [
            (None, "\u{e4}".as_bytes(), Ok("\u{e4}")),
            (Some("utf-8"), b"\xe4", Err(CharsetError::Malformed)),
            (Some("US-ASCII"), b"plain", Ok("plain")),
            (Some("us-ascii"), "\u{e4}".as_bytes(), Err(CharsetError::Malformed)),
            (Some("iso-8859-1"), b"\xe4", Ok("\u{e4}")),
            (Some("KOI8-R"), b"\xd0", Ok("\u{43f}")),
            (Some("x-unknown"), b"a", Err(CharsetError::Unknown)),
            (Some(""), b"a", Err(CharsetError::Unknown)),
        ] {
            assert_eq!(decoded(charset, bytes), expected.map(str::to_owned), "{charset:?} {bytes:?}");
        }
    }

    #[test]
    fn what_is_advertised_is_known() {
        for name in Charset::ADVERTISED {
            assert_eq!(decoded(Some(name), b"abc").as_deref(), Ok("abc"), "{name}");
        }
    }
}
