//! Which thread a message belongs to, told from its own header.

use xxhash_rust::xxh3::xxh3_64;

use super::header::fields;

/// The hash of the thread's root: the first id of References, else of In-Reply-To, else the message's own.
/// 0 when it has none of them.
pub(crate) fn thread(header: &[u8]) -> u64 {
    let mut best: Option<(usize, &[u8])> = None;
    for field in fields(header) {
        let Some(rank) = rank(field.name) else { continue };
        if best.is_none_or(|(known, _)| rank < known)
            && let Some(id) = first_id(field.value)
        {
            best = Some((rank, id));
        }
    }
    best.map_or(0, |(_, id)| xxh3_64(id))
}

fn rank(name: &[u8]) -> Option<usize> {
    let order: [&[u8]; 3] = [b"references", b"in-reply-to", b"message-id"];
    order.iter().position(|known| known.eq_ignore_ascii_case(name))
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
