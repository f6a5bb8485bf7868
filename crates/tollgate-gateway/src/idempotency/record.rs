//! Answers as they are kept: written down while they are sent, and read for whoever repeats the request.
//!
//! The layout: a version byte, the status (u16), the number of headers (u16), each header's name and value with
//! their lengths (u16, u32) before them, then the body. All little-endian.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tollgate_domain::RequestId;
use tollgate_ledger::{IdempotencyEnd, NoAnswer, StoredAnswer};

use super::run::OnceRun;
use crate::answer::{GatewayBody, OVERHEAD_US, overhead_value, write_common};
use crate::relay::RelayBody;

/// Says that an answer is a repeat.
const REPLAY: HeaderName = HeaderName::from_static("x-tollgate-idempotent-replay");
const VERSION: u8 = 1;
/// Bytes of all streams of a pod that are being written down: 128 of the largest that are kept. Beyond it a stream is
/// sent without being kept.
const MAX_RECORDING_BYTES: usize = 128 << 20;

/// A stream on its way to the client, written down as it goes.
pub(crate) struct RecordedBody {
    // before `once`: what it settles when it is dropped decides how the run ends
    relay: Box<RelayBody>,
    recording: Result<Recording, NoAnswer>,
    closing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    is_ended: bool,
    once: Arc<OnceRun>,
}

/// What was sent so far; its room is given back when it is dropped.
struct Recording {
    bytes: Vec<u8>,
    room: usize,
    /// What all streams of the pod have taken.
    taken: Arc<AtomicUsize>,
}

// === impl Recording ===

impl Recording {
    fn push(&mut self, bytes: &[u8], max: usize) -> Result<(), NoAnswer> {
        if self.bytes.len() + bytes.len() > max {
            return Err(NoAnswer::TooLarge);
        }
        if self.taken.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len() > MAX_RECORDING_BYTES {
            self.taken.fetch_sub(bytes.len(), Ordering::Relaxed);
            return Err(NoAnswer::NoRoom);
        }
        self.room += bytes.len();
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.room, Ordering::Relaxed);
    }
}

// === impl RecordedBody ===

impl RecordedBody {
    /// Writes a stream down; a whole answer is kept already.
    pub(super) fn record(response: Response<GatewayBody>, once: Arc<OnceRun>) -> Response<GatewayBody> {
        if !matches!(response.body(), GatewayBody::Relay(_)) {
            return response;
        }
        let head = once.head(&response);
        response.map(|body| match body {
            GatewayBody::Relay(relay) => {
                let recording = if once.may_keep() {
                    let taken = Arc::clone(&once.gateway().idempotency.recording_bytes);
                    Ok(Recording { bytes: head, room: 0, taken })
                } else {
                    Err(NoAnswer::Forbidden)
                };
                let recorded = Self { relay, recording, closing: None, is_ended: false, once };
                GatewayBody::Recorded(Box::new(recorded))
            }
            other => other,
        })
    }

    /// The next bytes for the client. The end comes once the answer is kept, or will not be.
    pub(crate) fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(closing) = &mut self.closing {
            return closing.as_mut().poll(context).map(|()| None);
        }
        match self.relay.poll_bytes(context) {
            Poll::Ready(Some(bytes)) => {
                self.push(&bytes);
                Poll::Ready(Some(bytes))
            }
            Poll::Ready(None) => {
                let Some(closing) = self.end() else { return Poll::Ready(None) };
                let closing = self.closing.insert(closing);
                closing.as_mut().poll(context).map(|()| None)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Whether it ended in the middle without a way to say so.
    pub(crate) fn was_cut(&self) -> bool {
        self.relay.was_cut()
    }

    fn push(&mut self, bytes: &[u8]) {
        let max = self.once.gateway().config.idempotency.max_answer_bytes;
        if let Ok(recording) = &mut self.recording
            && let Err(why) = recording.push(bytes, max)
        {
            self.recording = Err(why);
        }
    }

    /// An answer that ended well is kept; what else there is, the run's own end tells.
    fn end(&mut self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        if std::mem::replace(&mut self.is_ended, true) || !self.once.is_answered() {
            return None;
        }
        let end = match &mut self.recording {
            Ok(recording) => {
                IdempotencyEnd::Answered(StoredAnswer::new(std::mem::take(&mut recording.bytes)))
            }
            Err(why) => IdempotencyEnd::Spent(*why),
        };
        let closing = self.once.end(end)?;
        Some(Box::pin(closing))
    }
}

impl Drop for RecordedBody {
    /// A client that left after the provider had ended: the answer is whole, and what it did not take is here.
    fn drop(&mut self) {
        if self.is_ended || !self.once.is_answered() {
            return;
        }
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(bytes)) = self.relay.poll_bytes(&mut context) {
            self.push(&bytes);
        }
        drop(self.end());
    }
}

impl fmt::Debug for RecordedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordedBody({:?})", self.relay)
    }
}

