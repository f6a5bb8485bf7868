//! Prices: the catalogue's, the operator's over them, the margins on both, and what single tenants pay.

use std::collections::BTreeSet;

use foldhash::HashMapExt as _;
use tollgate_catalog::MarginTimeline;
use tollgate_domain::TenantId;

use super::{
    ANY_MODEL, Arc, BTreeMap, HashMap, PriceRow, PriceTimeline, ProviderEntry, ProviderPolicy, Sorted,
};
use crate::MarginRule;
use crate::margin::timeline as margins_of;
use crate::prices::{PricesOfTenants, ProviderPrices, TenantPrices};

/// Price rows of everybody by model name.
pub(super) type RowsByModel = BTreeMap<String, Vec<PriceRow>>;

/// What customers pay at one provider who have no prices of their own.
pub(super) struct GeneralPrices {
    pub(super) timelines: BTreeMap<String, Arc<PriceTimeline>>,
    pub(super) any_model: Option<Arc<PriceTimeline>>,
    /// Of models that `*` prices and a margin rule names.
    pub(super) named_any: HashMap<String, Arc<PriceTimeline>>,
}

/// The general prices of a provider: `rows` of the catalogue, an operator's rows over them, margins on both.
pub(super) fn general_prices(provider: &str, mut rows: RowsByModel, sorted: &Sorted<'_>) -> GeneralPrices {
    // An operator's rows replace the catalogue's from their start on; before it the catalogue still holds.
    let mut any_rows = None;
    for row in sorted.prices.iter().filter(|row| row.provider == provider && row.tenant.is_none()) {
        let own: &mut Vec<PriceRow> = if row.model == ANY_MODEL {
            any_rows.get_or_insert_default()
        } else {
            rows.entry(row.model.clone()).or_default()
        };
        own.push((*row).clone());
    }
    let rules: Vec<&MarginRule> = sorted
        .margins
        .iter()
        .copied()
        .filter(|rule| rule.tenant.is_none() && rule.fits_provider(provider))
        .collect();
    let of_all_models = margins_of(rules.iter().copied().filter(|rule| rule.model.is_none()));
    let named: BTreeSet<&str> = rules.iter().filter_map(|rule| rule.model.as_deref()).collect();
    let margins = |model: &str| {
        if named.contains(model) {
            margins_of(rules.iter().copied().filter(|rule| rule.fits_model(model)))
        } else {
            of_all_models.clone()
        }
    };
    let any_model = any_rows.as_deref().map(|rows| timeline(rows, &of_all_models));
    let only_any = any_rows.iter().flat_map(|any_rows| {
        let unpriced = named.iter().filter(|model| !rows.contains_key(**model));
        unpriced.map(|model| ((*model).to_owned(), timeline(any_rows, &margins(model))))
    });
    let named_any = only_any.collect();
    let timelines =
        rows.iter().map(|(model, rows)| (model.clone(), timeline(rows, &margins(model)))).collect();
    GeneralPrices { timelines, any_model, named_any }
}

fn timeline(rows: &[PriceRow], margins: &MarginTimeline) -> Arc<PriceTimeline> {
    let rows: Vec<&PriceRow> = rows.iter().collect();
    let provider = PriceTimeline::from_rows(&rows);
    Arc::new(if margins.is_empty() {
        provider
    } else {
        PriceTimeline::for_customer(Some(&provider), &[], margins)
    })
}

/// What every tenant pays that has price rows or margin rules of its own.
pub(super) fn prices_of_tenants(
    sorted: &Sorted<'_>,
    providers: &HashMap<String, ProviderEntry>,
) -> PricesOfTenants {
    let mut own: HashMap<TenantId, Own<'_>> = HashMap::new();
    for row in &sorted.prices {
        if let Some(tenant) = row.tenant {
            own.entry(tenant).or_default().rows.push(row);
        }
    }
    for rule in &sorted.margins {
        if let Some(tenant) = rule.tenant {
            own.entry(tenant).or_default().rules.push(rule);
        }
    }
    let general: Vec<&MarginRule> =
        sorted.margins.iter().copied().filter(|rule| rule.tenant.is_none()).collect();
    let prices = |own: &Own<'_>| {
        let of_provider = |entry: &ProviderEntry| {
            let prices = own.at_provider(&entry.provider, entry, &general)?;
            Some((entry.provider.id, prices))
        };
        Arc::new(TenantPrices { providers: providers.values().filter_map(of_provider).collect() })
    };
    own.iter().map(|(tenant, own)| (*tenant, prices(own))).collect()
}

/// What policy says about one tenant's prices.
#[derive(Default)]
struct Own<'a> {
    rows: Vec<&'a PriceRow>,
    rules: Vec<&'a MarginRule>,
}

impl Own<'_> {
    /// `None` where the tenant pays what everybody does.
    fn at_provider(
        &self,
        provider: &ProviderPolicy,
        entry: &ProviderEntry,
        general: &[&MarginRule],
    ) -> Option<ProviderPrices> {
        let name = provider.name.as_str();
        let mut rows: BTreeMap<&str, Vec<&PriceRow>> = BTreeMap::new();
        for row in self.rows.iter().filter(|row| row.provider == name) {
            rows.entry(&row.model).or_default().push(row);
        }
        let has_rules = self.rules.iter().any(|rule| rule.fits_provider(name));
        if rows.is_empty() && !has_rules {
            return None;
        }
        let fitting = general.iter().chain(&self.rules).copied().filter(|rule| rule.fits_provider(name));
        let rules: Vec<&MarginRule> = fitting.collect();
        let others = margins_of(rules.iter().copied().filter(|rule| rule.model.is_none()));
        let any_rows = rows.remove(ANY_MODEL);
        let any_model = any_rows
            .as_deref()
            .map(|rows| PriceTimeline::for_customer(entry.any_model.as_deref(), rows, &others));
        // a general rule for a model is more specific than the tenant's for all models
        let named_by_rules =
            rules.iter().filter(|_| has_rules || any_rows.is_some()).filter_map(|rule| rule.model.as_deref());
        let named: BTreeSet<&str> = rows.keys().copied().chain(named_by_rules).collect();
        let price = |model: &str| {
            let base = entry.prices_of(model);
            let by_name = rows.get(model).map(Vec::as_slice);
            let own =
                by_name.or_else(|| any_rows.as_deref().filter(|_| !entry.timelines.contains_key(model)));
            let margins = margins_of(rules.iter().copied().filter(|rule| rule.fits_model(model)));
            PriceTimeline::for_customer(base.map(Arc::as_ref), own.unwrap_or_default(), &margins)
        };
        let models = named.into_iter().map(|model| (model.to_owned(), price(model))).collect();
        Some(ProviderPrices { models, any_model, others: has_rules.then_some(others) })
    }
}
