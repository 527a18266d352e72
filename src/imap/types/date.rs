//! Dates as IMAP has them: days in SEARCH, moments with a zone in APPEND and FETCH.

/// A calendar day without a zone, as days since 1970-01-01 (RFC 9051 §6.4.4: SEARCH disregards time and zone).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NaiveDay(pub i32);

/// A moment and the zone it was written in (RFC 9051 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InternalDate {
    /// Seconds since 1970-01-01 00:00:00 UTC.
    pub timestamp: i64,
    /// Minutes east of UTC, -5999 to 5999 by the grammar, kept so that FETCH shows what APPEND gave.
    pub offset_minutes: i16,
}

const SECONDS_PER_DAY: i64 = 86_400;

impl NaiveDay {
    /// The day of a date of the proleptic Gregorian calendar; `None` when there is no such day.
    pub fn from_date(year: u16, month: u8, day: u8) -> Option<Self> {
        if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
            return None;
        }
        // Years begin in March here, so that the leap day is the last one: 153 days are five months from then on.
        let shifted = i32::from(year) - i32::from(month <= 2);
        let era = shifted.div_euclid(400);
        let year_of_era = shifted.rem_euclid(400);
        let day_of_year = (153 * ((i32::from(month) + 9) % 12) + 2) / 5 + i32::from(day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Some(NaiveDay(era * 146_097 + day_of_era - 719_468))
    }

    /// Year, month (1 to 12) and day of the month.
    pub fn to_date(self) -> (i32, u8, u8) {
        let days = self.0 + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        (year_of_era + era * 400 + i32::from(month <= 2), month as u8, day as u8)
    }
}

impl InternalDate {
    /// The day in the date's own zone: what SEARCH BEFORE, ON and SINCE compare.
    pub fn day(self) -> NaiveDay {
        let days = self.local_seconds().div_euclid(SECONDS_PER_DAY);
        NaiveDay(days.clamp(i64::from(i32::MIN) / 2, i64::from(i32::MAX) / 2) as i32)
    }

    /// Hour, minute and second in the date's own zone.
    pub fn time(self) -> (u8, u8, u8) {
        let second = self.local_seconds().rem_euclid(SECONDS_PER_DAY);
        ((second / 3600) as u8, (second / 60 % 60) as u8, (second % 60) as u8)
    }

    fn local_seconds(self) -> i64 {
        self.timestamp.saturating_add(i64::from(self.offset_minutes) * 60)
    }
}

fn days_in_month(year: u16, month: u8) -> u8 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_from_1970() {
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((1969, 12, 31), -1),
            ((2000, 2, 29), 11_016),
            ((2026, 11, 23), 20_780),
            ((1, 1, 1), -719_162),
            ((0, 1, 1), -719_528),
            ((9999, 12, 31), 2_932_896),
        ] {
            let (year, month, day) = date;
            assert_eq!(NaiveDay::from_date(year, month, day), Some(NaiveDay(days)), "{date:?}");
            assert_eq!(NaiveDay(days).to_date(), (i32::from(year), month, day));
        }
    }

    #[test]
    fn there_is_no_such_day() {
        for (year, month, day) in [(2023, 2, 29), (1900, 2, 29), (2024, 4, 31), (2024, 13, 1), (2024, 1, 0)] {
            assert_eq!(NaiveDay::from_date(year, month, day), None);
        }
    }

    #[test]
    fn every_day_of_four_centuries_has_one_number() {
        for number in -200_000..200_000 {
            let (year, month, day) = NaiveDay(number).to_date();
            let Ok(year) = u16::try_from(year) else { panic!("year {year}") };
            assert_eq!(NaiveDay::from_date(year, month, day), Some(NaiveDay(number)));
        }
    }

    #[test]
    fn the_day_is_the_senders() {
        let date = InternalDate { timestamp: 0, offset_minutes: -60 };
        assert_eq!((date.day(), date.time()), (NaiveDay(-1), (23, 0, 0)));
        let extreme = InternalDate { timestamp: i64::MAX, offset_minutes: 600 };
        assert!(extreme.day() > NaiveDay(0));
    }
}
