//! SEARCH and UID SEARCH (RFC 9051 §6.4.4; ESEARCH RFC 4731, SEARCHRES RFC 5182, MODSEQ RFC 7162 §3.1.5).

use std::time::{SystemTime, UNIX_EPOCH};

use super::system_flag;
use crate::imap::code::{Code, Failure};
use crate::imap::fetch::{EMAIL_PREFIX, THREAD_PREFIX, parse_object_id};
use crate::imap::parse::{Charset, CharsetError};
use crate::imap::session::{
    Completion, ImapSession, OwnedTag, Started, Sync, View, Work, seq_ranges, write_uids,
};
use crate::imap::types::{self, DateField, DateTest, SearchKey, SearchReturn};
use crate::imap::write;
use crate::message::{Needle, Scope};
use crate::search::{Day, Program, Search, Test};
use crate::session::{Io, Step};
use crate::store::{ModSeq, Uid, UidSet};

/// Numbers that are written between two looks at the output's size.
const CHUNK: usize = 512;

/// A SEARCH on its way.
pub(in crate::imap) struct Searching {
    tag: OwnedTag,
    uid: bool,
    returns: Option<SearchReturn>,
    /// MODSEQ is told when it was asked about.
    with_modseq: bool,
    stage: Stage,
}

#[expect(clippy::large_enum_variant, reason = "the search is boxed as a whole")]
enum Stage {
    Find(Search),
    /// The untagged SEARCH, from this UID on.
    Numbers {
        found: UidSet,
        next: Option<Uid>,
        modseq: Option<ModSeq>,
    },
}

impl ImapSession {
    pub(in crate::imap) fn search(
        &mut self,
        tag: &[u8],
        command: &types::Search<'_>,
        io: &mut Io<'_>,
    ) -> Result<Started, Failure> {
        let rev2 = self.enabled.rev2;
        let view = self.view()?;
        let saves = command.returns.is_some_and(|returns| returns.save);
        let mut compiler = match Compiler::new(view, command.charset) {
            Ok(compiler) => compiler,
            Err(failure) => return Err(refused(view, saves, failure)),
        };
        let test = match compiler.test(&command.key) {
            Ok(test) => test,
            Err(failure) => return Err(refused(view, saves, failure)),
        };
        let with_modseq = compiler.uses_modseq;
        let program = Program::new(test, view.selected.uids());
        let all = SearchReturn { all: true, ..SearchReturn::default() };
        let returns = command.returns.or(rev2.then_some(all));
        let only_first = returns.is_some_and(|r| r.min && !r.max && !r.all && !r.count);
        let searching = Searching {
            tag: OwnedTag::from_slice(tag),
            uid: command.uid,
            returns,
            with_modseq,
            stage: Stage::Find(Search::new(program, only_first)),
        };
        if with_modseq {
            self.enable_condstore(io.output);
        }
        let (sync, text) = if command.uid {
            (Sync::Report, "UID SEARCH completed")
        } else {
            (Sync::Defer, "SEARCH completed")
        };
        let work = Work::Search(Box::new(searching));
        Ok(Started::Run { work, sync, done: Completion::plain(text) })
    }
}

/// A SEARCH that fails leaves nothing saved (RFC 5182 §2.1).
fn refused(view: &mut View, saves: bool, failure: Failure) -> Failure {
    if saves && matches!(failure, Failure::No(..)) {
        view.saved = UidSet::new();
    }
    failure
}

impl Searching {
    pub(in crate::imap) fn run(&mut self, view: &mut View, io: &mut Io<'_>) -> Result<Option<Step>, Failure> {
        if let Stage::Find(search) = &mut self.stage {
            if !search.run(&view.selected, || io.is_slice_over())? {
                return Ok(Some(Step::Yield));
            }
            let found = search.take_found();
            self.found(found, view, io.output)?;
        }
        Ok(self.tell_numbers(view, io))
    }

    fn found(&mut self, found: UidSet, view: &mut View, out: &mut Vec<u8>) -> Result<(), Failure> {
        let bounds = UidSet::from_ranges(
            found.first().zip(found.first()).into_iter().chain(found.last().zip(found.last())),
        );
        let told = match self.returns {
            Some(returns) if !returns.all && !returns.count && (returns.min || returns.max) => {
                restricted(&bounds, returns)
            }
            _ => found.clone(),
        };
        let modseq = if self.with_modseq { highest_modseq(view, &told)? } else { None };
        let Some(returns) = self.returns else {
            out.extend_from_slice(b"* SEARCH");
            self.stage = Stage::Numbers { next: found.first(), found, modseq };
            return Ok(());
        };
        if returns.min || returns.max || returns.all || returns.count {
            self.extended(&found, returns, modseq, view, out);
        }
        if returns.save {
            view.saved = told;
        }
        self.stage = Stage::Numbers { found: UidSet::new(), next: None, modseq: None };
        Ok(())
    }

