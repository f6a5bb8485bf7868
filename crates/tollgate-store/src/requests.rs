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
            .sql("SELECT event FROM request_details WHERE 1 = 1")
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
        // a request and its event have the same id
        let found = reader.sql("SELECT event FROM requests WHERE event_id = $1").id(id);
        let found = found.read_optional(read).await?;
        found.ok_or_else(|| StoreError::not_found("request", id))
    }
}

/// An event ready to be inserted: its document is written once, however often the transaction is tried.
pub(crate) struct RequestRow<'e> {
    pub(crate) event: &'e UsageEvent,
    document: String,
}

impl RequestRow<'_> {
    pub(crate) fn id(&self) -> Uuid {
        self.event.event.as_uuid()
    }
}

/// Events in the order of their ids, each once: two batches wait for each other in the same order.
pub(crate) fn rows<E: Borrow<UsageEvent>>(events: &[E]) -> Vec<RequestRow<'_>> {
    let mut rows = Vec::with_capacity(events.len());
    for event in events {
        let event = event.borrow();
        rows.push(RequestRow { event, document: event.to_json() });
    }
    rows.sort_by_key(RequestRow::id);
    rows.dedup_by_key(|row| row.id());
    rows
}

/// Which rows of a batch are new.
pub(crate) enum Inserted {
    /// Every one.
    All(usize),
    /// Those of these ids.
    Some(HashSet<Uuid>),
}

impl Inserted {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::All(n) => *n,
            Self::Some(ids) => ids.len(),
        }
    }

    pub(crate) fn contains(&self, row: &RequestRow<'_>) -> bool {
        match self {
            Self::All(_) => true,
            Self::Some(ids) => ids.contains(&row.id()),
        }
    }
}

/// Inserts those that are not there yet.
pub(crate) async fn insert(tx: &mut Tx, rows: &[RequestRow<'_>]) -> Result<Inserted, StoreError> {
    if rows.is_empty() {
        return Ok(Inserted::All(0));
    }
    if !tx.is_postgres() {
        return insert_sqlite(tx, rows).await;
    }
    let inserted = insert_postgres(tx, rows).await?;
    Ok(if inserted.len() == rows.len() {
        Inserted::All(rows.len())
    } else {
        Inserted::Some(inserted.into_iter().collect())
    })
}

/// PostgreSQL stores no NUL in a text. A client's text must not keep a whole batch out of the journal.
pub(crate) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

pub(crate) fn storable_labels(labels: &Labels) -> Labels {
    let clean =
        |(name, value): (&String, &String)| (storable(name).into_owned(), storable(value).into_owned());
    labels.iter().map(clean).collect()
}

/// A batch as columns: one text for batches of any size, with a placeholder per column.
async fn insert_postgres(tx: &mut Tx, rows: &[RequestRow<'_>]) -> Result<Vec<Uuid>, StoreError> {
    const INSERT: &str =
        "INSERT INTO requests (event_id, request_id, tenant_id, project_id, key_id, end_user, provider,
             model, requested_model, surface, labels, admitted_at_ms, finished_at_ms, input_tokens,
             cached_tokens, output_tokens, cost_nano_usd, provider_cost_nano_usd, basis, outcome, is_error,
             status, streamed, event)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[],
             $8::text[], $9::text[], $10::text[], $11::jsonb[], $12::bigint[], $13::bigint[], $14::bigint[],
             $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::text[], $20::text[], $21::boolean[],
             $22::bigint[], $23::boolean[], $24::text[])
         ON CONFLICT (event_id) DO NOTHING RETURNING event_id";
    let is_error = |event: &UsageEvent| matches!(event.outcome, RequestOutcome::Error(_));
    let text = |read: fn(&UsageEvent) -> &str| column(rows, |row| storable(read(row.event)));
    let number = |read: fn(&UsageEvent) -> i64| column(rows, |row| read(row.event));
    let id = |read: fn(&UsageEvent) -> Uuid| column(rows, |row| read(row.event));
    tx.sql(INSERT)
        .bind_postgres(column(rows, |row| row.event.event.as_uuid()))
        .bind_postgres(id(|event| event.request.as_uuid()))
        .bind_postgres(id(|event| event.tenant.as_uuid()))
        .bind_postgres(id(|event| event.project.as_uuid()))
        .bind_postgres(id(|event| event.key.as_uuid()))
        .bind_postgres(column(rows, |row| row.event.end_user.as_deref().map(storable)))
        .bind_postgres(text(|event| &event.provider))
        .bind_postgres(text(|event| &event.model))
        .bind_postgres(text(|event| &event.requested_model))
        .bind_postgres(column(rows, |row| row.event.surface.name()))
        .bind_postgres(column(rows, |row| Json(storable_labels(&row.event.labels))))
        .bind_postgres(number(|event| event.admitted_at.0))
        .bind_postgres(number(|event| event.finished_at.0))
        .bind_postgres(number(|event| to_i64(event.usage.input_tokens())))
        .bind_postgres(number(|event| to_i64(event.usage.get(Meter::CachedInput))))
        .bind_postgres(number(|event| to_i64(event.usage.output_tokens())))
        .bind_postgres(number(|event| event.cost.0))
        .bind_postgres(number(|event| event.provider_cost.0))
        .bind_postgres(column(rows, |row| row.event.basis.name()))
        .bind_postgres(column(rows, |row| row.event.outcome.name()))
        .bind_postgres(column(rows, |row| is_error(row.event)))
        .bind_postgres(number(|event| i64::from(event.status)))
        .bind_postgres(column(rows, |row| row.event.streamed))
        .bind_postgres(column(rows, |row| row.document.as_str()))
        .read_all(|row| row.get::<Uuid>("event_id"))
        .await
}

