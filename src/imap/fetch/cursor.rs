//! Walks the messages of a FETCH, as far as the client reads and the slice of time goes.

use std::ops::Range;
use std::sync::Arc;

use super::batch::Batch;
use super::items::{Items, Known};
use super::plan::Plan;
use super::section::{self, Source};
use crate::imap::code::{Code, Failure};
use crate::imap::session::{Enabled, View};
use crate::imap::types::{FetchAttributes, SectionKind};
use crate::imap::write;
use crate::session::{Io, Security, Step};
use crate::spare::Lent;
use crate::store::{Content, KeywordTable, Message, Meta, Uid, UidSet, Window};
use crate::sys::FileRange;

/// Messages that are looked up at once.
const BATCH: usize = 64;

/// Bytes of a message that are read at once.
const PIECE: u64 = 64 * 1024;

/// From how many bytes on a section leaves straight from its file: shorter ones rather share a call with others.
const MIN_FROM_FILE: u64 = 24 * 1024;

/// Where a FETCH stands.
pub(in crate::imap) struct Cursor {
    uids: UidSet,
    plan: Plan,
    /// Messages that this command has marked `\Seen`: their FLAGS go with the answer.
    seen: UidSet,
    /// The first UID that is not in a batch yet; `None` after the last.
    next: Option<Uid>,
    batch: Batch,
    /// Bytes of the batch's messages.
    window: Option<Window>,
    keywords: Option<Arc<KeywordTable>>,
    /// The message that is told in part, while the command is suspended.
    open: Option<Box<Open>>,
}

/// A message whose sections are on their way.
struct Open {
    message: Message,
    meta: Option<Arc<Meta>>,
    next_section: usize,
    /// Whether the next section needs a space before it.
    has_items: bool,
    /// What is left of the current section.
    body: Option<Body>,
    /// Its bytes, when more of them may be wanted.
    content: Option<Content>,
}

/// The rest of an announced literal.
enum Body {
    Range { range: Range<u64>, mask_nul: bool },
    Bytes { bytes: Lent<u8>, at: usize },
}

impl Cursor {
    /// `seen` are the messages whose flags this command has changed by reading them.
    pub(in crate::imap) fn new(uids: UidSet, plan: Plan, seen: UidSet) -> Self {
        Cursor {
            next: uids.first(),
            uids,
            plan,
            seen,
            batch: Batch::default(),
            window: None,
            keywords: None,
            open: None,
        }
    }

    /// Whether a message is told in part.
    pub(in crate::imap) fn is_inside_message(&self) -> bool {
        self.open.is_some()
    }

    /// Goes on; `None` when all is told.
    pub(in crate::imap) fn run(
        &mut self,
        view: &mut View,
        enabled: Enabled,
        io: &mut Io<'_>,
    ) -> Result<Option<Step>, Failure> {
        let mut open = self.open.take().map(|open| *open);
        let step = self.go_on(&mut open, view, enabled, io)?;
        if step.is_some() {
            self.pause(open, view);
        }
        Ok(step)
    }

    fn go_on(
        &mut self,
        open: &mut Option<Open>,
        view: &mut View,
        enabled: Enabled,
        io: &mut Io<'_>,
    ) -> Result<Option<Step>, Failure> {
        loop {
            if io.is_above_high_water() {
                return Ok(Some(Step::Flush));
            }
            if let Some(message) = open {
                if let Some(range) = self.in_file(message, view, io).map_err(Failure::Broken)? {
                    return Ok(Some(Step::Send(Box::new(range))));
                }
                if !self.proceed(message, view, io)? {
                    *open = None;
                }
                continue;
            }
            if self.batch.is_empty() {
                if self.next.is_some() && io.is_slice_over() {
                    return Ok(Some(Step::Yield));
                }
                if !self.load(view, io)? {
                    return Ok(None);
                }
            }
            if let Some(message) = self.batch.pop() {
                self.tell(message, open, view, enabled, io)?;
            }
        }
    }

    /// Gives back what a session that may wait for long must not hold.
    fn pause(&mut self, open: Option<Open>, view: &View) {
        self.window = None;
        self.plan.rest();
        self.batch.rest();
        self.uids.rest();
        self.seen.rest();
        self.open = open.map(|open| {
            let content = open.content.and_then(|content| view.selected.keep_open(content));
            Box::new(Open { content, ..open })
        });
    }

