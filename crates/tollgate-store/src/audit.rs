//! The audit log: who changed what, with before and after. Never changed, never with a secret.

use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use tollgate_domain::{TenantId, UnixMillis};
use uuid::Uuid;

use crate::db::{Row, Sql, name_of};
use crate::store::Tx;
use crate::{ActorKind, Page, PageRequest, Store, StoreError, WriteContext};

/// One row of the audit log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditRecord {
    /// Its place in the log.
    pub sequence: i64,
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub actor: String,
    /// What kind of actor.
    pub actor_kind: ActorKind,
    /// What was done: `create`, `update`, `delete`, `rotate`, `revoke`, `grant`.
    pub action: String,
    /// To what kind of object: `tenant`, `project`, `key`, …, `credit`, `settings`.
    pub object_kind: String,
    /// Its identity; zero for settings.
    pub object_id: Uuid,
    /// Its name at that time.
    pub object_name: String,
    /// The tenant it belongs to, where it belongs to one.
    pub tenant: Option<TenantId>,
    /// The object before; `None` at creation.
    pub before: Option<Value>,
    /// The object after; `None` at deletion.
    pub after: Option<Value>,
    /// Why, where the actor said so.
    pub reason: Option<String>,
}

/// Which rows; an empty filter means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// By this actor.
    pub actor: Option<String>,
    /// Of this action.
    pub action: Option<String>,
    /// About this kind of object.
    pub object_kind: Option<String>,
    /// About this object.
    pub object_id: Option<Uuid>,
    /// About objects of this tenant.
    pub tenant: Option<TenantId>,
    /// At or after this.
    pub from: Option<UnixMillis>,
    /// Before this.
    pub to: Option<UnixMillis>,
}

impl Store {
    /// Rows of the audit log, newest first. The cursor is [`AuditRecord::sequence`].
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_audit(
        &self,
        filter: &AuditFilter,
        page: PageRequest<i64>,
    ) -> Result<Page<AuditRecord, i64>, StoreError> {
        let mut reader = self.reader();
        let items = reader
            .sql(SELECT)
            .filter(" AND actor = ", filter.actor.as_deref())
            .filter(" AND action = ", filter.action.as_deref())
            .filter(" AND object_kind = ", filter.object_kind.as_deref())
            .filter(" AND object_id = ", filter.object_id)
            .filter(" AND tenant_id = ", filter.tenant.map(|id| id.as_uuid()))
            .filter(" AND at_ms >= ", filter.from.map(|from| from.0))
            .filter(" AND at_ms < ", filter.to.map(|to| to.0))
            .filter(" AND sequence < ", page.after)
            .push(" ORDER BY sequence DESC LIMIT ")
            .push_bind(page.fetch())
            .read_all(read)
            .await?;
        Ok(Page::cut(items, page.rows(), |record| record.sequence))
    }
}

/// What a write reports to the audit log; the rest comes from its context.
pub(crate) struct AuditEntry {
    pub(crate) action: &'static str,
    pub(crate) object_kind: &'static str,
    pub(crate) object_id: Uuid,
    pub(crate) object_name: String,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
}

impl Tx {
    /// Appends a row to the audit log.
    pub(crate) async fn audit(&mut self, ctx: &WriteContext, entry: AuditEntry) -> Result<(), StoreError> {
        self.sql(
            "INSERT INTO audit (at_ms, actor, actor_kind, action, object_kind, object_id, object_name,
                 tenant_id, before_state, after_state, reason)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(ctx.now.0)
        .bind(&ctx.actor)
        .bind(name_of(&ctx.actor_kind))
        .bind(entry.action)
        .bind(entry.object_kind)
        .bind(entry.object_id)
        .bind(entry.object_name)
        .bind(entry.tenant.map(|id| id.as_uuid()))
        .bind(entry.before.map(Json))
        .bind(entry.after.map(Json))
        .bind(ctx.reason.as_deref())
        .execute_one()
        .await
    }
}

const SELECT: &str = "SELECT sequence, at_ms, actor, actor_kind, action, object_kind, object_id, object_name,
        tenant_id, before_state, after_state, reason
    FROM audit WHERE 1 = 1";

fn read(row: &Row) -> Result<AuditRecord, StoreError> {
    let document = |column| Ok::<_, StoreError>(row.get::<Option<Json<Value>>>(column)?.map(|json| json.0));
    Ok(AuditRecord {
        sequence: row.get("sequence")?,
        at: row.moment("at_ms")?,
        actor: row.get("actor")?,
        actor_kind: row.named("actor_kind")?,
        action: row.get("action")?,
        object_kind: row.get("object_kind")?,
        object_id: row.get("object_id")?,
        object_name: row.get("object_name")?,
        tenant: row.get::<Option<Uuid>>("tenant_id")?.map(TenantId::from_uuid),
        before: document("before_state")?,
        after: document("after_state")?,
        reason: row.get("reason")?,
    })
}
