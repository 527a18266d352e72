//! FETCH (RFC 9051 §6.4.5; BINARY RFC 3516, CONDSTORE and QRESYNC RFC 7162, OBJECTID RFC 8474, SAVEDATE RFC 8514,
//! PREVIEW RFC 8970). Owned, because a FETCH is suspended when the client is slow to read.

use std::num::NonZeroU64;

use smallvec::SmallVec;

use super::SequenceSet;
use super::bits::bit_set;
use crate::imap::write;
use crate::message::FieldNames;
use crate::store::ModSeq;

/// A FETCH or UID FETCH command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Whether the set holds UIDs, and UID is among the items then.
    pub uid: bool,
    pub set: SequenceSet,
    pub items: FetchItems,
    /// Only messages changed after this; MODSEQ is among the items then.
    pub changed_since: Option<ModSeq>,
    /// Also tell which UIDs are gone; only with `uid` and `changed_since`.
    pub vanished: bool,
}

/// What to fetch of each message. Asking twice for the same is asking once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchItems {
    pub attributes: FetchAttributes,
    pub sections: SmallVec<[FetchSection; 1]>,
}

bit_set! {
    /// The items without arguments.
    FetchAttributes: u16 {
        FLAGS = 0,
        UID = 1,
        INTERNALDATE = 2,
        RFC822_SIZE = 3,
        ENVELOPE = 4,
        BODY = 5,
        BODYSTRUCTURE = 6,
        MODSEQ = 7,
        EMAILID = 8,
        THREADID = 9,
        SAVEDATE = 10,
        PREVIEW = 11,
        /// `PREVIEW (LAZY)`: answer NIL when it is not at hand.
        PREVIEW_LAZY = 12,
    }
}

impl FetchAttributes {
    /// The macro FAST.
    pub const MACRO_FAST: Self = Self::FLAGS.union(Self::INTERNALDATE).union(Self::RFC822_SIZE);
    /// The macro ALL.
    pub const MACRO_ALL: Self = Self::MACRO_FAST.union(Self::ENVELOPE);
    /// The macro FULL.
    pub const MACRO_FULL: Self = Self::MACRO_ALL.union(Self::BODY);
}

/// An item that sends bytes of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchSection {
    pub kind: SectionKind,
    /// Which part; empty for the message itself.
    pub path: PartPath,
    /// What of the part; [`SectionText::Full`] for all kinds but [`SectionKind::Body`].
    pub text: SectionText,
    pub partial: Option<Partial>,
    /// Whether the fetch leaves `\Seen` alone. True for BINARY.SIZE and RFC822.HEADER.
    pub peek: bool,
}

/// Numbers of nested parts, each from 1.
pub type PartPath = SmallVec<[u32; 4]>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// `BODY[…]`
    Body,
    /// `BINARY[…]`: transfer encoding removed.
    Binary,
    /// `BINARY.SIZE[…]`
    BinarySize,
    /// `RFC822`, the same bytes as `BODY[]`
    Rfc822,
    /// `RFC822.HEADER`, the same bytes as `BODY[HEADER]`
    Rfc822Header,
    /// `RFC822.TEXT`, the same bytes as `BODY[TEXT]`
    Rfc822Text,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SectionText {
    Full,
    Header,
    HeaderFields(FieldNames),
    HeaderFieldsNot(FieldNames),
    Text,
    /// Only below a part.
    Mime,
}

/// `<offset.length>` of RFC 9051 §6.4.5, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    pub offset: u64,
    pub length: NonZeroU64,
}

impl FetchSection {
    /// Writes the item's name for the response: `BODY[1.HEADER.FIELDS (SUBJECT)]<0>`.
    pub fn write_label(&self, out: &mut Vec<u8>) {
        let name: &[u8] = match self.kind {
            SectionKind::Body => b"BODY[",
            SectionKind::Binary => b"BINARY[",
            SectionKind::BinarySize => b"BINARY.SIZE[",
            SectionKind::Rfc822 => return out.extend_from_slice(b"RFC822"),
            SectionKind::Rfc822Header => return out.extend_from_slice(b"RFC822.HEADER"),
            SectionKind::Rfc822Text => return out.extend_from_slice(b"RFC822.TEXT"),
        };
        out.extend_from_slice(name);
        self.write_path(out);
        self.write_text(out);
        out.push(b']');
        if let Some(partial) = self.partial {
            out.push(b'<');
            write::number(out, partial.offset);
            out.push(b'>');
        }
    }

    fn write_path(&self, out: &mut Vec<u8>) {
        for (index, part) in self.path.iter().enumerate() {
            if index > 0 {
                out.push(b'.');
            }
            write::number(out, u64::from(*part));
        }
    }

    fn write_text(&self, out: &mut Vec<u8>) {
        if !self.path.is_empty() && self.text != SectionText::Full {
            out.push(b'.');
        }
        match &self.text {
            SectionText::Full => {}
            SectionText::Header => out.extend_from_slice(b"HEADER"),
            SectionText::Text => out.extend_from_slice(b"TEXT"),
            SectionText::Mime => out.extend_from_slice(b"MIME"),
            SectionText::HeaderFields(fields) => write_fields(out, b"HEADER.FIELDS (", fields),
            SectionText::HeaderFieldsNot(fields) => write_fields(out, b"HEADER.FIELDS.NOT (", fields),
        }
    }
}

fn write_fields(out: &mut Vec<u8>, name: &[u8], fields: &FieldNames) {
    out.extend_from_slice(name);
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        write::astring(out, field);
    }
    out.push(b')');
}
