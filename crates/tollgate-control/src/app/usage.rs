//! Spend reports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tollgate_domain::UnixMillis;
use tollgate_store::{UsageBucket, UsageDimension, UsageRow};
use utoipa::{IntoParams, ToSchema};

use super::App;
use crate::error::Problems;
use crate::parts::{Time, Usd, time};
use crate::{Action, Actor, AppError, Resource, Verb};

/// Most dimensions one report may have: rows multiply.
const MAX_DIMENSIONS: usize = 4;

/// How time is cut, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsageBucketName {
    /// By hours.
    Hour,
    /// By days.
    Day,
    /// By months.
    Month,
}

/// A report to be made. Unknown fields are left to the caller, which may add its own (`format`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// Comma-separated: `tenant`, `project`, `key`, `model`, `provider`, `user`, `label:<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(example = "project,model")]
    pub group_by: Option<String>,
    /// How time is cut; not at all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<UsageBucketName>,
    /// Requests admitted at or after this (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Requests admitted before this (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Only of this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Only of this project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Only with this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Only answered by this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Only answered by this provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// One row of a report. Only the dimensions that were asked for are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageRowView {
    /// When the bucket begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Time>,
    /// The tenant's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The tenant's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// The project's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The project's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// The key's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The model that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The provider that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The end user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Values of the labels asked for; a request without the label has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Option<String>>,
    /// Finished requests.
    pub requests: u64,
    /// Prompt tokens of all classes.
    pub input_tokens: u64,
    /// Of those, read from the provider's cache.
    pub cached_tokens: u64,
    /// Answer tokens of all classes.
    pub output_tokens: u64,
    /// What was charged.
    #[schema(value_type = String)]
    pub cost_usd: String,
    /// What the providers are expected to bill; absent for whoever runs one tenant only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub provider_cost_usd: Option<String>,
    /// Requests that ended in an error.
    pub errors: u64,
}

/// A report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageReport {
    /// Its rows, by bucket, then by group.
    pub data: Vec<UsageRowView>,
}

fn dimension(text: &str) -> Option<UsageDimension> {
    Some(match text {
        "tenant" => UsageDimension::Tenant,
        "project" => UsageDimension::Project,
        "key" => UsageDimension::Key,
        "model" => UsageDimension::Model,
        "provider" => UsageDimension::Provider,
        "user" => UsageDimension::User,
        label => {
            UsageDimension::Label(label.strip_prefix("label:").filter(|name| !name.is_empty())?.to_owned())
        }
    })
}

fn dimensions(text: Option<&str>, problems: &mut Problems) -> Vec<UsageDimension> {
    let mut dimensions = Vec::new();
    for part in text.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match dimension(part) {
            Some(dimension) if dimensions.contains(&dimension) => {
                problems.add("group_by", format!("`{part}` stands here twice"));
            }
            Some(dimension) => dimensions.push(dimension),
            None => problems.add(
                "group_by",
                format!(
                    "`{}` is no dimension: write tenant, project, key, model, provider, user or label:<name>",
                    part.escape_debug()
                ),
            ),
        }
    }
    if dimensions.len() > MAX_DIMENSIONS {
        problems.add("group_by", format!("has more than {MAX_DIMENSIONS} dimensions"));
    }
    dimensions
}

/// Both ends of a span of time.
pub(super) fn span(
    from: Option<&str>,
    to: Option<&str>,
    problems: &mut Problems,
) -> (Option<UnixMillis>, Option<UnixMillis>) {
    let from = from.and_then(|text| problems.take("from", time(text)));
    let to = to.and_then(|text| problems.take("to", time(text)));
    if let (Some(from), Some(to)) = (from, to)
        && to <= from
    {
        problems.add("to", "must be later than `from`");
    }
    (from, to)
}

fn view(row: UsageRow, actor: &Actor) -> UsageRowView {
    // what the operator pays is none of a tenant's business
    let sees_provider = actor.own_tenant().is_none();
    let mut view = UsageRowView {
        bucket: row.bucket_starts_at.map(Time),
        requests: row.requests,
        input_tokens: row.input_tokens,
        cached_tokens: row.cached_tokens,
        output_tokens: row.output_tokens,
        cost_usd: Usd(row.cost).0.to_string(),
        provider_cost_usd: sees_provider.then(|| row.provider_cost.to_string()),
        errors: row.errors,
        ..UsageRowView::default()
    };
    for group in row.groups {
        let name = group.name.clone().or_else(|| group.id.clone());
        match group.dimension.as_str() {
            "tenant" => (view.tenant, view.tenant_id) = (name, group.id),
            "project" => (view.project, view.project_id) = (name, group.id),
            "key" => (view.key, view.key_id) = (name, group.id),
            "model" => view.model = group.name,
            "provider" => view.provider = group.name,
            "user" => view.user = group.name,
            label => {
                let label = label.strip_prefix("label:").unwrap_or(label).to_owned();
                view.labels.insert(label, group.name);
            }
        }
    }
    view
}

impl App {
    /// Makes a spend report.
    ///
    /// # Errors
    /// Forbidden; invalid fields; no such tenant, project or key.
    pub async fn usage(&self, actor: &Actor, query: &UsageQuery) -> Result<UsageReport, AppError> {
        let tenant = self.tenant_filter(actor, Resource::Usage, query.tenant.as_deref()).await?;
        let read = Action::new(Verb::Read, Resource::Usage);
        let project = match &query.project {
            Some(project) => Some(self.permitted_project(actor, read, project).await?.id),
            None => None,
        };
        let key = match &query.key {
            Some(key) => Some(self.permitted_key(actor, Verb::Read, key).await?.id),
            None => None,
        };
        let mut problems = Problems::default();
        let group_by = dimensions(query.group_by.as_deref(), &mut problems);
        let (from, to) = span(query.from.as_deref(), query.to.as_deref(), &mut problems);
        problems.finish()?;
        let bucket = match query.bucket {
            None => UsageBucket::None,
            Some(UsageBucketName::Hour) => UsageBucket::Hour,
            Some(UsageBucketName::Day) => UsageBucket::Day,
            Some(UsageBucketName::Month) => UsageBucket::Month,
        };
        let (model, provider) = (query.model.clone(), query.provider.clone());
        let query =
            tollgate_store::UsageQuery { group_by, bucket, from, to, tenant, project, key, model, provider };
        let rows = self.parts.store.usage(&query).await?;
        Ok(UsageReport { data: rows.into_iter().map(|row| view(row, actor)).collect() })
    }
}
