//! When a certificate begins and ends: the one part of X.509 that a server has to read itself.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The dates of a certificate (RFC 5280 §4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0]`, the version; absent in version 1.
const VERSION: u8 = 0xa0;

impl Validity {
    /// Of a certificate in DER; `None` when it is not one.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let mut certificate = Der(certificate).inside(SEQUENCE)?;
        let mut fields = certificate.inside(SEQUENCE)?;
        if fields.0.first() == Some(&VERSION) {
            fields.inside(VERSION)?;
        }
        fields.inside(INTEGER)?; // serial number
        fields.inside(SEQUENCE)?; // algorithm of the signature
        fields.inside(SEQUENCE)?; // issuer
        let mut validity = fields.inside(SEQUENCE)?;
        Some(Validity { not_before: validity.time()?, not_after: validity.time()? })
    }
}

/// Elements in distinguished encoding, one behind the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element, with its tag.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, length], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match length {
            0x00..=0x7f => (usize::from(length), rest),
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                (digits.iter().fold(0, |sum, &digit| sum << 8 | usize::from(digit)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// What is in the next element, which must have this tag.
    fn inside(&mut self, expected: u8) -> Option<Der<'a>> {
        let (tag, content) = self.next()?;
        (tag == expected).then_some(Der(content))
    }

    /// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
    fn time(&mut self) -> Option<Timestamp> {
        let (tag, text) = self.next()?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = number(text, 2)?;
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            GENERALIZED_TIME => number(text, 4)?,
            _ => return None,
        };
        let (month, rest) = digits(rest)?;
        let (day, rest) = digits(rest)?;
        let (hour, rest) = digits(rest)?;
        let (minute, rest) = digits(rest)?;
        let (second, _) = digits(rest)?;
        let time = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
    }
}

fn digits(text: &[u8]) -> Option<(i8, &[u8])> {
    let (number, rest) = number(text, 2)?;
    Some((i8::try_from(number).ok()?, rest))
}

/// The number that the first `digits` characters write, and the rest.
fn number(text: &[u8], digits: usize) -> Option<(i16, &[u8])> {
    let (digits, rest) = text.split_at_checked(digits)?;
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    Some((text.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn dates_of_both_kinds() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(1999, 12, 31);
        params.not_after = date_time_ymd(2051, 2, 28);
        let certificate = params.self_signed(&key).unwrap();
        let validity = Validity::of(certificate.der()).unwrap();
        assert_eq!(validity.not_before.to_string(), "1999-12-31T00:00:00Z");
        assert_eq!(validity.not_after.to_string(), "2051-02-28T00:00:00Z");
    }

    #[test]
    fn what_is_cut_or_changed_is_no_certificate() {
        let key = KeyPair::generate().unwrap();
        let whole = CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
        assert!(Validity::of(&whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(Validity::of(&whole[..end]), None, "cut at {end}");
        }
        for (at, bit) in (0..whole.len().min(200)).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut other = whole.clone();
            other[at] ^= 1 << bit;
            let _ = Validity::of(&other);
        }
    }
}
