//! What a snapshot of the full set contains.

use super::*;

#[test]
fn the_full_set_compiles_with_everything_in_place() {
    let snapshot = snapshot_with([]);
    assert_eq!((snapshot.revision(), snapshot.n_objects()), (7, full_objects().len()));
    let mut providers: Vec<_> = snapshot.providers().map(|provider| provider.name.as_str()).collect();
    providers.sort_unstable();
    assert_eq!(providers, ["backup", "local", "openai"]);
    assert_eq!(snapshot.default_model(Surface::Chat), Some("chat-default"));
    assert_eq!(snapshot.default_model(Surface::Embeddings), None);
    let keys: Vec<_> = snapshot.keys_of_tenant(TENANT).iter().map(|context| context.key.id).collect();
    assert_eq!(keys, [KEY]);
    assert!(snapshot.keys_of_tenant(TenantId::from_u128(99)).is_empty());
}

#[test]
fn a_key_carries_budgets_limits_and_labels_of_every_level() {
    let snapshot = snapshot_with([]);
    let context = context(&snapshot);
    assert_eq!((context.project.id, context.tenant.id), (PROJECT, TENANT));
    let budgets: Vec<_> = context
        .budgets
        .iter()
        .map(|spec| (spec.scope, spec.budget.as_uuid().as_u128(), spec.limit))
        .collect();
    let expected = [
        (BudgetScope::Key, 43, NanoUsd::from_usd(10)),
        (BudgetScope::Project, 42, NanoUsd::from_usd(100)),
        (BudgetScope::Tenant, 41, NanoUsd::from_usd(500)),
    ];
    assert_eq!(budgets, expected);
    // The project limits nothing, so it takes no place.
    let limits: Vec<_> = context.limits.iter().map(|spec| (spec.scope, spec.limits)).collect();
    assert_eq!(limits, [(BudgetScope::Key, per_minute(60)), (BudgetScope::Tenant, per_minute(1_000))]);
    assert_eq!(context.labels, labels(&[("department", "support"), ("feature", "answers")]));
    assert!(context.is_prepaid() && context.has_money_gate(false));
}

#[test]
fn siblings_share_the_budgets_above_them_and_only_those() {
    let sibling = KeyPolicy {
        id: KeyId::from_u128(4),
        name: "test".to_owned(),
        hash: ApiKeySecret::parse("sk-another-key-of-acme").unwrap().hash(&pepper()),
        ..key()
    };
    let snapshot = snapshot_with([PolicyObject::Key(sibling)]);
    let first = context(&snapshot);
    let second = snapshot.authenticate("sk-another-key-of-acme", NOW).unwrap();
    let scopes: Vec<_> = second.budgets.iter().map(|spec| spec.scope).collect();
    assert_eq!(scopes, [BudgetScope::Project, BudgetScope::Tenant]);
    assert!(Arc::ptr_eq(&first.budgets[1], &second.budgets[0]));
    assert!(Arc::ptr_eq(&first.budgets[2], &second.budgets[1]));
    assert_eq!(snapshot.keys_of_tenant(TENANT).len(), 2);
}

#[test]
fn money_gates_follow_billing_and_budgets() {
    let cases = [(Billing::Prepaid, true, true), (Billing::Postpaid, false, false)];
    for (billing, is_prepaid, has_gate_without_budgets) in cases {
        let changed = PolicyObject::Tenant(TenantPolicy { billing, ..tenant() });
        let with_budgets = snapshot_with([changed.clone()]);
        assert_eq!(context(&with_budgets).is_prepaid(), is_prepaid);
        assert!(context(&with_budgets).has_money_gate(false));
        let mut set = full_set_with([changed]);
        for id in [41, 42, 43] {
            let id = BudgetId::from_u128(id).as_uuid();
            set.apply(PolicyChange::Delete(ObjectRef { kind: ObjectKind::Budget, id }));
        }
        let without = Snapshot::compile(&set, 8, &catalog()).unwrap();
        assert_eq!(context(&without).has_money_gate(false), has_gate_without_budgets, "{billing:?}");
    }
}

#[test]
fn budget_periods_follow_the_tenants_calendar_across_an_edge() {
    let zone = TimeZoneName::parse("Asia/Tokyo").unwrap();
    let snapshot =
        snapshot_with([PolicyObject::Tenant(TenantPolicy { time_zone: zone.clone(), ..tenant() })]);
    let context = context(&snapshot);
    let end = zone.periods(BudgetWindow::Month, NOW).unwrap().current.ends_at;
    for spec in &context.budgets {
        for now in [NOW, end.plus_ms(-1), end, NOW] {
            assert_eq!(spec.periods(now), zone.periods(BudgetWindow::Month, now), "{spec:?} at {now}");
        }
    }
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let text = format!("{:?}", snapshot_with([]));
    assert!(text.contains("support-bot"));
    assert!(!text.contains("vendor-secret") && !text.contains(SECRET));
}
