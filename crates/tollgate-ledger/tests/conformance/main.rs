//! One suite over both backends: whatever holds for the ledger in process holds for the one in Redis.

mod admission;
mod concurrency;
mod model;
mod outage;
mod outbox;
mod rates;
mod seeding;
mod stand;
