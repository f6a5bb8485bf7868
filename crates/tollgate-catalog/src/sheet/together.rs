//! Several charges of one request together: the attempts that its providers bill.

use tollgate_domain::{BasisPoints, ChargeLine, NanoUsd};

use super::{Charge, factor};

impl Charge {
    /// What several charges come to together for the customer and at the providers: exact sums over all lines, each
    /// rounded up once.
    #[must_use]
    pub fn totals<'a>(charges: impl IntoIterator<Item = &'a Self>) -> (NanoUsd, NanoUsd) {
        let (mut customer, mut provider) = (0_i128, 0_i128);
        for charge in charges {
            customer = customer.saturating_add(charge.exact_sum());
            let lines = charge.provider_lines.as_ref().unwrap_or(&charge.lines);
            provider = lines.iter().map(plain).fold(provider, i128::saturating_add);
        }
        (NanoUsd::round_up_with_margin(customer), NanoUsd::round_up_from_millionths(provider))
    }

    /// The customer's lines with the margin on those that are not the tenant's own, not rounded.
    fn exact_sum(&self) -> i128 {
        let margin = factor(self.margin);
        let raised = |line: &ChargeLine| {
            let factor = if line.tenant_price { BasisPoints::UNCHANGED } else { margin };
            plain(line).saturating_mul(factor.into())
        };
        self.lines.iter().map(raised).fold(0, i128::saturating_add)
    }
}

fn plain(line: &ChargeLine) -> i128 {
    line.price.times(line.units)
}

#[cfg(test)]
mod tests {
    use tollgate_domain::{AppliedMargin, MarginId, Meter, PricePerMillion, Usage};

    use super::*;
    use crate::{PriceRow, PriceSheet, ServiceTier};

    fn sheet(price: i64, margin: Option<i32>) -> PriceSheet {
        let row = PriceRow {
            id: None,
            tenant: None,
            provider: "p".to_owned(),
            model: "m".to_owned(),
            effective_from: tollgate_domain::UnixMillis(0),
            meter: Some(Meter::Input),
            service_tier: ServiceTier::Standard,
            context_from: 0,
            price: PricePerMillion(price),
            source: "operator".to_owned(),
        };
        let margin = margin.and_then(BasisPoints::new);
        let margin = margin.map(|basis_points| AppliedMargin { rule: MarginId::from_u128(1), basis_points });
        PriceSheet::from_rows([&row]).with_margin(margin)
    }

    #[test]
    fn charges_are_summed_exactly_and_rounded_once() {
        let usage = |tokens| Usage::ZERO.with(Meter::Input, tokens);
        // 0.4 and 0.4 nano-USD are one together, each by itself is one as well
        let one = sheet(400_000, None).cost(&usage(1), ServiceTier::Standard);
        assert_eq!((one.total, one.provider_total), (NanoUsd(1), NanoUsd(1)));
        assert_eq!(Charge::totals([&one, &one]), (NanoUsd(1), NanoUsd(1)));
        // a margin is on its own lines only
        let raised = sheet(1_000_000, Some(5_000)).cost(&usage(10), ServiceTier::Standard);
        assert_eq!(Charge::totals([&raised]), (raised.total, raised.provider_total));
        assert_eq!(Charge::totals([&one, &raised]), (NanoUsd(16), NanoUsd(11)));
        assert_eq!(Charge::totals([]), (NanoUsd::ZERO, NanoUsd::ZERO));
    }
}
