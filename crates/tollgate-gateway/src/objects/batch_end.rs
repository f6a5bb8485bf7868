//! The end of a batch: seen by whoever asks for it, and settled once.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response};
use tollgate_catalog::{PriceSheet, ServiceTier};
use tollgate_domain::{
    Attempt, AttemptOutcome, EventId, HoldId, Meter, NanoUsd, RequestId, RequestOutcome, SettlementBasis,
    Surface, Usage, UsageEvent,
};
use tollgate_ledger::Settlement;
use tollgate_wire::json::Node;
use tollgate_wire::openai::usage::normalise;

use super::Asking;
use super::batches::{CLAIM_MEMBER, lease_ms};
use super::ids::{BatchClaim, CLAIM, Kind, ObjectId};
use crate::answer::GatewayBody;
use crate::error::Refusal;
use crate::plan::needs_of;

pub(super) const COST_USD: HeaderName = HeaderName::from_static("x-tollgate-cost-usd");

/// The claim that a batch of a list carries in its metadata.
pub(super) fn claim_in(asking: &Asking<'_>, batch: &Node<'_>) -> Option<BatchClaim> {
    let mut metadata = batch.object().ok()?.take("metadata")?.object().ok()?;
    let sealed = metadata.take(CLAIM_MEMBER)?.string().ok()?.into_owned();
    asking.owner().open_as(CLAIM, &sealed)?.batch
}

/// Shows a batch, and settles it where it has ended.
pub(super) async fn seen(
    asking: &Asking<'_>,
    response: Response<GatewayBody>,
    object: &ObjectId,
) -> Result<Response<GatewayBody>, Refusal> {
    let (mut parts, body) = asking.collect(response).await?;
    if let Some(cost) = look_and_settle(asking, &body, object, AskedBy::Client).await
        && let Ok(value) = HeaderValue::from_str(&cost.to_string())
    {
        parts.headers.insert(COST_USD, value);
    }
    let written = asking.rename(&body, Kind::Batch, object)?;
    Ok(Response::from_parts(parts, GatewayBody::whole(Bytes::from(written))))
}

/// Whether a batch names the file with its answers.
pub(super) fn has_answers(batch: &[u8]) -> bool {
    let name = Node::parse(batch).ok().and_then(|root| root.object().ok()?.string("output_file_id").ok()?);
    name.is_some()
}

/// Who wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskedBy {
    /// A client, whose calls are admitted and journaled.
    Client,
    /// The pod that made the batch.
    Pod,
}

/// Settles a batch where it has ended, by what the provider says of it; answers its cost then. One that runs keeps its
/// money.
pub(super) async fn look_and_settle(
    asking: &Asking<'_>,
    body: &[u8],
    object: &ObjectId,
    asked_by: AskedBy,
) -> Option<NanoUsd> {
    let claim = object.batch.as_ref()?;
    match ending(asking, body, object, asked_by).await {
        Ending::Ended(usage, basis) => {
            let ended = Settled { usage, basis, surface: Surface::Batches, tier: ServiceTier::Batch };
            settle(asking, claim, object, &ended)
        }
        Ending::Running => {
            renew(asking, claim).await;
            None
        }
        Ending::Unknown => {
            tracing::warn!(request = %claim.request, "a batch has ended and its usage cannot be read yet");
            None
        }
    }
}

/// What something came to that went on after its request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    pub(super) usage: Usage,
    pub(super) basis: SettlementBasis,
    pub(super) surface: Surface,
    pub(super) tier: ServiceTier,
}

enum Ending {
    Running,
    Ended(Usage, SettlementBasis),
    Unknown,
}

async fn ending(asking: &Asking<'_>, body: &[u8], object: &ObjectId, asked_by: AskedBy) -> Ending {
    let Ok(root) = Node::parse(body) else { return Ending::Unknown };
    let Ok(mut members) = root.object() else { return Ending::Unknown };
    let status = members.string("status").ok().flatten().unwrap_or_default();
    if !matches!(status.as_str(), "completed" | "failed" | "expired" | "cancelled") {
        return Ending::Running;
    }
    let counts = members.take("request_counts").and_then(|node| node.object().ok());
    let n_completed = counts.and_then(|mut counts| counts.count("completed").ok().flatten());
    let requests = |usage: Usage, n: u64| usage.with(Meter::Request, n);
    if let Some(usage) = members.take("usage")
        && let Ok(Some(usage)) = normalise(Surface::Chat, usage.text().as_bytes())
        && usage.total_tokens() > 0
    {
        return Ending::Ended(requests(usage, n_completed.unwrap_or(1)), SettlementBasis::Provider);
    }
    let output = members.string("output_file_id").ok().flatten().filter(|name| ObjectId::is_plain(name));
    let Some(output) = output else {
        // nothing was answered, where the provider says so
        let is_empty = n_completed == Some(0) || (n_completed.is_none() && status == "failed");
        return if is_empty {
            Ending::Ended(Usage::ZERO, SettlementBasis::Provider)
        } else {
            Ending::Unknown
        };
    };
    let file = ObjectId { upstream: output, batch: None, ..object.clone() };
    match answers(asking, &file, asked_by).await {
        Some(text) => {
            let (usage, n) = usage_of_lines(&text);
            // answers that do not tell their usage are not free: unsettled, the batch is charged at its estimate
            if n == 0 || n_completed.is_some_and(|n_completed| n < n_completed) {
                return Ending::Unknown;
            }
            Ending::Ended(requests(usage, n), SettlementBasis::Provider)
        }
        None => Ending::Unknown,
    }
}

