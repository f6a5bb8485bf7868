//! `POST /v1/quote`: a request body in, its worst-case cost and what would be held out; nothing is sent.

use std::time::Instant;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tollgate_domain::{ErrorKind, NanoUsd, RequestId, Surface};
use tollgate_telemetry::RequestTrace;
use tollgate_wire::json::{Node, ReadError};
use tollgate_wire::neutral::ChatDialect;

use crate::answer::{GatewayBody, json as json_answer};
use crate::auth::Authenticated;
use crate::dialects;
use crate::error::Refusal;
use crate::gateway::Pod;
use crate::pipeline::{Priced, Received, price};
use crate::reserve::{levels, pass_limits};

pub(crate) async fn quote(
    gateway: &Pod,
    caller: Authenticated,
    parts: http::request::Parts,
    body: Bytes,
    request: RequestId,
    started: Instant,
) -> Result<Response<GatewayBody>, Refusal> {
    let (surface, dialect) = match named_surface(parts.uri.query())? {
        Some(named) => named,
        None => (surface_of(&body)?, ChatDialect::OpenAiChat),
    };
    // Google's model stands in the path; here it has no other place than the body
    let path = if dialect == ChatDialect::Gemini {
        format!("/v1beta/models/{}:generateContent", dialects::path_segment(&model_of(&body)?))
    } else {
        String::new()
    };
    let trace = RequestTrace::disabled();
    let mut priced = price(
        gateway,
        Received {
            request,
            started,
            surface,
            dialect,
            path,
            deployment: None,
            passthrough: None,
            caller,
            headers: parts.headers,
            body,
            trace,
        },
    )?;
    let end_user = priced.end_user.as_deref();
    pass_limits(gateway, &priced.caller, &priced.requested_model, end_user).await?;
    // as a request is, whose cheap bound the ledger refuses
    if priced.media.is_none() && levels(&priced).is_beyond_every_period(priced.plan.minimum) {
        priced.plan.count_exactly(&priced.skim, &priced.body.0);
    }
    Ok(json_answer(StatusCode::OK, Bytes::from(describe(&priced).to_string())))
}

/// Bodies of other dialects than OpenAI's, by the path they go to.
const OTHER_DIALECTS: [(&str, ChatDialect); 3] = [
    ("responses", ChatDialect::OpenAiResponses),
    ("messages", ChatDialect::Anthropic),
    ("generate_content", ChatDialect::Gemini),
];

/// `?surface=images`, for bodies that could be those of several surfaces.
fn named_surface(query: Option<&str>) -> Result<Option<(Surface, ChatDialect)>, Refusal> {
    let name = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("surface=")));
    let Some(name) = name else { return Ok(None) };
    if let Some((_, dialect)) = OTHER_DIALECTS.iter().find(|(known, _)| *known == name) {
        return Ok(Some((Surface::Chat, *dialect)));
    }
    let known = Surface::ALL.into_iter().find(|surface| surface.name() == name);
    let known = known.filter(|surface| *surface != Surface::Passthrough);
    known.map(|surface| Some((surface, ChatDialect::OpenAiChat))).ok_or_else(|| {
        let message = "there is no such surface: write chat, responses, messages, generate_content, completions, embeddings, moderations, rerank, images, image_edits, image_variations, speech, transcriptions or translations";
        Refusal::new(ErrorKind::InvalidRequest, message).with_param("surface")
    })
}

fn model_of(body: &[u8]) -> Result<String, Refusal> {
    let document = Node::parse(body).map_err(ReadError::from)?;
    let model = document.object().and_then(|mut members| members.string("model")).map_err(ReadError::from)?;
    model.ok_or_else(|| {
        let message = "`model` is missing: add the model that stands in the path of generateContent";
        Refusal::new(ErrorKind::InvalidRequest, message).with_param("model")
    })
}

/// A body tells its surface by the member only that surface has.
fn surface_of(body: &[u8]) -> Result<Surface, Refusal> {
    let refused = |message: &str| Refusal::new(ErrorKind::InvalidRequest, message);
    let members = tollgate_wire::json::members(body).map_err(|error| refused(&error.to_string()))?;
    let has = |name: &str| members.iter().any(|member| &*member.key.name(body) == name.as_bytes());
    if has("messages") {
        Ok(Surface::Chat)
    } else if has("documents") {
        Ok(Surface::Rerank)
    } else if has("voice") {
        Ok(Surface::Speech)
    } else if has("prompt") {
        Ok(Surface::Completions)
    } else if has("contents") || has("instructions") || has("max_output_tokens") {
        Err(refused("name the surface of this body with ?surface=generate_content or ?surface=responses"))
    } else if has("input") {
        Ok(Surface::Embeddings)
    } else {
        Err(refused(
            "the body has neither `messages`, `prompt` nor `input`: send the request to be quoted, or name its surface with ?surface=",
        ))
    }
}

fn describe(priced: &Priced) -> Value {
    let plan = &priced.plan;
    let shape = plan.shape();
    let candidates: Vec<Value> = plan
        .candidates
        .iter()
        .map(|candidate| {
            json!({
                "provider": candidate.candidate.provider.name,
                "model": candidate.candidate.model,
                "input_tokens_bound": candidate.input_bound,
                "output_tokens_cap": candidate.output_cap.saturating_mul(plan.n_choices),
                "worst_case_cost_usd": candidate.bound(candidate.output_cap, &shape),
            })
        })
        .collect();
    let held = if plan.is_paid { plan.amount } else { NanoUsd::ZERO };
    json!({
        "object": "quote",
        "model": priced.requested_model,
        "worst_case_cost_usd": plan.worst_case,
        "minimum_cost_usd": plan.minimum,
        "hold_usd": held,
        "candidates": candidates,
    })
}