    /// Fetches the next batch; false at the end.
    fn load(&mut self, view: &mut View, io: &mut Io<'_>) -> Result<bool, Failure> {
        let Some(from) = self.next else { return Ok(false) };
        let max = if self.plan.items.sections.is_empty() { BATCH } else { BATCH / 8 };
        let (uids, window, is_whole) = (&self.uids, &mut self.window, self.plan.is_whole());
        let needs_meta = self.plan.needs_meta;
        let last = self.batch.fill(|batch| {
            // Other sessions of the worker may have caught up further than this one's last sync.
            view.selected.messages_to_tell(uids, from, max, batch)?;
            if needs_meta {
                view.selected.expect_metas(batch);
            }
            // What cannot be read shows with the message that it is.
            *window = is_whole.then(|| view.selected.window(batch).ok().flatten()).flatten();
            Ok::<_, Failure>(())
        })?;
        self.next = last.and_then(|last| last.uid.get().checked_add(1)).and_then(Uid::new);
        self.keywords = Some(view.announced_keywords(io.output));
        Ok(!self.batch.is_empty())
    }

    /// Writes all that needs no bytes of the message, and opens it when there is more. Everything that can be refused is
    /// found out before the first byte of the response.
    fn tell(
        &mut self,
        message: Message,
        open: &mut Option<Open>,
        view: &mut View,
        enabled: Enabled,
        io: &mut Io<'_>,
    ) -> Result<(), Failure> {
        let Some(seq) = view.selected.uids().seq_of(message.uid) else { return Ok(()) };
        let meta = if self.plan.needs_meta { Some(view.selected.meta(&message)?) } else { None };
        self.check_sections(meta.as_deref())?;
        let content = if self.plan.is_whole() { self.open_early(&message, view)? } else { None };
        let mut implied = FetchAttributes::NONE;
        if self.seen.contains(message.uid) {
            implied = Plan::unsolicited(enabled).items.attributes;
        }
        let is_recent = view.selected.is_recent(message.uid);
        let known = Known { keywords: self.keywords.as_deref(), is_recent, meta: meta.as_deref() };
        let mut items = Items::open(io.output, seq.get());
        items.attributes(&self.plan, implied, &message, &known);
        let has_items = !items.is_empty();
        if self.plan.items.sections.is_empty() {
            io.output.extend_from_slice(b")\r\n");
        } else {
            *open = Some(Open { message, meta, next_section: 0, has_items, body: None, content });
        }
        Ok(())
    }

    /// Sections that need no description of the message are all of it: whether its bytes are still there shows only when
    /// they are looked for.
    fn open_early(&self, message: &Message, view: &View) -> Result<Option<Content>, Failure> {
        if self.window.as_ref().is_some_and(|window| window.find(message).is_some()) {
            return Ok(None);
        }
        Ok(Some(view.selected.content(message)?))
    }

    fn check_sections(&self, meta: Option<&Meta>) -> Result<(), Failure> {
        if self.plan.items.sections.is_empty() {
            return Ok(());
        }
        let damaged = || Failure::no(Code::ServerBug, "what is known of the message is damaged");
        let parts = meta.map(|meta| meta.parts().ok_or_else(damaged)).transpose()?;
        self.plan.items.sections.iter().try_for_each(|section| section::check(section, parts))
    }

    /// The rest of the current section, if it can leave straight from its file.
    fn in_file(&self, open: &mut Open, view: &View, io: &Io<'_>) -> crate::store::Result<Option<FileRange>> {
        let Some(Body::Range { range, mask_nul: false }) = &open.body else { return Ok(None) };
        let is_read = self.window.as_ref().is_some_and(|window| window.find(&open.message).is_some());
        if is_read || io.security != Security::Plain || range.end - range.start < MIN_FROM_FILE {
            return Ok(None);
        }
        let content = match open.content.take() {
            Some(content) => content,
            None => view.selected.content(&open.message)?,
        };
        let found = view.selected.file_range(&content, range.clone());
        if found.is_some() {
            open.body = None;
        } else {
            open.content = Some(content);
        }
        Ok(found)
    }

