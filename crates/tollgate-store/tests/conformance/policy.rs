//! The policy objects: what is written is read, conflicts have names, deletion reaches everything below.

use tollgate_domain::{
    BudgetId, BudgetWindow, KeyId, ModelId, NanoUsd, PriceId, ProjectId, ProviderId, Surface, TenantId,
    UnixMillis,
};
use tollgate_policy::{BudgetOwner, ObjectKind, ObjectRef};
use tollgate_store::{
    BudgetFilter, KeyFilter, MarginFilter, PageRequest, PolicyRecord, PriceFilter, ProjectFilter, Store,
    StoreError,
};

use crate::fixture::Fixture;
use crate::samples::{
    NEW_YEAR, budget, credential, ctx, ctx_at, event, key, limits, margin, model, price, project, provider,
    tenant,
};

crate::on_both_databases!(
    objects_are_read_as_written,
    updates_change_and_no_change_writes_nothing,
    conflicts_name_the_object_and_the_field,
    lists_are_complete_and_without_repeats,
    deletion_reaches_everything_below,
    a_tenant_with_a_journal_is_kept_and_its_names_are_free,
    a_provider_in_use_stays,
    prices_in_force_stay,
    margins_in_force_stay,
    price_rows_of_one_call_come_together_or_not_at_all,
    installation_values_are_made_once,
);

pub(crate) fn conflict<T: std::fmt::Debug>(result: Result<T, StoreError>) -> (&'static str, &'static str) {
    match result {
        Err(StoreError::Conflict { kind, field, .. }) => (kind, field),
        other => panic!("no conflict but {other:?}"),
    }
}

pub(crate) fn invalid<T: std::fmt::Debug>(result: Result<T, StoreError>) -> (&'static str, &'static str) {
    match result {
        Err(StoreError::Invalid { kind, field, .. }) => (kind, field),
        other => panic!("not invalid but {other:?}"),
    }
}

pub(crate) fn missing<T: std::fmt::Debug>(result: Result<T, StoreError>) -> &'static str {
    match result {
        Err(StoreError::NotFound { kind, .. }) => kind,
        other => panic!("not missing but {other:?}"),
    }
}

/// Provider 1, model 1, tenant 1, project 10, key 100 and a budget on each level.
pub(crate) async fn seed(store: &Store) {
    let ctx = ctx();
    store.create_provider(&ctx, provider(1)).await.unwrap();
    store.create_margins(&ctx, vec![margin(1, NEW_YEAR)]).await.unwrap();
    store.create_model(&ctx, model(1, 1)).await.unwrap();
    store.create_tenant(&ctx, tenant(1)).await.unwrap();
    store.create_project(&ctx, project(10, 1)).await.unwrap();
    store.create_key(&ctx, key(100, 10), "tgk_shown").await.unwrap();
    let owners = [
        BudgetOwner::Tenant(TenantId::from_u128(1)),
        BudgetOwner::Project(ProjectId::from_u128(10)),
        BudgetOwner::Key(KeyId::from_u128(100)),
    ];
    for (n, owner) in (1..).zip(owners) {
        store.create_budget(&ctx, budget(n, owner, BudgetWindow::Month)).await.unwrap();
    }
}

