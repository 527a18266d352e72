//! RFC 5322 and MIME for the store and the protocol. This room knows neither.
//!
//! Everything that clients ask for again and again is computed once, by [`analyze`], from the bytes as they
//! arrived: ENVELOPE, BODY and BODYSTRUCTURE ready for the wire, and a table of the parts. What needs the bytes
//! themselves works on slices of them: [`header_fields`], [`decode_transfer`], [`search_header`],
//! [`search_text`].
//!
//! Nothing here fails on bad mail, and nothing takes more than linear time or recurses without bound; the
//! bounds are in [`limits`]. Lines end in CRLF, or in LF where mail is broken.
//!
//! | file | holds |
//! |---|---|
//! | `header`, `index`, `leading`, `lexer`, `octets`, `address`, `content`, `date` | fields and what is in them |
//! | `scan`, `parts` | the MIME tree: finding it, storing it, numbering it |
//! | `envelope`, `structure`, `wire` | what goes to clients |
//! | `transfer`, `charset`, `words`, `html` | decoding |
//! | `needle`, `search`, `preview`, `thread` | what decoded text is for |
//! | `envelope_fields`, `subject`, `message_id` | what messages are sorted and threaded by |

mod address;
mod charset;
mod content;
mod date;
mod envelope;
mod envelope_fields;
pub mod header;
mod html;
mod index;
mod leading;
mod lexer;
pub mod limits;
mod message_id;
mod needle;
mod octets;
mod parts;
mod preview;
mod scan;
mod search;
mod structure;
mod subject;
mod thread;
mod transfer;
mod wire;
mod words;

#[cfg(test)]
mod tests;

pub use address::{Entry, addresses};
pub use charset::decode_charset;
pub use content::Encoding;
pub use date::{SentDate, parse_date};
pub use envelope_fields::{EnvelopeField, FirstAddress, envelope_text, first_address};
pub use header::{FieldNames, header_fields};
pub use leading::leading_header;
pub use message_id::{MessageIds, message_ids};
pub use needle::{Needle, fold, fold_into};
pub use parts::{Kind, Part, Parts, PartsError, Which};
pub use search::{Scope, search_header, search_text};
pub use subject::base_subject;
pub use transfer::{UnknownEncoding, decode_transfer};
pub use words::decode_words;

use crate::spare::Lent;
use index::Name;

/// Everything that is kept about a message besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Analysis {
    /// What goes to clients as it stands, one behind the other: it is kept that way, and takes one buffer.
    texts: Lent<u8>,
    /// Where in it the body, the body structure and the preview begin.
    starts: [usize; 3],
    /// Where each part lies.
    pub parts: Parts,
    /// The `Date:` field, if it can be read.
    pub sent: Option<SentDate>,
    /// A hash that all messages of a thread share; 0 for a message without any message id, which is in no
    /// thread but its own.
    pub thread: u64,
}

impl Analysis {
    /// `(date subject from sender reply-to to cc bcc in-reply-to message-id)`, RFC 9051 §7.5.2.
    pub fn envelope(&self) -> &[u8] {
        &self.texts[..self.starts[0]]
    }

    /// BODY: the structure without extension data.
    pub fn body(&self) -> &[u8] {
        &self.texts[self.starts[0]..self.starts[1]]
    }

    /// BODYSTRUCTURE: the structure with all extension data.
    pub fn body_structure(&self) -> &[u8] {
        &self.texts[self.starts[1]..self.starts[2]]
    }

    /// Up to [`limits::MAX_PREVIEW_CHARS`] characters of readable text. `None` when there is none; PREVIEW is
    /// then the empty string (RFC 8970 §3.1), not NIL.
    pub fn preview(&self) -> Option<&str> {
        let preview = str::from_utf8(&self.texts[self.starts[2]..]).ok();
        preview.filter(|text| !text.is_empty())
    }

    /// Octets of all four.
    pub fn texts_len(&self) -> usize {
        self.texts.len()
    }
}

/// Octets that all texts of most messages fit in.
const TEXTS: usize = 1536;

/// Analyzes a message. Linear in its size, and never fails: what cannot be understood is described as text, or
/// as one opaque part.
pub fn analyze(raw: &[u8]) -> Analysis {
    let scan = scan::scan(raw);
    let mut texts = Lent::new();
    texts.reserve(TEXTS);
    envelope::envelope(&scan.header, &mut texts);
    let body = texts.len();
    let sent = scan.header.first(Name::Date).and_then(parse_date);
    let thread = thread::thread(&scan.header);
    // A structure that takes too much room is made anew, of one part: that always fits, since nothing of the
    // header is shown then.
    let described = structure::structures(raw, &scan, &mut texts);
    let body_structure = described.unwrap_or_else(|| structure::opaque(scan.parts.root(), &mut texts));
    let preview = texts.len();
    let parts = if described.is_some() {
        preview::preview(raw, &scan, &mut texts);
        scan.parts
    } else {
        scan.opaque()
    };
    Analysis { texts, starts: [body, body_structure, preview], parts, sent, thread }
}
