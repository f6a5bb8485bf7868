//! The HTTP edge: paths to surfaces, bodies within their bounds, and headers on everything that leaves.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tollgate_domain::{ErrorKind, RequestId, RequestOutcome, Surface};
use tollgate_telemetry::RequestTrace;
use tollgate_wire::neutral::ChatDialect;

use crate::answer::{GatewayBody, refuse, write_common};
use crate::auth::{Authenticated, authenticate};
use crate::error::{Refusal, shutting_down};
use crate::gateway::Pod;
use crate::passthrough::{self, PassthroughCall};
use crate::pipeline::{self, Received};
use crate::{
    azure_paths, client_words, count_tokens, dialects, entropy, idempotency, json_array, key_info,
    model_list, objects, quote, response_tokens, responses, unread,
};

/// Room made before the first byte of a body whose length is announced; a liar gets no more than this.
const MAX_PREALLOCATED_BYTES: u64 = 1 << 20;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Inference(Surface, ChatDialect),
    /// What a prompt counts, without asking a model.
    CountTokens(ChatDialect),
    Models,
    Model,
    Key,
    Quote,
    /// A provider's own path.
    Passthrough,
    /// What a provider keeps.
    Objects(Surface),
}

/// Serves one request; whatever happens, the client gets an answer in its dialect.
pub(crate) async fn serve(
    gateway: Pod,
    mut request: Request<Incoming>,
) -> Result<Response<GatewayBody>, Infallible> {
    let started = Instant::now();
    let id = request_id(&gateway);
    let deployment = azure_paths::rewrite(request.uri_mut());
    let dialect = dialects::of_path(request.uri().path());
    let version = request.version();
    let is_closed;
    let outcome = match look_at_head(&gateway, &request, started) {
        Ok(seen) => {
            let outcome = route(&gateway, request, seen, deployment, id, started).await;
            is_closed = outcome.as_ref().is_err_and(|refusal| unread::leaves_body(refusal.kind));
            outcome
        }
        Err(refusal) => {
            is_closed = !unread::read_rest(request).await;
            Err(refusal)
        }
    };
    let mut response = outcome.unwrap_or_else(|refusal| {
        let refusal = client_words::in_words_of(dialect, refusal);
        let (kind, code) = (refusal.kind, refusal.status().as_u16());
        tracing::debug!(request_id = %id, status = code, error = kind.code(), "request refused");
        refuse(&refusal, dialect, id, started.elapsed())
    });
    write_common(response.headers_mut(), id);
    if is_closed {
        unread::close(&mut response, version);
    }
    Ok(response)
}

/// What the head alone decides.
struct Seen {
    endpoint: Endpoint,
    caller: Authenticated,
    passthrough: Option<Arc<PassthroughCall>>,
}

fn look_at_head(gateway: &Pod, request: &Request<Incoming>, started: Instant) -> Result<Seen, Refusal> {
    let endpoint = endpoint(request.method(), request.uri().path())?;
    let authenticated = authenticate(gateway, request.headers(), request.uri().query());
    let caller = authenticated.inspect_err(|refusal| observe_refusal(gateway, endpoint, refusal, started))?;
    let passthrough = match endpoint {
        Endpoint::Passthrough => Some(Arc::new(PassthroughCall::read(request.method(), request.uri())?)),
        _ => None,
    };
    Ok(Seen { endpoint, caller, passthrough })
}

fn request_id(gateway: &Pod) -> RequestId {
    RequestId::generate(gateway.clock.now(), entropy::bytes())
}

