//! What of a sheet is worked out when it is made: per context threshold and tier, which line prices a meter,
//! and the dearest price a prompt up to there can meet.

use std::sync::Arc;

use tollgate_domain::{BasisPoints, Meter, PriceId, PricePerMillion};

use crate::{PriceRow, ServiceTier};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) meter: Meter,
    pub(super) tier: ServiceTier,
    pub(super) context_from: u64,
    pub(super) price: PricePerMillion,
    pub(super) row: Option<PriceId>,
    /// Whether it is the tenant's own price: no margin is put on it.
    pub(super) is_tenants: bool,
    pub(super) source: Arc<str>,
}

/// Rows in force at one time, ready for look-ups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) lines: Vec<Line>,
    pub(super) is_free: bool,
    /// By context threshold, ascending; the first begins at zero.
    steps: Vec<Step>,
}

const N_METERS: usize = Meter::ALL.len();

/// What holds for prompts from one context threshold on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    context_from: u64,
    pub(super) tiers: [TierPrices; ServiceTier::ALL.len()],
}

/// What holds for one tier there, by meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TierPrices {
    /// Which of the table's lines prices the meter.
    line: [Option<u16>; N_METERS],
    /// The dearest price of the tier or the standard one, at this threshold or one below: a provider may
    /// serve the standard tier whatever was asked for, and counts the prompt itself.
    pub(super) dearest: [PricePerMillion; N_METERS],
}

/// Which meter's price stands in where a meter has no row of its own.
pub(crate) const fn fallback(meter: Meter) -> Option<Meter> {
    match meter {
        Meter::CachedInput
        | Meter::CacheWrite5m
        | Meter::CacheWrite1h
        | Meter::InputAudio
        | Meter::InputImage => Some(Meter::Input),
        Meter::Reasoning | Meter::OutputAudio | Meter::OutputImage => Some(Meter::Output),
        _ => None,
    }
}

impl Table {
    /// The table of rows that are all in force: of rows for the same meter, tier and context the latest wins.
    pub(super) fn from_rows<'a>(rows: impl IntoIterator<Item = &'a PriceRow>) -> Self {
        let (lines, is_free) = latest(rows);
        let steps = steps(&lines, is_free, BasisPoints::UNCHANGED);
        Self { lines, is_free, steps }
    }

    /// A tenant's rows over the provider's lines; `factor` is the margin on the latter, which the dearest
    /// prices then contain, rounded up.
    pub(super) fn for_tenant<'a>(
        provider: Option<&Self>,
        own: impl IntoIterator<Item = &'a PriceRow>,
        factor: u32,
    ) -> Self {
        let (mut lines, is_free) = latest(own);
        for line in provider.into_iter().flat_map(|table| &table.lines) {
            if !lines.iter().any(|own| own.is_same_thing(line)) {
                lines.push(line.clone());
            }
        }
        if provider.is_some_and(|table| table.is_free) {
            // what the tenant has no price for stays free, as it is for everybody
            let zero = |meter| Line { meter, price: PricePerMillion::ZERO, ..free_line() };
            for line in [Meter::Input, Meter::Output].map(zero) {
                if !lines.iter().any(|own| own.is_same_thing(&line)) {
                    lines.push(line);
                }
            }
        }
        let steps = steps(&lines, is_free, factor);
        Self { lines, is_free, steps }
    }

    /// The table in which everything is free.
    pub(super) fn free() -> Self {
        Self { lines: Vec::new(), is_free: true, steps: steps(&[], true, BasisPoints::UNCHANGED) }
    }

    pub(super) const fn has_context_steps(&self) -> bool {
        self.steps.len() > 1
    }

    pub(super) fn step(&self, input_tokens: u64) -> Option<&Step> {
        self.steps.iter().rev().find(|step| step.context_from <= input_tokens)
    }

    pub(super) fn line(&self, meter: Meter, tier: ServiceTier, input_tokens: u64) -> Option<&Line> {
        let index = self.step(input_tokens)?.tiers[tier as usize].line[meter as usize]?;
        self.lines.get(usize::from(index))
    }

    /// Whether units of `meter` cost anything at all, in any tier and for any length of prompt.
    pub(super) fn charges(&self, meter: Meter) -> bool {
        let costs = |step: &Step| step.tiers.iter().any(|tier| tier.dearest[meter as usize].0 > 0);
        self.steps.iter().any(costs)
    }
}

