//! Frames: a length, a checksum and the bytes that they are of. The end of a file that was cut anywhere is seen.

use crc32fast::Hasher;

/// Length and checksum.
const HEAD_BYTES: usize = 8;
/// Longer than any record: a length beyond it is none.
const MAX_PAYLOAD_BYTES: usize = 16 * 1024 * 1024;

/// Frames of one segment. Its number goes into every checksum: a segment's file is used again for a later one, and
/// what is left in it of the earlier one is then no frame.
#[derive(Clone, Debug)]
pub(crate) struct Frames {
    prefix: Hasher,
}

impl Frames {
    /// Those of the segment with this number.
    pub(crate) fn of_segment(number: u64) -> Self {
        let mut prefix = Hasher::new();
        prefix.update(&number.to_le_bytes());
        Self { prefix }
    }

    /// Appends a frame around what `write` appends.
    pub(crate) fn append(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        out.extend_from_slice(&[0; HEAD_BYTES]);
        write(out);
        let (head, payload) = out[start..].split_at_mut(HEAD_BYTES);
        let n_bytes = u32::try_from(payload.len()).expect("a record is far shorter than four gigabytes");
        head[..4].copy_from_slice(&n_bytes.to_le_bytes());
        head[4..].copy_from_slice(&self.checksum(payload).to_le_bytes());
    }

    /// The payload of the frame that `bytes` begin with, and what follows it; `None` where they begin with none.
    pub(crate) fn first<'a>(&self, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let (n_bytes, rest) = bytes.split_first_chunk()?;
        let (checksum, rest) = rest.split_first_chunk()?;
        let n_bytes = usize::try_from(u32::from_le_bytes(*n_bytes)).ok()?;
        if n_bytes == 0 || n_bytes > MAX_PAYLOAD_BYTES {
            return None;
        }
        let (payload, rest) = rest.split_at_checked(n_bytes)?;
        (self.checksum(payload) == u32::from_le_bytes(*checksum)).then_some((payload, rest))
    }

    fn checksum(&self, payload: &[u8]) -> u32 {
        let mut hasher = self.prefix.clone();
        hasher.update(payload);
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all<'a>(frames: &Frames, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut payloads = Vec::new();
        while let Some((payload, rest)) = frames.first(bytes) {
            payloads.push(payload);
            bytes = rest;
        }
        payloads
    }

    proptest! {
        #[test]
        fn a_cut_file_gives_the_frames_before_the_cut(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..90), 0..12),
            garbage in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let frames = Frames::of_segment(3);
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            for payload in &payloads {
                frames.append(&mut bytes, |out| out.extend_from_slice(payload));
                ends.push(bytes.len());
            }
            for cut in 0..=bytes.len() {
                let whole = ends.iter().filter(|end| **end <= cut).count();
                prop_assert_eq!(all(&frames, &bytes[..cut]), &payloads[..whole]);
            }
            prop_assert_eq!(all(&Frames::of_segment(4), &bytes).len(), 0, "of another segment");
            let n_bytes = bytes.len();
            bytes.extend_from_slice(&garbage);
            prop_assert!(all(&frames, &bytes).len() >= payloads.len());
            if n_bytes > 0 {
                bytes[n_bytes - 1] ^= 1;
                prop_assert_eq!(all(&frames, &bytes), &payloads[..payloads.len() - 1]);
            }
        }
    }
}
