//! Making a batch: every line priced, all of them held for before it is sent. The sibling that sees its end settles it.
//!
//! The hold of a batch is one like all others, with a lease of days instead of a minute: no gateway has to live as long as
//! the batch. What settles it stands sealed in the batch's name (and, for lists, in its metadata at the provider), so any
//! gateway that shows the batch after its end can: the event's id is that of the request that made it, and the journal takes
//! it once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response};
use tollgate_catalog::ServiceTier;
use tollgate_domain::{ErrorKind, MAX_LIMIT, Meter, NanoUsd, RequestId, Surface, Usage};
use tollgate_telemetry::RequestTrace;
use tollgate_wire::json::{Node, ReadError, set_members};
use tollgate_wire::neutral::ChatDialect;

use super::batch_watch::watch;
use super::ids::{BatchClaim, CLAIM, Kind, ObjectId};
use super::{Asking, quoted};
use crate::answer::GatewayBody;
use crate::error::Refusal;
use crate::passthrough::PassthroughCall;
use crate::pipeline::{self, Priced, Received};
use crate::plan::{PricedCandidate, PricedPlan, PricedPlanShape};
use crate::responses;

/// The metadata by which a batch is found and settled again.
pub(super) const MARK_MEMBER: &str = "tollgate_owner";
pub(super) const CLAIM_MEMBER: &str = "tollgate_claim";
/// Lines of a batch at most: each is priced before anything is sent, some microseconds each.
const MAX_LINES: usize = 50_000;
/// After so many lines others get their turn.
const LINES_AT_A_TIME: usize = 200;
/// Longest end user of a batch: what seals it fits into 512 characters, which providers take in metadata.
const MAX_END_USER_BYTES: usize = 128;
/// How long a batch's money stays held without anybody looking at it: the provider has a day, and there is time to look.
/// Every look begins it anew.
const LEASE: Duration = Duration::from_secs(72 * 3_600);

/// The sums over a batch's lines.
#[derive(Debug)]
struct Lines {
    first: Box<Priced>,
    candidate: PricedCandidate,
    amount: NanoUsd,
    input_bound: u64,
    output_cap: u64,
    input_estimate: u64,
    n: u64,
}

pub(super) async fn make(
    asking: &Asking<'_>,
    body: Bytes,
    id: RequestId,
) -> Result<Response<GatewayBody>, Refusal> {
    let root = Node::parse(&body).map_err(ReadError::from)?;
    let mut members = root.object().map_err(ReadError::from)?;
    let name = members.required("input_file_id").and_then(|node| node.string()).map_err(ReadError::from)?;
    let endpoint = members.required("endpoint").and_then(|node| node.string()).map_err(ReadError::from)?;
    let lines_ask = line_surface(&endpoint)?;
    let input = asking.open(Kind::File, &name).map_err(|refusal| refusal.with_param("input_file_id"))?;
    let provider = asking.provider(input.provider)?.name.clone();
    let reading = RequestId::generate(asking.gateway.clock.now(), crate::entropy::bytes());
    let (_, lines) = asking.collect(asking.content(&input, reading).await?).await?;
    let lines = price_lines(asking, &provider, lines_ask, &lines, &endpoint).await?;
    let model = lines.candidate.candidate.model.to_string();
    let call = PassthroughCall::of_object(Method::POST, &provider, "/batches".to_owned(), input.credential)
        .keeping_hold();
    let is_paid = lines.first.plan.is_paid;
    let claim = BatchClaim {
        request: id,
        key: asking.caller.context.key.id,
        held: if is_paid { lines.amount } else { NanoUsd::ZERO },
        admitted_at: asking.caller.now,
        model,
        input_tokens: None,
        end_user: end_user(asking)?,
    };
    let like = ObjectId { batch: Some(claim), upstream: String::new(), ..input.clone() };
    // for lists, which tell nothing but what the provider keeps
    let (mark, sealed) = (quoted(&asking.owner().mark()), quoted(&asking.owner().seal_as(CLAIM, &like)));
    let upstream = quoted(&input.upstream);
    let body = set_members(
        &body,
        &root,
        &[
            (&["input_file_id"], &upstream),
            (&["metadata", MARK_MEMBER], &mark),
            (&["metadata", CLAIM_MEMBER], &sealed),
        ],
    );
    let body = Bytes::from(body.map_err(ReadError::from)?);
    let received = asking.received(Surface::Batches, call, body, id);
    let mut priced = pipeline::price(asking.gateway, received)?;
    priced.requested_model = format!("{provider}/{}", lines.candidate.candidate.model);
    priced.plan = plan_of(lines);
    let response = pipeline::pay_and_send(asking.gateway, priced).await?;
    let (parts, body) = asking.collect(response).await?;
    watch(asking, &like, &body);
    let written = asking.rename(&body, Kind::Batch, &like)?;
    Ok(Response::from_parts(parts, GatewayBody::whole(Bytes::from(written))))
}

