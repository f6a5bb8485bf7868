//! Price rows of one model made ready for arithmetic: what a usage costs the customer and the operator, what
//! a request can cost at most, and how much output some money affords.

mod margins;
mod reach;
mod table;
mod timeline;
mod together;

use std::sync::Arc;

use tollgate_domain::{AppliedMargin, BasisPoints, ChargeLine, Meter, NanoUsd, PricePerMillion, Usage};

pub use self::margins::MarginTimeline;
pub use self::reach::{Reach, UnitBounds};
pub(crate) use self::table::fallback;
use self::table::{Line, Table, with_factor};
pub use self::timeline::PriceTimeline;
use crate::{PriceRow, ServiceTier};

/// Room for the lines of a usual charge: prompt, cached prompt, answer, request.
const USUAL_LINES: usize = 4;

/// Which plain meters every request of a surface counts, so that each must have a price of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Prompts alone: embeddings.
    InputOnly,
    /// Prompts and answers.
    InputAndOutput,
    /// Whole units of one of these, where it has a price; else the tokens of `tokens`.
    UnitsOr {
        /// The units.
        units: &'static [Meter],
        /// The tokens.
        tokens: &'static [Meter],
    },
    /// The request itself, and nothing else that would have to be bounded.
    RequestOnly,
}

impl Needs {
    const fn meters(self) -> &'static [Meter] {
        match self {
            Self::InputOnly => &[Meter::Input],
            Self::InputAndOutput => &[Meter::Input, Meter::Output],
            Self::UnitsOr { tokens, .. } => tokens,
            Self::RequestOnly => &[Meter::Request],
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

/// The prices of one model in force at one time, as a customer pays them. Cheap to copy: what was worked out
/// for a provider's prices is shared by all customers, whatever their margin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceSheet {
    table: Arc<Table>,
    /// On every line that is not the tenant's own.
    margin: Option<AppliedMargin>,
    /// Where the table holds a tenant's own rows.
    own: Option<TenantsOwn>,
}

/// What belongs to a sheet with a tenant's own rows; its table's dearest prices contain the margin.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TenantsOwn {
    /// The provider's prices; where there are none, its bill is expected to be the customer's.
    provider: Option<Arc<Table>>,
}

/// A computed charge: the rounded totals and the lines that make them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// What the customer pays: the sum with the margin, rounded up once.
    pub total: NanoUsd,
    /// What the provider is expected to bill: its own sum, rounded up once.
    pub provider_total: NanoUsd,
    /// The customer's lines, one per meter with units, before the margin.
    pub lines: Vec<ChargeLine>,
    /// The margin on those lines that are not the tenant's own.
    pub margin: Option<AppliedMargin>,
    /// The provider's lines; `None` where they are the customer's.
    pub provider_lines: Option<Vec<ChargeLine>>,
}

impl Charge {
    /// Nothing at all.
    pub const NONE: Self = Self {
        total: NanoUsd::ZERO,
        provider_total: NanoUsd::ZERO,
        lines: Vec::new(),
        margin: None,
        provider_lines: None,
    };
}

/// Exact sums over lines: nano-USD × 10⁶, and with the margin × 10¹⁰.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    plain: i128,
    with_margin: i128,
}

