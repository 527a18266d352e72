//! PREVIEW (RFC 8970): the first words of a message.

use std::borrow::Cow;

use super::{
    charset,
    content::{Encoding, Params},
    html,
    limits::{MAX_PREVIEW_CHARS, MAX_PREVIEW_INPUT},
    octets,
    parts::{Kind, Part},
    scan::{Described, Scan},
    transfer::decode_transfer,
};

/// Octets of plain text that are read: enough for the longest preview in any charset and encoding.
const PLAIN_INPUT: usize = 4096;
/// Octets that are read first: most texts fill a preview with them.
const PLAIN_START: usize = 512;
const HTML_START: usize = 4096;
/// The control that is not below the space.
const DELETE: u8 = 0x7f;

/// Appends the text of the first plain part that is no attachment, else of the first HTML part; white space is
/// folded. Messages inside are not looked at. That may leave nothing.
pub(crate) fn preview<'a>(raw: &'a [u8], scan: &Scan<'a>, out: &mut Vec<u8>) {
    let mut shows = |text: Option<Text<'_, '_>>| text.is_some_and(|text| text.preview(out).is_some());
    let [plain, html] = readable_parts(raw, scan);
    let _ = shows(plain) || shows(html);
}

struct Text<'a, 's> {
    described: &'s Described<'a>,
    encoding: Encoding,
    body: &'a [u8],
    html: bool,
}

/// The first plain and the first HTML part of the message itself.
fn readable_parts<'a, 's>(raw: &'a [u8], scan: &'s Scan<'a>) -> [Option<Text<'a, 's>>; 2] {
    let mut found = [None, None];
    let mut inside_message = None;
    for (part, described) in scan.parts.iter().zip(&scan.described) {
        if inside_message.is_some_and(|depth| part.depth > depth) {
            continue;
        }
        inside_message = (part.kind == Kind::Message).then_some(part.depth);
        if part.kind == Kind::Text
            && let Some(text) = Text::of(raw, part, described)
        {
            found[usize::from(text.html)].get_or_insert(text);
        }
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found
}

impl<'a, 's> Text<'a, 's> {
    fn of(raw: &'a [u8], part: &Part, described: &'s Described<'a>) -> Option<Self> {
        let body = raw.get(part.body as usize..part.end as usize)?;
        let media = &described.media;
        let html = media.is("text", "html");
        // Calendars and tables are no text to read. A multipart without parts is.
        let readable = html || media.is("text", "plain") || !media.is_kind("text");
        let text = Self { described, encoding: part.encoding, body, html };
        (readable && !is_attachment(described)).then_some(text)
    }

    /// Appends the preview; `None` when there is none.
    fn preview(&self, out: &mut Vec<u8>) -> Option<()> {
        let charset = self.described.media.param("charset");
        let charset = charset.as_deref();
        let (start, limit) =
            if self.html { (HTML_START, MAX_PREVIEW_INPUT) } else { (PLAIN_START, PLAIN_INPUT) };
        let mut starts = std::iter::successors(Some(start), |size| Some(size * 4))
            .take_while(|&size| size < limit.min(self.body.len()));
        let filled = starts.find_map(|size| self.if_start_fills(size, charset, out));
        filled.or_else(|| self.of_all(limit, charset, out))
    }

    /// The preview, if the first octets fill it whatever follows. HTML is cut before a tag, since what else stands at
    /// the end might read differently with more behind it.
    fn if_start_fills(&self, size: usize, charset: Option<&[u8]>, out: &mut Vec<u8>) -> Option<()> {
        let start = &self.body[..size];
        let start = match self.encoding {
            Encoding::QuotedPrintable => &start[..memchr::memrchr(b'\n', start)? + 1],
            _ => start,
        };
        let decoded = self.decoded(start)?;
        let text = charset::certain_start(charset, &decoded);
        let folded = self.folded(if self.html { &text[..text.rfind('<')?] } else { text }, out);
        let (is_full, start) = (folded.is_full(), folded.start);
        folded.finish();
        if !is_full {
            out.truncate(start);
        }
        is_full.then_some(())
    }

    fn of_all(&self, limit: usize, charset: Option<&[u8]>, out: &mut Vec<u8>) -> Option<()> {
        let cut = self.body.len() > limit;
        let decoded = self.decoded(&self.body[..self.body.len().min(limit)])?;
        let text = charset::decode(charset, &decoded);
        // A character that was cut in two is no text.
        let text = if cut { text.trim_end_matches('\u{fffd}') } else { &text };
        self.folded(text, out).finish()
    }

    /// Without the transfer encoding. What is decoded of a start, of whole lines if it is quoted-printable, is the
    /// start of what is decoded of all.
    fn decoded(&self, bytes: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        match self.encoding {
            Encoding::SevenBit | Encoding::EightBit | Encoding::Binary => Some(Cow::Borrowed(bytes)),
            encoding => {
                let mut decoded = Vec::new();
                decode_transfer(encoding, bytes, &mut decoded).ok()?;
                Some(Cow::Owned(decoded))
            }
        }
    }

    fn folded<'o>(&self, text: &str, out: &'o mut Vec<u8>) -> Folded<'o> {
        let mut folded = Folded::new(out);
        if self.html {
            let mut plain = String::new();
            html::text(text, MAX_PREVIEW_CHARS, &mut plain);
            folded.push(&plain);
        } else {
            folded.push(text);
        }
        folded
    }
}

