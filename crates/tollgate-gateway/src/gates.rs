//! Requests in flight per provider on this pod, bounded where the operator says so.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::RwLock;
use tollgate_domain::ProviderId;
use tollgate_policy::ProviderPolicy;

/// The counters of all providers that have a bound. Providers come from policy, so their number is bounded.
#[derive(Debug, Default)]
pub(crate) struct ProviderGates {
    in_flight: RwLock<HashMap<ProviderId, Arc<AtomicU32>>>,
}

/// One place at a provider, given back when dropped.
#[derive(Debug)]
pub(crate) struct ProviderPlace(Option<Arc<AtomicU32>>);

impl Drop for ProviderPlace {
    fn drop(&mut self) {
        if let Some(counter) = &self.0 {
            counter.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl ProviderGates {
    /// A place at `provider`, or `None` where all are taken.
    pub(crate) fn enter(&self, provider: &ProviderPolicy) -> Option<ProviderPlace> {
        let Some(bound) = provider.max_concurrent_requests else { return Some(ProviderPlace(None)) };
        let counter = self.counter(provider.id);
        let taken =
            counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < bound).then_some(n + 1));
        taken.ok().map(|_| ProviderPlace(Some(counter)))
    }

    fn counter(&self, provider: ProviderId) -> Arc<AtomicU32> {
        if let Some(counter) = self.in_flight.read().get(&provider) {
            return Arc::clone(counter);
        }
        Arc::clone(self.in_flight.write().entry(provider).or_default())
    }
}
