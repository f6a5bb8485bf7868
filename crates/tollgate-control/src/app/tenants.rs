//! Tenants: whoever pays.

use serde::{Deserialize, Serialize};
use tollgate_domain::{KeyId, TenantId};
use tollgate_policy::{Billing, BudgetOwner, KeyState, TenantPolicy};
use tollgate_store::{CreditKind, KeyFilter, NewCredit, PageRequest, TenantRecord};
use utoipa::ToSchema;

use super::trial::TRIAL_REFERENCE;
use super::{App, List, ListQuery, present};
use crate::error::Problems;
use crate::parts::{
    DataPolicyBody, EndUsersBody, LimitsBody, ModelLimitBody, RulesChange, Time, Usd, alert_levels,
    check_rules, model_limit_bodies, name, time_zone,
};
use crate::{Action, Actor, AppError, Resource, ResourceOwner, Verb, authorize};

/// How a tenant pays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BillingName {
    /// Out of a wallet that must hold the money before the call.
    Prepaid,
    /// By invoice: only budgets limit it.
    #[default]
    Postpaid,
}

impl From<BillingName> for Billing {
    fn from(name: BillingName) -> Self {
        match name {
            BillingName::Prepaid => Self::Prepaid,
            BillingName::Postpaid => Self::Postpaid,
        }
    }
}

impl From<Billing> for BillingName {
    fn from(billing: Billing) -> Self {
        match billing {
            Billing::Prepaid => Self::Prepaid,
            Billing::Postpaid => Self::Postpaid,
        }
    }
}

/// A tenant to be created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTenant {
    /// Unique name.
    #[schema(example = "acme")]
    pub name: String,
    /// How it pays; `postpaid` where absent.
    #[serde(default)]
    pub billing: BillingName,
    /// Whose calendar its budgets follow, an IANA name; UTC where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Europe/Berlin")]
    pub time_zone: Option<String>,
    /// A blocked tenant's keys are refused.
    #[serde(default)]
    pub blocked: bool,
    /// Rate limits over all its keys.
    #[serde(default)]
    pub limits: LimitsBody,
    /// What holds for each end user apart.
    #[serde(default)]
    pub end_users: EndUsersBody,
    /// What holds for requests for certain models, each rule apart.
    #[serde(default)]
    pub model_limits: Vec<ModelLimitBody>,
    /// Where its data may go.
    #[serde(default)]
    pub data_policy: DataPolicyBody,
    /// Below which balances of its wallet, in USD, an alert is raised, each time the balance falls below.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alert_below: Vec<String>,
}

/// Changes to a tenant: absent is unchanged, `null` resets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateTenant {
    /// A new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How it pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing: Option<BillingName>,
    /// Whose calendar; `null` is UTC.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub time_zone: Option<Option<String>>,
    /// Whether its keys are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<bool>,
    /// Rate limits, all of them anew; `null` is none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<LimitsBody>)]
    pub limits: Option<Option<LimitsBody>>,
    /// What holds for each end user, all of it anew; `null` is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<EndUsersBody>)]
    pub end_users: Option<Option<EndUsersBody>>,
    /// Limits per model, all of them anew; `null` is none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<Vec<ModelLimitBody>>)]
    pub model_limits: Option<Option<Vec<ModelLimitBody>>>,
    /// Data policy, all of it anew; `null` is open.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<DataPolicyBody>)]
    pub data_policy: Option<Option<DataPolicyBody>>,
    /// Below which balances an alert is raised, all of them anew; `null` is none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    pub alert_below: Option<Option<Vec<String>>>,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantView {
    /// Identity.
    pub id: String,
    /// Unique name.
    pub name: String,
    /// How it pays.
    pub billing: BillingName,
    /// Whose calendar its budgets follow.
    pub time_zone: String,
    /// Whether its keys are refused.
    pub blocked: bool,
    /// Rate limits over all its keys.
    pub limits: LimitsBody,
    /// What holds for each end user apart.
    pub end_users: EndUsersBody,
    /// What holds for requests for certain models.
    pub model_limits: Vec<ModelLimitBody>,
    /// Where its data may go.
    pub data_policy: DataPolicyBody,
    /// Below which balances of its wallet, in USD, an alert is raised.
    pub alert_below: Vec<Usd>,
    /// When it was created.
    pub created_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
}

impl From<TenantRecord> for TenantView {
    fn from(record: TenantRecord) -> Self {
        Self {
            id: record.id.to_string(),
            name: record.name,
            billing: record.billing.into(),
            time_zone: record.time_zone.name().to_owned(),
            blocked: record.blocked,
            limits: record.limits.into(),
            end_users: (&record.rules.end_users).into(),
            model_limits: model_limit_bodies(&record.rules.model_limits),
            data_policy: record.data_policy.into(),
            alert_below: record.alert_below.into_iter().map(Usd).collect(),
            created_at: Time(record.created_at),
            updated_at: Time(record.updated_at),
        }
    }
}

