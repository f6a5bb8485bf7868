//! Round trips of every kind of object, and what mutated bytes may do.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use tollgate_catalog::{PriceRow, ServiceTier};
use tollgate_domain::{
    BasisPoints, BudgetWindow, Id, KeyHash, KeyPepper, MAX_LIMIT, Meter, NanoUsd, PricePerMillion, Secret,
    Surface, TimeZoneName, UnixMillis,
};
use tollgate_policy::{
    Billing, BudgetIncrease, BudgetOwner, BudgetPolicy, CredentialPolicy, DataPolicy, Dialect, EndUserBudget,
    EndUserCounter, EndUserRules, KeyPolicy, KeyState, MAX_HOLD_SLICE_TOKENS, MIN_HOLD_SLICE_TOKENS,
    MarginRule, ModelLimit, ModelPolicy, ObjectRef, OwnerRules, PolicyChange, PolicyObject, PolicySet,
    ProjectPolicy, ProviderPolicy, RateLimits, ResponsesMode, Retention, RetryOn, RetryPolicy, Settings,
    Strategy as TargetStrategy, Target, TenantPolicy, Timeouts,
};

use crate::{MAX_CHUNK_BYTES, SnapshotAssembler, snapshot_chunks, v1};

fn id<T: std::fmt::Debug + 'static>() -> impl Strategy<Value = Id<T>> {
    (1..u128::MAX).prop_map(Id::from_u128)
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9][a-zA-Z0-9._-]{0,20}"
}

fn names() -> impl Strategy<Value = Vec<String>> {
    vec("[a-z*/]{1,9}", 0..3)
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map("[a-z]{1,5}", "\\PC{0,5}", 0..3)
}

fn limits() -> impl Strategy<Value = RateLimits> {
    (option::of(1..u64::MAX), option::of(1..u64::MAX), option::of(1..u64::MAX)).prop_map(
        |(requests_per_minute, tokens_per_minute, concurrent_requests)| RateLimits {
            requests_per_minute,
            tokens_per_minute,
            concurrent_requests,
        },
    )
}

fn rules() -> impl Strategy<Value = OwnerRules> {
    let windows = prop::sample::select(BudgetWindow::ALL.to_vec());
    let budget = (id(), windows, 0..=MAX_LIMIT.0).prop_map(|(id, window, limit)| EndUserBudget {
        id,
        window,
        limit: NanoUsd(limit),
    });
    let end_users = (any::<bool>(), limits(), vec(budget, 0..3))
        .prop_map(|(required, limits, budgets)| EndUserRules { required, limits, budgets });
    let model = ("[a-z*/]{1,9}", limits()).prop_map(|(model, limits)| ModelLimit { model, limits });
    (end_users, vec(model, 0..3)).prop_map(|(end_users, model_limits)| OwnerRules { end_users, model_limits })
}

fn settings() -> impl Strategy<Value = PolicyObject> {
    let surface = prop::sample::select(Surface::ALL.to_vec());
    (any::<[u8; 32]>(), vec((surface, name()), 0..3), slice()).prop_map(
        |(pepper, default_models, hold_slice_tokens)| {
            PolicyObject::Settings(Settings {
                key_pepper: KeyPepper::new(pepper),
                default_models,
                hold_slice_tokens,
            })
        },
    )
}

fn provider() -> impl Strategy<Value = PolicyObject> {
    let credential = (id(), name(), "[!-~]{1,40}", 1..u32::MAX).prop_map(|(id, name, secret, weight)| {
        CredentialPolicy { id, name, secret: Secret::new(secret), weight }
    });
    let mode = prop::sample::select(ResponsesMode::ALL.to_vec());
    let facts = (
        option::of(name()),
        option::of(any::<u32>()),
        option::of(any::<bool>()),
        option::of(1..u32::MAX),
        option::of(mode),
    );
    (id(), name(), any::<bool>(), vec(credential, 0..3), facts).prop_map(
        |(id, name, is_demo, credentials, facts)| {
            PolicyObject::Provider(ProviderPolicy {
                id,
                name,
                dialect: if is_demo { Dialect::Demo } else { Dialect::Openai },
                base_url: if is_demo { String::new() } else { "https://api.example.com/v1".into() },
                credentials,
                region: facts.0,
                retention: facts.1.map(Retention),
                trains_on_data: facts.2,
                max_concurrent_requests: facts.3,
                responses: facts.4,
            })
        },
    )
}

