//! SEARCH. The keys form a tree as deep as the client likes, so it is built on an explicit stack, and flat where the
//! meaning allows: `OR a OR b c` is one `Or` of three.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::date::date;
use super::error::Parsed;
use super::flags::keyword;
use super::reader::Reader;
use crate::imap::limits::{MAX_SEARCH_KEYS, MAX_SEARCH_NESTING, MAX_SEARCH_STRING};
use crate::imap::types::{
    CommandBody, DateField, DateTest, ModSeqEntry, Search, SearchKey, SearchReturn, SystemFlags,
};

pub(super) fn search<'a>(reader: &mut Reader<'a>, uid: bool) -> Parsed<CommandBody<'a>> {
    reader.space()?;
    let returns = returns(reader)?;
    let charset = charset(reader)?;
    let key = keys(reader)?;
    Ok(CommandBody::Search(Search { uid, returns, charset, key }))
}

/// `RETURN (…)` and the space after it.
pub(super) fn returns(reader: &mut Reader<'_>) -> Parsed<Option<SearchReturn>> {
    if !next_word_is(reader, b"RETURN") {
        return Ok(None);
    }
    reader.space()?;
    let mut returns = SearchReturn::default();
    reader.list_or_empty(|reader| return_option(reader, &mut returns))?;
    if returns == SearchReturn::default() {
        returns.all = true;
    }
    reader.space()?;
    Ok(Some(returns))
}

fn return_option(reader: &mut Reader<'_>, returns: &mut SearchReturn) -> Parsed<()> {
    let start = reader.clone();
    match reader.word().as_bytes() {
        b"MIN" => returns.min = true,
        b"MAX" => returns.max = true,
        b"ALL" => returns.all = true,
        b"COUNT" => returns.count = true,
        b"SAVE" => returns.save = true,
        _ => return start.expected("MIN, MAX, ALL, COUNT or SAVE"),
    }
    Ok(())
}

/// `CHARSET name` and the space after it.
fn charset<'a>(reader: &mut Reader<'a>) -> Parsed<Option<&'a str>> {
    if !next_word_is(reader, b"CHARSET") {
        return Ok(None);
    }
    reader.space()?;
    charset_name(reader).map(Some)
}

/// The name of a charset and the space after it.
pub(super) fn charset_name<'a>(reader: &mut Reader<'a>) -> Parsed<&'a str> {
    let start = reader.clone();
    let name = match reader.astring("a charset")? {
        Cow::Borrowed(name) => std::str::from_utf8(name).ok(),
        // Only an escape makes a copy, and no charset has one.
        Cow::Owned(_) => None,
    };
    let Some(name) = name else { return start.expected("a charset") };
    reader.space()?;
    Ok(name)
}

/// Reads this word if it comes next.
pub(super) fn next_word_is(reader: &mut Reader<'_>, word: &[u8]) -> bool {
    let mut ahead = reader.clone();
    let found = ahead.word().as_bytes() == word;
    if found {
        *reader = ahead;
    }
    found
}

/// A connective that waits for keys.
enum Open<'a> {
    /// The command itself (`closing` false) or a parenthesis.
    And {
        keys: Vec<SearchKey<'a>>,
        closing: bool,
    },
    Or {
        keys: Vec<SearchKey<'a>>,
        missing: usize,
    },
    Not {
        negate: bool,
    },
}

/// What follows a key that was put in its place.
enum Next<'a> {
    /// Another key.
    Key,
    /// The whole program is complete.
    Done(SearchKey<'a>),
}

/// The connectives around the place that is being read, outermost first.
struct Builder<'a> {
    stack: SmallVec<[Open<'a>; 4]>,
    count: usize,
}

/// The search keys that end a command.
pub(super) fn keys<'a>(reader: &mut Reader<'a>) -> Parsed<SearchKey<'a>> {
    let mut builder = Builder { stack: SmallVec::new(), count: 0 };
    builder.stack.push(Open::And { keys: Vec::new(), closing: false });
    loop {
        builder.count += 1;
        reader.limit(builder.count, MAX_SEARCH_KEYS, "search keys")?;
        let key = if reader.accept(b'(') {
            builder.open(reader, Open::And { keys: Vec::new(), closing: true })?;
            continue;
        } else if next_word_is(reader, b"NOT") {
            reader.space()?;
            builder.open_not(reader)?;
            continue;
        } else if next_word_is(reader, b"OR") {
            reader.space()?;
            builder.open_or(reader)?;
            continue;
        } else {
            leaf(reader)?
        };
        if let Next::Done(key) = builder.place(reader, key)? {
            return Ok(key);
        }
    }
}

