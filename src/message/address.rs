//! Address lists (RFC 5322 §3.4 with its obsolete forms), read in one pass and never refused.

use std::{borrow::Cow, ops::Range};

use super::lexer::{Lexer, Set, is_space};

/// What an address list is made of, in order. The text is borrowed from scratch space and valid for the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// One address. What is missing is empty.
    Mailbox {
        /// The display name without quoting; failing that, the last comment.
        name: &'a [u8],
        /// An obsolete source route, such as `@one,@two`.
        route: &'a [u8],
        /// The local part without quoting.
        local: &'a [u8],
        /// The domain, or a domain literal with its brackets.
        domain: &'a [u8],
    },
    /// `name:`; what follows up to the next [`Entry::GroupEnd`] belongs to it.
    GroupStart(&'a [u8]),
    /// `;`, or the end of a group that is not terminated.
    GroupEnd,
}

/// Reads the value of an address field. Linear in its length.
pub fn addresses(value: &[u8], mut visit: impl FnMut(Entry<'_>)) {
    let mut reader =
        Reader { value, lexer: Lexer::new(value), spaced: false, in_group: false, draft: Draft::new(value) };
    while reader.step(&mut visit) {}
}

struct Reader<'a> {
    value: &'a [u8],
    lexer: Lexer<'a>,
    /// Whether white space stood before the coming token.
    spaced: bool,
    in_group: bool,
    draft: Draft<'a>,
}

/// The address being read.
struct Draft<'a> {
    /// All words so far, separated as they were.
    phrase: Text<'a>,
    /// Where the last word that stands alone begins in the phrase: `phrase[..name_end]` comes before it.
    name_end: usize,
    /// That last word, as the local part it may be.
    local: Text<'a>,
    comment: Vec<u8>,
    route: Vec<u8>,
    domain: Text<'a>,
    stage: Stage,
}

#[derive(Default, PartialEq, Eq, Clone, Copy)]
enum Stage {
    /// Nothing says yet whether the words are a name or a local part.
    #[default]
    Words,
    /// `local@` was seen: what follows is the domain.
    Domain,
    /// Between `<` and `>`, before the `@`.
    AngleLocal,
    /// Between `<` and `>`, after the `@`.
    AngleDomain,
    /// After `>`.
    Done,
}

