//! A pod with one tenant, one key and one or two mock providers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tollgate_catalog::{Catalog, PriceRow, ServiceTier};
use tollgate_domain::{
    ApiKeySecret, BudgetId, BudgetWindow, KeyId, KeyPepper, Labels, ManualClock, Meter, ModelId, NanoUsd,
    NodeId, PriceId, PricePerMillion, ProjectId, ProviderId, Surface, TenantId, TimeZoneName, UnixMillis,
    UsageEvent,
};
use tollgate_gateway::{Gateway, GatewayConfig, GatewayParts, PolicyState, Seeder, serve};
use tollgate_ledger::{Ledger, Seed};
use tollgate_policy::{
    Billing, BudgetIncrease, BudgetOwner, BudgetPolicy, DataPolicy, Dialect, KeyPolicy, KeyState,
    ModelPolicy, OwnerRules, PolicyObject, PolicySet, ProjectPolicy, ProviderPolicy, RateLimits,
    ResponsesMode, Retention, RetryPolicy, Settings, Strategy, Target, TenantPolicy, Timeouts,
};
use tollgate_telemetry::{Metrics, RequestTracer};
use tollgate_testkit::http::HttpClient;
use tollgate_testkit::mock_provider::MockProvider;
use tollgate_testkit::wait::eventually;
use tollgate_upstream::{UpstreamClient, UpstreamConfig};

pub(crate) const KEY: &str = "sk-test-0123456789abcdef";
/// Nano-USD per prompt and per answer token at the mock.
pub(crate) const INPUT_PRICE: i64 = 1_000;
pub(crate) const OUTPUT_PRICE: i64 = 2_000;
pub(crate) const NOW: UnixMillis = UnixMillis(1_767_225_600_000);

pub(crate) const TENANT: TenantId = TenantId::from_u128(1);
/// A key of another tenant, for what must not be seen.
pub(crate) const OTHER_KEY: &str = "sk-other-0123456789abcdef";
const OTHER: TenantId = TenantId::from_u128(11);
const PROJECT: ProjectId = ProjectId::from_u128(2);
pub(crate) const KEY_ID: KeyId = KeyId::from_u128(3);
pub(crate) const BUDGET: BudgetId = BudgetId::from_u128(4);

/// What a pod is started with.
pub(crate) struct Setup {
    pub(crate) budget: Option<NanoUsd>,
    pub(crate) credit: Option<NanoUsd>,
    pub(crate) limits: RateLimits,
    pub(crate) rules: OwnerRules,
    pub(crate) increases: Vec<BudgetIncrease>,
    pub(crate) models: Vec<String>,
    pub(crate) retry: RetryPolicy,
    pub(crate) timeouts: Timeouts,
    pub(crate) config: GatewayConfig,
    pub(crate) prices: Vec<(Option<Meter>, i64)>,
    /// Of what is passed through.
    pub(crate) passthrough: Vec<(Option<Meter>, i64)>,
    pub(crate) data_policy: DataPolicy,
    pub(crate) hold_slice_tokens: Option<u32>,
    /// Of every virtual model.
    pub(crate) drop_unsupported: bool,
    /// What the first provider speaks.
    pub(crate) dialect: Dialect,
    /// The first provider's credential, where it is not a plain text.
    pub(crate) credential: Option<String>,
    /// Where the first provider's data goes.
    pub(crate) region: Option<String>,
    /// How the first provider is asked for Responses.
    pub(crate) responses: Option<ResponsesMode>,
    /// Instead of the built-in catalogue.
    pub(crate) catalog: Option<Catalog>,
    /// The model's name at both providers.
    pub(crate) model: String,
    /// Instead of one in this process.
    pub(crate) ledger: Option<Ledger>,
    /// How far the pod's clock is ahead of the ledger's.
    pub(crate) clock_lead_ms: i64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            budget: Some(NanoUsd::from_usd(1_000)),
            credit: None,
            limits: RateLimits::default(),
            rules: OwnerRules::default(),
            increases: Vec::new(),
            models: Vec::new(),
            retry: RetryPolicy { backoff_ms: 1, ..RetryPolicy::default() },
            timeouts: Timeouts { first_byte_ms: 2_000, idle_ms: 2_000, ..Timeouts::default() },
            config: GatewayConfig { grace: Duration::from_secs(20), ..GatewayConfig::default() },
            prices: vec![
                (Some(Meter::Input), INPUT_PRICE * 1_000_000),
                (Some(Meter::Output), OUTPUT_PRICE * 1_000_000),
            ],
            passthrough: Vec::new(),
            data_policy: DataPolicy::OPEN,
            hold_slice_tokens: None,
            drop_unsupported: false,
            dialect: Dialect::Openai,
            credential: None,
            region: None,
            responses: None,
            catalog: None,
            model: "m".to_owned(),
            ledger: None,
            clock_lead_ms: 0,
        }
    }
}