impl<'a> Builder<'a> {
    fn open(&mut self, reader: &Reader<'_>, connective: Open<'a>) -> Parsed<()> {
        self.stack.push(connective);
        reader.limit(self.stack.len(), MAX_SEARCH_NESTING, "nested search keys")
    }

    fn open_not(&mut self, reader: &Reader<'_>) -> Parsed<()> {
        if let Some(Open::Not { negate }) = self.stack.last_mut() {
            *negate = !*negate;
            return Ok(());
        }
        self.open(reader, Open::Not { negate: true })
    }

    fn open_or(&mut self, reader: &Reader<'_>) -> Parsed<()> {
        if let Some(Open::Or { missing, .. }) = self.stack.last_mut() {
            *missing += 1;
            return Ok(());
        }
        self.open(reader, Open::Or { keys: Vec::new(), missing: 2 })
    }

    /// Puts a key into the innermost connective, and that into the next while it is complete.
    fn place(&mut self, reader: &mut Reader<'_>, mut key: SearchKey<'a>) -> Parsed<Next<'a>> {
        while let Some(innermost) = self.stack.pop() {
            match innermost {
                Open::Not { negate } => key = if negate { negated(key) } else { key },
                Open::Or { mut keys, missing } => {
                    extend_or(&mut keys, key);
                    if missing > 1 {
                        self.stack.push(Open::Or { keys, missing: missing - 1 });
                        reader.space()?;
                        return Ok(Next::Key);
                    }
                    key = SearchKey::Or(keys);
                }
                Open::And { mut keys, closing } => {
                    if reader.accept(b' ') {
                        extend_and(&mut keys, key);
                        self.stack.push(Open::And { keys, closing });
                        return Ok(Next::Key);
                    }
                    if closing {
                        reader.close()?;
                    }
                    if !keys.is_empty() {
                        extend_and(&mut keys, key);
                        key = SearchKey::And(keys);
                    }
                }
            }
        }
        Ok(Next::Done(key))
    }
}

fn extend_and<'a>(keys: &mut Vec<SearchKey<'a>>, key: SearchKey<'a>) {
    match key {
        SearchKey::And(inner) => keys.extend(inner),
        key => keys.push(key),
    }
}

fn extend_or<'a>(keys: &mut Vec<SearchKey<'a>>, key: SearchKey<'a>) {
    match key {
        SearchKey::Or(inner) => keys.extend(inner),
        key => keys.push(key),
    }
}

fn negated(key: SearchKey<'_>) -> SearchKey<'_> {
    match key {
        SearchKey::Not(inner) => *inner,
        SearchKey::System { flag, set } => SearchKey::System { flag, set: !set },
        SearchKey::Keyword { keyword, set } => SearchKey::Keyword { keyword, set: !set },
        key => SearchKey::Not(Box::new(key)),
    }
}

/// A key that holds no keys.
fn leaf<'a>(reader: &mut Reader<'a>) -> Parsed<SearchKey<'a>> {
    if let Some(b'0'..=b'9' | b'*' | b'$') = reader.peek() {
        return reader.sequence_set().map(SearchKey::Sequence);
    }
    let start = reader.clone();
    let word = reader.word();
    let name = word.as_bytes();
    let plain = plain_key(name);
    if let Some(key) = plain {
        return Ok(key);
    }
    if let Some((field, test)) = date_key(name) {
        reader.space()?;
        return Ok(SearchKey::Date { field, test, day: date(reader)? });
    }
    if let Some(field) = header_key(name) {
        reader.space()?;
        return Ok(SearchKey::Header { field: Cow::Borrowed(field), value: text(reader)? });
    }
    key_with_argument(reader, name, &start)
}

fn key_with_argument<'a>(reader: &mut Reader<'a>, name: &[u8], start: &Reader<'a>) -> Parsed<SearchKey<'a>> {
    let mut argument = reader.clone();
    let has_argument = argument.accept(b' ');
    let key = match name {
        b"UID" => argument.sequence_set().map(SearchKey::Uids),
        b"HEADER" => header(&mut argument),
        b"BODY" => text(&mut argument).map(SearchKey::Body),
        b"TEXT" => text(&mut argument).map(SearchKey::Text),
        b"KEYWORD" => keyword(&mut argument).map(|keyword| SearchKey::Keyword { keyword, set: true }),
        b"UNKEYWORD" => keyword(&mut argument).map(|keyword| SearchKey::Keyword { keyword, set: false }),
        b"LARGER" => argument.number64().map(SearchKey::Larger),
        b"SMALLER" => argument.number64().map(SearchKey::Smaller),
        b"OLDER" => argument.nz_number().map(SearchKey::Older),
        b"YOUNGER" => argument.nz_number().map(SearchKey::Younger),
        b"EMAILID" => object_id(&mut argument).map(SearchKey::EmailId),
        b"THREADID" => object_id(&mut argument).map(SearchKey::ThreadId),
        b"MODSEQ" => mod_seq(&mut argument),
        _ => return start.expected("a search key"),
    };
    if !has_argument {
        return reader.expected("a space and the key's argument");
    }
    *reader = argument;
    key
}

