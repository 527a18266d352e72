//! Dialogues with the framer.

use proptest::prelude::*;

use super::*;
use crate::imap::parse::tag_of;

/// Small enough to reach.
const SMALL: FrameLimits =
    FrameLimits { line: 30, command: 60, literals: 3, non_synchronising: 4096, skip: 10_000 };

/// Feeds `input` in pieces of at most `piece` bytes to a session that gathers literals where it can and streams those of
/// APPEND, and tells what it saw. Pieces of one literal are joined.
fn dialogue(limits: FrameLimits, input: &[u8], piece: usize) -> Vec<String> {
    let mut framer = Framer::new(limits);
    let mut seen: Vec<String> = Vec::new();
    let mut data = Vec::new();
    let (mut unread, mut arrived) = (0, 0);
    while arrived < input.len() {
        arrived = (arrived + piece).min(input.len());
        loop {
            let Framed { consumed, frame } = framer.next(&input[unread..arrived]);
            unread += consumed;
            match frame {
                Frame::Incomplete => break,
                Frame::Command(command) => seen.push(format!("C {}", command.escape_ascii())),
                Frame::Data { bytes, left } => {
                    data.extend_from_slice(bytes);
                    if left == 0 {
                        seen.push(format!("D {}", std::mem::take(&mut data).escape_ascii()));
                    }
                }
                Frame::Error { error, head } => {
                    seen.push(format!("E {error} {}", tag_of(&head).map_or("*", |tag| tag.as_str())));
                }
                Frame::Broken => {
                    seen.push("Broken".to_owned());
                    return seen;
                }
                Frame::Literal { literal, head } => seen.push(decide(&mut framer, literal, head)),
            }
            assert!(framer.gathered.len() <= limits.command + limits.line, "bounded");
        }
    }
    seen
}

fn decide(framer: &mut Framer, literal: Literal, head: Cow<'_, [u8]>) -> String {
    if head.starts_with(b" ") || head.windows(6).any(|word| word == b"APPEND") {
        framer.stream();
        return format!("S {}", literal.size);
    }
    match framer.accept(head) {
        Ok(()) if literal.synchronising => format!("+ {}", literal.size),
        Ok(()) => format!("L {}", literal.size),
        Err((error, head)) => {
            let tag = tag_of(&head).map_or("*", |tag| tag.as_str()).to_owned();
            framer.refuse();
            format!("E {error} {tag}")
        }
    }
}

#[test]
fn commands_end_with_their_lines() {
    let cases: &[(&[u8], &[&str])] = &[
        (b"a NOOP\r\nb NOOP\r\n", &["C a NOOP", "C b NOOP"]),
        (b"a NOOP\nb", &["C a NOOP"]),
        (b"\r\n", &["C "]),
        (b"a X\rY\r\n", &["C a X\\rY"]),
        (b"a LOGIN {2+}\r\n\r\n {1}\r\nx\r\n", &["L 2", "+ 1", "C a LOGIN {2+}\\r\\n\\r\\n {1}\\r\\nx"]),
        (b"a X {0}\n\r\n", &["+ 0", "C a X {0}\\r\\n"]),
        (
            b"a APPEND b {3+}\r\nab\n {0}\r\n\r\nc NOOP\r\n",
            &["S 3", "D ab\\n", "S 0", "D ", "C ", "C c NOOP"],
        ),
        (b"a APPEND b (\\Seen) ~{2}\r\n\0\0\r\n", &["S 2", "D \\x00\\x00", "C "]),
    ];
    for (input, expected) in cases {
        for piece in [1, 2, 3, 1000] {
            assert_eq!(dialogue(SMALL, input, piece), *expected, "{} by {piece}", input.escape_ascii());
        }
    }
}

