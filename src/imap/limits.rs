//! Every bound of the grammar, in one place, each with its reason. The tests beside the users of a limit reach it.

use crate::session::INPUT_LIMIT;

/// Longest line of a command without its line end, in bytes. The worker's input buffer must hold it whole, with
/// CR and LF; RFC 9051 §4 asks for at least 8,000, clients that list thousands of UIDs need more.
pub const MAX_LINE: usize = INPUT_LIMIT - 2;

/// Longest line before login: an ID with all the pairs, field names and values that RFC 2971 §3.3 lets a client send
/// (31,800 bytes) has to fit. Everything else that precedes a login is far shorter.
pub const MAX_LINE_BEFORE_LOGIN: usize = 32 * 1024;

/// Longest command including its literals, in bytes; messages are not counted, they go to the store as they
/// arrive. Room for a line of SEARCH and a few long strings.
pub const MAX_COMMAND: usize = 256 * 1024;

/// Longest command with its literals before login: who has proved nothing yet gets little memory.
pub const MAX_COMMAND_BEFORE_LOGIN: usize = 16 * 1024;

/// Literals in one command: HEADER.FIELDS and SEARCH with a literal for every string stay below it.
pub const MAX_LITERALS: u32 = 256;

/// Literals in one command before login: LOGIN has two, ID may have some.
pub const MAX_LITERALS_BEFORE_LOGIN: u32 = 16;

/// Bytes of refused non-synchronising literals that are read and dropped to stay in step with the client. They cost
/// no memory; past this the connection is closed instead.
pub const MAX_SKIP: u64 = 1024 * 1024 * 1024;

/// As [`MAX_SKIP`], before login, where nothing large is ever sent in good faith.
pub const MAX_SKIP_BEFORE_LOGIN: u64 = 64 * 1024;

/// Largest non-synchronising literal under LITERAL- (RFC 7888 §5), in bytes.
pub const LITERAL_MINUS_MAX: u64 = 4096;

/// Longest tag, in bytes: it is copied into suspended commands and every tagged reply. Clients use up to 20.
pub const MAX_TAG: usize = 128;

/// Longest mailbox name, in bytes of UTF-8.
pub const MAX_MAILBOX_NAME: usize = 1024;

/// Longest keyword, in bytes; every keyword of a mailbox is repeated in each FLAGS response.
pub const MAX_KEYWORD: usize = 255;

/// Flags in one STORE or APPEND.
pub const MAX_FLAGS: usize = 256;

/// Sections (`BODY[…]`, `BINARY[…]`, `RFC822…`) in one FETCH: each may send the whole message again.
pub const MAX_FETCH_SECTIONS: usize = 64;

/// Numbers in one section path, as deep as the message room looks into nested parts.
pub const MAX_SECTION_DEPTH: usize = 100;

/// Names in one HEADER.FIELDS list. Apple Mail asks for about 30.
pub const MAX_HEADER_FIELDS: usize = 256;

/// Search keys in one SEARCH, connectives included.
pub const MAX_SEARCH_KEYS: usize = 4096;

/// Depth of a search key tree. Chains of OR and of NOT add nothing to it (the parser flattens them), so real
/// clients stay below 5; the evaluator may recurse this deep.
pub const MAX_SEARCH_NESTING: usize = 64;

/// Longest string in SEARCH, in bytes: a needle is folded and compiled, then compared with every message.
pub const MAX_SEARCH_STRING: usize = 8 * 1024;

/// Criteria in one SORT: there are nine, and none means more the second time.
pub const MAX_SORT_CRITERIA: usize = 32;

/// Patterns in one LIST: each is matched against every mailbox.
pub const MAX_LIST_PATTERNS: usize = 128;

/// Bytes of one LIST pattern, reference included: matching costs pattern times name.
pub const MAX_LIST_PATTERN: usize = 1024;

/// Capabilities in one ENABLE.
pub const MAX_ENABLE: usize = 32;

/// Field-value pairs in ID (RFC 2971 §3.3).
pub const MAX_ID_PAIRS: usize = 30;

/// Longest field name in ID (RFC 2971 §3.3), in bytes.
pub const MAX_ID_FIELD: usize = 30;

/// Longest value in ID (RFC 2971 §3.3), in bytes.
pub const MAX_ID_VALUE: usize = 1024;

/// Special-use attributes in one CREATE; more than there are.
pub const MAX_SPECIAL_USES: usize = 16;

/// BAD answers before login after which the connection is closed: whoever speaks no IMAP gets no more tries.
pub const MAX_OFFENCES: u8 = 3;

/// Failed logins of one connection. The auth process slows guessing down; this saves it the connection's next tries.
pub const MAX_FAILED_LOGINS: u8 = 5;

/// Longest part of a message that BINARY decodes, in bytes of its encoded form: it stands in memory as a whole.
/// Clients that want larger ones can decode what BODY gives them in pieces.
pub const MAX_DECODED: u64 = 64 * 1024 * 1024;

/// Header bytes that HEADER.FIELDS looks through. Headers of real mail stay below 100 KB.
pub const MAX_HEADER_READ: u64 = 1024 * 1024;
