//! Google's streams without `alt=sse`: one JSON array, an element for each event.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use http_body::{Body, Frame};
use tollgate_wire::sse::Decoder;

use crate::answer::{BrokenOff, GatewayBody};

/// An event stream on its way to a client that reads an array.
pub(crate) struct ArrayBody {
    inner: GatewayBody,
    decoder: Decoder,
    n_elements: u64,
    is_closed: bool,
}

/// Whether a call of Google's clients wants an array.
pub(crate) fn is_asked_for(path: &str, query: Option<&str>) -> bool {
    let has_events =
        query.is_some_and(|query| query.split('&').any(|pair| pair.eq_ignore_ascii_case("alt=sse")));
    path.ends_with(":streamGenerateContent") && !has_events
}

/// The answer as an array where it is an event stream.
pub(crate) fn as_array(response: Response<GatewayBody>) -> Response<GatewayBody> {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("text/event-stream") {
        return response;
    }
    let mut response = response.map(|inner| {
        let decoder = Decoder::new();
        GatewayBody::Array(Box::new(ArrayBody { inner, decoder, n_elements: 0, is_closed: false }))
    });
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl ArrayBody {
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        while !self.is_closed {
            let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(context)) else {
                self.is_closed = true;
                let end: &'static [u8] = if self.n_elements == 0 { b"[]" } else { b"]" };
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(end)))));
            };
            let Ok(data) = frame?.into_data() else { continue };
            let elements = self.elements(data);
            if !elements.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(elements))));
            }
        }
        Poll::Ready(None)
    }

    fn elements(&mut self, data: Bytes) -> Bytes {
        let mut frames = Vec::new();
        if self.decoder.push(data, &mut frames).is_err() {
            // our own events are never so large
            tracing::error!("an event is too large for an array");
        }
        let mut out = BytesMut::new();
        for frame in frames {
            let Some(data) = frame.data() else { continue };
            out.extend_from_slice(if self.n_elements == 0 { b"[" } else { b",\r\n" });
            out.extend_from_slice(&data);
            self.n_elements += 1;
        }
        out.freeze()
    }
}

impl fmt::Debug for ArrayBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArrayBody({:?})", self.inner)
    }
}
