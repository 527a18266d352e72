//! ENVELOPE, ready for the wire (RFC 9051 §7.5.2).

use super::{
    address::{Entry, addresses},
    header::{Field, fields},
    limits::MAX_ENVELOPE_FIELD,
    wire,
};

/// Appends the envelope of a message with this header.
///
/// A missing text field is NIL and an empty one `""`. Address fields that occur more than once are joined;
/// missing or empty ones are NIL, but sender and reply-to then repeat from.
pub(crate) fn envelope(header: &[u8], out: &mut Vec<u8>) {
    let found = Found::collect(header);
    out.push(b'(');
    text(out, found.date);
    out.push(b' ');
    text(out, found.subject);
    let from = address_list(&found.from);
    for list in [&found.from, &found.sender, &found.reply_to] {
        let own = address_list(list);
        out.push(b' ');
        list_or_nil(out, if own.is_empty() { &from } else { &own });
    }
    for list in [&found.to, &found.cc, &found.bcc] {
        out.push(b' ');
        list_or_nil(out, &address_list(list));
    }
    for field in [found.in_reply_to, found.message_id] {
        out.push(b' ');
        text(out, field);
    }
    out.push(b')');
}

/// The fields that an envelope shows: text fields at their first occurrence, address fields at each.
#[derive(Default)]
struct Found<'a> {
    date: Option<Field<'a>>,
    subject: Option<Field<'a>>,
    in_reply_to: Option<Field<'a>>,
    message_id: Option<Field<'a>>,
    from: Vec<&'a [u8]>,
    sender: Vec<&'a [u8]>,
    reply_to: Vec<&'a [u8]>,
    to: Vec<&'a [u8]>,
    cc: Vec<&'a [u8]>,
    bcc: Vec<&'a [u8]>,
}

impl<'a> Found<'a> {
    fn collect(header: &'a [u8]) -> Self {
        let mut found = Self::default();
        for field in fields(header) {
            if let Some(list) = found.list(field.name) {
                list.push(field.value);
            } else if let Some(slot) = found.slot(field.name) {
                slot.get_or_insert(field);
            }
        }
        found
    }

    fn list(&mut self, name: &[u8]) -> Option<&mut Vec<&'a [u8]>> {
        let lists: [(&[u8], _); 6] = [
            (b"from", &mut self.from),
            (b"sender", &mut self.sender),
            (b"reply-to", &mut self.reply_to),
            (b"to", &mut self.to),
            (b"cc", &mut self.cc),
            (b"bcc", &mut self.bcc),
        ];
        lists.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, list)| list)
    }

    fn slot(&mut self, name: &[u8]) -> Option<&mut Option<Field<'a>>> {
        let slots: [(&[u8], _); 4] = [
            (b"date", &mut self.date),
            (b"subject", &mut self.subject),
            (b"in-reply-to", &mut self.in_reply_to),
            (b"message-id", &mut self.message_id),
        ];
        slots.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, slot)| slot)
    }
}

fn text(out: &mut Vec<u8>, field: Option<Field<'_>>) {
    match field {
        Some(Field { value, raw, name }) => {
            let value = &value[..value.len().min(MAX_ENVELOPE_FIELD)];
            wire::string(out, &Field { value, raw, name }.text());
        }
        None => out.extend_from_slice(b"NIL"),
    }
}

fn list_or_nil(out: &mut Vec<u8>, list: &[u8]) {
    if list.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    out.extend_from_slice(list);
    out.push(b')');
}

/// Address structures one after the other; empty when there are none.
fn address_list(values: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut budget = MAX_ENVELOPE_FIELD;
    for value in values {
        let value = clip(value, budget);
        budget -= value.len();
        addresses(value, |entry| address(&mut out, entry));
    }
    out
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
        envelope(header.as_bytes(), &mut out);
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
