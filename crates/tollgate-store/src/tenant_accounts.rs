//! What a reseed of the ledger has to know of many tenants, in few round trips: all of them wait for it.

use std::collections::HashMap;

use tollgate_domain::{KeyId, NanoUsd, TenantId, TimeZoneName};

use crate::db::{Row, Sql};
use crate::journal::parts;
use crate::{BudgetRecord, CreditTotal, Store, StoreError};
use crate::{budget_increases, budgets};

/// What a tenant's counters follow, also when it is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantCalendar {
    /// Whose calendar its budgets follow.
    pub time_zone: TimeZoneName,
    /// Whether its keys are refused.
    pub is_blocked: bool,
    /// Whether it is deleted, and only its journal is left.
    pub is_deleted: bool,
}

/// What is stored of a tenant that its counters in the ledger follow, but for its charges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantAccount {
    /// `None` where nothing is left of the tenant.
    pub calendar: Option<TenantCalendar>,
    /// Its budgets and those of its projects and keys, by id.
    pub budgets: Vec<BudgetRecord>,
    /// All credit ever given to it.
    pub credit: CreditTotal,
    /// Its keys that must not be used: blocked, revoked, or deleted and still named by its journal; all of them where
    /// the tenant is blocked.
    pub unusable_keys: Vec<KeyId>,
}

impl Store {
    /// A tenant's calendar, also of a deleted one; `None` where nothing is left of it.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn calendar_of(&self, tenant: TenantId) -> Result<Option<TenantCalendar>, StoreError> {
        Ok(calendars(&mut self.reader(), &[tenant]).await?.pop().map(|(_, calendar)| calendar))
    }

    /// The accounts of `tenants`, in the order asked, also of deleted ones. Some queries for all of them; what is read
    /// of one that cannot be read fails the others.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn tenant_accounts(&self, tenants: &[TenantId]) -> Result<Vec<TenantAccount>, StoreError> {
        let mut accounts: HashMap<TenantId, TenantAccount> = HashMap::with_capacity(tenants.len());
        for part in parts(tenants) {
            let mut reader = self.reader();
            for (tenant, calendar) in calendars(&mut reader, part).await? {
                accounts.entry(tenant).or_default().calendar = Some(calendar);
            }
            for (tenant, key) in unusable_keys(&mut reader, part).await? {
                accounts.entry(tenant).or_default().unusable_keys.push(key);
            }
            for (tenant, credit) in credit_totals(&mut reader, part).await? {
                accounts.entry(tenant).or_default().credit = credit;
            }
            let mut found = budgets::of_tenants(&mut reader, part).await?;
            budget_increases::attach(&mut reader, &mut found).await?;
            for budget in found {
                accounts.entry(budget.tenant).or_default().budgets.push(budget);
            }
        }
        Ok(tenants.iter().map(|tenant| accounts.remove(tenant).unwrap_or_default()).collect())
    }

    /// All that each of `tenants` was charged, in the order asked, as [`Store::wallet_settled`] tells of one.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn wallets_settled(&self, tenants: &[TenantId]) -> Result<Vec<NanoUsd>, StoreError> {
        let mut settled: HashMap<TenantId, NanoUsd> = HashMap::with_capacity(tenants.len());
        for part in parts(tenants) {
            let text = "SELECT tenant_id, charged_nano_usd FROM wallet_totals WHERE tenant_id IN (";
            let read = |row: &Row| Ok((row.id("tenant_id")?, row.money("charged_nano_usd")?));
            settled.extend(among(&mut self.reader(), text, part, ")", read).await?);
        }
        Ok(tenants.iter().map(|tenant| settled.get(tenant).copied().unwrap_or_default()).collect())
    }
}

async fn calendars(
    db: &mut impl Sql,
    tenants: &[TenantId],
) -> Result<Vec<(TenantId, TenantCalendar)>, StoreError> {
    let text = "SELECT id, time_zone, blocked, deleted_at_ms FROM tenants WHERE id IN (";
    let read = |row: &Row| {
        let time_zone: String = row.get("time_zone")?;
        let calendar = TenantCalendar {
            time_zone: TimeZoneName::parse(&time_zone)
                .map_err(|error| StoreError::corrupt("time_zone", error))?,
            is_blocked: row.get("blocked")?,
            is_deleted: row.optional_moment("deleted_at_ms")?.is_some(),
        };
        Ok((row.id("id")?, calendar))
    };
    among(db, text, tenants, ")", read).await
}

async fn unusable_keys(
    db: &mut impl Sql,
    tenants: &[TenantId],
) -> Result<Vec<(TenantId, KeyId)>, StoreError> {
    let text = "SELECT api_keys.tenant_id AS tenant_id, api_keys.id AS id
        FROM api_keys JOIN tenants ON tenants.id = api_keys.tenant_id
        WHERE (api_keys.deleted_at_ms IS NOT NULL OR api_keys.state <> 'active' OR tenants.blocked)
            AND api_keys.tenant_id IN (";
    among(db, text, tenants, ") ORDER BY api_keys.id", |row| Ok((row.id("tenant_id")?, row.id("id")?))).await
}

async fn credit_totals(
    db: &mut impl Sql,
    tenants: &[TenantId],
) -> Result<Vec<(TenantId, CreditTotal)>, StoreError> {
    let text = "SELECT tenant_id, CAST(SUM(amount_nano_usd) AS BIGINT) AS sum, COUNT(*) AS version
        FROM credits WHERE tenant_id IN (";
    let read = |row: &Row| {
        let total = CreditTotal { sum: row.money("sum")?, version: row.count("version")? };
        Ok((row.id("tenant_id")?, total))
    };
    among(db, text, tenants, ") GROUP BY tenant_id", read).await
}

/// Reads rows whose tenant is among some; `text` ends with the opened list of them, `end` closes it.
pub(crate) async fn among<T>(
    db: &mut impl Sql,
    text: &'static str,
    tenants: &[TenantId],
    end: &str,
    read: impl Fn(&Row) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut query = db.sql(text);
    for (index, tenant) in tenants.iter().enumerate() {
        query = if index == 0 { query } else { query.push(", ") }.push_bind(tenant.as_uuid());
    }
    query.push(end).read_all(read).await
}
