//! Wire formats as pure functions: bytes in, bytes out; no I/O, no clock, no randomness.
//!
//! Bodies that need no translation are never decoded and encoded again: [`json`] walks the bytes once, the
//! dialect modules remember where the few interesting members stand, and splices replace only those.

pub mod anthropic;
pub mod bedrock;
pub mod cohere;
pub mod embeddings;
pub mod gemini;
pub mod json;
pub mod media;
pub mod multipart;
pub mod neutral;
pub mod openai;
pub mod sse;
pub mod tokens;
pub mod translate;
