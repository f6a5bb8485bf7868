//! Tenants: whoever pays.

use serde::Serialize;
use tollgate_domain::{NanoUsd, TenantId, TimeZoneName, UnixMillis};
use tollgate_policy::{Billing, DataPolicy, ObjectKind, OwnerRules, RateLimits, TenantPolicy};
use uuid::Uuid;

use crate::db::{Row, Sql, name_of};
use crate::policy_log::PolicyAggregate;
use crate::store::{Tx, run_tx};
use crate::{NewCredit, Page, PageRequest, Store, StoreError, WriteContext};
use crate::{budgets, credits, end_users, journal, margins, prices, projects, webhooks};

/// The columns of a tenant that is not deleted, with further conditions.
macro_rules! select {
    ($conditions:literal) => {
        concat!(
            "SELECT id, name, billing, time_zone, blocked, limits, rules, data_policy, alert_below,
                 created_at_ms, updated_at_ms
             FROM tenants WHERE deleted_at_ms IS NULL",
            $conditions
        )
    };
}

/// A tenant as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TenantRecord {
    /// Identity.
    pub id: TenantId,
    /// Unique name.
    pub name: String,
    /// How it pays.
    pub billing: Billing,
    /// Whose calendar its budgets follow.
    #[serde(serialize_with = "zone_name")]
    pub time_zone: TimeZoneName,
    /// A blocked tenant's keys are refused.
    pub blocked: bool,
    /// Rate limits over all its keys.
    pub limits: RateLimits,
    /// What holds for each end user and each model.
    pub rules: OwnerRules,
    /// Where its data may go.
    pub data_policy: DataPolicy,
    /// Below which balances of its wallet somebody wants to be told, descending; a pod does not need to know.
    pub alert_below: Vec<NanoUsd>,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

fn zone_name<S: serde::Serializer>(zone: &TimeZoneName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(zone.name())
}

impl TenantRecord {
    /// The tenant as the pods see it.
    #[must_use]
    pub fn to_policy(&self) -> TenantPolicy {
        TenantPolicy {
            id: self.id,
            name: self.name.clone(),
            billing: self.billing,
            time_zone: self.time_zone.clone(),
            blocked: self.blocked,
            limits: self.limits,
            rules: self.rules.clone(),
            data_policy: self.data_policy.clone(),
        }
    }
}

/// What credit in its wallet means for a tenant that is to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnspentCredit {
    IsLost,
    IsInTheWay,
}

impl Store {
    /// Creates a tenant.
    ///
    /// # Errors
    /// `Conflict` on `name` where a tenant of that name exists.
    pub async fn create_tenant(
        &self,
        ctx: &WriteContext,
        tenant: TenantPolicy,
    ) -> Result<TenantRecord, StoreError> {
        self.create_tenant_with_credit(ctx, tenant, None).await
    }

    /// The same with its first credit, both or neither.
    ///
    /// # Errors
    /// As [`Store::create_tenant`] and [`Store::grant_credit`].
    pub async fn create_tenant_with_credit(
        &self,
        ctx: &WriteContext,
        tenant: TenantPolicy,
        credit: Option<NewCredit>,
    ) -> Result<TenantRecord, StoreError> {
        let record = TenantRecord {
            id: tenant.id,
            name: tenant.name,
            billing: tenant.billing,
            time_zone: tenant.time_zone,
            blocked: tenant.blocked,
            limits: tenant.limits,
            rules: tenant.rules,
            data_policy: tenant.data_policy,
            alert_below: Vec::new(),
            created_at: ctx.now,
            updated_at: ctx.now,
        };
        run_tx!(self, "create_tenant", |tx| {
            tx.lock_policy().await?;
            insert(tx, &record).await?;
            tx.record_policy(ctx, "create", None, Some(&record)).await?;
            if let Some(credit) = &credit {
                credits::grant(tx, ctx, credit, NanoUsd::ZERO).await?;
            }
            Ok(())
        })?;
        Ok(record)
    }

