//! Price rows of one model made ready for arithmetic: what a usage costs, what a request can cost at most,
//! and how much output some money affords.

use std::sync::Arc;

use tollgate_domain::{ChargeLine, Meter, NanoUsd, PriceId, PricePerMillion, UnixMillis, Usage};

use crate::{PriceRow, ServiceTier};

/// Which meters a request can reach, apart from the plain text ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Prompt meters that may be counted.
    pub input: &'static [Meter],
    /// Answer meters that may be counted.
    pub output: &'static [Meter],
}

impl Reach {
    /// Text in, text out.
    pub const TEXT: Self =
        Self { input: &[Meter::Input, Meter::CachedInput], output: &[Meter::Output, Meter::Reasoning] };
    /// Whatever a multimodal chat may count.
    pub const MULTIMODAL: Self = Self {
        input: &[Meter::Input, Meter::CachedInput, Meter::InputAudio, Meter::InputImage],
        output: &[Meter::Output, Meter::Reasoning, Meter::OutputAudio, Meter::OutputImage],
    };
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceSheet {
    lines: Vec<Line>,
    free: bool,
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
const fn fallback(meter: Meter) -> Option<Meter> {
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
        Self { lines, free }
    }

    /// Whether nothing is ever charged: the operator said so, or every row's price is zero.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.free || (!self.lines.is_empty() && self.lines.iter().all(|line| line.price.0 == 0))
    }

    /// Whether requests of `tier` can be priced.
    ///
    /// # Errors
    /// [`UnpricedReason`] when they cannot.
    pub fn check(&self, tier: ServiceTier) -> Result<(), UnpricedReason> {
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
        Ok(())
    }

    fn line(&self, meter: Meter, tier: ServiceTier, input_tokens: u64) -> Option<&Line> {
        let best = |tier: ServiceTier, meter: Meter| {
            self.lines
                .iter()
                .filter(|line| line.meter == meter && line.tier == tier && line.context_from <= input_tokens)
                .max_by_key(|line| line.context_from)
        };
        let own = |meter| best(tier, meter).or_else(|| best(ServiceTier::Standard, meter));
        own(meter).or_else(|| fallback(meter).and_then(own))
    }

    fn price(&self, meter: Meter, tier: ServiceTier, input_tokens: u64) -> PricePerMillion {
        if self.free {
            return PricePerMillion::ZERO;
        }
        self.line(meter, tier, input_tokens).map_or(PricePerMillion::ZERO, |line| line.price)
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

    fn dearest(&self, meters: &[Meter], tier: ServiceTier, input_bound: u64) -> PricePerMillion {
        let thresholds = self.lines.iter().map(|line| line.context_from).filter(|from| *from <= input_bound);
        thresholds
            .chain(std::iter::once(input_bound))
            .flat_map(|at| meters.iter().map(move |meter| self.price(*meter, tier, at)))
            .max()
            .unwrap_or(PricePerMillion::ZERO)
    }

    fn input_part(&self, input_bound: u64, tier: ServiceTier, reach: Reach) -> i128 {
        let per_token = self.dearest(reach.input, tier, input_bound);
        per_token.times(input_bound).saturating_add(self.price(Meter::Request, tier, 0).times(1))
    }

    /// The dearest price an answer token of a request can have.
    #[must_use]
    pub fn dearest_output(&self, input_bound: u64, tier: ServiceTier, reach: Reach) -> PricePerMillion {
        self.dearest(reach.output, tier, input_bound)
    }

    /// The most a request can cost: `input_bound` prompt tokens, `output_cap` answer tokens in all.
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
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        assert_eq!(sheet(&[]).check(ServiceTier::Standard), Err(UnpricedReason::NoRows));
        assert_eq!(
            sheet(&[row(Meter::Input, "1")]).check(ServiceTier::Priority),
            Err(UnpricedReason::NoTier)
        );
        assert!(!sheet(&[row(Meter::Input, "1")]).is_free());
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

    proptest! {
        #[test]
        fn bound_covers_every_usage_inside_it(
            input_price in 0_i64..100_000_000_000, cached in 0_i64..100_000_000_000, output_price in 1_i64..100_000_000_000,
            threshold in 1_u64..300_000, dear in 0_i64..100_000_000_000,
            bound in 0_u64..400_000, cap in 0_u64..100_000,
            used_in in 0_u64..400_000, used_cached in 0_u64..400_000, used_out in 0_u64..100_000,
        ) {
            let at = |meter, price| PriceRow { price: PricePerMillion(price), ..row(meter, "0") };
            let sheet = sheet(&[
                at(Meter::Input, input_price), at(Meter::CachedInput, cached), at(Meter::Output, output_price),
                PriceRow { context_from: threshold, ..at(Meter::Input, dear) },
            ]);
            let used_in = used_in.min(bound);
            let usage = Usage::ZERO
                .with(Meter::Input, used_in)
                .with(Meter::CachedInput, used_cached.min(bound - used_in))
                .with(Meter::Output, used_out.min(cap));
            let bound_money = sheet.upper_bound(bound, cap, ServiceTier::Standard, Reach::TEXT);
            prop_assert!(sheet.cost(&usage, ServiceTier::Standard).total <= bound_money);
            let affordable = sheet.affordable_output(bound_money, bound, ServiceTier::Standard, Reach::TEXT).unwrap();
            prop_assert!(affordable >= cap);
            prop_assert!(sheet.upper_bound(bound, affordable, ServiceTier::Standard, Reach::TEXT) <= bound_money);
        }
    }
}
