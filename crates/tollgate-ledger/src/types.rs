//! What is asked of a ledger and what it answers: the same for every backend.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_domain::{
    BudgetId, HoldId, KeyId, NanoUsd, NodeId, PeriodPair, ProjectId, TenantId, UnixMillis, UsageEvent,
};
use tollgate_policy::RateLimits;

/// What holds money: a budget in one period, or a prepaid tenant's wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MoneyNode {
    /// The tenant's prepaid wallet; its limit (all credit ever granted) lives in the ledger.
    Wallet,
    /// A budget; its limit comes with every call, from policy.
    Budget(BudgetId),
}

/// One budget to be checked and charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetCheck {
    /// Which budget.
    pub budget: BudgetId,
    /// Its limit per period.
    pub limit: NanoUsd,
    /// The caller's present period and the next one: the ledger chooses by its own clock.
    pub periods: PeriodPair,
}

/// Whose rate limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitOwner {
    /// Over all of a tenant's keys.
    Tenant(TenantId),
    /// Over all of a project's keys.
    Project(ProjectId),
    /// Of one key.
    Key(KeyId),
    /// Of one end user of a tenant.
    EndUser {
        /// The tenant whose user it is.
        tenant: TenantId,
        /// Of the user's name, by the caller.
        hash: u64,
    },
    /// Of one model: for a tenant, or as everybody may use it. As every limit it is counted per tenant.
    Model {
        /// The tenant the limit was set for; `None` where it was set for all of them.
        tenant: Option<TenantId>,
        /// Of the model's name, by the caller.
        hash: u64,
    },
}

/// One owner's rate limits to be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitCheck {
    /// Whose.
    pub owner: LimitOwner,
    /// Which; at least one is set.
    pub limits: RateLimits,
}

/// What an admission does with the tenant's wallet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WalletRule {
    /// Nothing: the request is free.
    #[default]
    None,
    /// Its counters move, its limit is not checked: the tenant pays by invoice. So the wallet always knows
    /// what was spent, and what is in flight, when the tenant begins to pay in advance.
    Counted,
    /// Its counters move, and nothing is held beyond its limit: the tenant pays in advance.
    Enforced,
}

/// How far a caller's clock may be ahead of the ledger's, in milliseconds: what NTP keeps a thousand times better. A
/// budget's period that begins later has not begun, and its money is not spent yet.
pub const MAX_CLOCK_LEAD_MS: i64 = 5_000;

/// Everything one admission checks and writes, all or nothing, in one round trip.
#[derive(Clone, Debug)]
pub struct Admission<'a> {
    /// Who pays.
    pub tenant: TenantId,
    /// With which key; a key flagged as revoked is refused.
    pub key: KeyId,
    /// The pod that asks, which renews the lease.
    pub node: NodeId,
    /// Identity of the hold; asking again with the same one gives the same answer and holds nothing more.
    pub hold: HoldId,
    /// What is wanted.
    pub amount: NanoUsd,
    /// What must be had at least. Where less than `amount` but at least this much is available on every
    /// level, all that is available is granted. Equal to `amount` where nothing can be clamped.
    pub minimum: NanoUsd,
    /// What is done with the tenant's wallet. Unless it is [`WalletRule::None`] the tenant must be seeded.
    pub wallet: WalletRule,
    /// The budgets of every level.
    pub budgets: &'a [BudgetCheck],
    /// The rate limits of every level.
    pub limits: &'a [LimitCheck],
    /// Tokens to reserve against token limits (clamped to one minute's worth of each limit).
    pub tokens: u64,
    /// After how long without renewal the hold counts as abandoned.
    pub lease_ms: u64,
    /// A note that is kept with the hold, at most [`crate::MAX_MEMO_BYTES`]: what the journal needs to know
    /// should this pod die.
    pub memo: &'a [u8],
}

/// The tightest state of a kind of rate limit, for response headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateStatus {
    /// The limit per minute.
    pub limit: u64,
    /// What is left now, this request counted.
    pub remaining: u64,
    /// Until all of it is there again.
    pub reset_ms: u64,
}

/// The hold was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// How much is held: `minimum..=amount`.
    pub granted: NanoUsd,
    /// The ledger's time of admission: it names the periods that are charged.
    pub admitted_at: UnixMillis,
    /// The request limit with the smallest share left.
    pub requests: Option<RateStatus>,
    /// The token limit with the smallest share left.
    pub tokens: Option<RateStatus>,
}

/// Money does not suffice on one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoneyRefusal {
    /// The tightest level.
    pub node: MoneyNode,
    /// Its limit.
    pub limit: NanoUsd,
    /// Settled in its period.
    pub settled: NanoUsd,
    /// Held in its period.
    pub held: NanoUsd,
    /// When its period ends; `None` for wallets and totals.
    pub resets_at: Option<UnixMillis>,
}

