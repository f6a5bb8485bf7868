//! Budget windows and the calendar periods they fall into, in a tenant's time zone.

use std::fmt;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};
use serde::{Deserialize, Serialize};

use crate::UnixMillis;

/// Over which span a budget counts. Calendar spans follow the tenant's time zone; weeks start on Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetWindow {
    /// From one full hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first to the first.
    Month,
    /// For ever.
    Total,
}

impl BudgetWindow {
    /// Every window.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Total];

    /// The name in configuration and API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// The window of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.name() == name)
    }
}

impl fmt::Display for BudgetWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One period of a window: `[starts_at, ends_at)`. Its start names it: two periods never share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Period {
    /// First millisecond inside; `UnixMillis(0)` for `total`.
    pub starts_at: UnixMillis,
    /// First millisecond after; `UnixMillis(i64::MAX)` for `total`.
    pub ends_at: UnixMillis,
}

impl Period {
    /// The period of a window without end.
    pub const TOTAL: Self = Self { starts_at: UnixMillis(0), ends_at: UnixMillis(i64::MAX) };

    /// Whether `moment` lies inside.
    #[must_use]
    pub fn contains(&self, moment: UnixMillis) -> bool {
        self.starts_at <= moment && moment < self.ends_at
    }
}

/// The period a moment falls into and the one after it, so that the ledger can choose by its own clock
/// when the caller's clock is a little off at the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeriodPair {
    /// The period of the caller's present.
    pub current: Period,
    /// The following one; the same as `current` for `total`.
    pub next: Period,
}

/// Why periods could not be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Not an IANA time zone name.
    #[error("`{0}` is not a time zone; write an IANA name like \"Europe/Berlin\" or \"UTC\"")]
    UnknownTimeZone(String),
    /// The moment is outside the calendar.
    #[error("the time {0} is outside the calendar")]
    OutOfRange(UnixMillis),
}

/// A checked IANA time zone.
#[derive(Clone, Debug)]
pub struct TimeZoneName {
    name: String,
    zone: TimeZone,
}

impl TimeZoneName {
    /// UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }

    /// Looks `name` up in the bundled time zone database.
    ///
    /// # Errors
    /// [`WindowError::UnknownTimeZone`].
    pub fn parse(name: &str) -> Result<Self, WindowError> {
        if name.eq_ignore_ascii_case("utc") {
            return Ok(Self::utc());
        }
        let zone = TimeZone::get(name).map_err(|_| WindowError::UnknownTimeZone(name.to_owned()))?;
        Ok(Self { name: name.to_owned(), zone })
    }

    /// The name as given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The period of `window` around `moment` in this zone, and the one after.
    ///
    /// # Errors
    /// [`WindowError::OutOfRange`] outside the calendar.
    pub fn periods(&self, window: BudgetWindow, moment: UnixMillis) -> Result<PeriodPair, WindowError> {
        if window == BudgetWindow::Total {
            return Ok(PeriodPair { current: Period::TOTAL, next: Period::TOTAL });
        }
        let current = self.period(window, moment)?;
        let next = self.period(window, current.ends_at)?;
        Ok(PeriodPair { current, next })
    }

    fn period(&self, window: BudgetWindow, moment: UnixMillis) -> Result<Period, WindowError> {
        if window == BudgetWindow::Hour {
            return self.hour(moment);
        }
        let out_of_range = |_| WindowError::OutOfRange(moment);
        let zoned = self.zoned(moment)?;
        let day = zoned.date();
        let (first, following) = match window {
            BudgetWindow::Hour | BudgetWindow::Total | BudgetWindow::Day => {
                (day, day.checked_add(1.day()).map_err(out_of_range)?)
            }
            BudgetWindow::Week => {
                let back = i64::from(day.weekday().since(Weekday::Monday));
                let monday = day.checked_sub(back.days()).map_err(out_of_range)?;
                (monday, monday.checked_add(7.days()).map_err(out_of_range)?)
            }
            BudgetWindow::Month => {
                let first = day.first_of_month();
                (first, first.checked_add(1.month()).map_err(out_of_range)?)
            }
        };
        let start_of = |date: jiff::civil::Date| date.to_zoned(self.zone.clone()).map_err(out_of_range);
        Ok(Period { starts_at: millis(&start_of(first)?), ends_at: millis(&start_of(following)?) })
    }

