//! Provider's prices × a tenant's own ones × a margin × usage → what the customer pays and what the provider
//! bills, exact to the nano-USD, against `golden/margins.json`. That file is worked out by `golden/margins.py` with
//! fractions and without any of this code; this test only reads it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;

use serde::Deserialize;
use tollgate_catalog::{PriceRow, PriceSheet, Reach, ServiceTier, UnitBounds, parse_price};
use tollgate_domain::{
    AppliedMargin, BasisPoints, MarginId, Meter, NanoUsd, PricePerMillion, TenantId, UnixMillis, Usage,
};

const CASES: &str = include_str!("golden/margins.json");
/// The file cannot be emptied unnoticed.
const MIN_CASES: usize = 50;
const TIER: ServiceTier = ServiceTier::Standard;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    provider: BTreeMap<Meter, String>,
    own: BTreeMap<Meter, String>,
    own_free: bool,
    percent: Option<String>,
    usage: Usage,
    cost: i64,
    provider_cost: i64,
}

fn row(tenant: Option<TenantId>, meter: Option<Meter>, price: PricePerMillion) -> PriceRow {
    PriceRow {
        id: None,
        tenant,
        provider: "p".to_owned(),
        model: "m".to_owned(),
        effective_from: UnixMillis(0),
        meter,
        service_tier: TIER,
        context_from: 0,
        price,
        source: "golden".to_owned(),
    }
}

fn rows(tenant: Option<TenantId>, prices: &BTreeMap<Meter, String>) -> Vec<PriceRow> {
    let row =
        |(meter, text): (&Meter, &String)| row(tenant, Some(*meter), parse_price(*meter, text).unwrap());
    prices.iter().map(row).collect()
}

fn sheet(case: &Case) -> PriceSheet {
    let tenant = Some(TenantId::from_u128(1));
    let provider = PriceSheet::from_rows(&rows(None, &case.provider));
    let mut own = rows(tenant, &case.own);
    own.extend(case.own_free.then(|| row(tenant, None, PricePerMillion::ZERO)));
    let basis_points = case.percent.as_ref().map(|percent| percent.parse::<BasisPoints>().unwrap());
    let rule = MarginId::from_u128(2);
    let margin = basis_points.map(|basis_points| AppliedMargin { rule, basis_points });
    if own.is_empty() {
        provider.with_margin(margin)
    } else {
        PriceSheet::for_tenant(Some(&provider), &own, margin)
    }
}

#[test]
fn both_figures_are_exact_to_the_nano_usd() {
    let cases: Vec<Case> = serde_json::from_str(CASES).unwrap();
    for case in &cases {
        let sheet = sheet(case);
        let charge = sheet.cost(&case.usage, TIER);
        let figures = (charge.total, charge.provider_total);
        assert_eq!(figures, (NanoUsd(case.cost), NanoUsd(case.provider_cost)), "{}", case.name);
        assert_eq!(sheet.total(&case.usage, TIER), charge.total, "{}", case.name);
        assert_eq!(sheet.provider_total(&case.usage, TIER), charge.provider_total, "{}", case.name);
        let units = UnitBounds { searches: case.usage.get(Meter::Search), ..UnitBounds::NONE };
        let reach = Reach::MULTIMODAL.with_units(units);
        let bound = sheet.upper_bound(case.usage.input_tokens(), case.usage.output_tokens(), TIER, reach);
        assert!(charge.total <= bound, "{}: costs {}, bound by {bound}", case.name, charge.total);
    }
    assert!(cases.len() >= MIN_CASES, "only {} cases", cases.len());
}
