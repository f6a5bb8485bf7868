//! Who changed what.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tollgate_store::{ActorKind, AuditFilter, AuditRecord};
use utoipa::{IntoParams, ToSchema};

use super::usage::span;
use super::{App, List, ListQuery};
use crate::error::Problems;
use crate::parts::Time;
use crate::{Actor, AppError, Resource};

/// Which rows of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// By this actor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Of this action: `create`, `update`, `delete`, `rotate`, `revoke`, `grant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// About this kind of object: `tenant`, `project`, `key`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_kind: Option<String>,
    /// About the object of this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_id: Option<String>,
    /// About objects of this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// At or after this (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Before this (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How many at most; 100 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// One row of the audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditView {
    /// Its place in the log.
    pub sequence: i64,
    /// When.
    pub at: Time,
    /// Who.
    pub actor: String,
    /// `user`, `token` or `system`.
    pub actor_kind: String,
    /// What was done.
    pub action: String,
    /// To what kind of object.
    pub object_kind: String,
    /// The object's id.
    pub object_id: String,
    /// The object's name at that time.
    pub object_name: String,
    /// The tenant it belongs to.
    pub tenant_id: Option<String>,
    /// The object before, without secrets.
    pub before: Option<Value>,
    /// The object after, without secrets.
    pub after: Option<Value>,
    /// Why, where the actor said so.
    pub reason: Option<String>,
}

impl From<AuditRecord> for AuditView {
    fn from(record: AuditRecord) -> Self {
        let actor_kind = match record.actor_kind {
            ActorKind::User => "user",
            ActorKind::Token => "token",
            ActorKind::System => "system",
        };
        Self {
            sequence: record.sequence,
            at: Time(record.at),
            actor: record.actor,
            actor_kind: actor_kind.to_owned(),
            action: record.action,
            object_kind: record.object_kind,
            object_id: record.object_id.to_string(),
            object_name: record.object_name,
            tenant_id: record.tenant.map(|tenant| tenant.to_string()),
            before: record.before,
            after: record.after,
            reason: record.reason,
        }
    }
}

impl App {
    /// Rows of the audit log, newest first.
    ///
    /// # Errors
    /// Forbidden; no such tenant; invalid fields; a bad page.
    pub async fn list_audit(&self, actor: &Actor, query: &AuditQuery) -> Result<List<AuditView>, AppError> {
        let tenant = self.tenant_filter(actor, Resource::Audit, query.tenant.as_deref()).await?;
        let mut problems = Problems::default();
        let (from, to) = span(query.from.as_deref(), query.to.as_deref(), &mut problems);
        let object_id = query.object_id.as_ref().and_then(|id| {
            problems.take("object_id", id.parse::<uuid::Uuid>().map_err(|_| "is no id: write a UUID"))
        });
        problems.finish()?;
        let filter = AuditFilter {
            actor: query.actor.clone(),
            action: query.action.clone(),
            object_kind: query.object_kind.clone(),
            object_id,
            tenant,
            from,
            to,
        };
        let list = ListQuery { limit: query.limit, after: query.after.clone() };
        Ok(List::of(self.parts.store.list_audit(&filter, list.page()?).await?, AuditView::from))
    }
}
