//! The ledger: admits requests against money and rate limits and settles them, atomically.
//!
//! The promise: for every budget and every wallet, at every moment, `settled + held ≤ limit`, under any
//! concurrency. [`Ledger::admit`] checks every level and writes a hold, all or nothing;
//! [`Ledger::settle`] turns the hold into a charge and puts the usage event into the outbox, in the same
//! step and exactly once. A hold is a record, never a delta mixed into a counter; an expired hold is never
//! freed, because its request may have been billed.
//!
//! Two backends with the same semantics, held together by one conformance suite: [`MemoryLedger`] in
//! process and [`RedisLedger`] across processes. The one in process can keep a write-ahead log
//! ([`Ledger::memory_with_log`]), so that a SIGKILL loses nothing there either.

mod epoch;
mod error;
mod holds;
mod idempotency;
mod ledger;
mod memory;
pub mod mutants;
mod rate;
mod recovery;
mod redis;
mod slab;
mod types;
mod write_ahead;

pub use epoch::{Epoch, Reseed, ReseedOutcome, TenantEpoch};
pub use error::LedgerError;
pub use holds::{
    GrowOutcome, HeldBudget, HoldPage, HoldView, JournalConfirmation, MAX_MEMO_BYTES, MoneyDenied, OpenHold,
    OpenReport, Renewal, SuspectHold, UnjournaledEvent,
};
pub use idempotency::{
    IdempotencyBounds, IdempotencyClaim, IdempotencyEnd, IdempotencyEnded, IdempotencyName, IdempotencyState,
    MAX_IDEMPOTENCY_KEYS_IN_PROCESS, MAX_IDEMPOTENT_BYTES_IN_PROCESS, MAX_IDEMPOTENT_BYTES_PER_SHARD,
    NoAnswer, StoredAnswer,
};
pub use ledger::Ledger;
pub use memory::{MAX_OUTBOX_EVENTS, MemoryLedger};
pub use redis::{DEFAULT_RESPONSE_TIMEOUT_MS, RedisConfig, RedisLedger};
pub use slab::{SlabConfig, SlabFigures, SlabLedger, SlabView};
pub use types::{
    Admission, AdmitOutcome, Balance, Balances, BudgetCheck, Grant, LimitCheck, LimitKind, LimitOwner,
    MAX_CLOCK_LEAD_MS, MoneyNode, MoneyRefusal, OutboxEntry, OutboxHandle, OutboxMark, RateRefusal,
    RateStatus, Seed, SeedCounter, SettleOutcome, Settlement, WalletRule,
};
pub use write_ahead::Recovered;
