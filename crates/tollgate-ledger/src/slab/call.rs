//! What a slab asks of the ledger behind it: one call for all that happened in it since the last one.

use std::sync::Arc;

use tollgate_domain::{HoldId, KeyId, NanoUsd, NodeId, TenantId, UnixMillis};

use crate::types::{LimitCheck, Settlement};

/// A hold that was admitted out of a slab, as it is to stand in the ledger: in the slab's money nodes.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) hold: HoldId,
    pub(crate) key: KeyId,
    pub(crate) node: NodeId,
    /// What it takes out of the slab.
    pub(crate) amount: NanoUsd,
    /// By the slab's estimate of the ledger's time, within the slab's periods.
    pub(crate) admitted_at: UnixMillis,
    pub(crate) lease_ms: u64,
    /// Tokens reserved for it, out of those of the slab.
    pub(crate) tokens: u64,
    pub(crate) memo: Box<[u8]>,
}

/// A part whose request has ended before it was announced.
#[derive(Clone, Debug)]
pub(crate) struct EndedPart {
    pub(crate) part: Arc<Part>,
    pub(crate) settlement: Settlement,
}

/// More of the rate limits than one request needs: asked for once, right after the slab was leased.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Requests beyond the first.
    pub(crate) requests: u64,
    /// Places among the concurrent requests beyond the first.
    pub(crate) places: u64,
    pub(crate) limits: Vec<LimitCheck>,
}

/// One call about one slab. A repeat changes nothing, but for the block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlabCall<'a> {
    pub(crate) tenant: TenantId,
    /// The hold that is the slab.
    pub(crate) slab: HoldId,
    /// With which it was leased.
    pub(crate) key: KeyId,
    pub(crate) opened: &'a [Arc<Part>],
    pub(crate) ended: &'a [EndedPart],
    pub(crate) block: Option<&'a Block>,
}

/// What became of an ended part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartEnd {
    Settled,
    /// By an earlier call whose answer was lost.
    AlreadySettled,
    /// It is a hold of its own by now, to be settled as one.
    IsHold,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SlabAnswer {
    Done(SlabDone),
    /// The slab was settled by somebody else, at its window: what was not announced is paid for, but for these parts
    /// of the call: a reseed had made holds of their own of them before.
    Gone(Vec<HoldId>),
    /// The epoch does not answer, or has not heard of this slab.
    WrongEpoch,
}

/// It was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlabDone {
    /// In the order of the ended parts.
    pub(crate) ended: Vec<PartEnd>,
    /// What the tightest enforced level has left.
    pub(crate) available: NanoUsd,
    /// Whether some level has less left than a tenth of its limit.
    pub(crate) is_low: bool,
    /// Whether the key is flagged as revoked.
    pub(crate) is_revoked: bool,
    /// Whether the block was taken, where one was asked for.
    pub(crate) has_block: bool,
}

/// What "far from a limit" is at least: this part of it is left.
pub(crate) const LOW_SHARE: i64 = 10;
/// A block is taken where this share of a minute, or of the places, stays free.
pub(crate) const FREE_SHARE: i64 = 2;
