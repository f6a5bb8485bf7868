//! Bytes of a stream that pass as they are, in whole events: whatever comes after them is an event of its own.

use bytes::{Bytes, BytesMut};

/// The part of an event that has come so far. Bounded by the decoder that reads the same bytes.
#[derive(Debug, Default)]
pub(super) struct WholeEvents {
    partial: BytesMut,
}

impl WholeEvents {
    /// The whole events up to the end of `chunk`; one that ends where an event does is not copied.
    pub(super) fn push(&mut self, chunk: &Bytes) -> Option<Bytes> {
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(chunk);
            let n_whole = whole_bytes(&self.partial);
            return (n_whole > 0).then(|| self.partial.split_to(n_whole).freeze());
        }
        let n_whole = whole_bytes(chunk);
        self.partial.extend_from_slice(&chunk[n_whole..]);
        (n_whole > 0).then(|| chunk.slice(..n_whole))
    }

    /// What is left at the end of the body.
    pub(super) fn take_rest(&mut self) -> Option<Bytes> {
        (!self.partial.is_empty()).then(|| self.partial.split().freeze())
    }
}

/// Bytes up to the end of the last blank line.
fn whole_bytes(bytes: &[u8]) -> usize {
    const MARKS: [&[u8]; 3] = [b"\n\n", b"\r\n\r\n", b"\r\r"];
    if MARKS.iter().any(|mark| bytes.ends_with(mark)) {
        return bytes.len();
    }
    let end = |mark: &&[u8]| memchr::memmem::rfind(bytes, mark).map(|at| at + mark.len());
    MARKS.iter().filter_map(end).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_pass_when_they_are_whole() {
        for line_end in ["\n", "\r\n", "\r"] {
            let text = "event: a\ndata: {}\n\n: ping\n\ndata: b\n\n".replace('\n', line_end);
            for cut in 0..=text.len() {
                let mut events = WholeEvents::default();
                let (left, right) = text.as_bytes().split_at(cut);
                let mut passed = Vec::new();
                for part in [left, right] {
                    if let Some(bytes) = events.push(&Bytes::copy_from_slice(part)) {
                        let mark = format!("{line_end}{line_end}");
                        assert!(bytes.ends_with(mark.as_bytes()), "{text:?} cut at {cut}");
                        passed.extend_from_slice(&bytes);
                    }
                }
                assert_eq!((passed.as_slice(), events.take_rest()), (text.as_bytes(), None), "cut at {cut}");
            }
        }
        let mut events = WholeEvents::default();
        assert_eq!(events.push(&Bytes::from_static(b"data: a\n\ndata: b")).unwrap().as_ref(), b"data: a\n\n");
        assert_eq!(events.take_rest().unwrap().as_ref(), b"data: b");
    }
}
