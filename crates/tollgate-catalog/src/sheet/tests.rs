use super::*;
use proptest::prelude::*;
use tollgate_domain::UnixMillis;

fn row(meter: Meter, price: &str) -> PriceRow {
    PriceRow {
        id: None,
        tenant: None,
        provider: "p".into(),
        model: "m".into(),
        effective_from: UnixMillis(0),
        meter: Some(meter),
        service_tier: ServiceTier::Standard,
        context_from: 0,
        price: PricePerMillion::parse(price).unwrap(),
        source: "operator".into(),
    }
}

fn sheet(rows: &[PriceRow]) -> PriceSheet {
    PriceSheet::from_rows(rows)
}

#[test]
fn cost_uses_each_class_and_rounds_once_upwards() {
    let sheet =
        sheet(&[row(Meter::Input, "0.25"), row(Meter::CachedInput, "0.025"), row(Meter::Output, "2")]);
    let usage = Usage::ZERO
        .with(Meter::Input, 1)
        .with(Meter::CachedInput, 1)
        .with(Meter::Output, 1)
        .with(Meter::Reasoning, 1);
    // 250 + 25 + 2000 + 2000 nano-USD, reasoning at the output price
    assert_eq!(sheet.cost(&usage, ServiceTier::Standard).total, NanoUsd(4_275));
    let odd = PriceSheet::from_rows(&[row(Meter::Input, "0.000001")]);
    assert_eq!(odd.cost(&Usage::ZERO.with(Meter::Input, 1), ServiceTier::Standard).total, NanoUsd(1));
}

#[test]
fn context_thresholds_move_the_whole_request() {
    let dear = PriceRow { context_from: 200_000, ..row(Meter::Input, "2.5") };
    let sheet = sheet(&[row(Meter::Input, "1.25"), row(Meter::Output, "10"), dear]);
    let cost = |tokens| sheet.cost(&Usage::ZERO.with(Meter::Input, tokens), ServiceTier::Standard).total;
    assert_eq!(cost(199_999), NanoUsd(199_999 * 1_250));
    assert_eq!(cost(200_000), NanoUsd(200_000 * 2_500));
}

#[test]
fn free_and_unpriced_differ() {
    let free = PriceRow { meter: None, ..row(Meter::Input, "0") };
    assert!(sheet(std::slice::from_ref(&free)).is_free());
    assert_eq!(sheet(&[free]).check(ServiceTier::Priority, Needs::InputAndOutput), Ok(()));
    assert_eq!(sheet(&[]).check(ServiceTier::Standard, Needs::InputOnly), Err(UnpricedReason::NoRows));
    assert_eq!(
        sheet(&[row(Meter::Input, "1")]).check(ServiceTier::Priority, Needs::InputOnly),
        Err(UnpricedReason::NoTier)
    );
    assert!(!sheet(&[row(Meter::Input, "1")]).is_free());
}

#[test]
fn a_sheet_must_price_what_its_requests_count() {
    use Needs::*;
    use ServiceTier::*;
    let missing = |meter| Err(UnpricedReason::Incomplete(meter));
    let (input, output, request) =
        (|| row(Meter::Input, "1"), || row(Meter::Output, "2"), || row(Meter::Request, "3"));
    let of_tier = |service_tier, row| PriceRow { service_tier, ..row };
    let from_200k = |row| PriceRow { context_from: 200_000, ..row };
    let cases = [
        (vec![input()], Standard, InputOnly, Ok(())),
        (vec![input()], Standard, InputAndOutput, missing(Meter::Output)),
        (vec![output()], Standard, InputAndOutput, missing(Meter::Input)),
        (vec![output()], Standard, InputOnly, missing(Meter::Input)),
        (vec![input(), output()], Standard, InputAndOutput, Ok(())),
        // A class beside the plain one does not stand in for it.
        (vec![row(Meter::CachedInput, "1"), output()], Standard, InputAndOutput, missing(Meter::Input)),
        (vec![input(), row(Meter::Reasoning, "1")], Standard, InputAndOutput, missing(Meter::Output)),
        // A price for long prompts leaves the short ones without.
        (vec![input(), from_200k(output())], Standard, InputAndOutput, missing(Meter::Output)),
        (vec![input(), output(), from_200k(output())], Standard, InputAndOutput, Ok(())),
        // The standard price stands in for another tier's, not the other way round.
        (vec![of_tier(Flex, input()), output()], Flex, InputAndOutput, Ok(())),
        (vec![of_tier(Flex, input()), output()], Standard, InputAndOutput, missing(Meter::Input)),
        (vec![input(), of_tier(Priority, output())], Priority, InputAndOutput, Ok(())),
        // A price per request is enough by itself, and does not complete a price per token.
        (vec![request()], Standard, InputAndOutput, Ok(())),
        (vec![request(), input()], Standard, InputAndOutput, missing(Meter::Output)),
        (vec![request(), output()], Standard, InputOnly, missing(Meter::Input)),
        (vec![request(), input(), output()], Standard, InputAndOutput, Ok(())),
        (vec![of_tier(Flex, request())], Standard, InputAndOutput, missing(Meter::Input)),
        // A unit that no such request counts is no price.
        (vec![row(Meter::Search, "1")], Standard, InputAndOutput, missing(Meter::Input)),
    ];
    for (rows, tier, needs, expected) in cases {
        assert_eq!(sheet(&rows).check(tier, needs), expected, "{rows:?} {tier:?} {needs:?}");
    }
    assert_eq!(UnpricedReason::Incomplete(Meter::Output).to_string(), "the model has no price for output");
}

