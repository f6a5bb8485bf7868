//! What the request path asks a snapshot: whose key among 100,000, and where a model leads.

use tollgate_catalog::Catalog;
use tollgate_domain::{
    ApiKeySecret, KeyId, KeyPepper, Labels, ModelId, ProjectId, ProviderId, TenantId, TimeZoneName,
    UnixMillis,
};
use tollgate_policy::{
    Billing, DataPolicy, Dialect, KeyPolicy, KeyState, ModelPolicy, OwnerRules, PolicyObject, PolicySet,
    ProjectPolicy, ProviderPolicy, RateLimits, RetryPolicy, Settings, Snapshot, Strategy, Target,
    TenantPolicy, Timeouts,
};

const N_KEYS: u128 = 100_000;
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn main() {
    divan::main();
}

/// The text of key `number`, with a checksum as every generated key has.
fn key_text(number: u128) -> ApiKeySecret {
    // A key's letters are picked modulo 62: its digits in that base keep two numbers apart.
    let digit = |index: usize| u8::try_from(number / 62_u128.pow(index as u32 % 8) % 62).unwrap_or(0);
    ApiKeySecret::generate(&std::array::from_fn(digit))
}

fn objects_above_the_keys() -> Vec<PolicyObject> {
    let provider = ProviderPolicy {
        id: ProviderId::from_u128(1),
        name: "demo".to_owned(),
        dialect: Dialect::Demo,
        base_url: String::new(),
        credentials: Vec::new(),
        region: None,
        retention: None,
        trains_on_data: None,
        max_concurrent_requests: None,
        responses: None,
    };
    let model = ModelPolicy {
        id: ModelId::from_u128(1),
        name: "chat-default".to_owned(),
        strategy: Strategy::Priority,
        targets: vec![Target { provider: provider.id, model: "demo-chat".to_owned(), priority: 0 }],
        fallbacks: Vec::new(),
        retry: RetryPolicy::default(),
        timeouts: Timeouts::default(),
        hold_slice_tokens: None,
        drop_unsupported: false,
    };
    let tenant = TenantPolicy {
        id: TenantId::from_u128(1),
        name: "acme".to_owned(),
        billing: Billing::Prepaid,
        time_zone: TimeZoneName::utc(),
        blocked: false,
        limits: RateLimits::default(),
        rules: OwnerRules::default(),
        data_policy: DataPolicy::OPEN,
    };
    let project = ProjectPolicy {
        id: ProjectId::from_u128(1),
        tenant: tenant.id,
        name: "bot".to_owned(),
        labels: Labels::new(),
        limits: RateLimits::default(),
        rules: OwnerRules::default(),
    };
    vec![
        PolicyObject::Settings(Settings {
            key_pepper: KeyPepper::new([3; 32]),
            default_models: Vec::new(),
            hold_slice_tokens: None,
        }),
        PolicyObject::Provider(provider),
        PolicyObject::Model(model),
        PolicyObject::Tenant(tenant),
        PolicyObject::Project(project),
    ]
}

fn set(n_keys: u128) -> PolicySet {
    let pepper = KeyPepper::new([3; 32]);
    let key = |number| {
        PolicyObject::Key(KeyPolicy {
            id: KeyId::from_u128(number),
            project: ProjectId::from_u128(1),
            name: format!("key-{number}"),
            hash: key_text(number).hash(&pepper),
            previous_hash: None,
            models: Vec::new(),
            limits: RateLimits::default(),
            rules: OwnerRules::default(),
            expires_at: None,
            state: KeyState::Active,
            labels: Labels::new(),
        })
    };
    objects_above_the_keys().into_iter().chain((0..n_keys).map(key)).collect()
}

fn snapshot(n_keys: u128) -> Snapshot {
    let catalog = Catalog::embedded().expect("the embedded catalogue is valid");
    Snapshot::compile(&set(n_keys), 1, &catalog).expect("the set is valid")
}

#[divan::bench]
fn authenticate_among_100_000_keys(bencher: divan::Bencher<'_, '_>) {
    let snapshot = snapshot(N_KEYS);
    let texts: Vec<_> = (0..1_000).map(|number| key_text(number * 97)).collect();
    let mut next = 0;
    bencher.bench_local(|| {
        next = (next + 1) % texts.len();
        snapshot.authenticate(divan::black_box(texts[next].expose()), NOW).is_ok()
    });
}

#[divan::bench]
fn refuse_an_unknown_key(bencher: divan::Bencher<'_, '_>) {
    let snapshot = snapshot(N_KEYS);
    let stranger = key_text(N_KEYS + 1);
    bencher.bench(|| snapshot.authenticate(divan::black_box(stranger.expose()), NOW).is_err());
}

#[divan::bench(args = ["chat-default", "demo/demo-chat", "demo-chat", "demo/not/listed"])]
fn plan(bencher: divan::Bencher<'_, '_>, requested: &str) {
    let snapshot = snapshot(1);
    let text = key_text(0);
    let context = snapshot.authenticate(text.expose(), NOW).expect("the key is known");
    bencher.bench(|| snapshot.plan(context, divan::black_box(requested)));
}

#[divan::bench(args = [1_000, 100_000], sample_count = 10)]
fn compile(bencher: divan::Bencher<'_, '_>, n_keys: u128) {
    let catalog = Catalog::embedded().expect("the embedded catalogue is valid");
    let set = set(n_keys);
    bencher.bench(|| Snapshot::compile(&set, 1, &catalog));
}
