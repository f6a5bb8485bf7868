use proptest::prelude::*;
use tollgate_catalog::PriceRow;
use tollgate_domain::{Meter, PricePerMillion, ProviderId, Usage};
use tollgate_policy::{Dialect, ProviderPolicy};

use super::*;

fn priced(input: i64, output: i64, input_bound: u64, output_cap: u64) -> PricedCandidate {
    let row = |meter, price| PriceRow {
        id: None,
        tenant: None,
        provider: "p".to_owned(),
        model: "m".to_owned(),
        effective_from: UnixMillis(0),
        meter: Some(meter),
        service_tier: ServiceTier::Standard,
        context_from: 0,
        price: PricePerMillion(price),
        source: "operator".to_owned(),
    };
    let provider = ProviderPolicy {
        id: ProviderId::from_u128(1),
        name: "p".to_owned(),
        dialect: Dialect::Demo,
        base_url: String::new(),
        credentials: Vec::new(),
        region: None,
        retention: None,
        trains_on_data: None,
        max_concurrent_requests: None,
    };
    PricedCandidate {
        candidate: Arc::new(Candidate {
            provider: Arc::new(provider),
            model: "m".into(),
            prices: None,
            max_output_tokens: None,
            context_tokens: None,
        }),
        sheet: Arc::new(PriceSheet::from_rows(&[row(Meter::Input, input), row(Meter::Output, output)])),
        input_bound,
        output_cap,
    }
}

fn shape(n_choices: u64, prediction_tokens: u64) -> PricedPlanShape {
    PricedPlanShape { tier: ServiceTier::Standard, reach: Reach::TEXT, n_choices, prediction_tokens }
}

#[test]
fn free_output_is_never_capped_by_money() {
    let candidate = priced(1_000_000, 0, 10, 4_096);
    assert!(!candidate.charges_output(&shape(1, 0)));
    assert_eq!(candidate.affordable_cap(NanoUsd::ZERO, &shape(1, 0)), 4_096);
}

#[test]
fn money_is_shared_between_the_answers() {
    let candidate = priced(0, 1_000_000, 10, 4_096); // one nano-USD per answer token
    assert_eq!(candidate.affordable_cap(NanoUsd(1_000), &shape(4, 0)), 250);
    assert_eq!(candidate.affordable_cap(NanoUsd(1_000), &shape(4, 200)), 200);
    assert_eq!(candidate.affordable_cap(NanoUsd(100), &shape(1, 200)), 0);
}

proptest! {
    /// Whatever was granted, an answer within the cap written upstream never costs more.
    #[test]
    fn what_the_cap_allows_is_paid_for(
        input in 0_i64..20_000_000_000, output in 1_i64..200_000_000_000, input_bound in 0_u64..200_000,
        output_cap in 1_u64..128_000, n in 1_u64..8, granted_share in 0_u64..=100, used_share in 0_u64..=100,
    ) {
        let candidate = priced(input, output, input_bound, output_cap);
        let shape = shape(n, 0);
        let whole = candidate.bound(output_cap, &shape);
        let floor = candidate.bound(0, &shape);
        let granted = NanoUsd(floor.0 + i64::try_from(i128::from(whole.0 - floor.0) * i128::from(granted_share) / 100).unwrap());
        let cap = candidate.affordable_cap(granted, &shape);
        prop_assert!(cap <= output_cap);
        if granted == whole {
            prop_assert_eq!(cap, output_cap);
        }
        let usage = Usage::ZERO.with(Meter::Input, input_bound).with(Meter::Output, cap * n * used_share / 100);
        prop_assert!(candidate.sheet.cost(&usage, ServiceTier::Standard).total <= granted);
    }
}
