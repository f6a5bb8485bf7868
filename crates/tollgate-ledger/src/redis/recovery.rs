//! Epochs: reading, closing, replacing.

use redis::{Cmd, Value};
use tollgate_domain::{NanoUsd, TenantId, UnixMillis};

use super::RedisLedger;
use super::admit::note;
use super::keys::{self, TenantKeys};
use super::reply::Integers;
use super::scripts;
use super::settle::TOMBSTONE_TTL_MS;
use super::tenant::COUNTER_BYTES;
use crate::epoch::{Epoch, Reseed, ReseedOutcome, TenantEpoch};
use crate::error::LedgerError;
use crate::holds::OpenHold;
use crate::types::WalletRule;

/// Tenants handled in one round trip.
const MAX_PIPELINE: usize = 128;
/// Tells a script that a time is not known.
const UNKNOWN_TIME: UnixMillis = UnixMillis(-1);

impl RedisLedger {
    pub(crate) async fn epochs(&self, tenants: &[TenantId]) -> Result<Vec<Option<TenantEpoch>>, LedgerError> {
        let mut epochs = Vec::with_capacity(tenants.len());
        for chunk in tenants.chunks(MAX_PIPELINE) {
            // The run comes with the answers, from the same connection.
            let builds: Vec<_> = chunk
                .iter()
                .map(|tenant| {
                    move |run: &str| {
                        let keys = [TenantKeys::new(*tenant).state()];
                        let mut call = scripts::EPOCH.call(&keys, 1, COUNTER_BYTES * 2);
                        call.arg(run);
                        call
                    }
                })
                .collect();
            for answer in self.shared.client.background_scripts(&scripts::EPOCH, &builds).await? {
                epochs.push(read_epoch(&answer?)?);
            }
        }
        Ok(epochs)
    }

    pub(crate) async fn fence(&self, tenants: &[TenantId]) -> Result<Vec<Epoch>, LedgerError> {
        // who the server is decides what is accepted afterwards: it is asked again
        self.shared.client.doubt_background();
        let mut epochs = Vec::with_capacity(tenants.len());
        for chunk in tenants.chunks(MAX_PIPELINE) {
            let builds: Vec<_> = chunk
                .iter()
                .map(|tenant| {
                    move |run: &str| {
                        let keys = [TenantKeys::new(*tenant).state()];
                        let mut call = scripts::CLOSE.call(&keys, 1, COUNTER_BYTES * 2);
                        call.arg(run);
                        call
                    }
                })
                .collect();
            for answer in self.shared.client.background_scripts(&scripts::CLOSE, &builds).await? {
                epochs.push(Integers::new(&answer?)?.next_parsed()?);
            }
        }
        Ok(epochs)
    }

    pub(crate) async fn reseed(&self, reseeds: &[Reseed]) -> Result<Vec<ReseedOutcome>, LedgerError> {
        let mut outcomes = Vec::with_capacity(reseeds.len());
        for chunk in reseeds.chunks(MAX_PIPELINE) {
            let builds: Vec<_> =
                chunk.iter().map(|reseed| move |run: &str| reseed_call(reseed, run)).collect();
            for answer in self.shared.client.background_scripts(&scripts::RESEED, &builds).await? {
                outcomes.push(read_outcome(&answer?)?);
            }
        }
        Ok(outcomes)
    }
}

fn read_epoch(answer: &Value) -> Result<Option<TenantEpoch>, LedgerError> {
    let mut answer = Integers::new(answer)?;
    let is_live = answer.next()? == 1;
    let text = answer.next_text()?;
    Ok(if text.is_empty() { None } else { Some(TenantEpoch { epoch: text.parse()?, is_live }) })
}

fn read_outcome(answer: &Value) -> Result<ReseedOutcome, LedgerError> {
    let mut answer = Integers::new(answer)?;
    let code = answer.next()?;
    let text = answer.next_text()?;
    match code {
        0 => Ok(ReseedOutcome::Reseeded(text.parse()?)),
        1 if text.is_empty() => Ok(ReseedOutcome::Changed(None)),
        1 => Ok(ReseedOutcome::Changed(Some(text.parse()?))),
        2 => Ok(ReseedOutcome::Live(text.parse()?)),
        _ => Err(LedgerError::Protocol(format!("reseed answered with the unknown code {code}"))),
    }
}

fn reseed_call(reseed: &Reseed, run: &str) -> Cmd {
    let names = TenantKeys::new(reseed.tenant);
    let keys = [names.state(), names.leases(), names.index()];
    let n_names: usize = reseed.holds.iter().map(|hold| 3 + hold.budgets.len()).sum();
    let n_arguments = 13 + 2 * reseed.counters.len() + reseed.revoked.len() + reseed.settled.len() + n_names;
    let mut call = scripts::RESEED.call(&keys, n_arguments, COUNTER_BYTES * (n_arguments + 6));
    call.arg(run)
        .arg(reseed.expected.to_string())
        .arg(reseed.above)
        .arg(reseed.tenant.to_string())
        .arg(names.hold_prefix());
    call.arg(TOMBSTONE_TTL_MS)
        .arg(reseed.wallet_limit.0)
        .arg(reseed.wallet_version)
        .arg(reseed.wallet_settled.0);
    call.arg(reseed.counters.len())
        .arg(reseed.revoked.len())
        .arg(reseed.settled.len())
        .arg(reseed.holds.len());
    let mut text = String::with_capacity(COUNTER_BYTES);
    for counter in &reseed.counters {
        keys::write_counter(&mut text, counter.budget, counter.period_starts_at);
        call.arg(&text).arg(counter.settled.0);
    }
    for key in &reseed.revoked {
        keys::write_revoked_flag(&mut text, *key);
        call.arg(&text);
    }
    for hold in &reseed.settled {
        keys::write_hold(&mut text, *hold);
        call.arg(&text);
    }
    for hold in &reseed.holds {
        keys::write_hold(&mut text, hold.hold);
        call.arg(&text).arg(note(hold.node, hold.key, &hold.memo)).arg(pack_hold(hold));
        for held in &hold.budgets {
            keys::write_counter(&mut text, held.budget, held.period_starts_at);
            call.arg(&text);
        }
    }
    call
}

/// A hold's numbers, in the order that `reseed.lua` says.
fn pack_hold(hold: &OpenHold) -> Vec<u8> {
    let wallet = match hold.wallet {
        WalletRule::None => 0,
        WalletRule::Enforced => 1,
        WalletRule::Counted => 2,
    };
    let fixed = [
        hold.progress.0,
        hold.amount.0,
        hold.admitted_at.unwrap_or(UNKNOWN_TIME).0,
        i64::try_from(hold.lease_ms).unwrap_or(i64::MAX),
        wallet,
        i64::try_from(hold.budgets.len()).expect("no list is longer"),
    ];
    let limits = hold.budgets.iter().map(|held| held.limit);
    let numbers = fixed.into_iter().chain(limits.map(|NanoUsd(limit)| limit));
    numbers.flat_map(i64::to_le_bytes).collect()
}
