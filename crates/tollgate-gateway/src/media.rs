//! Surfaces beside conversation: moderations, rerank, images, sound, and what is passed through. Their bodies are not
//! translated: a provider either serves the surface or is no candidate for it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use tollgate_domain::{ErrorKind, Meter, Surface, Usage};
use tollgate_policy::{Candidate, Dialect};
use tollgate_wire::media::{MediaRequest, read};
use tollgate_wire::openai::response::Answer;

use crate::error::Refusal;

/// Reads a request of one of these surfaces; `None` for the others, and for what is passed through, of which nothing
/// is read.
pub(crate) fn read_request(
    surface: Surface,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Option<Arc<MediaRequest>>, Refusal> {
    if !surface.is_media() {
        return Ok(None);
    }
    if matches!(surface, Surface::Passthrough | Surface::Files | Surface::Batches | Surface::Responses) {
        return Ok(Some(Arc::new(MediaRequest::passthrough())));
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    Ok(Some(Arc::new(read(surface, content_type, body)?)))
}

/// Refuses a candidate whose provider does not serve the surface.
pub(crate) fn check(media: &MediaRequest, candidate: &Candidate) -> Result<(), Refusal> {
    let is_served = match candidate.provider.dialect {
        Dialect::Openai | Dialect::AzureOpenai => true,
        Dialect::Cohere => matches!(media.surface, Surface::Rerank | Surface::Passthrough),
        Dialect::Anthropic | Dialect::Gemini => media.surface == Surface::Passthrough,
        // every request to these is signed or asked with a bought token, for the paths that are known
        Dialect::Bedrock | Dialect::Vertex | Dialect::Demo => false,
    };
    if is_served {
        return Ok(());
    }
    let (name, surface) = (&candidate.provider.name, media.surface.name());
    let message = format!("the provider `{name}` does not serve {surface}: use another model");
    Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("model"))
}

/// What is charged for a request that was lost after it was sent: what went in, and nothing that came out.
pub(crate) fn lost_usage(media: &MediaRequest) -> Usage {
    let mut usage = media.expected;
    for meter in [Meter::Output, Meter::Reasoning, Meter::OutputAudio, Meter::OutputImage, Meter::Image] {
        usage.set(meter, 0);
    }
    usage.with(Meter::Request, 1)
}

/// What the body is, and what is wanted; of what is passed through the client says both.
pub(crate) fn write_headers(media: &MediaRequest, client: &HeaderMap, headers: &mut HeaderMap) {
    if media.surface == Surface::Passthrough {
        return;
    }
    if let Some(form) = client.get(CONTENT_TYPE).filter(|_| media.is_form()) {
        headers.insert(CONTENT_TYPE, form.clone());
    } else {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let accept = match (media.stream, media.may_answer_with_anything()) {
        (true, _) => "text/event-stream",
        (false, true) => "*/*",
        (false, false) => "application/json",
    };
    headers.insert(http::header::ACCEPT, HeaderValue::from_static(accept));
}

/// Whether an answer is relayed as it comes, byte for byte: sound, and what is passed through and cannot be read.
pub(crate) fn answers_bytes(media: &MediaRequest, content_type: Option<&str>) -> bool {
    matches!(media.surface, Surface::Speech | Surface::Passthrough) && !is_json(content_type)
}

/// What a whole answer says.
pub(crate) fn read_answer(media: &MediaRequest, content_type: Option<&str>, body: &[u8]) -> Answer {
    tollgate_wire::media::read_answer(media, is_json(content_type), body)
}

fn is_json(content_type: Option<&str>) -> bool {
    let kind = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}
