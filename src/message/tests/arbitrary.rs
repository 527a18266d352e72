//! Any bytes: no panic, ranges inside the message, tables that survive.

use proptest::{collection::vec, prelude::*};

use super::*;

/// Pieces that steer random bytes into every corner of the scan.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "\r\n",
        "\n",
        "\r\n\r\n",
        "--b",
        "--b--",
        "--c",
        "--c--",
        "\r\n--b\r\n",
        "\r\n--c\r\n",
        "\r\n--b--\r\n",
        " ",
        "Content-Type: ",
        "multipart/mixed; boundary=b",
        "multipart/digest; boundary=c",
        "message/rfc822",
        "text/html; charset=utf-16",
        "Content-Transfer-Encoding: base64",
        "Content-Transfer-Encoding: quoted-printable",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n",
        "Content-Type: message/rfc822\r\n\r\n",
        "\r\nTo: ",
        "\r\nSubject: ",
        "From: ",
        "Date: Mon, 1 Jan 2001 ",
        "=?utf-8?b?",
        "?=",
        "<",
        ">",
        "(",
        ")",
        "\"",
        "\\",
        "@",
        ":",
        ";",
        ",",
        "=",
        "References: <a",
        "Content-Disposition: attachment; x=",
        "&#x",
        "</style>",
        "<style>",
    ]);
    let piece =
        prop_oneof![4 => known.prop_map(|text| text.as_bytes().to_vec()), 1 => vec(any::<u8>(), 0..8)];
    vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_a_message(raw in pieces()) {
        let analysis = checked(&raw);
        for part in analysis.parts.iter() {
            prop_assert!(part.header().start <= part.body().start);
            prop_assert!(part.body().end <= raw.len() as u64);
            let body = &raw[part.body().start as usize..part.body().end as usize];
            let _ = decode_transfer(part.encoding, body, &mut Vec::new());
        }
        assert_wire_ready(&analysis);
        let needle = Needle::new("x");
        search_text(&raw, &analysis.parts, &needle, Scope::Text);
        search_header(&raw, b"from", &needle);
    }

    #[test]
    fn a_header_splits_into_what_is_selected_and_the_rest(raw in pieces()) {
        let raws: usize = header::fields(&raw).map(|field| field.raw.len()).sum();
        let (mut chosen, mut others) = (Vec::new(), Vec::new());
        let from = [&b"from"[..]].into_iter().collect();
        header_fields(&raw, &from, false, &mut chosen);
        header_fields(&raw, &from, true, &mut others);
        let added = chosen.len() + others.len() - raws;
        prop_assert!(added == 4 || added == 6);
    }

    #[test]
    fn any_bytes_may_be_a_table(bytes in vec(any::<u8>(), 0..60)) {
        if let Ok(parts) = Parts::decode(&[&[1], &bytes[..]].concat()) {
            let mut stored = Vec::new();
            parts.encode(&mut stored);
            prop_assert_eq!(Parts::decode(&stored), Ok(parts));
        }
    }
}