/// Whose budget a batch counts against beside its key's; short enough for the provider's metadata.
fn end_user(asking: &Asking<'_>) -> Result<Option<String>, Refusal> {
    let user = pipeline::named_end_user(asking.headers, None)?;
    if user.as_ref().is_some_and(|user| user.len() > MAX_END_USER_BYTES) {
        let message = format!("the end user of a batch has at most {MAX_END_USER_BYTES} bytes: shorten it");
        return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("x-tollgate-user"));
    }
    Ok(user)
}

/// What a batch's lines ask for, and in which words.
type LinesAsk = (Surface, ChatDialect);

fn line_surface(endpoint: &str) -> Result<LinesAsk, Refusal> {
    match endpoint {
        "/v1/chat/completions" => Ok((Surface::Chat, ChatDialect::OpenAiChat)),
        "/v1/responses" => Ok((Surface::Chat, ChatDialect::OpenAiResponses)),
        "/v1/completions" => Ok((Surface::Completions, ChatDialect::OpenAiChat)),
        "/v1/embeddings" => Ok((Surface::Embeddings, ChatDialect::OpenAiChat)),
        "/v1/moderations" => Ok((Surface::Moderations, ChatDialect::OpenAiChat)),
        _ => {
            let message = "`endpoint` must be /v1/chat/completions, /v1/responses, /v1/completions, /v1/embeddings or /v1/moderations";
            Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("endpoint"))
        }
    }
}

/// Bounds every line as a request of its own, at the prices of batches.
async fn price_lines(
    asking: &Asking<'_>,
    provider: &str,
    lines_ask: LinesAsk,
    text: &Bytes,
    endpoint: &str,
) -> Result<Lines, Refusal> {
    let mut sums: Option<Lines> = None;
    let mut at = 0;
    let mut n = 0_usize;
    while at < text.len() {
        let end = text[at..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |length| at + length);
        let line = text.slice(at..end);
        at = end + 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        n += 1;
        if n > MAX_LINES {
            let message = format!("the batch has more than {MAX_LINES} lines: make several");
            return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("input_file_id"));
        }
        let in_line = |refusal: Refusal| Refusal {
            message: format!("line {n} of the batch: {}", refusal.message),
            param: Some("input_file_id".to_owned()),
            ..refusal
        };
        let priced = price_line(asking, provider, lines_ask, &line, endpoint).map_err(in_line)?;
        add_line(&mut sums, priced).map_err(in_line)?;
        if n.is_multiple_of(LINES_AT_A_TIME) {
            tokio::task::yield_now().await;
        }
    }
    sums.ok_or_else(|| {
        Refusal::new(ErrorKind::InvalidRequest, "the batch's file has no lines").with_param("input_file_id")
    })
}

