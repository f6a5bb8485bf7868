//! `/v1/responses/{id}`: responses that a provider keeps for whoever made them. What was made in the background is settled
//! when its end is seen here.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body::{Body, Frame};
use tollgate_catalog::ServiceTier;
use tollgate_domain::{ErrorKind, Meter, NanoUsd, RequestId, SettlementBasis, Surface, Usage};
use tollgate_wire::json::{Kind as JsonKind, Node};
use tollgate_wire::openai::response::Answer;
use tollgate_wire::openai::responses::{MAX_RESPONSE_EVENT_BYTES, ResponseNames, read_answer};
use tollgate_wire::openai::usage::{counted_output, normalise};
use tollgate_wire::sse::{Decoder, Frame as WireFrame, data_event, named_event};

use super::batch_end::{COST_USD, Settled, renew, settle};
use super::ids::{Kind, ObjectId};
use super::{Asking, unknown};
use crate::answer::{BrokenOff, GatewayBody};
use crate::auth::Authenticated;
use crate::error::Refusal;
use crate::gateway::Pod;
use crate::passthrough::PassthroughCall;
use crate::pipeline::{self, Priced};
use crate::responses::{COMPACT_PATH, INPUT_TOKENS_PATH, is_under_way, pinned, sealing, unreadable};

const PREFIX: &str = "/v1/responses/";
/// What of a query passes; clients write lists with and without brackets.
const QUERY: [&str; 8] =
    ["include", "include[]", "include_obfuscation", "stream", "starting_after", "limit", "order", "after"];

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Get,
    Delete,
    Cancel,
    InputItems,
}

/// Whether a path is one of these.
pub(crate) fn is_path(path: &str) -> bool {
    let is_of_none = matches!(path.trim_end_matches('/'), COMPACT_PATH | INPUT_TOKENS_PATH);
    !is_of_none && path.strip_prefix(PREFIX).is_some_and(|rest| !rest.trim_matches('/').is_empty())
}

fn read_call<'a>(method: &Method, path: &'a str) -> Result<(Call, &'a str), Refusal> {
    let rest = path.strip_prefix(PREFIX).unwrap_or_default().trim_end_matches('/');
    let (name, call) = rest.split_once('/').unwrap_or((rest, ""));
    let (found, allowed) = match (call, method) {
        ("", &Method::GET) => (Some(Call::Get), ""),
        ("", &Method::DELETE) => (Some(Call::Delete), ""),
        ("", _) => (None, "GET, DELETE"),
        ("cancel", &Method::POST) => (Some(Call::Cancel), ""),
        ("cancel", _) => (None, "POST"),
        ("input_items", &Method::GET) => (Some(Call::InputItems), ""),
        ("input_items", _) => (None, "GET"),
        _ => return Err(Refusal::new(ErrorKind::NotFound, "no such path: see /v1/responses/{id}")),
    };
    found.map(|call| (call, name)).ok_or_else(|| {
        let message = format!("this path takes {allowed}, not {method}");
        Refusal { allow: Some(allowed), ..Refusal::new(ErrorKind::MethodNotAllowed, message) }
    })
}

pub(super) async fn serve(
    asking: &Asking<'_>,
    method: &Method,
    uri: &http::Uri,
    id: RequestId,
) -> Result<Response<GatewayBody>, Refusal> {
    let (call, name) = read_call(method, uri.path())?;
    let kept = asking.owner().open(Kind::Response, name);
    let kept = kept.filter(|kept| ObjectId::is_plain(&kept.upstream));
    let kept = kept.ok_or_else(|| unknown(Kind::Response, name))?;
    let query = passing_query(uri.query());
    let asks_for_stream = query.split('&').any(|pair| pair == "stream=true");
    let path = format!("/responses/{}", kept.upstream);
    match call {
        Call::Get if asks_for_stream => {
            let response = ask(asking, Method::GET, &kept, path, query, true, id).await?;
            Ok(streamed(asking, response, kept))
        }
        Call::Get => {
            let response = ask(asking, Method::GET, &kept, path, query, false, id).await?;
            shown(asking, response, &kept).await
        }
        Call::Cancel => {
            let path = format!("{path}/cancel");
            let response = ask(asking, Method::POST, &kept, path, String::new(), false, id).await?;
            shown(asking, response, &kept).await
        }
        Call::InputItems => {
            let path = format!("{path}/input_items");
            ask(asking, Method::GET, &kept, path, query, false, id).await
        }
        Call::Delete => {
            see_end_before_deletion(asking, &kept, &path).await?;
            let response = ask(asking, Method::DELETE, &kept, path, String::new(), false, id).await?;
            let (parts, body) = asking.collect(response).await?;
            Ok(Response::from_parts(parts, GatewayBody::whole(renamed(asking, &body, &kept, None)?)))
        }
    }
}