    /// `* ESEARCH (TAG "a") UID …`
    fn extended(
        &self,
        found: &UidSet,
        returns: SearchReturn,
        modseq: Option<ModSeq>,
        view: &View,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(b"* ESEARCH (TAG ");
        write::quoted_or_literal(out, &self.tag);
        out.extend_from_slice(if self.uid { b") UID" } else { b")" });
        let bounds = [(returns.min, " MIN ", found.first()), (returns.max, " MAX ", found.last())];
        for (_, name, uid) in bounds.into_iter().filter(|(asked, ..)| *asked) {
            if let Some(number) = uid.and_then(|uid| self.number(uid, view)) {
                out.extend_from_slice(name.as_bytes());
                write::number(out, u64::from(number));
            }
        }
        if returns.all && !found.is_empty() {
            out.extend_from_slice(b" ALL ");
            if self.uid {
                write_uids(out, found);
            } else {
                write::ranges(out, seq_ranges(view.selected.uids(), found));
            }
        }
        if returns.count {
            out.extend_from_slice(b" COUNT ");
            write::number(out, u64::from(found.len()));
        }
        if let Some(modseq) = modseq {
            out.extend_from_slice(b" MODSEQ ");
            write::number(out, modseq.0);
        }
        out.extend_from_slice(b"\r\n");
    }

    fn number(&self, uid: Uid, view: &View) -> Option<u32> {
        if self.uid { Some(uid.get()) } else { view.selected.uids().seq_of(uid).map(|seq| seq.get()) }
    }

    /// The untagged SEARCH of RFC 3501; `None` when it is out.
    fn tell_numbers(&mut self, view: &View, io: &mut Io<'_>) -> Option<Step> {
        let Stage::Numbers { found, next, modseq } = &self.stage else { return None };
        if self.returns.is_some() {
            return None;
        }
        let (mut next, modseq) = (*next, *modseq);
        while let Some(from) = next {
            if io.is_above_high_water() {
                self.set_next(next);
                return Some(Step::Flush);
            }
            let rest = found.between(from, Uid::MAX);
            let mut uids = rest.iter();
            for uid in uids.by_ref().take(CHUNK) {
                io.output.push(b' ');
                write::number(io.output, u64::from(self.number(uid, view).unwrap_or_default()));
            }
            next = uids.next();
        }
        if let Some(modseq) = modseq.filter(|_| !found.is_empty()) {
            io.output.extend_from_slice(b" (MODSEQ ");
            write::number(io.output, modseq.0);
            io.output.push(b')');
        }
        io.output.extend_from_slice(b"\r\n");
        None
    }

    fn set_next(&mut self, from: Option<Uid>) {
        if let Stage::Numbers { next, .. } = &mut self.stage {
            *next = from;
        }
    }
}

/// Of the smallest and the largest, those that were asked for (RFC 4731 §3.1, RFC 5182 §2.4).
fn restricted(bounds: &UidSet, returns: SearchReturn) -> UidSet {
    let asked = [bounds.first().filter(|_| returns.min), bounds.last().filter(|_| returns.max)];
    asked.into_iter().flatten().collect()
}

fn highest_modseq(view: &View, uids: &UidSet) -> Result<Option<ModSeq>, Failure> {
    let mut batch = Vec::new();
    let mut highest = None;
    let mut next = uids.first();
    while let Some(from) = next {
        batch.clear();
        view.selected.messages(uids, from, CHUNK, &mut batch)?;
        highest = highest.max(batch.iter().map(|message| message.modseq).max());
        next = batch.last().and_then(|last| last.uid.get().checked_add(1)).and_then(Uid::new);
    }
    Ok(highest)
}

/// From the grammar's keys to tests.
struct Compiler<'v> {
    view: &'v View,
    charset: Charset,
    /// Seconds since 1970.
    now: i64,
    uses_modseq: bool,
}

impl<'v> Compiler<'v> {
    fn new(view: &'v View, charset: Option<&str>) -> Result<Self, Failure> {
        let charset = Charset::from_name(charset).map_err(charset_failure)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Ok(Compiler { view, charset, now: i64::try_from(now).unwrap_or(i64::MAX), uses_modseq: false })
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
                Test::Header { field: field.to_vec(), needle: self.needle(value)? }
            }
            SearchKey::Body(text) => Test::Text { needle: self.needle(text)?, scope: Scope::Body },
            SearchKey::Text(text) => Test::Text { needle: self.needle(text)?, scope: Scope::Text },
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