fn price_line(
    asking: &Asking<'_>,
    provider: &str,
    (surface, dialect): LinesAsk,
    line: &Bytes,
    endpoint: &str,
) -> Result<Box<Priced>, Refusal> {
    let root = Node::parse(line).map_err(ReadError::from)?;
    let mut members = root.object().map_err(ReadError::from)?;
    let mut text = |name: &str| -> Result<String, Refusal> {
        Ok(members.required(name).and_then(|node| node.string()).map_err(ReadError::from)?.into_owned())
    };
    let wrong = |message: String| Err(Refusal::new(ErrorKind::InvalidRequest, message));
    if text("method")? != "POST" {
        return wrong("`method` must be POST".to_owned());
    }
    if text("url")? != endpoint {
        return wrong(format!("`url` must be the batch's endpoint, {endpoint}"));
    }
    let body = members.required("body").map_err(ReadError::from)?;
    let span = body.span();
    let model = body.object().and_then(|mut members| members.string("model")).map_err(ReadError::from)?;
    let Some(model) = model else { return wrong("`body.model` is required".to_owned()) };
    let headers =
        HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let priced = pipeline::price(
        asking.gateway,
        Received {
            request: RequestId::from_u128(0),
            started: asking.started,
            surface,
            dialect,
            path: String::new(),
            // the file goes to this provider as it is
            deployment: Some(format!("{provider}/{model}")),
            passthrough: None,
            caller: asking.caller.clone(),
            headers,
            body: line.slice(span),
            trace: RequestTrace::disabled(),
        },
    )?;
    for one in &*priced.plan.candidates {
        responses::check_line(&priced.client, &one.candidate)?;
    }
    if priced.skim.stream {
        return wrong("`body.stream` has no meaning in a batch: leave it out".to_owned());
    }
    let is_capped = priced.skim.client_output_cap().is_some()
        || matches!(surface, Surface::Embeddings | Surface::Moderations)
        || priced
            .plan
            .candidates
            .iter()
            .all(|one| one.candidate.max_output_tokens.is_some() || one.sheet.is_free());
    if !is_capped {
        return wrong(
            "nothing bounds its answer: set `max_tokens`, `max_completion_tokens` or `max_output_tokens`"
                .to_owned(),
        );
    }
    Ok(priced)
}

fn add_line(sums: &mut Option<Lines>, priced: Box<Priced>) -> Result<(), Refusal> {
    let wrong = |message: &str| Err(Refusal::new(ErrorKind::InvalidRequest, message));
    let Some(candidate) = priced.plan.candidates.first().cloned() else {
        return wrong("its model cannot be priced");
    };
    if candidate.sheet.has_context_steps() {
        return wrong(
            "its model's price depends on the prompt's length, which a batch does not tell: use another",
        );
    }
    let shape = PricedPlanShape { tier: ServiceTier::Batch, ..priced.plan.shape() };
    let bound = candidate.bound(candidate.output_cap, &shape);
    let output_cap = candidate.output_cap.saturating_mul(shape.n_choices);
    let (input_bound, input_estimate) = (candidate.input_bound, priced.plan.input_estimate);
    match sums {
        None => {
            *sums = Some(Lines {
                first: priced,
                candidate,
                amount: bound,
                input_bound,
                output_cap,
                input_estimate,
                n: 1,
            });
        }
        Some(sums) => {
            if sums.candidate.candidate.model != candidate.candidate.model {
                return wrong("all lines of a batch ask for one model");
            }
            sums.amount = sums.amount.saturating_add(bound);
            sums.input_bound = sums.input_bound.saturating_add(input_bound);
            sums.output_cap = sums.output_cap.saturating_add(output_cap);
            sums.input_estimate = sums.input_estimate.saturating_add(input_estimate);
            sums.n += 1;
        }
    }
    match sums {
        Some(sums) if sums.amount > MAX_LIMIT => {
            wrong("the batch could cost more than any budget may hold: make smaller ones")
        }
        _ => Ok(()),
    }
}

/// The batch as one request: its lines together.
fn plan_of(lines: Lines) -> PricedPlan {
    let Lines { first, candidate, amount, input_bound, output_cap, input_estimate, n } = lines;
    let first = first.plan;
    let mut plan = first.plan;
    // nobody knows whether it may be made twice
    Arc::make_mut(&mut plan).retry.max_attempts = 1;
    let candidate = PricedCandidate { input_bound, output_cap, slice_tokens: None, ..candidate };
    PricedPlan {
        plan,
        candidates: [candidate].into(),
        tier: ServiceTier::Batch,
        reach: first.reach,
        n_choices: 1,
        prediction_tokens: 0,
        is_paid: first.is_paid,
        amount,
        worst_case: amount,
        minimum: amount,
        // providers limit the rate of batches apart from that of requests
        rate_tokens: 0,
        input_estimate,
        kept_tokens: 0,
        output_floor: first.output_floor,
        lost_usage: Usage::ZERO.with(Meter::Input, input_estimate).with(Meter::Request, n),
    }
}

/// How long a batch's hold stays without being looked at, in milliseconds.
pub(crate) fn lease_ms() -> u64 {
    u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX)
}
