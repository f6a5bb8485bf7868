//! What is refused, and in which words.

use super::*;

fn error(set: &PolicySet) -> SnapshotError {
    Snapshot::compile(set, 1, &catalog()).expect_err("the set is not valid")
}

fn error_with(object: PolicyObject) -> SnapshotError {
    error(&full_set_with([object]))
}

fn invalid(kind: &'static str, id: &impl ToString, reason: &str) -> SnapshotError {
    SnapshotError::Invalid { kind, id: id.to_string(), reason: reason.to_owned() }
}

fn dangling(kind: &'static str, id: &impl ToString, target: String) -> SnapshotError {
    SnapshotError::Dangling { kind, id: id.to_string(), target }
}

#[test]
fn settings_are_required() {
    assert_eq!(error(&PolicySet::default()), SnapshotError::NoSettings);
}

#[test]
fn blank_names_are_refused() {
    let blank = || " \t".to_owned();
    let cases = [
        (PolicyObject::Tenant(TenantPolicy { name: blank(), ..tenant() }), "tenant", TENANT.to_string()),
        (PolicyObject::Project(ProjectPolicy { name: blank(), ..project() }), "project", PROJECT.to_string()),
        (PolicyObject::Key(KeyPolicy { name: blank(), ..key() }), "key", KEY.to_string()),
        (
            PolicyObject::Provider(ProviderPolicy { name: blank(), ..provider(BACKUP, "x") }),
            "provider",
            BACKUP.to_string(),
        ),
        (
            PolicyObject::Model(model(CHEAP, " ", vec![target(LOCAL, "llama", 0)], &[])),
            "model",
            CHEAP.to_string(),
        ),
    ];
    for (object, kind, id) in cases {
        assert_eq!(error_with(object), SnapshotError::Blank { kind, id, field: "name" });
    }
}

#[test]
fn references_to_nothing_are_refused() {
    let nobody = TenantId::from_u128(99);
    let no_project = ProjectId::from_u128(99);
    let no_key = KeyId::from_u128(99);
    let no_provider = ProviderId::from_u128(99);
    let chat =
        |targets, fallbacks: &[&str]| PolicyObject::Model(model(CHAT, "chat-default", targets, fallbacks));
    let lonely = ProjectId::from_u128(98);
    let budget_id = BudgetId::from_u128(44);
    let budget = |owner| PolicyObject::Budget(budget(44, owner, 1));
    let cases = [
        (
            PolicyObject::Key(KeyPolicy { project: no_project, ..key() }),
            dangling("key", &KEY, format!("project {no_project}")),
        ),
        (
            PolicyObject::Project(ProjectPolicy { tenant: nobody, ..project() }),
            dangling("project", &PROJECT, format!("tenant {nobody}")),
        ),
        // Also where no key makes the gap felt yet.
        (
            PolicyObject::Project(ProjectPolicy { id: lonely, tenant: nobody, ..project() }),
            dangling("project", &lonely, format!("tenant {nobody}")),
        ),
        (
            chat(vec![target(no_provider, "m", 0)], &[]),
            dangling("model", &CHAT, format!("provider {no_provider}")),
        ),
        (
            chat(vec![target(LOCAL, "m", 0)], &["no-such-model"]),
            dangling("model", &CHAT, "model no-such-model".to_owned()),
        ),
        (budget(BudgetOwner::Tenant(nobody)), dangling("budget", &budget_id, format!("tenant {nobody}"))),
        (
            budget(BudgetOwner::Project(no_project)),
            dangling("budget", &budget_id, format!("project {no_project}")),
        ),
        (budget(BudgetOwner::Key(no_key)), dangling("budget", &budget_id, format!("key {no_key}"))),
    ];
    for (object, expected) in cases {
        assert_eq!(error_with(object), expected);
    }
}

