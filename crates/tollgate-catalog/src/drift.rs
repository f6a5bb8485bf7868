//! How our prices differ from somebody else's: pure comparison, and the checks a difference must pass before
//! it may become price rows.

mod map;

use std::collections::BTreeMap;

use tollgate_domain::{Meter, PricePerMillion, UnixMillis};

use crate::sheet::fallback;
use crate::{Catalog, PricePoint, PriceRow, ServiceTier, sanity};

pub use map::{PriceMap, PriceMapError};

/// All prices of one model that hold at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pricing {
    points: BTreeMap<(ServiceTier, u64, Meter), PricePerMillion>,
}

/// One price on which the two sides differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DriftRow {
    /// The vendor, or the provider where rows of one are compared.
    pub vendor: String,
    /// The model, by our name.
    pub model: String,
    /// The processing class.
    pub tier: ServiceTier,
    /// From how many prompt tokens on.
    pub context_from: u64,
    /// What it prices.
    pub meter: Meter,
    /// What we would charge, where we know the class at all.
    pub ours: Option<PricePerMillion>,
    /// What the map says.
    pub theirs: PricePerMillion,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Every difference, by vendor and model.
    pub rows: Vec<DriftRow>,
    /// How many models stand on both sides.
    pub n_models_compared: u64,
    /// How many prices are the same on both.
    pub n_prices_same: u64,
    /// `vendor/model` of ours that the map does not have.
    pub only_ours: Vec<String>,
}

// === impl Pricing ===

impl Pricing {
    /// Of price points; the last one of the same thing holds.
    #[must_use]
    pub fn of_points(points: impl IntoIterator<Item = PricePoint>) -> Self {
        let entry = |point: PricePoint| ((point.tier, point.context_from, point.meter), point.price);
        Self { points: points.into_iter().map(entry).collect() }
    }

    /// Of rows of one model: those in force at `now`, of which the latest wins and, at the same start, the
    /// last. `None` where the model is free.
    #[must_use]
    pub fn of_rows(rows: &[PriceRow], now: UnixMillis) -> Option<Self> {
        let mut in_force: Vec<&PriceRow> = rows.iter().filter(|row| row.effective_from <= now).collect();
        in_force.sort_by_key(|row| row.effective_from);
        let mut points = Vec::with_capacity(in_force.len());
        for row in in_force {
            let (tier, context_from, price) = (row.service_tier, row.context_from, row.price);
            points.push(PricePoint { tier, context_from, meter: row.meter?, price });
        }
        Some(Self::of_points(points))
    }

    /// What a unit costs in a request of that class with that many prompt tokens, by the same rules as a
    /// charge: a missing class is stood in for. `None` where the tier has no price at all.
    #[must_use]
    pub fn effective(
        &self,
        tier: ServiceTier,
        n_prompt_tokens: u64,
        meter: Meter,
    ) -> Option<PricePerMillion> {
        if !self.points.keys().any(|(known, _, _)| *known == tier) {
            return None;
        }
        let best = |tier, meter| {
            let from = self.points.iter().rev();
            from.filter(|((t, at, m), _)| *t == tier && *m == meter && *at <= n_prompt_tokens)
                .map(|(_, price)| *price)
                .next()
        };
        let own = |meter| best(tier, meter).or_else(|| best(ServiceTier::Standard, meter));
        own(meter).or_else(|| fallback(meter).and_then(own))
    }

    fn with(&self, rows: &[&DriftRow]) -> Self {
        let mut changed = self.clone();
        for row in rows {
            changed.points.insert((row.tier, row.context_from, row.meter), row.theirs);
        }
        changed
    }
}

// === impl DriftRow ===

impl DriftRow {
    /// The difference as a share of ours, in percent with two decimals; `None` where ours is none or zero.
    #[must_use]
    pub fn relative_percent(&self) -> Option<String> {
        let ours = i128::from(self.ours.filter(|price| price.0 > 0)?.0);
        let hundredths = (i128::from(self.theirs.0) - ours) * 10_000 / ours;
        let sign = if hundredths < 0 { '-' } else { '+' };
        let magnitude = hundredths.unsigned_abs();
        Some(format!("{sign}{}.{:02}", magnitude / 100, magnitude % 100))
    }
}

// === impl Drift ===

impl Drift {
    /// The catalogue against a map.
    #[must_use]
    pub fn of_catalog(catalog: &Catalog, map: &PriceMap) -> Self {
        let mut drift = Self::default();
        for vendor in catalog.vendors().iter().filter(|vendor| vendor.dialect != "demo") {
            for model in vendor.models() {
                let names = std::iter::once(model.name).chain(model.aliases.iter().copied());
                let ours = Pricing::of_points(model.price_points());
                match names.into_iter().find_map(|name| map.pricing(&vendor.name, name)) {
                    Some(theirs) => drift.add(&vendor.name, model.name, &ours, theirs),
                    None => drift.only_ours.push(format!("{}/{}", vendor.name, model.name)),
                }
            }
        }
        drift.rows.sort();
        drift
    }

    /// One model more. Only what the map prices is compared: classes it does not know are no difference.
    pub fn add(&mut self, vendor: &str, model: &str, ours: &Pricing, theirs: &Pricing) {
        self.n_models_compared += 1;
        for ((tier, context_from, meter), price) in &theirs.points {
            let known = ours.effective(*tier, *context_from, *meter);
            if known == Some(*price) {
                self.n_prices_same += 1;
            } else if known.is_some() || price.0 > 0 {
                self.rows.push(DriftRow {
                    vendor: vendor.to_owned(),
                    model: model.to_owned(),
                    tier: *tier,
                    context_from: *context_from,
                    meter: *meter,
                    ours: known,
                    theirs: *price,
                });
            }
        }
    }
}

/// Parts the differences of one model into those that may become rows and those that cannot be meant, each
/// with the reason.
#[must_use]
pub fn part_by_sanity(ours: &Pricing, rows: Vec<DriftRow>) -> (Vec<DriftRow>, Vec<(DriftRow, String)>) {
    let mut refused = Vec::new();
    let mut accepted = Vec::new();
    for row in rows {
        let change = |ours| sanity::check_change(ours, row.theirs);
        match sanity::check_price(row.meter, row.theirs).or_else(|| row.ours.and_then(change)) {
            Some(reason) => refused.push((row, reason)),
            None => accepted.push(row),
        }
    }
    let after = ours.with(&accepted.iter().collect::<Vec<_>>());
    let reason_for = |row: &DriftRow| {
        let price = |meter| after.effective(row.tier, row.context_from, meter);
        let found = sanity::check_together(price);
        found.into_iter().find(|(severity, _)| *severity == sanity::Severity::Error).map(|(_, reason)| reason)
    };
    let mut kept = Vec::new();
    for row in accepted {
        match reason_for(&row) {
            Some(reason) => refused.push((row, reason)),
            None => kept.push(row),
        }
    }
    (kept, refused)
}

#[cfg(test)]
mod tests;