async fn route(
    gateway: &Pod,
    request: Request<Incoming>,
    seen: Seen,
    deployment: Option<String>,
    id: RequestId,
    started: Instant,
) -> Result<Response<GatewayBody>, Refusal> {
    let Seen { endpoint, caller, passthrough } = seen;
    match endpoint {
        Endpoint::Inference(surface, dialect) => {
            let what = Asked { surface, dialect, deployment, passthrough: None };
            let outcome = inference(gateway, request, what, caller, id, started).await;
            outcome.inspect_err(|refusal| observe_refusal(gateway, endpoint, refusal, started))
        }
        Endpoint::Passthrough => {
            let (surface, dialect) = (Surface::Passthrough, ChatDialect::OpenAiChat);
            let what = Asked { surface, dialect, deployment: None, passthrough };
            let outcome = inference(gateway, request, what, caller, id, started).await;
            outcome.inspect_err(|refusal| observe_refusal(gateway, endpoint, refusal, started))
        }
        Endpoint::CountTokens(dialect) => {
            let (parts, body) = request.into_parts();
            let body = read_body(gateway, body).await?;
            match dialect {
                ChatDialect::OpenAiResponses => {
                    Box::pin(response_tokens::count(gateway, &caller, parts.headers, body, id, started)).await
                }
                _ => Box::pin(count_tokens::count(gateway, &caller, dialect, parts.uri.path(), body)).await,
            }
        }
        Endpoint::Objects(_) => {
            let (parts, body) = request.into_parts();
            let body = read_body(gateway, body).await?;
            let outcome = Box::pin(objects::serve(gateway, &caller, &parts, body, id, started)).await;
            outcome.inspect_err(|refusal| observe_refusal(gateway, endpoint, refusal, started))
        }
        Endpoint::Models => Ok(model_list::list(&caller, request.uri().path(), request.headers())),
        Endpoint::Model => model_list::one(&caller, request.uri().path(), request.headers()),
        Endpoint::Key => Box::pin(key_info::describe(gateway, &caller, request.headers())).await,
        Endpoint::Quote => {
            let (parts, body) = request.into_parts();
            let body = read_body(gateway, body).await?;
            Box::pin(quote::quote(gateway, caller, parts, body, id, started)).await
        }
    }
}

async fn inference(
    gateway: &Pod,
    request: Request<Incoming>,
    asked: Asked,
    caller: Authenticated,
    id: RequestId,
    started: Instant,
) -> Result<Response<GatewayBody>, Refusal> {
    let Asked { surface, dialect, deployment, passthrough } = asked;
    let (parts, body) = request.into_parts();
    let trace = if gateway.tracer.is_enabled() {
        let traceparent = parts.headers.get("traceparent").and_then(|value| value.to_str().ok());
        gateway.tracer.start(traceparent, surface, id)
    } else {
        RequestTrace::disabled()
    };
    let body = read_body(gateway, body).await?;
    // where it tells more than the surface and the dialect
    let path = match dialect {
        ChatDialect::Gemini | ChatDialect::OpenAiResponses => parts.uri.path().to_owned(),
        _ => String::new(),
    };
    let headers = parts.headers;
    let received = Received {
        request: id,
        started,
        surface,
        dialect,
        path,
        deployment,
        passthrough,
        caller,
        headers,
        body,
        trace,
    };
    let wants_array =
        dialect == ChatDialect::Gemini && json_array::is_asked_for(parts.uri.path(), parts.uri.query());
    // what runs is pinned where it is made: moving it would copy a few kilobytes per request
    let answer = if idempotency::is_asked_for(&received.headers) {
        // the same path with another query is another call where it is the provider's, and another deployment another
        // model
        let named = match &received.deployment {
            Some(deployment) => Cow::Owned(format!("{}?deployment={deployment}", parts.uri.path())),
            None if surface == Surface::Passthrough => Cow::Borrowed(path_and_query(&parts.uri)),
            None => Cow::Borrowed(parts.uri.path()),
        };
        let mut answering = Box::pin(idempotency::once(gateway, &parts.method, &named, received));
        gateway.out_of_grace.before(answering.as_mut()).await
    } else {
        let priced = pipeline::price(gateway, received)?;
        gateway.out_of_grace.before(pin!(pipeline::pay_and_send(gateway, priced))).await
    };
    // dropping the pipeline settles what it had reserved
    let answer = answer.unwrap_or_else(|| Err(shutting_down()));
    if wants_array { answer.map(json_array::as_array) } else { answer }
}

fn path_and_query(uri: &http::Uri) -> &str {
    uri.path_and_query().map_or_else(|| uri.path(), http::uri::PathAndQuery::as_str)
}

/// What is asked of a provider, as far as the path tells.
struct Asked {
    surface: Surface,
    dialect: ChatDialect,
    /// The model, where the path names it as Azure's do.
    deployment: Option<String>,
    passthrough: Option<Arc<PassthroughCall>>,
}

/// Counts what was refused before there was a reservation to count it.
fn observe_refusal(gateway: &Pod, endpoint: Endpoint, refusal: &Refusal, started: Instant) {
    let surface = match endpoint {
        Endpoint::Inference(surface, _) | Endpoint::Objects(surface) => surface,
        Endpoint::Passthrough => Surface::Passthrough,
        _ => return,
    };
    if refusal.is_settled {
        return;
    }
    gateway.metrics.request_finished(&tollgate_telemetry::metrics::FinishedRequest {
        surface,
        outcome: RequestOutcome::Error(refusal.kind),
        duration: started.elapsed(),
        first_byte: None,
        overhead: started.elapsed(),
        usage: &tollgate_domain::Usage::ZERO,
        cost: tollgate_domain::NanoUsd::ZERO,
    });
}

