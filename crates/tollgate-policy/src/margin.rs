//! Margin rules: what customers pay on top of the provider's price, and which of several rules holds.

use serde::{Deserialize, Serialize};
use tollgate_catalog::MarginTimeline;
use tollgate_domain::{AppliedMargin, BasisPoints, MarginId, TenantId, UnixMillis};

/// One immutable margin rule. A field that is `None` means all.
///
/// Of the rules in force that fit, the most specific one holds: one that names a model before one that does
/// not, then one that names a provider, then one that names a tenant; of equals the one that begins latest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarginRule {
    /// Identity.
    pub id: MarginId,
    /// Only for this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Only on the prices of this configured provider, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Only on the price of this model, by its name at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How much.
    pub basis_points: BasisPoints,
    /// From when it holds.
    pub effective_from: UnixMillis,
}

impl MarginRule {
    /// How specific it is: the model outweighs the provider, the provider the tenant.
    fn rank(&self) -> u8 {
        let named = [self.model.is_some(), self.provider.is_some(), self.tenant.is_some()];
        named.into_iter().fold(0, |rank, is_named| rank << 1 | u8::from(is_named))
    }

    /// Whether it may hold for models of that provider.
    pub(crate) fn fits_provider(&self, provider: &str) -> bool {
        self.provider.as_deref().is_none_or(|name| name == provider)
    }

    /// Whether it may hold for that model.
    pub(crate) fn fits_model(&self, model: &str) -> bool {
        self.model.as_deref().is_none_or(|name| name == model)
    }
}

/// Which margin holds when, of rules that all fit.
pub(crate) fn timeline<'a>(rules: impl IntoIterator<Item = &'a MarginRule>) -> MarginTimeline {
    let rules: Vec<&MarginRule> = rules.into_iter().collect();
    let mut starts: Vec<UnixMillis> = rules.iter().map(|rule| rule.effective_from).collect();
    starts.sort_unstable();
    starts.dedup();
    let in_force_at = |start: UnixMillis| {
        let in_force = rules.iter().filter(|rule| rule.effective_from <= start);
        let best = in_force.max_by_key(|rule| (rule.rank(), rule.effective_from, rule.id));
        best.map(|rule| (start, AppliedMargin { rule: rule.id, basis_points: rule.basis_points }))
    };
    MarginTimeline::new(starts.into_iter().filter_map(in_force_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACME: TenantId = TenantId::from_u128(1);

    fn rule(id: u128, tenant: bool, provider: bool, model: bool, from: i64) -> MarginRule {
        MarginRule {
            id: MarginId::from_u128(id),
            tenant: tenant.then_some(ACME),
            provider: provider.then(|| "openai".to_owned()),
            model: model.then(|| "gpt-5-mini".to_owned()),
            basis_points: BasisPoints::new(i32::try_from(id).unwrap()).unwrap(),
            effective_from: UnixMillis(from),
        }
    }

    fn holds(rules: &[MarginRule], now: i64) -> Option<i32> {
        timeline(rules).at(UnixMillis(now)).map(|margin| margin.basis_points.get())
    }

    #[test]
    fn the_model_outweighs_the_provider_and_the_provider_the_tenant() {
        let bits = |rank: u128, bit: u128| rank & bit != 0;
        let of_rank = |rank: u128| rule(rank + 1, bits(rank, 1), bits(rank, 2), bits(rank, 4), 0);
        let all: Vec<MarginRule> = (0..8).map(of_rank).collect();
        for n in 1..=8 {
            let mut some = all[..n].to_vec();
            some.reverse();
            assert_eq!(holds(&some, 0), i32::try_from(n).ok(), "of the {n} least specific");
        }
        assert_eq!(holds(&[], 0), None);
    }

    #[test]
    fn a_rule_holds_from_its_start_until_one_as_specific_replaces_it() {
        let general = rule(100, false, false, false, 0);
        let (own, later) = (rule(200, true, false, false, 50), rule(300, true, false, false, 80));
        let general_later = rule(400, false, false, false, 90);
        let rules = [later, general_later, own, general];
        for (now, margin) in
            [(-1, None), (0, Some(100)), (49, Some(100)), (50, Some(200)), (80, Some(300)), (95, Some(300))]
        {
            assert_eq!(holds(&rules, now), margin, "at {now}");
        }
    }
}
