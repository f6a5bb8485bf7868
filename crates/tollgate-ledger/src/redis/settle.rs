//! Settlement, alone and many at once. What happens is in `settle.lua`.

use redis::{Cmd, Value};

use super::RedisLedger;
use super::keys::TenantKeys;
use super::register::{Settling, StreamId};
use super::reply::Integers;
use super::scripts;
use crate::error::LedgerError;
use crate::ledger::check_settlement;
use crate::rate;
use crate::types::{SettleOutcome, Settlement};

/// How long a settled hold is remembered, so that repeats are recognised: far above any retry.
pub(super) const TOMBSTONE_TTL_MS: u64 = 600_000;
/// Bytes of keys and arguments without the event: a guess that spares reallocations.
const FIXED_BYTES: usize = 640;
/// Settlements per round trip: some hundred kilobytes of events.
const MAX_PIPELINE: usize = 256;

/// How often the same is asked because a report was made before the answer came.
pub(super) const MAX_ASKED: usize = 4;

/// A settlement with all that its call is built from.
struct Prepared<'a> {
    settlement: &'a Settlement,
    settling: Settling,
    event: String,
}

impl RedisLedger {
    pub(crate) async fn settle(&self, settlement: &Settlement) -> Result<SettleOutcome, LedgerError> {
        for _ in 0..MAX_ASKED {
            let prepared = self.prepare(settlement);
            let build = |run: &str| settle_call(&prepared, run);
            let answer = self.shared.client.call_script(&scripts::SETTLE, build).await?;
            if let Some(outcome) = self.note_outcome(&prepared, &answer)? {
                return Ok(outcome);
            }
        }
        Err(reseeded_again())
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
        let checks: Vec<Result<(), LedgerError>> = chunk.iter().map(check_settlement).collect();
        let sound = chunk.iter().zip(&checks).filter(|(_, check)| check.is_ok());
        let prepared: Vec<Prepared<'_>> = sound.map(|(settlement, _)| self.prepare(settlement)).collect();
        let builds: Vec<_> =
            prepared.iter().map(|prepared| move |run: &str| settle_call(prepared, run)).collect();
        let answers = match self.shared.client.background_scripts(&scripts::SETTLE, &builds).await {
            Ok(answers) => answers,
            Err(error) => return checks.into_iter().map(|check| check.and(Err(error.clone()))).collect(),
        };
        let mut outcomes = Vec::with_capacity(answers.len());
        for (answer, prepared) in answers.into_iter().zip(&prepared) {
            outcomes.push(match answer.and_then(|answer| self.note_outcome(prepared, &answer)) {
                Ok(Some(outcome)) => Ok(outcome),
                Ok(None) => self.settle(prepared.settlement).await,
                Err(error) => Err(error),
            });
        }
        let mut outcomes = outcomes.into_iter();
        let missing = || Err(LedgerError::Protocol("an answer is missing".to_owned()));
        checks.into_iter().map(|check| check.and_then(|()| outcomes.next().unwrap_or_else(missing))).collect()
    }

    fn prepare<'a>(&self, settlement: &'a Settlement) -> Prepared<'a> {
        let event = settlement.event.as_ref().map_or_else(String::new, |event| event.to_json());
        Prepared { settlement, settling: self.shared.register.settling(settlement), event }
    }

    /// `None` where the answer is not to be believed: to be asked again, which is harmless.
    fn note_outcome(
        &self,
        prepared: &Prepared<'_>,
        answer: &Value,
    ) -> Result<Option<SettleOutcome>, LedgerError> {
        let mut answer = Integers::new(answer)?;
        let outcome = match answer.next()? {
            0 => SettleOutcome::Settled,
            1 => SettleOutcome::AlreadySettled,
            2 => SettleOutcome::UnknownHold,
            3 => {
                self.shared.client.doubt_runs();
                return Ok(Some(SettleOutcome::WrongEpoch));
            }
            code => {
                return Err(LedgerError::Protocol(format!("settle answered with the unknown code {code}")));
            }
        };
        let id = StreamId::parse(answer.next_text()?);
        let is_counted = outcome != SettleOutcome::UnknownHold;
        let Prepared { settlement, settling, event } = prepared;
        let is_certain = self.shared.register.settled(settlement, settling, is_counted, id, event.len());
        Ok(is_certain.then_some(outcome))
    }
}

pub(super) fn reseeded_again() -> LedgerError {
    LedgerError::Unavailable("the ledger is being reseeded again and again".to_owned())
}

fn settle_call(prepared: &Prepared<'_>, run: &str) -> Cmd {
    let Prepared { settlement, settling, event } = prepared;
    let names = TenantKeys::new(settlement.tenant);
    let keys = [names.state(), names.hold(settlement.hold), names.leases(), names.outbox()];
    let mut call = scripts::SETTLE.call(&keys, 7, FIXED_BYTES + event.len());
    call.arg(run)
        .arg(settling.epoch.as_deref().unwrap_or_default())
        .arg(settlement.hold.to_string())
        .arg(settlement.actual.0)
        .arg(rate::bounded_units(settlement.tokens))
        .arg(TOMBSTONE_TTL_MS)
        .arg(event);
    call
}