fn price() -> impl Strategy<Value = PolicyObject> {
    let tiers = vec![ServiceTier::Standard, ServiceTier::Flex, ServiceTier::Priority, ServiceTier::Batch];
    let what = (option::of(prop::sample::select(Meter::ALL.to_vec())), prop::sample::select(tiers));
    (id(), option::of(id()), name(), any::<i64>(), what, any::<u64>(), 0..i64::MAX).prop_map(
        |(id, tenant, provider, from, (meter, service_tier), context_from, price)| {
            PolicyObject::Price(PriceRow {
                id: Some(id),
                tenant,
                provider,
                model: "*".into(),
                effective_from: UnixMillis(from),
                meter,
                service_tier,
                context_from,
                price: PricePerMillion(price),
                source: "operator".into(),
            })
        },
    )
}

fn margin() -> impl Strategy<Value = PolicyObject> {
    let scope = (option::of(id()), option::of(name()), option::of(name()));
    (id(), scope, -10_000..=1_000_000_i32, any::<i64>()).prop_map(
        |(id, (tenant, provider, model), basis_points, from)| {
            PolicyObject::Margin(MarginRule {
                id,
                tenant,
                provider,
                model,
                basis_points: BasisPoints::new(basis_points).unwrap(),
                effective_from: UnixMillis(from),
            })
        },
    )
}

fn slice() -> impl Strategy<Value = Option<u32>> {
    prop::option::of(prop_oneof![Just(0), MIN_HOLD_SLICE_TOKENS..=MAX_HOLD_SLICE_TOKENS])
}

fn model() -> impl Strategy<Value = PolicyObject> {
    let target = (id(), name(), any::<u32>()).prop_map(|(provider, model, priority)| Target {
        provider,
        model,
        priority,
    });
    let retry = (1..u32::MAX, any::<u64>(), vec(prop::sample::select(RetryOn::ALL.to_vec()), 0..4))
        .prop_map(|(max_attempts, backoff_ms, on)| RetryPolicy { max_attempts, backoff_ms, on });
    let timeouts = (1..u64::MAX, 1..u64::MAX, 1..u64::MAX, 1..u64::MAX).prop_map(
        |(connect_ms, first_byte_ms, idle_ms, total_ms)| Timeouts {
            connect_ms,
            first_byte_ms,
            idle_ms,
            total_ms,
        },
    );
    (id(), name(), vec(target, 1..4), names(), retry, timeouts, slice(), any::<bool>()).prop_map(
        |(id, name, targets, fallbacks, retry, timeouts, hold_slice_tokens, drop_unsupported)| {
            let strategy = TargetStrategy::Priority;
            PolicyObject::Model(ModelPolicy {
                id,
                name,
                strategy,
                targets,
                fallbacks,
                retry,
                timeouts,
                hold_slice_tokens,
                drop_unsupported,
            })
        },
    )
}

fn tenant() -> impl Strategy<Value = PolicyObject> {
    let zone = prop::sample::select(vec!["UTC", "Europe/Berlin", "Asia/Kathmandu"]);
    let data_policy =
        (names(), names(), any::<bool>()).prop_map(|(regions, providers, require_zero_retention)| {
            DataPolicy { regions, providers, require_zero_retention }
        });
    (id(), name(), any::<(bool, bool)>(), zone, limits(), data_policy, rules()).prop_map(
        |(id, name, (prepaid, blocked), zone, limits, data_policy, rules)| {
            PolicyObject::Tenant(TenantPolicy {
                id,
                name,
                billing: if prepaid { Billing::Prepaid } else { Billing::Postpaid },
                time_zone: TimeZoneName::parse(zone).unwrap(),
                blocked,
                limits,
                data_policy,
                rules,
            })
        },
    )
}

