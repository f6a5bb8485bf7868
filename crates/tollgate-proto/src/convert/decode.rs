//! Messages to policy objects: every field checked.

use tollgate_catalog::{PriceRow, ServiceTier};
use tollgate_domain::{BasisPoints, KeyPepper, Meter, PricePerMillion, Secret, TimeZoneName, UnixMillis};
use tollgate_policy::{
    BudgetPolicy, CredentialPolicy, DataPolicy, Dialect, KeyPolicy, MarginRule, ModelPolicy, ProjectPolicy,
    ProviderPolicy, ResponsesMode, Retention, RetryPolicy, Settings, Target, TenantPolicy, Timeouts,
};

use super::ConvertError;
use super::fields::Reading;
use super::{enums, rules};
use crate::v1;

type Decoded<T> = Result<T, ConvertError>;

pub(super) fn settings(message: v1::Settings) -> Decoded<Settings> {
    let reading = Reading::new("settings", "");
    let mut default_models = Vec::with_capacity(message.default_models.len());
    for default in message.default_models {
        let surface = enums::surface_from_wire(default.surface, reading.object(), "surface")?;
        default_models.push((surface, reading.text("default_models", default.model)?));
    }
    let key_pepper = KeyPepper::new(reading.bytes_32("key_pepper", &message.key_pepper)?);
    let hold_slice_tokens = reading.hold_slice(message.hold_slice_tokens)?;
    Ok(Settings { key_pepper, default_models, hold_slice_tokens })
}

fn credential(reading: &Reading, message: v1::Credential) -> Decoded<CredentialPolicy> {
    Ok(CredentialPolicy {
        id: reading.id("credentials.id", &message.id)?,
        name: reading.text("credentials.name", message.name)?,
        secret: Secret::new(reading.text("credentials.secret", message.secret)?),
        weight: reading.positive("credentials.weight", message.weight)?,
    })
}

pub(super) fn provider(message: v1::Provider) -> Decoded<ProviderPolicy> {
    let reading = Reading::new("provider", &message.name);
    let dialect = enums::dialect_from_wire(message.dialect, reading.object(), "dialect")?;
    let base_url = match dialect {
        Dialect::Demo => message.base_url,
        _ => reading.text("base_url", message.base_url)?,
    };
    let credentials = message.credentials.into_iter().map(|one| credential(&reading, one));
    let max_concurrent_requests = message.max_concurrent_requests;
    let mode =
        |name: &str| ResponsesMode::from_name(name).ok_or_else(|| reading.refuse("responses", "is unknown"));
    Ok(ProviderPolicy {
        id: reading.id("id", &message.id)?,
        credentials: credentials.collect::<Decoded<_>>()?,
        region: message.region.map(|region| reading.text("region", region)).transpose()?,
        retention: message.retention_days.map(Retention),
        trains_on_data: message.trains_on_data,
        max_concurrent_requests: max_concurrent_requests
            .map(|most| reading.positive("max_concurrent_requests", most))
            .transpose()?,
        responses: message.responses.as_deref().map(mode).transpose()?,
        name: reading.text("name", message.name)?,
        dialect,
        base_url,
    })
}

pub(super) fn price(message: v1::Price) -> Decoded<PriceRow> {
    let reading = Reading::new("price", &format!("{}/{}", message.provider, message.model));
    let meter = |name: String| Meter::from_name(&name).ok_or_else(|| reading.refuse("meter", "is unknown"));
    let tier = ServiceTier::from_name(&message.service_tier);
    if message.nano_usd_per_million < 0 {
        return Err(reading.refuse("price", "is negative"));
    }
    Ok(PriceRow {
        id: Some(reading.id("id", &message.id)?),
        tenant: message.tenant.map(|tenant| reading.id("tenant", &tenant)).transpose()?,
        effective_from: UnixMillis(message.effective_from_ms),
        meter: message.meter.map(meter).transpose()?,
        service_tier: tier.ok_or_else(|| reading.refuse("service_tier", "is unknown"))?,
        context_from: message.context_from,
        price: PricePerMillion(message.nano_usd_per_million),
        provider: reading.text("provider", message.provider)?,
        model: reading.text("model", message.model)?,
        source: reading.text("source", message.source)?,
    })
}

pub(super) fn margin(message: v1::Margin) -> Decoded<MarginRule> {
    let reading =
        Reading::new("margin", message.model.as_deref().or(message.provider.as_deref()).unwrap_or(""));
    let basis_points = BasisPoints::new(message.basis_points);
    Ok(MarginRule {
        id: reading.id("id", &message.id)?,
        tenant: message.tenant.map(|tenant| reading.id("tenant", &tenant)).transpose()?,
        basis_points: basis_points.ok_or_else(|| reading.refuse("basis_points", "are out of range"))?,
        effective_from: UnixMillis(message.effective_from_ms),
        provider: message.provider.map(|provider| reading.text("provider", provider)).transpose()?,
        model: message.model.map(|model| reading.text("model", model)).transpose()?,
    })
}