    /// The tenant of that id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn tenant(&self, id: TenantId) -> Result<TenantRecord, StoreError> {
        find(&mut self.reader(), id).await?.ok_or_else(|| StoreError::not_found("tenant", id))
    }

    /// The tenant of that name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn tenant_by_name(&self, name: &str) -> Result<TenantRecord, StoreError> {
        let found = self.reader().sql(select!(" AND name = $1")).bind(name).read_optional(read).await?;
        found.ok_or_else(|| StoreError::not_found("tenant", name))
    }

    /// Tenants by id, which is the order of their creation.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_tenants(
        &self,
        page: PageRequest<TenantId>,
    ) -> Result<Page<TenantRecord, TenantId>, StoreError> {
        let mut reader = self.reader();
        let query = reader.sql(select!("")).filter(" AND id > ", page.after.map(|id| id.as_uuid()));
        let items = query.push(" ORDER BY id LIMIT ").push_bind(page.fetch()).read_all(read).await?;
        Ok(Page::cut(items, page.rows(), |tenant| tenant.id))
    }

    /// Those of the tenants whose wallet's balance somebody wants to be told about.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn alerting_wallets_of(&self, tenants: &[TenantId]) -> Result<Vec<TenantRecord>, StoreError> {
        let mut found = Vec::new();
        for part in journal::parts(tenants) {
            let mut reader = self.reader();
            let mut query = reader.sql(select!(" AND alert_below <> '[]' AND id IN ("));
            for (index, tenant) in part.iter().enumerate() {
                query = if index == 0 { query } else { query.push(", ") }.push_bind(tenant.as_uuid());
            }
            found.extend(query.push(")").read_all(read).await?);
        }
        Ok(found)
    }

    /// Changes a tenant: `change` edits the stored record inside the transaction and may be called again
    /// when that is retried. Changes of id and times are ignored; no difference writes nothing.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` on `name`, or on `time_zone` where a budget follows it.
    pub async fn update_tenant(
        &self,
        ctx: &WriteContext,
        id: TenantId,
        change: impl Fn(&mut TenantRecord) + Send + Sync,
    ) -> Result<TenantRecord, StoreError> {
        run_tx!(self, "update_tenant", |tx| {
            tx.lock_policy().await?;
            let before = find(tx, id).await?.ok_or_else(|| StoreError::not_found("tenant", id))?;
            let mut after = before.clone();
            change(&mut after);
            after.id = before.id;
            after.created_at = before.created_at;
            after.updated_at = before.updated_at;
            if after == before {
                return Ok(before);
            }
            if after.time_zone != before.time_zone
                && (budgets::has_windowed(tx, id).await? || end_users::has_windowed_rules(tx, &after).await?)
            {
                // The ledger counts by budget and period: in other periods, what was spent would count as
                // nothing.
                return Err(StoreError::conflict("tenant", "time_zone", FOLLOWED));
            }
            after.updated_at = ctx.now;
            write(tx, &after).await?;
            tx.record_policy(ctx, "update", Some(&before), Some(&after)).await?;
            Ok(after)
        })
    }

    /// Deletes a tenant with its projects, keys and budgets; answers what was deleted. Its journal stays:
    /// the rows are kept, marked as deleted, where there is any, and its name is free again.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_tenant(&self, ctx: &WriteContext, id: TenantId) -> Result<TenantRecord, StoreError> {
        self.delete_tenant_if(ctx, id, UnspentCredit::IsLost).await
    }

    /// The same, unless the tenant pays ahead and credit is left in its wallet.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` on `credit` with what is left, by the journal.
    pub async fn delete_spent_tenant(
        &self,
        ctx: &WriteContext,
        id: TenantId,
    ) -> Result<TenantRecord, StoreError> {
        self.delete_tenant_if(ctx, id, UnspentCredit::IsInTheWay).await
    }

    async fn delete_tenant_if(
        &self,
        ctx: &WriteContext,
        id: TenantId,
        unspent: UnspentCredit,
    ) -> Result<TenantRecord, StoreError> {
        run_tx!(self, "delete_tenant", |tx| {
            tx.lock_policy().await?;
            let tenant = find(tx, id).await?.ok_or_else(|| StoreError::not_found("tenant", id))?;
            if unspent == UnspentCredit::IsInTheWay && tenant.billing == Billing::Prepaid {
                require_spent(tx, id).await?;
            }
            budgets::delete_of_tenant(tx, ctx, id).await?;
            for project in projects::of_tenant(tx, id).await? {
                projects::delete_with_keys(tx, ctx, &project).await?;
            }
            prices::delete_of_tenant(tx, ctx, id).await?;
            margins::delete_of_tenant(tx, ctx, id).await?;
            webhooks::delete_of_tenant(tx, ctx, id).await?;
            if tx.sql(HAS_JOURNAL).id(id).fetch_optional().await?.is_some() {
                let mark = "UPDATE tenants SET deleted_at_ms = $2 WHERE id = $1";
                tx.sql(mark).id(id).bind(ctx.now.0).execute_one().await?;
            } else {
                tx.sql("DELETE FROM tenants WHERE id = $1").id(id).execute_one().await?;
            }
            tx.record_policy(ctx, "delete", Some(&tenant), None).await?;
            Ok(tenant)
        })
    }
}

