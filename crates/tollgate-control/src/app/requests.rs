//! Receipts of finished requests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tollgate_domain::{Attempt, ChargeLine, Labels, NanoUsd, SettlementBasis, Usage, UsageEvent};
use tollgate_store::{RequestCursor, RequestFilter};
use utoipa::{IntoParams, ToSchema};

use super::lookup::{Names, missing};
use super::prices::price_text;
use super::usage::span;
use super::{App, List, ListQuery};
use crate::error::Problems;
use crate::parts::{Time, Usd};
use crate::{Action, Actor, AppError, Resource, ResourceOwner, Verb, authorize, authorize_some};

/// Which requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RequestQuery {
    /// Of this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Of this project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// With this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Answered by this provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Answered by this model, or asked for under this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Ended like this: `ok`, `client_closed` or an error's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Ended at or after this (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Ended before this (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How many at most; 100 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// One attempt at one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    /// The provider's name.
    pub provider: String,
    /// The model sent upstream.
    pub model: String,
    /// The credential's id, where one was used.
    pub credential_id: Option<String>,
    /// How it ended.
    pub outcome: String,
    /// HTTP status, where there was one.
    pub status: Option<u16>,
    /// When it was dispatched.
    pub started_at: Time,
    /// Milliseconds until the answer's head.
    pub first_byte_ms: u64,
    /// Milliseconds until its end.
    pub duration_ms: u64,
    /// What of the request's `cost` it was charged; `null` where its provider does not bill it.
    pub cost: Option<Usd>,
    /// What its provider is expected to bill; `null` for whoever runs one tenant only.
    pub provider_cost: Option<Usd>,
    /// Where its counts come from: `provider`, `counted`, `estimated`.
    pub basis: Option<String>,
    /// Its counts by meter.
    pub usage: Option<BTreeMap<String, u64>>,
}

/// One line of a charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChargeLineView {
    /// What was counted.
    pub meter: String,
    /// How many.
    pub units: u64,
    /// USD per million tokens, or per single unit.
    pub price: String,
    /// The operator's price row.
    pub price_id: Option<String>,
    /// Whether the row is the tenant's own: no margin is put on it.
    pub tenant_price: bool,
    /// Where the price comes from.
    pub source: String,
}

/// The margin of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MarginLineView {
    /// The rule.
    pub margin_id: String,
    /// How many percent were added.
    pub percent: String,
}

/// A finished request: its receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestView {
    /// Identity, as in `x-tollgate-request-id`.
    pub id: String,
    /// The tenant's name.
    pub tenant: String,
    /// The tenant's id.
    pub tenant_id: String,
    /// The project's name.
    pub project: String,
    /// The project's id.
    pub project_id: String,
    /// The key's name.
    pub key: String,
    /// The key's id.
    pub key_id: String,
    /// The end user, as the client named it.
    pub user: Option<String>,
    /// Merged labels.
    pub labels: Labels,
    /// Which surface.
    pub surface: String,
    /// The model as the client asked for it.
    pub requested_model: String,
    /// The provider that answered, or the last one tried.
    pub provider: String,
    /// The model there.
    pub model: String,
    /// Whether the answer was streamed.
    pub streamed: bool,
    /// `ok`, `client_closed` or an error's code.
    pub outcome: String,
    /// HTTP status sent to the client.
    pub status: u16,
    /// Identity of the hold.
    pub hold_id: String,
    /// What was held.
    pub held: Usd,
    /// What was charged.
    pub cost: Usd,
    /// What the provider is expected to bill; `null` for whoever runs one tenant only.
    pub provider_cost: Option<Usd>,
    /// Where the amount comes from: `provider`, `counted`, `estimated`; each charged attempt says it for itself.
    pub basis: String,
    /// Counts by meter, over all attempts that are charged.
    pub usage: BTreeMap<String, u64>,
    /// The price lines that make `cost`, before the margin: of the answer first, then of lost attempts.
    pub charge: Vec<ChargeLineView>,
    /// The margin on those lines that are not the tenant's own prices; `null` where there was none.
    pub margin: Option<MarginLineView>,
    /// The price lines that make `provider_cost`; `null` for whoever runs one tenant only.
    pub provider_charge: Option<Vec<ChargeLineView>>,
    /// All attempts in order.
    pub attempts: Vec<AttemptView>,
    /// When it was admitted.
    pub admitted_at: Time,
    /// When it ended.
    pub finished_at: Time,
    /// Milliseconds in all.
    pub duration_ms: u64,
    /// Milliseconds to the first byte of the answer.
    pub first_byte_ms: Option<u64>,
    /// Microseconds inside the gateway before it went upstream.
    pub overhead_us: u64,
    /// The policy revision it was decided under.
    pub policy_revision: u64,
}