fn retry(reading: &Reading, message: Option<v1::Retry>) -> Decoded<RetryPolicy> {
    let retry = reading.required("retry", message)?;
    let classes =
        retry.on.into_iter().map(|class| enums::retry_on_from_wire(class, reading.object(), "retry.on"));
    Ok(RetryPolicy {
        max_attempts: reading.positive("retry.max_attempts", retry.max_attempts)?,
        backoff_ms: retry.backoff_ms,
        on: classes.collect::<Decoded<_>>()?,
    })
}

fn timeouts(reading: &Reading, message: Option<v1::Timeouts>) -> Decoded<Timeouts> {
    let timeouts = reading.required("timeouts", message)?;
    Ok(Timeouts {
        connect_ms: reading.positive("timeouts.connect_ms", timeouts.connect_ms)?,
        first_byte_ms: reading.positive("timeouts.first_byte_ms", timeouts.first_byte_ms)?,
        idle_ms: reading.positive("timeouts.idle_ms", timeouts.idle_ms)?,
        total_ms: reading.positive("timeouts.total_ms", timeouts.total_ms)?,
    })
}

pub(super) fn model(message: v1::Model) -> Decoded<ModelPolicy> {
    let reading = Reading::new("model", &message.name);
    if message.targets.is_empty() {
        return Err(reading.refuse("targets", "is empty"));
    }
    let mut targets = Vec::with_capacity(message.targets.len());
    for target in message.targets {
        targets.push(Target {
            provider: reading.id("targets.provider", &target.provider)?,
            model: reading.text("targets.model", target.model)?,
            priority: target.priority,
        });
    }
    Ok(ModelPolicy {
        id: reading.id("id", &message.id)?,
        strategy: enums::strategy_from_wire(message.strategy, reading.object(), "strategy")?,
        targets,
        fallbacks: reading.texts("fallbacks", message.fallbacks)?,
        retry: retry(&reading, message.retry)?,
        timeouts: timeouts(&reading, message.timeouts)?,
        hold_slice_tokens: reading.hold_slice(message.hold_slice_tokens)?,
        drop_unsupported: message.drop_unsupported,
        name: reading.text("name", message.name)?,
    })
}

pub(super) fn tenant(message: v1::Tenant) -> Decoded<TenantPolicy> {
    let reading = Reading::new("tenant", &message.name);
    let data_policy = reading.required("data_policy", message.data_policy)?;
    let time_zone = TimeZoneName::parse(&reading.text("time_zone", message.time_zone)?);
    Ok(TenantPolicy {
        id: reading.id("id", &message.id)?,
        billing: enums::billing_from_wire(message.billing, reading.object(), "billing")?,
        time_zone: time_zone.map_err(|_| reading.refuse("time_zone", "is unknown"))?,
        blocked: message.blocked,
        limits: reading.limits(message.limits)?,
        rules: rules::from_message(&reading, message.rules)?,
        data_policy: DataPolicy {
            regions: reading.texts("data_policy.regions", data_policy.regions)?,
            providers: reading.texts("data_policy.providers", data_policy.providers)?,
            require_zero_retention: data_policy.require_zero_retention,
        },
        name: reading.text("name", message.name)?,
    })
}

pub(super) fn project(message: v1::Project) -> Decoded<ProjectPolicy> {
    let reading = Reading::new("project", &message.name);
    Ok(ProjectPolicy {
        id: reading.id("id", &message.id)?,
        tenant: reading.id("tenant", &message.tenant)?,
        labels: message.labels,
        limits: reading.limits(message.limits)?,
        rules: rules::from_message(&reading, message.rules)?,
        name: reading.text("name", message.name)?,
    })
}

pub(super) fn key(message: v1::Key) -> Decoded<KeyPolicy> {
    let reading = Reading::new("key", &message.name);
    let previous_hash = message
        .previous_hash
        .map(|previous| Ok((reading.hash("previous_hash", &previous.hash)?, UnixMillis(previous.until_ms))));
    Ok(KeyPolicy {
        id: reading.id("id", &message.id)?,
        project: reading.id("project", &message.project)?,
        hash: reading.hash("hash", &message.hash)?,
        previous_hash: previous_hash.transpose()?,
        models: reading.texts("models", message.models)?,
        limits: reading.limits(message.limits)?,
        rules: rules::from_message(&reading, message.rules)?,
        expires_at: message.expires_at_ms.map(UnixMillis),
        state: enums::key_state_from_wire(message.state, reading.object(), "state")?,
        labels: message.labels,
        name: reading.text("name", message.name)?,
    })
}

pub(super) fn budget(message: &v1::Budget) -> Decoded<BudgetPolicy> {
    let reading = Reading::new("budget", "");
    let owner = rules::owner(&reading, message.scope, &message.owner)?;
    let limit = rules::amount(&reading, "limit", message.limit_nano_usd)?;
    Ok(BudgetPolicy {
        id: reading.id("id", &message.id)?,
        owner,
        window: enums::window_from_wire(message.window, reading.object(), "window")?,
        limit,
        increases: rules::increases(&reading, &message.increases)?,
    })
}