#[test]
fn a_later_row_replaces_an_earlier_one_from_its_start() {
    let later = PriceRow { effective_from: UnixMillis(100), ..row(Meter::Input, "9") };
    let first = row(Meter::Input, "1");
    let timeline = PriceTimeline::from_rows(&[&first, &later]);
    let price_at = |now| {
        timeline
            .at(UnixMillis(now))
            .unwrap()
            .cost(&Usage::ZERO.with(Meter::Input, 1_000), ServiceTier::Standard)
            .total
    };
    assert_eq!((price_at(99), price_at(100)), (NanoUsd(1_000_000), NanoUsd(9_000_000)));
    assert!(timeline.at(UnixMillis(-1)).is_none());
}

#[test]
fn a_cheap_tier_is_bounded_by_the_standard_price() {
    let flex = |row| PriceRow { service_tier: ServiceTier::Flex, ..row };
    let sheet = sheet(&[
        row(Meter::Input, "2"),
        row(Meter::Output, "8"),
        row(Meter::Request, "5000"),
        flex(row(Meter::Input, "1")),
        flex(row(Meter::Output, "4")),
        flex(row(Meter::Request, "1000")),
    ]);
    let bound = |tier| sheet.upper_bound(1_000, 100, tier, Reach::TEXT);
    assert_eq!(bound(ServiceTier::Flex), bound(ServiceTier::Standard));
    // 1000 × 2000 + 100 × 8000 nano-USD and the request's own price
    assert_eq!(bound(ServiceTier::Flex), NanoUsd(2_000_000 + 800_000 + 5_000_000));
    let (money, tier) = (bound(ServiceTier::Standard), ServiceTier::Flex);
    assert_eq!(sheet.affordable_output(money, 1_000, tier, Reach::TEXT), Some(100));
    assert_eq!(sheet.dearest_output(1_000, tier, Reach::TEXT), PricePerMillion::parse("8").unwrap());
}

proptest! {
    #[test]
    fn bound_covers_every_usage_inside_it(
        input_price in 0_i64..100_000_000_000, cached in 0_i64..100_000_000_000, output_price in 1_i64..100_000_000_000,
        threshold in 1_u64..300_000, dear in 0_i64..100_000_000_000,
        bound in 0_u64..400_000, cap in 0_u64..100_000,
        tier in prop::sample::select(&[ServiceTier::Standard, ServiceTier::Flex, ServiceTier::Priority][..]),
        tier_price in 1_i64..100_000_000_000,
        used_in in 0_u64..400_000, used_cached in 0_u64..400_000, used_out in 0_u64..100_000,
    ) {
        let at = |meter, price| PriceRow { price: PricePerMillion(price), ..row(meter, "0") };
        let sheet = sheet(&[
            at(Meter::Input, input_price), at(Meter::CachedInput, cached), at(Meter::Output, output_price),
            PriceRow { context_from: threshold, ..at(Meter::Input, dear) },
            PriceRow { service_tier: tier, ..at(Meter::Request, tier_price) },
            PriceRow { service_tier: tier, ..at(Meter::Output, tier_price) },
        ]);
        let used_in = used_in.min(bound);
        let usage = Usage::ZERO
            .with(Meter::Input, used_in)
            .with(Meter::CachedInput, used_cached.min(bound - used_in))
            .with(Meter::Output, used_out.min(cap) / 2)
            .with(Meter::Reasoning, used_out.min(cap).div_ceil(2))
            .with(Meter::Request, 1);
        let bound_money = sheet.upper_bound(bound, cap, tier, Reach::TEXT);
        // Whether the provider serves what was asked for or the standard tier.
        for served in [tier, ServiceTier::Standard] {
            prop_assert!(sheet.cost(&usage, served).total <= bound_money);
        }
        let affordable = sheet.affordable_output(bound_money, bound, tier, Reach::TEXT).unwrap();
        prop_assert!(affordable >= cap);
        prop_assert!(sheet.upper_bound(bound, affordable, tier, Reach::TEXT) <= bound_money);
    }
}
