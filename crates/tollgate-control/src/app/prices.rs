//! The operator's price rows: immutable, each from a moment on.

use serde::{Deserialize, Serialize};
use tollgate_catalog::sanity::check_price;
use tollgate_catalog::{PriceRow, ServiceTier};
use tollgate_domain::{Meter, NanoUsd, PricePerMillion, TenantId, UnixMillis};
use tollgate_store::{PageRequest, PriceFilter, PriceRecord};
use utoipa::{IntoParams, ToSchema};

use super::lookup::{Names, missing};
use super::{App, List, ListQuery};
use crate::error::Problems;
use crate::parts::{Time, check_upstream_model, name, time};
use crate::{Action, Actor, AppError, Resource, ResourceOwner, Verb, authorize};

/// The `source` of rows an operator made.
const OPERATOR: &str = "operator";
/// The start of rows that have always held.
const ALWAYS: UnixMillis = UnixMillis(0);
/// How many rows are read at a time where all of a model are needed.
const READ_PAGE: u32 = 1_000;

/// A price row to be created: one meter of one model, or `free`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePrice {
    /// The configured provider's name.
    #[schema(example = "openai")]
    pub provider: String,
    /// The model's name there; `*` prices what has no row of its own.
    #[schema(example = "gpt-5-mini")]
    pub model: String,
    /// Only for this tenant, by name or id: what it pays instead of everybody's price, without a margin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What it prices: `input`, `cached_input`, `output`, `request`, …; absent only where `free`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "input")]
    pub meter: Option<String>,
    /// USD per million tokens, or per single unit for `request`, `image`, `second`, `page`, `search`
    /// and `character`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "0.25")]
    pub price: Option<String>,
    /// The model is free of charge.
    #[serde(default)]
    pub free: bool,
    /// The provider's processing class: `standard` where absent, `flex`, `priority`, `batch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// From how many prompt tokens on; 0 where absent.
    #[serde(default)]
    pub context_from: u64,
    /// From when it holds (RFC 3339). Where absent: from now on where it replaces a row, else since ever, so
    /// that a pod whose clock is behind has a model's first price too. In the past only for a first row. A tenant's
    /// row holds from now on, and in the past only where the tenant was charged nothing since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "2027-01-01T00:00:00Z")]
    pub effective_from: Option<String>,
}

/// Which price rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PriceQuery {
    /// Of this provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Of exactly this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Only for this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// How many at most; 100 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A price row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PriceView {
    /// Identity.
    pub id: String,
    /// The provider's name.
    pub provider: String,
    /// The model's name there, or `*`.
    pub model: String,
    /// Name of the only tenant it is for.
    pub tenant: Option<String>,
    /// Id of that tenant.
    pub tenant_id: Option<String>,
    /// What it prices; `null` where `free`.
    pub meter: Option<String>,
    /// USD per million tokens, or per single unit.
    pub price: String,
    /// The model is free of charge.
    pub free: bool,
    /// The provider's processing class.
    pub service_tier: String,
    /// From how many prompt tokens on.
    pub context_from: u64,
    /// From when it holds.
    pub effective_from: Time,
    /// Where it comes from.
    pub source: String,
    /// When it was created.
    pub created_at: Time,
}

/// A price as it is written: per million for tokens, per unit otherwise.
pub(crate) fn price_text(meter: Option<Meter>, price: PricePerMillion) -> String {
    match meter {
        Some(meter) if !meter.is_token() => {
            price.per_unit_exact().map_or_else(|| price.to_string(), |unit: NanoUsd| unit.to_string())
        }
        _ => price.to_string(),
    }
}

/// A price as it is written, read. One that no vendor's list has is taken for a slip of the decimal point.
pub(crate) fn parse_price(meter: Meter, text: &str) -> Result<PricePerMillion, String> {
    let parsed =
        if meter.is_token() { PricePerMillion::parse(text) } else { PricePerMillion::parse_per_unit(text) };
    let price = parsed.map_err(|error| error.to_string())?;
    check_price(meter, price).map_or(Ok(price), |slip| Err(format!("{slip}: check its unit")))
}

