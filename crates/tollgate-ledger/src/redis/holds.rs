//! Holds after their admission: growing, renewing, listing.

use redis::Value;
use tollgate_domain::{HoldId, NanoUsd, TenantId, UnixMillis};

use super::RedisLedger;
use super::admit::read_note;
use super::keys::{self, N_SHARDS, TenantKeys};
use super::reply::Integers;
use super::scripts;
use super::settle::{MAX_ASKED, reseeded_again};
use super::tenant::COUNTER_BYTES;
use crate::error::LedgerError;
use crate::holds::{GrowOutcome, HeldBudget, HoldPage, HoldView, MoneyDenied, Renewal, SuspectHold};
use crate::types::{MoneyNode, MoneyRefusal, WalletRule};

/// Holds renewed by one script: Redis answers nobody else meanwhile.
const MAX_RENEWED_AT_ONCE: usize = 256;
/// Tenants of a shard that are looked at for suspects in one round trip.
const MAX_TENANTS_AT_ONCE: usize = 256;

impl RedisLedger {
    pub(crate) async fn grow(
        &self,
        tenant: TenantId,
        hold: HoldId,
        new_total: NanoUsd,
    ) -> Result<GrowOutcome, LedgerError> {
        let register = &self.shared.register;
        for _ in 0..MAX_ASKED {
            let growing = register.growing(tenant, hold);
            let build = |run: &str| {
                let names = TenantKeys::new(tenant);
                let mut call = scripts::GROW.call(&[names.state(), names.hold(hold)], 3, COUNTER_BYTES * 4);
                call.arg(run).arg(growing.epoch.as_deref().unwrap_or_default()).arg(new_total.0);
                call
            };
            let answer = self.shared.client.call_script(&scripts::GROW, build).await?;
            let outcome = read_growth(&answer)?;
            match &outcome {
                GrowOutcome::Grown { granted } if !register.grown(tenant, hold, *granted, &growing) => {
                    continue;
                }
                GrowOutcome::WrongEpoch => self.shared.client.doubt_runs(),
                _ => {}
            }
            return Ok(outcome);
        }
        Err(reseeded_again())
    }

    pub(crate) async fn renew(
        &self,
        holds: &[(TenantId, HoldId, NanoUsd)],
        lease_ms: u64,
    ) -> Result<Renewal, LedgerError> {
        let mut holds = holds.to_vec();
        holds.sort_unstable();
        let mut renewal = Renewal::default();
        for of_tenant in holds.chunk_by(|one, other| one.0 == other.0) {
            for group in of_tenant.chunks(MAX_RENEWED_AT_ONCE) {
                self.renew_group(group, lease_ms, &mut renewal).await?;
            }
        }
        renewal.wrong_epoch.dedup();
        Ok(renewal)
    }

    /// Renews holds of one tenant.
    async fn renew_group(
        &self,
        group: &[(TenantId, HoldId, NanoUsd)],
        lease_ms: u64,
        renewal: &mut Renewal,
    ) -> Result<(), LedgerError> {
        let Some((tenant, ..)) = group.first() else { return Ok(()) };
        let names = TenantKeys::new(*tenant);
        let epochs: Vec<_> = group
            .iter()
            .map(|(tenant, hold, cost)| self.shared.register.progressed(*tenant, *hold, *cost))
            .collect();
        let build = |run: &str| {
            let mut keys = Vec::with_capacity(2 + group.len());
            keys.extend([names.state(), names.leases()]);
            keys.extend(group.iter().map(|(_, hold, _)| names.hold(*hold)));
            let n_arguments = 2 + 2 * group.len();
            let mut call =
                scripts::RENEW.call(&keys, n_arguments, COUNTER_BYTES * (keys.len() + n_arguments));
            call.arg(run).arg(lease_ms);
            for (_, hold, cost) in group {
                call.arg(hold.to_string()).arg(cost.0);
            }
            call
        };
        let answer = self.shared.client.background_script(&scripts::RENEW, build).await?;
        let mut answer = Integers::new(&answer)?;
        let epoch = answer.next_text()?;
        if epoch == "-" {
            self.shared.client.doubt_runs();
            renewal.wrong_epoch.push(*tenant);
            return Ok(());
        }
        let mut n_missing = 0;
        while !answer.is_empty() {
            let index = answer.next_index()?;
            let (Some((tenant, hold, _)), Some(known)) = (group.get(index), epochs.get(index)) else {
                return Err(LedgerError::Protocol("renew named a hold that was not asked".to_owned()));
            };
            n_missing += 1;
            match known {
                // Its epoch is not the present one, which did not hear of it.
                Some(known) if **known != *epoch => renewal.wrong_epoch.push(*tenant),
                _ => renewal.gone.push((*tenant, *hold)),
            }
        }
        renewal.renewed += (group.len() - n_missing) as u64;
        Ok(())
    }