impl CreateTenant {
    /// Notes every problem below `path` (which ends with a dot where it is not empty).
    pub(crate) fn check(&self, path: &str, problems: &mut Problems) {
        problems.take(format!("{path}name"), name(&self.name));
        problems.take(format!("{path}time_zone"), time_zone(self.time_zone.as_deref()));
        self.limits.check(&format!("{path}limits"), problems);
        check_rules(&self.end_users, &self.model_limits, path, problems);
        self.data_policy.check(&format!("{path}data_policy"), problems);
        problems.take_list(&format!("{path}alert_below"), alert_levels(&self.alert_below));
    }
}

const DAY_MS: i64 = 86_400_000;
/// How many tenants are read at a time where all are needed.
const READ_PAGE: u32 = 1_000;

impl App {
    pub(crate) async fn all_tenants(&self) -> Result<Vec<TenantRecord>, AppError> {
        let mut all = Vec::new();
        let mut page = PageRequest::first(READ_PAGE);
        loop {
            let part = self.parts.store.list_tenants(page).await?;
            all.extend(part.items);
            let Some(next) = part.next else { return Ok(all) };
            page = PageRequest::after(READ_PAGE, next);
        }
    }

    /// Creates a tenant, with the trial credit there may be for those that pay in advance, and makes its counters
    /// known to the ledger.
    ///
    /// # Errors
    /// Forbidden; invalid fields; conflict on `name`.
    pub async fn create_tenant(&self, actor: &Actor, input: CreateTenant) -> Result<TenantView, AppError> {
        self.create_tenant_with(actor, input, true).await
    }

    /// The same; without a trial where the credit of the new tenant is said elsewhere.
    pub(crate) async fn create_tenant_with(
        &self,
        actor: &Actor,
        input: CreateTenant,
        with_trial: bool,
    ) -> Result<TenantView, AppError> {
        authorize(actor, Action::new(Verb::Create, Resource::Tenant), ResourceOwner::Installation)?;
        let mut problems = Problems::default();
        input.check("", &mut problems);
        let mut unused = Problems::default();
        let zone = time_zone(input.time_zone.as_deref());
        problems.finish()?;
        let policy = TenantPolicy {
            id: self.new_id()?,
            name: input.name,
            billing: input.billing.into(),
            time_zone: zone.map_err(|message| AppError::invalid("time_zone", message))?,
            blocked: input.blocked,
            limits: input.limits.check("", &mut unused),
            rules: self.with_new_ids(check_rules(&input.end_users, &input.model_limits, "", &mut unused))?,
            data_policy: input.data_policy.check("", &mut unused),
        };
        let trial = if with_trial && policy.billing == Billing::Prepaid {
            self.parts.store.settings().await?.trial
        } else {
            None
        };
        let credit = match trial {
            Some(trial) => Some(NewCredit {
                id: self.new_id()?,
                tenant: policy.id,
                kind: CreditKind::Grant,
                amount: trial.amount,
                reference: Some(TRIAL_REFERENCE.to_owned()),
                expires_at: Some(self.now().plus_ms(i64::from(trial.days) * DAY_MS)),
                corrects: None,
            }),
            None => None,
        };
        let context = self.context(actor);
        let mut record = self.parts.store.create_tenant_with_credit(&context, policy, credit).await?;
        let alert_below = alert_levels(&input.alert_below).unwrap_or_default();
        if !alert_below.is_empty() {
            let change = |record: &mut TenantRecord| record.alert_below.clone_from(&alert_below);
            record = self.parts.store.update_tenant(&context, record.id, change).await?;
        }
        self.seed_new_tenant(record.id).await;
        Ok(record.into())
    }

    /// The tenant of that id or name.
    ///
    /// # Errors
    /// Forbidden; not found.
    pub async fn tenant(&self, actor: &Actor, tenant: &str) -> Result<TenantView, AppError> {
        let read = Action::new(Verb::Read, Resource::Tenant);
        Ok(self.permitted_tenant(actor, read, tenant).await?.into())
    }

    /// Tenants in the order of their creation.
    ///
    /// # Errors
    /// Forbidden; a bad page.
    pub async fn list_tenants(&self, actor: &Actor, query: &ListQuery) -> Result<List<TenantView>, AppError> {
        if let Some(own) = self.tenant_filter(actor, Resource::Tenant, None).await? {
            let record = self.parts.store.tenant(own).await?;
            return Ok(List { data: vec![record.into()], next: None });
        }
        let page = self.parts.store.list_tenants(query.page()?).await?;
        Ok(List::of(page, TenantView::from))
    }