impl<'a> Reader<'a> {
    /// Reads one token; false at the end.
    fn step(&mut self, visit: &mut impl FnMut(Entry<'_>)) -> bool {
        self.spaced |= self.lexer.peek().is_some_and(is_space) && self.lexer.skip_space();
        let Some(byte) = self.lexer.peek() else {
            self.end_group(visit);
            return false;
        };
        match byte {
            b'(' => {
                let comment = self.lexer.comment();
                self.draft.comment(&comment);
                self.spaced = true;
                return true;
            }
            b'"' => self.quoted(),
            b'[' => self.domain_literal(),
            b',' | b';' | b':' | b'<' | b'>' | b'@' => {
                self.lexer.bump();
                self.special(byte, visit);
            }
            _ => {
                let word = self.run(&WORD_ENDS);
                self.draft.word(&word, self.spaced);
            }
        }
        self.spaced = false;
        true
    }

    fn special(&mut self, byte: u8, visit: &mut impl FnMut(Entry<'_>)) {
        match byte {
            b',' => self.draft.finish(visit),
            b';' => self.end_group(visit),
            b':' => self.start_group(visit),
            b'<' => self.open_angle(),
            b'>' => self.draft.stage = Stage::Done,
            _ => self.draft.at_sign(&self.before()),
        }
    }

    fn start_group(&mut self, visit: &mut impl FnMut(Entry<'_>)) {
        if self.draft.stage != Stage::Words {
            return;
        }
        let draft = std::mem::replace(&mut self.draft, Draft::new(self.value));
        self.end_group(visit);
        visit(Entry::GroupStart(draft.phrase.bytes()));
        self.in_group = true;
    }

    fn end_group(&mut self, visit: &mut impl FnMut(Entry<'_>)) {
        self.draft.finish(visit);
        if std::mem::take(&mut self.in_group) {
            visit(Entry::GroupEnd);
        }
    }

    fn open_angle(&mut self) {
        if self.draft.stage == Stage::Done {
            return;
        }
        self.draft.open_angle();
        self.lexer.skip_cfws();
        if self.lexer.peek() == Some(b'@') {
            self.route();
        }
    }

    /// Reads `@one,@two:` without white space and comments.
    fn route(&mut self) {
        loop {
            self.lexer.skip_cfws();
            match self.lexer.peek() {
                None | Some(b'>') => return,
                Some(b':') => return self.lexer.bump(),
                Some(byte) => {
                    self.draft.route.push(byte);
                    self.lexer.bump();
                }
            }
        }
    }

    fn quoted(&mut self) {
        let start = self.position() + 1;
        let word = match self.lexer.quoted() {
            Cow::Borrowed(text) => Word::Standing { start, text },
            Cow::Owned(text) => Word::Made(text),
        };
        self.draft.word(&word, self.spaced);
    }

    fn domain_literal(&mut self) {
        let literal = self.run(&LITERAL_ENDS);
        self.draft.word(&literal, self.spaced);
        if self.lexer.eat(b']') {
            self.draft.word(&self.before(), false);
        }
    }

    fn run(&mut self, stop: &Set) -> Word<'a> {
        let start = self.position();
        Word::Standing { start, text: self.lexer.run(stop) }
    }

    /// The byte that was just taken.
    fn before(&self) -> Word<'a> {
        let end = self.position();
        Word::Standing { start: end - 1, text: &self.value[end - 1..end] }
    }

    fn position(&self) -> usize {
        self.value.len() - self.lexer.left()
    }
}

impl<'a> Draft<'a> {
    fn new(field: &'a [u8]) -> Self {
        Self {
            phrase: Text::new(field),
            name_end: 0,
            local: Text::new(field),
            comment: Vec::new(),
            route: Vec::new(),
            domain: Text::new(field),
            stage: Stage::Words,
        }
    }

    fn word(&mut self, word: &Word<'a>, spaced: bool) {
        match self.stage {
            Stage::Words => self.phrase_word(word, spaced),
            Stage::AngleLocal => self.local.push(word),
            Stage::Domain | Stage::AngleDomain => self.domain_word(word),
            Stage::Done => (),
        }
    }

    fn phrase_word(&mut self, word: &Word<'a>, spaced: bool) {
        if spaced && !self.phrase.bytes().is_empty() {
            if !self.local.bytes().ends_with(b".") && !word.bytes().starts_with(b".") {
                self.name_end = self.phrase.bytes().len();
                self.local.clear();
            }
            self.phrase.push_space();
        }
        self.phrase.push(word);
        self.local.push(word);
    }

    fn domain_word(&mut self, word: &Word<'a>) {
        if word.bytes().iter().any(|&byte| is_space(byte)) {
            let solid = word.bytes().iter().copied().filter(|&byte| !is_space(byte)).collect();
            self.domain.push(&Word::Made(solid));
        } else {
            self.domain.push(word);
        }
    }

    /// Inside of angle brackets and behind them a comment is no name.
    fn comment(&mut self, text: &[u8]) {
        if matches!(self.stage, Stage::Words | Stage::Domain) {
            self.comment.clear();
            self.comment.extend(text.trim_ascii().iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
        }
    }

    fn open_angle(&mut self) {
        if self.stage == Stage::Words {
            self.name_end = self.phrase.bytes().len();
        }
        self.local.clear();
        self.domain.clear();
        self.stage = Stage::AngleLocal;
    }

    fn at_sign(&mut self, sign: &Word<'a>) {
        match self.stage {
            Stage::Words => self.stage = Stage::Domain,
            Stage::AngleLocal => self.stage = Stage::AngleDomain,
            Stage::Domain | Stage::AngleDomain => self.domain.push(sign),
            Stage::Done => (),
        }
    }

    /// Reports the address, if there is one, and starts the next.
    fn finish(&mut self, visit: &mut impl FnMut(Entry<'_>)) {
        let words_only = self.stage == Stage::Words;
        let phrase = self.phrase.bytes();
        if words_only && phrase.is_empty() {
            self.comment.clear();
            return;
        }
        let name = if words_only { &[] } else { &phrase[..self.name_end] };
        visit(Entry::Mailbox {
            name: if name.is_empty() { &self.comment } else { name },
            route: &self.route,
            local: if words_only { phrase } else { self.local.bytes() },
            domain: self.domain.bytes(),
        });
        self.reset();
    }

    /// Empties everything but keeps the memory.
    fn reset(&mut self) {
        for text in [&mut self.phrase, &mut self.local, &mut self.domain] {
            text.clear();
        }
        self.comment.clear();
        self.route.clear();
        self.name_end = 0;
        self.stage = Stage::Words;
    }
}

/// What a token says.
enum Word<'a> {
    /// As it stands in the field, from `start` on.
    Standing { start: usize, text: &'a [u8] },
    /// Without what stands there between its parts.
    Made(Vec<u8>),
}

impl Word<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Standing { text, .. } => text,
            Self::Made(text) => text,
        }
    }
}

/// Text put together from words: a piece of the field while they stand there one behind the other, else a copy.
struct Text<'a> {
    field: &'a [u8],
    piece: Range<usize>,
    /// The text, unless it is empty.
    copy: Vec<u8>,
}

impl<'a> Text<'a> {
    fn new(field: &'a [u8]) -> Self {
        Self { field, piece: 0..0, copy: Vec::new() }
    }

    fn bytes(&self) -> &[u8] {
        if self.copy.is_empty() { &self.field[self.piece.clone()] } else { &self.copy }
    }

