//! The installation as a document: secrets as references to variables, keys without their texts.

use std::collections::BTreeMap;

use tollgate_domain::{BudgetWindow, TenantId, UnixMillis};
use tollgate_store::{PriceFilter, PriceRecord, TenantRecord};

use super::document::{
    ConfigBudget, ConfigDocument, ConfigKey, ConfigModel, ConfigPrice, ConfigProject, ConfigProvider,
    ConfigTenant,
};
use super::{INITIAL_CREDIT, VERSION};
use crate::app::{App, BudgetView, ListQuery, ModelView, ProviderView, TenantView, TrialBody, price_text};
use crate::parts::{CredentialBody, SecretText};
use crate::{Action, Actor, AppError, Resource, ResourceOwner, Verb, authorize};

impl App {
    /// Writes the installation down. Applied where it came from, it changes nothing.
    ///
    /// # Errors
    /// Forbidden; unavailable.
    pub async fn export_config(&self, actor: &Actor) -> Result<ConfigDocument, AppError> {
        authorize(actor, Action::new(Verb::Read, Resource::Config), ResourceOwner::Installation)?;
        let mut providers = Vec::new();
        for record in self.all_providers().await? {
            providers.push(provider(ProviderView::from(record)));
        }
        let mut models = Vec::new();
        for record in self.all_models().await? {
            models.push(model(self.model(actor, &record.id.to_string()).await?));
        }
        let tenant_records = self.all_tenants().await?;
        let mut tenants = Vec::new();
        for record in &tenant_records {
            tenants.push(self.export_tenant(actor, record).await?);
        }
        // By name, so that two exports can be compared line by line.
        providers.sort_by(|a: &ConfigProvider, b| a.name.cmp(&b.name));
        models.sort_by(|a: &ConfigModel, b| a.name.cmp(&b.name));
        tenants.sort_by(|a: &ConfigTenant, b| a.name.cmp(&b.name));
        let prices = self.all_prices(&PriceFilter::default()).await?;
        let trial = self.trial_credit(actor).await?.map(TrialBody::from).unwrap_or_default();
        Ok(ConfigDocument {
            version: VERSION,
            providers,
            models,
            defaults: self.default_models(actor).await?.defaults,
            margins: self.export_margins(&tenant_records).await?,
            prices: export_prices(&prices, &tenant_records, self.now()),
            hold: self.default_hold(actor).await?,
            trial_credit: trial.credit,
            trial_days: trial.days,
            tenants,
            webhooks: self.export_webhooks(actor).await?,
        })
    }

    async fn export_tenant(&self, actor: &Actor, record: &TenantRecord) -> Result<ConfigTenant, AppError> {
        let view = TenantView::from(record.clone());
        let budgets = self.every_budget(actor, &view.id).await?;
        let mut projects = Vec::new();
        for project in self.every_project(actor, &view.id).await? {
            let mut keys = self.every_key(actor, &project.id).await?;
            keys.sort_by(|a, b| a.name.cmp(&b.name));
            let keys = keys.into_iter().map(|key| ConfigKey {
                budgets: own_budgets(&budgets, &key.id),
                name: key.name,
                secret: None,
                secret_file: None,
                models: key.models,
                limits: key.limits,
                model_limits: key.model_limits,
                labels: key.labels,
                expires_at: key.expires_at.map(|time| time.0.to_string()),
                end_users: key.end_users,
            });
            projects.push(ConfigProject {
                name: project.name,
                labels: project.labels,
                budgets: own_budgets(&budgets, &project.id),
                limits: project.limits,
                end_users: project.end_users,
                model_limits: project.model_limits,
                keys: keys.collect(),
            });
        }
        projects.sort_by(|a: &ConfigProject, b| a.name.cmp(&b.name));
        Ok(ConfigTenant {
            billing: view.billing,
            time_zone: Some(view.time_zone),
            credit: self.initial_credit(actor, &view.id).await?,
            budgets: own_budgets(&budgets, &view.id),
            limits: view.limits,
            data_policy: view.data_policy,
            alert_below: view.alert_below.iter().map(|level| level.0.to_string()).collect(),
            end_users: view.end_users,
            model_limits: view.model_limits,
            projects,
            name: view.name,
        })
    }

    /// What the tenant's entry granted when it was created: among its first credits.
    async fn initial_credit(&self, actor: &Actor, tenant: &str) -> Result<Option<String>, AppError> {
        let credits = self.list_credits(actor, tenant, &ListQuery { limit: Some(100), after: None }).await?;
        let mut initial =
            credits.data.into_iter().filter(|credit| credit.reference.as_deref() == Some(INITIAL_CREDIT));
        Ok(initial.next().map(|credit| credit.amount.0.to_string()))
    }
}