/// A pod in this process, with its first and second provider.
pub(crate) struct Pod {
    pub(crate) url: String,
    pub(crate) http: HttpClient,
    pub(crate) mock: MockProvider,
    pub(crate) second: MockProvider,
    pub(crate) gateway: Gateway,
    pub(crate) metrics: Metrics,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) stop: CancellationToken,
    pub(crate) server: tokio::task::JoinHandle<()>,
}

impl Pod {
    pub(crate) async fn start(setup: Setup) -> Self {
        let mock = MockProvider::start().await.unwrap();
        let second = MockProvider::start().await.unwrap();
        let clock = Arc::new(ManualClock::new(NOW));
        let ledger = setup.ledger.clone().unwrap_or_else(|| Ledger::memory(clock.clone()));
        let clock_of_the_pod = match setup.clock_lead_ms {
            0 => Arc::clone(&clock),
            lead => Arc::new(ManualClock::new(NOW.plus_ms(lead))),
        };
        seed(&ledger, &setup).await;
        let metrics = Metrics::new();
        let catalog = setup.catalog.clone().unwrap_or_else(|| Catalog::embedded().unwrap());
        let policy = PolicyState::new(Arc::new(catalog), metrics.clone());
        policy.offer(&policy_set(&setup, &mock, &second), 1).unwrap();
        let gateway = Gateway::start(GatewayParts {
            config: setup.config,
            clock: clock_of_the_pod,
            node: NodeId::from_u128(9),
            policy,
            ledger: ledger.clone(),
            seeder: Seeder::new(|_, _| Box::pin(async { Err("nobody seeds here".to_owned()) })),
            upstream: UpstreamClient::new(&UpstreamConfig::default()).unwrap(),
            metrics: metrics.clone(),
            tracer: RequestTracer::disabled(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(gateway.clone(), listener, stop.clone()));
        let http = HttpClient::new().with_bearer(KEY);
        Self { url, http, mock, second, gateway, metrics, ledger, clock, stop, server }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(crate) async fn chat(&self, body: &Value) -> tollgate_testkit::http::Answer {
        self.http.post_json(&self.url("/v1/chat/completions"), body).await.unwrap()
    }

    pub(crate) async fn stream(&self, body: &Value) -> tollgate_testkit::http::EventStream {
        self.http.post_stream(&self.url("/v1/chat/completions"), body).await.unwrap()
    }

    /// The next finished request, as the journal would get it.
    pub(crate) async fn next_event(&self) -> UsageEvent {
        let entries = eventually(Duration::from_secs(10), "a usage event", async || {
            let entries = self.ledger.outbox_read(1, 10).await.unwrap();
            (!entries.is_empty()).then_some(entries)
        })
        .await
        .unwrap();
        self.ledger.outbox_acknowledge(&[entries[0].handle.clone()]).await.unwrap();
        Arc::unwrap_or_clone(entries[0].event.clone().unwrap())
    }

    /// What is settled and held on the budget now.
    pub(crate) async fn spent_and_held(&self) -> (NanoUsd, NanoUsd) {
        let periods = TimeZoneName::utc().periods(BudgetWindow::Month, NOW).unwrap();
        let check = tollgate_ledger::BudgetCheck { budget: BUDGET, limit: NanoUsd::from_usd(1), periods };
        let balance = self.ledger.balances(TENANT, false, &[check]).await.unwrap().budgets[0];
        (balance.settled, balance.held)
    }

    pub(crate) async fn wait_until_nothing_is_held(&self) {
        eventually(Duration::from_secs(10), "every hold to be settled", async || {
            (self.gateway.open_holds() == 0).then_some(())
        })
        .await
        .unwrap();
        assert_eq!(self.spent_and_held().await.1, NanoUsd::ZERO);
    }
}

async fn seed(ledger: &Ledger, setup: &Setup) {
    let seed = Seed {
        tenant: TENANT,
        wallet_limit: setup.credit.unwrap_or(NanoUsd::ZERO),
        wallet_version: 1,
        wallet_settled: NanoUsd::ZERO,
        counters: vec![tollgate_ledger::SeedCounter {
            budget: BUDGET,
            period_starts_at: TimeZoneName::utc()
                .periods(BudgetWindow::Month, NOW)
                .unwrap()
                .current
                .starts_at,
            settled: NanoUsd::ZERO,
        }],
    };
    ledger.seed(&seed).await.unwrap();
    let nothing = Seed { tenant: OTHER, wallet_limit: NanoUsd::ZERO, counters: Vec::new(), ..seed };
    ledger.seed(&nothing).await.unwrap();
}

fn policy_set(setup: &Setup, mock: &MockProvider, second: &MockProvider) -> PolicySet {
    let pepper = KeyPepper::new([7; 32]);
    let mut objects = vec![
        PolicyObject::Settings(Settings {
            key_pepper: pepper.clone(),
            default_models: vec![(Surface::Chat, "both".to_owned())],
            hold_slice_tokens: setup.hold_slice_tokens,
        }),
        first_provider(setup, mock),
        PolicyObject::Provider(provider(2, "second", Dialect::Openai, second)),
        PolicyObject::Model(ModelPolicy {
            id: ModelId::from_u128(1),
            name: "both".to_owned(),
            strategy: Strategy::Priority,
            targets: [1, 2]
                .map(|n| Target {
                    provider: ProviderId::from_u128(n),
                    model: setup.model.clone(),
                    priority: 0,
                })
                .to_vec(),
            fallbacks: Vec::new(),
            retry: setup.retry.clone(),
            timeouts: setup.timeouts,
            hold_slice_tokens: None,
            drop_unsupported: setup.drop_unsupported,
        }),
        PolicyObject::Model(ModelPolicy {
            id: ModelId::from_u128(2),
            name: "one".to_owned(),
            strategy: Strategy::Priority,
            targets: vec![Target {
                provider: ProviderId::from_u128(1),
                model: setup.model.clone(),
                priority: 0,
            }],
            fallbacks: Vec::new(),
            retry: setup.retry.clone(),
            timeouts: setup.timeouts,
            hold_slice_tokens: None,
            drop_unsupported: setup.drop_unsupported,
        }),
    ];
    objects.extend(account(setup, &pepper));
    objects.extend(another_account(&pepper));
    objects.extend(setup.budget.map(|limit| {
        PolicyObject::Budget(BudgetPolicy {
            id: BUDGET,
            owner: BudgetOwner::Key(KEY_ID),
            window: BudgetWindow::Month,
            limit,
            increases: setup.increases.clone(),
        })
    }));
    let mut n = 0;
    for name in ["mock", "second"] {
        for (meter, price) in &setup.prices {
            n += 1;
            objects.push(price_row(n, (name, &setup.model), *meter, *price));
        }
        for (meter, price) in &setup.passthrough {
            n += 1;
            objects.push(price_row(n, (name, "passthrough"), *meter, *price));
        }
    }
    objects.into_iter().collect()
}

/// Another tenant, with a project and a key that may do everything.
fn another_account(pepper: &KeyPepper) -> [PolicyObject; 3] {
    let [tenant, project, key] = account(&Setup::default(), pepper);
    let (PolicyObject::Tenant(tenant), PolicyObject::Project(project), PolicyObject::Key(key)) =
        (tenant, project, key)
    else {
        unreachable!("an account has these in this order")
    };
    let (project_id, key_id) = (ProjectId::from_u128(12), KeyId::from_u128(13));
    let hash = ApiKeySecret::parse(OTHER_KEY).unwrap().hash(pepper);
    [
        PolicyObject::Tenant(TenantPolicy { id: OTHER, name: "other".to_owned(), ..tenant }),
        PolicyObject::Project(ProjectPolicy { id: project_id, tenant: OTHER, ..project }),
        PolicyObject::Key(KeyPolicy { id: key_id, project: project_id, hash, ..key }),
    ]
}

/// The tenant, its project and its key.
fn account(setup: &Setup, pepper: &KeyPepper) -> [PolicyObject; 3] {
    [
        PolicyObject::Tenant(TenantPolicy {
            id: TENANT,
            name: "acme".to_owned(),
            billing: if setup.credit.is_some() { Billing::Prepaid } else { Billing::Postpaid },
            time_zone: TimeZoneName::utc(),
            blocked: false,
            limits: RateLimits::default(),
            rules: OwnerRules::default(),
            data_policy: setup.data_policy.clone(),
        }),
        PolicyObject::Project(ProjectPolicy {
            id: PROJECT,
            tenant: TENANT,
            name: "bot".to_owned(),
            labels: Labels::from([("department".to_owned(), "support".to_owned())]),
            limits: RateLimits::default(),
            rules: OwnerRules::default(),
        }),
        PolicyObject::Key(KeyPolicy {
            id: KEY_ID,
            project: PROJECT,
            name: "prod".to_owned(),
            hash: ApiKeySecret::parse(KEY).unwrap().hash(pepper),
            previous_hash: None,
            models: setup.models.clone(),
            limits: setup.limits,
            rules: setup.rules.clone(),
            expires_at: None,
            state: KeyState::Active,
            labels: Labels::new(),
        }),
    ]
}

fn first_provider(setup: &Setup, mock: &MockProvider) -> PolicyObject {
    let mut provider = provider(1, "mock", setup.dialect, mock);
    provider.region.clone_from(&setup.region);
    provider.responses = setup.responses;
    if let Some(credential) = &setup.credential {
        provider.credentials[0].secret = tollgate_domain::Secret::new(credential.as_str());
    }
    PolicyObject::Provider(provider)
}

fn provider(n: u128, name: &str, dialect: Dialect, mock: &MockProvider) -> ProviderPolicy {
    let base_url = mock.base_url();
    let base_url = match dialect {
        Dialect::Openai => base_url,
        Dialect::Vertex => format!("{base_url}/projects/p/locations/l"),
        _ => base_url.trim_end_matches("/v1").to_owned(),
    };
    ProviderPolicy {
        id: ProviderId::from_u128(n),
        name: name.to_owned(),
        dialect,
        base_url,
        credentials: vec![tollgate_policy::CredentialPolicy {
            id: tollgate_domain::CredentialId::from_u128(n),
            name: "main".to_owned(),
            secret: tollgate_domain::Secret::new(format!("upstream-secret-{n}")),
            weight: 1,
        }],
        region: None,
        retention: Some(Retention(0)),
        trains_on_data: None,
        max_concurrent_requests: None,
        responses: None,
    }
}

fn price_row(n: u128, (provider, model): (&str, &str), meter: Option<Meter>, price: i64) -> PolicyObject {
    PolicyObject::Price(PriceRow {
        id: Some(PriceId::from_u128(n)),
        tenant: None,
        provider: provider.to_owned(),
        model: model.to_owned(),
        effective_from: UnixMillis(0),
        meter,
        service_tier: ServiceTier::Standard,
        context_from: 0,
        price: PricePerMillion(price),
        source: "operator".to_owned(),
    })
}

pub(crate) fn hello(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "hello there" }], "max_tokens": 100 })
}

pub(crate) fn streamed(model: &str) -> Value {
    let mut body = hello(model);
    body["stream"] = json!(true);
    body
}
