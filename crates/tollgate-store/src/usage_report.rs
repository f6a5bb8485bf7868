//! Usage by whom, of what and when.

use std::collections::BTreeMap;

use serde::Serialize;
use tollgate_domain::{BudgetWindow, KeyId, NanoUsd, ProjectId, TenantId, TimeZoneName, UnixMillis};
use uuid::Uuid;

use crate::db::{Row, Sql, Statement};
use crate::{Store, StoreError};

/// The most rows a report may have: beyond it nobody reads and memory is at stake.
const MAX_ROWS: usize = 100_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A request ends after it was admitted, by other clocks that are no further apart than this: so that the
/// index of ends finds what was admitted since.
const MAX_CLOCK_SKEW_MS: i64 = DAY_MS;

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
    /// What the providers are expected to bill.
    pub provider_cost: NanoUsd,
    /// Requests that ended in an error (clients that left are none).
    pub errors: u64,
}

impl Store {
    /// Makes a usage report, ordered by bucket, then by group.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        let mut reader = self.reader();
        let statement = totals_query(reader.sql("SELECT totals.*"), query);
        let rows = statement.read_all(|row| read(row, query)).await?;
        if rows.len() > MAX_ROWS {
            let message = format!("the report has more than {MAX_ROWS} rows: narrow it by time or filters");
            return Err(StoreError::invalid("usage", "group_by", message));
        }
        let mut rows = if query.bucket == UsageBucket::Month { by_month(rows)? } else { rows };
        rows.sort_by(|left, right| {
            (left.bucket_starts_at, &left.groups).cmp(&(right.bucket_starts_at, &right.groups))
        });
        Ok(rows)
    }
}

impl UsageDimension {
    /// The name in [`UsageGroup::dimension`].
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Tenant => "tenant".to_owned(),
            Self::Project => "project".to_owned(),
            Self::Key => "key".to_owned(),
            Self::Model => "model".to_owned(),
            Self::Provider => "provider".to_owned(),
            Self::User => "user".to_owned(),
            Self::Label(label) => format!("label:{label}"),
        }
    }

    /// The table that knows the names of its ids.
    fn names_table(&self) -> Option<&'static str> {
        match self {
            Self::Tenant => Some("tenants"),
            Self::Project => Some("projects"),
            Self::Key => Some("api_keys"),
            _ => None,
        }
    }
}

/// Appends the query to `SELECT totals.*`: sums per group and bucket, then the names of the groups' ids.
fn totals_query<'t>(mut statement: Statement<'t>, query: &UsageQuery) -> Statement<'t> {
    for (index, dimension) in query.group_by.iter().enumerate() {
        if dimension.names_table().is_some() {
            statement = statement.push(&format!(", names_{index}.name AS name_{index}"));
        }
    }
    statement = statement.push(" FROM (SELECT ");
    for (index, dimension) in query.group_by.iter().enumerate() {
        statement = push_dimension(statement, dimension).push(&format!(" AS group_{index}, "));
    }
    if let Some(bucket_ms) = bucket_ms(query.bucket) {
        statement = statement.push(&format!("admitted_at_ms / {bucket_ms} * {bucket_ms} AS bucket_ms, "));
    }
    statement = statement
        .push(SUMS)
        .filter(" AND admitted_at_ms >= ", query.from.map(|from| from.0))
        .filter(" AND finished_at_ms >= ", query.from.map(|from| from.plus_ms(-MAX_CLOCK_SKEW_MS).0))
        .filter(" AND admitted_at_ms < ", query.to.map(|to| to.0))
        .filter(" AND tenant_id = ", query.tenant.map(|id| id.as_uuid()))
        .filter(" AND project_id = ", query.project.map(|id| id.as_uuid()))
        .filter(" AND key_id = ", query.key.map(|id| id.as_uuid()))
        .filter(" AND model = ", query.model.as_deref())
        .filter(" AND provider = ", query.provider.as_deref());
    let n_groups = query.group_by.len() + usize::from(query.bucket != UsageBucket::None);
    for group in 1..=n_groups {
        statement = statement.push(&format!("{} {group}", if group == 1 { " GROUP BY" } else { "," }));
    }
    statement = statement.push(") AS totals");
    for (index, dimension) in query.group_by.iter().enumerate() {
        if let Some(table) = dimension.names_table() {
            let join =
                format!(" LEFT JOIN {table} AS names_{index} ON names_{index}.id = totals.group_{index}");
            statement = statement.push(&join);
        }
    }
    statement.push(&format!(" LIMIT {}", MAX_ROWS + 1))
}

