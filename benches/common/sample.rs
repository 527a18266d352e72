//! A message to append.

/// 4,000 bytes with an attachment.
pub fn message() -> Vec<u8> {
    let line = "The quick brown fox jumps over the lazy dog and then comes back for more.\r\n";
    let base64 = "VGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyIHRoZSBsYXp5IGRvZyBhbmQgbW9yZS4u\r\n";
    format!(
        "Date: Mon, 1 Jan 2024 10:00:00 +0000\r\nFrom: Ada Lovelace <ada@example.org>\r\n\
         To: Bob <bob@example.org>, Carol <carol@example.org>\r\nSubject: =?utf-8?q?H=C3=A9liographe?=\r\n\
         Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{}\
         --b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"a.png\"\r\n\r\n{}--b--\r\n",
        line.repeat(20),
        base64.repeat(25)
    )
    .into_bytes()
}