#[test]
fn hostile_literals_threat_4() {
    let cases: &[(&[u8], &[&str])] = &[
        (b"a LOGIN {4294967295}\r\nb NOOP\r\n", &["E literal is too large a", "C b NOOP"]),
        (b"a L {18446744073709551616}\r\nb NOOP\r\n", &["E literal is too large a", "C b NOOP"]),
        (b"a L {9999999999999999999999}\r\nb X\r\n", &["E literal is too large a", "C b X"]),
        (b"a L {99999999999999999999+}\r\nb X\r\n", &["E literal is too large a", "Broken"]),
        (b"a LOGIN {-1}\r\n", &["C a LOGIN {-1}"]),
        (b"a LOGIN {}\r\n", &["C a LOGIN {}"]),
        (b"a LOGIN {1++}\r\n", &["C a LOGIN {1++}"]),
        (b"a L {99999999+}\r\n", &["E non-synchronising literal is too large, use a synchronising one a", "Broken"]),
        (
            b"a X {5+}\r\nfirst {70+}\r\n0123456789012345678901234567890123456789012345678901234567890123456789 {3}\r\nb X\r\n",
            &["L 5", "E literal is too large a", "C b X"],
        ),
        (
            b"a {1+}\r\nx {1+}\r\nx {1+}\r\nx {1+}\r\ny {1+}\r\nz more\r\nb X\r\n",
            &["L 1", "L 1", "L 1", "E command has too many literals a", "C b X"],
        ),
        (
            b"a {1+}\r\nx aaaaaaaaaaaaaaaaaaaaaaaa {9+}\r\n123456789 aaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nb X\r\n",
            &["L 1", "L 9", "E command is too long a", "C b X"],
        ),
    ];
    for (input, expected) in cases {
        for piece in [1, 2, 3, 1000] {
            assert_eq!(dialogue(SMALL, input, piece), *expected, "{} by {piece}", input.escape_ascii());
        }
    }
}

#[test]
fn literal_minus_is_an_option_threat_4() {
    let command = [b"a APPEND b {4097+}\r\n".as_slice(), &[b'x'; 4097], b"\r\nb NOOP\r\n"].concat();
    let refused = dialogue(FrameLimits::BEFORE_LOGIN, &command, 100);
    assert_eq!(refused[1..], ["C b NOOP"]);
    let taken = dialogue(FrameLimits::AFTER_LOGIN, &command, 100);
    assert_eq!(taken.last().map(String::as_str), Some("C b NOOP"));
    assert_eq!(taken.len(), 4);
}

#[test]
fn ten_thousand_literals_threat_4() {
    let mut command = b"a LOGIN".to_vec();
    (0..10_000).for_each(|_| command.extend_from_slice(b" {1+}\r\nx"));
    command.extend_from_slice(b"\r\nb NOOP\r\n");
    let seen = dialogue(FrameLimits::BEFORE_LOGIN, &command, 4096);
    assert_eq!(seen.len(), limits::MAX_LITERALS_BEFORE_LOGIN as usize + 2);
    assert_eq!(seen.last().map(String::as_str), Some("C b NOOP"));
}

#[test]
fn long_lines_threat_5() {
    let tag = vec![b'a'; 1 << 20];
    let endless = [b"t1 LOGIN ".as_slice(), &vec![b'x'; 4 << 20]].concat();
    let only_cr = vec![b'\r'; 100_000];
    let nul = vec![0; 100_000];
    let cases: &[(&[u8], &[&str])] = &[
        (&tag, &["E command line is too long *"]),
        (&endless, &["E command line is too long t1"]),
        (&only_cr, &["E command line is too long *"]),
        (&nul, &["E command line is too long *"]),
        (b"\n\n\n", &["C ", "C ", "C "]),
    ];
    for (input, expected) in cases {
        assert_eq!(dialogue(FrameLimits::BEFORE_LOGIN, input, 16_384), *expected);
    }
}

#[test]
fn a_long_line_without_a_space_is_named_alike_in_any_pieces() {
    let input = "0123456789".repeat(4);
    let head = input.get(..=SMALL.line).expect("longer");
    for piece in 1..=input.len() {
        let seen = dialogue(SMALL, input.as_bytes(), piece);
        assert_eq!(seen, [format!("E command line is too long {head}")], "by {piece}");
    }
}