    /// Hours are those of the zone's wall clock: its offset may not be whole hours. An offset change inside
    /// one ends it, so that the next begins there and no moment is in two.
    fn hour(&self, moment: UnixMillis) -> Result<Period, WindowError> {
        const HOUR_MS: i64 = 3_600_000;
        let offset = self.zone.to_offset(timestamp(moment)?);
        let offset_ms = i64::from(offset.seconds()) * 1_000;
        let starts_at = (moment.0 + offset_ms).div_euclid(HOUR_MS) * HOUR_MS - offset_ms;
        let mut period =
            Period { starts_at: UnixMillis(starts_at), ends_at: UnixMillis(starts_at + HOUR_MS) };
        if self.zone.to_offset(timestamp(period.starts_at)?) != offset {
            let change = self.zone.preceding(timestamp(UnixMillis(moment.0 + 1))?).next();
            if let Some(change) = change {
                period.starts_at = UnixMillis(change.timestamp().as_millisecond());
            }
        }
        if self.zone.to_offset(timestamp(UnixMillis(period.ends_at.0 - 1))?) != offset {
            let change = self.zone.following(timestamp(moment)?).next();
            if let Some(change) = change {
                period.ends_at = UnixMillis(change.timestamp().as_millisecond());
            }
        }
        Ok(period)
    }

    fn zoned(&self, moment: UnixMillis) -> Result<Zoned, WindowError> {
        Ok(timestamp(moment)?.to_zoned(self.zone.clone()))
    }
}

fn timestamp(moment: UnixMillis) -> Result<jiff::Timestamp, WindowError> {
    jiff::Timestamp::from_millisecond(moment.0).map_err(|_| WindowError::OutOfRange(moment))
}

fn millis(zoned: &Zoned) -> UnixMillis {
    UnixMillis(zoned.timestamp().as_millisecond())
}

impl PartialEq for TimeZoneName {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for TimeZoneName {}

impl Default for TimeZoneName {
    fn default() -> Self {
        Self::utc()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> UnixMillis {
        UnixMillis::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn period_table() {
        use BudgetWindow::{Day, Hour, Month, Week};
        let cases = [
            ("UTC", Hour, "2026-11-22T12:51:00Z", "2026-11-22T12:00:00Z", "2026-11-22T13:00:00Z"),
            ("UTC", Week, "2026-11-22T12:51:00Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
            ("UTC", Month, "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("Asia/Kolkata", Hour, "2026-11-22T12:51:00Z", "2026-11-22T12:30:00Z", "2026-11-22T13:30:00Z"),
            // the half hour by which clocks go back is an hour's second half of its own
            (
                "Australia/Lord_Howe",
                Hour,
                "2026-04-04T15:10:00Z",
                "2026-04-04T15:00:00Z",
                "2026-04-04T15:30:00Z",
            ),
            (
                "Australia/Lord_Howe",
                Hour,
                "2026-04-04T14:59:59Z",
                "2026-04-04T14:00:00Z",
                "2026-04-04T15:00:00Z",
            ),
            // the day clocks go back has 25 hours, the day they go forward 23
            ("Europe/Berlin", Day, "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
            ("America/New_York", Day, "2026-03-08T12:00:00Z", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"),
        ];
        for (zone, window, moment, starts_at, ends_at) in cases {
            let pair = TimeZoneName::parse(zone).unwrap().periods(window, at(moment)).unwrap();
            let expected = Period { starts_at: at(starts_at), ends_at: at(ends_at) };
            assert_eq!(pair.current, expected, "{zone} {window} {moment}");
            assert_eq!(pair.next.starts_at, expected.ends_at);
        }
        assert!(TimeZoneName::parse("Mars/Olympus").is_err());
    }

    proptest! {
        #[test]
        fn periods_contain_their_moment_and_adjoin(
            seconds in 1_700_000_000_i64..2_000_000_000,
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu", "Australia/Lord_Howe"]),
            window in prop::sample::select(BudgetWindow::ALL.to_vec()),
        ) {
            let moment = UnixMillis(seconds * 1_000);
            let pair = TimeZoneName::parse(zone).unwrap().periods(window, moment).unwrap();
            prop_assert!(pair.current.contains(moment));
            if window != BudgetWindow::Total {
                prop_assert_eq!(pair.current.ends_at, pair.next.starts_at);
                prop_assert!(pair.next.starts_at < pair.next.ends_at);
            }
        }
    }
}
