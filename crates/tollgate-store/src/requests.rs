//! Finished requests: lists of receipts.

use std::borrow::{Borrow, Cow};
use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use tollgate_domain::{
    EventId, KeyId, Labels, Meter, ProjectId, RequestId, RequestOutcome, TenantId, UnixMillis, UsageEvent,
};
use uuid::Uuid;

use crate::db::{Row, Sql, to_i64};
use crate::journal::{parts, push_rows};
use crate::store::Tx;
use crate::{Page, PageRequest, Store, StoreError};

/// A finished request as journaled: its receipt.
pub type RequestRecord = UsageEvent;

/// A place in the list of requests. As text: `<finished_at in milliseconds>.<event id>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCursor {
    /// When the request ended.
    pub finished_at: UnixMillis,
    /// Its event.
    pub event: EventId,
}

impl fmt::Display for RequestCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.finished_at.0, self.event)
    }
}

impl FromStr for RequestCursor {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (finished_at, event) = text.split_once('.')?;
            Some(Self { finished_at: UnixMillis(finished_at.parse().ok()?), event: event.parse().ok()? })
        };
        parse().ok_or_else(|| {
            StoreError::invalid(
                "request",
                "after",
                format!("`{text}` is no cursor: pass `next` of the page before"),
            )
        })
    }
}

/// Which requests; an empty filter means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFilter {
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// Of this project.
    pub project: Option<ProjectId>,
    /// With this key.
    pub key: Option<KeyId>,
    /// Answered by this provider's name.
    pub provider: Option<String>,
    /// Answered by this model, or asked for under this name.
    pub model: Option<String>,
    /// Ended like this: `ok`, `client_closed` or an error's code.
    pub outcome: Option<String>,
    /// Ended at or after this.
    pub from: Option<UnixMillis>,
    /// Ended before this.
    pub to: Option<UnixMillis>,
}

impl Store {
    /// Finished requests, newest end first.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_requests(
        &self,
        filter: &RequestFilter,
        page: PageRequest<RequestCursor>,
    ) -> Result<Page<RequestRecord, RequestCursor>, StoreError> {
        let mut reader = self.reader();
        let mut query = reader
            .sql("SELECT event FROM requests WHERE 1 = 1")
            .filter(" AND tenant_id = ", filter.tenant.map(|id| id.as_uuid()))
            .filter(" AND project_id = ", filter.project.map(|id| id.as_uuid()))
            .filter(" AND key_id = ", filter.key.map(|id| id.as_uuid()))
            .filter(" AND provider = ", filter.provider.as_deref())
            .filter(" AND outcome = ", filter.outcome.as_deref())
            .filter(" AND finished_at_ms >= ", filter.from.map(|from| from.0))
            .filter(" AND finished_at_ms < ", filter.to.map(|to| to.0));
        if let Some(model) = filter.model.as_deref() {
            query = query.push(" AND (model = ").push_bind(model);
            query = query.push(" OR requested_model = ").push_bind(model).push(")");
        }
        if let Some(RequestCursor { finished_at, event }) = page.after {
            query = query.push(" AND (finished_at_ms, event_id) < (").push_bind(finished_at.0);
            query = query.push(", ").push_bind(event.as_uuid()).push(")");
        }
        let query = query.push(" ORDER BY finished_at_ms DESC, event_id DESC LIMIT ").push_bind(page.fetch());
        let items = query.read_all(read).await?;
        let cursor =
            |event: &UsageEvent| RequestCursor { finished_at: event.finished_at, event: event.event };
        Ok(Page::cut(items, page.rows(), cursor))
    }

    /// The receipt of a request.
    ///
    /// # Errors
    /// `NotFound`, also while it is still in flight or on its way to the journal.
    pub async fn request(&self, id: RequestId) -> Result<RequestRecord, StoreError> {
        let mut reader = self.reader();
        let latest = "SELECT event FROM requests WHERE request_id = $1 ORDER BY finished_at_ms DESC LIMIT 1";
        let found = reader.sql(latest).id(id).read_optional(read).await?;
        found.ok_or_else(|| StoreError::not_found("request", id))
    }
}

/// An event ready to be inserted: its document is written once, however often the transaction is tried.
pub(crate) struct RequestRow<'e> {
    pub(crate) event: &'e UsageEvent,
    document: String,
    labels: Labels,
}

