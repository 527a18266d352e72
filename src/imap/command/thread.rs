//! THREAD and UID THREAD (RFC 5256).

use super::search_key::Compiler;
use crate::imap::code::Failure;
use crate::imap::session::{Completion, ImapSession, Started, Sync, View, Work};
use crate::imap::types;
use crate::imap::write;
use crate::search::{Forest, Siblings, Thread};
use crate::session::{Io, Step};
use crate::store::UidIndex;

/// Steps that are taken between two looks at the output's size.
const CHUNK: usize = 512;

/// A THREAD on its way.
pub(in crate::imap) struct Threading {
    uid: bool,
    stage: Stage,
}

enum Stage {
    Thread(Thread),
    Write(Writer),
}

impl ImapSession {
    pub(in crate::imap) fn thread(
        &mut self,
        command: &types::Thread<'_>,
        io: &mut Io<'_>,
    ) -> Result<Started, Failure> {
        let uid = command.search.uid;
        let (program, with_modseq) = Compiler::compile(self.view()?, &command.search)?;
        if with_modseq {
            self.enable_condstore(io.output);
        }
        let stage = Stage::Thread(Thread::new(program, command.algorithm, self.shared.sorted.clone()));
        let (sync, text) =
            if uid { (Sync::Report, "UID THREAD completed") } else { (Sync::Defer, "THREAD completed") };
        let work = Work::Thread(Box::new(Threading { uid, stage }));
        Ok(Started::Run { work, sync, done: Completion::plain(text) })
    }
}

impl Threading {
    pub(in crate::imap) fn run(&mut self, view: &mut View, io: &mut Io<'_>) -> Result<Option<Step>, Failure> {
        if let Stage::Thread(thread) = &mut self.stage {
            let Some(forest) = thread.run(&view.selected, || io.is_slice_over())? else {
                return Ok(Some(Step::Yield));
            };
            self.stage = Stage::Write(Writer::new(forest, io.output));
        }
        let numbered = if self.uid { None } else { Some(view.selected.uids()) };
        match &mut self.stage {
            Stage::Write(writer) => Ok(writer.write(numbered, io)),
            Stage::Thread(_) => Ok(None),
        }
    }
}

/// Writes threads: a message is followed by its child, or by its children in parentheses when it has several. What is
/// left to do is on a stack, which grows with branches within branches but not with the length of a chain.
struct Writer {
    forest: Forest,
    left: Vec<Task>,
}

enum Task {
    /// Each of these in parentheses.
    Lists(Siblings),
    /// What follows a message.
    After(Siblings),
    Close,
}

impl Writer {
    fn new(forest: Forest, out: &mut Vec<u8>) -> Self {
        let roots = forest.roots();
        out.extend_from_slice(if roots.is_empty() { b"* THREAD" } else { b"* THREAD " });
        Writer { left: vec![Task::Lists(roots)], forest }
    }

    /// `None` when all is out. Messages have their numbers in `numbered`, or else their UIDs.
    fn write(&mut self, numbered: Option<&UidIndex>, io: &mut Io<'_>) -> Option<Step> {
        while !self.left.is_empty() {
            if io.is_above_high_water() {
                return Some(Step::Flush);
            }
            for _ in 0..CHUNK {
                let Some(task) = self.left.pop() else { break };
                self.take(task, numbered, io.output);
            }
        }
        io.output.extend_from_slice(b"\r\n");
        None
    }

    fn take(&mut self, task: Task, numbered: Option<&UidIndex>, out: &mut Vec<u8>) {
        match task {
            Task::Lists(siblings) => {
                let Some((node, others)) = self.forest.split_first(siblings) else { return };
                if !others.is_empty() {
                    self.left.push(Task::Lists(others));
                }
                self.left.push(Task::Close);
                out.push(b'(');
                self.node(node, numbered, out);
            }
            Task::After(children) => {
                let Some((child, others)) = self.forest.split_first(children.clone()) else { return };
                out.push(b' ');
                if others.is_empty() {
                    self.node(child, numbered, out);
                } else {
                    self.left.push(Task::Lists(children));
                }
            }
            Task::Close => out.push(b')'),
        }
    }

    fn node(&mut self, node: u32, numbered: Option<&UidIndex>, out: &mut Vec<u8>) {
        let children = self.forest.children(node);
        let Some(uid) = self.forest.uid(node) else { return self.left.push(Task::Lists(children)) };
        let number = match numbered {
            Some(uids) => uids.seq_of(uid).map_or(0, |seq| seq.get()),
            None => uid.get(),
        };
        write::number(out, u64::from(number));
        self.left.push(Task::After(children));
    }
}
