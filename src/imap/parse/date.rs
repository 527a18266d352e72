//! Dates in SEARCH and APPEND.

use super::error::Parsed;
use super::reader::Reader;
use crate::imap::types::{InternalDate, NaiveDay};

const DATE: &str = "a date like 2-Nov-2026";
const DATE_TIME: &str = "a date like \" 2-Nov-2026 09:30:00 +0100\"";

/// `d-Mon-yyyy`, in quotes or not.
pub(super) fn date(reader: &mut Reader<'_>) -> Parsed<NaiveDay> {
    let start = reader.clone();
    let quoted = reader.accept(b'"');
    let day = plain_date(reader).map_or_else(|| start.expected(DATE), Ok)?;
    if quoted {
        reader.byte(b'"', "a closing quote")?;
    }
    Ok(day)
}

/// `"dd-Mon-yyyy hh:mm:ss +zzzz"`. A leap second is taken for the second after it.
pub(super) fn date_time(reader: &mut Reader<'_>) -> Parsed<InternalDate> {
    let start = reader.clone();
    quoted_date_time(reader).map_or_else(|| start.expected(DATE_TIME), Ok)
}

fn quoted_date_time(reader: &mut Reader<'_>) -> Option<InternalDate> {
    skip(reader, b'"')?;
    // The fixed form has a space where a one-digit day lacks its zero; some clients send neither.
    reader.accept(b' ');
    let day = plain_date(reader)?;
    skip(reader, b' ')?;
    let hour = digits(reader, 2, 2).filter(|hour| *hour < 24)?;
    skip(reader, b':')?;
    let minute = digits(reader, 2, 2).filter(|minute| *minute < 60)?;
    skip(reader, b':')?;
    let second = digits(reader, 2, 2).filter(|second| *second <= 60)?;
    skip(reader, b' ')?;
    let offset_minutes = zone(reader)?;
    skip(reader, b'"')?;
    let local =
        i64::from(day.0) * 86_400 + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    Some(InternalDate { timestamp: local - i64::from(offset_minutes) * 60, offset_minutes })
}

fn zone(reader: &mut Reader<'_>) -> Option<i16> {
    let west = reader.accept(b'-');
    if !west {
        skip(reader, b'+')?;
    }
    let hours = digits(reader, 2, 2).filter(|hours| *hours < 24)?;
    let minutes = digits(reader, 2, 2).filter(|minutes| *minutes < 60)?;
    let offset = (hours * 60 + minutes) as i16;
    Some(if west { -offset } else { offset })
}

fn plain_date(reader: &mut Reader<'_>) -> Option<NaiveDay> {
    let day = digits(reader, 1, 2)?;
    skip(reader, b'-')?;
    let month = month(reader)?;
    skip(reader, b'-')?;
    let year = digits(reader, 4, 4)?;
    NaiveDay::from_date(year, month, day as u8)
}

fn month(reader: &mut Reader<'_>) -> Option<u8> {
    let mut name = [0; 3];
    for byte in &mut name {
        *byte = reader.peek()?.to_ascii_lowercase();
        reader.accept(reader.peek()?);
    }
    const NAMES: &[u8; 36] = b"janfebmaraprmayjunjulaugsepoctnovdec";
    NAMES.chunks_exact(3).position(|known| known == name).map(|index| index as u8 + 1)
}

/// A number of `min` to `max` digits, four at most.
fn digits(reader: &mut Reader<'_>, min: usize, max: usize) -> Option<u16> {
    let mut value = 0;
    let mut count = 0;
    while count < max
        && let Some(digit @ b'0'..=b'9') = reader.peek()
    {
        reader.accept(digit);
        value = value * 10 + u16::from(digit - b'0');
        count += 1;
    }
    (count >= min).then_some(value)
}

fn skip(reader: &mut Reader<'_>, byte: u8) -> Option<()> {
    reader.accept(byte).then_some(())
}