fn own_budgets(budgets: &[BudgetView], owner: &str) -> Vec<ConfigBudget> {
    let mut own: Vec<&BudgetView> = budgets.iter().filter(|budget| budget.owner_id == owner).collect();
    own.sort_by_key(|budget| BudgetWindow::from(budget.window));
    let entry = |budget: &BudgetView| ConfigBudget {
        limit: budget.limit.0.to_string(),
        window: budget.window,
        alert_at: budget.alert_at.clone(),
    };
    own.into_iter().map(entry).collect()
}

/// The variable a webhook's secret is to be found in: `WEBHOOK_OPS_SECRET`.
pub(super) fn webhook_secret_reference(name: &str) -> SecretText {
    secret_reference("WEBHOOK", name)
}

/// The variable a credential's secret is to be found in: `OPENAI_MAIN_SECRET`.
fn secret_reference(provider: &str, credential: &str) -> SecretText {
    let plain = |text: &str| -> String {
        text.chars()
            .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' })
            .collect()
    };
    let name = format!("{}_{}_SECRET", plain(provider), plain(credential));
    let prefix = if name.starts_with(|letter: char| letter.is_ascii_digit()) { "_" } else { "" };
    SecretText::new(format!("${{{prefix}{name}}}"))
}

fn provider(view: ProviderView) -> ConfigProvider {
    let credentials = view.credentials.iter().map(|credential| CredentialBody {
        secret: Some(secret_reference(&view.name, &credential.name)),
        name: credential.name.clone(),
        access_key_id: None,
        session_token: None,
        secret_file: None,
        weight: Some(credential.weight),
    });
    ConfigProvider {
        credentials: credentials.collect(),
        base_url: Some(view.base_url).filter(|url| !url.is_empty()),
        name: view.name,
        dialect: view.dialect,
        region: view.region,
        retention: view.retention,
        trains_on_data: view.trains_on_data,
        max_concurrent_requests: view.max_concurrent_requests,
        responses: view.responses,
    }
}

fn model(view: ModelView) -> ConfigModel {
    ConfigModel {
        name: view.name,
        strategy: Some(view.strategy),
        targets: view.targets,
        fallbacks: view.fallbacks,
        retry: Some(view.retry),
        timeouts: Some(view.timeouts),
        hold: Some(view.hold).filter(|hold| !hold.is_empty()),
        drop_unsupported: view.drop_unsupported,
        cache: None,
        guardrails: Vec::new(),
    }
}

/// What rows are alike in to share an entry: model, tenant, tier, context, whether free, start where it is to come.
type EntryKey = (String, String, Option<TenantId>, &'static str, u64, bool, Option<i64>);

/// Rows in force without their start, rows to come with it; rows that were replaced are history.
fn export_prices(all: &[PriceRecord], tenants: &[TenantRecord], now: UnixMillis) -> Vec<ConfigPrice> {
    let mut entries: BTreeMap<EntryKey, ConfigPrice> = BTreeMap::new();
    for record in all.iter().filter(|record| !is_replaced(record, all, now)) {
        let row = &record.row;
        let tenant = match row.tenant {
            None => None,
            Some(id) => match tenants.iter().find(|tenant| tenant.id == id) {
                Some(tenant) => Some(tenant.name.clone()),
                // Prices of a deleted tenant concern nobody.
                None => continue,
            },
        };
        let starts = (row.effective_from > now).then_some(row.effective_from);
        let (tier, is_free) = (row.service_tier.name(), row.meter.is_none());
        let key = (
            row.provider.clone(),
            row.model.clone(),
            row.tenant,
            tier,
            row.context_from,
            is_free,
            starts.map(|moment| moment.0),
        );
        let entry = entries.entry(key).or_insert_with(|| ConfigPrice {
            provider: row.provider.clone(),
            model: row.model.clone(),
            tenant,
            free: is_free,
            service_tier: (tier != "standard").then(|| tier.to_owned()),
            context_from: (row.context_from > 0).then_some(row.context_from),
            effective_from: starts.map(|moment| moment.to_string()),
            ..ConfigPrice::default()
        });
        if let Some(meter) = row.meter {
            entry.set_meter(meter, price_text(row.meter, row.price));
        }
    }
    entries.into_values().collect()
}

/// Whether a later row in force says something else about the same thing.
fn is_replaced(record: &PriceRecord, all: &[PriceRecord], now: UnixMillis) -> bool {
    let row = &record.row;
    if row.effective_from > now {
        return false;
    }
    all.iter().map(|other| &other.row).any(|other| {
        let of_model =
            (&other.provider, &other.model, other.tenant) == (&row.provider, &row.model, row.tenant);
        let same_thing = (other.meter, other.service_tier, other.context_from)
            == (row.meter, row.service_tier, row.context_from);
        let in_force = other.effective_from <= now;
        let is_later = other.effective_from > row.effective_from;
        // A free row replaces all paid ones from its start on, and a paid one the free one after it.
        let from_free =
            other.meter.is_none() && row.meter.is_some() && other.effective_from >= row.effective_from;
        let from_paid = other.meter.is_some() && row.meter.is_none() && is_later;
        of_model && in_force && ((same_thing && is_later) || from_free || from_paid)
    })
}
