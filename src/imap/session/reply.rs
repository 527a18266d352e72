//! The lines that every command shares: tagged replies, continuations, goodbyes.

use smallvec::SmallVec;

use super::{ImapSession, write_uids};
use crate::imap::code::{self, Code, Failure};
use crate::imap::write;
use crate::session::{Goodbye, Step};
use crate::store::{self, Appended, ModSeq};

/// A tag that outlives its command's bytes.
pub(crate) type OwnedTag = SmallVec<[u8; 24]>;

/// What the tagged OK says.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) detail: Detail,
    /// After the code, without line end.
    pub(crate) text: &'static str,
}

/// The response code of a tagged OK.
#[derive(Debug)]
pub(crate) enum Detail {
    None,
    Code(Code),
    /// APPENDUID (RFC 4315 §3).
    Appended(Appended),
    /// A code with its arguments, without brackets.
    Bytes(Vec<u8>),
    /// The mailbox's HIGHESTMODSEQ as of the sync at the command's end (RFC 7162 §3.2.10).
    HighestModSeq,
}

impl Completion {
    pub(crate) const fn plain(text: &'static str) -> Self {
        Completion { detail: Detail::None, text }
    }

    pub(crate) const fn code(code: Code, text: &'static str) -> Self {
        Completion { detail: Detail::Code(code), text }
    }

    pub(crate) const fn bytes(code: Vec<u8>, text: &'static str) -> Self {
        Completion { detail: Detail::Bytes(code), text }
    }
}

impl Detail {
    /// Appends the code with its arguments, without brackets; nothing when there is none.
    pub(super) fn put(&self, highest_modseq: Option<ModSeq>, out: &mut Vec<u8>) {
        match self {
            Detail::None => {}
            Detail::Code(code) => out.extend_from_slice(code.as_str().as_bytes()),
            Detail::Appended(appended) => {
                out.extend_from_slice(b"APPENDUID ");
                write::number(out, u64::from(appended.uid_validity));
                out.push(b' ');
                write_uids(out, &appended.uids);
            }
            Detail::Bytes(code) => out.extend_from_slice(code),
            Detail::HighestModSeq => {
                if let Some(highest) = highest_modseq {
                    out.extend_from_slice(b"HIGHESTMODSEQ ");
                    write::number(out, highest.0);
                }
            }
        }
    }
}

/// `tag OK [code] text`, with a code that `put` appends; without brackets where it appends nothing.
pub(crate) fn ok_with(out: &mut Vec<u8>, tag: &[u8], put: impl FnOnce(&mut Vec<u8>), text: &str) {
    out.extend_from_slice(tag);
    out.extend_from_slice(b" OK [");
    let code = out.len();
    put(out);
    if out.len() == code {
        out.pop();
    } else {
        out.extend_from_slice(b"] ");
    }
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `tag OK [code] text`.
pub(crate) fn ok(out: &mut Vec<u8>, tag: &[u8], code: &[u8], text: &str) {
    tagged(out, tag, b" OK ", code, text.as_bytes());
}

/// `tag NO [code] text`.
pub(crate) fn no(out: &mut Vec<u8>, tag: &[u8], code: Option<Code>, text: &str) {
    tagged(out, tag, b" NO ", code.map_or("", Code::as_str).as_bytes(), text.as_bytes());
}

/// `tag BAD text`; `*` stands in for a tag that could not be read.
pub(crate) fn bad(out: &mut Vec<u8>, tag: Option<&[u8]>, text: &str) {
    tagged(out, tag.unwrap_or(b"*"), b" BAD ", b"", text.as_bytes());
}

fn tagged(out: &mut Vec<u8>, tag: &[u8], condition: &[u8], code: &[u8], text: &[u8]) {
    out.extend_from_slice(tag);
    out.extend_from_slice(condition);
    if !code.is_empty() {
        out.push(b'[');
        out.extend_from_slice(code);
        out.extend_from_slice(b"] ");
    }
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

/// `* BYE text`.
pub(crate) fn bye(out: &mut Vec<u8>, text: &str) {
    tagged(out, b"*", b" BYE ", b"", text.as_bytes());
}

/// `* OK [name value] text`.
pub(crate) fn ok_number(out: &mut Vec<u8>, name: &str, value: u64, text: &str) {
    out.extend_from_slice(b"* OK [");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    write::number(out, value);
    out.extend_from_slice(b"] ");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `* value name`.
pub(crate) fn count(out: &mut Vec<u8>, value: u32, name: &str) {
    out.extend_from_slice(b"* ");
    write::number(out, u64::from(value));
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// What a client is told when the server ends the session, and the word for the log.
pub(crate) fn goodbye(out: &mut Vec<u8>, why: Goodbye) -> &'static str {
    let (line, reason): (&[u8], _) = match why {
        Goodbye::Idle => (b"* BYE idle for too long, send NOOP or IDLE now and then\r\n", "idle"),
        Goodbye::LoginTimeout => (b"* BYE no login in time\r\n", "logintimeout"),
        Goodbye::Shutdown => {
            (b"* BYE [UNAVAILABLE] server is going down, connect again soon\r\n", "shutdown")
        }
        Goodbye::Killed => (b"* BYE session was ended by an administrator\r\n", "killed"),
    };
    out.extend_from_slice(line);
    reason
}

impl ImapSession {
    /// Answers a command that failed. Only a failure in the middle of a response ends the session.
    pub(in crate::imap) fn fail(&mut self, out: &mut Vec<u8>, tag: &[u8], failure: Failure) -> Option<Step> {
        match failure {
            Failure::No(code, text) => no(out, tag, code, &text),
            Failure::Bad(text) => return self.offend(out, Some(tag), &text),
            Failure::Store(store::Error::Refused(refusal)) => {
                no(out, tag, Some(code::of_refusal(refusal)), &refusal.to_string());
            }
            Failure::Store(error) => {
                self.log_error(&error);
                let (code, text) = code::of_trouble(&error);
                no(out, tag, Some(code), text);
            }
            Failure::Bye(text, reason) => {
                bye(out, text);
                return Some(self.close(reason));
            }
            Failure::Broken(error) => {
                self.log_error(&error);
                return Some(self.close("storeerror"));
            }
        }
        None
    }

    pub(super) fn log_error(&self, error: &store::Error) {
        let user = self.user.as_ref().map_or("", |user| user.name().as_str());
        log::error!(user = user; "{error}");
    }
}
