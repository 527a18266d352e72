//! Clients that send anything at all.

use proptest::prelude::*;

use super::*;

/// What commands are made of, and what breaks them.
const PIECES: &[&str] = &[
    "a ",
    "b ",
    "NOOP",
    "FETCH ",
    "STORE ",
    "SEARCH ",
    "UID ",
    "COPY ",
    "MOVE ",
    "APPEND ",
    "INBOX ",
    "x ",
    "EXPUNGE",
    "SELECT ",
    "EXAMINE ",
    "CLOSE",
    "UNSELECT",
    "LIST \"\" ",
    "LSUB \"\" ",
    "STATUS ",
    "(MESSAGES)",
    "CREATE ",
    "DELETE ",
    "RENAME ",
    "IDLE",
    "DONE",
    "1:* ",
    "1 ",
    "$ ",
    "*",
    "%",
    "4294967295 ",
    "(FLAGS) ",
    "BODY[] ",
    "BODY[HEADER]<0.9> ",
    "BINARY[1] ",
    "BODYSTRUCTURE ",
    "+FLAGS ",
    "-FLAGS.SILENT ",
    "(\\Seen $k) ",
    "(\\Deleted) ",
    "ALL ",
    "NOT ",
    "OR ",
    "TEXT ",
    "RETURN (SAVE) ",
    "RETURN (ALL COUNT) ",
    "ENABLE ",
    "QRESYNC ",
    "IMAP4rev2",
    "(CHANGEDSINCE 1 VANISHED) ",
    "(UNCHANGEDSINCE 2) ",
    "(QRESYNC (1 1)) ",
    "{1}",
    "{3+}",
    "{3+}\r\n",
    "~{2+}\r\n",
    "{99999}",
    "{999999999999+}",
    "abc",
    "\"",
    "(",
    ")",
    "\\",
    " ",
    "\r",
    "\n",
    "\0",
    "\u{e4}",
    "&AOQ-",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r\n",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_client_breaks_a_session(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 1..200),
        cut in 1usize..40,
        logged_in: bool,
    ) {
        let server = Server::new();
        let mut client = if logged_in { server.in_inbox() } else { server.stranger() };
        if logged_in {
            client.append_many(2);
        }
        for piece in pieces.concat().as_bytes().chunks(cut) {
            if client.is_closed {
                break;
            }
            client.send(piece);
        }
        drop(client);
        prop_assert!(server.in_inbox().say("z NOOP\r\n").contains("z OK"), "others are served");
        prop_assert_eq!(server.watches.count(), 0);
    }
}