async fn objects_are_read_as_written(fixture: &Fixture) {
    let store = &fixture.store;
    seed(store).await;

    let found = store.tenant(TenantId::from_u128(1)).await.unwrap();
    assert_eq!(found.to_policy(), tenant(1));
    assert_eq!((found.created_at, found.updated_at), (NEW_YEAR, NEW_YEAR));
    assert_eq!(store.tenant_by_name("tenant-1").await.unwrap(), found);

    let found = store.project(ProjectId::from_u128(10)).await.unwrap();
    assert_eq!(found.to_policy(), project(10, 1));
    assert_eq!(store.project_by_name(TenantId::from_u128(1), "project-10").await.unwrap(), found);

    let found = store.key(KeyId::from_u128(100)).await.unwrap();
    assert_eq!(found.to_policy(), key(100, 10));
    assert_eq!((found.tenant, found.public_prefix.as_str()), (TenantId::from_u128(1), "tgk_shown"));
    assert_eq!(store.key_by_name(ProjectId::from_u128(10), "key-100").await.unwrap(), found);

    let found = store.budget(BudgetId::from_u128(3)).await.unwrap();
    let owner = BudgetOwner::Key(KeyId::from_u128(100));
    assert_eq!(found.to_policy(), budget(3, owner, BudgetWindow::Month));
    assert_eq!(found.tenant, TenantId::from_u128(1));

    let found = store.provider(ProviderId::from_u128(1)).await.unwrap();
    let expected = provider(1);
    assert_eq!(
        (&found.name, found.dialect, &found.base_url),
        (&expected.name, expected.dialect, &expected.base_url)
    );
    assert_eq!((&found.region, found.retention), (&expected.region, expected.retention));
    assert_eq!(found.max_concurrent_requests, expected.max_concurrent_requests);
    assert_eq!(found.responses, expected.responses);
    assert_eq!(found.trains_on_data, expected.trains_on_data);
    let credentials = [credential(11), credential(12)].map(|new| new.into_record(NEW_YEAR));
    assert_eq!(found.credentials, credentials);
    assert_eq!(store.provider_by_name("provider-1").await.unwrap(), found);

    let found = store.model(ModelId::from_u128(1)).await.unwrap();
    assert_eq!(found.to_policy(), model(1, 1));
    assert_eq!(store.model_by_name("model-1").await.unwrap(), found);

    let written = store.create_price(&ctx(), PriceId::from_u128(4), price(NEW_YEAR)).await.unwrap();
    let found = store.price(PriceId::from_u128(4)).await.unwrap();
    assert_eq!(found, written);
    let row = tollgate_catalog::PriceRow { id: Some(PriceId::from_u128(4)), ..price(NEW_YEAR) };
    assert_eq!(found.row, row);

    let set = |settings: &mut tollgate_store::SettingsRecord| {
        settings.default_models = vec![(Surface::Chat, "model-1".to_owned())];
        settings.hold_slice_tokens = Some(512);
    };
    let written = store.update_settings(&ctx(), set).await.unwrap();
    assert_eq!(store.settings().await.unwrap(), written);
    assert_eq!(written.default_models, [(Surface::Chat, "model-1".to_owned())]);
    assert_eq!(written.hold_slice_tokens, Some(512));
}

async fn updates_change_and_no_change_writes_nothing(fixture: &Fixture) {
    let store = &fixture.store;
    seed(store).await;
    let later = ctx_at(NEW_YEAR.plus_ms(5));

    let before = store.policy_revision().await.unwrap();
    let id = TenantId::from_u128(1);
    let same = store.update_tenant(&later, id, |tenant| tenant.created_at = UnixMillis(3)).await.unwrap();
    assert_eq!(same.updated_at, NEW_YEAR);
    assert_eq!(store.policy_revision().await.unwrap(), before);

    let changed = store.update_tenant(&later, id, |tenant| {
        tenant.name = "renamed".to_owned();
        tenant.blocked = true;
        tenant.limits = limits(77);
        tenant.id = TenantId::from_u128(999);
    });
    let changed = changed.await.unwrap();
    assert_eq!((changed.id, changed.updated_at, changed.created_at), (id, later.now, NEW_YEAR));
    assert_eq!(store.tenant_by_name("renamed").await.unwrap(), changed);

    let id = ProjectId::from_u128(10);
    let project = store.update_project(&later, id, |project| project.labels.clear()).await.unwrap();
    assert_eq!(store.project(id).await.unwrap(), project);
    assert!(project.labels.is_empty());

    let id = BudgetId::from_u128(2);
    let budget = store.update_budget(&later, id, |budget| budget.limit = NanoUsd(5)).await.unwrap();
    assert_eq!(store.budget(id).await.unwrap(), budget);
    assert_eq!(budget.limit, NanoUsd(5));

    let id = ModelId::from_u128(1);
    let model = store.update_model(&later, id, |model| model.targets.truncate(1)).await.unwrap();
    assert_eq!(store.model(id).await.unwrap(), model);
    assert_eq!(model.targets.len(), 1);

    let id = ProviderId::from_u128(1);
    let provider = store.update_provider(&later, id, |provider| {
        provider.credentials.remove(0);
        provider.credentials[0].ciphertext = b"NEW".to_vec();
        provider.credentials.push(credential(13).into_record(UnixMillis(1)));
    });
    let provider = provider.await.unwrap();
    assert_eq!(store.provider(id).await.unwrap(), provider);
    let dates: Vec<_> =
        provider.credentials.iter().map(|one| (one.name.as_str(), one.secret_changed_at)).collect();
    assert_eq!(dates, [("credential-12", later.now), ("credential-13", later.now)]);
    let unknown = TenantId::from_u128(404);
    assert_eq!(missing(store.update_tenant(&later, unknown, |_| ()).await), "tenant");
}