impl PriceSheet {
    /// The sheet of rows that are all in force, without a margin: of rows for the same meter, tier and context
    /// the latest wins.
    #[must_use]
    pub fn from_rows<'a>(rows: impl IntoIterator<Item = &'a PriceRow>) -> Self {
        Self { table: Arc::new(Table::from_rows(rows)), margin: None, own: None }
    }

    /// The sheet of what nobody charges for.
    #[must_use]
    pub fn free() -> Self {
        Self { table: Arc::new(Table::free()), margin: None, own: None }
    }

    /// Whether prices depend on the prompt's length.
    #[must_use]
    pub fn has_context_steps(&self) -> bool {
        self.table.has_context_steps()
    }

    /// The provider's prices with another margin on them, and without any rows of a tenant's own.
    #[must_use]
    pub fn with_margin(&self, margin: Option<AppliedMargin>) -> Self {
        let table = match &self.own {
            None => &self.table,
            Some(own) => own.provider.as_ref().unwrap_or(&self.table),
        };
        Self { table: Arc::clone(table), margin, own: None }
    }

    /// A tenant's own rows, all in force, over the provider's prices: for the same meter, tier and context its
    /// own one wins; on the others there is the margin.
    #[must_use]
    pub fn for_tenant<'a>(
        provider: Option<&Self>,
        own: impl IntoIterator<Item = &'a PriceRow>,
        margin: Option<AppliedMargin>,
    ) -> Self {
        let provider = provider.map(|sheet| Arc::clone(&sheet.table));
        let table = Table::for_tenant(provider.as_deref(), own, factor(margin));
        Self { table: Arc::new(table), margin, own: Some(TenantsOwn { provider }) }
    }

    /// The margin in force, whether or not a line of a charge has it.
    #[must_use]
    pub fn margin(&self) -> Option<AppliedMargin> {
        self.margin
    }

    /// Whether the customer is never charged: the operator said so, or every price is zero, if only with the
    /// margin.
    #[must_use]
    pub fn is_free(&self) -> bool {
        let lines = &self.table.lines;
        let is_zero = |line: &Line| line.price.0 == 0 || line.factor(factor(self.margin)) == 0;
        self.table.is_free || (!lines.is_empty() && lines.iter().all(is_zero))
    }

    /// Whether requests of `tier` that count what `needs` says can be priced: each needed meter has a row
    /// for any length of prompt, of the tier or the standard one. A price per request is enough where there
    /// is none per token.
    ///
    /// # Errors
    /// [`UnpricedReason`] when they cannot.
    pub fn check(&self, tier: ServiceTier, needs: Needs) -> Result<(), UnpricedReason> {
        let table = &self.table;
        if table.is_free {
            return Ok(());
        }
        if table.lines.is_empty() {
            return Err(UnpricedReason::NoRows);
        }
        let has_tier = table.lines.iter().any(|line| line.tier == tier);
        if tier == ServiceTier::Priority && !has_tier {
            return Err(UnpricedReason::NoTier);
        }
        let has_price = |meter| table.line(meter, tier, 0).is_some();
        let is_per_token = table.lines.iter().any(|line| line.meter.is_token());
        if !is_per_token && has_price(Meter::Request) {
            return Ok(());
        }
        if let Needs::UnitsOr { units, .. } = needs
            && units.iter().any(|meter| has_price(*meter))
        {
            return Ok(());
        }
        match needs.meters().iter().find(|meter| !has_price(**meter)) {
            Some(meter) => Err(UnpricedReason::Incomplete(*meter)),
            None => Ok(()),
        }
    }

    /// What `usage` costs: exact sums, one rounding upwards of each.
    #[must_use]
    pub fn cost(&self, usage: &Usage, tier: ServiceTier) -> Charge {
        let mut lines = Vec::with_capacity(USUAL_LINES);
        let sums = sums(&self.table, usage, tier, factor(self.margin), |meter, line, units| {
            lines.push(charge_line(meter, line, units));
        });
        let total = NanoUsd::round_up_with_margin(sums.with_margin);
        let (provider_total, provider_lines) = match &self.own {
            None if self.margin.is_none() => (total, None),
            None => (NanoUsd::round_up_from_millionths(sums.plain), None),
            Some(TenantsOwn { provider: None }) => (total, None),
            Some(TenantsOwn { provider: Some(table) }) => {
                let mut lines = Vec::new();
                let note = |meter, line: &Line, units| lines.push(charge_line(meter, line, units));
                let sums = sums_without_margin(table, usage, tier, note);
                (NanoUsd::round_up_from_millionths(sums.plain), Some(lines))
            }
        };
        Charge { total, provider_total, lines, margin: self.margin, provider_lines }
    }

    /// The customer's total of [`PriceSheet::cost`], for whoever does not need its lines.
    #[must_use]
    pub fn total(&self, usage: &Usage, tier: ServiceTier) -> NanoUsd {
        let sums = sums(&self.table, usage, tier, factor(self.margin), |_, _, _| {});
        NanoUsd::round_up_with_margin(sums.with_margin)
    }

    /// The provider's total of [`PriceSheet::cost`], for whoever does not need its lines.
    #[must_use]
    pub fn provider_total(&self, usage: &Usage, tier: ServiceTier) -> NanoUsd {
        match &self.own {
            Some(TenantsOwn { provider: None }) => self.total(usage, tier),
            own => {
                let table = own.as_ref().and_then(|own| own.provider.as_ref()).unwrap_or(&self.table);
                NanoUsd::round_up_from_millionths(sums_without_margin(table, usage, tier, |_, _, _| {}).plain)
            }
        }
    }

    /// The margin that the table's dearest prices do not contain yet.
    fn bound_factor(&self) -> i128 {
        let outside = if self.own.is_some() { BasisPoints::UNCHANGED } else { factor(self.margin) };
        i128::from(outside)
    }

    fn dearest(&self, meters: &[Meter], tier: ServiceTier, input_bound: u64) -> PricePerMillion {
        let Some(step) = self.table.step(input_bound) else { return PricePerMillion::ZERO };
        let prices = &step.tiers[tier as usize].dearest;
        meters.iter().map(|meter| prices[*meter as usize]).max().unwrap_or(PricePerMillion::ZERO)
    }

    /// Whether units of `meter` cost the customer anything at all, in any tier and for any length of prompt.
    #[must_use]
    pub fn charges(&self, meter: Meter) -> bool {
        self.bound_factor() > 0 && self.table.charges(meter)
    }

    /// What a request can cost beside its answer's tokens, before the margin: the prompt and whole units.
    fn input_part(&self, input_bound: u64, tier: ServiceTier, reach: Reach) -> i128 {
        let prompt = self.dearest(reach.input, tier, input_bound).times(input_bound);
        let unit = |(meter, count): &(Meter, u64)| self.dearest(&[*meter], tier, input_bound).times(*count);
        let units = reach.units.by_meter();
        units.iter().filter(|(_, count)| *count > 0).map(unit).fold(prompt, i128::saturating_add)
    }

    /// The dearest price an answer token of a request can have, at its tier or the standard one, with the
    /// margin, rounded up.
    #[must_use]
    pub fn dearest_output(&self, input_bound: u64, tier: ServiceTier, reach: Reach) -> PricePerMillion {
        let price = self.dearest(reach.output, tier, input_bound);
        if self.own.is_some() { price } else { with_factor(price, factor(self.margin)) }
    }

    /// The most a request can cost, served at its tier or the standard one: `input_bound` prompt tokens,
    /// `output_cap` answer tokens in all.
    #[must_use]
    pub fn upper_bound(&self, input_bound: u64, output_cap: u64, tier: ServiceTier, reach: Reach) -> NanoUsd {
        let output = self.dearest(reach.output, tier, input_bound).times(output_cap);
        let sum = self.input_part(input_bound, tier, reach).saturating_add(output);
        NanoUsd::round_up_with_margin(sum.saturating_mul(self.bound_factor()))
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
        /// What one nano-USD is of [`NanoUsd::round_up_with_margin`]'s sums.
        const PER_NANO_USD: i128 = 10_000_000_000;
        let factor = self.bound_factor();
        let per_token = i128::from(self.dearest(reach.output, tier, input_bound).0) * factor;
        if per_token == 0 {
            return None;
        }
        let prompt = self.input_part(input_bound, tier, reach).saturating_mul(factor);
        let left = (i128::from(money.0) * PER_NANO_USD).saturating_sub(prompt);
        Some(u64::try_from((left / per_token).max(0)).unwrap_or(u64::MAX))
    }
}

