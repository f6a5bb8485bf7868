//! The body of an answer, with its idle limit.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::UpstreamError;

/// An answer's body. Dropping it closes the HTTP/1.1 connection or resets the HTTP/2 stream.
#[derive(Debug)]
pub struct UpstreamBody {}

impl UpstreamBody {
    /// A body that is already here.
    #[must_use]
    pub fn from_chunks(chunks: Vec<Bytes>) -> Self {
        let _ = chunks;
        Self {}
    }
}

impl http_body::Body for UpstreamBody {
    type Data = Bytes;
    type Error = UpstreamError;
    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        todo!()
    }
    fn is_end_stream(&self) -> bool {
        todo!()
    }
    fn size_hint(&self) -> SizeHint {
        todo!()
    }
}
