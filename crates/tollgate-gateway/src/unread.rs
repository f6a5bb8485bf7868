//! The body of a request that is refused by its head alone.
//!
//! A client may send it in a packet of its own, after the head. Where it is not read hyper closes the connection under
//! the client, which has its answer and sends the next request on it. So what is short is read, and where more may
//! come the answer says that the connection ends.

use std::time::Duration;

use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Request, Response, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tollgate_domain::ErrorKind;

use crate::answer::GatewayBody;

/// Bytes that are read for nothing: more than most requests have, and nothing to a server.
const MAX_UNREAD_BYTES: usize = 64 << 10;
/// How long they are waited for: they are on their way.
const UNREAD_TIMEOUT: Duration = Duration::from_millis(500);

/// Reads what is left of a refused request, if it is little; whether the connection can take another one.
pub(crate) async fn read_rest(request: Request<Incoming>) -> bool {
    // who waits for a word before it sends the body has not sent it
    let is_asking = request.headers().contains_key(EXPECT);
    let mut body = request.into_body();
    if body.is_end_stream() {
        return true;
    }
    if is_asking || body.size_hint().lower() > MAX_UNREAD_BYTES as u64 {
        return false;
    }
    let rest = async {
        let mut n_bytes = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            n_bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
            if n_bytes > MAX_UNREAD_BYTES {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(UNREAD_TIMEOUT, rest).await.unwrap_or(false)
}

/// Whether a refusal ends the reading of a body in its middle.
pub(crate) const fn leaves_body(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::RequestTooLarge | ErrorKind::RequestTimeout)
}

/// Says that the connection ends with this answer. HTTP/2 has no such word, and needs none.
pub(crate) fn close(response: &mut Response<GatewayBody>, version: Version) {
    if version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
