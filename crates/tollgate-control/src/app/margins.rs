//! Margin rules: what customers pay on top of the provider's price. Immutable, each from a moment on.

use serde::{Deserialize, Serialize};
use tollgate_domain::{BasisPoints, TenantId, UnixMillis};
use tollgate_policy::MarginRule;
use tollgate_store::{MarginFilter, MarginRecord, PageRequest};
use utoipa::{IntoParams, ToSchema};

use super::lookup::{Names, missing};
use super::{App, List, ListQuery};
use crate::error::Problems;
use crate::parts::{Time, check_upstream_model, name, time};
use crate::{Action, Actor, AppError, Resource, ResourceOwner, Verb, authorize};

/// How many rules are read at a time where all are needed.
const READ_PAGE: u32 = 1_000;

/// A margin rule to be created. Of the rules in force that fit a request the most specific one holds: one that
/// names a model before one that does not, then one that names a provider, then one that names a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateMargin {
    /// Only for this tenant, by name or id; for all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "acme")]
    pub tenant: Option<String>,
    /// Only on this configured provider's prices; on all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "openai")]
    pub provider: Option<String>,
    /// Only on this model's price, by its name at the provider; on all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "gpt-5-mini")]
    pub model: Option<String>,
    /// How many percent of the provider's price are added, with at most two decimals: from -100 (free of charge)
    /// to 10000.
    #[schema(example = "10")]
    pub percent: String,
    /// From when it holds (RFC 3339); from now on where absent. In the past only where nothing was charged since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "2027-01-01T00:00:00Z")]
    pub effective_from: Option<String>,
}

/// Which margin rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MarginQuery {
    /// That name this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// That name this provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// That name this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How many at most; 100 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A margin rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MarginView {
    /// Identity.
    pub id: String,
    /// Name of the only tenant it is for.
    pub tenant: Option<String>,
    /// Id of that tenant.
    pub tenant_id: Option<String>,
    /// The only provider it is for.
    pub provider: Option<String>,
    /// The only model it is for.
    pub model: Option<String>,
    /// How many percent are added.
    pub percent: String,
    /// From when it holds.
    pub effective_from: Time,
    /// When it was created.
    pub created_at: Time,
}

/// What of a rule needs no look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MarginTerms {
    pub(crate) basis_points: BasisPoints,
    /// `None`: from now on.
    pub(crate) start: Option<UnixMillis>,
}

impl CreateMargin {
    /// Notes every problem; the terms where there is none.
    pub(crate) fn check(&self, path: &str, problems: &mut Problems) -> Option<MarginTerms> {
        if let Some(provider) = &self.provider {
            problems.take(format!("{path}provider"), name(provider));
        }
        match self.model.as_deref() {
            Some("*") => problems.add(format!("{path}model"), "leave it out to mean all models"),
            Some(model) => check_upstream_model(model, &format!("{path}model"), problems),
            None => {}
        }
        let percent = self.percent.parse::<BasisPoints>().map_err(|error| error.to_string());
        let basis_points = problems.take(format!("{path}percent"), percent);
        let start = match self.effective_from.as_deref() {
            None => Some(None),
            Some(text) => problems.take(format!("{path}effective_from"), time(text)).map(Some),
        };
        Some(MarginTerms { basis_points: basis_points?, start: start? })
    }

    /// Whether a rule is about the same tenant, provider and model.
    pub(crate) fn is_about(&self, rule: &MarginRule, tenant: Option<TenantId>) -> bool {
        (rule.tenant, &rule.provider, &rule.model) == (tenant, &self.provider, &self.model)
    }
}

async fn view(record: MarginRecord, names: &mut Names) -> Result<MarginView, AppError> {
    let rule = record.rule;
    let tenant = match rule.tenant {
        Some(tenant) => Some(names.tenant(tenant).await?),
        None => None,
    };
    Ok(MarginView {
        id: rule.id.to_string(),
        tenant,
        tenant_id: rule.tenant.map(|tenant| tenant.to_string()),
        provider: rule.provider,
        model: rule.model,
        percent: rule.basis_points.to_string(),
        effective_from: Time(rule.effective_from),
        created_at: Time(record.created_at),
    })
}

impl App {
    fn may_margins(actor: &Actor, verb: Verb) -> Result<(), AppError> {
        authorize(actor, Action::new(verb, Resource::Margin), ResourceOwner::Installation)
    }

    /// Refuses a start in the past that requests have ended since: they were charged otherwise.
    pub(crate) async fn refuse_rewriting(
        &self,
        tenant: Option<TenantId>,
        start: Option<UnixMillis>,
        now: UnixMillis,
    ) -> Result<UnixMillis, AppError> {
        let Some(start) = start else { return Ok(now) };
        if start < now && self.parts.store.has_requests_since(tenant, start).await? {
            let text = "lies in the past, and requests were charged otherwise since: write now or later";
            return Err(AppError::invalid("effective_from", text));
        }
        Ok(start)
    }