async fn conflicts_name_the_object_and_the_field(fixture: &Fixture) {
    let store = &fixture.store;
    seed(store).await;
    let ctx = ctx();
    let named = |n, name: &str| tollgate_policy::TenantPolicy { name: name.to_owned(), ..tenant(n) };
    assert_eq!(conflict(store.create_tenant(&ctx, named(2, "tenant-1")).await), ("tenant", "name"));
    assert_eq!(conflict(store.create_tenant(&ctx, named(1, "other")).await), ("tenant", "id"));
    // The budgets of its project and key follow its calendar, too.
    store.delete_budget(&ctx, tollgate_domain::BudgetId::from_u128(1)).await.unwrap();
    let utc = |tenant: &mut tollgate_store::TenantRecord| {
        tenant.time_zone = tollgate_domain::TimeZoneName::utc();
    };
    let moved = store.update_tenant(&ctx, TenantId::from_u128(1), utc).await;
    assert_eq!(conflict(moved), ("tenant", "time_zone"));

    let twin = tollgate_policy::ProjectPolicy { name: "project-10".to_owned(), ..project(11, 1) };
    assert_eq!(conflict(store.create_project(&ctx, twin).await), ("project", "name"));
    assert_eq!(missing(store.create_project(&ctx, project(12, 404)).await), "tenant");

    let twin = tollgate_policy::KeyPolicy { name: "key-100".to_owned(), ..key(101, 10) };
    assert_eq!(conflict(store.create_key(&ctx, twin, "x").await), ("key", "name"));
    let twin = tollgate_policy::KeyPolicy { hash: key(100, 10).hash, ..key(102, 10) };
    assert_eq!(conflict(store.create_key(&ctx, twin, "x").await), ("key", "secret"));
    assert_eq!(missing(store.create_key(&ctx, key(103, 404), "x").await), "project");

    let owner = BudgetOwner::Key(KeyId::from_u128(100));
    let twin = store.create_budget(&ctx, budget(9, owner, BudgetWindow::Month)).await;
    assert_eq!(conflict(twin), ("budget", "window"));
    store.create_budget(&ctx, budget(8, owner, BudgetWindow::Day)).await.unwrap();
    let moved =
        store.update_budget(&ctx, BudgetId::from_u128(8), |budget| budget.window = BudgetWindow::Month);
    assert_eq!(conflict(moved.await), ("budget", "window"));
    let owner = BudgetOwner::Project(ProjectId::from_u128(404));
    assert_eq!(missing(store.create_budget(&ctx, budget(7, owner, BudgetWindow::Day)).await), "project");
    let negative = store.update_budget(&ctx, BudgetId::from_u128(8), |budget| budget.limit = NanoUsd(-1));
    assert_eq!(invalid(negative.await), ("budget", "limit"));

    let twin = tollgate_store::NewProvider { name: "provider-1".to_owned(), ..provider(2) };
    assert_eq!(conflict(store.create_provider(&ctx, twin).await), ("provider", "name"));
    let mut twins = provider(2);
    twins.credentials[1].name = twins.credentials[0].name.clone();
    assert_eq!(conflict(store.create_provider(&ctx, twins).await), ("provider", "credentials"));
    let mut weightless = provider(2);
    weightless.credentials[0].weight = 0;
    assert_eq!(invalid(store.create_provider(&ctx, weightless).await), ("provider", "credentials"));

    let twin = tollgate_policy::ModelPolicy { name: "model-1".to_owned(), ..model(2, 1) };
    assert_eq!(conflict(store.create_model(&ctx, twin).await), ("model", "name"));
    assert_eq!(missing(store.create_model(&ctx, model(3, 404)).await), "provider");
    // Nothing of all that was left behind.
    assert_eq!(store.list_providers(PageRequest::first(10)).await.unwrap().items.len(), 1);
    assert_eq!(store.list_models(PageRequest::first(10)).await.unwrap().items.len(), 1);
}

