//! Price rows of one model made ready for arithmetic: what a usage costs, what a request can cost at most,
//! and how much output some money affords.

mod reach;

use std::sync::Arc;

use tollgate_domain::{ChargeLine, Meter, NanoUsd, PriceId, PricePerMillion, UnixMillis, Usage};

pub use self::reach::{Reach, UnitBounds};
use crate::{PriceRow, ServiceTier};

/// Which plain meters every request of a surface counts, so that each must have a price of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Prompts alone: embeddings.
    InputOnly,
    /// Prompts and answers.
    InputAndOutput,
}

impl Needs {
    const fn meters(self) -> &'static [Meter] {
        match self {
            Self::InputOnly => &[Meter::Input],
            Self::InputAndOutput => &[Meter::Input, Meter::Output],
        }
    }
}

/// Why a sheet cannot price a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnpricedReason {
    /// There is no row at all, or none in force yet.
    #[error("the model has no price")]
    NoRows,
    /// A dearer tier is asked for and has no row.
    #[error("the service tier has no price")]
    NoTier,
    /// There are rows, but none for a meter that every such request counts.
    #[error("the model has no price for {}", .0.name())]
    Incomplete(Meter),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    meter: Meter,
    tier: ServiceTier,
    context_from: u64,
    price: PricePerMillion,
    row: Option<PriceId>,
    source: Arc<str>,
}

/// The prices of one model in force at one time.
///
/// Every look-up a request needs is worked out when the sheet is made: per context threshold and tier, which
/// line prices a meter, and the dearest price a prompt up to there can meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceSheet {
    lines: Vec<Line>,
    free: bool,
    /// By context threshold, ascending; the first begins at zero.
    steps: Vec<Step>,
}

const N_METERS: usize = Meter::ALL.len();

/// What holds for prompts from one context threshold on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    context_from: u64,
    tiers: [TierPrices; ServiceTier::ALL.len()],
}

/// What holds for one tier there, by meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TierPrices {
    /// Which of the sheet's lines prices the meter.
    line: [Option<u16>; N_METERS],
    /// The dearest price of the tier or the standard one, at this threshold or one below: a provider may
    /// serve the standard tier whatever was asked for, and counts the prompt itself.
    dearest: [PricePerMillion; N_METERS],
}

/// A computed charge: the rounded total and the lines that make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The sum, rounded up once.
    pub total: NanoUsd,
    /// One line per meter with units.
    pub lines: Vec<ChargeLine>,
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