    /// The rule that a checked input stands for.
    pub(crate) async fn margin_rule(
        &self,
        input: &CreateMargin,
        terms: MarginTerms,
        tenant: Option<TenantId>,
    ) -> Result<MarginRule, AppError> {
        let effective_from = self.refuse_rewriting(tenant, terms.start, self.now()).await?;
        Ok(MarginRule {
            id: self.new_id()?,
            tenant,
            provider: input.provider.clone(),
            model: input.model.clone(),
            basis_points: terms.basis_points,
            effective_from,
        })
    }

    /// Creates a margin rule. The past stays as it was charged.
    ///
    /// # Errors
    /// Forbidden; invalid fields; no such tenant; conflict on `effective_from`.
    pub async fn create_margin(&self, actor: &Actor, input: CreateMargin) -> Result<MarginView, AppError> {
        Self::may_margins(actor, Verb::Create)?;
        let mut problems = Problems::default();
        let terms = input.check("", &mut problems);
        problems.finish()?;
        let terms = terms.ok_or_else(|| AppError::Internal("a checked margin has no terms".to_owned()))?;
        let tenant = self.named_tenant(actor, input.tenant.as_deref()).await?;
        let rule = self.margin_rule(&input, terms, tenant).await?;
        let mut records = self.parts.store.create_margins(&self.context(actor), vec![rule]).await?;
        let record = records.pop().ok_or_else(|| AppError::Internal("no margin was made".to_owned()))?;
        view(record, &mut self.names()).await
    }

    /// Creates rules together: pods see all of them or none.
    pub(crate) async fn create_margins(&self, actor: &Actor, rules: Vec<MarginRule>) -> Result<(), AppError> {
        Self::may_margins(actor, Verb::Create)?;
        self.parts.store.create_margins(&self.context(actor), rules).await?;
        Ok(())
    }

    /// The tenant of that name or id, where one is named.
    pub(crate) async fn named_tenant(
        &self,
        actor: &Actor,
        reference: Option<&str>,
    ) -> Result<Option<TenantId>, AppError> {
        let Some(reference) = reference else { return Ok(None) };
        let read = Action::new(Verb::Read, Resource::Tenant);
        match self.permitted_tenant(actor, read, reference).await {
            Ok(tenant) => Ok(Some(tenant.id)),
            Err(AppError::NotFound { .. }) => {
                let text = format!("there is no tenant `{}`", reference.escape_debug());
                Err(AppError::invalid("tenant", text))
            }
            Err(error) => Err(error),
        }
    }

    /// Every rule.
    pub(crate) async fn all_margins(&self) -> Result<Vec<MarginRecord>, AppError> {
        let (mut all, filter) = (Vec::new(), MarginFilter::default());
        let mut page = PageRequest::first(READ_PAGE);
        loop {
            let part = self.parts.store.list_margins(&filter, page).await?;
            all.extend(part.items);
            let Some(next) = part.next else { return Ok(all) };
            page = PageRequest::after(READ_PAGE, next);
        }
    }

    /// The margin rule of that id.
    ///
    /// # Errors
    /// Forbidden; not found.
    pub async fn margin(&self, actor: &Actor, margin: &str) -> Result<MarginView, AppError> {
        Self::may_margins(actor, Verb::Read)?;
        let id = margin.parse().map_err(|_| AppError::not_found("margin", margin))?;
        let record = self.parts.store.margin(id).await.map_err(|error| missing(error, "margin", margin))?;
        view(record, &mut self.names()).await
    }

    /// Margin rules in the order of their creation.
    ///
    /// # Errors
    /// Forbidden; no such tenant; a bad page.
    pub async fn list_margins(
        &self,
        actor: &Actor,
        query: &MarginQuery,
    ) -> Result<List<MarginView>, AppError> {
        Self::may_margins(actor, Verb::Read)?;
        let tenant = match &query.tenant {
            Some(tenant) => {
                let read = Action::new(Verb::Read, Resource::Tenant);
                Some(self.permitted_tenant(actor, read, tenant).await?.id)
            }
            None => None,
        };
        let filter = MarginFilter { tenant, provider: query.provider.clone(), model: query.model.clone() };
        let list = ListQuery { limit: query.limit, after: query.after.clone() };
        let page = self.parts.store.list_margins(&filter, list.page()?).await?;
        let mut names = self.names();
        let mut data = Vec::with_capacity(page.items.len());
        for record in page.items {
            data.push(view(record, &mut names).await?);
        }
        Ok(List { data, next: page.next.map(|next| next.to_string()) })
    }

    /// Deletes a margin rule that is not in force yet.
    ///
    /// # Errors
    /// Forbidden; not found; conflict where it is or was in force.
    pub async fn delete_margin(&self, actor: &Actor, margin: &str) -> Result<MarginView, AppError> {
        Self::may_margins(actor, Verb::Delete)?;
        let id = margin.parse().map_err(|_| AppError::not_found("margin", margin))?;
        let record = self.parts.store.delete_margin(&self.context(actor), id).await;
        view(record.map_err(|error| missing(error, "margin", margin))?, &mut self.names()).await
    }
}