fn project() -> impl Strategy<Value = PolicyObject> {
    (id(), id(), name(), labels(), limits(), rules()).prop_map(|(id, tenant, name, labels, limits, rules)| {
        PolicyObject::Project(ProjectPolicy { id, tenant, name, labels, limits, rules })
    })
}

fn key() -> impl Strategy<Value = PolicyObject> {
    let states = vec![KeyState::Active, KeyState::Blocked, KeyState::Revoked];
    let hashes = (any::<[u8; 32]>(), option::of((any::<[u8; 32]>(), any::<i64>())));
    let rest = (option::of(any::<i64>()), prop::sample::select(states), labels());
    (id(), id(), name(), hashes, names(), (limits(), rules()), rest).prop_map(
        |(id, project, name, (hash, previous), models, (limits, rules), (expires_at, state, labels))| {
            PolicyObject::Key(KeyPolicy {
                id,
                project,
                name,
                hash: KeyHash(hash),
                previous_hash: previous.map(|(hash, until)| (KeyHash(hash), UnixMillis(until))),
                models,
                limits,
                rules,
                expires_at: expires_at.map(UnixMillis),
                state,
                labels,
            })
        },
    )
}

fn budget() -> impl Strategy<Value = PolicyObject> {
    let owner = prop_oneof![
        id().prop_map(BudgetOwner::Tenant),
        id().prop_map(BudgetOwner::Project),
        id().prop_map(BudgetOwner::Key),
    ];
    let increase = (1..=MAX_LIMIT.0, any::<i64>())
        .prop_map(|(amount, until)| BudgetIncrease { amount: NanoUsd(amount), until: UnixMillis(until) });
    let windows = prop::sample::select(BudgetWindow::ALL.to_vec());
    (id(), owner, windows, 0..=MAX_LIMIT.0, vec(increase, 0..3)).prop_map(
        |(id, owner, window, limit, increases)| {
            PolicyObject::Budget(BudgetPolicy { id, owner, window, limit: NanoUsd(limit), increases })
        },
    )
}

fn object() -> impl Strategy<Value = PolicyObject> {
    prop_oneof![settings(), provider(), price(), margin(), model(), tenant(), project(), key(), budget()]
}