impl PriceSheet {
    /// The sheet of rows that are all in force: of rows for the same meter, tier and context the latest wins.
    #[must_use]
    pub fn from_rows<'a>(rows: impl IntoIterator<Item = &'a PriceRow>) -> Self {
        let mut rows: Vec<&PriceRow> = rows.into_iter().collect();
        rows.sort_by_key(|row| row.effective_from);
        let latest_free = rows.iter().rev().find(|row| row.meter.is_none()).map(|row| row.effective_from);
        let latest_paid = rows.iter().rev().find(|row| row.meter.is_some()).map(|row| row.effective_from);
        let free = latest_free.is_some() && latest_free >= latest_paid;
        let mut lines: Vec<Line> = Vec::new();
        for row in rows {
            let Some(meter) = row.meter else { continue };
            let line = Line {
                meter,
                tier: row.service_tier,
                context_from: row.context_from,
                price: row.price,
                row: row.id,
                source: Arc::from(row.source.as_str()),
            };
            let same = |old: &Line| {
                (old.meter, old.tier, old.context_from) == (line.meter, line.tier, line.context_from)
            };
            lines.retain(|old| !same(old));
            lines.push(line);
        }
        let steps = steps(&lines, free);
        Self { lines, free, steps }
    }

    /// Whether nothing is ever charged: the operator said so, or every row's price is zero.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.free || (!self.lines.is_empty() && self.lines.iter().all(|line| line.price.0 == 0))
    }

    /// Whether requests of `tier` that count what `needs` says can be priced: each needed meter has a row
    /// for any length of prompt, of the tier or the standard one. A price per request is enough where there
    /// is none per token.
    ///
    /// # Errors
    /// [`UnpricedReason`] when they cannot.
    pub fn check(&self, tier: ServiceTier, needs: Needs) -> Result<(), UnpricedReason> {
        if self.free {
            return Ok(());
        }
        if self.lines.is_empty() {
            return Err(UnpricedReason::NoRows);
        }
        let has_tier = self.lines.iter().any(|line| line.tier == tier);
        if tier == ServiceTier::Priority && !has_tier {
            return Err(UnpricedReason::NoTier);
        }
        let has_price = |meter| self.line(meter, tier, 0).is_some();
        let is_per_token = self.lines.iter().any(|line| line.meter.is_token());
        if !is_per_token && has_price(Meter::Request) {
            return Ok(());
        }
        match needs.meters().iter().find(|meter| !has_price(**meter)) {
            Some(meter) => Err(UnpricedReason::Incomplete(*meter)),
            None => Ok(()),
        }
    }

    fn step(&self, input_tokens: u64) -> Option<&Step> {
        self.steps.iter().rev().find(|step| step.context_from <= input_tokens)
    }

    fn line(&self, meter: Meter, tier: ServiceTier, input_tokens: u64) -> Option<&Line> {
        let index = self.step(input_tokens)?.tiers[tier as usize].line[meter as usize]?;
        self.lines.get(usize::from(index))
    }

    /// What `usage` costs: exact sum, one rounding upwards.
    #[must_use]
    pub fn cost(&self, usage: &Usage, tier: ServiceTier) -> Charge {
        let input_tokens = usage.input_tokens();
        let mut sum: i128 = 0;
        let mut lines = Vec::new();
        if self.free {
            return Charge { total: NanoUsd::ZERO, lines };
        }
        for (meter, units) in usage.iter() {
            let Some(line) = self.line(meter, tier, input_tokens) else { continue };
            sum = sum.saturating_add(line.price.times(units));
            lines.push(ChargeLine {
                meter,
                units,
                price: line.price,
                price_row: line.row,
                source: line.source.as_ref().to_owned(),
            });
        }
        Charge { total: NanoUsd::round_up_from_millionths(sum), lines }
    }

    /// The total of [`PriceSheet::cost`], for whoever does not need its lines.
    #[must_use]
    pub fn total(&self, usage: &Usage, tier: ServiceTier) -> NanoUsd {
        if self.free {
            return NanoUsd::ZERO;
        }
        let input_tokens = usage.input_tokens();
        let of_meter = |(meter, units): (Meter, u64)| {
            self.line(meter, tier, input_tokens).map_or(0, |line| line.price.times(units))
        };
        NanoUsd::round_up_from_millionths(usage.iter().map(of_meter).fold(0, i128::saturating_add))
    }

    fn dearest(&self, meters: &[Meter], tier: ServiceTier, input_bound: u64) -> PricePerMillion {
        let Some(step) = self.step(input_bound) else { return PricePerMillion::ZERO };
        let prices = &step.tiers[tier as usize].dearest;
        meters.iter().map(|meter| prices[*meter as usize]).max().unwrap_or(PricePerMillion::ZERO)
    }

    /// Whether units of `meter` cost anything at all, in any tier and for any length of prompt.
    #[must_use]
    pub fn charges(&self, meter: Meter) -> bool {
        let costs = |step: &Step| step.tiers.iter().any(|tier| tier.dearest[meter as usize].0 > 0);
        self.steps.iter().any(costs)
    }

    /// What a request can cost beside its answer's tokens: the prompt and whole units.
    fn input_part(&self, input_bound: u64, tier: ServiceTier, reach: Reach) -> i128 {
        let prompt = self.dearest(reach.input, tier, input_bound).times(input_bound);
        let unit = |(meter, count)| self.dearest(&[meter], tier, input_bound).times(count);
        reach.units.by_meter().into_iter().map(unit).fold(prompt, i128::saturating_add)
    }

    /// The dearest price an answer token of a request can have, at its tier or the standard one.
    #[must_use]
    pub fn dearest_output(&self, input_bound: u64, tier: ServiceTier, reach: Reach) -> PricePerMillion {
        self.dearest(reach.output, tier, input_bound)
    }

    /// The most a request can cost, served at its tier or the standard one: `input_bound` prompt tokens,
    /// `output_cap` answer tokens in all.
    #[must_use]
    pub fn upper_bound(&self, input_bound: u64, output_cap: u64, tier: ServiceTier, reach: Reach) -> NanoUsd {
        let output = self.dearest_output(input_bound, tier, reach).times(output_cap);
        NanoUsd::round_up_from_millionths(self.input_part(input_bound, tier, reach).saturating_add(output))
    }

    /// How many answer tokens in all `money` affords after the prompt; `None` where output costs nothing,
    /// zero where not even the prompt is affordable.
    #[must_use]
    pub fn affordable_output(
        &self,
        money: NanoUsd,
        input_bound: u64,
        tier: ServiceTier,
        reach: Reach,
    ) -> Option<u64> {
        let per_token = i128::from(self.dearest_output(input_bound, tier, reach).0);
        if per_token == 0 {
            return None;
        }
        let left = i128::from(money.0) * 1_000_000 - self.input_part(input_bound, tier, reach);
        Some(u64::try_from((left / per_token).max(0)).unwrap_or(u64::MAX))
    }
}

