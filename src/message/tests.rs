//! Whole messages: structure, sections, mail that is out to do harm, and any bytes at all.

mod arbitrary;
mod hostile;
mod sections;
mod structures;

use super::*;

/// A message in the tests is written with LF; on the wire it has CRLF.
fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Analyzes, and checks what must hold for any bytes: ranges lie inside, the table survives being stored.
fn checked(raw: &[u8]) -> Analysis {
    let analysis = analyze(raw);
    let parts = &analysis.parts;
    assert_eq!(parts.message_len(), raw.len() as u64);
    assert_eq!(parts.locate(&[], Which::Full), Some(0..raw.len() as u64));
    let mut stored = Vec::new();
    parts.encode(&mut stored);
    assert_eq!(Parts::decode(&stored).as_ref(), Ok(parts));
    assert!(analysis.body_structure().len() <= 2 * limits::MAX_STRUCTURE);
    analysis
}

/// Checks what goes to clients against a grammar that is not ours.
fn assert_wire_ready(analysis: &Analysis) {
    use imap_codec::{ResponseCodec, decode::Decoder};
    let texts = [analysis.envelope(), analysis.body(), analysis.body_structure()];
    for (item, value) in ["ENVELOPE", "BODY", "BODYSTRUCTURE"].into_iter().zip(texts) {
        let response = [b"* 1 FETCH (", item.as_bytes(), b" ", value, b")\r\n"].concat();
        let parsed = ResponseCodec::default().decode(&response);
        let rest = parsed.map(|(rest, _)| rest.to_vec());
        assert!(matches!(&rest, Ok(rest) if rest.is_empty()), "{}: {rest:?}", text(&response));
    }
}
