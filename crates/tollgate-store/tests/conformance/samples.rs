//! Objects and events to test with. Every number in them is different, so that no two columns can be mixed
//! up unnoticed.

use std::collections::BTreeMap;

use tollgate_catalog::{PriceRow, ServiceTier};
use tollgate_domain::{
    Attempt, AttemptOutcome, BasisPoints, BudgetId, BudgetWindow, ChargeLine, CredentialId, CreditId,
    ErrorKind, EventId, HoldId, KeyHash, KeyId, Labels, MarginId, Meter, ModelId, NanoUsd, PriceId,
    PricePerMillion, ProjectId, ProviderId, RequestId, RequestOutcome, SettlementBasis, Surface, TenantId,
    TimeZoneName, UnixMillis, Usage, UsageEvent,
};
use tollgate_policy::{
    Billing, BudgetOwner, BudgetPolicy, DataPolicy, Dialect, EndUserBudget, EndUserRules, KeyPolicy,
    KeyState, MarginRule, ModelLimit, ModelPolicy, OwnerRules, ProjectPolicy, RateLimits, Retention,
    RetryPolicy, Strategy, Target, TenantPolicy, Timeouts,
};
use tollgate_store::{ActorKind, CreditKind, NewCredential, NewCredit, NewProvider, WriteContext};

/// 2026-01-01T00:00:00Z
pub(crate) const NEW_YEAR: UnixMillis = UnixMillis(1_767_225_600_000);

pub(crate) fn ctx_at(now: UnixMillis) -> WriteContext {
    let reason = Some("because of the test".to_owned());
    WriteContext { actor: "ada".to_owned(), actor_kind: ActorKind::Token, now, reason }
}

pub(crate) fn ctx() -> WriteContext {
    ctx_at(NEW_YEAR)
}

