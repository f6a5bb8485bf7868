//! The OpenAI dialect: Chat Completions, Completions, Embeddings, Models.

pub mod chat;
pub mod error;
pub mod file_ids;
pub mod models;
pub mod request;
pub mod response;
pub mod responses;
pub mod stream;
pub mod usage;
