//! Sending: the retry and failover loop over the plan's candidates. It takes a [`Reservation`] and nothing
//! else, so nothing is sent that was not paid for.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tollgate_domain::{
    AttemptOutcome, CredentialId, ErrorKind, MAX_LIMIT, NanoUsd, RequestOutcome, SettlementBasis, Usage,
};
use tollgate_policy::Dialect;
use tollgate_wire::neutral::{ChatAnswer, ChatDialect};
use tollgate_wire::openai::response::Answer;
use tollgate_wire::openai::responses::ResponseEcho;
use tollgate_wire::openai::usage::{UsageReading, UsageSpan, with_cost};
use tollgate_wire::translate::{AnswerContext, write_answer};

use crate::answer::{AnswerFacts, GatewayBody};
use crate::attempt::{self, Attempted, Failed};
use crate::dialects::spoken;
use crate::error::{Refusal, overloaded};
use crate::gates::ProviderPlace;
use crate::objects::ids::BatchClaim;
use crate::objects::{UsedCredential, watch_response};
use crate::plan::PricedCandidate;
use crate::relay::{RelayBody, StreamStart, created};
use crate::responses;
use crate::route::{AfterFailure, NextAttempt, Route};
use crate::settle::{CLIENT_CLOSED_STATUS, Ending, MayBill, Reservation};
use crate::usage_check::{self, Shown};

/// What Google calls the class that a request was really served at.
const GEMINI_SERVICE_TIER: HeaderName = HeaderName::from_static("x-gemini-service-tier");

/// Sends a paid request until a candidate answers or none is left.
pub(crate) async fn send(mut reservation: Box<Reservation>) -> Result<Response<GatewayBody>, Refusal> {
    let deadline = deadline(&reservation);
    let kept = reservation.priced.passthrough.as_ref().and_then(|call| call.credential);
    let pinned = kept.or_else(|| responses::pinned(&reservation.priced.client)?.credential);
    let mut route = Route::new(seed(&reservation)).pinned_to(pinned);
    let mut previous: Option<Failed> = None;
    loop {
        let failed = match try_next(&mut reservation, &mut route, deadline).await {
            Ok((attempted, place)) => return answer(reservation, attempted, place, deadline).await,
            Err(NotAnswered::Failed(failed)) => failed,
            // the client learns why the attempts before it failed
            Err(NotAnswered::Unpaid(unpaid)) => return Err(give_up(reservation, previous.unwrap_or(unpaid))),
        };
        let credential = reservation.attempts.last().and_then(|attempt| attempt.credential);
        let after = decide(&reservation, &mut route, &failed, credential);
        match after {
            AfterFailure::TryAgain(wait) if Instant::now() + wait < deadline => {
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
            }
            AfterFailure::TryAgain(_) | AfterFailure::GiveUp => return Err(give_up(reservation, failed)),
        }
        previous = Some(failed);
    }
}

/// Why there is no answer.
enum NotAnswered {
    Failed(Failed),
    /// It was not sent: nobody pays for another attempt beside those that were lost.
    Unpaid(Failed),
}

/// Before a write: lets the requests that became ready at the same time come this far, too. Their writes then
/// follow closely upon each other, and a peer that sleeps is woken once for many instead of once for each, which
/// is the dearest thing that a write can do. Where nothing else is ready this is one look at the sockets.
async fn write_together() {
    tokio::task::yield_now().await;
}

fn decide(
    reservation: &Reservation,
    route: &mut Route,
    failed: &Failed,
    credential: Option<CredentialId>,
) -> AfterFailure {
    let plan = &reservation.priced.plan;
    route.after_failure(failed.outcome, credential, &plan.candidates, &plan.plan.retry)
}

fn deadline(reservation: &Reservation) -> Instant {
    let priced = &reservation.priced;
    let policy = Duration::from_millis(priced.plan.plan.timeouts.total_ms);
    priced.started + priced.asked_timeout.map_or(policy, |asked| asked.min(policy))
}

/// Random bits of the request's own id.
fn seed(reservation: &Reservation) -> u64 {
    reservation.priced.request.as_uuid().as_u64_pair().1
}

