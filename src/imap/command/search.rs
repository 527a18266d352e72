//! SEARCH and UID SEARCH (RFC 9051 §6.4.4; ESEARCH RFC 4731, SEARCHRES RFC 5182, MODSEQ RFC 7162 §3.1.5).

use super::search_key::Compiler;
use crate::imap::code::Failure;
use crate::imap::session::{
    Completion, ImapSession, OwnedTag, Started, Sync, View, Work, seq_ranges, write_uids,
};
use crate::imap::types::{self, SearchReturn};
use crate::imap::write;
use crate::search::Search;
use crate::session::{Io, Step};
use crate::spare::Lent;
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
        let all = SearchReturn { all: true, ..SearchReturn::default() };
        let returns = command.returns.or(self.enabled.rev2.then_some(all));
        let view = self.view()?;
        let compiled = Compiler::compile(view, command).map_err(|failure| refused(view, returns, failure));
        let (program, with_modseq) = compiled?;
        let only_first = returns.is_some_and(|r| r.min && !r.max && !r.all && !r.count);
        let mut searching = Searching {
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
        let step = searching.run(self.view()?, io)?;
        Ok(Started::after(step, || Work::Search(Box::new(searching)), sync, Completion::plain(text)))
    }
}

/// A SEARCH that fails leaves nothing saved (RFC 5182 §2.1).
pub(super) fn refused(view: &mut View, returns: Option<SearchReturn>, failure: Failure) -> Failure {
    if returns.is_some_and(|returns| returns.save) && matches!(failure, Failure::No(..)) {
        view.save(UidSet::new());
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
        let told = restricted(&found, self.returns);
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
            view.save(told);
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
            let number = uid.and_then(|uid| self.number(uid, view));
            item(out, name, number.map(u64::from));
        }
        if returns.all && !found.is_empty() {
            out.extend_from_slice(b" ALL ");
            self.write_set(found, view, out);
        }
        item(out, " COUNT ", returns.count.then_some(u64::from(found.len())));
        item(out, " MODSEQ ", modseq.map(|modseq| modseq.0));
        out.extend_from_slice(b"\r\n");
    }

    fn write_set(&self, found: &UidSet, view: &View, out: &mut Vec<u8>) {
        if self.uid {
            write_uids(out, found);
        } else {
            write::ranges(out, seq_ranges(view.selected.uids(), found));
        }
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
        let is_enough = |(index, uid): &(usize, Uid)| {
            if index % CHUNK == 0 && io.is_above_high_water() {
                return true;
            }
            io.output.push(b' ');
            write::number(io.output, u64::from(self.number(*uid, view).unwrap_or_default()));
            false
        };
        let left = next.and_then(|from| found.iter_from(from).enumerate().find(is_enough));
        if let Some((_, uid)) = left {
            self.pause(uid);
            return Some(Step::Flush);
        }
        if let Some(modseq) = modseq.filter(|_| !found.is_empty()) {
            io.output.extend_from_slice(b" (MODSEQ ");
            write::number(io.output, modseq.0);
            io.output.push(b')');
        }
        io.output.extend_from_slice(b"\r\n");
        None
    }

    /// To go on from this UID when the client has read what there is.
    fn pause(&mut self, from: Uid) {
        if let Stage::Numbers { found, next, .. } = &mut self.stage {
            *next = Some(from);
            found.rest();
        }
    }
}

/// A number of ESEARCH, when there is one.
pub(super) fn item(out: &mut Vec<u8>, name: &str, value: Option<u64>) {
    if let Some(value) = value {
        out.extend_from_slice(name.as_bytes());
        write::number(out, value);
    }
}

/// What is told and saved: when nothing but MIN or MAX was asked for, only these (RFC 4731 §3.2, RFC 5182 §2.4).
fn restricted(found: &UidSet, returns: Option<SearchReturn>) -> UidSet {
    match returns {
        Some(r) if !r.all && !r.count && (r.min || r.max) => {
            [found.first().filter(|_| r.min), found.last().filter(|_| r.max)].into_iter().flatten().collect()
        }
        _ => found.clone(),
    }
}

/// Of these messages.
pub(super) fn highest_modseq(view: &View, uids: &UidSet) -> Result<Option<ModSeq>, Failure> {
    let mut batch = Lent::new();
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
