//! Price rows × usage → the charge, exact to the nano-USD, against `golden/prices.json`. That file is worked
//! out by `golden/prices.py` with fractions and without any of this code; this test only reads it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;

use serde::Deserialize;
use tollgate_catalog::{
    Charge, Needs, PriceRow, PriceSheet, PriceTimeline, Reach, ServiceTier, UnitBounds, UnpricedReason,
    parse_price,
};
use tollgate_domain::{Meter, NanoUsd, PricePerMillion, UnixMillis, Usage};

const CASES: &str = include_str!("golden/prices.json");
/// Cases with a charge; the file cannot be emptied unnoticed.
const MIN_PRICED: usize = 200;
const GROUPS: &[&str] = &[
    "plain",
    "cached",
    "cache_write",
    "reasoning",
    "audio",
    "image",
    "tier",
    "context",
    "units",
    "tools",
    "rounding",
    "free",
    "timeline",
    "unpriced",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    group: String,
    name: String,
    rows: Vec<Row>,
    usage: Usage,
    tier: ServiceTier,
    now: i64,
    #[serde(default)]
    charge_nano_usd: Option<i64>,
    #[serde(default)]
    refused: Option<String>,
    #[serde(default)]
    needs: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    meter: Option<Meter>,
    price: String,
    tier: ServiceTier,
    context_from: u64,
    effective_from: i64,
}

fn price_row(row: &Row) -> PriceRow {
    let price = row.meter.map_or(PricePerMillion::ZERO, |meter| parse_price(meter, &row.price).unwrap());
    PriceRow {
        id: None,
        tenant: None,
        provider: "p".to_owned(),
        model: "m".to_owned(),
        effective_from: UnixMillis(row.effective_from),
        meter: row.meter,
        service_tier: row.tier,
        context_from: row.context_from,
        price,
        source: "golden".to_owned(),
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_str(CASES).unwrap()
}

fn timeline(case: &Case) -> PriceTimeline {
    let rows: Vec<PriceRow> = case.rows.iter().map(price_row).collect();
    PriceTimeline::from_rows(&rows.iter().collect::<Vec<_>>())
}

fn sum_of_lines(charge: &Charge) -> NanoUsd {
    let exact = charge.lines.iter().map(|line| line.price.times(line.units)).sum();
    NanoUsd::round_up_from_millionths(exact)
}

/// The bound of a request that may count exactly this usage.
fn bound_of(sheet: &PriceSheet, usage: &Usage, tier: ServiceTier) -> NanoUsd {
    let units = UnitBounds {
        images: usage.get(Meter::Image),
        seconds: usage.get(Meter::Second),
        pages: usage.get(Meter::Page),
        searches: usage.get(Meter::Search),
        characters: usage.get(Meter::Character),
    };
    let reach = Reach::MULTIMODAL.with_units(units);
    sheet.upper_bound(usage.input_tokens(), usage.output_tokens(), tier, reach)
}

#[test]
fn charges_are_exact_to_the_nano_usd() {
    let mut n_priced = 0;
    for case in cases() {
        let Some(expected) = case.charge_nano_usd.map(NanoUsd) else { continue };
        let told = format!("{}: {}", case.group, case.name);
        let timeline = timeline(&case);
        let sheet = timeline.at(UnixMillis(case.now)).unwrap_or_else(|| panic!("{told}: nothing in force"));
        let charge = sheet.cost(&case.usage, case.tier);
        assert_eq!(charge.total.0, expected.0, "{told}");
        assert_eq!(sheet.total(&case.usage, case.tier), expected, "{told}: the total alone");
        assert_eq!(sum_of_lines(&charge), expected, "{told}: the lines of the receipt");
        if case.usage.get(Meter::Request) <= 1 {
            let bound = bound_of(sheet, &case.usage, case.tier);
            assert!(expected <= bound, "{told}: costs {expected}, bound by {bound}");
        }
        n_priced += 1;
    }
    assert!(n_priced >= MIN_PRICED, "only {n_priced} cases with a charge");
}

#[test]
fn what_has_no_price_is_refused_with_its_reason() {
    let mut seen = BTreeMap::new();
    for case in cases() {
        let Some(expected) = &case.refused else { continue };
        let needs = match case.needs.as_deref() {
            Some("input_only") => Needs::InputOnly,
            Some("input_and_output") => Needs::InputAndOutput,
            other => panic!("{}: needs {other:?}", case.name),
        };
        let timeline = timeline(&case);
        let refused = match timeline.at(UnixMillis(case.now)) {
            None if case.rows.is_empty() => "no_rows".to_owned(),
            None => "not_in_force".to_owned(),
            Some(sheet) => match sheet.check(case.tier, needs) {
                Ok(()) => panic!("{}: not refused", case.name),
                Err(UnpricedReason::NoRows) => "no_rows".to_owned(),
                Err(UnpricedReason::NoTier) => "no_tier".to_owned(),
                Err(UnpricedReason::Incomplete(meter)) => format!("incomplete:{}", meter.name()),
            },
        };
        assert_eq!(&refused, expected, "{}", case.name);
        *seen.entry(refused).or_insert(0) += 1;
    }
    let reasons: Vec<&str> = seen.keys().map(String::as_str).collect();
    assert_eq!(reasons, ["incomplete:input", "incomplete:output", "no_rows", "no_tier", "not_in_force"]);
    let empty = PriceSheet::from_rows([]);
    assert_eq!(empty.check(ServiceTier::Standard, Needs::InputOnly), Err(UnpricedReason::NoRows));
}

#[test]
fn every_group_has_cases_and_every_case_says_one_thing() {
    let mut by_group: BTreeMap<String, usize> = BTreeMap::new();
    for case in cases() {
        let told = format!("{}: {}", case.group, case.name);
        assert!(case.charge_nano_usd.is_some() != case.refused.is_some(), "{told}");
        *by_group.entry(case.group).or_default() += 1;
    }
    let mut groups: Vec<&str> = GROUPS.to_vec();
    groups.sort_unstable();
    assert_eq!(by_group.keys().map(String::as_str).collect::<Vec<_>>(), groups);
    assert!(by_group.values().all(|count| *count >= 5), "{by_group:?}");
}