async fn try_next(
    reservation: &mut Reservation,
    route: &mut Route,
    deadline: Instant,
) -> Result<(Attempted, ProviderPlace), NotAnswered> {
    let candidates = std::sync::Arc::clone(&reservation.priced.plan.candidates);
    let (next, place) = next_with_place(reservation, route, &candidates).map_err(NotAnswered::Failed)?;
    if !reservation.cover_next(next.candidate, deadline).await {
        let message = "there is no money for another attempt: try again later";
        let (outcome, kind) = (AttemptOutcome::Refused, ErrorKind::BudgetExceeded);
        return Err(NotAnswered::Unpaid(Failed::new(outcome, false, kind, message)));
    }
    let priced = &candidates[next.candidate];
    let cap = output_cap(reservation, next.candidate);
    let credential = next.credential.map(|credential| credential.id);
    let is_gathered = reservation.attempts.is_empty() && reservation.gateway().ledger.admits_together();
    if !is_gathered {
        write_together().await;
    }
    reservation.dispatching(next.candidate, credential);
    let attempted = attempt::run(reservation, priced, cap, next.credential, deadline).await;
    match &attempted {
        Ok(Attempted::Whole { head, .. } | Attempted::Stream { head, .. }) => {
            reservation.attempted(AttemptOutcome::Ok, Some(head.status.as_u16()), MayBill::Estimate);
        }
        Err(failed) => {
            let status = failed.status.map(|status| status.as_u16());
            reservation.attempted(failed.outcome, status, failed.may_bill.clone());
        }
    }
    attempted.map(|attempted| (attempted, place)).map_err(NotAnswered::Failed)
}

/// The next attempt whose provider has a place free. Providers without one are passed over, not counted.
fn next_with_place<'a>(
    reservation: &Reservation,
    route: &mut Route,
    candidates: &'a [PricedCandidate],
) -> Result<(NextAttempt<'a>, ProviderPlace), Failed> {
    let mut is_full = false;
    while let Some(next) = route.next(candidates) {
        let provider = &candidates[next.candidate].candidate.provider;
        if let Some(place) = reservation.gateway().gates.enter(provider) {
            return Ok((next, place));
        }
        is_full = true;
        route.pass_over();
    }
    let message = "no candidate has a usable credential: tell your operator";
    let kind = ErrorKind::UpstreamCredentialsExhausted;
    // an outcome after which nothing is tried again
    let mut failed = Failed::new(AttemptOutcome::Refused, false, kind, message);
    if is_full {
        *failed.refusal = overloaded();
    }
    Err(failed)
}

/// The cap to write upstream: only where money is at stake and an answer token costs some.
pub(crate) fn output_cap(reservation: &Reservation, candidate: usize) -> Option<u64> {
    let plan = &reservation.priced.plan;
    let priced = plan.candidates.get(candidate)?;
    if reservation.priced.media.is_some() {
        return None;
    }
    let shape = plan.shape();
    if !plan.is_paid || plan.n_choices == 0 || !priced.charges_output(&shape) {
        return None;
    }
    if priced.slice_tokens.is_some() {
        // the money for the rest is held on the way
        return Some(priced.output_cap);
    }
    let granted = reservation.granted_for_answer();
    if granted >= plan.worst_case && plan.worst_case < MAX_LIMIT {
        // it pays for the dearest candidate's whole cap
        return Some(priced.output_cap);
    }
    Some(priced.affordable_cap(granted, &shape))
}

/// The cap, where the money made it lower than what was asked for.
fn clamped_to(reservation: &Reservation, candidate: usize) -> Option<u64> {
    let priced = reservation.priced.plan.candidates.get(candidate)?;
    output_cap(reservation, candidate).filter(|cap| *cap < priced.output_cap)
}

fn give_up(reservation: Box<Reservation>, failed: Failed) -> Refusal {
    let mut refusal = *failed.refusal;
    refusal.n_attempts = reservation.attempts.len();
    refusal.is_settled = true;
    let (outcome, status) = (RequestOutcome::Error(refusal.kind), refusal.status().as_u16());
    reservation.fail(outcome, status);
    refusal
}

// === answers ===

async fn answer(
    reservation: Box<Reservation>,
    attempted: Attempted,
    place: ProviderPlace,
    deadline: Instant,
) -> Result<Response<GatewayBody>, Refusal> {
    match attempted {
        Attempted::Whole { head, body, answer, neutral } => {
            whole(reservation, &head, body, &answer, neutral.as_deref()).await
        }
        Attempted::Stream { head, start } => {
            if responses::is_background(&reservation.priced.client) {
                Box::pin(reservation.stand(crate::objects::batch_lease_ms())).await;
            }
            Ok(stream(reservation, &head, *start, place, deadline))
        }
    }
}

