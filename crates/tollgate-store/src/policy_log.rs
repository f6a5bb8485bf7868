//! The numbered changes of policy, and policy itself as records.

use serde::Serialize;
use tollgate_domain::{Id, TenantId};
use tollgate_policy::{ObjectKind, ObjectRef};
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::db::{Row, Sql, to_i64};
use crate::listen::CHANNEL;
use crate::store::{Tx, run_snapshot, run_tx};
use crate::{
    BudgetRecord, KeyRecord, MarginRecord, ModelRecord, PriceRecord, ProjectRecord, ProviderRecord,
    SettingsRecord, Store, StoreError, TenantRecord, WriteContext,
};
use crate::{budgets, keys, margins, models, prices, projects, providers, settings, tenants};

/// How many changes are kept: a reader that is further behind loads everything anew.
pub const CHANGES_RETAINED: u64 = 100_000;

/// Any policy object as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyRecord {
    /// The installation's settings.
    Settings(SettingsRecord),
    /// A provider with its encrypted credentials.
    Provider(ProviderRecord),
    /// A price row.
    Price(PriceRecord),
    /// A margin rule.
    Margin(MarginRecord),
    /// A virtual model.
    Model(ModelRecord),
    /// A tenant.
    Tenant(TenantRecord),
    /// A project.
    Project(ProjectRecord),
    /// A key.
    Key(KeyRecord),
    /// A budget.
    Budget(BudgetRecord),
}

/// All policy at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedPolicy {
    /// The revision all objects are at.
    pub revision: u64,
    /// Every object, parents before children; settings first.
    pub records: Vec<PolicyRecord>,
}

impl Store {
    /// The newest revision; 0 before the first change.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn policy_revision(&self) -> Result<u64, StoreError> {
        revision(&mut self.reader()).await
    }

    /// The changes after `revision` in order, at most `max`. `None` where some of them are no longer kept:
    /// load everything. A change says which object, not how: load it, and take `None` for deleted.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn policy_changes_since(
        &self,
        revision: u64,
        max: u32,
    ) -> Result<Option<Vec<(u64, ObjectRef)>>, StoreError> {
        run_snapshot!(self, |tx| {
            let newest = self::revision(tx).await?;
            let oldest_kept =
                tx.sql("SELECT MIN(revision) AS oldest FROM policy_changes").fetch_one().await?;
            let oldest_kept = oldest_kept.get::<Option<i64>>("oldest")?.map_or(newest + 1, i64::unsigned_abs);
            // A revision from the future is that of a database restored from a backup.
            if revision > newest || revision + 1 < oldest_kept {
                return Ok(None);
            }
            let changes = tx.sql(CHANGES).bind(to_i64(revision)).bind(i64::from(max));
            changes.read_all(read_change).await.map(Some)
        })
    }

    /// The object as it is now; `None` where it is deleted or never was.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn load_policy_object(&self, reference: ObjectRef) -> Result<Option<PolicyRecord>, StoreError> {
        let db = &mut self.reader();
        let id = reference.id;
        Ok(match reference.kind {
            ObjectKind::Settings => Some(PolicyRecord::Settings(settings::find(db).await?)),
            ObjectKind::Provider => providers::find(db, Id::from_uuid(id)).await?.map(PolicyRecord::Provider),
            ObjectKind::Price => prices::find(db, Id::from_uuid(id)).await?.map(PolicyRecord::Price),
            ObjectKind::Margin => margins::find(db, Id::from_uuid(id)).await?.map(PolicyRecord::Margin),
            ObjectKind::Model => models::find(db, Id::from_uuid(id)).await?.map(PolicyRecord::Model),
            ObjectKind::Tenant => tenants::find(db, Id::from_uuid(id)).await?.map(PolicyRecord::Tenant),
            ObjectKind::Project => projects::find(db, Id::from_uuid(id)).await?.map(PolicyRecord::Project),
            ObjectKind::Key => keys::find(db, Id::from_uuid(id)).await?.map(PolicyRecord::Key),
            ObjectKind::Budget => budgets::find(db, Id::from_uuid(id)).await?.map(PolicyRecord::Budget),
        })
    }

    /// All policy objects at one revision, read in one transaction.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn load_policy(&self) -> Result<LoadedPolicy, StoreError> {
        run_snapshot!(self, |tx| {
            let revision = revision(tx).await?;
            let mut records = vec![PolicyRecord::Settings(settings::find(tx).await?)];
            records.extend(providers::all(tx).await?.into_iter().map(PolicyRecord::Provider));
            records.extend(prices::all(tx).await?.into_iter().map(PolicyRecord::Price));
            records.extend(margins::all(tx).await?.into_iter().map(PolicyRecord::Margin));
            records.extend(models::all(tx).await?.into_iter().map(PolicyRecord::Model));
            records.extend(tenants::all(tx).await?.into_iter().map(PolicyRecord::Tenant));
            records.extend(projects::all(tx).await?.into_iter().map(PolicyRecord::Project));
            records.extend(keys::all(tx).await?.into_iter().map(PolicyRecord::Key));
            records.extend(budgets::all(tx).await?.into_iter().map(PolicyRecord::Budget));
            Ok(LoadedPolicy { revision, records })
        })
    }

    /// Forgets changes older than the last [`CHANGES_RETAINED`]; answers how many.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn prune_policy_changes(&self) -> Result<u64, StoreError> {
        run_tx!(self, "prune_policy_changes", |tx| {
            tx.sql("DELETE FROM policy_changes WHERE revision <= (SELECT revision FROM policy_head) - $1")
                .bind(to_i64(CHANGES_RETAINED))
                .execute()
                .await
        })
    }
}

