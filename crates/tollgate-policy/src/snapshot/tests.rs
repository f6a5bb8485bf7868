//! Tests of [`super`]: one valid set of policy objects with everything in it, and what each change to it does.

use std::sync::Arc;

use tollgate_catalog::{ANY_MODEL, Catalog, PriceRow, ServiceTier};
use tollgate_domain::{
    ApiKeySecret, BudgetId, BudgetWindow, CredentialId, KeyId, KeyPepper, Labels, Meter, ModelId, NanoUsd,
    PriceId, PricePerMillion, ProjectId, ProviderId, Secret, Surface, TenantId, TimeZoneName, UnixMillis,
};

use super::{Snapshot, SnapshotError};
use crate::*;

mod authenticate;
mod compile;
mod invalid;
mod mutations;
mod plan;
mod prices;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const CATALOG: &str = r#"[
  { "name": "openai", "dialect": "openai", "base_url": "https://api.openai.com/v1",
    "models": [
      { "name": "gpt-5-mini", "aliases": ["gpt-5-mini-2025"], "surfaces": ["chat"], "context_tokens": 400000,
        "max_output_tokens": 128000, "prices": { "input": "0.25", "output": "2.00" },
        "source": "https://openai.com/api/pricing/", "as_of": "2026-11-22" },
      { "name": "text-embedding", "surfaces": ["embeddings"], "context_tokens": 0,
        "prices": { "input": "0.02" }, "source": "https://openai.com/api/pricing/", "as_of": "2026-11-22" }
    ] }
]"#;

const TENANT: TenantId = TenantId::from_u128(1);
const PROJECT: ProjectId = ProjectId::from_u128(2);
const KEY: KeyId = KeyId::from_u128(3);
const PRIMARY: ProviderId = ProviderId::from_u128(11);
const BACKUP: ProviderId = ProviderId::from_u128(12);
const LOCAL: ProviderId = ProviderId::from_u128(13);
const CHAT: ModelId = ModelId::from_u128(21);
const CHEAP: ModelId = ModelId::from_u128(22);
const SECRET: &str = "sk-the-key-of-acme-prod";

fn catalog() -> Catalog {
    Catalog::from_json(CATALOG).unwrap()
}