pub(crate) fn limits(n: u64) -> RateLimits {
    RateLimits {
        requests_per_minute: Some(n),
        tokens_per_minute: Some(n * 1_000),
        concurrent_requests: Some(n + 7),
    }
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn tenant(n: u128) -> TenantPolicy {
    TenantPolicy {
        id: TenantId::from_u128(n),
        name: format!("tenant-{n}"),
        billing: Billing::Prepaid,
        time_zone: TimeZoneName::parse("Europe/Berlin").unwrap(),
        blocked: n.is_multiple_of(2),
        limits: limits(11),
        rules: rules(11),
        data_policy: DataPolicy {
            regions: vec!["eu".to_owned()],
            providers: vec!["*".to_owned(), "a\"b".to_owned()],
            require_zero_retention: true,
        },
    }
}

pub(crate) fn project(n: u128, tenant: u128) -> ProjectPolicy {
    ProjectPolicy {
        id: ProjectId::from_u128(n),
        tenant: TenantId::from_u128(tenant),
        name: format!("project-{n}"),
        labels: labels(&[("department", "support")]),
        limits: limits(12),
        rules: rules(12),
    }
}

pub(crate) fn hash(n: u128) -> KeyHash {
    let mut bytes = [0xab; 32];
    bytes[..16].copy_from_slice(&n.to_be_bytes());
    KeyHash(bytes)
}

pub(crate) fn key(n: u128, project: u128) -> KeyPolicy {
    KeyPolicy {
        id: KeyId::from_u128(n),
        project: ProjectId::from_u128(project),
        name: format!("key-{n}"),
        hash: hash(n),
        previous_hash: None,
        models: vec!["chat-*".to_owned()],
        limits: limits(13),
        rules: rules(13),
        expires_at: Some(NEW_YEAR.plus_ms(99)),
        state: KeyState::Active,
        labels: labels(&[("feature", "chat")]),
    }
}

pub(crate) fn budget(n: u128, owner: BudgetOwner, window: BudgetWindow) -> BudgetPolicy {
    let (id, limit) = (BudgetId::from_u128(n), NanoUsd::from_usd(500));
    BudgetPolicy { id, owner, window, limit, increases: Vec::new() }
}

/// Rules of an owner, other ones for every `n`.
pub(crate) fn rules(n: u32) -> OwnerRules {
    let budget = |id, window, limit| EndUserBudget {
        id: BudgetId::from_u128(id),
        window,
        limit: NanoUsd(i64::from(n) * 1_000 + limit),
    };
    let base = 9_000 + u128::from(n) * 10;
    OwnerRules {
        end_users: EndUserRules {
            required: n.is_multiple_of(2),
            limits: limits(u64::from(n) + 100),
            budgets: vec![budget(base, BudgetWindow::Day, 1), budget(base + 1, BudgetWindow::Month, 2)],
        },
        model_limits: vec![ModelLimit { model: format!("chat-{n}-*"), limits: limits(u64::from(n) + 200) }],
    }
}

pub(crate) fn credential(n: u128) -> NewCredential {
    NewCredential {
        id: CredentialId::from_u128(n),
        name: format!("credential-{n}"),
        ciphertext: format!("CIPHERTEXT-{n}").into_bytes(),
        weight: 3,
    }
}

pub(crate) fn provider(n: u128) -> NewProvider {
    NewProvider {
        id: ProviderId::from_u128(n),
        name: format!("provider-{n}"),
        dialect: Dialect::Openai,
        base_url: "https://example.org/v1".to_owned(),
        credentials: vec![credential(n * 10 + 2), credential(n * 10 + 1)],
        region: Some("eu".to_owned()),
        retention: Some(Retention(30)),
        trains_on_data: Some(false),
        max_concurrent_requests: Some(500),
        responses: Some(tollgate_policy::ResponsesMode::Native),
    }
}

pub(crate) fn model(n: u128, provider: u128) -> ModelPolicy {
    let target = |model: &str, priority| Target {
        provider: ProviderId::from_u128(provider),
        model: model.to_owned(),
        priority,
    };
    ModelPolicy {
        id: ModelId::from_u128(n),
        name: format!("model-{n}"),
        strategy: Strategy::Priority,
        targets: vec![target("gpt-5-mini", 0), target("gpt-5", 1)],
        fallbacks: vec!["chat-cheap".to_owned()],
        retry: RetryPolicy::default(),
        timeouts: Timeouts::default(),
        hold_slice_tokens: Some(4_096),
        drop_unsupported: true,
    }
}

pub(crate) fn price(effective_from: UnixMillis) -> PriceRow {
    PriceRow {
        id: None,
        tenant: None,
        provider: "provider-1".to_owned(),
        model: "gpt-5-mini".to_owned(),
        effective_from,
        meter: Some(Meter::CachedInput),
        service_tier: ServiceTier::Flex,
        context_from: 200_000,
        price: PricePerMillion(250_000_000),
        source: "operator".to_owned(),
    }
}

pub(crate) fn margin(n: u128, effective_from: UnixMillis) -> MarginRule {
    MarginRule {
        id: MarginId::from_u128(n),
        tenant: None,
        provider: Some("provider-1".to_owned()),
        model: Some("gpt-5-mini".to_owned()),
        basis_points: BasisPoints::new(-1_250).unwrap(),
        effective_from,
    }
}

pub(crate) fn credit(n: u128, tenant: u128, amount: NanoUsd, reference: Option<&str>) -> NewCredit {
    NewCredit {
        id: CreditId::from_u128(n),
        tenant: TenantId::from_u128(tenant),
        kind: CreditKind::Topup,
        amount,
        reference: reference.map(str::to_owned),
        expires_at: None,
        corrects: None,
    }
}

/// A finished request: cost, tokens, times, labels and outcome follow from `n`.
pub(crate) fn event(n: u64, tenant: u128) -> UsageEvent {
    let wide = u128::from(n);
    let admitted_at = NEW_YEAR.plus_ms(i64::try_from(n).unwrap() * 7 * 3_600_000);
    let team = ["red", "green", "blue"][usize::try_from(n % 3).unwrap()];
    UsageEvent {
        event: EventId::from_u128(0x1000_0000 + wide),
        request: RequestId::from_u128(0x1000_0000 + wide),
        hold: HoldId::from_u128(0x3000_0000 + wide),
        tenant: TenantId::from_u128(tenant),
        project: ProjectId::from_u128(tenant * 100 + wide % 2),
        key: KeyId::from_u128(tenant * 1_000 + wide % 4),
        end_user: (!n.is_multiple_of(5)).then(|| format!("user-{}", n % 3)),
        labels: if n.is_multiple_of(7) { BTreeMap::new() } else { labels(&[("team", team)]) },
        surface: Surface::Chat,
        requested_model: "chat-default".to_owned(),
        provider: format!("provider-{}", n % 2),
        model: format!("model-{}", n % 3),
        streamed: n.is_multiple_of(2),
        admitted_at,
        // Three requests at a time end in the same millisecond.
        finished_at: NEW_YEAR.plus_ms((i64::try_from(n / 3).unwrap() * 3 + 2) * 7 * 3_600_000 + 1_000),
        held: NanoUsd(1_000_000),
        cost: NanoUsd(i64::try_from(n % 11).unwrap() * 1_001),
        provider_cost: NanoUsd(i64::try_from(n % 13).unwrap() * 907),
        margin: None,
        provider_charge: None,
        usage: Usage::ZERO
            .with(Meter::Input, 100 + n)
            .with(Meter::CachedInput, 10 + n % 13)
            .with(Meter::Output, 50 + n % 17)
            .with(Meter::Reasoning, 3),
        charge: vec![ChargeLine {
            meter: Meter::Input,
            units: 100 + n,
            price: PricePerMillion(250_000_000),
            price_row: Some(PriceId::from_u128(5)),
            tenant_price: false,
            source: "operator".to_owned(),
        }],
        basis: SettlementBasis::Provider,
        outcome: match n % 6 {
            0 => RequestOutcome::Error(ErrorKind::UpstreamError),
            1 => RequestOutcome::ClientClosed,
            _ => RequestOutcome::Ok,
        },
        status: 200,
        attempts: vec![Attempt {
            provider: "provider-1".to_owned(),
            model: "gpt-5-mini".to_owned(),
            credential: None,
            outcome: AttemptOutcome::Ok,
            status: Some(200),
            started_at: admitted_at,
            first_byte_ms: 12,
            duration_ms: 34,
            bill: None,
        }],
        duration_ms: 40,
        first_byte_ms: Some(13),
        overhead_us: 250,
        policy_revision: 9,
    }
}

pub(crate) fn events(n: u64, tenant: u128) -> Vec<UsageEvent> {
    (0..n).map(|index| event(index, tenant)).collect()
}

pub(crate) fn cost_of<'e>(events: impl IntoIterator<Item = &'e UsageEvent>) -> NanoUsd {
    NanoUsd(events.into_iter().map(|event| event.cost.0).sum())
}
