//! Realistic messages, the same in every run: what a personal mailbox holds, in small.
//!
//! Plain text with quoting and threads, HTML newsletters in quoted-printable, base64 attachments, forwarded
//! messages, encoded headers. Every message has CRLF lines, ends with CRLF and has a Message-ID of its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Words that texts are made of.
const WORDS: [&str; 24] = [
    "sun", "mirror", "signal", "hill", "station", "light", "message", "distance", "tower", "operator",
    "code", "flash", "morning", "shutter", "tripod", "mountain", "desert", "answer", "horizon", "lamp",
    "night", "relay", "line", "field",
];

/// Subjects as they stand in a header.
const SUBJECTS: [&str; 5] = [
    "Meeting on the hill",
    "=?utf-8?q?Gr=C3=BC=C3=9Fe_vom_Turm?=",
    "=?utf-8?b?0KHQuNCz0L3QsNC7?=",
    "A subject that is long enough to be folded\r\n over two lines",
    "Re: Meeting on the hill",
];

/// Makes message after message.
pub struct Corpus {
    random: u64,
    made: usize,
}

impl Corpus {
    /// The same seed gives the same messages.
    pub fn new(seed: u64) -> Corpus {
        Corpus { random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, made: 0 }
    }

    /// A number below `limit` (xorshift64*).
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let value = self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(value).expect("31 bits fit") % limit
    }

    fn message(&mut self) -> Vec<u8> {
        self.made += 1;
        match self.below(10) {
            0..5 => self.plain(),
            5..7 => self.newsletter(),
            7..9 => self.attachment(),
            _ => self.forward(),
        }
        .into_bytes()
    }

    fn headers(&mut self, more: &str) -> String {
        let (number, subject) = (self.made, SUBJECTS[self.below(SUBJECTS.len())]);
        let (day, hour, minute) = (1 + self.below(28), self.below(24), self.below(60));
        let part = self.below(usize::MAX);
        let thread = match self.below(3) {
            0 if number > 1 => format!("In-Reply-To: <m{}@example.org>\r\n", number - 1),
            _ => String::new(),
        };
        format!(
            "Received: from relay.example.net (relay.example.net [192.0.2.{}])\r\n\tby mail.example.org with ESMTP id {part:X}\r\n\
             Date: {day} Mar 2021 {hour:02}:{minute:02}:00 +0100\r\n\
             From: =?iso-8859-1?Q?J=FCrgen?= <j@example.org>\r\n\
             To: \"Byron, Ada\" <ada@example.org>,\r\n bob@example.com\r\n\
             Subject: {subject}\r\nMessage-ID: <m{number}@example.org>\r\n{thread}{more}\r\n",
            1 + self.below(250)
        )
    }

    fn text(&mut self, lines: usize) -> String {
        let mut text = String::new();
        for _ in 0..lines {
            if self.below(5) == 0 {
                text.push_str("> ");
            }
            for _ in 0..1 + self.below(10) {
                text.push_str(WORDS[self.below(WORDS.len())]);
                text.push(' ');
            }
            text.push_str("\r\n");
        }
        text
    }

    /// A length with a small median and a long tail.
    fn lines(&mut self) -> usize {
        let tail = self.below(12);
        4 + self.below(8 << tail.saturating_sub(4))
    }

    fn plain(&mut self) -> String {
        let lines = self.lines();
        self.headers("") + &self.text(lines)
    }

    fn newsletter(&mut self) -> String {
        let (headers, lines) = (
            self.headers(
                "MIME-Version: 1.0\r\nContent-Type: multipart/alternative;\r\n\tboundary=\"=_news\"\r\n",
            ),
            self.lines(),
        );
        let (text, html) = (self.text(lines), self.text(lines));
        let kind = "charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n";
        format!(
            "{headers}--=_news\r\nContent-Type: text/plain; {kind}{text}na=C3=AFve\r\n\
             --=_news\r\nContent-Type: text/html; {kind}<p style=3D\"color:red\">{html}</p>\r\n--=_news--\r\n"
        )
    }

    fn attachment(&mut self) -> String {
        let (headers, lines) = (
            self.headers("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=mix\r\n"),
            self.lines(),
        );
        let text = self.text(lines);
        let bytes: Vec<u8> =
            (0..lines * 40).map(|_| u8::try_from(self.below(256)).expect("a byte")).collect();
        let encoded = STANDARD.encode(bytes);
        let body: Vec<&str> = encoded
            .as_bytes()
            .chunks(76)
            .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
            .collect();
        format!(
            "{headers}A multi-part message.\r\n--mix\r\n\r\n{text}\r\n--mix\r\n\
             Content-Type: application/pdf; name=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment;\r\n filename=\"a.pdf\"\r\n\r\n{}\r\n--mix--\r\n",
            body.join("\r\n")
        )
    }

    fn forward(&mut self) -> String {
        let headers = self.headers("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=fwd\r\n");
        let inner = self.plain();
        format!(
            "{headers}--fwd\r\n\r\nSee below.\r\n--fwd\r\nContent-Type: message/rfc822\r\n\r\n{inner}\r\n--fwd--\r\n"
        )
    }
}

impl Iterator for Corpus {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        Some(self.message())
    }
}
