//! ENVELOPE, ready for the wire (RFC 9051 §7.5.2).

use super::{
    address::{Entry, addresses},
    header::unfold,
    index::{Header, Name},
    limits::MAX_ENVELOPE_FIELD,
    wire,
};

/// Appends the envelope of a message with this header.
///
/// A missing text field is NIL and an empty one `""`. Address fields that occur more than once are joined;
/// missing or empty ones are NIL, but sender and reply-to then repeat from.
pub(crate) fn envelope(header: &Header<'_>, out: &mut Vec<u8>) {
    out.push(b'(');
    text(out, header.first(Name::Date));
    out.push(b' ');
    text(out, header.first(Name::Subject));
    out.push(b' ');
    let from = out.len();
    list_or_nil(out, header, Name::From);
    let from = from..out.len();
    for name in [Name::Sender, Name::ReplyTo] {
        out.push(b' ');
        if !list(out, header, name) {
            out.extend_from_within(from.clone());
        }
    }
    for name in [Name::To, Name::Cc, Name::Bcc] {
        out.push(b' ');
        list_or_nil(out, header, name);
    }
    for name in [Name::InReplyTo, Name::MessageId] {
        out.push(b' ');
        text(out, header.first(name));
    }
    out.push(b')');
}

fn text(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let value = value.map(|value| unfold(&value[..value.len().min(MAX_ENVELOPE_FIELD)]));
    wire::nstring(out, value.as_deref());
}

fn list_or_nil(out: &mut Vec<u8>, header: &Header<'_>, name: Name) {
    if !list(out, header, name) {
        out.extend_from_slice(b"NIL");
    }
}

/// Address structures one after the other, in parentheses; nothing, and false, when there are none.
fn list(out: &mut Vec<u8>, header: &Header<'_>, name: Name) -> bool {
    let start = out.len();
    let mut budget = MAX_ENVELOPE_FIELD;
    for value in header.each(name) {
        let value = clip(value, budget);
        budget -= value.len();
        addresses(value, |entry| {
            if out.len() == start {
                out.push(b'(');
            }
            address(out, entry);
        });
    }
    let found = out.len() > start;
    if found {
        out.push(b')');
    }
    found
}

/// Cuts an address field to `budget` octets, after a whole address.
fn clip(value: &[u8], budget: usize) -> &[u8] {
    match value.get(..budget) {
        Some(head) if head.len() < value.len() => {
            &head[..memchr::memrchr(b',', head).map_or(0, |comma| comma + 1)]
        }
        _ => value,
    }
}

/// `(name adl mailbox host)`. Only the marks of a group have NIL as their host, so a missing domain is `""`.
fn address(out: &mut Vec<u8>, entry: Entry<'_>) {
    out.push(b'(');
    match entry {
        Entry::Mailbox { name, route, local, domain } => {
            wire::nstring(out, present(name));
            out.push(b' ');
            wire::nstring(out, present(route));
            out.push(b' ');
            wire::string(out, local);
            out.push(b' ');
            wire::string(out, domain);
        }
        Entry::GroupStart(name) => {
            out.extend_from_slice(b"NIL NIL ");
            wire::string(out, name);
            out.extend_from_slice(b" NIL");
        }
        Entry::GroupEnd => out.extend_from_slice(b"NIL NIL NIL NIL"),
    }
    out.push(b')');
}

fn present(text: &[u8]) -> Option<&[u8]> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(header: &str) -> String {
        let mut out = Vec::new();
        envelope(&Header::read(header.as_bytes()), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn every_field_has_its_place() {
        let header = "MESSAGE-ID: <7@x>\r\nIn-Reply-To: <6@x>\r\nBcc: d@x\r\nCc: c@x\r\nTo: b@x\r\nReply-To: r@x\r\n\
            Sender: s@x\r\nFrom: Ada <a@x>\r\nSubject: =?utf-8?q?h=C3=A9?=\r\n there\r\nDate: now\r\n\r\n";
        let expected = "(\"now\" \"=?utf-8?q?h=C3=A9?= there\" ((\"Ada\" NIL \"a\" \"x\")) ((NIL NIL \"s\" \"x\")) \
            ((NIL NIL \"r\" \"x\")) ((NIL NIL \"b\" \"x\")) ((NIL NIL \"c\" \"x\")) ((NIL NIL \"d\" \"x\")) \
            \"<6@x>\" \"<7@x>\")";
        assert_eq!(shown(header), expected);
    }

    #[test]
    fn missing_is_nil_and_empty_is_empty() {
        assert_eq!(shown(""), "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
        assert_eq!(shown("Date:\nSubject: \nTo:\n\n"), "(\"\" \"\" NIL NIL NIL NIL NIL NIL NIL NIL)");
    }

    #[test]
    fn sender_and_reply_to_repeat_from() {
        let ada = "((NIL NIL \"a\" \"x\"))";
        assert_eq!(
            shown("From: a@x\r\nSender: \r\n\r\n"),
            format!("(NIL NIL {ada} {ada} {ada} NIL NIL NIL NIL NIL)")
        );
    }

    #[test]
    fn groups_routes_and_repeated_fields() {
        let envelope = shown("To: team: a@x;\r\nTo: <@r:b@y>, lone\r\n\r\n");
        let to = "((NIL NIL \"team\" NIL)(NIL NIL \"a\" \"x\")(NIL NIL NIL NIL)\
            (NIL \"@r\" \"b\" \"y\")(NIL NIL \"lone\" \"\"))";
        assert_eq!(envelope, format!("(NIL NIL NIL NIL NIL {to} NIL NIL NIL NIL)"));
    }

    #[test]
    fn huge_fields_are_cut_after_a_whole_address() {
        let header = format!("To: {}\r\n\r\n", "ada@example.org, ".repeat(MAX_ENVELOPE_FIELD / 17 + 5));
        let envelope = shown(&header);
        assert_eq!(envelope.matches("(NIL NIL \"ada\" \"example.org\")").count(), MAX_ENVELOPE_FIELD / 17);
        assert!(shown(&format!("Subject: {}", "x".repeat(1 << 20))).len() < MAX_ENVELOPE_FIELD + 100);
    }
}
