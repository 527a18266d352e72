//! The keys of SEARCH, from the grammar's tree to a program (RFC 9051 §6.4.4).

use std::time::{SystemTime, UNIX_EPOCH};

use smallvec::SmallVec;

use super::system_flag;
use crate::imap::code::{Code, Failure};
use crate::imap::fetch::{EMAIL_PREFIX, THREAD_PREFIX, parse_object_id};
use crate::imap::parse::{Charset, CharsetError};
use crate::imap::session::View;
use crate::imap::types::{self, DateField, DateTest, SearchKey};
use crate::message::{Needle, Scope};
use crate::search::{Day, HeaderTest, Program, Test};

/// From the grammar's keys to tests.
pub(super) struct Compiler<'v> {
    view: &'v View,
    charset: Charset,
    /// Seconds since 1970.
    now: i64,
    uses_modseq: bool,
}

impl<'v> Compiler<'v> {
    /// The program for a command, and whether it looks at mod-sequences.
    pub(super) fn compile(view: &'v View, command: &types::Search<'_>) -> Result<(Program, bool), Failure> {
        let charset = Charset::from_name(command.charset).map_err(charset_failure)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let mut compiler = Compiler { view, charset, now, uses_modseq: false };
        let test = compiler.test(&command.key)?;
        Ok((Program::new(test, view.selected.uids()), compiler.uses_modseq))
    }

    /// Recurses as deep as the grammar lets keys nest.
    fn test(&mut self, key: &SearchKey<'_>) -> Result<Test, Failure> {
        Ok(match key {
            SearchKey::All | SearchKey::SaveDateSupported => Test::All,
            SearchKey::And(keys) => Test::And(self.tests(keys)?),
            SearchKey::Or(keys) => Test::Or(self.tests(keys)?),
            SearchKey::Not(key) => negated(self.test(key)?),
            SearchKey::Sequence(set) => Test::Uids(self.view.resolve_key(set, false)),
            SearchKey::Uids(set) => Test::Uids(self.view.resolve_key(set, true)),
            SearchKey::System { flag, set } => given(Test::Flag(system_flag(*flag)), *set),
            SearchKey::Keyword { keyword, set } => {
                given(Test::Keyword(self.view.selected.keywords().position(keyword.as_str())), *set)
            }
            SearchKey::Recent => Test::Recent,
            SearchKey::Header { field, value } => {
                let (field, needle) = (SmallVec::from_slice(field), self.needle(value)?);
                Test::Header(Box::new(HeaderTest { field, needle }))
            }
            SearchKey::Body(text) => self.text(text, Scope::Body)?,
            SearchKey::Text(text) => self.text(text, Scope::Text)?,
            SearchKey::Larger(size) => Test::Larger(*size),
            SearchKey::Smaller(size) => Test::Smaller(*size),
            SearchKey::Date { field, test, day } => date(*field, *test, day.0),
            SearchKey::Older(seconds) => negated(Test::ReceivedSince(self.now - i64::from(*seconds) + 1)),
            SearchKey::Younger(seconds) => Test::ReceivedSince(self.now - i64::from(*seconds)),
            SearchKey::EmailId(id) => Test::Email(parse_object_id(id, EMAIL_PREFIX)),
            SearchKey::ThreadId(id) => Test::Thread(parse_object_id(id, THREAD_PREFIX)),
            SearchKey::ModSeq { since, .. } => {
                self.uses_modseq = true;
                Test::ModSeq(*since)
            }
        })
    }

    fn tests(&mut self, keys: &[SearchKey<'_>]) -> Result<Vec<Test>, Failure> {
        keys.iter().map(|key| self.test(key)).collect()
    }

    fn text(&self, bytes: &[u8], scope: Scope) -> Result<Test, Failure> {
        Ok(Test::Text { needle: Box::new(self.needle(bytes)?), scope })
    }

    fn needle(&self, bytes: &[u8]) -> Result<Needle, Failure> {
        self.charset.decode(bytes).map(|text| Needle::new(&text)).map_err(charset_failure)
    }
}

fn charset_failure(error: CharsetError) -> Failure {
    match error {
        CharsetError::Unknown => Failure::no(Code::BadCharset, "charset is not known, use UTF-8"),
        CharsetError::Malformed => Failure::bad(error.to_string()),
    }
}

fn negated(test: Test) -> Test {
    Test::Not(Box::new(test))
}

fn given(test: Test, set: bool) -> Test {
    if set { test } else { negated(test) }
}

fn date(field: DateField, test: DateTest, on: i32) -> Test {
    let day = match field {
        DateField::Internal => Day::Internal,
        DateField::Sent => Day::Sent,
        DateField::Saved => Day::Saved,
    };
    let (from, until) = match test {
        DateTest::Before => (i32::MIN, on),
        DateTest::On => (on, on.saturating_add(1)),
        DateTest::Since => (on, i32::MAX),
    };
    Test::Date { day, from, until }
}
