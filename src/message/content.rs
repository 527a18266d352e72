//! The MIME fields that describe a part (RFC 2045): type, parameters, transfer encoding.

use std::borrow::Cow;

use super::lexer::{Lexer, Set};

/// A `Content-Type`, or a default. Parts of the name are as received; compare with [`MediaType::is`].
#[derive(Clone, Debug)]
pub(crate) struct MediaType<'a> {
    pub(crate) kind: &'a [u8],
    pub(crate) subtype: &'a [u8],
    pub(crate) params: Params<'a>,
}

impl<'a> MediaType<'a> {
    /// What a part is that does not say (RFC 2045 §5.2).
    pub(crate) const TEXT: MediaType<'static> =
        MediaType { kind: b"text", subtype: b"plain", params: Params::new(b";charset=us-ascii") };
    /// What a part of a digest is that does not say (RFC 2046 §5.1.5).
    pub(crate) const MESSAGE: MediaType<'static> =
        MediaType { kind: b"message", subtype: b"rfc822", params: Params::new(b"") };
    /// What a part is shown as when its structure goes past a limit.
    pub(crate) const OPAQUE: MediaType<'static> =
        MediaType { kind: b"application", subtype: b"octet-stream", params: Params::new(b"") };

    /// `None` when the value does not have the form `type/subtype`.
    pub(crate) fn parse(value: &'a [u8]) -> Option<Self> {
        let mut lexer = Lexer::new(value);
        lexer.skip_cfws();
        let kind = lexer.run(&TOKEN_ENDS);
        lexer.skip_cfws();
        if !lexer.eat(b'/') {
            return None;
        }
        lexer.skip_cfws();
        let subtype = lexer.run(&TOKEN_ENDS);
        (!kind.is_empty() && !subtype.is_empty()).then_some(Self { kind, subtype, params: Params { lexer } })
    }

    pub(crate) fn is(&self, kind: &str, subtype: &str) -> bool {
        self.is_kind(kind) && self.subtype.eq_ignore_ascii_case(subtype.as_bytes())
    }

    pub(crate) fn is_kind(&self, kind: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind.as_bytes())
    }

    /// A message in a message, whose own structure is shown (RFC 9051 §7.5.2: RFC822 and GLOBAL).
    pub(crate) fn is_message(&self) -> bool {
        self.is("message", "rfc822") || self.is("message", "global")
    }

    pub(crate) fn param(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        self.params
            .clone()
            .find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }
}

/// `; name=value …`, as received: RFC 2231 pieces are neither joined nor decoded, clients do that.
#[derive(Clone, Debug)]
pub(crate) struct Params<'a> {
    lexer: Lexer<'a>,
}

impl<'a> Params<'a> {
    pub(crate) const fn new(value: &'a [u8]) -> Self {
        Self { lexer: Lexer::new(value) }
    }

    /// Splits `token; name=value …`, the form of Content-Disposition.
    pub(crate) fn after_token(value: &'a [u8]) -> (&'a [u8], Self) {
        let mut lexer = Lexer::new(value);
        lexer.skip_cfws();
        (lexer.run(&VALUE_ENDS), Self { lexer })
    }

    /// Moves behind the next semicolon that is in no comment or string.
    fn next_section(&mut self) -> Option<()> {
        loop {
            self.lexer.skip_cfws();
            match self.lexer.peek()? {
                b';' => {
                    self.lexer.bump();
                    return Some(());
                }
                b'"' => drop(self.lexer.quoted()),
                _ => self.lexer.bump(),
            }
        }
    }

    fn value(&mut self) -> Cow<'a, [u8]> {
        self.lexer.skip_cfws();
        match self.lexer.peek() {
            Some(b'"') => self.lexer.quoted(),
            _ => Cow::Borrowed(self.lexer.run(&VALUE_ENDS)),
        }
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = (&'a [u8], Cow<'a, [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.next_section()?;
            self.lexer.skip_cfws();
            let name = self.lexer.run(&NAME_ENDS);
            self.lexer.skip_cfws();
            if !name.is_empty() && self.lexer.eat(b'=') {
                return Some((name, self.value()));
            }
        }
    }
}

/// How a part's body is encoded (RFC 2045 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Encoding {
    /// `7bit`, also when nothing is said.
    #[default]
    SevenBit,
    /// `8bit`
    EightBit,
    /// `binary`
    Binary,
    /// `quoted-printable`
    QuotedPrintable,
    /// `base64`
    Base64,
    /// Any other; its bodies cannot be decoded (RFC 3516 §4.3: `UNKNOWN-CTE`).
    Unknown,
}

impl Encoding {
    /// Whether a body with this encoding is the content itself.
    pub fn is_none(self) -> bool {
        matches!(self, Encoding::SevenBit | Encoding::EightBit | Encoding::Binary)
    }

    /// Reads a Content-Transfer-Encoding value.
    pub(crate) fn parse(value: &[u8]) -> Self {
        let name = encoding_name(value);
        let known = [
            ("", Self::SevenBit),
            ("7bit", Self::SevenBit),
            ("8bit", Self::EightBit),
            ("binary", Self::Binary),
            ("quoted-printable", Self::QuotedPrintable),
            ("base64", Self::Base64),
        ];
        let found = known.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
        found.map_or(Self::Unknown, |&(_, encoding)| encoding)
    }
}

/// The encoding's name as received, without comments and what else follows it.
pub(crate) fn encoding_name(value: &[u8]) -> &[u8] {
    Params::after_token(value).0
}

static TOKEN_ENDS: Set = Set::new(b" \t\r\n/;(\"");
static NAME_ENDS: Set = Set::new(b" \t\r\n=;(\"");
static VALUE_ENDS: Set = Set::new(b" \t\r\n;(");

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &str) -> String {
        let Some(media) = MediaType::parse(value.as_bytes()) else { return "none".into() };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut shown = format!("{}/{}", text(media.kind), text(media.subtype));
        for (name, value) in media.params {
            shown += &format!(" {}=[{}]", text(name), text(&value));
        }
        shown
    }

    #[test]
    fn types_and_parameters_are_read_as_received() {
        for (value, expected) in [
            (" text/plain", "text/plain"),
            ("Text / (c) HTML ; Charset=\"UTF-8\" (really)", "Text/HTML Charset=[UTF-8]"),
            ("multipart/mixed;\r\n\tboundary=\"a;b\r\n c\"", "multipart/mixed boundary=[a;b c]"),
            ("a/b; name*0*=utf-8''x%20; name*1=y; ;; z", "a/b name*0*=[utf-8''x%20] name*1=[y]"),
            ("a/b; x=\"\"; \"q;q\"=1; y=2", "a/b x=[] y=[2]"),
            ("a/b x=1; y=2", "a/b y=[2]"),
            ("text", "none"),
            ("/plain", "none"),
            ("text/; charset=x", "none"),
            ("", "none"),
            ("a/b; n=\"open", "a/b n=[open]"),
        ] {
            assert_eq!(shown(value), expected, "{value}");
        }
    }

    #[test]
    fn encodings_ignore_case_and_trailers() {
        for (value, expected) in [
            (" BASE64 ", Encoding::Base64),
            ("Quoted-Printable; x", Encoding::QuotedPrintable),
            ("(c) 8bit (d)", Encoding::EightBit),
            ("", Encoding::SevenBit),
            ("x-uuencode", Encoding::Unknown),
        ] {
            assert_eq!(Encoding::parse(value.as_bytes()), expected, "{value}");
        }
    }
}