/// One value of every row.
fn column<'r, T>(rows: &'r [RequestRow<'_>], read: impl Fn(&'r RequestRow<'_>) -> T) -> Vec<T> {
    rows.iter().map(read).collect()
}

/// SQLite reads the other columns out of the event. `OR FAIL`, because else it copies every page it is about to change,
/// to undo the statement alone where a row fails: here the whole transaction is undone then. It hands every returned
/// row over to another thread, so that it is asked which rows are new only where some are not: those it had before the
/// first of them.
async fn insert_sqlite(tx: &mut Tx, rows: &[RequestRow<'_>]) -> Result<Inserted, StoreError> {
    let last = "SELECT COALESCE(MAX(rowid), 0) AS last FROM requests";
    let last: i64 = tx.sql(last).fetch_one().await?.get("last")?;
    let mut n_inserted = 0;
    for part in parts(rows) {
        let statement = tx.sql(
            "INSERT OR FAIL INTO requests (event_id, tenant_id, admitted_at_ms, finished_at_ms, input_tokens,
                 cached_tokens, output_tokens, cost_nano_usd, provider_cost_nano_usd, event)",
        );
        let statement = push_rows(statement, part, |tuple, row| {
            let event = row.event;
            tuple
                .value(row.id())
                .value(event.tenant.as_uuid())
                .value(event.admitted_at.0)
                .value(event.finished_at.0)
                .value(to_i64(event.usage.input_tokens()))
                .value(to_i64(event.usage.get(Meter::CachedInput)))
                .value(to_i64(event.usage.output_tokens()))
                .value(event.cost.0)
                .value(event.provider_cost.0)
                .value(row.document.as_str());
        });
        n_inserted += statement.push(" ON CONFLICT (event_id) DO NOTHING").execute().await?;
    }
    if n_inserted == rows.len() as u64 {
        return Ok(Inserted::All(rows.len()));
    }
    let mut inserted: HashSet<Uuid> = rows.iter().map(RequestRow::id).collect();
    for part in parts(rows) {
        for known in known_ids(tx, part, last).await? {
            inserted.remove(&known);
        }
    }
    Ok(Inserted::Some(inserted))
}

/// Which of the rows are among the table's first `last`.
async fn known_ids(tx: &mut Tx, rows: &[RequestRow<'_>], last: i64) -> Result<Vec<Uuid>, StoreError> {
    let mut statement = tx.sql("SELECT event_id FROM requests WHERE rowid <= ").push_bind(last);
    statement = statement.push(" AND event_id IN (");
    for (index, row) in rows.iter().enumerate() {
        statement = statement.push(if index == 0 { "" } else { ", " }).push_bind(row.id());
    }
    statement.push(")").read_all(|row| row.get::<Uuid>("event_id")).await
}

fn read(row: &Row) -> Result<RequestRecord, StoreError> {
    let document: String = row.get("event")?;
    serde_json::from_str(&document).map_err(|error| StoreError::corrupt("event", error))
}