    /// Changes a tenant.
    ///
    /// # Errors
    /// Forbidden; not found; invalid fields; conflict on `name`, or on `time_zone` where budgets follow it;
    /// unavailable where it is unblocked and the ledger does not answer.
    pub async fn update_tenant(
        &self,
        actor: &Actor,
        tenant: &str,
        input: UpdateTenant,
    ) -> Result<TenantView, AppError> {
        let update = Action::new(Verb::Update, Resource::Tenant);
        let record = self.permitted_tenant(actor, update, tenant).await?;
        let mut problems = Problems::default();
        if let Some(new_name) = &input.name {
            problems.take("name", name(new_name));
        }
        let zone = input.time_zone.map(|zone| problems.take("time_zone", time_zone(zone.as_deref())));
        let limits = input.limits.map(|limits| limits.unwrap_or_default().check("limits", &mut problems));
        let data_policy =
            input.data_policy.map(|policy| policy.unwrap_or_default().check("data_policy", &mut problems));
        let alert_below = input
            .alert_below
            .and_then(|levels| problems.take_list("alert_below", alert_levels(&levels.unwrap_or_default())));
        let rules = RulesChange::check(input.end_users.clone(), input.model_limits.clone(), &mut problems);
        problems.finish()?;
        let owner = BudgetOwner::Tenant(record.id);
        let rules = self.prepare_rules(record.id, owner, &record.rules, rules).await?;
        let (blocked, is_to_prepay) = (input.blocked, input.billing == Some(BillingName::Prepaid));
        if blocked == Some(false) && record.blocked {
            self.allow_active_keys(record.id).await?;
        }
        let change = move |record: &mut TenantRecord| {
            if let Some(name) = &input.name {
                record.name.clone_from(name);
            }
            record.billing = input.billing.map_or(record.billing, Billing::from);
            record.blocked = input.blocked.unwrap_or(record.blocked);
            record.limits = limits.unwrap_or(record.limits);
            rules.apply(&mut record.rules);
            if let Some(Some(zone)) = &zone {
                record.time_zone = zone.clone();
            }
            if let Some(policy) = &data_policy {
                record.data_policy = policy.clone();
            }
            if let Some(levels) = &alert_below {
                record.alert_below.clone_from(levels);
            }
        };
        let record = self.parts.store.update_tenant(&self.context(actor), record.id, change).await?;
        if blocked.is_some() {
            self.push_key_flags(record.id, &self.keys_of(record.id).await?).await;
        }
        self.parts.alerts.wallet_changed(record.id);
        if is_to_prepay {
            self.parts.wallets.push(&self.parts.store, &self.parts.ledger, record.id).await;
        }
        Ok(record.into())
    }

    /// Before a tenant is unblocked, and only where the ledger answers: nobody would remember to remove a flag
    /// that outlives its reason.
    async fn allow_active_keys(&self, tenant: TenantId) -> Result<(), AppError> {
        let filter = KeyFilter { tenant: Some(tenant), ..KeyFilter::default() };
        let mut keys = self.key_states(&filter).await?;
        keys.retain(|(_, state)| *state == KeyState::Active);
        let keys: Vec<KeyId> = keys.into_iter().map(|(key, _)| key).collect();
        for part in keys.chunks(READ_PAGE as usize) {
            self.parts.ledger.set_keys_revoked(tenant, part, false).await?;
        }
        Ok(())
    }

    async fn keys_of(&self, tenant: TenantId) -> Result<Vec<KeyId>, AppError> {
        let filter = KeyFilter { tenant: Some(tenant), ..KeyFilter::default() };
        Ok(self.key_states(&filter).await?.into_iter().map(|(key, _)| key).collect())
    }

    /// Deletes a tenant with its projects, keys and budgets; its journal stays. With `force` credit that is left
    /// in its wallet is lost.
    ///
    /// # Errors
    /// Forbidden; not found; without `force` conflict on `credit` while a prepaid tenant has some left.
    pub async fn delete_tenant(
        &self,
        actor: &Actor,
        tenant: &str,
        force: bool,
    ) -> Result<TenantView, AppError> {
        let delete = Action::new(Verb::Delete, Resource::Tenant);
        let record = self.permitted_tenant(actor, delete, tenant).await?;
        // Read before they are gone.
        let keys = self.keys_of(record.id).await?;
        let (store, context) = (&self.parts.store, self.context(actor));
        let record = if force {
            store.delete_tenant(&context, record.id).await?
        } else {
            store.delete_spent_tenant(&context, record.id).await?
        };
        self.push_key_flags(record.id, &keys).await;
        Ok(record.into())
    }
}