// === what is worked out beforehand ===

fn steps(lines: &[Line], free: bool) -> Vec<Step> {
    let mut thresholds: Vec<u64> = lines.iter().map(|line| line.context_from).chain([0]).collect();
    thresholds.sort_unstable();
    thresholds.dedup();
    let mut steps: Vec<Step> = Vec::with_capacity(thresholds.len());
    for context_from in thresholds {
        let below = steps.last();
        let tiers = ServiceTier::ALL.map(|tier| {
            let below = below.map(|step| &step.tiers[tier as usize].dearest);
            tier_prices(lines, free, tier, context_from, below)
        });
        steps.push(Step { context_from, tiers });
    }
    steps
}

fn tier_prices(
    lines: &[Line],
    free: bool,
    tier: ServiceTier,
    context_from: u64,
    below: Option<&[PricePerMillion; N_METERS]>,
) -> TierPrices {
    let price = |index: Option<u16>| match index {
        Some(index) if !free => lines[usize::from(index)].price,
        _ => PricePerMillion::ZERO,
    };
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

/// The sheets of one model over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceTimeline {
    /// Sorted by start; each sheet holds from its start on.
    sheets: Vec<(UnixMillis, Arc<PriceSheet>)>,
}

impl PriceTimeline {
    /// The timeline of all rows of one model, whatever their start.
    #[must_use]
    pub fn from_rows(rows: &[&PriceRow]) -> Self {
        let mut starts: Vec<UnixMillis> = rows.iter().map(|row| row.effective_from).collect();
        starts.sort_unstable();
        starts.dedup();
        let sheet_at = |start: UnixMillis| {
            PriceSheet::from_rows(rows.iter().copied().filter(|row| row.effective_from <= start))
        };
        Self { sheets: starts.into_iter().map(|start| (start, Arc::new(sheet_at(start)))).collect() }
    }

    /// The sheet in force at `now`, or `None` before the first.
    #[must_use]
    pub fn at(&self, now: UnixMillis) -> Option<&Arc<PriceSheet>> {
        self.sheets.iter().rev().find(|(start, _)| *start <= now).map(|(_, sheet)| sheet)
    }
}

#[cfg(test)]
mod tests;