/// Which rate limit refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitKind {
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens,
    /// Requests in flight.
    Concurrency,
}

/// A rate limit refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateRefusal {
    /// Whose limit.
    pub owner: LimitOwner,
    /// Which one.
    pub kind: LimitKind,
    /// The limit.
    pub limit: u64,
    /// When a repeat can succeed; a guess (1 s) for concurrency.
    pub retry_after_ms: u64,
}

/// The answer to an admission. Order of checks: epoch, revoked, cold, rates (requests, tokens, concurrency), money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmitOutcome {
    /// Held.
    Admitted(Grant),
    /// A level has not enough left even if every hold in flight were returned.
    Spent(MoneyRefusal),
    /// Only holds in flight are in the way: a repeat may succeed.
    Held(MoneyRefusal),
    /// A rate limit.
    RateLimited(RateRefusal),
    /// The ledger does not know this tenant (or a budget whose period began before the ledger knew the
    /// tenant): it must be seeded from the journal. Never taken for "nothing spent".
    Cold,
    /// What the ledger has of this tenant is of another run of the server, or is being replaced, or does not
    /// have what this pod holds: it must be reseeded. Nothing was written.
    WrongEpoch,
    /// The key is flagged as revoked.
    Revoked,
    /// This budget's period begins more than [`MAX_CLOCK_LEAD_MS`] after the ledger's present: the caller's clock is
    /// fast, or the ledger's slow. Nothing was written.
    NotBegun(BudgetId),
    /// This hold id was already settled.
    AlreadySettled,
}

/// Ends a hold: `held −= amount`, `settled += actual`, the event goes to the outbox, all in one step.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Whose hold.
    pub tenant: TenantId,
    /// Which.
    pub hold: HoldId,
    /// What is charged. Zero voids the hold.
    pub actual: NanoUsd,
    /// Tokens really used: corrects the reservation of the token limits.
    pub tokens: u64,
    /// What the journal is to hold. `None` only where nothing was dispatched.
    pub event: Option<Arc<UsageEvent>>,
}

/// The answer to a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettleOutcome {
    /// Done.
    Settled,
    /// It was done before; nothing changed.
    AlreadySettled,
    /// The hold is unknown (the ledger lost it): the event was recorded and the amount was **not** counted.
    UnknownHold,
    /// The tenant's epoch does not answer, or its reseed did not hear of this hold: nothing was written. Keep
    /// the settlement, have the tenant reseeded, ask again.
    WrongEpoch,
}

/// One money node's counters in one period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// The limit: the wallet's own, or the one asked with.
    pub limit: NanoUsd,
    /// Settled.
    pub settled: NanoUsd,
    /// Held.
    pub held: NanoUsd,
}

/// The counters of a tenant's wallet and of the budgets that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balances {
    /// Whether the ledger does not know the tenant, or one of the budgets in its period: what is told below
    /// is then no truth. Seed the tenant and ask again.
    pub is_cold: bool,
    /// The wallet; `None` where it was not asked for or is not seeded.
    pub wallet: Option<Balance>,
    /// The budgets in the order asked, each in the period of the ledger's present; zeros where the ledger
    /// knows nothing.
    pub budgets: Vec<Balance>,
}

/// What the journal knows of one budget in one period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedCounter {
    /// Which budget.
    pub budget: BudgetId,
    /// First millisecond of the period: it names it.
    pub period_starts_at: UnixMillis,
    /// Settled there according to the journal.
    pub settled: NanoUsd,
}

/// What the journal knows of one tenant. Seeding writes only what the ledger does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Whose.
    pub tenant: TenantId,
    /// All credit ever granted, and the version of that sum (it only grows).
    pub wallet_limit: NanoUsd,
    /// See [`crate::Ledger::set_wallet_limit`].
    pub wallet_version: u64,
    /// All charges ever made against the wallet.
    pub wallet_settled: NanoUsd,
    /// The budgets in their present periods.
    pub counters: Vec<SeedCounter>,
}

/// An entry of the outbox, to be acknowledged once its event is journaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Names it for [`crate::Ledger::outbox_acknowledge`].
    pub handle: OutboxHandle,
    /// The event, as settled. `Err` holds the reason where the stored bytes are not an event any more.
    pub event: Result<Arc<UsageEvent>, String>,
}

/// Names an outbox entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutboxHandle {
    /// The outbox shard; always 0 in process.
    pub shard: u16,
    /// The backend's own id.
    pub id: String,
}

/// What was in the outbox at a moment, less what [`crate::Ledger::outbox_look`] has shown of it since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxMark(pub(crate) Vec<OutboxSpan>);

impl OutboxMark {
    /// Whether all of it was shown.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The entries of one shard from after one to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutboxSpan {
    pub(crate) shard: u16,
    /// The last one that was shown.
    pub(crate) after: Option<String>,
    /// The last one that was there.
    pub(crate) last: String,
}
