//! `POST /v1/responses/input_tokens`: what a prompt counts, asked of the provider where it speaks Responses itself, else
//! counted here as `count_tokens` of other dialects is. It costs nothing either way.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use tollgate_domain::{RequestId, Surface};
use tollgate_policy::Candidate;
use tollgate_telemetry::RequestTrace;
use tollgate_wire::json::JsonWriter;
use tollgate_wire::neutral::ChatDialect;
use tollgate_wire::openai::request::skim;

use crate::answer::{GatewayBody, json};
use crate::auth::Authenticated;
use crate::dialects::{self, Client};
use crate::error::Refusal;
use crate::gateway::Pod;
use crate::passthrough::PassthroughCall;
use crate::pipeline::{self, Received};
use crate::plan::counted_tokens;
use crate::reserve::pass_limits;
use crate::responses;

const DIALECT: ChatDialect = ChatDialect::OpenAiResponses;

pub(crate) async fn count(
    gateway: &Pod,
    caller: &Authenticated,
    headers: HeaderMap,
    body: Bytes,
    id: RequestId,
    started: Instant,
) -> Result<Response<GatewayBody>, Refusal> {
    let (client, as_chat) = responses::read(DIALECT, responses::INPUT_TOKENS_PATH, body, caller)?;
    let mut skim = skim(Surface::Chat, &as_chat)?;
    dialects::note_foreign(&client, &mut skim);
    let default = || {
        let snapshot = &caller.snapshot;
        snapshot.default_model(Surface::Responses).or_else(|| snapshot.default_model(Surface::Chat))
    };
    let named = skim.model.as_deref().filter(|model| !model.is_empty());
    let model = named.or_else(default).unwrap_or_default().to_owned();
    let candidate = candidate(caller, &client, &model)?;
    if let Some(candidate) = candidate.as_deref().filter(|one| responses::is_spoken(DIALECT, one)) {
        responses::check(&client, candidate)?;
        let received = asked(caller, &client, candidate, headers, (id, started))?;
        match pipeline::handle(gateway, received).await {
            // not every provider of Responses counts
            Err(refusal) if is_unknown_there(&refusal) && responses::pinned(&client).is_none() => {}
            answered => return answered,
        }
    } else {
        pass_limits(gateway, caller, &model, skim.user.as_deref()).await?;
    }
    let n_tokens = counted_tokens(candidate.as_deref(), &skim, &as_chat);
    let answer = JsonWriter::document(64, |writer| {
        writer.member_string("object", "response.input_tokens");
        writer.member_count("input_tokens", n_tokens);
    });
    Ok(json(StatusCode::OK, Bytes::from(answer)))
}

/// Who would be asked first; a model that is not served here is counted like any.
fn candidate(
    caller: &Authenticated,
    client: &Client,
    model: &str,
) -> Result<Option<Arc<Candidate>>, Refusal> {
    let plan = caller.snapshot.plan(&caller.context, model);
    let Some(kept) = responses::pinned(client) else {
        return Ok(plan.ok().and_then(|plan| plan.candidates.first().cloned()));
    };
    let plan = plan?;
    let found = plan.candidates.iter().find(|one| one.provider.id == kept.provider).cloned();
    found.map(Some).ok_or_else(|| responses::elsewhere(&caller.snapshot, client, model, Surface::Chat))
}

/// The question as the provider gets it: admitted and journaled as every call is, and unbilled.
fn asked(
    caller: &Authenticated,
    client: &Client,
    candidate: &Candidate,
    headers: HeaderMap,
    (request, started): (RequestId, Instant),
) -> Result<Received, Refusal> {
    let credential = responses::pinned(client).and_then(|kept| kept.credential);
    let path = "/responses/input_tokens".to_owned();
    let call = PassthroughCall::of_object(Method::POST, &candidate.provider.name, path, credential)
        .about(&candidate.model);
    let body = dialects::provider_body(client, candidate, None, &[], false)?;
    Ok(Received {
        request,
        started,
        surface: Surface::Responses,
        dialect: ChatDialect::OpenAiChat,
        path: String::new(),
        deployment: None,
        passthrough: Some(Arc::new(call)),
        caller: caller.clone(),
        headers,
        body,
        trace: RequestTrace::disabled(),
    })
}

/// Whether a provider says that it has no such path.
fn is_unknown_there(refusal: &Refusal) -> bool {
    let status = refusal.upstream.as_ref().map(|upstream| upstream.status);
    matches!(status, Some(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED))
}