impl RequestRow<'_> {
    pub(crate) fn id(&self) -> Uuid {
        self.event.event.as_uuid()
    }
}

/// Events in the order of their ids, each once: two batches wait for each other in the same order.
pub(crate) fn rows<E: Borrow<UsageEvent>>(events: &[E]) -> Result<Vec<RequestRow<'_>>, StoreError> {
    let mut rows = Vec::with_capacity(events.len());
    for event in events {
        let event = event.borrow();
        let document = serde_json::to_string(event).map_err(|error| StoreError::corrupt("event", error))?;
        let clean =
            |(name, value): (&String, &String)| (storable(name).into_owned(), storable(value).into_owned());
        rows.push(RequestRow { event, document, labels: event.labels.iter().map(clean).collect() });
    }
    rows.sort_by_key(RequestRow::id);
    rows.dedup_by_key(|row| row.id());
    Ok(rows)
}

/// PostgreSQL stores no NUL in a text. A client's text must not keep a whole batch out of the journal.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// Inserts those that are not there yet and answers their event ids.
pub(crate) async fn insert(tx: &mut Tx, rows: &[RequestRow<'_>]) -> Result<HashSet<Uuid>, StoreError> {
    let mut inserted = HashSet::with_capacity(rows.len());
    for part in parts(rows) {
        // SQLite hands every returned row over to another thread; its writers take turns, so it can be asked
        // beforehand, and nearly always answers nothing
        let known = if tx.is_postgres() { None } else { Some(known_ids(tx, part).await?) };
        let statement = tx.sql(
            "INSERT INTO requests (event_id, request_id, tenant_id, project_id, key_id, end_user, provider,
                 model, requested_model, surface, labels, admitted_at_ms, finished_at_ms, input_tokens,
                 cached_tokens, output_tokens, cost_nano_usd, provider_cost_nano_usd, basis, outcome, is_error,
                 status, streamed, event)",
        );
        let statement = push_rows(statement, part, |tuple, row| {
            let event = row.event;
            tuple
                .value(event.event.as_uuid())
                .value(event.request.as_uuid())
                .value(event.tenant.as_uuid())
                .value(event.project.as_uuid())
                .value(event.key.as_uuid())
                .value(event.end_user.as_deref().map(storable))
                .value(storable(&event.provider))
                .value(storable(&event.model))
                .value(storable(&event.requested_model))
                .value(event.surface.name())
                .value(Json(&row.labels))
                .value(event.admitted_at.0)
                .value(event.finished_at.0)
                .value(to_i64(event.usage.input_tokens()))
                .value(to_i64(event.usage.get(Meter::CachedInput)))
                .value(to_i64(event.usage.output_tokens()))
                .value(event.cost.0)
                .value(event.provider_cost.0)
                .value(event.basis.name())
                .value(event.outcome.name())
                .value(matches!(event.outcome, RequestOutcome::Error(_)))
                .value(i64::from(event.status))
                .value(event.streamed)
                .value(row.document.as_str())
        });
        let statement = statement.push(" ON CONFLICT (event_id) DO NOTHING");
        match known {
            None => {
                let statement = statement.push(" RETURNING event_id");
                inserted.extend(statement.read_all(|row| row.get::<Uuid>("event_id")).await?);
            }
            Some(known) => {
                statement.execute().await?;
                inserted.extend(part.iter().map(RequestRow::id).filter(|id| !known.contains(id)));
            }
        }
    }
    Ok(inserted)
}

/// Which of the rows are there already.
async fn known_ids(tx: &mut Tx, rows: &[RequestRow<'_>]) -> Result<HashSet<Uuid>, StoreError> {
    let mut statement = tx.sql("SELECT event_id FROM requests WHERE event_id IN (");
    for (index, row) in rows.iter().enumerate() {
        statement = statement.push(if index == 0 { "" } else { ", " }).push_bind(row.id());
    }
    let known = statement.push(")").read_all(|row| row.get::<Uuid>("event_id")).await?;
    Ok(known.into_iter().collect())
}

fn read(row: &Row) -> Result<RequestRecord, StoreError> {
    let document: String = row.get("event")?;
    serde_json::from_str(&document).map_err(|error| StoreError::corrupt("event", error))
}
