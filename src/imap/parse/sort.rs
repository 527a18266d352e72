//! SORT and THREAD (RFC 5256 §5): criteria or an algorithm, then the charset and keys of SEARCH.

use smallvec::SmallVec;

use super::error::Parsed;
use super::reader::Reader;
use super::search::{charset_name, keys, next_word_is, returns};
use crate::imap::limits::MAX_SORT_CRITERIA;
use crate::imap::types::{CommandBody, Search, SearchReturn, Sort, Thread};
use crate::search::{Algorithm, Criterion, SortKey};

pub(super) fn sort<'a>(reader: &mut Reader<'a>, uid: bool) -> Parsed<CommandBody<'a>> {
    reader.space()?;
    let returns = returns(reader)?;
    let criteria = criteria(reader)?;
    reader.space()?;
    let search = search(reader, uid, returns)?;
    Ok(CommandBody::Sort(Sort { criteria, search }))
}

pub(super) fn thread<'a>(reader: &mut Reader<'a>, uid: bool) -> Parsed<CommandBody<'a>> {
    reader.space()?;
    let start = reader.clone();
    let algorithm = match reader.word().as_bytes() {
        b"ORDEREDSUBJECT" => Algorithm::OrderedSubject,
        b"REFERENCES" => Algorithm::References,
        _ => return start.expected("ORDEREDSUBJECT or REFERENCES"),
    };
    reader.space()?;
    let search = search(reader, uid, None)?;
    Ok(CommandBody::Thread(Thread { algorithm, search }))
}

/// Unlike in SEARCH, the charset has to be there.
fn search<'a>(reader: &mut Reader<'a>, uid: bool, returns: Option<SearchReturn>) -> Parsed<Search<'a>> {
    let charset = Some(charset_name(reader)?);
    Ok(Search { uid, returns, charset, key: keys(reader)? })
}

fn criteria(reader: &mut Reader<'_>) -> Parsed<SmallVec<[Criterion; 4]>> {
    let mut criteria: SmallVec<[Criterion; 4]> = SmallVec::new();
    let mut count = 0;
    reader.list(|reader| {
        count += 1;
        reader.limit(count, MAX_SORT_CRITERIA, "sort criteria")?;
        let criterion = criterion(reader)?;
        if criteria.iter().all(|known| known.key != criterion.key) {
            criteria.push(criterion);
        }
        Ok(())
    })?;
    Ok(criteria)
}

fn criterion(reader: &mut Reader<'_>) -> Parsed<Criterion> {
    let reverse = next_word_is(reader, b"REVERSE");
    if reverse {
        reader.space()?;
    }
    let start = reader.clone();
    let key = match reader.word().as_bytes() {
        b"ARRIVAL" => SortKey::Arrival,
        b"CC" => SortKey::Cc,
        b"DATE" => SortKey::Date,
        b"DISPLAYFROM" => SortKey::DisplayFrom,
        b"DISPLAYTO" => SortKey::DisplayTo,
        b"FROM" => SortKey::From,
        b"SIZE" => SortKey::Size,
        b"SUBJECT" => SortKey::Subject,
        b"TO" => SortKey::To,
        _ => return start.expected("a sort key"),
    };
    Ok(Criterion { key, reverse })
}