/// The pairs of a query that the provider is to see, as they came.
fn passing_query(query: Option<&str>) -> String {
    let is_passing = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        QUERY.contains(&crate::edge::percent_decoded(name).as_str())
    };
    query.unwrap_or_default().split('&').filter(is_passing).collect::<Vec<_>>().join("&")
}

async fn ask(
    asking: &Asking<'_>,
    method: Method,
    kept: &ObjectId,
    path: String,
    query: String,
    is_stream: bool,
    id: RequestId,
) -> Result<Response<GatewayBody>, Refusal> {
    let provider = asking.provider(kept.provider)?;
    let mut call = PassthroughCall::of_object(method, &provider.name, path, kept.credential);
    if !query.is_empty() {
        call = call.with_query(query);
    }
    let call = if is_stream { call.opaque() } else { call };
    pipeline::handle(asking.gateway, asking.received(Surface::Responses, call, Bytes::new(), id)).await
}

fn names(asking: &Asking<'_>, kept: &ObjectId) -> ResponseNames {
    let name_of = sealing(asking.caller.clone(), Some(ObjectId { batch: None, ..kept.clone() }));
    let (upstream, own) = (kept.upstream.clone(), asking.owner().seal(Kind::Response, kept));
    // its own name keeps its claim, others of the account have none
    let name_of = Box::new(move |id: &str| if id == upstream { Some(own.clone()) } else { name_of(id) });
    ResponseNames { name_of, previous: None }
}

fn renamed(
    asking: &Asking<'_>,
    body: &[u8],
    kept: &ObjectId,
    cost: Option<NanoUsd>,
) -> Result<Bytes, Refusal> {
    names(asking, kept).rename(body, cost).map(Bytes::from).map_err(|_| unreadable())
}

/// Shows a response, and settles it where it was made in the background and has ended.
async fn shown(
    asking: &Asking<'_>,
    response: Response<GatewayBody>,
    kept: &ObjectId,
) -> Result<Response<GatewayBody>, Refusal> {
    let (mut parts, body) = asking.collect(response).await?;
    let cost = seen(asking, kept, &body).await;
    if let Some(value) = cost.and_then(|cost| HeaderValue::from_str(&cost.to_string()).ok()) {
        parts.headers.insert(COST_USD, value);
    }
    Ok(Response::from_parts(parts, GatewayBody::whole(renamed(asking, &body, kept, cost)?)))
}

/// What of a response in the background has been seen: its cost where it has ended.
pub(super) async fn seen(asking: &Asking<'_>, kept: &ObjectId, body: &[u8]) -> Option<NanoUsd> {
    let claim = kept.batch.as_ref()?;
    if is_under_way(body) {
        renew(asking, claim).await;
        return None;
    }
    let Some(ended) = ended(body, claim.input_tokens.unwrap_or(0)) else {
        tracing::warn!(request = %claim.request, "a response in the background cannot be read");
        return None;
    };
    settle(asking, claim, kept, &ended)
}

/// How far a response has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    Running,
    /// And is settled.
    Ended,
}

/// Asks the provider by itself how far a response in the background has come; `None` where it does not say.
pub(super) async fn look(asking: &Asking<'_>, kept: &ObjectId) -> Option<Looked> {
    let body = asking.look(kept, &format!("/responses/{}", kept.upstream)).await?;
    let cost = seen(asking, kept, &body).await;
    if is_under_way(&body) { Some(Looked::Running) } else { cost.map(|_| Looked::Ended) }
}

/// What was made in the background can be read through what continues it: it is paid for before that.
pub(crate) async fn settle_before_continuing(gateway: &Pod, priced: &Priced) -> Result<(), Refusal> {
    let Some(kept) = pinned(&priced.client) else { return Ok(()) };
    let headers = HeaderMap::new();
    let asking = Asking { gateway, caller: &priced.caller, headers: &headers, started: priced.started };
    let (kind, message) = match look(&asking, kept).await {
        Some(Looked::Ended) => return Ok(()),
        Some(Looked::Running) => {
            (ErrorKind::InvalidRequest, "the response to continue is still being made: wait for its end")
        }
        None => (ErrorKind::UpstreamError, "the provider does not show the response to continue: try again"),
    };
    Err(Refusal::new(kind, message).with_param("previous_response_id"))
}

