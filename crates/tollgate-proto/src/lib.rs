//! The policy channel between control plane and pods: generated messages and service, their conversions
//! from and to the types of `tollgate-policy`, and the cutting of whole sets into chunks.
//!
//! Whatever comes off the wire is checked field by field: a blank name, an unknown enum value or a bad id
//! is a [`ConvertError`] that names the object and the field, never a panic and never a default.

mod chunks;
mod convert;
mod redacted;
mod wire;

pub use chunks::{MAX_CHUNK_BYTES, MAX_SNAPSHOT_OBJECTS, SnapshotAssembler, delta_bytes, snapshot_chunks};
pub use convert::ConvertError;
pub use wire::v1;
