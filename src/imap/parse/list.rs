//! LIST with RFC 5258, RFC 5819 and RFC 6154, and LSUB.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::error::Parsed;
use super::mailbox::status_items;
use super::reader::Reader;
use crate::imap::limits::{MAX_LIST_PATTERN, MAX_LIST_PATTERNS};
use crate::imap::types::{CommandBody, List, ListReturn, ListSelect, MailboxNameError};

pub(super) fn list<'a>(reader: &mut Reader<'a>) -> Parsed<CommandBody<'a>> {
    reader.space()?;
    let extended = reader.peek() == Some(b'(');
    let select = if extended { select_options(reader)? } else { ListSelect::NONE };
    let reference = reader.astring("a reference name")?;
    reader.space()?;
    let many = reader.peek() == Some(b'(');
    let (reference, patterns) = patterns(reader, reference)?;
    let returning = reader.accept(b' ');
    let returns = if returning { return_options(reader)? } else { ListReturn::default() };
    let extended = extended || many || returning;
    Ok(CommandBody::List(List { extended, select, reference, patterns, returns }))
}

pub(super) fn lsub<'a>(reader: &mut Reader<'a>) -> Parsed<CommandBody<'a>> {
    reader.space()?;
    let reference = reader.astring("a reference name")?;
    reader.space()?;
    let pattern = reader.list_mailbox()?;
    Ok(match (decode(reader, reference), decode(reader, pattern)) {
        (Some(reference), pattern) => CommandBody::Lsub { reference, pattern },
        (None, _) => CommandBody::Lsub { reference: Cow::Borrowed(""), pattern: None },
    })
}

/// The selection options and the space after them.
fn select_options(reader: &mut Reader<'_>) -> Parsed<ListSelect> {
    let start = reader.clone();
    let mut select = ListSelect::NONE;
    reader.list_or_empty(|reader| {
        let start = reader.clone();
        select.insert(match reader.word().as_bytes() {
            b"SUBSCRIBED" => ListSelect::SUBSCRIBED,
            b"REMOTE" => ListSelect::REMOTE,
            b"RECURSIVEMATCH" => ListSelect::RECURSIVE_MATCH,
            b"SPECIAL-USE" => ListSelect::SPECIAL_USE,
            _ => return start.expected("SUBSCRIBED, REMOTE, RECURSIVEMATCH or SPECIAL-USE"),
        });
        Ok(())
    })?;
    // RFC 5258 §3.1
    let base = ListSelect::SUBSCRIBED | ListSelect::SPECIAL_USE;
    if select.contains(ListSelect::RECURSIVE_MATCH) && !select.intersects(base) {
        return start.expected("RECURSIVEMATCH beside SUBSCRIBED or SPECIAL-USE");
    }
    reader.space()?;
    Ok(select)
}

type Patterns<'a> = SmallVec<[Cow<'a, str>; 1]>;

/// One pattern or a list of them, and the reference, decoded. A reference or pattern in no known encoding matches
/// nothing, which is no error: the scripts of imaptest list such a pattern.
fn patterns<'a>(reader: &mut Reader<'a>, reference: Cow<'a, [u8]>) -> Parsed<(Cow<'a, str>, Patterns<'a>)> {
    let mut patterns = Patterns::new();
    let mut count = 0;
    let mut one = |reader: &mut Reader<'a>| {
        count += 1;
        reader.limit(count, MAX_LIST_PATTERNS, "patterns")?;
        let wire = reader.list_mailbox()?;
        patterns.extend(decode(reader, wire));
        Ok(())
    };
    if reader.peek() == Some(b'(') {
        reader.list(one)?
    } else {
        one(reader)?
    }
    Ok(match decode(reader, reference) {
        Some(reference) => (reference, patterns),
        None => (Cow::Borrowed(""), Patterns::new()),
    })
}

fn decode<'a>(reader: &Reader<'_>, wire: Cow<'a, [u8]>) -> Option<Cow<'a, str>> {
    let decoded: Result<_, MailboxNameError> = crate::imap::types::decode_mailbox(wire, reader.dialect);
    decoded.ok().filter(|text| text.len() <= MAX_LIST_PATTERN)
}

fn return_options(reader: &mut Reader<'_>) -> Parsed<ListReturn> {
    let start = reader.clone();
    if reader.word().as_bytes() != b"RETURN" {
        return start.expected("RETURN");
    }
    reader.space()?;
    let mut returns = ListReturn::default();
    reader.list_or_empty(|reader| return_option(reader, &mut returns))?;
    Ok(returns)
}

fn return_option(reader: &mut Reader<'_>, returns: &mut ListReturn) -> Parsed<()> {
    let start = reader.clone();
    match reader.word().as_bytes() {
        b"SUBSCRIBED" => returns.subscribed = true,
        b"CHILDREN" => returns.children = true,
        b"SPECIAL-USE" => returns.special_use = true,
        b"STATUS" => {
            reader.space()?;
            let items = status_items(reader)?;
            returns.status = Some(returns.status.unwrap_or_default() | items);
        }
        _ => return start.expected("SUBSCRIBED, CHILDREN, SPECIAL-USE or STATUS"),
    }
    Ok(())
}
