//! Whole policy sets cut into messages that fit, and put together again.

use prost::Message;
use tollgate_policy::{PolicyObject, PolicySet};

use crate::{ConvertError, v1};

/// Encoded size at which a chunk is closed: tonic decodes at most 4 MiB per message, and small chunks let
/// other streams on the connection through.
pub const MAX_CHUNK_BYTES: usize = 512 * 1024;

/// Most objects one snapshot may have: beyond it something is wrong with the sender, and a pod must not
/// run out of memory for it.
pub const MAX_SNAPSHOT_OBJECTS: usize = 4_000_000;

/// Cuts `objects` into chunks of about [`MAX_CHUNK_BYTES`] at most; an object larger than that stands alone.
/// There is always at least one chunk; the last one is marked.
#[must_use]
pub fn snapshot_chunks<'a>(
    revision: u64,
    objects: impl IntoIterator<Item = &'a PolicyObject>,
) -> Vec<v1::SnapshotChunk> {
    let empty = || v1::SnapshotChunk { revision, ..v1::SnapshotChunk::default() };
    let mut chunks = vec![v1::SnapshotChunk { first: true, ..empty() }];
    let mut bytes = 0;
    for object in objects {
        let object = v1::PolicyObject::from(object);
        let object_bytes = object.encoded_len();
        let is_full = bytes > 0 && bytes + object_bytes > MAX_CHUNK_BYTES;
        if is_full {
            chunks.push(empty());
            bytes = 0;
        }
        bytes += object_bytes;
        if let Some(chunk) = chunks.last_mut() {
            chunk.objects.push(object);
        }
    }
    if let Some(chunk) = chunks.last_mut() {
        chunk.last = true;
    }
    chunks
}

/// Encoded size of a delta; above [`MAX_CHUNK_BYTES`] a snapshot in chunks is the better answer.
#[must_use]
pub fn delta_bytes(delta: &v1::Delta) -> usize {
    delta.encoded_len()
}

/// Collects the chunks of a snapshot.
#[derive(Debug, Default)]
pub struct SnapshotAssembler {
    revision: u64,
    started: bool,
    objects: Vec<PolicyObject>,
}

impl SnapshotAssembler {
    /// Takes the next chunk; after the last one gives the revision and the set.
    ///
    /// # Errors
    /// [`ConvertError`] for a bad object, chunks out of order, or more than [`MAX_SNAPSHOT_OBJECTS`]. What
    /// was collected is dropped then; the next first chunk starts anew.
    pub fn push(&mut self, chunk: v1::SnapshotChunk) -> Result<Option<(u64, PolicySet)>, ConvertError> {
        let result = self.take(chunk);
        if !matches!(result, Ok(None)) {
            *self = Self::default();
        }
        result
    }

    fn take(&mut self, chunk: v1::SnapshotChunk) -> Result<Option<(u64, PolicySet)>, ConvertError> {
        let refused = |reason: &str| Err(ConvertError::new("snapshot", "chunk", reason));
        if chunk.first {
            *self = Self { revision: chunk.revision, started: true, objects: Vec::new() };
        } else if !self.started {
            return refused("does not begin with the first one");
        }
        if chunk.revision != self.revision {
            return refused("belongs to another revision");
        }
        if self.objects.len() + chunk.objects.len() > MAX_SNAPSHOT_OBJECTS {
            return refused("makes the set larger than any real one");
        }
        for object in chunk.objects {
            self.objects.push(PolicyObject::try_from(object)?);
        }
        if !chunk.last {
            return Ok(None);
        }
        Ok(Some((self.revision, std::mem::take(&mut self.objects).into_iter().collect())))
    }
}
