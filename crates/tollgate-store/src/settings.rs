//! What concerns the whole installation.

use serde::Serialize;
use tollgate_domain::{NanoUsd, Surface, TenantId, UnixMillis};
use tollgate_policy::ObjectKind;
use uuid::Uuid;

use crate::db::{Row, Sql};
use crate::policy_log::PolicyAggregate;
use crate::store::run_tx;
use crate::{Store, StoreError, WriteContext};

/// The installation's settings as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SettingsRecord {
    /// The model of requests that name none, per surface.
    pub default_models: Vec<(Surface, String)>,
    /// What every new tenant that pays in advance is given to try with.
    pub trial: Option<TrialCredit>,
    /// Answer tokens that a stream holds for at a time where its model does not say; `None` for the whole answer.
    pub hold_slice_tokens: Option<u32>,
    /// When they were last changed.
    pub updated_at: UnixMillis,
}

/// What a new tenant is given to try with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TrialCredit {
    /// How much; more than zero.
    pub amount: NanoUsd,
    /// For how many days; at least one.
    pub days: u32,
}

impl Store {
    /// The settings; defaults where nothing was ever set.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn settings(&self) -> Result<SettingsRecord, StoreError> {
        find(&mut self.reader()).await
    }

    /// Changes the settings as [`Store::update_tenant`] does.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn update_settings(
        &self,
        ctx: &WriteContext,
        change: impl Fn(&mut SettingsRecord) + Send + Sync,
    ) -> Result<SettingsRecord, StoreError> {
        run_tx!(self, "update_settings", |tx| {
            tx.lock_policy().await?;
            let before = find(tx).await?;
            let mut after = before.clone();
            change(&mut after);
            after.updated_at = before.updated_at;
            if after == before {
                return Ok(before);
            }
            after.updated_at = ctx.now;
            tx.sql(
                "INSERT INTO settings (id, default_models, trial_credit_nano_usd, trial_days, hold_slice_tokens,
                     updated_at_ms)
                 VALUES (1, $1, $2, $3, $4, $5)
                 ON CONFLICT (id) DO UPDATE SET
                     default_models = excluded.default_models,
                     trial_credit_nano_usd = excluded.trial_credit_nano_usd,
                     trial_days = excluded.trial_days,
                     hold_slice_tokens = excluded.hold_slice_tokens, updated_at_ms = excluded.updated_at_ms",
            )
            .json(&after.default_models)
            .bind(after.trial.map(|trial| trial.amount.0))
            .bind(after.trial.map(|trial| i64::from(trial.days)))
            .bind(after.hold_slice_tokens.map(i64::from))
            .bind(after.updated_at.0)
            .execute_one()
            .await?;
            tx.record_policy(ctx, "update", Some(&before), Some(&after)).await?;
            Ok(after)
        })
    }

    /// A named value of the installation, such as the fingerprint of its master key.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn installation_value(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let mut reader = self.reader();
        let query = reader.sql("SELECT value FROM installation WHERE name = $1").bind(name);
        query.read_optional(|row| row.get("value")).await
    }

    /// Stores a named value unless there is one, and answers the one that is stored afterwards: of two
    /// replicas that start at once both get the first one's. Not audited: never shown, never changed.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn installation_value_or_insert(
        &self,
        name: &str,
        value: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        run_tx!(self, "installation_value_or_insert", |tx| {
            let insert =
                "INSERT INTO installation (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
            tx.sql(insert).bind(name).bind(value).execute().await?;
            tx.sql("SELECT value FROM installation WHERE name = $1")
                .bind(name)
                .fetch_one()
                .await?
                .get("value")
        })
    }
}

pub(crate) async fn find(db: &mut impl Sql) -> Result<SettingsRecord, StoreError> {
    let query = db.sql(
        "SELECT default_models, trial_credit_nano_usd, trial_days, hold_slice_tokens, updated_at_ms
         FROM settings WHERE id = 1",
    );
    Ok(query.read_optional(read).await?.unwrap_or_default())
}

fn read(row: &Row) -> Result<SettingsRecord, StoreError> {
    let amount: Option<i64> = row.get("trial_credit_nano_usd")?;
    let trial = amount.map(NanoUsd).zip(row.optional_u32("trial_days")?);
    Ok(SettingsRecord {
        default_models: row.json("default_models")?,
        trial: trial.map(|(amount, days)| TrialCredit { amount, days }),
        hold_slice_tokens: row.optional_u32("hold_slice_tokens")?,
        updated_at: row.moment("updated_at_ms")?,
    })
}

impl PolicyAggregate for SettingsRecord {
    const KIND: ObjectKind = ObjectKind::Settings;

    fn object_id(&self) -> Uuid {
        Uuid::nil()
    }

    fn object_name(&self) -> String {
        "settings".to_owned()
    }

    fn tenant_id(&self) -> Option<TenantId> {
        None
    }
}