async fn lists_are_complete_and_without_repeats(fixture: &Fixture) {
    let store = &fixture.store;
    for n in 1..=7 {
        store.create_tenant(&ctx(), tenant(n)).await.unwrap();
    }
    for n in 1..=5 {
        store.create_project(&ctx(), project(n, n % 2 + 1)).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.list_tenants(PageRequest { limit: 3, after }).await.unwrap();
        seen.extend(page.items.into_iter().map(|tenant| tenant.id));
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    assert_eq!(seen, (1..=7).map(TenantId::from_u128).collect::<Vec<_>>());

    let filter = ProjectFilter { tenant: Some(TenantId::from_u128(2)), name: None };
    let page = store.list_projects(&filter, PageRequest::first(2)).await.unwrap();
    assert_eq!(
        page.items.iter().map(|project| project.id).collect::<Vec<_>>(),
        [1, 3].map(ProjectId::from_u128)
    );
    let rest = store.list_projects(&filter, PageRequest::after(2, page.next.unwrap())).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (1, None));
    let filter = ProjectFilter { tenant: None, name: Some("project-4".to_owned()) };
    assert_eq!(store.list_projects(&filter, PageRequest::first(9)).await.unwrap().items.len(), 1);
}

async fn changed_since(store: &Store, revision: u64) -> Vec<ObjectRef> {
    let changes = store.policy_changes_since(revision, 100).await.unwrap().unwrap();
    changes.into_iter().map(|(_, reference)| reference).collect()
}

async fn deletion_reaches_everything_below(fixture: &Fixture) {
    let store = &fixture.store;
    seed(store).await;
    let tenant_only = tollgate_catalog::PriceRow { tenant: Some(TenantId::from_u128(1)), ..price(NEW_YEAR) };
    store.create_price(&ctx(), PriceId::from_u128(4), tenant_only).await.unwrap();
    let own_margin =
        tollgate_policy::MarginRule { tenant: Some(TenantId::from_u128(1)), ..margin(5, NEW_YEAR) };
    store.create_margins(&ctx(), vec![own_margin]).await.unwrap();
    let before = store.policy_revision().await.unwrap();

    store.delete_tenant(&ctx(), TenantId::from_u128(1)).await.unwrap();
    let mut changed = changed_since(store, before).await;
    changed.sort_unstable();
    let expected = [
        (ObjectKind::Price, 4),
        (ObjectKind::Margin, 5),
        (ObjectKind::Tenant, 1),
        (ObjectKind::Project, 10),
        (ObjectKind::Key, 100),
        (ObjectKind::Budget, 1),
        (ObjectKind::Budget, 2),
        (ObjectKind::Budget, 3),
    ];
    let expected = expected.map(|(kind, id)| ObjectRef { kind, id: uuid::Uuid::from_u128(id) });
    assert_eq!(changed, expected);
    for reference in expected {
        assert_eq!(store.load_policy_object(reference).await.unwrap(), None, "{reference:?}");
    }
    assert_eq!(missing(store.tenant(TenantId::from_u128(1)).await), "tenant");
    assert_eq!(missing(store.delete_tenant(&ctx(), TenantId::from_u128(1)).await), "tenant");
    assert!(store.list_keys(&KeyFilter::default(), PageRequest::first(9)).await.unwrap().items.is_empty());
    assert!(
        store.list_budgets(&BudgetFilter::default(), PageRequest::first(9)).await.unwrap().items.is_empty()
    );
    assert!(
        store.list_prices(&PriceFilter::default(), PageRequest::first(9)).await.unwrap().items.is_empty()
    );
    let left = store.load_policy().await.unwrap().records;
    assert!(matches!(
        left[..],
        [
            PolicyRecord::Settings(_),
            PolicyRecord::Provider(_),
            PolicyRecord::Margin(_),
            PolicyRecord::Model(_)
        ]
    ));
}

