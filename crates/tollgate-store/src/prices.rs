//! The operator's price rows: immutable.

use serde::Serialize;
use tollgate_catalog::PriceRow;
use tollgate_domain::{Meter, PriceId, PricePerMillion, TenantId, UnixMillis};
use tollgate_policy::ObjectKind;
use uuid::Uuid;

use crate::db::{Row, Sql, from_name, to_i64};
use crate::policy_log::PolicyAggregate;
use crate::store::{Tx, run_tx};
use crate::tenants;
use crate::{Page, PageRequest, Store, StoreError, WriteContext};

/// The columns of a price row that is not deleted, with further conditions.
macro_rules! select {
    ($conditions:literal) => {
        concat!(
            "SELECT id, tenant_id, provider, model, effective_from_ms, meter, service_tier, context_from,
                 price_nano_usd_per_million, source, created_at_ms
             FROM prices WHERE deleted_at_ms IS NULL",
            $conditions
        )
    };
}

/// A price row as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PriceRecord {
    /// Identity.
    pub id: PriceId,
    /// The row; its `id` is set to the same identity.
    pub row: PriceRow,
    /// When it was created.
    pub created_at: UnixMillis,
}

/// Which price rows; an empty filter means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceFilter {
    /// Of this provider's name.
    pub provider: Option<String>,
    /// Of exactly this model's name (`*` finds the rows for any model).
    pub model: Option<String>,
    /// Only for this tenant.
    pub tenant: Option<TenantId>,
}

impl Store {
    /// Creates a price row under `id`; `row.id` is overwritten with it.
    ///
    /// # Errors
    /// `NotFound` without its tenant; `Conflict` on `effective_from` where a row for the same meter, tier
    /// and context of that model begins at the same moment.
    pub async fn create_price(
        &self,
        ctx: &WriteContext,
        id: PriceId,
        row: PriceRow,
    ) -> Result<PriceRecord, StoreError> {
        let record = new_record(ctx, id, row);
        run_tx!(self, "create_price", |tx| {
            tx.lock_policy().await?;
            create(tx, ctx, &record).await
        })?;
        Ok(record)
    }

    /// Creates price rows as [`Store::create_price`] does, all of them or none: no reader of policy ever sees
    /// a model with some of its prices only. Each row gets a revision of its own.
    ///
    /// # Errors
    /// Those of [`Store::create_price`], for the first row that has one.
    pub async fn create_prices(
        &self,
        ctx: &WriteContext,
        rows: Vec<(PriceId, PriceRow)>,
    ) -> Result<Vec<PriceRecord>, StoreError> {
        let records: Vec<_> = rows.into_iter().map(|(id, row)| new_record(ctx, id, row)).collect();
        run_tx!(self, "create_prices", |tx| {
            tx.lock_policy().await?;
            for record in &records {
                create(tx, ctx, record).await?;
            }
            Ok(())
        })?;
        Ok(records)
    }

    /// The price row of that id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn price(&self, id: PriceId) -> Result<PriceRecord, StoreError> {
        find(&mut self.reader(), id).await?.ok_or_else(|| StoreError::not_found("price", id))
    }

    /// Price rows by id.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_prices(
        &self,
        filter: &PriceFilter,
        page: PageRequest<PriceId>,
    ) -> Result<Page<PriceRecord, PriceId>, StoreError> {
        let mut reader = self.reader();
        let items = reader
            .sql(select!(""))
            .filter(" AND provider = ", filter.provider.as_deref())
            .filter(" AND model = ", filter.model.as_deref())
            .filter(" AND tenant_id = ", filter.tenant.map(|id| id.as_uuid()))
            .filter(" AND id > ", page.after.map(|id| id.as_uuid()))
            .push(" ORDER BY id LIMIT ")
            .push_bind(page.fetch())
            .read_all(read)
            .await?;
        Ok(Page::cut(items, page.rows(), |price| price.id))
    }

    /// Deletes a price row that is not in force yet; answers what was deleted.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` on `effective_from` where it is or was in force.
    pub async fn delete_price(&self, ctx: &WriteContext, id: PriceId) -> Result<PriceRecord, StoreError> {
        run_tx!(self, "delete_price", |tx| {
            tx.lock_policy().await?;
            let price = find(tx, id).await?.ok_or_else(|| StoreError::not_found("price", id))?;
            if price.row.effective_from <= ctx.now {
                return Err(StoreError::conflict("price", "effective_from", IN_FORCE));
            }
            tx.sql("DELETE FROM prices WHERE id = $1").id(id).execute_one().await?;
            tx.record_policy(ctx, "delete", Some(&price), None).await?;
            Ok(price)
        })
    }
}

