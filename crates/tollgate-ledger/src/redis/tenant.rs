//! What is done to a tenant outside of requests: seeding, limits, flags, balances.

use redis::{Pipeline, Value};
use tollgate_domain::{KeyId, NanoUsd, TenantId};

use super::RedisLedger;
use super::client::explain;
use super::keys::{self, TenantKeys};
use super::reply::Integers;
use super::scripts;
use crate::epoch::Epoch;
use crate::error::LedgerError;
use crate::types::{Balance, Balances, BudgetCheck, Seed};

/// Bytes of a counter's name, for allocating once.
pub(super) const COUNTER_BYTES: usize = 96;

impl RedisLedger {
    pub(crate) async fn seed(&self, seed: &Seed, known: Option<&Epoch>) -> Result<(), LedgerError> {
        let known = known.map_or_else(String::new, Epoch::to_string);
        let build = |run: &str| {
            let keys = [TenantKeys::new(seed.tenant).state()];
            let n_arguments = 5 + 2 * seed.counters.len();
            let mut call = scripts::SEED.call(&keys, n_arguments, COUNTER_BYTES * (n_arguments + 4));
            call.arg(run)
                .arg(&known)
                .arg(seed.wallet_limit.0)
                .arg(seed.wallet_version)
                .arg(seed.wallet_settled.0);
            let mut name = String::with_capacity(COUNTER_BYTES);
            for counter in &seed.counters {
                keys::write_counter(&mut name, counter.budget, counter.period_starts_at);
                call.arg(&name).arg(counter.settled.0);
            }
            call
        };
        let answer = self.shared.client.background_script(&scripts::SEED, build).await?;
        if Integers::new(&answer)?.next()? == 0 {
            return Ok(());
        }
        self.shared.client.doubt_runs();
        Err(LedgerError::WrongEpoch)
    }

    pub(crate) async fn set_wallet_limit(
        &self,
        tenant: TenantId,
        limit: NanoUsd,
        version: u64,
    ) -> Result<(), LedgerError> {
        let build = |_: &str| {
            let keys = [TenantKeys::new(tenant).state()];
            let mut call = scripts::SET_WALLET_LIMIT.call(&keys, 2, COUNTER_BYTES * 2);
            call.arg(limit.0).arg(version);
            call
        };
        self.shared.client.background_script(&scripts::SET_WALLET_LIMIT, build).await.map(drop)
    }

    pub(crate) async fn set_keys_revoked(
        &self,
        tenant: TenantId,
        keys: &[KeyId],
        revoked: bool,
    ) -> Result<(), LedgerError> {
        if keys.is_empty() {
            return Ok(());
        }
        let state = TenantKeys::new(tenant).state();
        let mut pipeline = redis::pipe();
        pipeline.cmd(if revoked { "HSET" } else { "HDEL" }).arg(state);
        let mut field = String::with_capacity(COUNTER_BYTES);
        for key in keys {
            keys::write_revoked_flag(&mut field, *key);
            pipeline.arg(&field);
            if revoked {
                pipeline.arg("1");
            }
        }
        self.background_commands(&pipeline).await.map(drop)
    }

    pub(crate) async fn balances(
        &self,
        tenant: TenantId,
        wallet: bool,
        budgets: &[BudgetCheck],
    ) -> Result<Balances, LedgerError> {
        let build = |run: &str| {
            let keys = [TenantKeys::new(tenant).state()];
            let n_arguments = 2 + 3 * budgets.len();
            let mut call = scripts::BALANCES.call(&keys, n_arguments, COUNTER_BYTES * (n_arguments + 2));
            call.arg(run).arg(u8::from(wallet));
            let mut name = String::with_capacity(COUNTER_BYTES);
            for check in budgets {
                call.arg(check.periods.current.ends_at.0);
                for period in [check.periods.current, check.periods.next] {
                    keys::write_counter(&mut name, check.budget, period.starts_at);
                    call.arg(&name);
                }
            }
            call
        };
        let answer = self.shared.client.background_script(&scripts::BALANCES, build).await?;
        read_balances(budgets, &answer)
    }

    pub(crate) async fn forget_tenant(&self, tenant: TenantId) -> Result<(), LedgerError> {
        let names = TenantKeys::new(tenant);
        let build = |_: &str| {
            let keys = [names.state(), names.leases(), names.index()];
            let mut call = scripts::FORGET.call(&keys, 2, COUNTER_BYTES * 5);
            call.arg(tenant.to_string()).arg(names.hold_prefix());
            call
        };
        self.shared.client.background_script(&scripts::FORGET, build).await?;
        self.shared.register.forget(tenant);
        self.forget_idempotency(tenant).await
    }

    /// Commands that no request waits for; the first error is the answer.
    pub(super) async fn background_commands(&self, pipeline: &Pipeline) -> Result<Vec<Value>, LedgerError> {
        let answers = self.shared.client.background_pipeline(pipeline).await?;
        answers.into_iter().map(|answer| answer.map_err(|error| explain(&error))).collect()
    }
}

fn read_balances(budgets: &[BudgetCheck], answer: &Value) -> Result<Balances, LedgerError> {
    let mut answer = Integers::new(answer)?;
    let is_cold = answer.next()? == 1;
    let wallet =
        Balance { limit: answer.next_amount()?, settled: answer.next_amount()?, held: answer.next_amount()? };
    let mut read_budget = |check: &BudgetCheck| {
        Ok(Balance { limit: check.limit, settled: answer.next_amount()?, held: answer.next_amount()? })
    };
    let budgets = budgets.iter().map(&mut read_budget).collect::<Result<_, LedgerError>>()?;
    Ok(Balances { is_cold, wallet: (wallet.limit >= NanoUsd::ZERO).then_some(wallet), budgets })
}