proptest! {
    #[test]
    fn counters_of_end_users_survive_the_wire(rule in id(), key in id(), user in "\\PC{1,40}") {
        let owner = BudgetOwner::Key(key);
        let counter = EndUserCounter { rule, owner, window: BudgetWindow::Month, user };
        let bytes = v1::EndUserCounter::from(&counter).encode_to_vec();
        let message = v1::EndUserCounter::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(EndUserCounter::try_from(message), Ok(counter));
    }

    #[test]
    fn every_object_survives_the_wire(object in object()) {
        let bytes = v1::PolicyObject::from(&object).encode_to_vec();
        let message = v1::PolicyObject::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(PolicyObject::try_from(message), Ok(object));
    }

    #[test]
    fn every_change_survives_the_wire(object in object(), is_put in any::<bool>()) {
        let change = if is_put { PolicyChange::Put(object) } else { PolicyChange::Delete(object.reference()) };
        let bytes = v1::PolicyChange::from(&change).encode_to_vec();
        let message = v1::PolicyChange::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(PolicyChange::try_from(message), Ok(change));
    }

    #[test]
    fn mutated_bytes_are_refused_or_read_but_never_panic(
        object in object(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = v1::PolicyChange::from(&PolicyChange::Put(object)).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let read = |bytes: &[u8]| {
            v1::PolicyChange::decode(bytes).ok().map(|message| PolicyChange::try_from(message).map_err(|e| e.to_string()))
        };
        let whole = read(&bytes);
        prop_assert!(!matches!(whole, Some(Err(reason)) if reason.is_empty()));
        read(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn chunks_make_the_same_set_again(objects in vec(object(), 0..20), revision in any::<u64>()) {
        let set: PolicySet = objects.into_iter().collect();
        let mut assembler = SnapshotAssembler::default();
        let mut result = None;
        for chunk in snapshot_chunks(revision, set.iter()) {
            prop_assert!(result.is_none());
            result = assembler.push(chunk).unwrap();
        }
        prop_assert_eq!(result, Some((revision, set)));
    }
}

fn sample_key(number: u128) -> PolicyObject {
    PolicyObject::Key(KeyPolicy {
        id: Id::from_u128(number),
        project: Id::from_u128(1),
        name: format!("key-{number}"),
        hash: KeyHash([7; 32]),
        previous_hash: None,
        models: Vec::new(),
        limits: RateLimits::default(),
        rules: OwnerRules::default(),
        expires_at: None,
        state: KeyState::Active,
        labels: BTreeMap::new(),
    })
}

#[test]
fn large_sets_are_cut_and_chunks_out_of_order_refused() {
    let set: PolicySet = (1..=20_000).map(sample_key).collect();
    let chunks = snapshot_chunks(3, set.iter());
    assert!(chunks.len() > 2);
    assert!(chunks.iter().all(|chunk| chunk.encoded_len() < 2 * MAX_CHUNK_BYTES));
    let mut assembler = SnapshotAssembler::default();
    assert!(assembler.push(chunks[1].clone()).is_err());
    assert_eq!(assembler.push(chunks[0].clone()), Ok(None));
    let other = v1::SnapshotChunk { revision: 4, ..chunks[1].clone() };
    assert!(assembler.push(other).unwrap_err().to_string().contains("another revision"));
    assert!(assembler.push(chunks[1].clone()).is_err(), "a refused snapshot must start anew");
}

#[test]
fn bad_fields_are_named() {
    let blank = |change: fn(&mut v1::Key)| {
        let PolicyObject::Key(_) = sample_key(5) else { unreachable!("a key") };
        let v1::PolicyObject { object: Some(v1::policy_object::Object::Key(mut key)) } =
            v1::PolicyObject::from(&sample_key(5))
        else {
            unreachable!("a key")
        };
        change(&mut key);
        let object = Some(v1::policy_object::Object::Key(key));
        PolicyObject::try_from(v1::PolicyObject { object }).unwrap_err().to_string()
    };
    assert_eq!(blank(|key| key.name = " ".into()), "key ` `: name is blank");
    assert_eq!(blank(|key| key.state = 9), "key `key-5`: state has the unknown value 9");
    assert_eq!(blank(|key| key.state = 0), "key `key-5`: state has the unknown value 0");
    assert_eq!(blank(|key| key.id = vec![0; 16]), "key `key-5`: id is zero");
    assert_eq!(blank(|key| key.hash = vec![0; 31]), "key `key-5`: hash is not 32 bytes");
    assert_eq!(blank(|key| key.limits = None), "key `key-5`: limits is missing");
    let nothing = v1::PolicyObject { object: None };
    assert!(PolicyObject::try_from(nothing).is_err());
    let reference = v1::ObjectRef { kind: 7, id: vec![0; 16] };
    assert!(ObjectRef::try_from(reference).is_err());
}

#[test]
fn secrets_are_not_printed() {
    let canary = "sk-canary-0123456789";
    let provider = PolicyObject::Provider(ProviderPolicy {
        id: Id::from_u128(2),
        name: "openai".into(),
        dialect: Dialect::Openai,
        base_url: "https://api.example.com".into(),
        credentials: vec![CredentialPolicy {
            id: Id::from_u128(3),
            name: "main".into(),
            secret: Secret::new(canary),
            weight: 1,
        }],
        region: None,
        retention: None,
        trains_on_data: None,
        max_concurrent_requests: None,
        responses: None,
    });
    let settings = PolicyObject::Settings(Settings {
        key_pepper: KeyPepper::new([201; 32]),
        default_models: Vec::new(),
        hold_slice_tokens: None,
    });
    let chunk = &snapshot_chunks(1, [&provider, &settings, &sample_key(4)])[0];
    let printed = format!("{chunk:?}");
    assert!(printed.contains("openai") && printed.contains("key-4"));
    assert!(!printed.contains(canary) && !printed.contains("201, 201") && !printed.contains("7, 7, 7"));
}