impl Line {
    fn is_same_thing(&self, other: &Self) -> bool {
        (self.meter, self.tier, self.context_from) == (other.meter, other.tier, other.context_from)
    }

    /// By what the line's price is multiplied, in ten-thousandths.
    pub(super) fn factor(&self, margin: u32) -> u32 {
        if self.is_tenants { BasisPoints::UNCHANGED } else { margin }
    }
}

fn free_line() -> Line {
    Line {
        meter: Meter::Input,
        tier: ServiceTier::Standard,
        context_from: 0,
        price: PricePerMillion::ZERO,
        row: None,
        is_tenants: false,
        source: Arc::from("free"),
    }
}

/// The latest line for each thing, and whether the latest word is that the model is free.
fn latest<'a>(rows: impl IntoIterator<Item = &'a PriceRow>) -> (Vec<Line>, bool) {
    let mut rows: Vec<&PriceRow> = rows.into_iter().collect();
    rows.sort_by_key(|row| row.effective_from);
    let latest_free = rows.iter().rev().find(|row| row.meter.is_none()).map(|row| row.effective_from);
    let latest_paid = rows.iter().rev().find(|row| row.meter.is_some()).map(|row| row.effective_from);
    let is_free = latest_free.is_some() && latest_free >= latest_paid;
    let mut lines: Vec<Line> = Vec::new();
    for row in rows {
        let Some(meter) = row.meter else { continue };
        let line = Line {
            meter,
            tier: row.service_tier,
            context_from: row.context_from,
            price: row.price,
            row: row.id,
            is_tenants: row.tenant.is_some(),
            source: Arc::from(row.source.as_str()),
        };
        lines.retain(|old| !old.is_same_thing(&line));
        lines.push(line);
    }
    (lines, is_free)
}

fn steps(lines: &[Line], is_free: bool, factor: u32) -> Vec<Step> {
    let mut thresholds: Vec<u64> = lines.iter().map(|line| line.context_from).chain([0]).collect();
    thresholds.sort_unstable();
    thresholds.dedup();
    let price = |index: Option<u16>| match index {
        Some(index) if !is_free => {
            let line = &lines[usize::from(index)];
            with_factor(line.price, line.factor(factor))
        }
        _ => PricePerMillion::ZERO,
    };
    let mut steps: Vec<Step> = Vec::with_capacity(thresholds.len());
    for context_from in thresholds {
        let below = steps.last();
        let tiers = ServiceTier::ALL.map(|tier| {
            let below = below.map(|step| &step.tiers[tier as usize].dearest);
            tier_prices(lines, tier, context_from, below, &price)
        });
        steps.push(Step { context_from, tiers });
    }
    steps
}

fn tier_prices(
    lines: &[Line],
    tier: ServiceTier,
    context_from: u64,
    below: Option<&[PricePerMillion; N_METERS]>,
    price: &dyn Fn(Option<u16>) -> PricePerMillion,
) -> TierPrices {
    let line = Meter::ALL.map(|meter| line_at(lines, meter, tier, context_from));
    let dearest = Meter::ALL.map(|meter| {
        let standard = price(line_at(lines, meter, ServiceTier::Standard, context_from));
        let here = price(line[meter as usize]).max(standard);
        below.map_or(here, |below| here.max(below[meter as usize]))
    });
    TierPrices { line, dearest }
}

/// The line that prices a meter: the tier's own or the standard one, the meter's own or its stand-in's.
fn line_at(lines: &[Line], meter: Meter, tier: ServiceTier, input_tokens: u64) -> Option<u16> {
    let best = |tier: ServiceTier, meter: Meter| {
        let fits =
            |line: &Line| line.meter == meter && line.tier == tier && line.context_from <= input_tokens;
        let fitting = lines.iter().enumerate().filter(|(_, line)| fits(line));
        let (index, _) = fitting.max_by_key(|(_, line)| line.context_from)?;
        u16::try_from(index).ok()
    };
    let own = |meter| best(tier, meter).or_else(|| best(ServiceTier::Standard, meter));
    own(meter).or_else(|| fallback(meter).and_then(own))
}

/// A price with a margin on it, rounded up: for bounds, never for charges.
pub(super) fn with_factor(price: PricePerMillion, factor: u32) -> PricePerMillion {
    let parts = i128::from(BasisPoints::UNCHANGED);
    let raised = (i128::from(price.0) * i128::from(factor) + parts - 1) / parts;
    PricePerMillion(i64::try_from(raised).unwrap_or(i64::MAX))
}