    pub(crate) async fn list_holds(
        &self,
        tenant: TenantId,
        cursor: Option<&str>,
        max: usize,
    ) -> Result<HoldPage, LedgerError> {
        let (score, id) = match cursor.map(|cursor| cursor.split_once('/')) {
            None => ("", ""),
            Some(Some((score, id))) if score.parse::<i64>().is_ok() => (score, id),
            Some(_) => return Err(LedgerError::Invalid("the cursor is none of this ledger's".to_owned())),
        };
        let names = TenantKeys::new(tenant);
        let build = |_: &str| {
            let mut call = scripts::LIST_HOLDS.call(&[names.leases()], 4, COUNTER_BYTES * 4);
            call.arg(names.hold_prefix()).arg(max.max(1)).arg(score).arg(id);
            call
        };
        let answer = self.shared.client.background_script(&scripts::LIST_HOLDS, build).await?;
        let mut answer = Integers::new(&answer)?;
        let now = UnixMillis(answer.next()?);
        let (score, id) = (answer.next_text()?, answer.next_text()?);
        let next = (!id.is_empty()).then(|| format!("{score}/{id}"));
        let mut holds = Vec::new();
        while !answer.is_empty() {
            holds.push(read_hold(&mut answer, now)?);
        }
        Ok(HoldPage { holds, next })
    }

    pub(crate) async fn suspect_holds(
        &self,
        max: usize,
        expired_for_ms: u64,
    ) -> Result<Vec<SuspectHold>, LedgerError> {
        let mut suspects = Vec::new();
        for shard in 0..N_SHARDS {
            let tenants = self.tenants_with_ended_leases(shard, expired_for_ms).await?;
            for chunk in tenants.chunks(MAX_TENANTS_AT_ONCE) {
                suspects.extend(self.suspects_of(chunk, max, expired_for_ms).await?);
            }
        }
        suspects.sort_by_key(|suspect| (suspect.lease_until, suspect.hold));
        suspects.truncate(max);
        Ok(suspects)
    }

    /// Tenants of a shard of whose holds a lease may have ended so long ago.
    async fn tenants_with_ended_leases(
        &self,
        shard: u16,
        expired_for_ms: u64,
    ) -> Result<Vec<TenantId>, LedgerError> {
        let build = |_: &str| {
            let mut call = scripts::ENDED_LEASES.call(&[keys::index(shard)], 1, COUNTER_BYTES * 2);
            call.arg(expired_for_ms);
            call
        };
        let answer = self.shared.client.background_script(&scripts::ENDED_LEASES, build).await?;
        let mut answer = Integers::new(&answer)?;
        let mut tenants = Vec::new();
        while !answer.is_empty() {
            tenants.push(answer.next_parsed()?);
        }
        Ok(tenants)
    }