fn pepper() -> KeyPepper {
    KeyPepper::new([9; 32])
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn per_minute(requests: u64) -> RateLimits {
    RateLimits { requests_per_minute: Some(requests), ..RateLimits::default() }
}

fn provider(id: ProviderId, name: &str) -> ProviderPolicy {
    ProviderPolicy {
        id,
        name: name.to_owned(),
        dialect: Dialect::Openai,
        base_url: format!("http://{name}.test/v1"),
        credentials: vec![CredentialPolicy {
            id: CredentialId::from_u128(id.as_uuid().as_u128() + 100),
            name: "main".to_owned(),
            secret: Secret::new("vendor-secret"),
            weight: 1,
        }],
        region: None,
        retention: None,
        trains_on_data: None,
        max_concurrent_requests: None,
        responses: None,
    }
}

fn target(provider: ProviderId, model: &str, priority: u32) -> Target {
    Target { provider, model: model.to_owned(), priority }
}

fn model(id: ModelId, name: &str, targets: Vec<Target>, fallbacks: &[&str]) -> ModelPolicy {
    ModelPolicy {
        id,
        name: name.to_owned(),
        strategy: Strategy::Priority,
        targets,
        fallbacks: fallbacks.iter().map(|name| (*name).to_owned()).collect(),
        retry: RetryPolicy::default(),
        timeouts: Timeouts::default(),
        hold_slice_tokens: None,
        drop_unsupported: false,
    }
}

fn price(id: u128, provider: &str, model: &str, meter: Option<Meter>, per_million: &str) -> PriceRow {
    PriceRow {
        id: Some(PriceId::from_u128(id)),
        tenant: None,
        provider: provider.to_owned(),
        model: model.to_owned(),
        effective_from: UnixMillis(0),
        meter,
        service_tier: ServiceTier::Standard,
        context_from: 0,
        price: PricePerMillion::parse(per_million).unwrap(),
        source: "operator".to_owned(),
    }
}

fn budget(id: u128, owner: BudgetOwner, limit: i32) -> BudgetPolicy {
    BudgetPolicy {
        id: BudgetId::from_u128(id),
        owner,
        window: BudgetWindow::Month,
        limit: NanoUsd::from_usd(limit),
        increases: Vec::new(),
    }
}

fn tenant() -> TenantPolicy {
    TenantPolicy {
        id: TENANT,
        name: "acme".to_owned(),
        billing: Billing::Prepaid,
        time_zone: TimeZoneName::utc(),
        blocked: false,
        limits: per_minute(1_000),
        rules: OwnerRules::default(),
        data_policy: DataPolicy::OPEN,
    }
}

fn project() -> ProjectPolicy {
    ProjectPolicy {
        id: PROJECT,
        tenant: TENANT,
        name: "support-bot".to_owned(),
        labels: labels(&[("department", "support"), ("feature", "chat")]),
        limits: RateLimits::default(),
        rules: OwnerRules::default(),
    }
}

fn key() -> KeyPolicy {
    KeyPolicy {
        id: KEY,
        project: PROJECT,
        name: "prod".to_owned(),
        hash: ApiKeySecret::parse(SECRET).unwrap().hash(&pepper()),
        previous_hash: None,
        models: Vec::new(),
        limits: per_minute(60),
        rules: OwnerRules::default(),
        expires_at: None,
        state: KeyState::Active,
        labels: labels(&[("feature", "answers")]),
    }
}

fn settings() -> Settings {
    Settings {
        key_pepper: pepper(),
        default_models: vec![(Surface::Chat, "chat-default".to_owned())],
        hold_slice_tokens: None,
    }
}

/// One of everything, all of it valid.
fn full_objects() -> Vec<PolicyObject> {
    let local = ProviderPolicy { credentials: Vec::new(), ..provider(LOCAL, "local") };
    let chat_targets = vec![target(BACKUP, "claude/haiku:4", 5), target(PRIMARY, "gpt-5-mini", 0)];
    let cheap_targets = vec![target(LOCAL, "llama", 0), target(PRIMARY, "gpt-5-mini", 1)];
    vec![
        PolicyObject::Settings(settings()),
        PolicyObject::Provider(provider(PRIMARY, "openai")),
        PolicyObject::Provider(provider(BACKUP, "backup")),
        PolicyObject::Provider(local),
        PolicyObject::Price(price(31, "backup", "claude/haiku:4", Some(Meter::Input), "1.00")),
        PolicyObject::Price(price(32, "local", ANY_MODEL, None, "0")),
        PolicyObject::Price(price(33, "openai", "gpt-5-mini", Some(Meter::Input), "0.50")),
        PolicyObject::Model(model(CHAT, "chat-default", chat_targets, &["chat-cheap"])),
        PolicyObject::Model(model(CHEAP, "chat-cheap", cheap_targets, &[])),
        PolicyObject::Tenant(tenant()),
        PolicyObject::Project(project()),
        PolicyObject::Key(key()),
        PolicyObject::Budget(budget(41, BudgetOwner::Tenant(TENANT), 500)),
        PolicyObject::Budget(budget(42, BudgetOwner::Project(PROJECT), 100)),
        PolicyObject::Budget(budget(43, BudgetOwner::Key(KEY), 10)),
    ]
}

/// The full set with some objects put over it.
fn full_set_with(changed: impl IntoIterator<Item = PolicyObject>) -> PolicySet {
    let mut set: PolicySet = full_objects().into_iter().collect();
    for object in changed {
        set.apply(PolicyChange::Put(object));
    }
    set
}

fn snapshot_with(changed: impl IntoIterator<Item = PolicyObject>) -> Snapshot {
    Snapshot::compile(&full_set_with(changed), 7, &catalog()).unwrap()
}

fn context(snapshot: &Snapshot) -> Arc<KeyContext> {
    Arc::clone(snapshot.authenticate(SECRET, NOW).unwrap())
}

/// The candidates of a plan as `provider/model`.
fn candidates(plan: &RoutePlan) -> Vec<String> {
    plan.candidates
        .iter()
        .map(|candidate| format!("{}/{}", candidate.provider.name, candidate.model))
        .collect()
}