    /// Sends one piece of a body or begins the next section; false when that was the end.
    fn proceed(&self, open: &mut Open, view: &View, io: &mut Io<'_>) -> Result<bool, Failure> {
        if let Some(body) = open.body.take() {
            open.body = open.send(body, self.window.as_ref(), view, io).map_err(Failure::Broken)?;
            return Ok(true);
        }
        let Some(section) = self.plan.items.sections.get(open.next_section) else {
            io.output.extend_from_slice(b")\r\n");
            return Ok(false);
        };
        let source = section::find(section, &open.message, open.meta.as_deref(), &view.selected);
        let source = source.map_err(Failure::Broken)?;
        if open.has_items {
            io.output.push(b' ');
        }
        open.has_items = true;
        io.output.extend_from_slice(self.plan.label(open.next_section));
        io.output.push(b' ');
        open.next_section += 1;
        open.body = begin(source, section.kind, open.message.has_no_nul, io.output);
        Ok(true)
    }
}

/// Announces a section's value, or writes it when it is not a literal.
fn begin(source: Source, kind: SectionKind, has_no_nul: bool, out: &mut Vec<u8>) -> Option<Body> {
    match source {
        Source::Nil => out.extend_from_slice(b"NIL"),
        Source::Size(size) => write::number(out, size),
        Source::Range(range) => {
            let is_binary = kind == SectionKind::Binary;
            if is_binary && !has_no_nul {
                out.push(b'~');
            }
            write::literal_header(out, range.end - range.start);
            return Some(Body::Range { range, mask_nul: !is_binary && !has_no_nul });
        }
        Source::Bytes(bytes) => {
            if memchr::memchr(0, &bytes).is_some() && kind == SectionKind::Binary {
                out.push(b'~');
            }
            write::literal_header(out, bytes.len() as u64);
            if bytes.len() as u64 > PIECE {
                return Some(Body::Bytes { bytes, at: 0 });
            }
            out.extend_from_slice(&bytes);
        }
    }
    None
}

impl Open {
    /// Appends a piece; what is left, `None` after the last.
    fn send(
        &mut self,
        body: Body,
        window: Option<&Window>,
        view: &View,
        io: &mut Io<'_>,
    ) -> crate::store::Result<Option<Body>> {
        match body {
            Body::Range { range, mask_nul } => {
                let end = range.end.min(range.start + PIECE);
                let from = io.output.len();
                let ahead = window.and_then(|window| window.find(&self.message));
                match ahead.and_then(|bytes| bytes.get(range.start as usize..end as usize)) {
                    Some(piece) => io.output.extend_from_slice(piece),
                    None => self.read(range.start..end, end < range.end, view, io.output)?,
                }
                if mask_nul {
                    mask_nuls(io.output.get_mut(from..).unwrap_or_default());
                }
                Ok((end < range.end).then_some(Body::Range { range: end..range.end, mask_nul }))
            }
            Body::Bytes { bytes, at } => {
                let end = bytes.len().min(at + PIECE as usize);
                io.output.extend_from_slice(bytes.get(at..end).unwrap_or_default());
                Ok((end < bytes.len()).then_some(Body::Bytes { bytes, at: end }))
            }
        }
    }

    /// Reads from the log, or from the message's file; holds on to that when there is more to come.
    fn read(
        &mut self,
        piece: Range<u64>,
        has_more: bool,
        view: &View,
        out: &mut Vec<u8>,
    ) -> crate::store::Result<()> {
        let content = match self.content.take() {
            Some(content) => content,
            None => view.selected.content(&self.message)?,
        };
        content.read(piece, out)?;
        self.content = has_more.then_some(content);
        Ok(())
    }
}

/// A NUL, which only APPEND of a literal8 can bring, must not stand in a literal (RFC 9051 §4.3, CHAR8); 0x80 is
/// what other servers send in its place.
fn mask_nuls(mut bytes: &mut [u8]) {
    while let Some(at) = memchr::memchr(0, bytes) {
        bytes[at] = 0x80;
        bytes = &mut bytes[at + 1..];
    }
}