fn endpoint(method: &Method, path: &str) -> Result<Endpoint, Refusal> {
    if path.starts_with(passthrough::PREFIX) {
        return Ok(Endpoint::Passthrough);
    }
    if objects::is_path(path) {
        // which methods they take is told there
        return Ok(Endpoint::Objects(objects::surface_of(path)));
    }
    let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path);
    let (allowed, endpoint) = match path {
        "/v1/chat/completions" => (Method::POST, openai(Surface::Chat)),
        "/v1/completions" => (Method::POST, openai(Surface::Completions)),
        "/v1/embeddings" => (Method::POST, openai(Surface::Embeddings)),
        "/v1/moderations" => (Method::POST, openai(Surface::Moderations)),
        // Cohere's clients write the second version
        "/v1/rerank" | "/v2/rerank" => (Method::POST, openai(Surface::Rerank)),
        "/v1/images/generations" => (Method::POST, openai(Surface::Images)),
        "/v1/images/edits" => (Method::POST, openai(Surface::ImageEdits)),
        "/v1/images/variations" => (Method::POST, openai(Surface::ImageVariations)),
        "/v1/audio/speech" => (Method::POST, openai(Surface::Speech)),
        "/v1/audio/transcriptions" => (Method::POST, openai(Surface::Transcriptions)),
        "/v1/audio/translations" => (Method::POST, openai(Surface::Translations)),
        "/v1/responses" => (Method::POST, Endpoint::Inference(Surface::Chat, ChatDialect::OpenAiResponses)),
        responses::COMPACT_PATH => {
            (Method::POST, Endpoint::Inference(Surface::Chat, ChatDialect::OpenAiResponses))
        }
        responses::INPUT_TOKENS_PATH => (Method::POST, Endpoint::CountTokens(ChatDialect::OpenAiResponses)),
        "/v1/messages" => (Method::POST, Endpoint::Inference(Surface::Chat, ChatDialect::Anthropic)),
        "/v1/messages/count_tokens" => (Method::POST, Endpoint::CountTokens(ChatDialect::Anthropic)),
        "/v1/models" | "/v1beta/models" => (Method::GET, Endpoint::Models),
        "/v1/key" => (Method::GET, Endpoint::Key),
        "/v1/quote" => (Method::POST, Endpoint::Quote),
        other if dialects::google_call(other).is_some() => match dialects::google_call(other) {
            Some((_, "generateContent" | "streamGenerateContent")) => {
                (Method::POST, Endpoint::Inference(Surface::Chat, ChatDialect::Gemini))
            }
            Some((_, "embedContent" | "batchEmbedContents")) => {
                (Method::POST, Endpoint::Inference(Surface::Embeddings, ChatDialect::Gemini))
            }
            Some((_, "countTokens")) => (Method::POST, Endpoint::CountTokens(ChatDialect::Gemini)),
            _ => return Err(unknown_path()),
        },
        other if model_list::name_in(other).is_some() => (Method::GET, Endpoint::Model),
        _ => return Err(unknown_path()),
    };
    if *method != allowed {
        let message = format!("this path takes {allowed}, not {method}");
        let allow = if allowed == Method::GET { "GET" } else { "POST" };
        return Err(Refusal { allow: Some(allow), ..Refusal::new(ErrorKind::MethodNotAllowed, message) });
    }
    Ok(endpoint)
}

const fn openai(surface: Surface) -> Endpoint {
    Endpoint::Inference(surface, ChatDialect::OpenAiChat)
}

fn unknown_path() -> Refusal {
    let message = "no such path: see /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/responses, /v1/moderations, /v1/rerank, /v1/images/*, /v1/audio/*, /v1/messages, /v1beta/models/{model}:generateContent, /v1/files, /v1/batches, /v1/models, /v1/key, /v1/quote and /passthrough/{provider}/";
    Refusal::new(ErrorKind::NotFound, message)
}