/// How a response ended; `None` for what is no response.
fn ended(body: &[u8], input_tokens: u64) -> Option<Settled> {
    let mut members = Node::parse(body).ok()?.object().ok()?;
    let status = members.string("status").ok().flatten()?;
    let tier = members.string("service_tier").ok().flatten();
    let tier = tier.as_deref().and_then(ServiceTier::from_name).unwrap_or(ServiceTier::Standard);
    let told = members.take("usage").filter(|node| node.kind() == JsonKind::Object);
    let told = told.and_then(|node| normalise(Surface::Chat, node.text().as_bytes()).ok().flatten());
    let (usage, basis) = match told {
        Some(usage) if usage.total_tokens() > 0 => (usage, SettlementBasis::Provider),
        _ => {
            let n_bytes = read_answer(body).map_or(0, |answer| Answer::of_neutral(&answer).text_bytes);
            let usage = match (status.as_str(), n_bytes) {
                // it was never begun
                ("failed", 0) => Usage::ZERO,
                _ => Usage::ZERO
                    .with(Meter::Input, input_tokens)
                    .with(Meter::Output, counted_output(n_bytes, 0)),
            };
            (usage, SettlementBasis::Counted)
        }
    };
    let usage = if usage == Usage::ZERO { usage } else { usage.with(Meter::Request, 1) };
    Some(Settled { usage, basis, surface: Surface::Chat, tier })
}

/// What is deleted can never be asked again what it used.
async fn see_end_before_deletion(asking: &Asking<'_>, kept: &ObjectId, path: &str) -> Result<(), Refusal> {
    if kept.batch.is_none() {
        return Ok(());
    }
    let id = RequestId::generate(asking.gateway.clock.now(), crate::entropy::bytes());
    let response = ask(asking, Method::GET, kept, path.to_owned(), String::new(), false, id).await?;
    let (_, body) = asking.collect(response).await?;
    if is_under_way(&body) {
        let message = "the response is still being made: cancel it before you delete it";
        return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("id"));
    }
    seen(asking, kept, &body).await;
    Ok(())
}

// === streams ===

/// The answer with our names in its events, where it is streamed.
fn streamed(asking: &Asking<'_>, response: Response<GatewayBody>, kept: ObjectId) -> Response<GatewayBody> {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let has_events = kind.starts_with("text/event-stream");
    let names = names(asking, &kept);
    let (gateway, caller) = (Pod::clone(asking.gateway), asking.caller.clone());
    response.map(|inner| {
        GatewayBody::Kept(Box::new(KeptBody {
            inner,
            decoder: has_events.then(|| Decoder::with_max_event_bytes(MAX_RESPONSE_EVENT_BYTES)),
            whole: BytesMut::new(),
            names,
            gateway,
            caller,
            kept,
            is_settled: false,
        }))
    })
}

/// A kept response on its way to its client.
pub(crate) struct KeptBody {
    inner: GatewayBody,
    /// `None` where the provider answers with the whole response all the same.
    decoder: Option<Decoder>,
    whole: BytesMut,
    names: ResponseNames,
    gateway: Pod,
    caller: Authenticated,
    kept: ObjectId,
    is_settled: bool,
}