fn plain_key<'a>(name: &[u8]) -> Option<SearchKey<'a>> {
    let system = |flag, set| SearchKey::System { flag, set };
    Some(match name {
        b"ALL" => SearchKey::All,
        b"SEEN" => system(SystemFlags::SEEN, true),
        b"UNSEEN" => system(SystemFlags::SEEN, false),
        b"DELETED" => system(SystemFlags::DELETED, true),
        b"UNDELETED" => system(SystemFlags::DELETED, false),
        b"ANSWERED" => system(SystemFlags::ANSWERED, true),
        b"UNANSWERED" => system(SystemFlags::ANSWERED, false),
        b"FLAGGED" => system(SystemFlags::FLAGGED, true),
        b"UNFLAGGED" => system(SystemFlags::FLAGGED, false),
        b"DRAFT" => system(SystemFlags::DRAFT, true),
        b"UNDRAFT" => system(SystemFlags::DRAFT, false),
        b"RECENT" => SearchKey::Recent,
        b"OLD" => SearchKey::Not(Box::new(SearchKey::Recent)),
        b"NEW" => SearchKey::And(vec![SearchKey::Recent, system(SystemFlags::SEEN, false)]),
        b"SAVEDATESUPPORTED" => SearchKey::SaveDateSupported,
        _ => return None,
    })
}

fn date_key(name: &[u8]) -> Option<(DateField, DateTest)> {
    Some(match name {
        b"BEFORE" => (DateField::Internal, DateTest::Before),
        b"ON" => (DateField::Internal, DateTest::On),
        b"SINCE" => (DateField::Internal, DateTest::Since),
        b"SENTBEFORE" => (DateField::Sent, DateTest::Before),
        b"SENTON" => (DateField::Sent, DateTest::On),
        b"SENTSINCE" => (DateField::Sent, DateTest::Since),
        b"SAVEDBEFORE" => (DateField::Saved, DateTest::Before),
        b"SAVEDON" => (DateField::Saved, DateTest::On),
        b"SAVEDSINCE" => (DateField::Saved, DateTest::Since),
        _ => return None,
    })
}

fn header_key(name: &[u8]) -> Option<&'static [u8]> {
    Some(match name {
        b"FROM" => b"From",
        b"TO" => b"To",
        b"CC" => b"Cc",
        b"BCC" => b"Bcc",
        b"SUBJECT" => b"Subject",
        _ => return None,
    })
}

fn header<'a>(reader: &mut Reader<'a>) -> Parsed<SearchKey<'a>> {
    let field = text(reader)?;
    reader.space()?;
    Ok(SearchKey::Header { field, value: text(reader)? })
}

fn text<'a>(reader: &mut Reader<'a>) -> Parsed<Cow<'a, [u8]>> {
    let text = reader.astring("a string to search for")?;
    reader.limit(text.len(), MAX_SEARCH_STRING, "bytes in a search string")?;
    Ok(text)
}

/// RFC 8474 §7: 1 to 255 letters, digits, `_` and `-`.
fn object_id<'a>(reader: &mut Reader<'a>) -> Parsed<&'a str> {
    let start = reader.clone();
    let id = reader.atom("an object id")?;
    let valid =
        id.len() <= 255 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if valid { Ok(id) } else { start.expected("an object id") }
}

/// `[entry-name entry-type] n` (RFC 7162 §3.1.5).
fn mod_seq<'a>(reader: &mut Reader<'a>) -> Parsed<SearchKey<'a>> {
    let entry = if reader.peek() == Some(b'"') { Some(entry(reader)?) } else { None };
    Ok(SearchKey::ModSeq { since: reader.mod_seq()?, entry })
}

fn entry<'a>(reader: &mut Reader<'a>) -> Parsed<ModSeqEntry<'a>> {
    let name = reader.string("an entry name")?;
    reader.space()?;
    let start = reader.clone();
    if !matches!(reader.word().as_bytes(), b"PRIV" | b"SHARED" | b"ALL") {
        return start.expected("priv, shared or all");
    }
    reader.space()?;
    Ok(ModSeqEntry { name })
}