/// A record that is policy: its changes are numbered and audited.
pub(crate) trait PolicyAggregate: Serialize + Sync {
    const KIND: ObjectKind;

    fn object_id(&self) -> Uuid;

    fn object_name(&self) -> String;

    fn tenant_id(&self) -> Option<TenantId>;
}

impl Tx {
    /// Waits until every other change of policy has ended and keeps further ones out until this one has:
    /// what the transaction reads afterwards stays true, and revisions become visible in their order.
    pub(crate) async fn lock_policy(&mut self) -> Result<(), StoreError> {
        self.sql("UPDATE policy_head SET revision = revision WHERE id = 1").execute_one().await
    }

    /// Audits a change of policy and gives it the next revision. The policy lock must be held.
    pub(crate) async fn record_policy<R: PolicyAggregate>(
        &mut self,
        ctx: &WriteContext,
        action: &'static str,
        before: Option<&R>,
        after: Option<&R>,
    ) -> Result<(), StoreError> {
        let Some(subject) = after.or(before) else { return Ok(()) };
        let document =
            |record: &R| serde_json::to_value(record).map_err(|error| StoreError::corrupt(action, error));
        let entry = AuditEntry {
            action,
            object_kind: R::KIND.name(),
            object_id: subject.object_id(),
            object_name: subject.object_name(),
            tenant: subject.tenant_id(),
            before: before.map(document).transpose()?,
            after: after.map(document).transpose()?,
        };
        let id = entry.object_id;
        self.audit(ctx, entry).await?;
        let next = "UPDATE policy_head SET revision = revision + 1 WHERE id = 1 RETURNING revision";
        let revision = self.sql(next).fetch_one().await?.count("revision")?;
        self.sql(
            "INSERT INTO policy_changes (revision, kind, object_id, changed_at_ms) VALUES ($1, $2, $3, $4)",
        )
        .bind(to_i64(revision))
        .bind(R::KIND.name())
        .bind(id)
        .bind(ctx.now.0)
        .execute_one()
        .await?;
        if self.is_postgres() {
            self.sql("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(revision.to_string()).fetch_all().await?;
        }
        self.revision = Some(revision);
        Ok(())
    }
}

const CHANGES: &str = "SELECT revision, kind, object_id FROM policy_changes
    WHERE revision > $1 ORDER BY revision LIMIT $2";

async fn revision(db: &mut impl Sql) -> Result<u64, StoreError> {
    db.sql("SELECT revision FROM policy_head").fetch_one().await?.count("revision")
}

fn read_change(row: &Row) -> Result<(u64, ObjectRef), StoreError> {
    Ok((row.count("revision")?, ObjectRef { kind: row.named("kind")?, id: row.get("object_id")? }))
}