/// Reads a body within its bounds of size and time.
async fn read_body(gateway: &Pod, body: Incoming) -> Result<Bytes, Refusal> {
    let max = gateway.config.max_body_bytes;
    let announced = body.size_hint();
    if announced.lower() > max as u64 {
        return Err(too_large(max));
    }
    match tokio::time::timeout(gateway.config.body_timeout, collect(body, max, announced.lower())).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let message = "the body did not arrive in time: send it faster or in smaller pieces";
            Err(Refusal::new(ErrorKind::RequestTimeout, message))
        }
    }
}

/// The whole body. One that comes in one piece is not copied; of others no piece is held while the next is read, so
/// that all are read into one and the same buffer.
async fn collect(mut body: Incoming, max: usize, announced: u64) -> Result<Bytes, Refusal> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::new(ErrorKind::InvalidRequest, "the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > max {
            return Err(too_large(max));
        }
        if all.is_empty() {
            if body.is_end_stream() {
                return Ok(data);
            }
            let room = announced.min(MAX_PREALLOCATED_BYTES);
            all.reserve(usize::try_from(room).unwrap_or(0).max(data.len()));
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

fn too_large(max: usize) -> Refusal {
    let message = format!("the body is larger than {max} bytes: send less, or refer to files by URL");
    Refusal::new(ErrorKind::RequestTooLarge, message)
}

/// `%2F` and the like in a model's name; what does not decode stays as it is.
pub(crate) fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match hex.and_then(|pair| u8::from_str_radix(pair, 16).ok()).filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_table() {
        let ok = [
            ("POST", "/v1/chat/completions", openai(Surface::Chat)),
            ("POST", "/v1/chat/completions/", openai(Surface::Chat)),
            ("POST", "/v1/completions", openai(Surface::Completions)),
            ("POST", "/v1/embeddings", openai(Surface::Embeddings)),
            ("POST", "/v1/moderations", openai(Surface::Moderations)),
            ("POST", "/v1/rerank", openai(Surface::Rerank)),
            ("POST", "/v2/rerank", openai(Surface::Rerank)),
            ("POST", "/v1/images/generations", openai(Surface::Images)),
            ("POST", "/v1/audio/translations", openai(Surface::Translations)),
            ("PATCH", "/passthrough/openai/files/x", Endpoint::Passthrough),
            ("GET", "/v1beta/models/m", Endpoint::Model),
            ("POST", "/v1/messages", Endpoint::Inference(Surface::Chat, ChatDialect::Anthropic)),
            ("POST", "/v1/messages/count_tokens", Endpoint::CountTokens(ChatDialect::Anthropic)),
            ("POST", "/v1/responses", Endpoint::Inference(Surface::Chat, ChatDialect::OpenAiResponses)),
            (
                "POST",
                "/v1beta/models/m:generateContent",
                Endpoint::Inference(Surface::Chat, ChatDialect::Gemini),
            ),
            (
                "POST",
                "/v1/models/a/m:streamGenerateContent",
                Endpoint::Inference(Surface::Chat, ChatDialect::Gemini),
            ),
            ("POST", "/v1beta/models/m:countTokens", Endpoint::CountTokens(ChatDialect::Gemini)),
            ("GET", "/v1beta/models", Endpoint::Models),
            ("GET", "/v1/models", Endpoint::Models),
            ("GET", "/v1/models/openai/gpt-5-mini", Endpoint::Model),
            ("GET", "/v1/key", Endpoint::Key),
            ("POST", "/v1/quote", Endpoint::Quote),
        ];
        for (method, path, expected) in ok {
            let method: Method = method.parse().unwrap();
            assert_eq!(endpoint(&method, path).unwrap(), expected, "{path}");
        }
        let refused = [
            ("GET", "/v1/chat/completions", ErrorKind::MethodNotAllowed),
            ("POST", "/v1/models", ErrorKind::MethodNotAllowed),
            ("GET", "/", ErrorKind::NotFound),
            ("POST", "/v1/chat/completionsx", ErrorKind::NotFound),
        ];
        for (method, path, expected) in refused {
            let method: Method = method.parse().unwrap();
            assert_eq!(endpoint(&method, path).unwrap_err().kind, expected, "{path}");
        }
    }

    #[test]
    fn model_names_are_decoded_once() {
        assert_eq!(percent_decoded("openai%2Fgpt-5%3amini"), "openai/gpt-5:mini");
        assert_eq!(percent_decoded("a%2"), "a%2");
        assert_eq!(percent_decoded("a%zz%252F"), "a%zz%2F");
        assert_eq!(percent_decoded("%ff"), "%ff");
    }
}
