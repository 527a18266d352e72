//! The fields of a header that descriptions are made of, found in one walk over it.

use super::{
    header::{Field, Fields, fields},
    octets,
};

/// The fields that something is told from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Date,
    Subject,
    From,
    Sender,
    ReplyTo,
    To,
    Cc,
    Bcc,
    InReplyTo,
    MessageId,
    References,
    ContentType,
    ContentTransferEncoding,
    ContentDisposition,
    ContentId,
    ContentDescription,
    ContentMd5,
    ContentLanguage,
    ContentLocation,
}

impl Name {
    const COUNT: usize = Name::ContentLocation as usize + 1;

    /// Reads a name without regard to case. Its length leaves four at most to compare with.
    fn of(name: &[u8]) -> Option<Self> {
        let known: &[(&[u8], Self)] = match name.len() {
            2 => &[(b"to", Self::To), (b"cc", Self::Cc)],
            3 => &[(b"bcc", Self::Bcc)],
            4 => &[(b"from", Self::From), (b"date", Self::Date)],
            6 => &[(b"sender", Self::Sender)],
            7 => &[(b"subject", Self::Subject)],
            8 => &[(b"reply-to", Self::ReplyTo)],
            10 => &[
                (b"message-id", Self::MessageId),
                (b"references", Self::References),
                (b"content-id", Self::ContentId),
            ],
            11 => &[(b"in-reply-to", Self::InReplyTo), (b"content-md5", Self::ContentMd5)],
            12 => &[(b"content-type", Self::ContentType)],
            16 => {
                &[(b"content-language", Self::ContentLanguage), (b"content-location", Self::ContentLocation)]
            }
            19 => &[
                (b"content-disposition", Self::ContentDisposition),
                (b"content-description", Self::ContentDescription),
            ],
            25 => &[(b"content-transfer-encoding", Self::ContentTransferEncoding)],
            _ => &[],
        };
        known.iter().find(|(known, _)| octets::is_name(name, known)).map(|&(_, name)| name)
    }
}

/// A header with the places of its known fields.
#[derive(Clone, Debug)]
pub(crate) struct Header<'a> {
    raw: &'a [u8],
    /// The value of each name's first field, still folded.
    first: [Option<&'a [u8]>; Name::COUNT],
    /// A bit for each name that occurs again.
    repeated: u32,
}

impl<'a> Header<'a> {
    pub(crate) fn read(raw: &'a [u8]) -> Self {
        Self::read_until(raw, |_| false)
    }

    /// Reads the header at the start of `raw`, up to its blank line, or a line for which `ends` holds, or the end.
    pub(crate) fn read_until(raw: &'a [u8], ends: impl Fn(&'a [u8]) -> bool) -> Self {
        let mut header = Self { raw, first: [None; Name::COUNT], repeated: 0 };
        let mut fields = fields(raw);
        while !ends(fields.rest())
            && let Some(field) = fields.next()
        {
            header.take(&field);
        }
        let rest = fields.rest();
        header.raw = &raw[..raw.len() - rest.len()];
        header
    }

    fn take(&mut self, field: &Field<'a>) {
        if let Some(name) = Name::of(field.name) {
            match &mut self.first[name as usize] {
                Some(_) => self.repeated |= name.bit(),
                first => *first = Some(field.value),
            }
        }
    }

    /// The bytes of all fields.
    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    /// The value of the first field of this name.
    pub(crate) fn first(&self, name: Name) -> Option<&'a [u8]> {
        self.first[name as usize]
    }

    /// The values of all fields of this name. Further ones are few, and looked for only where there are some.
    pub(crate) fn each(&self, name: Name) -> impl Iterator<Item = &'a [u8]> {
        let again = if self.repeated & name.bit() == 0 { Fields::default() } else { fields(self.raw) };
        let again = again.filter(move |field| Name::of(field.name) == Some(name)).skip(1);
        self.first(name).into_iter().chain(again.map(|field| field.value))
    }
}

impl Name {
    fn bit(self) -> u32 {
        1 << self as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(&str, Name); Name::COUNT] = [
        ("Date", Name::Date),
        ("Subject", Name::Subject),
        ("From", Name::From),
        ("Sender", Name::Sender),
        ("Reply-To", Name::ReplyTo),
        ("To", Name::To),
        ("Cc", Name::Cc),
        ("Bcc", Name::Bcc),
        ("In-Reply-To", Name::InReplyTo),
        ("Message-ID", Name::MessageId),
        ("References", Name::References),
        ("Content-Type", Name::ContentType),
        ("Content-Transfer-Encoding", Name::ContentTransferEncoding),
        ("Content-Disposition", Name::ContentDisposition),
        ("Content-ID", Name::ContentId),
        ("Content-Description", Name::ContentDescription),
        ("Content-MD5", Name::ContentMd5),
        ("Content-Language", Name::ContentLanguage),
        ("Content-Location", Name::ContentLocation),
    ];

    #[test]
    fn every_name_is_found_by_itself() {
        let raw: String = ALL
            .iter()
            .map(|(name, _)| format!("{}: {name}\r\nX-{name}: no\r\n", name.to_uppercase()))
            .collect();
        let header = Header::read(raw.as_bytes());
        for (text, name) in ALL {
            let found: Vec<_> = header.each(name).map(|value| value.trim_ascii()).collect();
            assert_eq!(found, [text.as_bytes()]);
        }
    }

    #[test]
    fn further_fields_follow_the_first() {
        let header = Header::read(b"To: a\r\nCc: b\r\nTO : c\r\nto:d\r\n\r\nTo: e\r\n");
        assert_eq!(header.first(Name::To), Some(&b" a"[..]));
        assert_eq!(header.each(Name::To).collect::<Vec<_>>(), [&b" a"[..], b" c", b"d"]);
        assert_eq!(header.each(Name::Cc).collect::<Vec<_>>(), [b" b"]);
        assert_eq!(header.each(Name::Bcc).count(), 0);
    }
}
