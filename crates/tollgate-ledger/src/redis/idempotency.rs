//! Idempotency keys in Redis. What happens is in `idempotency*.lua`.

use redis::{Cmd, Value};
use tollgate_domain::TenantId;

use super::RedisLedger;
use super::keys::{IdempotencyKeys, TenantKeys};
use super::reply::Integers;
use super::scripts::{self, LedgerScript};
use crate::error::LedgerError;
use crate::idempotency::{
    IdempotencyBounds, IdempotencyClaim, IdempotencyEnd, IdempotencyEnded, IdempotencyName, IdempotencyState,
    MAX_IDEMPOTENT_BYTES_PER_SHARD, NoAnswer, StoredAnswer,
};

/// Bytes of keys and arguments without the answer: a guess that spares reallocations.
const FIXED_BYTES: usize = 768;
/// Names forgotten per call when a tenant goes: a few milliseconds of the server's time.
const MAX_FORGOTTEN: usize = 500;

impl RedisLedger {
    pub(crate) async fn claim_idempotency(
        &self,
        claim: &IdempotencyClaim,
        bounds: &IdempotencyBounds,
    ) -> Result<IdempotencyState, LedgerError> {
        let build = |_: &str| {
            let mut call = call_about(&scripts::IDEMPOTENCY_CLAIM, &claim.name, 0);
            call.arg(&claim.fingerprint[..]).arg(&claim.owner.as_uuid().as_bytes()[..]);
            call.arg(bounds.lease_ms.max(1)).arg(bounds.max_keys);
            call
        };
        let answer = self.shared.client.record_script(&scripts::IDEMPOTENCY_CLAIM, build).await?;
        read_state(&answer)
    }

    pub(crate) async fn end_idempotency(
        &self,
        claim: &IdempotencyClaim,
        end: &IdempotencyEnd,
        bounds: &IdempotencyBounds,
    ) -> Result<IdempotencyEnded, LedgerError> {
        let letter;
        let (state, rest) = match end {
            IdempotencyEnd::Answered(answer) => ("A", answer.as_ref()),
            IdempotencyEnd::Spent(why) => {
                letter = [why.letter()];
                ("N", &letter[..])
            }
            IdempotencyEnd::Released => ("-", &[][..]),
        };
        let build = |_: &str| {
            let mut call = call_about(&scripts::IDEMPOTENCY_END, &claim.name, rest.len());
            call.arg(&claim.fingerprint[..]).arg(&claim.owner.as_uuid().as_bytes()[..]);
            call.arg(bounds.lifetime_ms.max(1)).arg(state).arg(rest);
            call.arg(bounds.max_tenant_bytes).arg(MAX_IDEMPOTENT_BYTES_PER_SHARD);
            call
        };
        let answer = self.shared.client.record_script(&scripts::IDEMPOTENCY_END, build).await?;
        match Integers::new(&answer)?.next()? {
            0 => Ok(IdempotencyEnded::Remembered),
            1 => Ok(IdempotencyEnded::WithoutAnswer),
            2 => Ok(IdempotencyEnded::TakenOver),
            code => Err(unknown(code)),
        }
    }

    pub(super) async fn forget_idempotency(&self, tenant: TenantId) -> Result<(), LedgerError> {
        let name = IdempotencyName { tenant, key: tollgate_domain::KeyId::from_u128(0), hash: 0 };
        let build = |_: &str| {
            let mut call = call_about(&scripts::IDEMPOTENCY_FORGET, &name, 0);
            call.arg(MAX_FORGOTTEN);
            call
        };
        let mut left = u64::MAX;
        loop {
            let answer = self.shared.client.background_script(&scripts::IDEMPOTENCY_FORGET, build).await?;
            let now_left = Integers::new(&answer)?.next_unsigned()?;
            // others may add while this takes away: it ends once nothing becomes less
            if now_left == 0 || now_left >= left {
                return Ok(());
            }
            left = now_left;
        }
    }
}

fn call_about(script: &LedgerScript, name: &IdempotencyName, n_bytes: usize) -> Cmd {
    let tenant = TenantKeys::new(name.tenant);
    let IdempotencyKeys { record, names, ends, sums, prefix, text } = tenant.idempotency(name);
    let mut call = script.call(&[record, names, ends, sums], 10, FIXED_BYTES + n_bytes);
    call.arg(prefix).arg(name.tenant.to_string()).arg(text);
    call
}

fn read_state(answer: &Value) -> Result<IdempotencyState, LedgerError> {
    let mut answer = Integers::new(answer)?;
    Ok(match answer.next()? {
        0 => IdempotencyState::Claimed,
        1 => IdempotencyState::Running { lease_left_ms: answer.next_unsigned()? },
        2 => IdempotencyState::OtherRequest,
        3 => IdempotencyState::Answered(StoredAnswer::new(answer.next_bytes()?)),
        4 => {
            let why = NoAnswer::from_letter(answer.next_bytes()?);
            // a later release may have reasons that this one does not know
            IdempotencyState::Spent(why.unwrap_or(NoAnswer::Broken))
        }
        5 => IdempotencyState::TooManyKeys,
        code => return Err(unknown(code)),
    })
}

fn unknown(code: i64) -> LedgerError {
    LedgerError::Protocol(format!("an idempotency script answered with the unknown code {code}"))
}