const SUMS: &str = "COUNT(*) AS requests,
    CAST(COALESCE(SUM(input_tokens), 0) AS BIGINT) AS input_tokens,
    CAST(COALESCE(SUM(cached_tokens), 0) AS BIGINT) AS cached_tokens,
    CAST(COALESCE(SUM(output_tokens), 0) AS BIGINT) AS output_tokens,
    CAST(COALESCE(SUM(cost_nano_usd), 0) AS BIGINT) AS cost_nano_usd,
    CAST(COALESCE(SUM(provider_cost_nano_usd), 0) AS BIGINT) AS provider_cost_nano_usd,
    COUNT(*) FILTER (WHERE is_error) AS errors
    FROM request_details WHERE 1 = 1";

fn push_dimension<'t>(statement: Statement<'t>, dimension: &UsageDimension) -> Statement<'t> {
    match dimension {
        UsageDimension::Tenant => statement.push("tenant_id"),
        UsageDimension::Project => statement.push("project_id"),
        UsageDimension::Key => statement.push("key_id"),
        UsageDimension::Model => statement.push("model"),
        UsageDimension::Provider => statement.push("provider"),
        UsageDimension::User => statement.push("end_user"),
        UsageDimension::Label(label) => statement.push("labels ->> ").push_field(label),
    }
}

/// Months have no fixed length: they are asked for as days and put together by [`by_month`].
fn bucket_ms(bucket: UsageBucket) -> Option<i64> {
    match bucket {
        UsageBucket::None => None,
        UsageBucket::Hour => Some(HOUR_MS),
        UsageBucket::Day | UsageBucket::Month => Some(DAY_MS),
    }
}

fn by_month(days: Vec<UsageRow>) -> Result<Vec<UsageRow>, StoreError> {
    let mut months = BTreeMap::<(UnixMillis, Vec<UsageGroup>), UsageRow>::new();
    for mut day in days {
        let moment = day.bucket_starts_at.unwrap_or_default();
        let periods = TimeZoneName::utc().periods(BudgetWindow::Month, moment);
        let month = periods.map_err(|error| StoreError::corrupt("admitted_at_ms", error))?.current.starts_at;
        day.bucket_starts_at = Some(month);
        match months.entry((month, day.groups.clone())) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(day);
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => entry.get_mut().add(&day),
        }
    }
    Ok(months.into_values().collect())
}

impl UsageRow {
    fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost = self.cost.saturating_add(other.cost);
        self.provider_cost = self.provider_cost.saturating_add(other.provider_cost);
        self.errors = self.errors.saturating_add(other.errors);
    }
}

fn read(row: &Row, query: &UsageQuery) -> Result<UsageRow, StoreError> {
    let mut groups = Vec::with_capacity(query.group_by.len());
    for (index, dimension) in query.group_by.iter().enumerate() {
        let group = format!("group_{index}");
        let (id, name) = if dimension.names_table().is_some() {
            (Some(row.get::<Uuid>(&group)?.to_string()), row.get(&format!("name_{index}"))?)
        } else {
            (None, row.get(&group)?)
        };
        groups.push(UsageGroup { dimension: dimension.name(), id, name });
    }
    let has_buckets = query.bucket != UsageBucket::None;
    Ok(UsageRow {
        groups,
        bucket_starts_at: if has_buckets { Some(row.moment("bucket_ms")?) } else { None },
        requests: row.count("requests")?,
        input_tokens: row.count("input_tokens")?,
        cached_tokens: row.count("cached_tokens")?,
        output_tokens: row.count("output_tokens")?,
        cost: row.money("cost_nano_usd")?,
        provider_cost: row.money("provider_cost_nano_usd")?,
        errors: row.count("errors")?,
    })
}
