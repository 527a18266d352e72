//! The readable text of HTML, well enough for a preview.

use memchr::{memchr2, memmem};

/// Appends the text of `html` to `out` until `enough` visible characters are written. Tags separate words; styles,
/// scripts, the head and comments are left out.
pub(crate) fn text(html: &str, enough: usize, out: &mut String) {
    let mut rest = html;
    let mut written = 0;
    while written < enough && !rest.is_empty() {
        let length = memchr2(b'<', b'&', rest.as_bytes()).unwrap_or(rest.len());
        let (plain, tail) = rest.split_at(length);
        written += push(plain, out);
        let (character, tail) = match tail.as_bytes() {
            [] => return,
            [b'&', ..] => entity(tail),
            [_, next, ..] if next.is_ascii_alphabetic() || b"/!?".contains(next) => (' ', after_tag(tail)),
            _ => ('<', &tail[1..]),
        };
        written += push(character.encode_utf8(&mut [0; 4]), out);
        rest = tail;
    }
}

/// Appends text; returns how many characters of it can be seen.
fn push(text: &str, out: &mut String) -> usize {
    out.push_str(text);
    text.split_whitespace().map(|word| word.chars().count()).sum()
}

/// What follows the tag, comment or hidden element that starts here.
fn after_tag(html: &str) -> &str {
    if let Some(comment) = html.strip_prefix("<!--") {
        return after(comment, "-->");
    }
    let name_length = html[1..].bytes().take_while(u8::is_ascii_alphanumeric).count();
    let name = &html[1..=name_length];
    let rest = after(html, ">");
    let hidden = ["style", "script", "head", "title"].iter().find(|hidden| name.eq_ignore_ascii_case(hidden));
    hidden.map_or(rest, |hidden| after_end_tag(rest, hidden))
}

fn after<'a>(text: &'a str, mark: &str) -> &'a str {
    let at = memmem::find(text.as_bytes(), mark.as_bytes());
    at.and_then(|at| text.get(at + mark.len()..)).unwrap_or_default()
}

/// What follows `</name>`; all of it once, whatever other end tags there are.
fn after_end_tag<'a>(html: &'a str, name: &str) -> &'a str {
    let end_tag = memmem::Finder::new("</");
    let mut rest = html;
    while let Some(at) = end_tag.find(rest.as_bytes()) {
        rest = &rest[at + 2..];
        if rest.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)) {
            return after(rest, ">");
        }
    }
    ""
}

/// The character of an entity that starts here, and what follows it; `&` itself when it is none.
fn entity(html: &str) -> (char, &str) {
    const LONGEST: usize = 12;
    let end = html.bytes().take(LONGEST).position(|byte| byte == b';');
    let found = end.and_then(|end| Some((named(html.get(1..end)?)?, html.get(end + 1..)?)));
    found.unwrap_or(('&', html.get(1..).unwrap_or_default()))
}

fn named(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let hexadecimal = number.strip_prefix(['x', 'X']);
        let code = hexadecimal.map_or_else(|| number.parse(), |digits| u32::from_str_radix(digits, 16));
        return char::from_u32(code.ok()?).filter(|character| *character != '\0');
    }
    ENTITIES.iter().find(|(known, _)| *known == name).map(|&(_, character)| character)
}

/// Those that mail is full of.
const ENTITIES: [(&str, char); 31] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("zwnj", '\u{200c}'),
    ("zwj", '\u{200d}'),
    ("shy", '\u{ad}'),
    ("ndash", '–'),
    ("mdash", '—'),
    ("hellip", '…'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("laquo", '«'),
    ("raquo", '»'),
    ("bull", '•'),
    ("middot", '·'),
    ("euro", '€'),
    ("copy", '©'),
    ("reg", '®'),
    ("trade", '™'),
    ("auml", 'ä'),
    ("ouml", 'ö'),
    ("uuml", 'ü'),
    ("szlig", 'ß'),
    ("eacute", 'é'),
    ("egrave", 'è'),
    ("agrave", 'à'),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(html: &str) -> String {
        let mut out = String::new();
        text(html, 100, &mut out);
        out.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn markup_goes_and_words_stay() {
        for (html, expected) in [
            ("<p>One<br>two</p>three", "One two three"),
            ("<head><title>t</title></head><STYLE>p{}</x></Style >text", "text"),
            ("<!-- a > b -->x<script>1 < 2</script>y", "x y"),
            ("1 < 2 &amp; 3 &gt; 2 &#233;&#xE9; &bogus; & x", "1 < 2 & 3 > 2 éé &bogus; & x"),
            ("<a href='x", ""),
            ("open <style>never closed", "open"),
            ("&#0;&#x110000;", "&#0;&#x110000;"),
        ] {
            assert_eq!(shown(html), expected, "{html}");
        }
    }
}
