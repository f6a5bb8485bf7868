//! The audit log: who changed what, with before and after. Never changed, never with a secret.

use serde::Serialize;
use serde_json::Value;
use tollgate_domain::{TenantId, UnixMillis};
use uuid::Uuid;

use crate::{ActorKind, Page, PageRequest, Store, StoreError};

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
        todo!()
    }
}
