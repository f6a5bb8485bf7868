//! A request's body, in one piece or in several: what is changed in a long prompt stands between slices of what the
//! client sent, and nothing of it is copied on its way to the socket.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Pieces that follow each other. `Debug` shows their number and length only.
#[derive(Clone, Default)]
pub struct RequestBody {
    /// Most bodies are this and nothing else; empty where the body is.
    first: Bytes,
    /// None of them is empty, and there are none where the first one is.
    rest: VecDeque<Bytes>,
    n_bytes: usize,
}

impl RequestBody {
    /// Bytes to send.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.n_bytes
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.n_bytes == 0
    }

    /// Adds a piece at the end.
    pub fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.n_bytes += piece.len();
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.rest.push_back(piece);
        }
    }

    fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// The body in one piece: copied together where there are several.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        if self.rest.is_empty() {
            return self.first.clone();
        }
        let mut all = Vec::with_capacity(self.n_bytes);
        self.pieces().for_each(|piece| all.extend_from_slice(piece));
        Bytes::from(all)
    }

    /// Fills `slices` with what follows the first `n_sent` bytes; how many it filled.
    pub(crate) fn slices_after<'b>(&'b self, n_sent: usize, slices: &mut [IoSlice<'b>]) -> usize {
        let (mut n_before, mut n_filled) = (n_sent, 0);
        for piece in self.pieces() {
            if n_filled == slices.len() {
                break;
            }
            if n_before < piece.len() {
                slices[n_filled] = IoSlice::new(&piece[n_before..]);
                n_filled += 1;
            }
            n_before = n_before.saturating_sub(piece.len());
        }
        n_filled
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestBody({} bytes, {} pieces after the first)", self.n_bytes, self.rest.len())
    }
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> Self {
        let mut body = Self::default();
        body.push(bytes);
        body
    }
}

impl FromIterator<Bytes> for RequestBody {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut body = Self::default();
        pieces.into_iter().for_each(|piece| body.push(piece));
        body
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.rest.pop_front().unwrap_or_default();
        let piece = std::mem::replace(&mut self.first, next);
        self.n_bytes -= piece.len();
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.n_bytes as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn body(pieces: &[&'static str]) -> RequestBody {
        pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect()
    }

    #[tokio::test]
    async fn pieces_are_one_body_however_they_are_read() {
        for pieces in [&[][..], &[""], &["abc"], &["", "ab", "", "cdef", "g"]] {
            let (body, whole) = (body(pieces), pieces.concat());
            assert_eq!((body.len(), body.is_empty()), (whole.len(), whole.is_empty()), "{pieces:?}");
            assert_eq!(body.to_bytes(), whole);
            assert_eq!(body.size_hint().exact(), Some(whole.len() as u64));
            assert_eq!(body.clone().collect().await.unwrap().to_bytes(), whole);
            for n_sent in 0..=whole.len() {
                for n_slices in 0..4 {
                    let mut slices = vec![IoSlice::new(&[]); n_slices];
                    let n_filled = body.slices_after(n_sent, &mut slices);
                    let rest: Vec<u8> = slices[..n_filled].iter().flat_map(|slice| slice.to_vec()).collect();
                    assert!(whole.as_bytes()[n_sent..].starts_with(&rest), "{pieces:?} from {n_sent}");
                    let is_all = n_sent + rest.len() == whole.len();
                    assert!(is_all || n_filled == n_slices, "{pieces:?} from {n_sent} in {n_slices}");
                }
            }
        }
    }
}