// === the layout ===

/// Everything of an answer but its body. Limits and times are left out: they were those of that moment.
pub(super) fn encode_head(response: &Response<GatewayBody>, request: RequestId) -> Vec<u8> {
    let mut headers: HeaderMap = response.headers().clone();
    write_common(&mut headers, request);
    headers.remove(OVERHEAD_US);
    let kept = headers.iter().filter(|(name, _)| !name.as_str().starts_with("x-ratelimit-"));
    let kept: Vec<(&HeaderName, &HeaderValue)> = kept.collect();
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&response.status().as_u16().to_le_bytes());
    bytes.extend_from_slice(&u16::try_from(kept.len()).unwrap_or(u16::MAX).to_le_bytes());
    for (name, value) in kept.into_iter().take(usize::from(u16::MAX)) {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        bytes.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(value);
    }
    bytes
}

/// A kept answer as it was, marked as a repeat; `None` where a later release wrote it in another way.
pub(super) fn replay(answer: StoredAnswer, overhead: Duration) -> Option<Response<GatewayBody>> {
    let bytes = Bytes::from_owner(answer);
    let mut rest = &bytes[..];
    let [version] = take(&mut rest)?;
    if version != VERSION {
        return None;
    }
    let status = StatusCode::from_u16(u16::from_le_bytes(take(&mut rest)?)).ok()?;
    let n_headers = u16::from_le_bytes(take(&mut rest)?);
    let mut headers = HeaderMap::with_capacity(usize::from(n_headers) + 2);
    for _ in 0..n_headers {
        let name_len = usize::from(u16::from_le_bytes(take(&mut rest)?));
        let value_len = usize::try_from(u32::from_le_bytes(take(&mut rest)?)).ok()?;
        let (name, after) = rest.split_at_checked(name_len)?;
        let (value, after) = after.split_at_checked(value_len)?;
        headers.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
        rest = after;
    }
    headers.insert(REPLAY, HeaderValue::from_static("true"));
    headers.insert(OVERHEAD_US, overhead_value(overhead));
    let body = bytes.slice(bytes.len() - rest.len()..);
    let mut response = Response::new(GatewayBody::whole(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Some(response)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(response: Response<GatewayBody>) -> Bytes {
        match response.into_body() {
            GatewayBody::Whole(bytes) => bytes.unwrap_or_default(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let request = RequestId::from_u128(7);
        for body in [&b""[..], b"{\"a\":1}", &[0, 255, 10]] {
            let mut response = Response::new(GatewayBody::whole(Bytes::new()));
            *response.status_mut() = StatusCode::CREATED;
            for (name, value) in [
                ("content-type", "text/event-stream"),
                ("x-tollgate-cost-usd", "0.1"),
                ("x-tollgate-overhead-us", "999999999"),
                ("x-ratelimit-remaining-requests", "5"),
            ] {
                response.headers_mut().append(HeaderName::from_static(name), value.parse().unwrap());
            }
            let mut bytes = encode_head(&response, request);
            bytes.extend_from_slice(body);
            let read = replay(StoredAnswer::new(bytes.clone()), Duration::ZERO).unwrap();
            assert_eq!(read.status(), StatusCode::CREATED);
            let header = |name: &str| read.headers().get(name).and_then(|value| value.to_str().ok());
            assert_eq!(header("content-type"), Some("text/event-stream"));
            assert_eq!(header("x-tollgate-cost-usd"), Some("0.1"));
            assert_eq!(header("x-tollgate-overhead-us"), Some("0"), "this one's own");
            assert_eq!(header("x-ratelimit-remaining-requests"), None, "of a moment that is gone");
            assert_eq!(header("x-tollgate-request-id"), Some(request.to_string().as_str()));
            assert_eq!(header("x-tollgate-idempotent-replay"), Some("true"));
            assert_eq!(&body_of(read)[..], body);
            bytes[0] = VERSION + 1;
            assert!(replay(StoredAnswer::new(bytes), Duration::ZERO).is_none(), "of a later release");
        }
    }

    #[test]
    fn what_is_cut_is_not_read() {
        let response = Response::new(GatewayBody::whole(Bytes::new()));
        let bytes = encode_head(&response, RequestId::from_u128(7));
        for n in 0..bytes.len() {
            assert!(replay(StoredAnswer::new(bytes[..n].to_vec()), Duration::ZERO).is_none(), "{n}");
        }
    }
}