    fn push(&mut self, word: &Word<'a>) {
        match *word {
            Word::Standing { start, text } if self.is_free() => self.piece = start..start + text.len(),
            Word::Standing { start, text } if self.ends_at(start) => self.piece.end += text.len(),
            _ => self.copied().extend_from_slice(word.bytes()),
        }
    }

    fn push_space(&mut self) {
        if self.copy.is_empty() && self.field.get(self.piece.end) == Some(&b' ') {
            self.piece.end += 1;
        } else {
            self.copied().push(b' ');
        }
    }

    fn is_free(&self) -> bool {
        self.copy.is_empty() && self.piece.is_empty()
    }

    fn ends_at(&self, position: usize) -> bool {
        self.copy.is_empty() && self.piece.end == position
    }

    fn copied(&mut self) -> &mut Vec<u8> {
        if self.copy.is_empty() {
            self.copy.extend_from_slice(&self.field[self.piece.clone()]);
        }
        &mut self.copy
    }

    fn clear(&mut self) {
        self.piece = 0..0;
        self.copy.clear();
    }
}

static WORD_ENDS: Set = Set::new(b" \t\r\n(\"[,;:<>@");
static LITERAL_ENDS: Set = Set::new(b"],>");

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &str) -> String {
        let mut shown = String::new();
        addresses(value.as_bytes(), |entry| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            shown += &match entry {
                Entry::Mailbox { name, route, local, domain } => {
                    format!("[{}|{}|{}|{}]", text(name), text(route), text(local), text(domain))
                }
                Entry::GroupStart(name) => format!("{}{{", text(name)),
                Entry::GroupEnd => "}".into(),
            };
        });
        shown
    }

    #[test]
    fn addresses_of_every_form() {
        for (value, expected) in [
            ("ada@x.org", "[||ada|x.org]"),
            ("Ada  Lovelace <ada@x.org>", "[Ada Lovelace||ada|x.org]"),
            ("\"Lovelace, \\\"Ada\\\"\" <ada@x>, b@y", "[Lovelace, \"Ada\"||ada|x][||b|y]"),
            ("J. R. Hacker<j.r@x>", "[J. R. Hacker||j.r|x]"),
            ("ada@x (Ada (the) First)", "[Ada (the) First||ada|x]"),
            ("<ada (c) @ (d) x.org> (trailing)", "[||ada|x.org]"),
            ("\"two words\"@x", "[||two words|x]"),
            ("a . b @ x . org", "[||a.b|x.org]"),
            ("<@one,@two:ada@x>", "[|@one,@two|ada|x]"),
            ("ada@[10.0.0.1], Bob <b@[IPv6:::1]>", "[||ada|[10.0.0.1]][Bob||b|[IPv6:::1]]"),
            ("=?utf-8?q?Ad=C3=A9?= <a@x>", "[=?utf-8?q?Ad=C3=A9?=||a|x]"),
            ("A\tB \"C\"D(e)F\r\n G <a@x>", "[A B CD F G||a|x]"),
            ("\"a\".b.\"c d\" @ \"x y\".[1 2]", "[||a.b.c d|xy.[12]]"),
            ("A <b@x>, C <d@y>,\"E\\\"\" <f@z>, G <h@w>", "[A||b|x][C||d|y][E\"||f|z][G||h|w]"),
            ("", ""),
            (" , ,, ", ""),
        ] {
            assert_eq!(shown(value), expected, "{value}");
        }
    }

    #[test]
    fn groups_open_and_close() {
        for (value, expected) in [
            ("team: a@x, B <b@y>;, c@z", "team{[||a|x][B||b|y]}[||c|z]"),
            ("undisclosed recipients:;", "undisclosed recipients{}"),
            ("empty: (nobody) ;, \"two\": c@z;", "empty{}two{[||c|z]}"),
            ("open: a@x", "open{[||a|x]}"),
            ("a:b:c:", "a{}b{}c{}"),
            ("a@x; b@y", "[||a|x][||b|y]"),
        ] {
            assert_eq!(shown(value), expected, "{value}");
        }
    }

    #[test]
    fn broken_addresses_keep_what_they_say() {
        for (value, expected) in [
            ("ada", "[||ada|]"),
            ("Ada Lovelace", "[||Ada Lovelace|]"),
            ("Ada Lovelace ada@x", "[Ada Lovelace||ada|x]"),
            ("Ada <>", "[Ada|||]"),
            ("<ada@x, bob@y", "[||ada|x][||bob|y]"),
            ("ada@x@y", "[||ada|x@y]"),
            ("@", "[|||]"),
            ("(open comment", ""),
            ("\"open quote", "[||open quote|]"),
            ("a\\", "[||a\\|]"),
            ("ada@x> bob@y", "[||ada|x]"),
        ] {
            assert_eq!(shown(value), expected, "{value}");
        }
    }
}
