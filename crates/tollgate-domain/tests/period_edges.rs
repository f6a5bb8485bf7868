//! Periods at every offset change of every time zone, 2025 to 2035: no gap, no overlap, each begun on a
//! quarter of an hour.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use tollgate_domain::{BudgetWindow, Period, TimeZoneName, UnixMillis};

const FIRST: &str = "2025-01-01T00:00:00Z";
const LAST: &str = "2036-01-01T00:00:00Z";
const QUARTER_MS: i64 = 15 * 60 * 1_000;
const HOUR_MS: i64 = 4 * QUARTER_MS;
/// Fewer would mean that the time zone database is not the whole one.
const MIN_ZONES: usize = 400;
const MIN_CHANGES: usize = 3_000;

fn zone_names() -> Vec<String> {
    jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The offset changes of a zone in the years looked at; changes of the abbreviation alone are none.
fn changes(zone: &TimeZone) -> Vec<Timestamp> {
    let before = |moment: Timestamp| zone.to_offset(moment - 1.millisecond());
    zone.following(at(FIRST))
        .map(|change| change.timestamp())
        .take_while(|moment| *moment < at(LAST))
        .filter(|moment| before(*moment) != zone.to_offset(*moment))
        .collect()
}

/// Both periods around a moment, checked in themselves.
fn pair_at(name: &TimeZoneName, window: BudgetWindow, moment: i64) -> (Period, Period) {
    let pair = name.periods(window, UnixMillis(moment)).unwrap();
    let told = || format!("{} {window} {}: {pair:?}", name.name(), UnixMillis(moment));
    assert!(pair.current.contains(UnixMillis(moment)), "{}", told());
    assert_eq!(pair.current.ends_at, pair.next.starts_at, "{}", told());
    for period in [pair.current, pair.next] {
        assert!(period.starts_at < period.ends_at, "{}", told());
        assert_eq!(period.starts_at.0.rem_euclid(QUARTER_MS), 0, "{}", told());
    }
    (pair.current, pair.next)
}

/// The period is the same from its first to its last millisecond, and the neighbours adjoin it.
fn assert_whole(name: &TimeZoneName, window: BudgetWindow, period: Period) {
    let told = || format!("{} {window} {period:?}", name.name());
    for inside in [period.starts_at.0, (period.starts_at.0 + period.ends_at.0) / 2, period.ends_at.0 - 1] {
        assert_eq!(pair_at(name, window, inside).0, period, "{}", told());
    }
    let (before, after_before) = pair_at(name, window, period.starts_at.0 - 1);
    assert_eq!((before.ends_at, after_before), (period.starts_at, period), "{}", told());
}

/// The wall clock at a period's start reads what begins there, or the offset changes at that very moment.
fn assert_begins_rightly(zone: &TimeZone, window: BudgetWindow, period: Period) {
    let start = Timestamp::from_millisecond(period.starts_at.0).unwrap();
    let is_change = zone.to_offset(start) != zone.to_offset(start - 1.millisecond());
    let wall: Zoned = start.to_zoned(zone.clone());
    let at_midnight = wall.hour() == 0 && wall.minute() == 0;
    let fits = match window {
        BudgetWindow::Hour => wall.minute() == 0,
        BudgetWindow::Day => at_midnight,
        BudgetWindow::Week => at_midnight && wall.weekday() == jiff::civil::Weekday::Monday,
        BudgetWindow::Month => at_midnight && wall.day() == 1,
        BudgetWindow::Total => true,
    };
    assert!(fits || is_change, "{window} begins at {wall}");
}

#[test]
fn periods_meet_without_gap_or_overlap_at_every_change_of_every_zone() {
    let names = zone_names();
    assert!(names.len() >= MIN_ZONES, "only {} time zones", names.len());
    let mut n_changes = 0;
    for zone_name in &names {
        let name = TimeZoneName::parse(zone_name).unwrap();
        let zone = TimeZone::get(zone_name).unwrap();
        for change in changes(&zone) {
            n_changes += 1;
            let moment = change.as_millisecond();
            for window in [BudgetWindow::Hour, BudgetWindow::Day, BudgetWindow::Week, BudgetWindow::Month] {
                let (current, next) = pair_at(&name, window, moment);
                let (before, _) = pair_at(&name, window, moment - 1);
                assert!(before == current || before.ends_at == current.starts_at, "{zone_name} {window}");
                for period in [before, current, next] {
                    assert_begins_rightly(&zone, window, period);
                }
                assert_whole(&name, window, current);
            }
            // walked hour by hour from a day before to a day after, every millisecond is in exactly one
            let mut period = pair_at(&name, BudgetWindow::Hour, moment - 3 * HOUR_MS).0;
            while period.starts_at.0 < moment + 3 * HOUR_MS {
                let (_, next) = pair_at(&name, BudgetWindow::Hour, period.ends_at.0 - 1);
                assert_eq!(next, pair_at(&name, BudgetWindow::Hour, period.ends_at.0).0, "{zone_name}");
                assert!(next.ends_at.0 - next.starts_at.0 <= HOUR_MS, "{zone_name} {next:?}");
                period = next;
            }
        }
    }
    assert!(n_changes >= MIN_CHANGES, "only {n_changes} changes");
}

#[test]
fn months_and_days_follow_the_calendar_in_every_zone() {
    for zone_name in zone_names() {
        let name = TimeZoneName::parse(&zone_name).unwrap();
        let zone = TimeZone::get(&zone_name).unwrap();
        let mut month = pair_at(&name, BudgetWindow::Month, at("2025-01-20T12:00:00Z").as_millisecond()).0;
        for index in 0..(11 * 12) {
            assert_whole(&name, BudgetWindow::Month, month);
            assert_begins_rightly(&zone, BudgetWindow::Month, month);
            // noon of the first day is in the month this is the index of
            let first = Timestamp::from_millisecond(month.starts_at.0 + 12 * HOUR_MS).unwrap();
            let wall = first.to_zoned(zone.clone());
            let expected = (2025 + index / 12, index % 12 + 1);
            assert_eq!((i32::from(wall.year()), i32::from(wall.month())), expected, "{zone_name}");
            month = pair_at(&name, BudgetWindow::Month, month.ends_at.0).0;
        }
    }
}

#[test]
fn leap_days_are_days_of_their_own() {
    for zone_name in zone_names() {
        let name = TimeZoneName::parse(&zone_name).unwrap();
        for year in [2028, 2032] {
            let noon = format!("{year}-02-29T12:00:00[{zone_name}]").parse::<Zoned>().unwrap();
            let moment = noon.timestamp().as_millisecond();
            let (day, march) = pair_at(&name, BudgetWindow::Day, moment);
            assert_whole(&name, BudgetWindow::Day, day);
            assert_eq!(day.ends_at.0 - day.starts_at.0, 24 * HOUR_MS, "{zone_name}");
            let (month, next) = pair_at(&name, BudgetWindow::Month, moment);
            assert_eq!((month.ends_at, next.starts_at), (march.starts_at, march.starts_at), "{zone_name}");
        }
    }
}

#[test]
fn the_total_has_one_period() {
    for zone_name in zone_names() {
        let name = TimeZoneName::parse(&zone_name).unwrap();
        for text in [FIRST, LAST, "2028-02-29T00:00:00Z"] {
            let pair = name.periods(BudgetWindow::Total, UnixMillis(at(text).as_millisecond())).unwrap();
            assert_eq!((pair.current, pair.next), (Period::TOTAL, Period::TOTAL));
        }
    }
}