const FOLLOWED: &str = "budgets per day, week or month follow the time zone: delete those of the tenant, its \
    projects and keys, and of their end users, first, then create them again";

// === SQL ===

/// A row where the tenant has ever been credited or charged, or had a request.
const HAS_JOURNAL: &str = "SELECT 1 AS found FROM journal_entries WHERE tenant_id = $1
    UNION ALL SELECT 1 AS found FROM spend_quarters WHERE owner_id = $1 LIMIT 1";

pub(crate) async fn find(db: &mut impl Sql, id: TenantId) -> Result<Option<TenantRecord>, StoreError> {
    db.sql(select!(" AND id = $1")).id(id).read_optional(read).await
}

pub(crate) async fn all(db: &mut impl Sql) -> Result<Vec<TenantRecord>, StoreError> {
    db.sql(select!(" ORDER BY id")).read_all(read).await
}

/// Refuses to go on without that tenant.
pub(crate) async fn require(tx: &mut Tx, id: TenantId) -> Result<(), StoreError> {
    find(tx, id).await?.map(drop).ok_or_else(|| StoreError::not_found("tenant", id))
}

/// Refuses to go on while credit is left in the wallet.
async fn require_spent(tx: &mut Tx, id: TenantId) -> Result<(), StoreError> {
    let settled = journal::settled(tx, id).await?;
    let left = credits::total(tx, id).await?.sum.saturating_sub(settled);
    if left <= NanoUsd::ZERO {
        return Ok(());
    }
    let message = format!(
        "the tenant's wallet holds {left} USD: take it out with an adjustment of -{left} first, or delete it \
         with `force=true`"
    );
    Err(StoreError::conflict("tenant", "credit", message))
}

async fn insert(tx: &mut Tx, tenant: &TenantRecord) -> Result<(), StoreError> {
    tx.sql(
        "INSERT INTO tenants
             (id, name, billing, time_zone, blocked, limits, data_policy, created_at_ms, updated_at_ms, rules)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .id(tenant.id)
    .bind(&tenant.name)
    .bind(name_of(&tenant.billing))
    .bind(tenant.time_zone.name())
    .bind(tenant.blocked)
    .json(&tenant.limits)
    .json(&tenant.data_policy)
    .bind(tenant.created_at.0)
    .bind(tenant.updated_at.0)
    .json(&tenant.rules)
    .execute_one()
    .await
}

async fn write(tx: &mut Tx, tenant: &TenantRecord) -> Result<(), StoreError> {
    tx.sql(
        "UPDATE tenants SET name = $2, billing = $3, time_zone = $4, blocked = $5, limits = $6,
             data_policy = $7, updated_at_ms = $8, alert_below = $9, rules = $10
         WHERE id = $1",
    )
    .id(tenant.id)
    .bind(&tenant.name)
    .bind(name_of(&tenant.billing))
    .bind(tenant.time_zone.name())
    .bind(tenant.blocked)
    .json(&tenant.limits)
    .json(&tenant.data_policy)
    .bind(tenant.updated_at.0)
    .json(&tenant.alert_below)
    .json(&tenant.rules)
    .execute_one()
    .await
}

fn read(row: &Row) -> Result<TenantRecord, StoreError> {
    let time_zone: String = row.get("time_zone")?;
    Ok(TenantRecord {
        id: row.id("id")?,
        name: row.get("name")?,
        billing: row.named("billing")?,
        time_zone: TimeZoneName::parse(&time_zone)
            .map_err(|error| StoreError::corrupt("time_zone", error))?,
        blocked: row.get("blocked")?,
        limits: row.json("limits")?,
        rules: row.json("rules")?,
        data_policy: row.json("data_policy")?,
        alert_below: row.json("alert_below")?,
        created_at: row.moment("created_at_ms")?,
        updated_at: row.moment("updated_at_ms")?,
    })
}

impl PolicyAggregate for TenantRecord {
    const KIND: ObjectKind = ObjectKind::Tenant;

    fn object_id(&self) -> Uuid {
        self.id.as_uuid()
    }

    fn object_name(&self) -> String {
        self.name.clone()
    }

    fn tenant_id(&self) -> Option<TenantId> {
        Some(self.id)
    }
}