#[test]
fn what_must_be_unique_is() {
    let duplicate = |kind, id: String, field| SnapshotError::Duplicate { kind, id, field };
    let twin_id = ProviderId::from_u128(19);
    let twin = PolicyObject::Provider(provider(twin_id, "openai"));
    assert_eq!(error_with(twin), duplicate("provider", twin_id.to_string(), "name"));
    let twin_id = ModelId::from_u128(29);
    let twin = PolicyObject::Model(model(twin_id, "chat-cheap", vec![target(LOCAL, "llama", 0)], &[]));
    assert_eq!(error_with(twin), duplicate("model", twin_id.to_string(), "name"));
    let twin_id = KeyId::from_u128(9);
    let twin = PolicyObject::Key(KeyPolicy { id: twin_id, name: "twin".to_owned(), ..key() });
    assert_eq!(error_with(twin), duplicate("key", twin_id.to_string(), "hash"));
}

#[test]
fn values_that_cannot_be_meant_are_refused() {
    let backup = |change: fn(&mut ProviderPolicy)| {
        let mut provider = provider(BACKUP, "backup");
        change(&mut provider);
        PolicyObject::Provider(provider)
    };
    let never_tried = ModelPolicy {
        retry: RetryPolicy { max_attempts: 0, ..RetryPolicy::default() },
        ..model(CHEAP, "chat-cheap", vec![target(LOCAL, "llama", 0)], &[])
    };
    let cases = [
        (backup(|it| it.name = "a/b".to_owned()), invalid("provider", &BACKUP, "the name has a slash")),
        (
            backup(|it| it.base_url = "ftp://backup.test".to_owned()),
            invalid("provider", &BACKUP, "the base URL is neither http nor https"),
        ),
        (
            backup(|it| it.credentials[0].weight = 0),
            invalid("provider", &BACKUP, "a credential's weight is zero"),
        ),
        (
            PolicyObject::Model(model(CHEAP, "chat-cheap", vec![], &[])),
            invalid("model", &CHEAP, "it has no target"),
        ),
        (
            PolicyObject::Model(model(CHEAP, "chat-cheap", vec![target(LOCAL, " ", 0)], &[])),
            invalid("model", &CHEAP, "a target's model is blank"),
        ),
        (
            PolicyObject::Model(never_tried),
            invalid("model", &CHEAP, "retry.max_attempts is zero, but the first attempt counts"),
        ),
    ];
    for (object, expected) in cases {
        assert_eq!(error_with(object), expected);
    }
}

#[test]
fn fallbacks_in_a_circle_or_too_deep_are_refused_and_broad_ones_are_not() {
    let target = || vec![target(LOCAL, "llama", 0)];
    let chain = |length: u128, last: &[&str]| -> Vec<PolicyObject> {
        let link = |index: u128| format!("link-{index}");
        let model_at = |index| {
            let id = ModelId::from_u128(200 + index);
            let next = link(index + 1);
            let fallbacks = if index + 1 < length { vec![next.as_str()] } else { last.to_vec() };
            PolicyObject::Model(model(id, &link(index), target(), &fallbacks))
        };
        (0..length).map(model_at).collect()
    };
    let is_refused = |objects: Vec<PolicyObject>| {
        let error = Snapshot::compile(&full_set_with(objects), 1, &catalog()).err();
        error.map(|error| error.to_string().contains("deep, or in a circle"))
    };
    assert_eq!(is_refused(chain(9, &[])), None);
    assert_eq!(is_refused(chain(10, &[])), Some(true));
    assert_eq!(is_refused(chain(1, &["link-0"])), Some(true));
    assert_eq!(is_refused(chain(3, &["link-0"])), Some(true));
    // Eight layers of twenty models that each fall back to the whole next layer: 20^8 paths.
    let layered = (0..160_u128).map(|index| {
        let next: Vec<String> = (0..20).map(|n| format!("layer-{}", (index / 20 + 1) * 20 + n)).collect();
        let fallbacks: Vec<&str> =
            if index < 140 { next.iter().map(String::as_str).collect() } else { vec![] };
        let id = ModelId::from_u128(500 + index);
        PolicyObject::Model(model(id, &format!("layer-{index}"), target(), &fallbacks))
    });
    assert_eq!(is_refused(layered.collect()), None);
}

#[test]
fn errors_name_the_object() {
    let no_project = ProjectId::from_u128(99);
    let told = error_with(PolicyObject::Key(KeyPolicy { project: no_project, ..key() })).to_string();
    assert_eq!(told, format!("key {KEY} refers to a missing project {no_project}"));
}
