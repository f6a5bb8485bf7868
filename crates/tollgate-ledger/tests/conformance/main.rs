//! One suite over all backends: whatever holds for the ledger in process, with and without a log, holds for the one
//! in Redis.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod admission;
mod concurrency;
mod epochs;
mod fencing;
mod holds;
mod idempotency;
mod model;
mod outage;
mod outbox;
mod rates;
mod reseeding;
mod seeding;
mod slabs;
mod stand;