impl CreatePrice {
    /// Notes every problem; the row where there is none, for everybody until its tenant is looked up. A row
    /// without a start begins `now` until it is placed.
    pub(crate) fn check(&self, path: &str, now: UnixMillis, problems: &mut Problems) -> Option<PriceRow> {
        problems.take(format!("{path}provider"), name(&self.provider));
        check_upstream_model(&self.model, &format!("{path}model"), problems);
        let tier = self.service_tier.as_deref().map_or(Some(ServiceTier::Standard), |text| {
            let tier = ServiceTier::from_name(text).ok_or("must be one of standard, flex, priority, batch");
            problems.take(format!("{path}service_tier"), tier)
        });
        let effective_from = self
            .effective_from
            .as_deref()
            .map_or(Some(now), |text| problems.take(format!("{path}effective_from"), time(text)));
        let (meter, price) = self.check_amount(path, problems)?;
        Some(PriceRow {
            id: None,
            tenant: None,
            provider: self.provider.clone(),
            model: self.model.clone(),
            effective_from: effective_from?,
            meter,
            service_tier: tier?,
            context_from: self.context_from,
            price,
            source: OPERATOR.to_owned(),
        })
    }

    fn check_amount(&self, path: &str, problems: &mut Problems) -> Option<(Option<Meter>, PricePerMillion)> {
        match (self.free, &self.meter, &self.price) {
            (true, None, None) => Some((None, PricePerMillion::ZERO)),
            (true, _, _) => {
                problems.add(format!("{path}free"), "a free model has no meter and no price");
                None
            }
            (false, Some(meter), Some(price)) => {
                let meter = Meter::from_name(meter).ok_or_else(|| {
                    let known: Vec<_> = Meter::ALL.iter().map(|meter| meter.name()).collect();
                    format!("`{}` is no meter: write one of {}", meter.escape_debug(), known.join(", "))
                });
                let meter = problems.take(format!("{path}meter"), meter)?;
                let price = problems.take(format!("{path}price"), parse_price(meter, price))?;
                Some((Some(meter), price))
            }
            (false, meter, price) => {
                for (field, is_missing) in [("meter", meter.is_none()), ("price", price.is_none())] {
                    if is_missing {
                        problems.add(format!("{path}{field}"), "is missing: write it, or `free: true`");
                    }
                }
                None
            }
        }
    }
}

async fn view(record: PriceRecord, names: &mut Names) -> Result<PriceView, AppError> {
    let row = record.row;
    let tenant = match row.tenant {
        Some(tenant) => Some(names.tenant(tenant).await?),
        None => None,
    };
    Ok(PriceView {
        id: record.id.to_string(),
        provider: row.provider,
        model: row.model,
        tenant,
        tenant_id: row.tenant.map(|tenant| tenant.to_string()),
        meter: row.meter.map(|meter| meter.name().to_owned()),
        price: price_text(row.meter, row.price),
        free: row.meter.is_none(),
        service_tier: row.service_tier.name().to_owned(),
        context_from: row.context_from,
        effective_from: Time(row.effective_from),
        source: row.source,
        created_at: Time(record.created_at),
    })
}

/// The row with its start, given every row there is of its provider and model, or more: one that was given none
/// begins `now` where it takes another's place, and has always held where it is the first, because `now` is
/// still to come on a pod whose clock is behind.
///
/// # Errors
/// It would change what was charged for the same thing at a time that has passed.
fn placed(
    row: PriceRow,
    has_start: bool,
    existing: &[PriceRecord],
    now: UnixMillis,
) -> Result<PriceRow, AppError> {
    let same_thing = |other: &PriceRow| {
        (&other.provider, &other.model, other.tenant) == (&row.provider, &row.model, row.tenant)
            && (other.meter.is_none()
                || row.meter.is_none()
                || (other.meter, other.service_tier, other.context_from)
                    == (row.meter, row.service_tier, row.context_from))
    };
    let replaces_one =
        existing.iter().any(|record| same_thing(&record.row) && record.row.effective_from <= now);
    match (has_start, replaces_one) {
        (true, true) if row.effective_from < now => {
            let text = "lies in the past, where another price was charged: write now or later";
            Err(AppError::invalid("effective_from", text))
        }
        (true, _) => Ok(row),
        (false, true) => Ok(PriceRow { effective_from: now, ..row }),
        (false, false) => Ok(PriceRow { effective_from: ALWAYS, ..row }),
    }
}

impl App {
    fn may_prices(actor: &Actor, verb: Verb) -> Result<(), AppError> {
        authorize(actor, Action::new(verb, Resource::Price), ResourceOwner::Installation)
    }

    /// Every row of a provider and model.
    pub(crate) async fn all_prices(&self, filter: &PriceFilter) -> Result<Vec<PriceRecord>, AppError> {
        let mut all = Vec::new();
        let mut page = PageRequest::first(READ_PAGE);
        loop {
            let part = self.parts.store.list_prices(filter, page).await?;
            all.extend(part.items);
            let Some(next) = part.next else { return Ok(all) };
            page = PageRequest::after(READ_PAGE, next);
        }
    }

