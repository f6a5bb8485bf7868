//! What a tenant pays that does not pay what everybody does: its own price rows, and margins of its own.

use std::sync::Arc;

use foldhash::HashMap;
use tollgate_catalog::{MarginTimeline, PriceSheet, PriceTimeline};
use tollgate_domain::{ProviderId, UnixMillis};

use crate::{Candidate, KeyContext};

/// A tenant's own prices, worked out per place a request can go to.
#[derive(Debug, Default)]
pub(crate) struct TenantPrices {
    pub(crate) providers: HashMap<ProviderId, ProviderPrices>,
}

/// A tenant's own prices at one provider.
#[derive(Debug, Default)]
pub(crate) struct ProviderPrices {
    /// Of models that a row or a rule names.
    pub(crate) models: HashMap<String, PriceTimeline>,
    /// Of models that nothing but `*` prices, where the tenant has such a row of its own.
    pub(crate) any_model: Option<PriceTimeline>,
    /// The margin on all other models; `None`: what everybody pays.
    pub(crate) others: Option<MarginTimeline>,
}

impl TenantPrices {
    fn sheet(&self, candidate: &Candidate, now: UnixMillis) -> Option<PriceSheet> {
        let general = || candidate.prices.as_ref().and_then(|timeline| timeline.at(now));
        let Some(prices) = self.providers.get(&candidate.provider.id) else { return general().cloned() };
        if let Some(timeline) = prices.models.get(candidate.model.as_ref()) {
            return timeline.at(now).cloned();
        }
        if let Some(timeline) = prices.any_model.as_ref().filter(|_| !candidate.is_priced_by_name) {
            return timeline.at(now).cloned();
        }
        match &prices.others {
            None => general().cloned(),
            Some(margins) => general().map(|sheet| sheet.with_margin(margins.at(now))),
        }
    }
}

impl KeyContext {
    /// What this key's tenant pays at a candidate; `None` where that has no price.
    #[must_use]
    pub fn price_sheet(&self, candidate: &Candidate, now: UnixMillis) -> Option<PriceSheet> {
        match &self.prices {
            Some(prices) => prices.sheet(candidate, now),
            None => candidate.prices.as_ref().and_then(|timeline| timeline.at(now)).cloned(),
        }
    }
}

/// The prices of tenants that have some of their own.
pub(crate) type PricesOfTenants = HashMap<tollgate_domain::TenantId, Arc<TenantPrices>>;
