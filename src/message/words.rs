//! Encoded words in headers (RFC 2047).

use std::borrow::Cow;

use memchr::{memchr, memmem};

use super::{charset, transfer};

/// Decodes a header value that is unfolded already. Neighbouring words lose the white space between them, and
/// share their bytes when they share a charset, since mailers split characters. Linear: looking for the end of
/// a word stops at the third question mark, and nothing decoded is looked at again.
pub fn decode_words(value: &[u8]) -> Cow<'_, str> {
    if memmem::find(value, b"=?").is_none() {
        return charset::decode(None, value);
    }
    let mut decoder = Decoder::default();
    let mut rest = value;
    while let Some(at) = memmem::find(rest, b"=?") {
        let (plain, from) = rest.split_at(at);
        rest = match Word::parse(from) {
            Some((word, tail)) => {
                decoder.plain_before_word(plain);
                decoder.word(&word);
                tail
            }
            None => {
                decoder.plain(&rest[..at + 2]);
                &rest[at + 2..]
            }
        };
    }
    decoder.plain(rest);
    decoder.flush();
    Cow::Owned(decoder.text)
}

/// `=?charset?encoding?text?=`
struct Word<'a> {
    charset: &'a [u8],
    base64: bool,
    text: &'a [u8],
}

impl<'a> Word<'a> {
    /// Reads a word that starts here; also returns what follows it.
    fn parse(from: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (charset, rest) = until_question_mark(from.strip_prefix(b"=?")?)?;
        let (encoding, rest) = until_question_mark(rest)?;
        let (text, rest) = until_question_mark(rest)?;
        let base64 = match encoding {
            b"B" | b"b" => true,
            b"Q" | b"q" => false,
            _ => return None,
        };
        // RFC 2231 §5: a language may follow the charset.
        let charset = charset.split(|&byte| byte == b'*').next()?;
        let valid = !charset.is_empty() && charset.iter().all(u8::is_ascii_graphic);
        valid.then_some((Self { charset, base64, text }, rest.strip_prefix(b"=")?))
    }
}

fn until_question_mark(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr(b'?', bytes)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

#[derive(Default)]
struct Decoder<'a> {
    text: String,
    charset: &'a [u8],
    /// Decoded bytes of the current run of words, in `charset`.
    pending: Vec<u8>,
    after_word: bool,
}

impl<'a> Decoder<'a> {
    fn word(&mut self, word: &Word<'a>) {
        if !word.charset.eq_ignore_ascii_case(self.charset) {
            self.flush();
            self.charset = word.charset;
        }
        if word.base64 {
            transfer::base64(word.text, &mut self.pending);
        } else {
            let spaced: Vec<u8> =
                word.text.iter().map(|&byte| if byte == b'_' { b' ' } else { byte }).collect();
            transfer::escapes(&spaced, &mut self.pending);
        }
        self.after_word = true;
    }

    fn plain_before_word(&mut self, plain: &[u8]) {
        if !(self.after_word && plain.iter().all(u8::is_ascii_whitespace)) {
            self.plain(plain);
        }
    }

    fn plain(&mut self, plain: &[u8]) {
        if !plain.is_empty() {
            self.flush();
            self.text.push_str(&charset::decode(None, plain));
            self.after_word = false;
        }
    }

    fn flush(&mut self) {
        if !self.pending.is_empty() {
            self.text.push_str(&charset::decode(Some(self.charset), &self.pending));
            self.pending.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_decoded_and_joined() {
        for (value, text) in [
            ("plain", "plain"),
            ("=?utf-8?q?h=C3=A9lio?=", "hélio"),
            ("=?UTF-8?B?aMOpbGlv?= graph", "hélio graph"),
            ("=?utf-8?q?a_b?=  =?iso-8859-1?q?=E9?= c", "a bé c"),
            ("=?utf-8?q?split_=C3?= =?utf-8?q?=A9?=", "split é"),
            ("Re: =?utf-8*fr?q?x?=y", "Re: xy"),
            ("=?utf-8?q?with spaces?=", "with spaces"),
        ] {
            assert_eq!(decode_words(value.as_bytes()), text, "{value}");
        }
    }

    #[test]
    fn broken_words_stay_as_they_are() {
        for value in ["=?", "=?x?q?", "=?x?q?=?x?q?", "=?x?z?y?=", "=?utf-8?q?open", "=??q?x?="] {
            assert_eq!(decode_words(value.as_bytes()), value);
        }
    }

    #[test]
    fn decoded_text_is_not_decoded_again() {
        assert_eq!(decode_words(b"=?utf-8?q?=3D=3Fx=3Fq=3Fy=3F=3D?="), "=?x?q?y?=");
    }
}
