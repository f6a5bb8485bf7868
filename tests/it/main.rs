//! End-to-end tests: the product as its users run it, in one test binary.

mod compose;
mod configured;
mod crowd;
mod dialects;
mod documentation;
mod end_users;
mod idempotency;
mod installation;
mod killed;
mod margins;
mod money;
mod recovery;
mod resilience;
mod sdk;
