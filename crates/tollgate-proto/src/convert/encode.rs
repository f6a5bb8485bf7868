//! Policy objects to messages: total, every field.

use tollgate_catalog::PriceRow;
use tollgate_domain::Id;
use tollgate_policy::{
    BudgetPolicy, CredentialPolicy, KeyPolicy, MarginRule, ModelPolicy, ProjectPolicy, ProviderPolicy,
    RateLimits, Settings, TenantPolicy,
};

use super::{enums, rules};
use crate::v1;

pub(super) fn id_bytes<T>(id: Id<T>) -> Vec<u8> {
    id.as_uuid().as_bytes().to_vec()
}

#[expect(clippy::unnecessary_wraps, reason = "a message field is always optional")]
pub(super) fn limits(limits: &RateLimits) -> Option<v1::RateLimits> {
    Some(v1::RateLimits {
        requests_per_minute: limits.requests_per_minute,
        tokens_per_minute: limits.tokens_per_minute,
        concurrent_requests: limits.concurrent_requests,
    })
}

pub(super) fn settings(settings: &Settings) -> v1::Settings {
    let default_models = settings.default_models.iter();
    v1::Settings {
        key_pepper: settings.key_pepper.expose().to_vec(),
        default_models: default_models
            .map(|(surface, model)| v1::DefaultModel {
                surface: enums::surface_to_wire(*surface),
                model: model.clone(),
            })
            .collect(),
        hold_slice_tokens: settings.hold_slice_tokens,
    }
}

fn credential(credential: &CredentialPolicy) -> v1::Credential {
    v1::Credential {
        id: id_bytes(credential.id),
        name: credential.name.clone(),
        secret: credential.secret.expose().to_owned(),
        weight: credential.weight,
    }
}

pub(super) fn provider(provider: &ProviderPolicy) -> v1::Provider {
    v1::Provider {
        id: id_bytes(provider.id),
        name: provider.name.clone(),
        dialect: enums::dialect_to_wire(provider.dialect),
        base_url: provider.base_url.clone(),
        credentials: provider.credentials.iter().map(credential).collect(),
        region: provider.region.clone(),
        retention_days: provider.retention.map(|retention| retention.0),
        trains_on_data: provider.trains_on_data,
        max_concurrent_requests: provider.max_concurrent_requests,
        responses: provider.responses.map(|mode| mode.name().to_owned()),
    }
}

pub(super) fn price(row: &PriceRow) -> v1::Price {
    v1::Price {
        id: row.id.map(id_bytes).unwrap_or_default(),
        tenant: row.tenant.map(id_bytes),
        provider: row.provider.clone(),
        model: row.model.clone(),
        effective_from_ms: row.effective_from.0,
        meter: row.meter.map(|meter| meter.name().to_owned()),
        service_tier: row.service_tier.name().to_owned(),
        context_from: row.context_from,
        nano_usd_per_million: row.price.0,
        source: row.source.clone(),
    }
}

pub(super) fn margin(rule: &MarginRule) -> v1::Margin {
    v1::Margin {
        id: id_bytes(rule.id),
        tenant: rule.tenant.map(id_bytes),
        provider: rule.provider.clone(),
        model: rule.model.clone(),
        basis_points: rule.basis_points.get(),
        effective_from_ms: rule.effective_from.0,
    }
}

pub(super) fn model(model: &ModelPolicy) -> v1::Model {
    let targets = model.targets.iter().map(|target| v1::Target {
        provider: id_bytes(target.provider),
        model: target.model.clone(),
        priority: target.priority,
    });
    v1::Model {
        id: id_bytes(model.id),
        name: model.name.clone(),
        strategy: enums::strategy_to_wire(model.strategy),
        targets: targets.collect(),
        fallbacks: model.fallbacks.clone(),
        retry: Some(v1::Retry {
            max_attempts: model.retry.max_attempts,
            backoff_ms: model.retry.backoff_ms,
            on: model.retry.on.iter().map(|class| enums::retry_on_to_wire(*class)).collect(),
        }),
        timeouts: Some(v1::Timeouts {
            connect_ms: model.timeouts.connect_ms,
            first_byte_ms: model.timeouts.first_byte_ms,
            idle_ms: model.timeouts.idle_ms,
            total_ms: model.timeouts.total_ms,
        }),
        hold_slice_tokens: model.hold_slice_tokens,
        drop_unsupported: model.drop_unsupported,
    }
}

pub(super) fn tenant(tenant: &TenantPolicy) -> v1::Tenant {
    v1::Tenant {
        id: id_bytes(tenant.id),
        name: tenant.name.clone(),
        billing: enums::billing_to_wire(tenant.billing),
        time_zone: tenant.time_zone.name().to_owned(),
        blocked: tenant.blocked,
        limits: limits(&tenant.limits),
        data_policy: Some(v1::DataPolicy {
            regions: tenant.data_policy.regions.clone(),
            providers: tenant.data_policy.providers.clone(),
            require_zero_retention: tenant.data_policy.require_zero_retention,
        }),
        rules: rules::to_message(&tenant.rules),
    }
}

pub(super) fn project(project: &ProjectPolicy) -> v1::Project {
    v1::Project {
        id: id_bytes(project.id),
        tenant: id_bytes(project.tenant),
        name: project.name.clone(),
        labels: project.labels.clone(),
        limits: limits(&project.limits),
        rules: rules::to_message(&project.rules),
    }
}

pub(super) fn key(key: &KeyPolicy) -> v1::Key {
    v1::Key {
        id: id_bytes(key.id),
        project: id_bytes(key.project),
        name: key.name.clone(),
        hash: key.hash.0.to_vec(),
        previous_hash: key
            .previous_hash
            .map(|(hash, until)| v1::PreviousHash { hash: hash.0.to_vec(), until_ms: until.0 }),
        models: key.models.clone(),
        limits: limits(&key.limits),
        expires_at_ms: key.expires_at.map(|moment| moment.0),
        state: enums::key_state_to_wire(key.state),
        labels: key.labels.clone(),
        rules: rules::to_message(&key.rules),
    }
}

pub(super) fn budget(budget: &BudgetPolicy) -> v1::Budget {
    let (scope, owner) = rules::owner_to_message(budget.owner);
    v1::Budget {
        id: id_bytes(budget.id),
        scope,
        owner,
        window: enums::window_to_wire(budget.window),
        limit_nano_usd: budget.limit.0,
        increases: rules::increases_to_messages(&budget.increases),
    }
}