#[test]
fn the_longest_line_fits() {
    for (length, line_end, expected) in
        [(30, "\r\n", 'C'), (30, "\n", 'C'), (31, "\r\n", 'E'), (31, "\n", 'E')]
    {
        let line = format!("{}{line_end}b X\r\n", "x".repeat(length));
        for piece in [1, 31, 32, 33, 100] {
            let seen = dialogue(SMALL, line.as_bytes(), piece);
            assert_eq!(seen.len(), 2, "{length} bytes by {piece}");
            assert!(
                seen[0].starts_with(expected) && seen[1] == "C b X",
                "{length} bytes by {piece}: {seen:?}"
            );
        }
    }
}

#[test]
fn literals_of_a_skipped_line_are_skipped() {
    let input = b"a 0123456789012345678901234567890123456789 {9+}\r\nx NOOP\r\ny 0123456789 {3+}\r\n\r\n\n tail\r\nb X\r\n";
    for piece in 1..60 {
        assert_eq!(dialogue(SMALL, input, piece), ["E command line is too long a", "C b X"], "by {piece}");
    }
}

#[test]
fn a_streamed_literal_can_be_given_up() {
    let mut framer = Framer::new(SMALL);
    let input = b"a APPEND b {4+}\r\nxxxx {2+}\r\nyy\r\nb X\r\n";
    let first = framer.next(input);
    assert!(matches!(first.frame, Frame::Literal { head: Cow::Borrowed(b"a APPEND b {4+}\r\n"), .. }));
    framer.stream();
    let at = first.consumed;
    let data = framer.next(&input[at..at + 2]);
    assert_eq!(data.frame, Frame::Data { bytes: b"xx", left: 2 });
    framer.refuse();
    let next = framer.next(&input[at + 2..]);
    assert_eq!(next.frame, Frame::Command(Cow::Borrowed(b"b X")));
    assert!(framer.is_between_commands());
}

#[test]
fn lines_within_a_command_announce_nothing_threat_24() {
    let mut framer = Framer::new(SMALL);
    assert_eq!(framer.next_line(b"DO").frame, Frame::Incomplete);
    let done = framer.next_line(b"DONE\r\nb NOOP\r\n");
    assert_eq!(done, Framed { consumed: 6, frame: Frame::Command(Cow::Borrowed(b"DONE")) });
    let braces = framer.next_line(b"x {5}\r\n");
    assert_eq!(braces.frame, Frame::Command(Cow::Borrowed(b"x {5}")));
}

#[test]
fn a_command_in_one_piece_is_not_copied() {
    let mut framer = Framer::new(FrameLimits::AFTER_LOGIN);
    let input = b"a NOOP\r\n";
    assert!(matches!(framer.next(input).frame, Frame::Command(Cow::Borrowed(b"a NOOP"))));
    assert_eq!(framer.gathered.capacity(), 0);
}

proptest! {
    #[test]
    fn pieces_make_no_difference(
        parts in prop::collection::vec(
            prop_oneof![
                Just("a "), Just("X"), Just("APPEND "), Just("\r\n"), Just("\n"), Just("\r"), Just("{3}"), Just("{2+}"),
                Just("~{1}\r\n"), Just("{4+}\r\n"), Just("{90+}\r\n"), Just("{9000000000+}\r\n"), Just("{5}\r\n"),
                Just("0123456789"), Just("{99999999999999999999}\r\n"), Just("{"), Just("}"), Just("\0"),
            ],
            0..24,
        ),
        piece in 1usize..20,
    ) {
        let input = parts.concat().into_bytes();
        prop_assert_eq!(dialogue(SMALL, &input, piece), dialogue(SMALL, &input, usize::MAX / 2));
    }

    #[test]
    fn any_bytes_are_framed(input in prop::collection::vec(any::<u8>(), 0..300), piece in 1usize..50) {
        prop_assert_eq!(dialogue(SMALL, &input, piece), dialogue(SMALL, &input, usize::MAX / 2));
    }
}