async fn whole(
    mut reservation: Box<Reservation>,
    head: &http::response::Parts,
    body: Bytes,
    answer: &Answer,
    neutral: Option<&ChatAnswer>,
) -> Result<Response<GatewayBody>, Refusal> {
    reservation.first_byte = Some(reservation.priced.started.elapsed());
    reservation.note_served_tier(answer.service_tier.as_deref().or_else(|| told_tier(&reservation, head)));
    let (usage, basis, span) = usage_of(&reservation, answer);
    let charge = reservation.price(&usage);
    let cost = charge.cost;
    let goes_on = responses::going_on(&reservation, &body);
    let upstream_id = goes_on.as_ref().and_then(|_| responses::id_of(&body));
    let body = match (neutral, span) {
        (Some(neutral), _) => match in_clients_dialect(&reservation, neutral, body, cost, goes_on.as_ref()) {
            Ok(body) => body,
            Err(refusal) => return Err(refuse(reservation, usage, basis, refusal)),
        },
        _ if reservation.priced.client.embedding.is_some() => as_google(&reservation, body),
        (None, Some(span)) => Bytes::from(with_cost(&body, &span, cost)),
        (None, None) => body,
    };
    let mut response = head_of(&reservation, head, Some(cost).filter(|_| goes_on.is_none()));
    let keeping = reservation.priced.once.as_ref().and_then(|once| once.keep_whole(&response, &body));
    if let Some(kept) = keeping {
        Box::pin(kept).await;
    }
    let status = response.status().as_u16();
    let keeps_hold = reservation.priced.passthrough.as_ref().is_some_and(|call| call.keeps_hold);
    if keeps_hold || goes_on.is_some() {
        if let Some((claim, id)) = goes_on.zip(upstream_id) {
            watch_response(&reservation, claim, id);
        }
        // boxed like all that few requests need: every request's future has room for the largest of its parts
        Box::pin(reservation.keep_hold(crate::objects::batch_lease_ms())).await;
        *response.body_mut() = GatewayBody::whole(body);
        return Ok(response);
    }
    reservation.end_priced(Ending { usage, basis, outcome: RequestOutcome::Ok, status }, charge);
    *response.body_mut() = GatewayBody::whole(body);
    write_together().await;
    Ok(response)
}

/// Refuses an answer that is paid for and cannot be shown.
fn refuse(reservation: Box<Reservation>, usage: Usage, basis: SettlementBasis, refusal: Refusal) -> Refusal {
    let (outcome, status) = (RequestOutcome::Error(refusal.kind), refusal.status().as_u16());
    let n_attempts = reservation.attempts.len();
    reservation.end(Ending { usage, basis, outcome, status });
    Refusal { is_settled: true, n_attempts, ..refusal }
}

/// The class an answer was served at, where its provider tells it in the head: Google's.
fn told_tier<'a>(reservation: &Reservation, head: &'a http::response::Parts) -> Option<&'a str> {
    let priced = reservation.current()?;
    let tells = matches!(priced.candidate.provider.dialect, Dialect::Gemini | Dialect::Vertex);
    head.headers.get(GEMINI_SERVICE_TIER).filter(|_| tells)?.to_str().ok()
}

/// Vectors as Google's clients read them; an answer that has none is told as it is.
fn as_google(reservation: &Reservation, body: Bytes) -> Bytes {
    let google = reservation.priced.client.embedding.as_ref();
    google.and_then(|google| google.answer(&body).ok()).map_or(body, Bytes::from)
}

/// The answer as the client reads it: the provider's own bytes where both speak the same.
fn in_clients_dialect(
    reservation: &Reservation,
    neutral: &ChatAnswer,
    body: Bytes,
    cost: NanoUsd,
    goes_on: Option<&BatchClaim>,
) -> Result<Bytes, Refusal> {
    let client = &reservation.priced.client;
    let provider = reservation.current().map(|priced| spoken(client, &priced.candidate));
    if provider == Some(client.dialect) {
        return match client.dialect {
            ChatDialect::OpenAiResponses => {
                let estimate = reservation.priced.plan.input_estimate;
                let context_tokens = neutral.usage.map_or(estimate, |usage| usage.total_tokens());
                responses::passed_answer(reservation, &body, cost, (goes_on, context_tokens))
            }
            _ => Ok(body),
        };
    }
    let nothing = ResponseEcho::default();
    let echo = client.foreign.as_ref().map_or(&nothing, |foreign| &foreign.incoming.echo);
    let context =
        AnswerContext { dialect: client.dialect, created: created(reservation), echo, cost: Some(cost) };
    Ok(Bytes::from(write_answer(neutral, &context)))
}

