//! Every built-in model in every tier it has, for customers with random margins and rows of their own, with random
//! requests and random usages inside their bounds: what is charged is never above what is held.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use tollgate_catalog::{Catalog, CatalogModel, PriceRow, PriceSheet, Reach, ServiceTier, UnitBounds};
use tollgate_domain::{
    AppliedMargin, BasisPoints, MarginId, Meter, NanoUsd, PricePerMillion, TenantId, Usage,
};

/// Random usages per model and tier.
const N_USAGES: u64 = 1_000;
/// Requests per model and tier; each is tried with several usages.
const N_REQUESTS: u64 = 100;
/// Another seed tries other numbers; a failure names the one it had.
const SEED: u64 = 0x7011_6a7e;
/// The longest prompt and answer of models whose limits the catalogue does not know.
const UNKNOWN_LIMIT: u64 = 1_000_000;
/// Prompts may be bounded above the model's context, whose steps of price they then meet.
const BEYOND_CONTEXT: u64 = 3;
const MAX_CHOICES: u64 = 8;
const MAX_UNITS: u64 = 50;

/// SplitMix64: enough to spread over the ranges, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From zero to `most`; both ends come up often, because it is there that bounds break.
    fn up_to(&mut self, most: u64) -> u64 {
        match self.next() % 8 {
            0 => 0,
            1 | 2 => most,
            3 => most.saturating_sub(1),
            4 => self.next() % (most / 1_000 + 1),
            _ => self.next() % (most + 1),
        }
    }

    /// `total` at random over the meters, in a random order, all of it used.
    fn split(&mut self, total: u64, meters: &[Meter], usage: &mut Usage) {
        let first = usize::try_from(self.next() % 16).unwrap() % meters.len();
        let mut left = total;
        for index in 0..meters.len() {
            let meter = meters[(first + index) % meters.len()];
            let part = if index + 1 == meters.len() { left } else { self.up_to(left) };
            usage.set(meter, part);
            left -= part;
        }
    }
}

struct Request {
    input_bound: u64,
    output_cap: u64,
    reach: Reach,
}

fn request(numbers: &mut Numbers, model: &CatalogModel<'_>) -> Request {
    let known = |limit: u64| if limit == 0 { UNKNOWN_LIMIT } else { limit };
    let longest = known(model.context_tokens) * (1 + numbers.next() % BEYOND_CONTEXT);
    let n_choices = 1 + numbers.next() % MAX_CHOICES;
    let reach = if numbers.next().is_multiple_of(2) { Reach::TEXT } else { Reach::MULTIMODAL };
    let units = UnitBounds {
        images: numbers.up_to(MAX_UNITS),
        seconds: numbers.up_to(MAX_UNITS),
        pages: numbers.up_to(MAX_UNITS),
        searches: numbers.up_to(MAX_UNITS),
        characters: numbers.up_to(MAX_UNITS),
    };
    Request {
        input_bound: numbers.up_to(longest),
        output_cap: numbers.up_to(known(model.max_output_tokens)) * n_choices,
        reach: reach.with_units(units),
    }
}

fn usage(numbers: &mut Numbers, request: &Request) -> Usage {
    let mut usage = Usage::ZERO.with(Meter::Request, 1);
    let (prompt, answer) = (numbers.up_to(request.input_bound), numbers.up_to(request.output_cap));
    numbers.split(prompt, request.reach.input, &mut usage);
    numbers.split(answer, request.reach.output, &mut usage);
    let units = request.reach.units;
    usage
        .with(Meter::Image, numbers.up_to(units.images))
        .with(Meter::Second, numbers.up_to(units.seconds))
        .with(Meter::Page, numbers.up_to(units.pages))
        .with(Meter::Search, numbers.up_to(units.searches))
        .with(Meter::Character, numbers.up_to(units.characters))
}

/// The tiers a request may ask for: the standard one, and those with rows of their own.
fn tiers(model: &CatalogModel<'_>) -> Vec<ServiceTier> {
    let own = model.tiers.iter().map(|tier| tier.tier).filter(|tier| *tier != ServiceTier::Standard);
    std::iter::once(ServiceTier::Standard).chain(own).collect()
}

