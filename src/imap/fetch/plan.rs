//! What a FETCH response says of each message.

use smallvec::SmallVec;

use crate::imap::session::Enabled;
use crate::imap::types::{FetchAttributes, FetchItems, FetchSection, SectionKind, SectionText};
use crate::spare::Lent;

/// Items of a FETCH response, and what has to be read from the store for them.
#[derive(Debug, Default)]
pub(in crate::imap) struct Plan {
    pub(super) items: FetchItems,
    /// The client knows `\Recent` (not under IMAP4rev2).
    pub(super) recent: bool,
    /// What was computed at APPEND is needed.
    pub(super) needs_meta: bool,
    /// How the sections are called in the response, one behind the other, and where each ends.
    labels: Lent<u8>,
    label_ends: SmallVec<[u32; 2]>,
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
        let mut labels = Lent::default();
        let end_of = |section: &FetchSection| {
            section.write_label(&mut labels);
            labels.len() as u32
        };
        let label_ends = items.sections.iter().map(end_of).collect();
        Plan {
            labels,
            label_ends,
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

    /// What the response calls a section: `BODY[1.HEADER.FIELDS (SUBJECT)]<0>`.
    pub(super) fn label(&self, section: usize) -> &[u8] {
        let end_of = |section: usize| self.label_ends.get(section).map_or(0, |end| *end as usize);
        let start = section.checked_sub(1).map_or(0, end_of);
        self.labels.get(start..end_of(section)).unwrap_or_default()
    }

    /// The command is suspended, for how long its client decides.
    pub(super) fn rest(&mut self) {
        self.labels.rest();
        for section in &mut self.items.sections {
            if let SectionText::HeaderFields(names) | SectionText::HeaderFieldsNot(names) = &mut section.text
            {
                names.rest();
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::parse::parse_command;
    use crate::imap::types::{CommandBody, Dialect};

    #[test]
    fn each_section_has_its_label() {
        let line =
            b"a FETCH 1 (BODY.PEEK[] FLAGS BODY[1.2.MIME]<0.10> BODY.PEEK[HEADER.FIELDS (\"To\" subject)])";
        let CommandBody::Fetch(fetch) = parse_command(line, Dialect::REV1).unwrap().body else { panic!() };
        let plan = Plan::new(fetch.items, Enabled::default());
        let labels: Vec<_> = (0..4).map(|at| String::from_utf8(plan.label(at).to_vec()).unwrap()).collect();
        assert_eq!(labels, ["BODY[]", "BODY[1.2.MIME]<0>", "BODY[HEADER.FIELDS (To subject)]", ""]);
    }
}