fn usage_of(reservation: &Reservation, answer: &Answer) -> (Usage, SettlementBasis, Option<UsageSpan>) {
    if reservation.priced.passthrough.as_ref().is_some_and(|call| call.is_unbilled()) {
        // what it tells is not its own
        return (with_request(Usage::ZERO), SettlementBasis::Provider, None);
    }
    let shown = Shown { text_bytes: answer.text_bytes, ..Shown::default() };
    let media = reservation.priced.media.as_ref();
    let counted = || match media {
        Some(media) => tollgate_wire::media::counted_usage(media, None, answer.text_bytes),
        None => usage_check::counted(reservation, &shown),
    };
    // what a compacted conversation shows is its old text, what was made is encrypted
    let is_taken_as_told = media.is_some() || responses::is_compaction(&reservation.priced.client);
    let judged = |told: &Usage| match is_taken_as_told {
        true => (*told, SettlementBasis::Provider),
        false => usage_check::settled(reservation, Some(told), &shown),
    };
    let (usage, basis, span) = match &answer.usage {
        UsageReading::Counted(usage, span) => {
            let (usage, basis) = judged(usage);
            (usage, basis, Some(span.clone()))
        }
        UsageReading::Told(usage) => {
            let (usage, basis) = judged(usage);
            (usage, basis, None)
        }
        UsageReading::Inferred(usage) => (*usage, SettlementBasis::Counted, None),
        UsageReading::Unusable(error, span) => {
            tracing::warn!(%error, "a provider's usage is unusable; counted instead");
            (counted(), SettlementBasis::Counted, Some(span.clone()))
        }
        UsageReading::Missing => (counted(), SettlementBasis::Counted, None),
    };
    (with_request(usage), basis, span)
}

/// Every billed answer also counts as one request, for prices per request.
pub(crate) fn with_request(usage: Usage) -> Usage {
    usage.with(tollgate_domain::Meter::Request, 1)
}

fn head_of(
    reservation: &Reservation,
    head: &http::response::Parts,
    cost: Option<NanoUsd>,
) -> Response<GatewayBody> {
    let mut response = Response::new(GatewayBody::whole(Bytes::new()));
    *response.status_mut() = head.status;
    let headers: &mut HeaderMap = response.headers_mut();
    *headers = tollgate_upstream::headers::provider_to_client(&head.headers);
    let current = reservation.current();
    let facts = AnswerFacts {
        provider: current.map_or("", |priced| &priced.candidate.provider.name),
        model: current.map_or("", |priced| &priced.candidate.model),
        n_attempts: reservation.attempts.len(),
        overhead: reservation.overhead(),
        grant: &reservation.grant,
        cost,
        clamped_to: reservation.candidate_index().and_then(|index| clamped_to(reservation, index)),
        dropped: current.and_then(|priced| priced.dropped.as_deref()),
    };
    facts.write(headers);
    if reservation.priced.passthrough.is_some() {
        let credential = reservation.attempts.last().and_then(|attempt| attempt.credential);
        response.extensions_mut().insert(UsedCredential(credential));
    }
    response
}

fn stream(
    mut reservation: Box<Reservation>,
    head: &http::response::Parts,
    start: StreamStart,
    place: ProviderPlace,
    deadline: Instant,
) -> Response<GatewayBody> {
    reservation.first_byte = Some(reservation.priced.started.elapsed());
    let tier = told_tier(&reservation, head);
    reservation.note_served_tier(tier);
    let mut response = head_of(&reservation, head, None);
    // whatever the provider's framing is, the client reads server-sent events
    let client = &reservation.priced.client;
    if reservation.current().is_some_and(|priced| spoken(client, &priced.candidate) == ChatDialect::Bedrock) {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    }
    reservation.freeze_overhead();
    let relay = RelayBody::new(*reservation, start, place, deadline);
    *response.body_mut() = GatewayBody::Relay(Box::new(relay));
    response
}

/// What a stream is settled at when the client left it.
pub(crate) const LEFT: (RequestOutcome, u16) = (RequestOutcome::ClientClosed, CLIENT_CLOSED_STATUS);