impl KeptBody {
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(context)) else {
                return Poll::Ready(self.last().map(|out| out.map(Frame::data)));
            };
            let Ok(data) = frame?.into_data() else { continue };
            let out = self.take(data);
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
        }
    }

    fn take(&mut self, data: Bytes) -> Bytes {
        let Some(decoder) = &mut self.decoder else {
            if self.whole.len() + data.len() <= self.gateway.config.max_answer_bytes {
                self.whole.extend_from_slice(&data);
            }
            return Bytes::new();
        };
        let mut frames = Vec::new();
        if decoder.push(data, &mut frames).is_err() {
            tracing::warn!("an event of a kept response is too large");
        }
        let mut out = BytesMut::new();
        for frame in frames {
            out.extend_from_slice(&self.shown(&frame));
        }
        out.freeze()
    }

    /// An event with our names in it; nothing for one that cannot be read.
    fn shown(&mut self, frame: &WireFrame) -> Bytes {
        let raw = frame.raw.clone();
        let Some(data) = frame.data() else { return raw };
        let renamed = match self.names.rename_event(&data) {
            Ok(Some(renamed)) => renamed,
            Ok(None) => return raw,
            Err(_) => {
                tracing::warn!("an event of a kept response cannot be read: it is left out");
                return Bytes::new();
            }
        };
        self.see(&data);
        match frame.event().and_then(|name| std::str::from_utf8(name).ok()) {
            Some(name) => named_event(name, &renamed),
            None => data_event(&renamed),
        }
    }

    /// What is left at the end: a last event without its blank line, or the whole of what is not streamed.
    fn last(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        if let Some(decoder) = &mut self.decoder {
            let rest = WireFrame { raw: Bytes::from([decoder.take_rest().as_ref(), b"\n\n"].concat()) };
            let is_whole = rest.data().is_some_and(|data| Node::parse(&data).is_ok());
            return is_whole.then(|| Ok(self.shown(&rest)));
        }
        let whole = std::mem::take(&mut self.whole).freeze();
        if whole.is_empty() {
            return None;
        }
        self.settle(&whole);
        Some(self.names.rename(&whole, None).map(Bytes::from).map_err(|_| BrokenOff))
    }

    /// Settles at the event that carries the response's end.
    fn see(&mut self, event: &[u8]) {
        let response = Node::parse(event).ok().and_then(|root| root.object().ok()?.take("response"));
        let Some(response) = response.map(|node| node.text().as_bytes().to_vec()) else { return };
        if !is_under_way(&response) {
            self.settle(&response);
        }
    }

    fn settle(&mut self, response: &[u8]) {
        let Some(claim) = self.kept.batch.as_ref().filter(|_| !self.is_settled) else { return };
        let Some(ended) = ended(response, claim.input_tokens.unwrap_or(0)) else { return };
        let headers = HeaderMap::new();
        let asking = Asking {
            gateway: &self.gateway,
            caller: &self.caller,
            headers: &headers,
            started: Instant::now(),
        };
        self.is_settled = settle(&asking, claim, &self.kept, &ended).is_some();
    }
}

impl fmt::Debug for KeptBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeptBody({:?})", self.inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read() {
        assert!(is_path("/v1/responses/resp_1") && is_path("/v1/responses/resp_1/cancel"));
        assert!(!is_path("/v1/responses") && !is_path("/v1/responses/") && !is_path("/v1/responsesx/a"));
        let cases = [
            (Method::GET, "/v1/responses/r", Call::Get),
            (Method::GET, "/v1/responses/r/", Call::Get),
            (Method::DELETE, "/v1/responses/r", Call::Delete),
            (Method::POST, "/v1/responses/r/cancel", Call::Cancel),
            (Method::GET, "/v1/responses/r/input_items", Call::InputItems),
        ];
        for (method, path, expected) in cases {
            assert_eq!(read_call(&method, path).unwrap(), (expected, "r"), "{path}");
        }
        for (method, path, expected) in [
            (Method::POST, "/v1/responses/r", ErrorKind::MethodNotAllowed),
            (Method::GET, "/v1/responses/r/cancel", ErrorKind::MethodNotAllowed),
            (Method::GET, "/v1/responses/r/other", ErrorKind::NotFound),
        ] {
            assert_eq!(read_call(&method, path).unwrap_err().kind, expected, "{path}");
        }
        let query = "stream=true&key=tgk_x&include%5B%5D=a.b&starting_after=4&evil=1";
        assert_eq!(passing_query(Some(query)), "stream=true&include%5B%5D=a.b&starting_after=4");
        assert_eq!(passing_query(None), "");
    }

    #[test]
    fn an_end_is_never_free_where_something_was_made() {
        let told =
            r#"{"status":"completed","service_tier":"flex","usage":{"input_tokens":3,"output_tokens":4}}"#;
        let one = ended(told.as_bytes(), 9).unwrap();
        assert_eq!(
            (one.usage.total_tokens(), one.basis, one.tier),
            (7, SettlementBasis::Provider, ServiceTier::Flex)
        );
        let message =
            r#"[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"12345678"}]}]"#;
        let cases = [
            (format!(r#"{{"status":"cancelled","output":{message},"usage":null}}"#), (9, 2)),
            (r#"{"status":"cancelled","output":[],"usage":null}"#.to_owned(), (9, 0)),
            (format!(r#"{{"status":"failed","output":{message},"usage":null}}"#), (9, 2)),
            (r#"{"status":"failed","output":[],"usage":null}"#.to_owned(), (0, 0)),
            (r#"{"status":"completed","usage":{"input_tokens":0,"output_tokens":0}}"#.to_owned(), (9, 0)),
        ];
        for (text, expected) in cases {
            let one = ended(text.as_bytes(), 9).unwrap();
            let counts = (one.usage.get(Meter::Input), one.usage.get(Meter::Output));
            assert_eq!((counts, one.basis), (expected, SettlementBasis::Counted), "{text}");
        }
        assert!(ended(b"{}", 9).is_none());
    }
}
