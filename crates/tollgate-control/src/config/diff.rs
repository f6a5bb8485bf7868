//! Differences between what is and what is wanted, named by field.

use crate::app::{KeyView, ModelView, ProjectView, ProviderView, TenantView};
use crate::error::Problems;
use crate::parts::{DataPolicyBody, EndUsersBody, LimitsBody, alert_levels, retention, time, time_zone};

use super::document::{ConfigKey, ConfigModel, ConfigProject, ConfigProvider, ConfigTenant};

/// The names of fields that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<&'static str>);

impl Fields {
    pub(super) fn note(&mut self, field: &'static str, differs: bool) {
        if differs {
            self.0.push(field);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn text(&self) -> String {
        self.0.join(", ")
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.0.contains(&field)
    }
}

fn limits_differ(is: &LimitsBody, wanted: &LimitsBody) -> bool {
    is != wanted
}

fn end_users_differ(is: &EndUsersBody, wanted: &EndUsersBody) -> bool {
    let mut unused = Problems::default();
    is.check("", &mut unused) != wanted.check("", &mut unused)
}

fn data_policy_differs(is: &DataPolicyBody, wanted: &DataPolicyBody) -> bool {
    let parts = |policy: &DataPolicyBody| {
        (policy.regions.clone(), policy.providers.clone(), policy.require_zero_retention)
    };
    parts(is) != parts(wanted)
}

pub(super) fn tenant(is: &TenantView, wanted: &ConfigTenant) -> Fields {
    let mut fields = Fields::default();
    let zone = time_zone(wanted.time_zone.as_deref()).map(|zone| zone.name().to_owned());
    fields.note("billing", is.billing != wanted.billing);
    fields.note("time_zone", Ok(is.time_zone.clone()) != zone);
    fields.note("limits", limits_differ(&is.limits, &wanted.limits));
    fields.note("end_users", end_users_differ(&is.end_users, &wanted.end_users));
    fields.note("model_limits", is.model_limits != wanted.model_limits);
    fields.note("data_policy", data_policy_differs(&is.data_policy, &wanted.data_policy));
    let levels: Vec<_> = is.alert_below.iter().map(|level| level.0).collect();
    fields.note("alert_below", Ok(levels) != alert_levels(&wanted.alert_below));
    fields
}

pub(super) fn project(is: &ProjectView, wanted: &ConfigProject) -> Fields {
    let mut fields = Fields::default();
    fields.note("labels", is.labels != wanted.labels);
    fields.note("limits", limits_differ(&is.limits, &wanted.limits));
    fields.note("end_users", end_users_differ(&is.end_users, &wanted.end_users));
    fields.note("model_limits", is.model_limits != wanted.model_limits);
    fields
}

/// Without `secret`, which only the stored hash can compare.
pub(super) fn key(is: &KeyView, wanted: &ConfigKey) -> Fields {
    let mut fields = Fields::default();
    let expires_at = wanted.expires_at.as_deref().and_then(|text| time(text).ok());
    fields.note("models", is.models != wanted.models);
    fields.note("limits", limits_differ(&is.limits, &wanted.limits));
    fields.note("end_users", end_users_differ(&is.end_users, &wanted.end_users));
    fields.note("model_limits", is.model_limits != wanted.model_limits);
    fields.note("labels", is.labels != wanted.labels);
    fields.note("expires_at", is.expires_at.map(|time| time.0) != expires_at);
    fields
}

/// Without the secrets of `credentials`, which only the stored ciphertext can compare.
pub(super) fn provider(is: &ProviderView, wanted: &ConfigProvider) -> Fields {
    let mut fields = Fields::default();
    let facts = wanted.check("", &mut Problems::default());
    fields.note("dialect", is.dialect != wanted.dialect);
    fields.note("base_url", facts.is_some_and(|facts| facts.base_url != is.base_url));
    let kept = wanted.retention.as_deref().map(retention);
    let is_kept = is.retention.as_deref().map(retention);
    fields.note("region", is.region != wanted.region);
    fields.note("retention", is_kept != kept);
    fields.note("trains_on_data", is.trains_on_data != wanted.trains_on_data);
    fields.note("max_concurrent_requests", is.max_concurrent_requests != wanted.max_concurrent_requests);
    fields.note("responses", is.responses != wanted.responses);
    let mut have: Vec<_> = is.credentials.iter().map(|one| (one.name.clone(), one.weight)).collect();
    let mut want: Vec<_> =
        wanted.credentials.iter().map(|one| (one.name.clone(), one.weight.unwrap_or(1))).collect();
    have.sort();
    want.sort();
    fields.note("credentials", have != want);
    fields
}

pub(super) fn model(is: &ModelView, wanted: &ConfigModel) -> Fields {
    let mut fields = Fields::default();
    let mut unused = Problems::default();
    let targets = |targets: &[crate::parts::TargetBody]| -> Vec<_> {
        let parts = targets.iter().map(|one| (one.provider.clone(), one.model.clone(), one.priority));
        parts.collect()
    };
    fields.note("targets", targets(&is.targets) != targets(&wanted.targets));
    fields.note("fallbacks", is.fallbacks != wanted.fallbacks);
    let retry = wanted.retry.clone().unwrap_or_default().check("", &mut unused);
    fields.note("retry", is.retry.check("", &mut unused) != retry);
    let timeouts = wanted.timeouts.clone().unwrap_or_default().check("", &mut unused);
    fields.note("timeouts", is.timeouts.check("", &mut unused) != timeouts);
    fields.note("hold", is.hold != wanted.hold.unwrap_or_default());
    fields.note("drop_unsupported", is.drop_unsupported != wanted.drop_unsupported);
    fields
}