/// What one attempt is charged.
struct Share {
    cost: NanoUsd,
    provider_cost: NanoUsd,
    basis: SettlementBasis,
    usage: Usage,
}

/// The share of each attempt: its own bill, and for the one that the event's own charge is for what the bills leave of
/// the request's cost.
fn shares(event: &UsageEvent) -> Vec<Option<Share>> {
    let is_main = |attempt: &Attempt| {
        attempt.bill.is_none() && attempt.provider == event.provider && attempt.model == event.model
    };
    let is_billed = event.usage != Usage::ZERO;
    let main = event.attempts.iter().rposition(is_main).filter(|_| is_billed);
    let mut rest = Share {
        cost: event.cost,
        provider_cost: event.provider_cost,
        basis: event.basis,
        usage: event.usage,
    };
    let mut shares = Vec::with_capacity(event.attempts.len());
    for attempt in &event.attempts {
        shares.push(attempt.bill.as_ref().map(|bill| {
            // where the hold does not pay for all, the first ones are paid first
            let cost = bill.cost.min(rest.cost);
            rest.cost = rest.cost.saturating_sub(cost);
            rest.provider_cost = rest.provider_cost.saturating_sub(bill.provider_cost);
            rest.usage = rest.usage.minus(&bill.usage);
            Share { cost, provider_cost: bill.provider_cost, basis: bill.basis, usage: bill.usage }
        }));
    }
    if let Some(share) = main.and_then(|main| shares.get_mut(main)) {
        *share = Some(rest);
    }
    shares
}

fn attempt_view(attempt: Attempt, share: Option<Share>, sees_provider: bool) -> AttemptView {
    let outcome =
        serde_json::to_value(attempt.outcome).ok().and_then(|name| name.as_str().map(str::to_owned));
    AttemptView {
        provider: attempt.provider,
        model: attempt.model,
        credential_id: attempt.credential.map(|id| id.to_string()),
        outcome: outcome.unwrap_or_default(),
        status: attempt.status,
        started_at: Time(attempt.started_at),
        first_byte_ms: attempt.first_byte_ms,
        duration_ms: attempt.duration_ms,
        cost: share.as_ref().map(|share| Usd(share.cost)),
        provider_cost: share.as_ref().filter(|_| sees_provider).map(|share| Usd(share.provider_cost)),
        basis: share.as_ref().map(|share| share.basis.name().to_owned()),
        usage: share.map(|share| usage_view(&share.usage)),
    }
}

fn usage_view(usage: &Usage) -> BTreeMap<String, u64> {
    usage.iter().map(|(meter, units)| (meter.name().to_owned(), units)).collect()
}

fn charge_view(line: ChargeLine) -> ChargeLineView {
    ChargeLineView {
        meter: line.meter.name().to_owned(),
        units: line.units,
        price: price_text(Some(line.meter), line.price),
        price_id: line.price_row.map(|id| id.to_string()),
        tenant_price: line.tenant_price,
        source: line.source,
    }
}