    async fn suspects_of(
        &self,
        tenants: &[TenantId],
        max: usize,
        expired_for_ms: u64,
    ) -> Result<Vec<SuspectHold>, LedgerError> {
        let builds: Vec<_> = tenants
            .iter()
            .map(|tenant| {
                move |run: &str| {
                    let names = TenantKeys::new(*tenant);
                    let keys = [names.state(), names.leases(), names.index()];
                    let mut call = scripts::SUSPECTS.call(&keys, 5, COUNTER_BYTES * 6);
                    call.arg(run).arg(tenant.to_string()).arg(names.hold_prefix());
                    call.arg(expired_for_ms).arg(max);
                    call
                }
            })
            .collect();
        let answers = self.shared.client.background_scripts(&scripts::SUSPECTS, &builds).await?;
        let mut suspects = Vec::new();
        for (tenant, answer) in tenants.iter().zip(answers) {
            let answer = answer?;
            let mut answer = Integers::new(&answer)?;
            while !answer.is_empty() {
                suspects.push(read_suspect(*tenant, &mut answer)?);
            }
        }
        Ok(suspects)
    }
}

fn read_growth(answer: &Value) -> Result<GrowOutcome, LedgerError> {
    let mut answer = Integers::new(answer)?;
    let denied = |answer: &mut Integers<'_>| -> Result<MoneyRefusal, LedgerError> {
        let node = match answer.next_text()? {
            "" => MoneyNode::Wallet,
            name => {
                let (budget, _) = keys::read_counter(name)
                    .ok_or_else(|| LedgerError::Protocol(format!("`{name}` is not a counter")))?;
                MoneyNode::Budget(budget)
            }
        };
        let (limit, settled, held) = (answer.next_amount()?, answer.next_amount()?, answer.next_amount()?);
        Ok(MoneyRefusal { node, limit, settled, held, resets_at: None })
    };
    match answer.next()? {
        0 => Ok(GrowOutcome::Grown { granted: answer.next_amount()? }),
        1 => Ok(GrowOutcome::Refused(MoneyDenied::Spent(denied(&mut answer)?))),
        2 => Ok(GrowOutcome::Refused(MoneyDenied::Held(denied(&mut answer)?))),
        3 => Ok(GrowOutcome::UnknownHold),
        4 => Ok(GrowOutcome::WrongEpoch),
        code => Err(LedgerError::Protocol(format!("grow answered with the unknown code {code}"))),
    }
}

fn read_hold(answer: &mut Integers<'_>, now: UnixMillis) -> Result<HoldView, LedgerError> {
    let hold = answer.next_parsed()?;
    let (progress, amount) = (answer.next_amount()?, answer.next_amount()?);
    let (admitted_at, lease_until) = (UnixMillis(answer.next()?), UnixMillis(answer.next()?));
    let lease_ms = answer.next_unsigned()?;
    let wallet = match answer.next()? {
        1 => WalletRule::Enforced,
        2 => WalletRule::Counted,
        _ => WalletRule::None,
    };
    let (node, key, memo) = read_note(answer.next_bytes()?)?;
    let mut budgets = Vec::new();
    for _ in 0..answer.next_index()? {
        let name = answer.next_text()?;
        let (budget, period_starts_at) = keys::read_counter(name)
            .ok_or_else(|| LedgerError::Protocol(format!("`{name}` is not a counter")))?;
        budgets.push(HeldBudget { budget, period_starts_at, limit: answer.next_amount()? });
    }
    let is_suspect = lease_until <= now;
    Ok(HoldView {
        hold,
        key,
        node,
        amount,
        wallet,
        budgets,
        admitted_at,
        lease_until,
        lease_ms,
        is_suspect,
        progress,
        memo,
    })
}

fn read_suspect(tenant: TenantId, answer: &mut Integers<'_>) -> Result<SuspectHold, LedgerError> {
    let hold = answer.next_parsed()?;
    let (progress, amount) = (answer.next_amount()?, answer.next_amount()?);
    let (admitted_at, lease_until) = (UnixMillis(answer.next()?), UnixMillis(answer.next()?));
    let (node, key, memo) = read_note(answer.next_bytes()?)?;
    Ok(SuspectHold { tenant, hold, key, node, amount, admitted_at, lease_until, progress, memo })
}