fn is_attachment(described: &Described<'_>) -> bool {
    let kind = described.disposition.map(|value| Params::after_token(value).0);
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(b"attachment"))
}

/// The first characters of a text, with one space where there was white space, control or invisible padding.
struct Folded<'o> {
    /// The text stands in it from `start` on.
    out: &'o mut Vec<u8>,
    start: usize,
    count: usize,
    /// The last character is a space, or there is none.
    spaced: bool,
}

impl<'o> Folded<'o> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        Self { start: out.len(), out, count: 0, spaced: true }
    }

    /// Takes text up to the last character that has room.
    fn push(&mut self, text: &str) {
        let mut rest = text;
        loop {
            let (plain, tail) = rest.split_at(self.plain_length(rest));
            self.out.extend_from_slice(plain.as_bytes());
            self.count += plain.len();
            self.spaced = plain.as_bytes().last().map_or(self.spaced, |&byte| byte == b' ');
            let Some(character) = tail.chars().next().filter(|_| !self.is_full()) else { return };
            self.push_character(character);
            rest = &tail[character.len_utf8()..];
        }
    }

    /// The length of a start that can be taken as it stands: ASCII without controls and without a second space.
    /// Maybe not of the longest; characters help over its end.
    fn plain_length(&self, text: &str) -> usize {
        let room = MAX_PREVIEW_CHARS - self.count;
        let (words, _) = text.as_bytes()[..room.min(text.len())].as_chunks();
        let mut spaced = u64::from(self.spaced) << 7;
        for (at, &word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(word);
            let spaces = octets::equal(word, b' ');
            let second = spaces & (spaces << 8 | spaced);
            let marks = octets::controls_and_8bit(word) | octets::equal(word, DELETE) | second;
            if marks != 0 {
                return at * 8 + octets::lowest(marks);
            }
            spaced = spaces >> 56;
        }
        words.len() * 8
    }

    fn push_character(&mut self, character: char) {
        let space = character.is_whitespace() || character.is_control();
        if (space && self.spaced) || is_invisible(character) {
            return;
        }
        let shown = if space { ' ' } else { character };
        self.out.extend_from_slice(shown.encode_utf8(&mut [0; 4]).as_bytes());
        self.count += 1;
        self.spaced = space;
    }

    fn is_full(&self) -> bool {
        self.count == MAX_PREVIEW_CHARS
    }

    /// Drops the space at the end; `None` when there is nothing else.
    fn finish(self) -> Option<()> {
        if self.spaced && self.out.len() > self.start {
            self.out.pop();
        }
        (self.out.len() > self.start).then_some(())
    }
}

