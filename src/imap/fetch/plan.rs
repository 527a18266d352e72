//! What a FETCH response says of each message.

use crate::imap::session::Enabled;
use crate::imap::types::{FetchAttributes, FetchItems, SectionKind, SectionText};

/// Items of a FETCH response, and what has to be read from the store for them.
#[derive(Debug, Default)]
pub(in crate::imap) struct Plan {
    pub(super) items: FetchItems,
    /// The client knows `\Recent` (not under IMAP4rev2).
    pub(super) recent: bool,
    /// What was computed at APPEND is needed.
    pub(super) needs_meta: bool,
}

const FROM_META: FetchAttributes = FetchAttributes::ENVELOPE
    .union(FetchAttributes::BODY)
    .union(FetchAttributes::BODYSTRUCTURE)
    .union(FetchAttributes::PREVIEW)
    .union(FetchAttributes::PREVIEW_LAZY);

impl Plan {
    /// What a client asked for. A client that has enabled QRESYNC gets the UID with everything.
    pub(in crate::imap) fn new(mut items: FetchItems, enabled: Enabled) -> Self {
        if enabled.qresync {
            items.attributes.insert(FetchAttributes::UID);
        }
        let from_parts = items.sections.iter().any(|section| {
            let whole = section.path.is_empty() && section.text == SectionText::Full;
            !whole || matches!(section.kind, SectionKind::Rfc822Header | SectionKind::Rfc822Text)
        });
        Plan {
            needs_meta: from_parts || items.attributes.intersects(FROM_META),
            recent: !enabled.rev2,
            items,
        }
    }

    /// New flags that the client did not ask for, with the MODSEQ that goes with them (RFC 7162 §3.1.4.2).
    pub(in crate::imap) fn unsolicited(enabled: Enabled) -> Self {
        let mut attributes = FetchAttributes::FLAGS;
        if enabled.condstore {
            attributes.insert(FetchAttributes::MODSEQ);
        }
        if enabled.qresync || enabled.rev2 {
            attributes.insert(FetchAttributes::UID);
        }
        Plan::of(attributes, enabled)
    }

    /// Whether all sections are parts of the whole message that need no description of it.
    pub(super) fn is_whole(&self) -> bool {
        !self.needs_meta && !self.items.sections.is_empty()
    }

    /// Items without sections.
    pub(in crate::imap) fn of(attributes: FetchAttributes, enabled: Enabled) -> Self {
        Plan::new(FetchItems { attributes, ..FetchItems::default() }, enabled)
    }
}