async fn a_tenant_with_a_journal_is_kept_and_its_names_are_free(fixture: &Fixture) {
    let store = &fixture.store;
    seed(store).await;
    let event = tollgate_domain::UsageEvent {
        project: ProjectId::from_u128(10),
        key: KeyId::from_u128(100),
        ..event(1, 1)
    };
    store.journal_events(std::slice::from_ref(&event)).await.unwrap();
    store.delete_tenant(&ctx(), TenantId::from_u128(1)).await.unwrap();
    assert_eq!(missing(store.key(KeyId::from_u128(100)).await), "key");
    assert_eq!(missing(store.tenant_by_name("tenant-1").await), "tenant");

    // The same names and the same secret again, under new ids.
    let again = tollgate_policy::TenantPolicy { name: "tenant-1".to_owned(), ..tenant(2) };
    store.create_tenant(&ctx(), again).await.unwrap();
    let again = tollgate_policy::ProjectPolicy { name: "project-10".to_owned(), ..project(20, 2) };
    store.create_project(&ctx(), again).await.unwrap();
    let again = tollgate_policy::KeyPolicy { hash: key(100, 10).hash, ..key(200, 20) };
    store.create_key(&ctx(), again, "tgk_shown").await.unwrap();

    // Its name still stands in reports, and late events are journaled.
    let group_by = vec![tollgate_store::UsageDimension::Tenant, tollgate_store::UsageDimension::Key];
    let report = store.usage(&tollgate_store::UsageQuery { group_by, ..Default::default() }).await.unwrap();
    let names: Vec<_> = report[0].groups.iter().map(|group| group.name.as_deref()).collect();
    assert_eq!(names, [Some("tenant-1"), Some("key-100")]);
    let late = crate::samples::event(2, 1);
    assert_eq!(store.journal_events(std::slice::from_ref(&late)).await.unwrap(), 1);
}

async fn a_provider_in_use_stays(fixture: &Fixture) {
    let store = &fixture.store;
    seed(store).await;
    let id = ProviderId::from_u128(1);
    let error = store.delete_provider(&ctx(), id).await.unwrap_err();
    assert!(error.to_string().contains("`model-1`"), "{error}");
    assert_eq!(conflict::<()>(Err(error)), ("provider", "targets"));
    store.delete_model(&ctx(), ModelId::from_u128(1)).await.unwrap();
    assert_eq!(store.delete_provider(&ctx(), id).await.unwrap().credentials.len(), 2);
    assert_eq!(missing(store.provider(id).await), "provider");
    store.create_provider(&ctx(), provider(1)).await.unwrap();
}

async fn price_rows_of_one_call_come_together_or_not_at_all(fixture: &Fixture) {
    let store = &fixture.store;
    let id = PriceId::from_u128;
    let row = |meter| tollgate_catalog::PriceRow { meter: Some(meter), ..price(NEW_YEAR) };
    let (input, output) = (row(tollgate_domain::Meter::Input), row(tollgate_domain::Meter::Output));
    let before = store.policy_revision().await.unwrap();
    let twice = vec![(id(1), input.clone()), (id(2), output.clone()), (id(3), input.clone())];
    assert_eq!(conflict(store.create_prices(&ctx(), twice).await), ("price", "effective_from"));
    assert_eq!(store.policy_revision().await.unwrap(), before, "a refused call changes nothing");
    assert_eq!(missing(store.price(id(2)).await), "price");

    let written = store.create_prices(&ctx(), vec![(id(1), input), (id(2), output)]).await.unwrap();
    let listed = store.list_prices(&PriceFilter::default(), PageRequest::first(9)).await.unwrap().items;
    assert_eq!(listed, written);
    let expected = [1, 2].map(|n| ObjectRef { kind: ObjectKind::Price, id: id(n).as_uuid() });
    assert_eq!(changed_since(store, before).await, expected);
    assert_eq!(store.create_prices(&ctx(), Vec::new()).await.unwrap(), []);
}

async fn prices_in_force_stay(fixture: &Fixture) {
    let store = &fixture.store;
    store.create_tenant(&ctx(), tenant(1)).await.unwrap();
    let id = PriceId::from_u128;
    store.create_price(&ctx(), id(1), price(NEW_YEAR)).await.unwrap();
    assert_eq!(
        conflict(store.create_price(&ctx(), id(2), price(NEW_YEAR)).await),
        ("price", "effective_from")
    );
    let free = tollgate_catalog::PriceRow { meter: None, ..price(NEW_YEAR) };
    store.create_price(&ctx(), id(2), free.clone()).await.unwrap();
    assert_eq!(conflict(store.create_price(&ctx(), id(3), free).await), ("price", "effective_from"));
    let own = tollgate_catalog::PriceRow { tenant: Some(TenantId::from_u128(1)), ..price(NEW_YEAR) };
    store.create_price(&ctx(), id(3), own.clone()).await.unwrap();
    let stranger = tollgate_catalog::PriceRow { tenant: Some(TenantId::from_u128(404)), ..own };
    assert_eq!(missing(store.create_price(&ctx(), id(9), stranger).await), "tenant");
    store.create_price(&ctx(), id(4), price(NEW_YEAR.plus_ms(1))).await.unwrap();

    assert_eq!(conflict(store.delete_price(&ctx(), id(1)).await), ("price", "effective_from"));
    let one_later = ctx_at(NEW_YEAR.plus_ms(1));
    assert_eq!(conflict(store.delete_price(&one_later, id(4)).await), ("price", "effective_from"));
    store.delete_price(&ctx(), id(4)).await.unwrap();
    let filter = PriceFilter { provider: Some("provider-1".to_owned()), ..PriceFilter::default() };
    let found = store.list_prices(&filter, PageRequest::first(9)).await.unwrap().items;
    assert_eq!(found.iter().map(|price| price.id).collect::<Vec<_>>(), [id(1), id(2), id(3)]);
    let filter = PriceFilter { model: Some("other".to_owned()), ..PriceFilter::default() };
    assert!(store.list_prices(&filter, PageRequest::first(9)).await.unwrap().items.is_empty());
}