    /// Creates a price row. The past stays as it was charged.
    ///
    /// # Errors
    /// Forbidden; invalid fields; conflict on `effective_from`.
    pub async fn create_price(&self, actor: &Actor, input: CreatePrice) -> Result<PriceView, AppError> {
        Self::may_prices(actor, Verb::Create)?;
        let now = self.now();
        let mut problems = Problems::default();
        let row = input.check("", now, &mut problems);
        problems.finish()?;
        let row = row.ok_or_else(|| AppError::Internal("a checked price has no row".to_owned()))?;
        let tenant = self.named_tenant(actor, input.tenant.as_deref()).await?;
        let filter = PriceFilter {
            provider: Some(row.provider.clone()),
            model: Some(row.model.clone()),
            tenant: None,
        };
        let existing = if tenant.is_none() { self.all_prices(&filter).await? } else { Vec::new() };
        let row = PriceRow { tenant, ..row };
        let row = self.placed_price(row, input.effective_from.is_some(), &existing, now).await?;
        let record = self.parts.store.create_price(&self.context(actor), self.new_id()?, row).await?;
        view(record, &mut self.names()).await
    }

    /// The row with its start, see [`placed`]. A tenant's own row takes the place of what everybody pays, so that
    /// it begins now, and in the past only where the tenant was charged nothing since.
    pub(crate) async fn placed_price(
        &self,
        row: PriceRow,
        has_start: bool,
        existing: &[PriceRecord],
        now: UnixMillis,
    ) -> Result<PriceRow, AppError> {
        if row.tenant.is_none() {
            return placed(row, has_start, existing, now);
        }
        let start = has_start.then_some(row.effective_from);
        let effective_from = self.refuse_rewriting(row.tenant, start, now).await?;
        Ok(PriceRow { effective_from, ..row })
    }

    /// Creates placed rows together: pods see all of them or none.
    pub(crate) async fn create_prices(&self, actor: &Actor, rows: Vec<PriceRow>) -> Result<(), AppError> {
        Self::may_prices(actor, Verb::Create)?;
        let new_rows: Result<Vec<_>, AppError> =
            rows.into_iter().map(|row| Ok((self.new_id()?, row))).collect();
        self.parts.store.create_prices(&self.context(actor), new_rows?).await?;
        Ok(())
    }

    /// The price row of that id.
    ///
    /// # Errors
    /// Forbidden; not found.
    pub async fn price(&self, actor: &Actor, price: &str) -> Result<PriceView, AppError> {
        Self::may_prices(actor, Verb::Read)?;
        let id = price.parse().map_err(|_| AppError::not_found("price", price))?;
        let record = self.parts.store.price(id).await.map_err(|error| missing(error, "price", price))?;
        if !may_see(actor, record.row.tenant) {
            return Err(AppError::not_found("price", price));
        }
        view(record, &mut self.names()).await
    }

    /// Price rows in the order of their creation.
    ///
    /// # Errors
    /// Forbidden; no such tenant; a bad page.
    pub async fn list_prices(&self, actor: &Actor, query: &PriceQuery) -> Result<List<PriceView>, AppError> {
        Self::may_prices(actor, Verb::Read)?;
        let tenant = match &query.tenant {
            Some(tenant) => {
                let read = Action::new(Verb::Read, Resource::Tenant);
                Some(self.permitted_tenant(actor, read, tenant).await?.id)
            }
            None => None,
        };
        let filter = PriceFilter { provider: query.provider.clone(), model: query.model.clone(), tenant };
        let list = ListQuery { limit: query.limit, after: query.after.clone() };
        let page = self.parts.store.list_prices(&filter, list.page()?).await?;
        let mut names = self.names();
        let mut data = Vec::with_capacity(page.items.len());
        for record in page.items {
            if may_see(actor, record.row.tenant) {
                data.push(view(record, &mut names).await?);
            }
        }
        Ok(List { data, next: page.next.map(|next| next.to_string()) })
    }

    /// Deletes a price row that is not in force yet.
    ///
    /// # Errors
    /// Forbidden; not found; conflict where it is or was in force.
    pub async fn delete_price(&self, actor: &Actor, price: &str) -> Result<PriceView, AppError> {
        Self::may_prices(actor, Verb::Delete)?;
        let id = price.parse().map_err(|_| AppError::not_found("price", price))?;
        let record = self.parts.store.delete_price(&self.context(actor), id).await;
        view(record.map_err(|error| missing(error, "price", price))?, &mut self.names()).await
    }
}

/// Other tenants' own prices are none of a tenant's business.
fn may_see(actor: &Actor, row_tenant: Option<TenantId>) -> bool {
    match (actor.own_tenant(), row_tenant) {
        (None, _) | (_, None) => true,
        (Some(own), Some(tenant)) => own == tenant,
    }
}
