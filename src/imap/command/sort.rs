//! SORT and UID SORT (RFC 5256; ESORT RFC 5267, SORT=DISPLAY RFC 5957, MODSEQ RFC 7162 §3.1.6).

use super::search::{highest_modseq, item, refused};
use super::search_key::Compiler;
use crate::imap::code::Failure;
use crate::imap::session::{Completion, ImapSession, OwnedTag, Started, Sync, View, Work};
use crate::imap::types::{self, SearchReturn};
use crate::imap::write;
use crate::search::Sort;
use crate::session::{Io, Step};
use crate::store::{ModSeq, Uid, UidSet};

/// Numbers that are written between two looks at the output's size.
const CHUNK: usize = 512;

/// A SORT on its way.
pub(in crate::imap) struct Sorting {
    tag: OwnedTag,
    uid: bool,
    returns: Option<SearchReturn>,
    /// MODSEQ is told when it was asked about.
    with_modseq: bool,
    stage: Stage,
}

#[expect(clippy::large_enum_variant, reason = "it is in a box")]
enum Stage {
    Order(Sort),
    Numbers(Numbers),
}

impl ImapSession {
    pub(in crate::imap) fn sort(
        &mut self,
        tag: &[u8],
        command: &types::Sort<'_>,
        io: &mut Io<'_>,
    ) -> Result<Started, Failure> {
        let types::Search { uid, returns, .. } = command.search;
        let cache = self.shared.sorted.clone();
        let view = self.view()?;
        let compiled = Compiler::compile(view, &command.search);
        let (program, with_modseq) = compiled.map_err(|failure| refused(view, returns, failure))?;
        let order = Sort::new(program, command.criteria.as_slice().into(), cache);
        let tag = OwnedTag::from_slice(tag);
        let sorting = Sorting { tag, uid, returns, with_modseq, stage: Stage::Order(order) };
        if with_modseq {
            self.enable_condstore(io.output);
        }
        let (sync, text) =
            if uid { (Sync::Report, "UID SORT completed") } else { (Sync::Defer, "SORT completed") };
        let work = Work::Sort(Box::new(sorting));
        Ok(Started::Run { work, sync, done: Completion::plain(text) })
    }
}

impl Sorting {
    pub(in crate::imap) fn run(&mut self, view: &mut View, io: &mut Io<'_>) -> Result<Option<Step>, Failure> {
        if let Stage::Order(sort) = &mut self.stage {
            let sorted = sort.run(&view.selected, || io.is_slice_over());
            let sorted = sorted.map_err(|error| refused(view, self.returns, error.into()))?;
            let Some(order) = sorted else { return Ok(Some(Step::Yield)) };
            self.begin(order, view, io.output)?;
        }
        match &mut self.stage {
            Stage::Numbers(numbers) => Ok(numbers.write(io)),
            Stage::Order(_) => Ok(None),
        }
    }

    /// Everything before the list of messages.
    fn begin(&mut self, order: Vec<Uid>, view: &mut View, out: &mut Vec<u8>) -> Result<(), Failure> {
        let told = told(&order, self.returns);
        let modseq = if self.with_modseq { highest_modseq(view, &told)? } else { None };
        let number = |uid: Uid| self.number(uid, view);
        let mut numbers = Numbers { list: Vec::new(), at: 0, form: Form::Plain, modseq };
        match self.returns {
            None => {
                out.extend_from_slice(b"* SORT");
                numbers.list = order.into_iter().map(number).collect();
            }
            Some(returns) => {
                numbers.form = Form::Extended;
                if returns.min || returns.max || returns.all || returns.count {
                    self.extended(&order, returns, view, out);
                } else {
                    numbers.form = Form::Nothing;
                }
                if returns.all && !order.is_empty() {
                    out.extend_from_slice(b" ALL ");
                    numbers.list = order.into_iter().map(number).collect();
                }
                if returns.save {
                    view.save(told);
                }
            }
        }
        self.stage = Stage::Numbers(numbers);
        Ok(())
    }

    /// `* ESEARCH (TAG "a") UID MIN 3 …`: here the first and the last in order (RFC 5267 §3.1).
    fn extended(&self, order: &[Uid], returns: SearchReturn, view: &View, out: &mut Vec<u8>) {
        out.extend_from_slice(b"* ESEARCH (TAG ");
        write::quoted_or_literal(out, &self.tag);
        out.extend_from_slice(if self.uid { b") UID" } else { b")" });
        let number = |uid: Option<&Uid>| uid.map(|uid| u64::from(self.number(*uid, view)));
        item(out, " MIN ", number(order.first().filter(|_| returns.min)));
        item(out, " MAX ", number(order.last().filter(|_| returns.max)));
        item(out, " COUNT ", returns.count.then_some(order.len() as u64));
    }

    fn number(&self, uid: Uid, view: &View) -> u32 {
        if self.uid { uid.get() } else { view.selected.uids().seq_of(uid).map_or(0, |seq| seq.get()) }
    }
}

/// What is told and saved: when nothing but MIN or MAX was asked for, only these (RFC 4731 §3.2, RFC 5182 §2.4).
fn told(order: &[Uid], returns: Option<SearchReturn>) -> UidSet {
    match returns {
        Some(r) if !r.all && !r.count && (r.min || r.max) => {
            let bounds = [order.first().filter(|_| r.min), order.last().filter(|_| r.max)];
            bounds.into_iter().flatten().copied().collect()
        }
        _ => order.iter().copied().collect(),
    }
}

/// How the messages are listed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// ` 2 3 1`
    Plain,
    /// `2:3,1`
    Extended,
    /// Not at all: they were only to be saved.
    Nothing,
}

/// The end of a response, from some place in the order on.
struct Numbers {
    list: Vec<u32>,
    at: usize,
    form: Form,
    modseq: Option<ModSeq>,
}

impl Numbers {
    /// `None` when it is out.
    fn write(&mut self, io: &mut Io<'_>) -> Option<Step> {
        if self.form == Form::Nothing {
            return None;
        }
        while self.at < self.list.len() {
            if io.is_above_high_water() {
                return Some(Step::Flush);
            }
            (0..CHUNK).for_each(|_| self.write_next(io.output));
        }
        self.write_modseq(io.output);
        io.output.extend_from_slice(b"\r\n");
        None
    }

    fn write_next(&mut self, out: &mut Vec<u8>) {
        let Some(&first) = self.list.get(self.at) else { return };
        if self.form == Form::Plain {
            self.at += 1;
            out.push(b' ');
            return write::number(out, u64::from(first));
        }
        if self.at > 0 {
            out.push(b',');
        }
        let run = self.list[self.at..].iter().zip(first..).take_while(|(number, next)| **number == *next);
        let length = run.count();
        self.at += length;
        write::number(out, u64::from(first));
        if length > 1 {
            out.push(b':');
            write::number(out, u64::from(first) + length as u64 - 1);
        }
    }

    fn write_modseq(&self, out: &mut Vec<u8>) {
        let Some(modseq) = self.modseq else { return };
        out.extend_from_slice(if self.form == Form::Plain { b" (MODSEQ " } else { b" MODSEQ " });
        write::number(out, modseq.0);
        if self.form == Form::Plain {
            out.push(b')');
        }
    }
}