async fn margins_in_force_stay(fixture: &Fixture) {
    let store = &fixture.store;
    store.create_tenant(&ctx(), tenant(1)).await.unwrap();
    let id = tollgate_domain::MarginId::from_u128;
    let rule = |n| margin(n, NEW_YEAR);
    let before = store.policy_revision().await.unwrap();
    let written = store.create_margins(&ctx(), vec![rule(1)]).await.unwrap();
    assert_eq!(store.margin(id(1)).await.unwrap(), written[0]);
    assert_eq!((&written[0].rule, written[0].created_at), (&rule(1), ctx().now));
    assert_eq!(
        conflict(store.create_margins(&ctx(), vec![rule(2), rule(3)]).await),
        ("margin", "effective_from")
    );
    // each of the three makes it another rule
    let own = tollgate_policy::MarginRule { tenant: Some(TenantId::from_u128(1)), ..rule(2) };
    let of_provider = tollgate_policy::MarginRule { model: None, ..rule(3) };
    let general = tollgate_policy::MarginRule { provider: None, model: None, ..rule(4) };
    let later = margin(5, NEW_YEAR.plus_ms(1));
    store.create_margins(&ctx(), vec![own.clone(), of_provider, general.clone(), later]).await.unwrap();
    let again = tollgate_policy::MarginRule { id: id(9), ..general };
    assert_eq!(conflict(store.create_margins(&ctx(), vec![again]).await), ("margin", "effective_from"));
    let stranger = tollgate_policy::MarginRule { tenant: Some(TenantId::from_u128(404)), ..own };
    assert_eq!(missing(store.create_margins(&ctx(), vec![stranger]).await), "tenant");
    assert_eq!(changed_since(store, before).await.len(), 5);

    assert_eq!(conflict(store.delete_margin(&ctx(), id(1)).await), ("margin", "effective_from"));
    assert_eq!(store.delete_margin(&ctx(), id(5)).await.unwrap().rule.id, id(5));
    assert_eq!(missing(store.margin(id(5)).await), "margin");
    let listed = |filter| async move {
        let page = store.list_margins(&filter, PageRequest::first(9)).await.unwrap();
        page.items.into_iter().map(|margin| margin.rule.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(MarginFilter::default()).await, [1, 2, 3, 4].map(id));
    let tenant = Some(TenantId::from_u128(1));
    assert_eq!(listed(MarginFilter { tenant, ..MarginFilter::default() }).await, [id(2)]);
    let model = Some("gpt-5-mini".to_owned());
    assert_eq!(listed(MarginFilter { model, ..MarginFilter::default() }).await, [1, 2].map(id));
    let out_of_range = fixture.raw("UPDATE margins SET basis_points = -10001").await;
    assert!(out_of_range.unwrap_err().to_string().contains("margins_basis_points_range"));
}

async fn installation_values_are_made_once(fixture: &Fixture) {
    assert_eq!(fixture.store.installation_value("fingerprint").await.unwrap(), None);
    let tasks = (0..8_u8).map(|n| {
        let store = fixture.store.clone();
        tokio::spawn(
            async move { store.installation_value_or_insert("fingerprint", &[n; 32]).await.unwrap() },
        )
    });
    let mut values = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        values.push(task.await.unwrap());
    }
    assert!(values.iter().all(|value| value == &values[0]), "{values:?}");
    assert_eq!(fixture.store.installation_value("fingerprint").await.unwrap().as_ref(), Some(&values[0]));
}
