//! Which thread a message belongs to, told from its own header.

use xxhash_rust::xxh3::xxh3_64;

use super::index::{Header, Name};

/// The hash of the thread's root: the first id of References, else of In-Reply-To, else the message's own.
/// 0 when it has none of them.
pub(crate) fn thread(header: &Header<'_>) -> u64 {
    let fields = [Name::References, Name::InReplyTo, Name::MessageId];
    let root = fields.into_iter().find_map(|name| header.each(name).find_map(first_id));
    root.map_or(0, xxh3_64)
}

/// What the first pair of angle brackets holds.
fn first_id(value: &[u8]) -> Option<&[u8]> {
    let start = memchr::memchr(b'<', value)? + 1;
    let id = &value[start..];
    let id = id[..memchr::memchr(b'>', id)?].trim_ascii();
    (!id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(header: &[u8]) -> u64 {
        super::thread(&Header::read(header))
    }

    #[test]
    fn a_reply_is_in_the_thread_of_its_root() {
        let root = thread(b"Message-ID: <1@x>\r\n\r\n");
        assert_ne!(root, 0);
        assert_eq!(root, thread(b"Message-ID: <2@x>\r\nIn-Reply-To: Your mail <1@x>\r\n\r\n"));
        let third = b"Message-ID: <3@x>\r\nIn-Reply-To: <2@x>\r\nReferences:\r\n <1@x>\r\n <2@x>\r\n\r\n";
        assert_eq!(root, thread(third));
    }

    #[test]
    fn useless_fields_are_passed_over() {
        assert_eq!(thread(b"Subject: s\r\n\r\n"), 0);
        assert_eq!(thread(b"References: none <>\r\nMessage-ID: <1@x>\r\n"), thread(b"Message-ID: <1@x>\r\n"));
    }
}
