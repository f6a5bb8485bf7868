//! The data plane: the HTTP edge and the pipeline every request goes through.
//!
//! `pipeline.rs` is the request's life in one screen. Policy comes in through [`PolicyState`], money is
//! asked of the [`tollgate_ledger::Ledger`], and everything that was admitted is settled by `settle.rs`,
//! whatever happened in between.

mod config;
mod gateway;
mod policy_state;
mod server;

mod edge;
mod pipeline;

mod auth;
mod plan;
mod provider;
mod relay;
mod reserve;
mod route;
mod settle;
mod settle_queue;
mod slice_plan;

mod answer;
mod attempt;
mod azure_paths;
mod bedrock;
mod client_words;
mod confirm;
mod count_tokens;
mod cutoff;
mod dialects;
mod embeddings;
mod entropy;
mod error;
mod gates;
mod idempotency;
mod json_array;
mod kept_files;
mod key_info;
mod leases;
mod levels;
mod media;
mod model_list;
mod objects;
mod open_report;
mod passthrough;
mod policy_feed;
mod progress_io;
mod quirks;
mod quote;
mod response_tokens;
mod responses;
mod seeder;
mod unread;
mod usage_check;
mod vendor_keys;
mod vertex;

pub use config::{GatewayConfig, IdempotencyConfig};
pub use gateway::{Gateway, GatewayParts};
pub use policy_feed::{ControlLink, FeedConfigError, PolicyFeedConfig, run_policy_feed};
pub use policy_state::{PolicyRefused, PolicyState};
pub use seeder::{SeedFuture, SeedReason, Seeder};
pub use server::serve;
