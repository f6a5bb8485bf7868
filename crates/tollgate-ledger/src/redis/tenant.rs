//! What is done to a tenant outside of requests: seeding, limits, flags, leases, balances.

use redis::{Pipeline, Value};
use tollgate_domain::{HoldId, KeyId, NanoUsd, TenantId};

use super::RedisLedger;
use super::client::explain;
use super::keys::{self, TenantKeys};
use super::reply::Integers;
use super::scripts;
use crate::error::LedgerError;
use crate::holds::Renewal;
use crate::types::{Balance, Balances, BudgetCheck, Seed};

/// Bytes of a counter's name, for allocating once.
const COUNTER_BYTES: usize = 96;

impl RedisLedger {
    pub(crate) async fn seed(&self, seed: &Seed) -> Result<(), LedgerError> {
        let keys = TenantKeys::new(seed.tenant);
        let n_arguments = 3 + 2 * seed.counters.len();
        let mut call = scripts::SEED.call(
            &[keys.counters(), keys.epoch()],
            n_arguments,
            COUNTER_BYTES * (n_arguments + 4),
        );
        call.arg(seed.wallet_limit.0).arg(seed.wallet_version).arg(seed.wallet_settled.0);
        let mut name = String::with_capacity(COUNTER_BYTES);
        for counter in &seed.counters {
            keys::write_counter(&mut name, counter.budget, counter.period_starts_at);
            call.arg(&name).arg(counter.settled.0);
        }
        self.shared.client.background_script(&scripts::SEED, &call).await.map(drop)
    }

    pub(crate) async fn set_wallet_limit(
        &self,
        tenant: TenantId,
        limit: NanoUsd,
        version: u64,
    ) -> Result<(), LedgerError> {
        let keys = TenantKeys::new(tenant);
        let mut call = scripts::SET_WALLET_LIMIT.call(&[keys.counters()], 2, COUNTER_BYTES * 2);
        call.arg(limit.0).arg(version);
        self.shared.client.background_script(&scripts::SET_WALLET_LIMIT, &call).await.map(drop)
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
        let counters = TenantKeys::new(tenant).counters();
        let mut pipeline = redis::pipe();
        pipeline.cmd(if revoked { "HSET" } else { "HDEL" }).arg(counters);
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

    pub(crate) async fn renew(
        &self,
        holds: &[(TenantId, HoldId, NanoUsd)],
        lease_ms: u64,
    ) -> Result<Renewal, LedgerError> {
        let mut holds = holds.to_vec();
        holds.sort_unstable();
        let groups: Vec<_> = holds.chunk_by(|one, other| one.0 == other.0).collect();
        let mut renewed = 0;
        for group in groups {
            let Some((tenant, ..)) = group.first() else { continue };
            let keys = [TenantKeys::new(*tenant).leases()];
            let mut call = scripts::RENEW.call(&keys, 1 + group.len(), COUNTER_BYTES + 40 * group.len());
            call.arg(lease_ms);
            for (_, hold, _) in group {
                call.arg(hold.to_string());
            }
            let answer = self.shared.client.background_script(&scripts::RENEW, &call).await?;
            renewed += Integers::new(&answer)?.next_unsigned()?;
        }
        Ok(Renewal { renewed, ..Renewal::default() })
    }

    pub(crate) async fn balances(
        &self,
        tenant: TenantId,
        wallet: bool,
        budgets: &[BudgetCheck],
    ) -> Result<Balances, LedgerError> {
        let keys = TenantKeys::new(tenant);
        let n_arguments = 1 + 3 * budgets.len();
        let mut call = scripts::BALANCES.call(
            &[keys.counters(), keys.epoch()],
            n_arguments,
            COUNTER_BYTES * (n_arguments + 2),
        );
        call.arg(u8::from(wallet));
        let mut name = String::with_capacity(COUNTER_BYTES);
        for check in budgets {
            call.arg(check.periods.current.ends_at.0);
            for period in [check.periods.current, check.periods.next] {
                keys::write_counter(&mut name, check.budget, period.starts_at);
                call.arg(&name);
            }
        }
        let answer = self.shared.client.background_script(&scripts::BALANCES, &call).await?;
        read_balances(budgets, &answer)
    }

    pub(crate) async fn forget_tenant(&self, tenant: TenantId) -> Result<(), LedgerError> {
        let keys = TenantKeys::new(tenant);
        let mut pipeline = redis::pipe();
        // The tombstones go by themselves.
        pipeline.del(&[keys.epoch(), keys.counters(), keys.holds(), keys.leases(), keys.rates()]);
        self.background_commands(&pipeline).await.map(drop)
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