/// What newsletters pad their first lines with.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{34f}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use crate::message::{analyze, limits::MAX_PREVIEW_CHARS};

    fn preview(raw: &str) -> Option<String> {
        analyze(raw.as_bytes()).preview().map(str::to_owned)
    }

    #[test]
    fn plain_text_is_decoded_and_folded() {
        let raw = "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\
            \r\n\r\n  Caf=E9 \r\n\r\n\tat  noon=\r\n tide\r\n";
        assert_eq!(preview(raw).as_deref(), Some("Café at noon tide"));
    }

    #[test]
    fn length_is_counted_in_characters() {
        for start in ["", "x"] {
            let text = preview(&format!("\r\n{start}{}", "é".repeat(5000))).unwrap();
            assert_eq!(text, format!("{start}{}", "é".repeat(MAX_PREVIEW_CHARS - start.len())));
        }
    }

    #[test]
    fn long_texts_begin_like_short_ones() {
        let lines = "Zwölf Boxkämpfer  jagen\r\n".repeat(500);
        let latin: Vec<u8> = lines.chars().map(|character| character as u8).collect();
        let quoted = "Zw=C3=\r\n=B6lf Boxk=C3=A4mpfer  ja=\r\ngen \r\n".repeat(300);
        let base64 = "WndvbGYgQm94a8OkbXBmZXIgIGphZ2Vu\r\n Cg==".repeat(300);
        let expected: String = "Zwölf Boxkämpfer jagen ".chars().cycle().take(MAX_PREVIEW_CHARS).collect();
        for (field, body) in [
            ("Subject: s", lines.as_bytes()),
            ("Subject: s", &latin),
            ("Content-Type: text/plain; charset=UTF-8", lines.as_bytes()),
            ("Content-Type: text/plain; charset=iso-8859-1", &latin),
            ("Content-Transfer-Encoding: quoted-printable", quoted.as_bytes()),
            ("Content-Transfer-Encoding: base64", base64.as_bytes()),
        ] {
            let raw = [field.as_bytes(), b"\r\n\r\n", body].concat();
            let shown = analyze(&raw).preview().map(|text| text.replace("Zwolf", "Zwölf"));
            assert_eq!(shown.as_deref(), Some(expected.trim_end()), "{field}");
        }
    }

    #[test]
    fn long_html_begins_like_short_html() {
        let words = "Q&amp;A <b>one</b> ";
        let expected: String = "Q&A one ".chars().cycle().take(MAX_PREVIEW_CHARS).collect();
        for style in [0, 10, 4070, 4080, 4090, 16_000, 40_000] {
            let html = format!("<style>{}</style>{}", "x".repeat(style), words.repeat(4000));
            let shown = preview(&format!("Content-Type: text/html\r\n\r\n{html}"));
            assert_eq!(shown.as_deref(), Some(expected.trim_end()), "{style}");
        }
    }

    #[test]
    fn plain_goes_before_html_and_attachments_do_not_count() {
        let part = |head: &str, text: &str| format!("--b\r\n{head}\r\n\r\n{text}\r\n");
        let html = part("Content-Type: text/html", "<p>from&nbsp;<b>html</b>");
        let attached = part("Content-Disposition: attachment; filename=a.txt", "attached");
        let plain = part("Content-Type: text/plain", "from plain");
        let whole =
            |parts: &[&str]| format!("Content-Type: multipart/x; boundary=b\r\n\r\n{}", parts.concat());
        assert_eq!(preview(&whole(&[&html, &attached, &plain])).as_deref(), Some("from plain"));
        assert_eq!(preview(&whole(&[&attached, &html])).as_deref(), Some("from html"));
        assert_eq!(preview(&whole(&[&attached])), None);
        assert_eq!(preview(&whole(&[&part("Content-Type: text/calendar", "BEGIN:VCALENDAR")])), None);
    }

    #[test]
    fn messages_inside_are_not_looked_at() {
        assert_eq!(preview("Content-Type: message/rfc822\r\n\r\nSubject: s\r\n\r\nhidden"), None);
        assert_eq!(preview(""), None);
    }
}
