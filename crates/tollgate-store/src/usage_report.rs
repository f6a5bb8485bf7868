//! Usage by whom, of what and when.

use serde::Serialize;
use tollgate_domain::{KeyId, NanoUsd, ProjectId, TenantId, UnixMillis};

use crate::{Store, StoreError};

/// What a report may be grouped by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UsageDimension {
    /// The tenant.
    Tenant,
    /// The project.
    Project,
    /// The key.
    Key,
    /// The model that answered.
    Model,
    /// The provider that answered.
    Provider,
    /// The end user, as the client named it.
    User,
    /// The value of a label.
    Label(String),
}

/// How time is cut, in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UsageBucket {
    /// Not at all: one row per group.
    #[default]
    None,
    /// By hours.
    Hour,
    /// By days.
    Day,
    /// By months.
    Month,
}

/// A usage report to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// The groups, in this order; empty: everything in one.
    pub group_by: Vec<UsageDimension>,
    /// How time is cut.
    pub bucket: UsageBucket,
    /// Requests admitted at or after this.
    pub from: Option<UnixMillis>,
    /// Requests admitted before this.
    pub to: Option<UnixMillis>,
    /// Only of this tenant.
    pub tenant: Option<TenantId>,
    /// Only of this project.
    pub project: Option<ProjectId>,
    /// Only with this key.
    pub key: Option<KeyId>,
    /// Only answered by this model.
    pub model: Option<String>,
    /// Only answered by this provider.
    pub provider: Option<String>,
}

/// One value of a dimension.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct UsageGroup {
    /// The dimension: `tenant`, `project`, `key`, `model`, `provider`, `user` or `label:<name>`.
    pub dimension: String,
    /// The id of a tenant, project or key.
    pub id: Option<String>,
    /// The name or value; `None` where the request had none, or the object is gone without a trace.
    pub name: Option<String>,
}

/// One row of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsageRow {
    /// One value per dimension, in the order asked for.
    pub groups: Vec<UsageGroup>,
    /// When the bucket begins; `None` without buckets.
    pub bucket_starts_at: Option<UnixMillis>,
    /// Finished requests.
    pub requests: u64,
    /// Prompt tokens of all classes.
    pub input_tokens: u64,
    /// Of those, read from the provider's cache.
    pub cached_tokens: u64,
    /// Answer tokens of all classes.
    pub output_tokens: u64,
    /// What was charged.
    pub cost: NanoUsd,
    /// Requests that ended in an error (clients that left are none).
    pub errors: u64,
}

impl Store {
    /// Makes a usage report, ordered by bucket, then by group.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        todo!()
    }
}
