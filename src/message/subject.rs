//! Base subjects (RFC 5256 §2.1): what is left of a subject without the marks of replies, forwards and lists.

use std::borrow::Cow;

use memchr::memchr2;

use super::needle::fold_into;
use super::words::decode_words;

/// Appends the base subject of a subject, unfolded as in ENVELOPE, in the form in which texts are compared. Returns
/// whether the message is a reply or forward: whether a `Re:`, `Fwd:`, `(fwd)` or `[fwd: …]` was taken off.
/// Linear in the subject's length.
pub fn base_subject(subject: &[u8], folded: &mut String) -> bool {
    let decoded = decode_words(subject);
    let spaced = single_spaced(&decoded);
    let mut base = Base { text: &spaced, is_reply: false };
    base.strip();
    fold_into(base.text, folded);
    base.is_reply
}

/// Step 1: tabs become spaces, runs of spaces one space.
fn single_spaced(text: &str) -> Cow<'_, str> {
    if !text.contains('\t') && !text.contains("  ") {
        return Cow::Borrowed(text);
    }
    let mut spaced = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            ' ' | '\t' if spaced.ends_with(' ') => {}
            ' ' | '\t' => spaced.push(' '),
            other => spaced.push(other),
        }
    }
    Cow::Owned(spaced)
}

struct Base<'a> {
    text: &'a str,
    is_reply: bool,
}

impl Base<'_> {
    /// Steps 2 to 6.
    fn strip(&mut self) {
        loop {
            self.strip_trailers();
            self.strip_leaders();
            let Some(forwarded) = forwarded(self.text) else { return };
            self.text = forwarded;
            self.is_reply = true;
        }
    }

    fn strip_trailers(&mut self) {
        loop {
            self.text = self.text.trim_end_matches(' ');
            let Some(rest) = without_suffix(self.text, "(fwd)") else { return };
            self.text = rest;
            self.is_reply = true;
        }
    }

    /// Steps 3 to 5. Blobs that no `Re:` follows are taken off one after the other, and none of those that are left is
    /// followed by one either: a single look at the whole run of them is enough.
    fn strip_leaders(&mut self) {
        loop {
            self.text = self.text.trim_start_matches(' ');
            let (last_blob, rest) = skip_blobs(self.text);
            match without_reply_mark(rest) {
                Some(rest) => {
                    self.text = rest;
                    self.is_reply = true;
                }
                None => {
                    self.text = if rest.is_empty() { last_blob } else { rest };
                    return;
                }
            }
        }
    }
}

/// The text from its last leading blob on, and what comes after that.
fn skip_blobs(text: &str) -> (&str, &str) {
    let (mut last, mut rest) = (text, text);
    while let Some(after) = without_blob(rest) {
        (last, rest) = (rest, after);
    }
    (last, rest)
}

/// `subj-blob = "[" *BLOBCHAR "]" *WSP`
fn without_blob(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?;
    let end = memchr2(b'[', b']', inner.as_bytes())?;
    Some(inner[end..].strip_prefix(']')?.trim_start_matches(' '))
}

/// `subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"`
fn without_reply_mark(text: &str) -> Option<&str> {
    let rest = ["re", "fwd", "fw"].into_iter().find_map(|mark| without_prefix(text, mark))?;
    let rest = rest.trim_start_matches(' ');
    without_blob(rest).unwrap_or(rest).strip_prefix(':')
}

/// What `[fwd: …]` holds.
fn forwarded(text: &str) -> Option<&str> {
    without_prefix(text, "[fwd:")?.strip_suffix(']')
}

fn without_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn without_suffix<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let (rest, end) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(subject: &str) -> (String, bool) {
        let mut folded = String::new();
        let is_reply = base_subject(subject.as_bytes(), &mut folded);
        (folded, is_reply)
    }

    #[test]
    fn marks_of_replies_and_lists_go() {
        for (subject, expected, is_reply) in [
            ("", "", false),
            ("a", "A", false),
            (" \t two \t  words ", "TWO WORDS", false),
            ("Re: a", "A", true),
            ("RE : re:FW: Fwd:a", "A", true),
            ("Re[2]: a", "A", true),
            ("re [x] : a", "A", true),
            ("Re : [x] a", "A", true),
            ("Re", "RE", false),
            ("Reply: a", "REPLY: A", false),
            ("Forward: a", "FORWARD: A", false),
            ("[list] a", "A", false),
            ("[list][bugs] Re: [list] a", "A", true),
            ("[list] Re: ", "", true),
            ("[one] [two]", "[TWO]", false),
            ("[list]", "[LIST]", false),
            ("Re: [list]", "[LIST]", true),
            ("[open a", "[OPEN A", false),
            ("[a[b] c", "[A[B] C", false),
            ("a (fwd)", "A", true),
            ("a(FWD) (fwd)  ", "A", true),
            ("(fwd)", "", true),
            ("a (fwd) b", "A (FWD) B", false),
            ("[Fwd: a]", "A", true),
            ("re: [fwd: [fwd: re: [fwd: babylon]]]", "BABYLON", true),
            ("[fwd: a] b", "B", false),
            ("[fwd: a (fwd)] (fwd)", "A", true),
            ("[fwd:]", "", true),
            ("[foo] Fwd: [bar] Re: fw: b (fWd)  (fwd)", "B", true),
            ("=?utf-8?q?re=3A_h=C3=A9lio?=", "HE\u{301}LIO", true),
            ("=?us-ascii?b?UmU6IGM=?=", "C", true),
            ("Ré: a", "RE\u{301}: A", false),
            ("é", "E\u{301}", false),
        ] {
            assert_eq!(base(subject), (expected.to_owned(), is_reply), "{subject}");
        }
    }

    #[test]
    fn what_is_added_to_a_base_comes_off_again() {
        let added = ["re: ", "FW:", "[x] ", "[fwd: ", " (fwd)", " "];
        for marks in (0..6usize.pow(4)).map(|n| [n % 6, n / 6 % 6, n / 36 % 6, n / 216]) {
            let marked = marks.iter().fold("sun".to_owned(), |subject, &mark| match added[mark] {
                "[fwd: " => format!("[fwd: {subject}]"),
                mark @ (" (fwd)" | " ") => subject + mark,
                mark => mark.to_owned() + &subject,
            });
            assert_eq!(base(&marked).0, "SUN", "{marked}");
        }
    }
}
