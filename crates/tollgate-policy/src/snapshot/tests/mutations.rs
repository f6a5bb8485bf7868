//! Whatever happens to a valid set, compiling it ends with a snapshot that can be asked or with an error.

use proptest::prelude::*;

use super::*;

/// What is done to one object of the set, chosen by number so that any number is a mutation.
fn mutate(object: &PolicyObject, choice: u8) -> Option<PolicyObject> {
    let stray = u128::from(choice) + 1;
    let mut object = object.clone();
    match (&mut object, choice % 4) {
        (_, 0) => return None,
        (PolicyObject::Settings(it), _) => it.default_models.clear(),
        (PolicyObject::Provider(it), 1) => {
            it.name = ["", "openai", "a/b"][usize::from(choice) % 3].to_owned();
        }
        (PolicyObject::Provider(it), 2) => it.base_url.clear(),
        (PolicyObject::Provider(it), _) => it.id = ProviderId::from_u128(stray % 20),
        (PolicyObject::Price(it), 1) => it.provider = "nobody".to_owned(),
        (PolicyObject::Price(it), 2) => it.effective_from = UnixMillis(i64::MAX),
        (PolicyObject::Price(it), _) => it.model = String::new(),
        (PolicyObject::Margin(it), 1) => it.tenant = Some(TENANT),
        (PolicyObject::Margin(it), 2) => it.effective_from = UnixMillis(i64::MAX),
        (PolicyObject::Margin(it), _) => it.model = Some("whatever".to_owned()),
        (PolicyObject::Model(it), 1) => {
            it.name = ["", "chat-default", "a/b"][usize::from(choice) % 3].to_owned();
        }
        (PolicyObject::Model(it), 2) => {
            it.fallbacks = vec!["chat-default".to_owned(), "chat-cheap".to_owned()];
        }
        (PolicyObject::Model(it), _) => it.targets.truncate(usize::from(choice) % 2),
        (PolicyObject::Tenant(it), 1) => it.name.clear(),
        (PolicyObject::Tenant(it), _) => it.id = TenantId::from_u128(stray % 3),
        (PolicyObject::Project(it), 1) => it.tenant = TenantId::from_u128(stray % 3),
        (PolicyObject::Project(it), _) => it.id = ProjectId::from_u128(stray % 4),
        (PolicyObject::Key(it), 1) => it.project = ProjectId::from_u128(stray % 4),
        (PolicyObject::Key(it), 2) => it.previous_hash = Some((it.hash, NOW)),
        (PolicyObject::Key(it), _) => it.models = vec![String::new(), "**".to_owned()],
        (PolicyObject::Budget(it), 1) => it.owner = BudgetOwner::Key(KeyId::from_u128(stray % 5)),
        (PolicyObject::Budget(it), 2) => it.owner = BudgetOwner::Project(ProjectId::from_u128(stray % 4)),
        (PolicyObject::Budget(it), _) => it.limit = NanoUsd(i64::MIN),
    }
    Some(object)
}

fn mutated_set(mutations: &[(usize, u8)]) -> PolicySet {
    let mut objects: Vec<Option<PolicyObject>> = full_objects().into_iter().map(Some).collect();
    for (index, choice) in mutations {
        let index = index % objects.len();
        objects[index] = objects[index].as_ref().and_then(|object| mutate(object, *choice));
    }
    objects.into_iter().flatten().collect()
}

fn refers_to_missing(set: &PolicySet) -> bool {
    let has = |kind, id| set.iter().any(|object| object.reference() == ObjectRef { kind, id });
    set.iter().any(|object| match object {
        PolicyObject::Project(it) => !has(ObjectKind::Tenant, it.tenant.as_uuid()),
        PolicyObject::Key(it) => !has(ObjectKind::Project, it.project.as_uuid()),
        PolicyObject::Budget(it) => match it.owner {
            BudgetOwner::Tenant(id) => !has(ObjectKind::Tenant, id.as_uuid()),
            BudgetOwner::Project(id) => !has(ObjectKind::Project, id.as_uuid()),
            BudgetOwner::Key(id) => !has(ObjectKind::Key, id.as_uuid()),
        },
        PolicyObject::Model(it) => {
            it.targets.iter().any(|target| !has(ObjectKind::Provider, target.provider.as_uuid()))
        }
        PolicyObject::Settings(_)
        | PolicyObject::Provider(_)
        | PolicyObject::Price(_)
        | PolicyObject::Margin(_)
        | PolicyObject::Tenant(_) => false,
    })
}

proptest! {
    #[test]
    fn a_mutated_set_compiles_whole_or_not_at_all(
        mutations in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..6),
        requested in "[a-z/:*-]{0,24}|chat-default|chat-cheap|gpt-5-mini|openai/gpt-5-mini",
    ) {
        let set = mutated_set(&mutations);
        match Snapshot::compile(&set, 3, &catalog()) {
            Err(error) => prop_assert!(!error.to_string().is_empty()),
            Ok(snapshot) => {
                prop_assert!(!refers_to_missing(&set));
                prop_assert_eq!(snapshot.n_objects(), set.len());
                if let Ok(context) = snapshot.authenticate(SECRET, NOW) {
                    if let Ok(plan) = snapshot.plan(context, &requested) {
                        prop_assert!(!plan.candidates.is_empty());
                    }
                    for info in snapshot.visible_models(context) {
                        prop_assert!(snapshot.plan(context, &info.id).is_ok(), "{} is shown", info.id);
                    }
                }
            }
        }
    }
}