fn factor(margin: Option<AppliedMargin>) -> u32 {
    margin.map_or(BasisPoints::UNCHANGED, |margin| margin.basis_points.factor())
}

/// The sums of a usage over a table's lines, each of which `note` is told.
#[inline]
fn sums(
    table: &Table,
    usage: &Usage,
    tier: ServiceTier,
    margin: u32,
    mut note: impl FnMut(Meter, &Line, u64),
) -> Sums {
    let mut sums = Sums::default();
    if table.is_free {
        return sums;
    }
    let input_tokens = usage.input_tokens();
    for (meter, units) in usage.iter() {
        let Some(line) = table.line(meter, tier, input_tokens) else { continue };
        let plain = line.price.times(units);
        sums.plain = sums.plain.saturating_add(plain);
        let raised = plain.saturating_mul(line.factor(margin).into());
        sums.with_margin = sums.with_margin.saturating_add(raised);
        note(meter, line, units);
    }
    sums
}

fn sums_without_margin(
    table: &Table,
    usage: &Usage,
    tier: ServiceTier,
    note: impl FnMut(Meter, &Line, u64),
) -> Sums {
    sums(table, usage, tier, BasisPoints::UNCHANGED, note)
}

fn charge_line(meter: Meter, line: &Line, units: u64) -> ChargeLine {
    ChargeLine {
        meter,
        units,
        price: line.price,
        price_row: line.row,
        tenant_price: line.is_tenants,
        source: line.source.as_ref().to_owned(),
    }
}

#[cfg(test)]
mod tests;
