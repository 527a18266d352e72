//! Known hashes, made with libxcrypt, the argon2 command and Python's hashlib.

use super::*;

const PASSWORD: &[u8] = "correct horse ü".as_bytes();

const KNOWN: &[&str] = &[
    "{PLAIN}correct horse ü",
    "{cleartext}correct horse ü",
    "{PLAIN.b64}Y29ycmVjdCBob3JzZSDDvA==",
    "{PLAIN.hex}636f727265637420686f72736520c3bc",
    "{ARGON2ID}$argon2id$v=19$m=1024,t=2,p=1$c29tZXNhbHQxMjM0NTY3OA$7y7HNIVm9yLfWMmjnHjoBfqbrL8fNAeoaZ30OupNqFs",
    "{ARGON2I}$argon2i$v=19$m=512,t=3,p=2$c29tZXNhbHQxMjM0NTY3OA$vxHlH+5qx3aYoviKwnRsJU8nlA341ZyUtgEA28PFApQ",
    "{ARGON2ID}$argon2id$v=16$m=256,t=2,p=1$c29tZXNhbHQxMjM0NTY3OA$QYHd4royGZjS4ZPAu5HKQA",
    "{ARGON2ID}$argon2id$m=256,t=2,p=1$c29tZXNhbHQxMjM0NTY3OA$QYHd4royGZjS4ZPAu5HKQA",
    "{BLF-CRYPT}$2b$05$abcdefghijklmnopqrstuur24RCaBeltrmItnz5BSl3CIPnXI1BlG",
    "{blf-crypt}$2y$05$abcdefghijklmnopqrstuur24RCaBeltrmItnz5BSl3CIPnXI1BlG",
    "{CRYPT}$2a$04$......................JYOCSbtygX/ZSzTmBLJJlLt22QSL9ze",
    "{SHA512-CRYPT}$6$saltsalt$39CUoS5DpRehDNj5lpRIRK9uuBCyd.BFvzF9/YpisXgTEmG8MhP6lVfEY4mn8Wp5GYzzsc2Ckplq1srvTICoh1",
    "{CRYPT}$6$rounds=1000$abcdefghijklmnop$rVi6thBV28fP2Ft5CPA7xhJ.frDJfFUt5CYxUw1Bsu5kgWiG3ocX.6rXfCu8fjIj5Or2IMQpzwa/VbH2FVzL0/",
    "{SHA256-CRYPT}$5$saltsalt$hwVhzvwT5WIoB16pRLHvO/T/5JRtdrNHlGP5KwaHE2D",
    "{CRYPT}$5$rounds=77777$short$8cSJ554/22vp9xInJIElHyFPLsb0hfsEbOccyS1v7O7",
    "{SHA}BamUwd4BOl+1jAtu97w165yA/8g=",
    "{SHA1}05a994c1de013a5fb58c0b6ef7bc35eb9c80ffc8",
    "{SHA256}otv7W7LaxrIb1p2WRi16zkOLddXNfbCCJpS/jRbNOzM=",
    "{SHA256.HEX}A2DBFB5BB2DAC6B21BD69D96462D7ACE438B75D5CD7DB0822694BF8D16CD3B33",
    "{SHA512}FFopYaUmkAg7thSf0kj7BuPnnjKlduscTLmEVWUhZ3YeWHup6UOw6KSJ/Y5dsIklFsjRC4GCnwCJviGRwrNKCA==",
    "{SSHA}P2m+6qVnTpOxFp8bQf+KmvVSs9UAAQIDBAUGBw==",
    "{SSHA256}KROu6K/gfU/AF3da3pGgj9ViidI8g2DG2Ud1NJiV1t0AAQIDBAUGBw==",
    "{SSHA512.b64}Bx9/RrRrLvjENqpWDNRY+5yRTwoqYALME3vyjQNlfrhuxY/QvFpWVToHpfMeBgI10QxkTUhwAbfLt1wh581IXwABAgMEBQYH",
];

#[test]
fn each_scheme_knows_its_password_and_no_other() {
    for text in KNOWN {
        let hash = StoredHash::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(hash.verify(PASSWORD), "{text}");
        for wrong in [&b""[..], b"c", b"correct horse", "correct horse Ü".as_bytes(), &[b'x'; 2000]] {
            assert!(!hash.verify(wrong), "{text}: {wrong:?}");
        }
    }
}

#[test]
fn a_new_hash_verifies_and_is_salted() {
    let one = hash_password(PASSWORD).unwrap();
    let two = hash_password(PASSWORD).unwrap();
    assert_ne!(one, two);
    let hash = StoredHash::parse(&one).unwrap();
    assert!(hash.verify(PASSWORD) && !hash.verify(b"wrong"));
    assert_eq!(hash_password(b""), Err(HashError::BadPassword));
    assert!(hash_password(&[b'x'; MAX_PASSWORD]).is_ok());
    assert_eq!(hash_password(&[b'x'; MAX_PASSWORD + 1]), Err(HashError::BadPassword));
}

