//! Settlement, alone and many at once. What happens is in `settle.lua`.

use redis::{Cmd, RedisResult, Value};

use super::RedisLedger;
use super::client::{explain, is_unknown_script};
use super::keys::TenantKeys;
use super::reply::Integers;
use super::scripts;
use crate::error::LedgerError;
use crate::ledger::check_settlement;
use crate::rate;
use crate::types::{SettleOutcome, Settlement};

/// How long a settled hold is remembered, so that repeats are recognised: far above any retry.
const TOMBSTONE_TTL_MS: u64 = 600_000;
/// Bytes of keys and arguments without the event: a guess that spares reallocations.
const FIXED_BYTES: usize = 640;
/// Settlements per round trip: some hundred kilobytes of events.
const MAX_PIPELINE: usize = 256;

impl RedisLedger {
    pub(crate) async fn settle(&self, settlement: &Settlement) -> Result<SettleOutcome, LedgerError> {
        let call = settle_call(settlement)?;
        let answer = self.shared.client.call_script(&scripts::SETTLE, &call).await?;
        read_outcome(&answer)
    }

    pub(crate) async fn settle_many(
        &self,
        settlements: &[Settlement],
    ) -> Vec<Result<SettleOutcome, LedgerError>> {
        let mut outcomes = Vec::with_capacity(settlements.len());
        for chunk in settlements.chunks(MAX_PIPELINE) {
            outcomes.extend(self.settle_chunk(chunk).await);
        }
        outcomes
    }

    async fn settle_chunk(&self, chunk: &[Settlement]) -> Vec<Result<SettleOutcome, LedgerError>> {
        let calls: Vec<Result<Cmd, LedgerError>> = chunk
            .iter()
            .map(|settlement| check_settlement(settlement).and_then(|()| settle_call(settlement)))
            .collect();
        let mut pipeline = redis::pipe();
        for call in calls.iter().flatten() {
            pipeline.add_command(call.clone());
        }
        let answers = match self.shared.client.background_pipeline(&pipeline).await {
            Ok(answers) => answers,
            Err(error) => return calls.into_iter().map(|call| call.and(Err(error.clone()))).collect(),
        };
        let mut answers = answers.into_iter();
        let mut outcomes = Vec::with_capacity(calls.len());
        for call in calls {
            outcomes.push(match call {
                Ok(call) => self.read_or_repeat(&call, answers.next()).await,
                Err(error) => Err(error),
            });
        }
        outcomes
    }

    /// Reads one answer of a pipeline; asks again by source where the server had lost the script.
    async fn read_or_repeat(
        &self,
        call: &Cmd,
        answer: Option<RedisResult<Value>>,
    ) -> Result<SettleOutcome, LedgerError> {
        match answer {
            Some(Ok(answer)) => read_outcome(&answer),
            Some(Err(error)) if is_unknown_script(&error) => {
                let answer = self.shared.client.background_script(&scripts::SETTLE, call).await?;
                read_outcome(&answer)
            }
            Some(Err(error)) => Err(explain(&error)),
            None => Err(LedgerError::Protocol("an answer is missing".to_owned())),
        }
    }
}

fn settle_call(settlement: &Settlement) -> Result<Cmd, LedgerError> {
    let event = match &settlement.event {
Some(event) => event.to_json(),
        None => String::new(),
    };
    let keys = TenantKeys::new(settlement.tenant);
    let keys = [
        keys.counters(),
        keys.holds(),
        keys.leases(),
        keys.rates(),
        keys.tombstone(settlement.hold),
        keys.outbox(),
    ];
    let mut call = scripts::SETTLE.call(&keys, 5, FIXED_BYTES + event.len());
    call.arg(settlement.hold.to_string())
        .arg(settlement.actual.0)
        .arg(rate::bounded_units(settlement.tokens))
        .arg(TOMBSTONE_TTL_MS)
        .arg(event);
    Ok(call)
}

fn read_outcome(answer: &Value) -> Result<SettleOutcome, LedgerError> {
    match Integers::new(answer)?.next()? {
        0 => Ok(SettleOutcome::Settled),
        1 => Ok(SettleOutcome::AlreadySettled),
        2 => Ok(SettleOutcome::UnknownHold),
        code => Err(LedgerError::Protocol(format!("settle answered with the unknown code {code}"))),
    }
}
