//! Telling the backend what happened in slabs since the last time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinSet;
use tollgate_domain::{HoldId, NanoUsd};

use super::node_set::State;
use super::shard::Known;
use super::{EndedPart, LOW_SHARE, Part, PartEnd, SlabAnswer, SlabCall, SlabDone, SlabLedger, SlabName};
use crate::error::LedgerError;

/// Slabs announced side by side.
const MAX_AT_ONCE: usize = 32;
/// After a slab was returned because a limit is near no other one is leased for so long.
pub(super) const NEAR_PAUSE_MS: i64 = 1_000;

/// How often the same is asked because a report was made before the answer came.
const MAX_ASKED: usize = 4;

const _: () = assert!(LOW_SHARE > 1, "a slab leaves most of a limit to others");

/// What came of telling.
pub(super) enum Told {
    /// What became of the parts that had ended.
    Ends(Vec<(HoldId, PartEnd)>),
    /// The slab was settled by somebody else, and what was not announced is paid for.
    Gone,
    /// Nothing was written: the tenant waits for a reseed.
    WrongEpoch,
}

impl SlabLedger {
    /// Does what was noted since the last round.
    pub(super) async fn work_off(&self) {
        let (unannounced, wanted) = {
            let mut work = self.shared.work.lock();
            (std::mem::take(&mut work.unannounced), std::mem::take(&mut work.wanted))
        };
        self.announce_all(unannounced.into_iter().collect()).await;
        for (tenant, set) in wanted {
            self.lease(tenant, set).await;
        }
    }

    /// Announces all of them, some side by side. Errors are met again in the next round.
    pub(super) async fn announce_all(&self, names: BTreeSet<SlabName>) {
        if names.len() == 1 {
            for name in names {
                self.announce_quietly(name).await;
            }
            return;
        }
        let mut announcing = JoinSet::new();
        for name in names {
            if announcing.len() >= MAX_AT_ONCE {
                announcing.join_next().await;
            }
            let ledger = self.clone();
            announcing.spawn(async move { ledger.announce_quietly(name).await });
        }
        announcing.join_all().await;
    }

    async fn announce_quietly(&self, name: SlabName) {
        if let Err(error) = self.announce(name).await {
            tracing::debug!(slab = %name.slab, %error, "a slab's holds wait to be announced");
        }
    }

    /// Announces everything that is unannounced in a slab now.
    pub(super) async fn announce(&self, name: SlabName) -> Result<Told, LedgerError> {
        let Some(wire) = self.wire(name) else { return Ok(nothing()) };
        let _turn = wire.lock().await;
        self.announce_in_turn(name).await
    }

    /// Whose turn it is to call about a slab.
    pub(super) fn wire(&self, name: SlabName) -> Option<Arc<tokio::sync::Mutex<()>>> {
        self.shard(name.tenant).slab(name).map(|slab| Arc::clone(&slab.wire))
    }

    /// The same by whoever has the turn. Asked again where a report was made before the answer came.
    pub(super) async fn announce_in_turn(&self, name: SlabName) -> Result<Told, LedgerError> {
        for _ in 0..MAX_ASKED {
            if let Some(told) = self.announce_once(name).await? {
                return Ok(told);
            }
        }
        Err(LedgerError::Unavailable("the ledger is being reseeded again and again".to_owned()))
    }

    async fn announce_once(&self, name: SlabName) -> Result<Option<Told>, LedgerError> {
        let now_ms = self.now_ms();
        // First: what a report that comes now says of the parts, the answer must not contradict.
        let n_reports = self.shared.n_reports.load(Ordering::SeqCst);
        let (opened, ended, key) = {
            let mut shard = self.shard(name.tenant);
            let Some(set) = shard.sets.get_mut(&name.set) else { return Ok(Some(nothing())) };
            let key = set.key();
            let Some(slab) = set.slab(name.slab) else { return Ok(Some(nothing())) };
            let queued = std::mem::take(&mut slab.queued);
            slab.sent.extend(queued);
            slab.last_asked_ms = now_ms;
            (slab.sent.clone(), slab.ending.clone(), key)
        };
        let (opened, ended) = (opened.as_slice(), ended.as_slice());
        let call = SlabCall { tenant: name.tenant, slab: name.slab, key, opened, ended, block: None };
        match self.call(&call).await? {
            SlabAnswer::Done(done) => {
                Ok(self.announced(name, opened, ended, &done, n_reports).map(Told::Ends))
            }
            SlabAnswer::Gone(own) => Ok(self.gone(name, &own, n_reports).then_some(Told::Gone)),
            SlabAnswer::WrongEpoch => {
                let mut shard = self.shard(name.tenant);
                if let Some(slab) = shard.slab(name).filter(|slab| slab.state == State::Live) {
                    slab.state = State::Suspended;
                }
                Ok(Some(Told::WrongEpoch))
            }
        }
    }