#[test]
fn an_empty_stored_password_lets_nobody_in() {
    for text in ["{PLAIN}", "{SSHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk="] {
        assert!(!StoredHash::parse(text).unwrap().verify(b""), "{text}");
    }
}

#[test]
fn bcrypt_reads_72_bytes_as_everywhere() {
    let hash = "{BLF-CRYPT}$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i";
    assert!(StoredHash::parse(hash).unwrap().verify(&[b'x'; 100]));
}

#[test]
fn what_a_hash_may_cost_is_bounded() {
    let salt_and_hash = "c29tZXNhbHQxMjM0NTY3OA$7y7HNIVm9yLfWMmjnHjoBfqbrL8fNAeoaZ30OupNqFs";
    let sha = "39CUoS5DpRehDNj5lpRIRK9uuBCyd.BFvzF9/YpisXgTEmG8MhP6lVfEY4mn8Wp5GYzzsc2Ckplq1srvTICoh1";
    for (text, costly) in [
        (format!("{{ARGON2ID}}$argon2id$v=19$m={MAX_ARGON2_MEMORY},t=1,p=1${salt_and_hash}"), false),
        (format!("{{ARGON2ID}}$argon2id$v=19$m={},t=1,p=1${salt_and_hash}", MAX_ARGON2_MEMORY + 1), true),
        (format!("{{ARGON2ID}}$argon2id$v=19$m=65536,t=32,p=1${salt_and_hash}"), false),
        (format!("{{ARGON2ID}}$argon2id$v=19$m=65536,t=33,p=1${salt_and_hash}"), true),
        ("{BLF-CRYPT}$2b$15$abcdefghijklmnopqrstuur24RCaBeltrmItnz5BSl3CIPnXI1BlG".into(), false),
        ("{BLF-CRYPT}$2b$16$abcdefghijklmnopqrstuur24RCaBeltrmItnz5BSl3CIPnXI1BlG".into(), true),
        (format!("{{CRYPT}}$6$rounds={MAX_SHA_CRYPT_ROUNDS}$saltsalt${sha}"), false),
        (format!("{{CRYPT}}$6$rounds={}$saltsalt${sha}", MAX_SHA_CRYPT_ROUNDS + 1), true),
    ] {
        let error = StoredHash::parse(&text).err();
        assert_eq!(error, costly.then_some(HashError::TooCostly), "{text}");
    }
    assert_eq!(
        StoredHash::parse(&format!("{{PLAIN}}{}", "x".repeat(MAX_HASH))).unwrap_err(),
        HashError::TooLong
    );
}

#[test]
fn damaged_hashes_are_refused_without_a_panic() {
    for (text, error) in [
        ("secret", HashError::NoScheme),
        ("{SHA", HashError::NoScheme),
        ("{MD5}abc", HashError::UnknownScheme),
        ("{CRYPT}$1$abc$def", HashError::UnknownScheme),
        ("{CRYPT}abcdefghijklm", HashError::Malformed),
        ("{SHA512-CRYPT}$5$saltsalt$hwVhzvwT5WIoB16pRLHvO/T/5JRtdrNHlGP5KwaHE2D", HashError::Malformed),
        ("{SHA256-CRYPT}$5$rounds=999$s$hwVhzvwT5WIoB16pRLHvO/T/5JRtdrNHlGP5KwaHE2D", HashError::Malformed),
        ("{SHA256-CRYPT}$5$rounds=$s$", HashError::Malformed),
        ("{SSHA}AAAA", HashError::Malformed),
        ("{SSHA}!!!!", HashError::Malformed),
        ("{SHA.hex}0g", HashError::Malformed),
        ("{ARGON2ID}$argon2i$v=19$m=512,t=3,p=2$c29tZXNhbHQxMjM0NTY3OA$vxHlH+5q", HashError::Malformed),
    ] {
        assert_eq!(StoredHash::parse(text).unwrap_err(), error, "{text}");
    }
    for text in KNOWN {
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            if let Ok(hash) = StoredHash::parse(&text[..end]) {
                let only_padding_is_gone = text[end..].bytes().all(|byte| byte == b'=');
                assert!(!hash.verify(PASSWORD) || only_padding_is_gone, "{text} cut at {end}");
            }
        }
    }
}

#[test]
fn nobodys_hash_costs_as_much_as_a_new_one_and_fits_no_password() {
    let (nobodys, new) = (nobodys_hash().unwrap(), hash_password(PASSWORD).unwrap());
    let costs = |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!((nobodys.len(), costs(&nobodys)), (new.len(), costs(&new)));
    assert!(!StoredHash::parse(&nobodys).unwrap().verify(PASSWORD));
    assert_ne!(nobodys, nobodys_hash().unwrap());
}
