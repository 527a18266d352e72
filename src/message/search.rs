//! SEARCH on decoded text (RFC 9051 §6.4.4): headers without folds and encoded words, bodies without their
//! transfer encoding, everything in UTF-8.

use std::borrow::Cow;

use super::{
    address::{Entry, addresses},
    charset,
    content::{Encoding, MediaType},
    header::{Field, fields, fields_named},
    needle::Needle,
    parts::{Kind, Part, Parts},
    transfer::decode_transfer,
    words::decode_words,
};

/// What [`search_text`] looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// BODY: text parts, and the headers of messages inside.
    Body,
    /// TEXT: also the message's header and the MIME headers of its parts.
    Text,
}

/// HEADER, and with it FROM, TO, CC, BCC and SUBJECT: whether an occurrence of `field` holds the needle. The
/// empty needle asks whether the field exists. Address fields are looked through as they stand, and in the
/// form `name <local@domain>` without comments, folds and quoting.
pub fn search_header(header: &[u8], field: &[u8], needle: &Needle) -> bool {
    let mut occurrences = fields_named(header, field);
    if needle.is_empty() {
        return occurrences.next().is_some();
    }
    let in_addresses = is_address_field(field);
    occurrences.any(|found| {
        needle.matches(&decode_words(&found.text())) || (in_addresses && matches_address(&found, needle))
    })
}

/// BODY and TEXT: whether any of the message's texts holds the needle. A match does not span two of them.
pub fn search_text(raw: &[u8], parts: &Parts, needle: &Needle, scope: Scope) -> bool {
    let mut message_header = scope == Scope::Text;
    parts.iter().any(|part| {
        let header = bytes(raw, part.header());
        let wanted = message_header || scope == Scope::Text;
        message_header = part.kind == Kind::Message;
        (wanted && matches_header(header, needle))
            || matches_body(header, bytes(raw, part.body()), part, needle)
    })
}

/// The decoded text of a part whose type is text or message; `None` for others and for unknown encodings.
fn text_of<'a>(header: &[u8], body: &'a [u8], encoding: Encoding) -> Option<Cow<'a, str>> {
    // Whatever the default of its place, a part without a type that is a leaf is text.
    let declared = fields_named(header, b"content-type").next();
    let media = declared.and_then(|field| MediaType::parse(field.value)).unwrap_or(MediaType::TEXT);
    if !media.is_kind("text") && !media.is_kind("message") && !media.is_kind("multipart") {
        return None;
    }
    let charset = media.param("charset");
    match encoding {
        Encoding::SevenBit | Encoding::EightBit | Encoding::Binary => {
            Some(charset::decode(charset.as_deref(), body))
        }
        _ => {
            let mut decoded = Vec::new();
            decode_transfer(encoding, body, &mut decoded).ok()?;
            Some(Cow::Owned(charset::decode_owned(charset.as_deref(), decoded)))
        }
    }
}

/// Looks through all fields at once, each as `name: value` on a line, so that a needle may name the field too.
fn matches_header(header: &[u8], needle: &Needle) -> bool {
    let mut text = String::with_capacity(header.len());
    for field in fields(header) {
        text.push_str(&String::from_utf8_lossy(field.name));
        text.push_str(": ");
        text.push_str(&decode_words(&field.text()));
        text.push_str("\r\n");
    }
    needle.matches(&text)
}

fn matches_body(header: &[u8], body: &[u8], part: &Part, needle: &Needle) -> bool {
    match part.kind {
        Kind::Multipart | Kind::Message => false,
        Kind::Text | Kind::Other => {
            text_of(header, body, part.encoding).is_some_and(|text| needle.matches(&text))
        }
    }
}

fn is_address_field(name: &[u8]) -> bool {
    let known: [&[u8]; 6] = [b"from", b"to", b"cc", b"bcc", b"sender", b"reply-to"];
    known.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn matches_address(field: &Field<'_>, needle: &Needle) -> bool {
    let mut found = false;
    addresses(field.value, |entry| {
        if let Entry::Mailbox { name, local, domain, .. } = entry {
            let address = [name, b" <", local, b"@", domain, b">"].concat();
            found = found || needle.matches(&decode_words(&address));
        }
    });
    found
}

fn bytes(raw: &[u8], range: std::ops::Range<u64>) -> &[u8] {
    raw.get(range.start as usize..range.end as usize).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::analyze;

    const HEADER: &[u8] =
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= from\r\n the sun\r\nX-Two: one\r\nX-Two: other\r\n\
        From: <ada (c)@ (d) x.org>\r\nTo: =?utf-8?q?Ad=C3=A9?= <\"a\\.b\"@y>, team: c@z;\r\n\r\n";

    #[test]
    fn headers_are_searched_decoded() {
        for (field, needle, expected) in [
            ("subject", "GRÜSSE FROM THE SUN", true),
            ("subject", "=?utf-8", false),
            ("x-two", "", true),
            ("x-three", "", false),
            ("x-two", "other", true),
            ("x-two", "one other", false),
            ("from", "ada@x.org", true),
            ("to", "adé <a.b@y>", true),
            ("to", "team", true),
            ("to", "c@z", true),
        ] {
            assert_eq!(
                search_header(HEADER, field.as_bytes(), &Needle::new(needle)),
                expected,
                "{field} {needle}"
            );
        }
    }

    const MESSAGE: &[u8] = b"Subject: outer\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\nprologue\r\n\
        --b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
        na=EFve te=\r\nxt\r\n--b\r\nContent-Type: application/octet-stream; name=file.bin\r\n\r\nopaque\r\n\
        --b\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?utf-8?b?aW5uZXI=?=\r\n\r\nnested\r\n--b--\r\n";

    #[test]
    fn bodies_are_searched_decoded() {
        let parts = analyze(MESSAGE).parts;
        for (needle, in_body, in_text) in [
            ("NAÏVE TEXT", true, true),
            ("nested", true, true),
            ("subject: inner", true, true),
            ("outer", false, true),
            ("file.bin", false, true),
            ("opaque", false, false),
            ("absent", false, false),
        ] {
            let needle_ = Needle::new(needle);
            assert_eq!(search_text(MESSAGE, &parts, &needle_, Scope::Body), in_body, "body {needle}");
            assert_eq!(search_text(MESSAGE, &parts, &needle_, Scope::Text), in_text, "text {needle}");
        }
    }
}
