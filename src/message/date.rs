//! `Date:` fields (RFC 5322 §3.3 and §4.3), and the forms that old mail has besides.

use super::lexer::{Lexer, Set};

/// When a message says that it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentDate {
    /// Unix time in seconds.
    pub timestamp: i64,
    /// Days since 1970-01-01 of the date as written, without regard to its zone: what SENTON, SENTBEFORE and
    /// SENTSINCE compare (RFC 9051 §6.4.4).
    pub day: i32,
}

/// Reads a date. A missing time is midnight, a missing or unknown zone is UTC; without a valid day, month and
/// year there is no date.
pub fn parse_date(value: &[u8]) -> Option<SentDate> {
    let mut draft = Draft::default();
    let mut lexer = Lexer::new(value);
    loop {
        lexer.skip_cfws();
        match lexer.peek() {
            None => break,
            Some(b',') => lexer.bump(),
            Some(b'-') if draft.seconds.is_none() => lexer.bump(),
            Some(_) => draft.word(word(&mut lexer, draft.seconds.is_none())),
        }
    }
    draft.finish()
}

/// A run up to white space, a comma or a comment; a hyphen also ends one in `15-Feb-1994`.
fn word<'a>(lexer: &mut Lexer<'a>, in_date: bool) -> &'a [u8] {
    lexer.run(if in_date { &DATE_WORD_ENDS } else { &WORD_ENDS })
}

static WORD_ENDS: Set = Set::new(b" \t\r\n,(");
static DATE_WORD_ENDS: Set = Set::new(b" \t\r\n,(-");

#[derive(Default)]
struct Draft {
    day: Option<i32>,
    month: Option<i32>,
    year: Option<i32>,
    seconds: Option<i64>,
    offset: Option<i64>,
}

impl Draft {
    fn word(&mut self, word: &[u8]) {
        if word.contains(&b':') && self.seconds.is_none() {
            self.seconds = time(word);
        } else if word.first().is_some_and(u8::is_ascii_digit) {
            self.number(word);
        } else if self.month.is_none() && month(word).is_some() {
            self.month = month(word);
        } else if self.seconds.is_some() && self.offset.is_none() {
            self.offset = zone(word);
        }
    }

    fn number(&mut self, word: &[u8]) {
        let Some(value) = decimal(word) else { return };
        if self.day.is_none() {
            self.day = Some(value);
        } else if self.year.is_none() {
            self.year = Some(full_year(value, word.len()));
        }
    }

    fn finish(self) -> Option<SentDate> {
        let (year, month, day) = (self.year?, self.month?, self.day?);
        if !(1..=9999).contains(&year) || !(1..=days_in(year, month)).contains(&day) {
            return None;
        }
        let day = days_from_civil(year, month, day);
        let local = i64::from(day) * 86_400 + self.seconds.unwrap_or(0);
        Some(SentDate { timestamp: local - self.offset.unwrap_or(0), day })
    }
}

/// RFC 5322 §4.3: two digits below 50 are 20xx; other two, and three digits, count from 1900.
fn full_year(value: i32, digits: usize) -> i32 {
    match (digits, value) {
        (..=2, ..50) => 2000 + value,
        (..=3, _) => 1900 + value,
        _ => value,
    }
}

/// `hh:mm[:ss]`; a leap second counts as the one before it.
fn time(word: &[u8]) -> Option<i64> {
    let mut fields = word.split(|&byte| byte == b':').map(decimal);
    let (hour, minute) = (fields.next()??, fields.next()??);
    let second = fields.next().flatten().unwrap_or(0);
    let valid = hour < 24 && minute < 60 && second <= 60;
    valid.then_some(i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second.min(59)))
}

/// Seconds east of UTC.
fn zone(word: &[u8]) -> Option<i64> {
    let hours = match word {
        [b'+', digits @ ..] => return numeric_zone(digits),
        [b'-', digits @ ..] => return numeric_zone(digits).map(|offset| -offset),
        b"EDT" => -4,
        b"EST" | b"CDT" => -5,
        b"CST" | b"MDT" => -6,
        b"MST" | b"PDT" => -7,
        b"PST" => -8,
        _ => 0,
    };
    Some(hours * 3600)
}

fn numeric_zone(digits: &[u8]) -> Option<i64> {
    let value = i64::from(decimal(digits).filter(|_| digits.len() == 4)?);
    (value % 100 < 60).then_some(value / 100 * 3600 + value % 100 * 60)
}

/// Up to four digits.
fn decimal(digits: &[u8]) -> Option<i32> {
    let valid = (1..=4).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    valid.then(|| digits.iter().fold(0, |value, digit| value * 10 + i32::from(digit - b'0')))
}

fn month(word: &[u8]) -> Option<i32> {
    let name: &[u8; 3] = word.first_chunk()?;
    let month = match &name.map(|byte| byte.to_ascii_lowercase()) {
        b"jan" => 1,
        b"feb" => 2,
        b"mar" => 3,
        b"apr" => 4,
        b"may" => 5,
        b"jun" => 6,
        b"jul" => 7,
        b"aug" => 8,
        b"sep" => 9,
        b"oct" => 10,
        b"nov" => 11,
        b"dec" => 12,
        _ => return None,
    };
    Some(month)
}

fn days_in(year: i32, month: i32) -> i32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar. Years start in March, so that a leap day comes last.
fn days_from_civil(year: i32, month: i32, day: i32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<(i64, i32)> {
        parse_date(value.as_bytes()).map(|date| (date.timestamp, date.day))
    }

    #[test]
    fn dates_in_all_their_forms() {
        for (value, expected) in [
            ("Thu, 1 Jan 1970 00:00:00 +0000", (0, 0)),
            ("Tue, 29 Feb 2000 23:59:59 -0500", (951_886_799, 11_016)),
            ("29 Feb 2000 01:00 +0200", (951_778_800, 11_016)),
            ("Sat, 24 Mar 2007 23:00:00 +0200 (EET)", (1_174_770_000, 13_596)),
            ("(c) Sat (d) ,\r\n 24 Mar\t2007 21:00 GMT", (1_174_770_000, 13_596)),
            ("24-Mar-07 16:00:00 EST", (1_174_770_000, 13_596)),
            ("24 Mar 107 21:00:00 UT", (1_174_770_000, 13_596)),
            ("Sat Mar 24 21:00:00 2007", (1_174_770_000, 13_596)),
            ("Saturday, 24 March 2007 21:00:60 Z", (1_174_770_059, 13_596)),
            ("24 Mar 2007", (1_174_694_400, 13_596)),
            ("31 Dec 1969 23:59:59 -0000", (-1, -1)),
        ] {
            assert_eq!(read(value), Some(expected), "{value}");
        }
    }

    #[test]
    fn nonsense_is_no_date() {
        for value in
            ["", "yesterday", "30 Feb 2001 00:00 +0000", "0 Jan 2001", "1 Foo 2001", "1 Jan", "1 Jan 99999"]
        {
            assert_eq!(read(value), None, "{value}");
        }
    }

    #[test]
    fn bad_times_and_zones_leave_the_day() {
        for value in ["24 Mar 2007 25:00:00", "24 Mar 2007 xx:yy", "24 Mar 2007 00:00 +9999999"] {
            assert_eq!(read(value), Some((1_174_694_400, 13_596)), "{value}");
        }
    }
}
