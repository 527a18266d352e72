//! PREVIEW (RFC 8970): the first words of a message.

use super::{
    content::Params,
    header::fields,
    html,
    limits::{MAX_PREVIEW_CHARS, MAX_PREVIEW_INPUT},
    parts::{Kind, Part, Parts},
    scan::media_type,
    search::text_of,
};

/// Octets of plain text that are read: enough for the longest preview in any charset and encoding.
const PLAIN_INPUT: usize = 4096;

/// The text of the first plain part that is no attachment, else of the first HTML part; white space is
/// folded. Messages inside are not looked at. `None` when that leaves nothing.
pub(crate) fn preview(raw: &[u8], parts: &Parts) -> Option<String> {
    let texts = readable_parts(raw, parts);
    let plain = texts.iter().find(|text| !text.html);
    let html = texts.iter().find(|text| text.html);
    plain.and_then(Text::preview).or_else(|| html.and_then(Text::preview))
}

struct Text<'a> {
    part: &'a Part,
    header: &'a [u8],
    body: &'a [u8],
    html: bool,
}

/// The first plain and the first HTML part of the message itself.
fn readable_parts<'a>(raw: &'a [u8], parts: &'a Parts) -> Vec<Text<'a>> {
    let mut found: Vec<Text<'_>> = Vec::new();
    let mut inside_message = None;
    for part in parts.iter() {
        if inside_message.is_some_and(|depth| part.depth > depth) {
            continue;
        }
        inside_message = (part.kind == Kind::Message).then_some(part.depth);
        if part.kind == Kind::Text
            && let Some(text) = Text::of(raw, part)
            && found.iter().all(|known| known.html != text.html)
        {
            found.push(text);
        }
        if found.len() == 2 {
            break;
        }
    }
    found
}

impl<'a> Text<'a> {
    fn of(raw: &'a [u8], part: &'a Part) -> Option<Self> {
        let header = raw.get(part.header as usize..part.body as usize)?;
        let body = raw.get(part.body as usize..part.end as usize)?;
        let media = media_type(header, false);
        let html = media.is("text", "html");
        // Calendars and tables are no text to read. A multipart without parts is.
        let readable = html || media.is("text", "plain") || !media.is_kind("text");
        (readable && !is_attachment(header)).then_some(Self { part, header, body, html })
    }

    fn preview(&self) -> Option<String> {
        let limit = if self.html { MAX_PREVIEW_INPUT } else { PLAIN_INPUT };
        let cut = self.body.len() > limit;
        let text = text_of(self.header, &self.body[..self.body.len().min(limit)], self.part.encoding)?;
        // A character that was cut in two is no text.
        let text = if cut { text.trim_end_matches('\u{fffd}') } else { &text };
        let folded = if self.html {
            let mut plain = String::new();
            html::text(text, MAX_PREVIEW_CHARS, &mut plain);
            fold_space(&plain)
        } else {
            fold_space(text)
        };
        (!folded.is_empty()).then_some(folded)
    }
}

fn is_attachment(header: &[u8]) -> bool {
    let disposition = fields(header).find(|field| field.is(b"content-disposition"));
    disposition.is_some_and(|field| Params::after_token(field.value).0.eq_ignore_ascii_case(b"attachment"))
}

/// The first characters of `text`, with one space where there was white space, control or invisible padding.
fn fold_space(text: &str) -> String {
    let mut folded = String::new();
    let mut count = 0;
    for character in text.chars().filter(|&character| !is_invisible(character)) {
        if count == MAX_PREVIEW_CHARS {
            break;
        }
        let space = character.is_whitespace() || character.is_control();
        if space && (folded.is_empty() || folded.ends_with(' ')) {
            continue;
        }
        folded.push(if space { ' ' } else { character });
        count += 1;
    }
    folded.truncate(folded.trim_end().len());
    folded
}

/// What newsletters pad their first lines with.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{34f}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use crate::message::{analyze, limits::MAX_PREVIEW_CHARS};

    fn preview(raw: &str) -> Option<String> {
        analyze(raw.as_bytes()).preview
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