    /// `None` where a report was made meanwhile.
    fn announced(
        &self,
        name: SlabName,
        opened: &[Arc<Part>],
        ended: &[EndedPart],
        done: &SlabDone,
        n_reports: u64,
    ) -> Option<Vec<(HoldId, PartEnd)>> {
        let now_ms = self.now_ms();
        let mut shard = self.shard(name.tenant);
        let shard = &mut *shard;
        if n_reports != self.shared.n_reports.load(Ordering::SeqCst) {
            return None;
        }
        let Some(set) = shard.sets.get_mut(&name.set) else { return Some(Vec::new()) };
        let config = &self.shared.config;
        if let Some(slab) = set.slab(name.slab) {
            for part in opened {
                slab.sent.retain(|sent| sent.hold != part.hold);
                slab.unannounced = slab.unannounced.saturating_sub(part.amount);
                shard.holds.insert(part.hold, Known::Asked);
            }
            for (one, end) in ended.iter().zip(&done.ended) {
                slab.ending.retain(|ending| ending.part.hold != one.part.hold);
                slab.unannounced = slab.unannounced.saturating_sub(one.part.amount);
                if *end == PartEnd::IsHold {
                    shard.holds.insert(one.part.hold, Known::Asked);
                } else {
                    // Its place stayed with the slab.
                    slab.places_left = slab.places_left.map(|left| left + 1);
                    shard.holds.remove(&one.part.hold);
                    shard.recent.insert(one.part.hold, now_ms);
                }
            }
            if slab.state == State::Suspended {
                slab.state = State::Live;
            }
            let is_near = done.is_low || done.available < room_for_all(slab.amount, config.n_pods);
            if (is_near || done.is_revoked) && slab.state == State::Live {
                slab.state = State::Closing;
                set.not_before_ms = now_ms + NEAR_PAUSE_MS;
            }
        }
        Some(ended.iter().zip(&done.ended).map(|(one, end)| (one.part.hold, *end)).collect())
    }

    /// Somebody settled the slab at its window, which pays for what was not announced, but for what is a hold of its
    /// `own` by a reseed: that is held, grows and is settled by itself. `false` where a report was made meanwhile.
    fn gone(&self, name: SlabName, own: &[HoldId], n_reports: u64) -> bool {
        let mut shard = self.shard(name.tenant);
        if n_reports != self.shared.n_reports.load(Ordering::SeqCst) {
            return false;
        }
        let Some(set) = shard.sets.get_mut(&name.set) else { return true };
        let Some(index) = set.slabs.iter().position(|slab| slab.hold == name.slab) else { return true };
        let slab = set.slabs.swap_remove(index);
        let ending = slab.ending.iter().map(|ended| &ended.part);
        let parts = slab.queued.iter().chain(&slab.sent).chain(ending).map(|part| part.hold);
        let (own, paid): (Vec<HoldId>, Vec<HoldId>) = parts.partition(|hold| own.contains(hold));
        if !paid.is_empty() {
            let (tenant, slab, holds) = (name.tenant, name.slab, paid.len());
            tracing::error!(%tenant, %slab, holds, "a slab was settled before all of its holds were announced");
        }
        shard.holds.extend(paid.into_iter().map(|hold| (hold, Known::Paid)));
        shard.holds.extend(own.into_iter().map(|hold| (hold, Known::Asked)));
        drop(shard);
        // So that the backend's client hears of it, too.
        self.doubt(name.tenant, name.slab);
        self.shared.counters.n_returned.fetch_add(1, Ordering::Relaxed);
        true
    }
}

fn nothing() -> Told {
    Told::Ends(Vec::new())
}

/// What every enforced level must have left beyond a slab of this size, so that all pods can have theirs.
pub(super) fn room_for_all(amount: NanoUsd, n_pods: u32) -> NanoUsd {
    NanoUsd(amount.0.saturating_mul(8).saturating_mul(i64::from(n_pods)))
}