/// The file with a batch's answers.
async fn answers(asking: &Asking<'_>, file: &ObjectId, asked_by: AskedBy) -> Option<Bytes> {
    if asked_by == AskedBy::Pod {
        return asking.look(file, &format!("/files/{}/content", file.upstream)).await;
    }
    let id = RequestId::generate(asking.gateway.clock.now(), crate::entropy::bytes());
    let response = asking.content(file, id).await.ok()?;
    asking.collect(response).await.ok().map(|(_, text)| text)
}

/// The usage that a batch's answers tell, one by one; and how many there are.
fn usage_of_lines(text: &[u8]) -> (Usage, u64) {
    let (mut sum, mut n) = (Usage::ZERO, 0);
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        let Ok(root) = Node::parse(line) else { continue };
        let usage = root.object().ok().and_then(|mut line| line.take("response"));
        let usage = usage.and_then(|node| node.object().ok()).and_then(|mut answer| answer.take("body"));
        let usage = usage.and_then(|node| node.object().ok()).and_then(|mut body| body.take("usage"));
        if let Some(Ok(Some(usage))) = usage.map(|usage| normalise(Surface::Chat, usage.text().as_bytes())) {
            sum = sum.plus(&usage);
            n += 1;
        }
    }
    (sum, n)
}

/// Begins its lease anew: somebody is still waiting for it.
pub(super) async fn renew(asking: &Asking<'_>, claim: &BatchClaim) {
    let hold = HoldId::from_uuid(claim.request.as_uuid());
    let tenant = asking.caller.context.tenant.id;
    if let Err(error) = asking.gateway.ledger.renew(&[(tenant, hold, NanoUsd::ZERO)], lease_ms()).await {
        tracing::warn!(%error, request = %claim.request, "a lease could not be renewed of what goes on after its request");
    }
}

/// Settles it; again it changes nothing. Answers its cost.
pub(super) fn settle(
    asking: &Asking<'_>,
    claim: &BatchClaim,
    object: &ObjectId,
    ended: &Settled,
) -> Option<NanoUsd> {
    let provider = asking.provider(object.provider).ok()?.name.clone();
    let context = &asking.caller.context;
    let candidate = asking.caller.snapshot.candidate_of(&provider, &claim.model)?;
    let sheet = context.price_sheet(&candidate, claim.admitted_at);
    let Some(sheet) = sheet else {
        tracing::error!(request = %claim.request, "what has ended has a model without a price by now");
        return None;
    };
    let place = asking.gateway.settler.place()?;
    let event = event_of(asking, claim, object, &provider, &sheet, ended);
    let cost = event.cost;
    place.settle(Settlement {
        tenant: event.tenant,
        hold: event.hold,
        actual: cost,
        // the rate of batches is limited apart from that of requests
        tokens: if ended.surface == Surface::Batches { 0 } else { ended.usage.total_tokens() },
        event: Some(Arc::new(event)),
    });
    Some(cost)
}

fn event_of(
    asking: &Asking<'_>,
    claim: &BatchClaim,
    object: &ObjectId,
    provider: &str,
    sheet: &PriceSheet,
    ended: &Settled,
) -> UsageEvent {
    let context = &asking.caller.context;
    let Settled { usage, basis, surface, tier } = *ended;
    let tier = if sheet.check(tier, needs_of(surface)).is_ok() { tier } else { ServiceTier::Standard };
    let tier = if surface == Surface::Batches { ServiceTier::Batch } else { tier };
    let charge = sheet.cost(&usage, tier);
    let cost = if claim.held > NanoUsd::ZERO { charge.total.min(claim.held) } else { charge.total };
    let finished_at = asking.gateway.clock.now();
    let duration_ms = u64::try_from(finished_at.0 - claim.admitted_at.0).unwrap_or(0);
    let uuid = claim.request.as_uuid();
    UsageEvent {
        event: EventId::from_uuid(uuid),
        request: claim.request,
        hold: HoldId::from_uuid(uuid),
        tenant: context.tenant.id,
        project: context.project.id,
        key: claim.key,
        end_user: claim.end_user.clone(),
        labels: context.labels.clone(),
        surface,
        requested_model: format!("{provider}/{}", claim.model),
        provider: provider.to_owned(),
        model: claim.model.clone(),
        streamed: false,
        admitted_at: claim.admitted_at,
        finished_at,
        held: claim.held,
        cost,
        provider_cost: charge.provider_total,
        usage,
        charge: charge.lines,
        margin: charge.margin,
        provider_charge: charge.provider_lines,
        basis,
        outcome: RequestOutcome::Ok,
        status: 200,
        attempts: vec![Attempt {
            provider: provider.to_owned(),
            model: claim.model.clone(),
            credential: object.credential,
            outcome: AttemptOutcome::Ok,
            status: Some(200),
            started_at: claim.admitted_at,
            first_byte_ms: duration_ms,
            duration_ms,
            bill: None,
        }],
        duration_ms,
        first_byte_ms: None,
        overhead_us: 0,
        policy_revision: asking.caller.snapshot.revision(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_summed() {
        let text = concat!(
            r#"{"custom_id":"a","response":{"status_code":200,"body":{"usage":{"prompt_tokens":3,"completion_tokens":4}}}}"#,
            "\n\n",
            r#"{"custom_id":"b","response":null,"error":{"message":"no"}}"#,
            "\nnonsense\n",
            r#"{"custom_id":"c","response":{"body":{"usage":{"prompt_tokens":5,"completion_tokens":6}}}}"#,
        );
        let expected = Usage::ZERO.with(Meter::Input, 8).with(Meter::Output, 10);
        assert_eq!(usage_of_lines(text.as_bytes()), (expected, 2));
        assert_eq!(usage_of_lines(b""), (Usage::ZERO, 0));
    }
}