const IN_FORCE: &str = "the price is or was in force and stays on record: add a row that replaces it";

fn new_record(ctx: &WriteContext, id: PriceId, row: PriceRow) -> PriceRecord {
    PriceRecord { id, row: PriceRow { id: Some(id), ..row }, created_at: ctx.now }
}

/// Stores a row as a change of policy. The policy lock must be held.
async fn create(tx: &mut Tx, ctx: &WriteContext, record: &PriceRecord) -> Result<(), StoreError> {
    if let Some(tenant) = record.row.tenant {
        tenants::require(tx, tenant).await?;
    }
    insert(tx, record).await?;
    tx.record_policy(ctx, "create", None, Some(record)).await
}

// === SQL ===

pub(crate) async fn find(db: &mut impl Sql, id: PriceId) -> Result<Option<PriceRecord>, StoreError> {
    db.sql(select!(" AND id = $1")).id(id).read_optional(read).await
}

pub(crate) async fn all(db: &mut impl Sql) -> Result<Vec<PriceRecord>, StoreError> {
    db.sql(select!(" ORDER BY id")).read_all(read).await
}

/// Marks a tenant's own prices as deleted.
pub(crate) async fn delete_of_tenant(
    tx: &mut Tx,
    ctx: &WriteContext,
    tenant: TenantId,
) -> Result<(), StoreError> {
    for price in tx.sql(select!(" AND tenant_id = $1 ORDER BY id")).id(tenant).read_all(read).await? {
        let mark = "UPDATE prices SET deleted_at_ms = $2 WHERE id = $1";
        tx.sql(mark).id(price.id).bind(ctx.now.0).execute_one().await?;
        tx.record_policy(ctx, "delete", Some(&price), None).await?;
    }
    Ok(())
}

async fn insert(tx: &mut Tx, price: &PriceRecord) -> Result<(), StoreError> {
    let row = &price.row;
    tx.sql(
        "INSERT INTO prices
             (id, tenant_id, provider, model, effective_from_ms, meter, service_tier, context_from,
              price_nano_usd_per_million, source, created_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .id(price.id)
    .bind(row.tenant.map(|id| id.as_uuid()))
    .bind(&row.provider)
    .bind(&row.model)
    .bind(row.effective_from.0)
    .bind(row.meter.map(Meter::name))
    .bind(row.service_tier.name())
    .bind(to_i64(row.context_from))
    .bind(row.price.0)
    .bind(&row.source)
    .bind(price.created_at.0)
    .execute_one()
    .await
}

fn read(row: &Row) -> Result<PriceRecord, StoreError> {
    let id = row.id("id")?;
    let meter: Option<String> = row.get("meter")?;
    let tenant: Option<Uuid> = row.get("tenant_id")?;
    let price_row = PriceRow {
        id: Some(id),
        tenant: tenant.map(TenantId::from_uuid),
        provider: row.get("provider")?,
        model: row.get("model")?,
        effective_from: row.moment("effective_from_ms")?,
        meter: meter.map(|name| from_name("meter", &name)).transpose()?,
        service_tier: row.named("service_tier")?,
        context_from: row.count("context_from")?,
        price: PricePerMillion(row.get("price_nano_usd_per_million")?),
        source: row.get("source")?,
    };
    Ok(PriceRecord { id, row: price_row, created_at: row.moment("created_at_ms")? })
}

impl PolicyAggregate for PriceRecord {
    const KIND: ObjectKind = ObjectKind::Price;

    fn object_id(&self) -> Uuid {
        self.id.as_uuid()
    }

    fn object_name(&self) -> String {
        format!("{}/{}", self.row.provider, self.row.model)
    }

    fn tenant_id(&self) -> Option<TenantId> {
        self.row.tenant
    }
}
