//! What is computed about a message once, at APPEND, and kept beside it (record Meta).

use std::borrow::Cow;
use std::ops::Range;
use std::sync::OnceLock;

use super::error::Result;
use super::limits::MAX_HOT;
use super::wire::{Fields, PutFields};
use crate::message::{Analysis, Parts, Which};

const NO_PREVIEW: u32 = u32::MAX;
/// Bytes of the lengths in front.
const HEAD: usize = 20;

/// Wire-ready answers to what clients ask for again and again.
#[derive(Debug)]
pub struct Meta {
    bytes: Vec<u8>,
    envelope: Range<usize>,
    body: Range<usize>,
    body_structure: Range<usize>,
    preview: Option<Range<usize>>,
    parts: OnceLock<Option<Parts>>,
    encoded_parts: Range<usize>,
    /// The header of the message, when somebody has asked for it.
    header: OnceLock<Box<[u8]>>,
}

impl Meta {
    /// Bytes of the record.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The parenthesised ENVELOPE.
    pub fn envelope(&self) -> &[u8] {
        &self.bytes[self.envelope.clone()]
    }

    /// The parenthesised BODY.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.body.clone()]
    }

    /// The parenthesised BODYSTRUCTURE.
    pub fn body_structure(&self) -> &[u8] {
        &self.bytes[self.body_structure.clone()]
    }

    /// PREVIEW (RFC 8970); `None` when the message has no text.
    pub fn preview(&self) -> Option<&str> {
        self.preview.clone().and_then(|range| std::str::from_utf8(&self.bytes[range]).ok())
    }

    /// Where the parts of the message are; `None` when the record is damaged.
    pub fn parts(&self) -> Option<&Parts> {
        let decode = || Parts::decode(&self.bytes[self.encoded_parts.clone()]).ok();
        self.parts.get_or_init(decode).as_ref()
    }

    /// The header of the message, read with `read`, which appends a range of its bytes. One that is not long is kept.
    pub(super) fn header(
        &self,
        read: impl FnOnce(Range<u64>, &mut Vec<u8>) -> Result<()>,
    ) -> Result<Cow<'_, [u8]>> {
        if let Some(header) = self.header.get() {
            return Ok(header.as_ref().into());
        }
        let mut bytes = Vec::new();
        if let Some(range) = self.parts().and_then(|parts| parts.locate(&[], Which::Header)) {
            read(range, &mut bytes)?;
        }
        if bytes.len() > MAX_HOT {
            return Ok(bytes.into());
        }
        Ok(self.header.get_or_init(|| bytes.into()).as_ref().into())
    }

    /// Appends the payload of a Meta record, and says how long it is.
    pub(super) fn put(analysis: &Analysis, out: &mut Vec<u8>) -> u32 {
        let start = out.len();
        let preview = analysis.preview();
        let texts = [analysis.envelope(), analysis.body(), analysis.body_structure()];
        for text in texts {
            out.put_u32(text.len() as u32);
        }
        out.put_u32(preview.map_or(NO_PREVIEW, |text| text.len() as u32));
        let length_of_parts = out.len();
        out.put_u32(0);
        texts.iter().for_each(|text| out.put(text));
        out.put(preview.unwrap_or_default().as_bytes());
        let parts = out.len();
        analysis.parts.encode(out);
        let length = (out.len() - parts) as u32;
        out[length_of_parts..][..4].copy_from_slice(&length.to_le_bytes());
        (out.len() - start) as u32
    }

    /// Bytes that [`put`](Self::put) appends, or a few more.
    pub(super) fn most_len(analysis: &Analysis) -> usize {
        HEAD + analysis.texts_len() + analysis.parts.most_len()
    }

    /// Reads the payload of a Meta record; `None` when its lengths do not add up.
    pub(super) fn decode(bytes: Vec<u8>) -> Option<Meta> {
        let mut fields = Fields(&bytes);
        let [envelope, body, body_structure, preview, parts] =
            [fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?];
        let mut at = HEAD;
        let mut next = |len: u32| {
            let from = at;
            at += len as usize;
            (at <= bytes.len()).then_some(from..at)
        };
        let (envelope, body, body_structure) = (next(envelope)?, next(body)?, next(body_structure)?);
        let preview = if preview == NO_PREVIEW { None } else { Some(next(preview)?) };
        let encoded_parts = next(parts)?;
        let (parts, header) = Default::default();
        Some(Meta { envelope, body, body_structure, preview, parts, encoded_parts, header, bytes })
    }
}
