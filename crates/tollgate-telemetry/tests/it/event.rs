//! A finished request to report on.

use tollgate_domain::{
    Attempt, AttemptOutcome, CredentialId, ErrorKind, EventId, HoldId, KeyId, Labels, Meter, NanoUsd,
    ProjectId, RequestId, RequestOutcome, SettlementBasis, Surface, TenantId, UnixMillis, Usage, UsageEvent,
};

/// A chat request that failed once, was answered by the second provider and cost 0.00042 USD.
pub(crate) fn finished_request() -> UsageEvent {
    UsageEvent {
        event: EventId::from_u128(1),
        request: RequestId::from_u128(2),
        hold: HoldId::from_u128(3),
        tenant: TenantId::from_u128(4),
        project: ProjectId::from_u128(5),
        key: KeyId::from_u128(6),
        end_user: Some("canary-end-user".to_owned()),
        labels: Labels::from([("department".to_owned(), "canary-label".to_owned())]),
        surface: Surface::Chat,
        requested_model: "chat-default".to_owned(),
        provider: "openai".to_owned(),
        model: "gpt-5-mini".to_owned(),
        streamed: true,
        admitted_at: UnixMillis(1_800_000_000_000),
        finished_at: UnixMillis(1_800_000_001_500),
        held: NanoUsd(1_000_000),
        cost: NanoUsd(420_000),
        provider_cost: NanoUsd(420_000),
        margin: None,
        provider_charge: None,
        usage: Usage::ZERO.with(Meter::Input, 90).with(Meter::CachedInput, 10).with(Meter::Output, 20),
        charge: Vec::new(),
        basis: SettlementBasis::Provider,
        outcome: RequestOutcome::Ok,
        status: 200,
        attempts: vec![
            attempt("azure", AttemptOutcome::RateLimited, Some(429)),
            attempt("openai", AttemptOutcome::Ok, Some(200)),
        ],
        duration_ms: 1_500,
        first_byte_ms: Some(300),
        overhead_us: 85,
        policy_revision: 7,
    }
}

/// The same, failed at the second provider too.
pub(crate) fn failed_request() -> UsageEvent {
    UsageEvent { outcome: RequestOutcome::Error(ErrorKind::UpstreamError), status: 502, ..finished_request() }
}

fn attempt(provider: &str, outcome: AttemptOutcome, status: Option<u16>) -> Attempt {
    Attempt {
        provider: provider.to_owned(),
        model: "gpt-5-mini".to_owned(),
        credential: Some(CredentialId::from_u128(9)),
        outcome,
        status,
        started_at: UnixMillis(1_800_000_000_100),
        first_byte_ms: 200,
        duration_ms: 900,
        bill: None,
    }
}
