//! Settled events until they are journaled: which are, and which must be written again.

use std::sync::Arc;

use tollgate_domain::UsageEvent;

use super::RedisLedger;
use super::client::explain;
use super::keys::{self, N_SHARDS};
use super::outbox::EVENT_FIELD;
use super::register::{EventPlace, StreamId};
use super::reply::Integers;
use super::scripts;
use crate::error::LedgerError;
use crate::holds::{JournalConfirmation, OpenReport};
use tollgate_domain::TenantId;

/// Events written again in one round trip: some hundred kilobytes.
const MAX_PIPELINE: usize = 256;
/// Bytes of a call without its run: a guess that spares reallocations.
const CALL_BYTES: usize = 160;

impl RedisLedger {
    pub(crate) fn open_report(&self, tenants: Option<&[TenantId]>) -> OpenReport {
        self.shared.register.report(tenants)
    }

    pub(crate) async fn confirm_journaled(&self) -> Result<JournalConfirmation, LedgerError> {
        let shards: Vec<u16> = (0..N_SHARDS).collect();
        let builds: Vec<_> = shards
            .iter()
            .map(|shard| {
                move |run: &str| {
                    let keys = [keys::outbox(*shard), keys::outbox_mark(*shard)];
                    let mut call = scripts::JOURNALED.call(&keys, 1, CALL_BYTES);
                    call.arg(run);
                    call
                }
            })
            .collect();
        let answers = self.shared.client.background_scripts(&scripts::JOURNALED, &builds).await?;
        let mut confirmation = JournalConfirmation::default();
        for (shard, answer) in shards.into_iter().zip(answers) {
            let answer = answer?;
            let mut answer = Integers::new(&answer)?;
            let mark = answer.next_text()?;
            let first = StreamId::parse(answer.next_text()?)
                .ok_or_else(|| LedgerError::Protocol("a stream's id cannot be read".to_owned()))?;
            let is_inclusive = answer.next()? == 1;
            let (n_journaled, lost) = self.shared.register.journaled(shard, mark, first, is_inclusive);
            confirmation.journaled += n_journaled;
            for chunk in lost.chunks(MAX_PIPELINE) {
                self.republish(shard, chunk).await?;
                confirmation.republished += chunk.len() as u64;
            }
        }
        confirmation.waiting = self.shared.register.n_events();
        Ok(confirmation)
    }

    /// Writes events into the outbox again. The journal takes each once.
    async fn republish(
        &self,
        shard: u16,
        events: &[(EventPlace, Arc<UsageEvent>)],
    ) -> Result<(), LedgerError> {
        let life = self.shared.register.life(shard);
        let mut pipeline = redis::pipe();
        for (_, event) in events {
            pipeline.cmd("XADD").arg(keys::outbox(shard)).arg("*").arg(EVENT_FIELD).arg(event.to_json());
        }
        let answers = self.shared.client.background_pipeline(&pipeline).await?;
        for (answer, (place, _)) in answers.into_iter().zip(events) {
            let answer = answer.map_err(|error| explain(&error))?;
            let id = StreamId::parse(Integers::new(&answer)?.next_text()?)
                .ok_or_else(|| LedgerError::Protocol("a stream's id cannot be read".to_owned()))?;
            self.shared.register.republished(shard, life, *place, id);
        }
        Ok(())
    }
}