async fn view(event: UsageEvent, actor: &Actor, names: &mut Names) -> Result<RequestView, AppError> {
    // what the operator pays is none of a tenant's business
    let sees_provider = actor.own_tenant().is_none();
    let mut provider_charge = event.provider_charge.clone().unwrap_or_else(|| event.charge.clone());
    let mut charge = event.charge.clone();
    for bill in event.bills() {
        charge.extend(bill.charge.iter().cloned());
        provider_charge.extend(bill.provider_charge.as_ref().unwrap_or(&bill.charge).iter().cloned());
    }
    let provider_charge =
        sees_provider.then(|| provider_charge.into_iter().map(charge_view).collect::<Vec<_>>());
    let attempts = event.attempts.clone().into_iter().zip(shares(&event));
    let attempts = attempts.map(|(attempt, share)| attempt_view(attempt, share, sees_provider)).collect();
    let margin = event.margin.map(|margin| MarginLineView {
        margin_id: margin.rule.to_string(),
        percent: margin.basis_points.to_string(),
    });
    Ok(RequestView {
        id: event.request.to_string(),
        tenant: names.tenant(event.tenant).await?,
        tenant_id: event.tenant.to_string(),
        project: names.project(event.project).await?,
        project_id: event.project.to_string(),
        key: names.key(event.key).await?,
        key_id: event.key.to_string(),
        user: event.end_user,
        labels: event.labels,
        surface: event.surface.name().to_owned(),
        requested_model: event.requested_model,
        provider: event.provider,
        model: event.model,
        streamed: event.streamed,
        outcome: event.outcome.name().to_owned(),
        status: event.status,
        hold_id: event.hold.to_string(),
        held: Usd(event.held),
        cost: Usd(event.cost),
        provider_cost: sees_provider.then_some(Usd(event.provider_cost)),
        basis: event.basis.name().to_owned(),
        usage: usage_view(&event.usage),
        charge: charge.into_iter().map(charge_view).collect(),
        margin,
        provider_charge,
        attempts,
        admitted_at: Time(event.admitted_at),
        finished_at: Time(event.finished_at),
        duration_ms: event.duration_ms,
        first_byte_ms: event.first_byte_ms,
        overhead_us: event.overhead_us,
        policy_revision: event.policy_revision,
    })
}

impl App {
    /// Finished requests, newest end first.
    ///
    /// # Errors
    /// Forbidden; no such tenant, project or key; a bad page.
    pub async fn list_requests(
        &self,
        actor: &Actor,
        query: &RequestQuery,
    ) -> Result<List<RequestView>, AppError> {
        let tenant = self.tenant_filter(actor, Resource::Request, query.tenant.as_deref()).await?;
        let read = Action::new(Verb::Read, Resource::Request);
        let project = match &query.project {
            Some(project) => Some(self.permitted_project(actor, read, project).await?.id),
            None => None,
        };
        let key = match &query.key {
            Some(key) => Some(self.permitted_key(actor, Verb::Read, key).await?.id),
            None => None,
        };
        let mut problems = Problems::default();
        let (from, to) = span(query.from.as_deref(), query.to.as_deref(), &mut problems);
        problems.finish()?;
        let filter = RequestFilter {
            tenant,
            project,
            key,
            provider: query.provider.clone(),
            model: query.model.clone(),
            outcome: query.outcome.clone(),
            from,
            to,
        };
        let list = ListQuery { limit: query.limit, after: query.after.clone() };
        let page = self.parts.store.list_requests(&filter, list.page::<RequestCursor>()?).await?;
        let mut names = self.names();
        let mut data = Vec::with_capacity(page.items.len());
        for event in page.items {
            data.push(view(event, actor, &mut names).await?);
        }
        Ok(List { data, next: page.next.map(|next| next.to_string()) })
    }

    /// The receipt of a request.
    ///
    /// # Errors
    /// Forbidden; not found, also while it is in flight or on its way to the journal.
    pub async fn request(&self, actor: &Actor, request: &str) -> Result<RequestView, AppError> {
        let read = Action::new(Verb::Read, Resource::Request);
        authorize_some(actor, read)?;
        let not_found = || AppError::not_found("request", request);
        let id = request.parse().map_err(|_| not_found())?;
        let event = self.parts.store.request(id).await.map_err(|error| missing(error, "request", request))?;
        match authorize(actor, read, ResourceOwner::Tenant(event.tenant)) {
            Err(AppError::NotFound { .. }) => Err(not_found()),
            Err(other) => Err(other),
            Ok(()) => view(event, actor, &mut self.names()).await,
        }
    }
}