/// What some customer pays: everybody's price, that with a margin, or rows of its own over it.
fn customer(numbers: &mut Numbers, general: &PriceSheet, rows: &[PriceRow]) -> PriceSheet {
    let points = i32::try_from(numbers.up_to(1_010_000)).unwrap() - 10_000;
    let basis_points = BasisPoints::new(if points % 3 == 0 { points % 10_000 } else { points }).unwrap();
    let margin = Some(AppliedMargin { rule: MarginId::from_u128(1), basis_points });
    match numbers.next() % 4 {
        0 | 1 => general.clone(),
        2 => general.with_margin(margin),
        _ => {
            let own: Vec<PriceRow> = rows.iter().filter_map(|row| own_row(numbers, row)).collect();
            PriceSheet::for_tenant(Some(general), &own, margin)
        }
    }
}

/// A tenant's row in place of `row`, or none; now and then one for another class of the same.
fn own_row(numbers: &mut Numbers, row: &PriceRow) -> Option<PriceRow> {
    let meter = match numbers.next() % 4 {
        0 => Meter::ALL[usize::try_from(numbers.next()).unwrap_or(0) % Meter::ALL.len()],
        1 => row.meter?,
        _ => return None,
    };
    let price = PricePerMillion(i64::try_from(numbers.up_to(row.price.0.unsigned_abs() * 3)).unwrap());
    Some(PriceRow { tenant: Some(TenantId::from_u128(1)), meter: Some(meter), price, ..row.clone() })
}

/// With that much money the answer that is afforded costs no more, and one token more would.
fn assert_affordable(sheet: &PriceSheet, money: NanoUsd, request: &Request, tier: ServiceTier, told: &str) {
    let bound = |output| sheet.upper_bound(request.input_bound, output, tier, request.reach);
    match sheet.affordable_output(money, request.input_bound, tier, request.reach) {
        None => assert_eq!(bound(0), bound(1_000_000), "{told}: output is said to be free"),
        Some(0) => assert!(bound(1) > money, "{told}: a token is affordable"),
        Some(affordable) => {
            assert!(bound(affordable) <= money, "{told}: {affordable} tokens cost more than {money}");
            assert!(bound(affordable + 1) > money, "{told}: one token more is affordable");
        }
    }
}

#[test]
fn no_usage_inside_its_bounds_costs_more_than_is_held() {
    let catalog = Catalog::embedded().unwrap();
    let mut numbers = Numbers(SEED);
    let (mut n_models, mut n_usages) = (0, 0);
    for vendor in catalog.vendors() {
        for model in vendor.models() {
            n_models += 1;
            let rows = model.price_rows(&vendor.name);
            let general = PriceSheet::from_rows(&rows);
            for tier in tiers(&model) {
                for _ in 0..N_REQUESTS {
                    let sheet = customer(&mut numbers, &general, &rows);
                    let request = request(&mut numbers, &model);
                    let Request { input_bound, output_cap, reach } = request;
                    let held = sheet.upper_bound(input_bound, output_cap, tier, reach);
                    for _ in 0..N_USAGES / N_REQUESTS {
                        let usage = usage(&mut numbers, &request);
                        let dearer =
                            sheet.total(&usage, tier).max(sheet.total(&usage, ServiceTier::Standard));
                        assert!(
                            dearer <= held,
                            "seed {SEED:#x}: {}/{} {tier:?}: {dearer} > {held} for {usage:?} within {input_bound}+{output_cap} {reach:?}",
                            vendor.name,
                            model.name
                        );
                        n_usages += 1;
                    }
                    let told = format!("seed {SEED:#x}: {}/{} {tier:?}", vendor.name, model.name);
                    let money = NanoUsd(i64::try_from(numbers.up_to(held.0.unsigned_abs())).unwrap());
                    assert_affordable(&sheet, money, &request, tier, &told);
                    assert_affordable(&sheet, held, &request, tier, &told);
                }
            }
        }
    }
    assert!(n_models >= 300, "only {n_models} models");
    assert!(n_usages >= n_models * N_USAGES, "only {n_usages} usages of {n_models} models");
}
