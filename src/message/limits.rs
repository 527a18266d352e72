//! Every bound of this room, in one place. Mail that goes past one degrades; it is never refused.

/// Parts of one message that get a number of their own. Digests hold hundreds; what follows the last counted
/// part stays readable through `BODY[]`.
pub const MAX_PARTS: usize = 4000;

/// Depth of the MIME tree. A chain of forwards takes two levels each; what lies deeper is one opaque part.
pub const MAX_NESTING: usize = 100;

/// Octets of a multipart boundary. RFC 2046 §5.1.1 allows 70; broken mailers write longer ones.
pub const MAX_BOUNDARY: usize = 256;

/// Octets of the occurrences of one header field that ENVELOPE shows: some 4,000 addresses. The header itself
/// is kept whole.
pub const MAX_ENVELOPE_FIELD: usize = 128 * 1024;

/// Octets of BODYSTRUCTURE. It is kept in the log with each message; a message that needs more is shown as one
/// opaque part.
pub const MAX_STRUCTURE: usize = 1024 * 1024;

/// Octets of a quoted string on the wire. Longer ones are literals, so that a client's line buffer holds.
pub const MAX_QUOTED: usize = 1000;

/// Characters of a preview (RFC 8970 §3.1 asks for no more than 256, and for 200 where it can be).
pub const MAX_PREVIEW_CHARS: usize = 200;

/// Octets of a text part that are read for its preview: enough to get past the style sheet of a newsletter.
pub const MAX_PREVIEW_INPUT: usize = 64 * 1024;
