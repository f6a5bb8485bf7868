//! Objects through the use cases: their lives, their names, whose they are.

use tollgate_policy::{KeyState, PolicyObject};

use super::harness::{NOW, World, credential, paths, provider_body, start, target};
use crate::{
    Actor, AppError, AuditQuery, BudgetQuery, BudgetWindowName, CreateBudget, CreateKey, CreateModel,
    CreatePrice, CreateTenant, IdempotentAnswer, IdempotentState, IdempotentWrite, KeyStateName, LimitsBody,
    ListQuery, Role, RotateKey, SecretText, UpdateKey, UpdateModel, UpdateProvider, UpdateTenant,
};

#[tokio::test]
async fn a_key_is_made_found_rotated_blocked_and_revoked() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    world.tenant("acme").await;
    let created = world.key("acme", "bot", "prod").await;
    assert!(created.secret.0.expose().starts_with("tgk_"));
    let json = serde_json::to_value(&created).unwrap();
    assert_eq!((json["tenant"].as_str(), json["project"].as_str()), (Some("acme"), Some("bot")));
    for name in [created.key.id.as_str(), "prod", "acme/bot/prod"] {
        assert_eq!(app.key(admin, name).await.unwrap(), created.key, "{name}");
    }
    let rotated = app.rotate_key(admin, "prod", RotateKey { grace_seconds: 60, secret: None }).await.unwrap();
    assert_ne!(rotated.secret, created.secret);
    assert_eq!(rotated.key.previous_accepted_until.map(|time| time.0), Some(NOW.plus_ms(60_000)));
    assert_eq!(app.block_key(admin, "prod").await.unwrap().state, KeyStateName::Blocked);
    assert_eq!(app.unblock_key(admin, "prod").await.unwrap().state, KeyStateName::Active);
    assert_eq!(app.revoke_key(admin, "prod").await.unwrap().state, KeyStateName::Revoked);
    assert_eq!(app.key(admin, "prod").await.unwrap_err().status(), 404);
    assert_eq!(app.unblock_key(admin, &created.key.id).await.unwrap_err().status(), 409);
    // Its name is free again.
    world.key("acme", "bot", "prod").await;
    let audit =
        app.list_audit(admin, &AuditQuery { object_kind: Some("key".into()), ..AuditQuery::default() }).await;
    let rows = audit.unwrap().data;
    assert!(rows.len() >= 6 && rows.iter().all(|row| row.actor == "ada"));
    assert!(!serde_json::to_string(&rows).unwrap().contains(created.secret.0.expose()));
}

#[tokio::test]
async fn ambiguous_names_ask_for_the_id_and_bad_fields_are_all_named() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    for tenant in ["acme", "globex"] {
        world.tenant(tenant).await;
        world.key(tenant, "bot", "prod").await;
    }
    for (error, path) in [
        (app.project(admin, "bot").await.unwrap_err(), "`tenant/project`"),
        (app.key(admin, "prod").await.unwrap_err(), "`tenant/project/key`"),
    ] {
        assert_eq!(error.status(), 409);
        assert!(error.to_string().contains(&format!("use the id, or {path}")), "{error}");
    }
    assert_eq!(app.key(admin, "globex/bot/prod").await.unwrap().tenant, "globex");
    let body = CreateKey {
        name: "a b".into(),
        secret: Some(SecretText::new("short")),
        models: vec!["chat-*".into(), String::new()],
        limits: LimitsBody { requests_per_minute: Some(0), ..LimitsBody::default() },
        expires_at: Some("tomorrow".into()),
        ..CreateKey::default()
    };
    let error = app.create_key(admin, "acme/bot", body).await.unwrap_err();
    assert_eq!(paths(&error), ["name", "secret", "models[1]", "limits.requests_per_minute", "expires_at"]);
    let body = CreateTenant { name: "acme".into(), ..CreateTenant::default() };
    assert_eq!(app.create_tenant(admin, body).await.unwrap_err().status(), 409);
    let body =
        CreateTenant { name: "x".into(), time_zone: Some("Mars/Olympus".into()), ..CreateTenant::default() };
    assert_eq!(paths(&app.create_tenant(admin, body).await.unwrap_err()), ["time_zone"]);
}

#[tokio::test]
async fn patches_change_what_they_name_and_null_clears() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    world.tenant("acme").await;
    world.key("acme", "bot", "prod").await;
    let patch = |json: &str| serde_json::from_str::<UpdateKey>(json).unwrap();
    let set = patch(
        r#"{"expires_at":"2027-01-01T00:00:00Z","limits":{"requests_per_minute":6},"models":["chat-*"]}"#,
    );
    app.update_key(admin, "prod", set).await.unwrap();
    let view = app.update_key(admin, "prod", patch(r#"{"limits":null}"#)).await.unwrap();
    assert_eq!(
        (view.limits, view.models.as_slice()),
        (LimitsBody::default(), ["chat-*".to_owned()].as_slice())
    );
    assert!(view.expires_at.is_some());
    let view = app.update_key(admin, "prod", patch(r#"{"expires_at":null,"models":null}"#)).await.unwrap();
    assert!(view.expires_at.is_none() && view.models.is_empty());
    assert!(serde_json::from_str::<UpdateKey>(r#"{"secret":"x"}"#).is_err());
    let patch =
        serde_json::from_str::<UpdateTenant>(r#"{"time_zone":"Europe/Berlin","blocked":true}"#).unwrap();
    let view = app.update_tenant(admin, "acme", patch).await.unwrap();
    assert_eq!((view.time_zone.as_str(), view.blocked), ("Europe/Berlin", true));
    let patch = serde_json::from_str::<UpdateTenant>(r#"{"time_zone":null}"#).unwrap();
    let view = app.update_tenant(admin, "acme", patch).await.unwrap();
    assert_eq!((view.time_zone.as_str(), view.blocked), ("UTC", true));
}

#[tokio::test]
async fn another_tenants_objects_look_missing() {
    let world = World::new().await;
    let app = world.app();
    let own = world.tenant("acme").await;
    world.tenant("globex").await;
    world.key("acme", "bot", "prod").await;
    let foreign = world.key("globex", "bot", "live").await;
    let budget = CreateBudget {
        tenant: Some("globex".into()),
        project: None,
        key: None,
        window: BudgetWindowName::Day,
        limit: "1".into(),
        alert_at: Vec::new(),
    };
    let budget = app.create_budget(&world.admin, budget).await.unwrap();
    let tenant_admin = Actor::new("bob", Role::TenantAdmin(own.id.parse().unwrap()));
    let missing = app.key(&tenant_admin, "nothing").await.unwrap_err();
    assert_eq!(missing, AppError::not_found("key", "nothing"));
    let id = foreign.key.id.as_str();
    assert_eq!(app.key(&tenant_admin, id).await.unwrap_err(), AppError::not_found("key", id));
    assert_eq!(app.revoke_key(&tenant_admin, id).await.unwrap_err().status(), 404);
    assert_eq!(
        app.tenant(&tenant_admin, "globex").await.unwrap_err(),
        AppError::not_found("tenant", "globex")
    );
    assert_eq!(app.tenant(&tenant_admin, "none").await.unwrap_err(), AppError::not_found("tenant", "none"));
    let foreign_project = &foreign.key.project_id;
    assert_eq!(
        app.project(&tenant_admin, foreign_project).await.unwrap_err(),
        AppError::not_found("project", foreign_project)
    );
    assert_eq!(app.budget(&tenant_admin, &budget.id).await.unwrap_err().status(), 404);
    assert_eq!(
        app.balance(&tenant_admin, "globex").await.unwrap_err(),
        AppError::not_found("tenant", "globex")
    );
    // "bot" is ambiguous for the platform, not for the tenant.
    assert_eq!(app.project(&tenant_admin, "bot").await.unwrap().tenant, "acme");
    let keys = app.list_keys(&tenant_admin, None, &ListQuery::default()).await.unwrap().data;
    assert_eq!(keys.iter().map(|key| key.tenant.as_str()).collect::<Vec<_>>(), ["acme"]);
    assert!(app.list_budgets(&tenant_admin, &BudgetQuery::default()).await.unwrap().data.is_empty());
    for status in [
        app.list_providers(&tenant_admin, &ListQuery::default()).await.unwrap_err().status(),
        app.list_nodes(&tenant_admin).await.unwrap_err().status(),
        app.export_config(&tenant_admin).await.unwrap_err().status(),
        app.delete_tenant(&tenant_admin, "acme", false).await.unwrap_err().status(),
    ] {
        assert_eq!(status, 403);
    }
}

#[tokio::test]
async fn provider_secrets_are_sealed_bound_to_their_host_and_reach_policy() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let view = world.provider("openai").await;
    assert_eq!(view.base_url, "https://api.example.com/v1");
    assert!(!serde_json::to_string(&view).unwrap().contains("canary"));
    let stored = world.store.provider_by_name("openai").await.unwrap();
    let ciphertext = &stored.credentials[0].ciphertext;
    assert!(!ciphertext.windows(6).any(|window| window == b"canary"));
    let moved =
        UpdateProvider { base_url: Some("https://evil.example/v1".into()), ..UpdateProvider::default() };
    assert_eq!(
        paths(&app.update_provider(admin, "openai", moved.clone()).await.unwrap_err()),
        ["credentials"]
    );
    let with_secret =
        UpdateProvider { credentials: Some(vec![credential("main", Some("sk-other"))]), ..moved };
    app.update_provider(admin, "openai", with_secret).await.unwrap();
    let reweighted = crate::CredentialBody { weight: Some(3), ..credential("main", None) };
    let keep = UpdateProvider { credentials: Some(vec![reweighted]), ..UpdateProvider::default() };
    assert_eq!(app.update_provider(admin, "openai", keep).await.unwrap().credentials[0].weight, 3);
    world.control.policy_is_current().await.unwrap();
    let version = world.control.policy().borrow().clone();
    let secrets: Vec<String> = version
        .set
        .iter()
        .filter_map(|object| match object {
            PolicyObject::Provider(provider) => Some(provider.credentials[0].secret.expose().to_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(secrets, ["sk-other"]);
}

/// URLs that carry a secret, and what their refusal says.
pub(super) const SECRET_URLS: [(&str, &str); 4] = [
    ("https://user:canary@host/v1", "put the secret under `credentials`"),
    ("ftp://canary@host/v1", "put the secret under `credentials`"),
    ("https://host/v1?key=canary", "no query and no fragment"),
    ("https://host/v1#canary", "no query and no fragment"),
];

#[tokio::test]
async fn providers_and_models_are_checked_and_guarded() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let mut body = provider_body("amazon");
    body.dialect = "smoke".into();
    let error = app.create_provider(admin, body.clone()).await.unwrap_err();
    assert!(error.to_string().contains("is no dialect"), "{error}");
    for url in ["ftp://x", "https://", "api.openai.com", "https://user@host/", "https://a b", "http://?"] {
        let body = crate::CreateProvider { base_url: Some(url.into()), ..provider_body("x") };
        assert_eq!(paths(&app.create_provider(admin, body).await.unwrap_err()), ["base_url"], "{url}");
    }
    world.provider("openai").await;
    for (url, what) in SECRET_URLS {
        let update = UpdateProvider { base_url: Some(url.into()), ..UpdateProvider::default() };
        let error = app.update_provider(admin, "openai", update).await.unwrap_err();
        assert_eq!(paths(&error), ["base_url"], "{url}");
        assert!(error.to_string().contains(what) && !error.to_string().contains("canary"), "{error}");
    }
    world.model("cheap", "openai", &[]).await;
    world.model("chat", "openai", &["cheap"]).await;
    let circle = UpdateModel { fallbacks: Some(Some(vec!["chat".into()])), ..UpdateModel::default() };
    assert_eq!(paths(&app.update_model(admin, "cheap", circle).await.unwrap_err()), ["fallbacks[0]"]);
    let body =
        CreateModel { name: "openai".into(), targets: vec![target("nobody")], ..CreateModel::default() };
    assert_eq!(paths(&app.create_model(admin, body).await.unwrap_err()), ["targets[0].provider", "name"]);
    assert_eq!(app.delete_model(admin, "cheap").await.unwrap_err().status(), 409);
    assert_eq!(app.delete_provider(admin, "openai").await.unwrap_err().status(), 409);
    let defaults = serde_json::from_str(r#"{"defaults":{"chat":"chat"}}"#).unwrap();
    app.update_default_models(admin, defaults).await.unwrap();
    assert_eq!(app.delete_model(admin, "chat").await.unwrap_err().status(), 409);
    let defaults =
        serde_json::from_str(r#"{"defaults":{"chat":"none","messages":"chat","smell":"chat"}}"#).unwrap();
    let error = app.update_default_models(admin, defaults).await.unwrap_err();
    assert_eq!(paths(&error), ["defaults.chat", "defaults.messages", "defaults.smell"]);
}

/// What a pod would refuse in whole must not be stored: then no other change would reach it either.
#[tokio::test]
async fn a_chain_of_fallbacks_is_as_long_as_pods_allow_and_no_longer() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    world.provider("openai").await;
    world.model("m0", "openai", &[]).await;
    for n in 1..=8 {
        world.model(&format!("m{n}"), "openai", &[&format!("m{}", n - 1), "m0"]).await;
    }
    let revision = world.store.policy_revision().await.unwrap();
    assert_eq!(world.control.policy_is_current().await.unwrap(), revision);
    let fallbacks = |model: &str| vec![model.to_owned()];
    let one_more = CreateModel {
        name: "m9".into(),
        targets: vec![target("openai")],
        fallbacks: fallbacks("m8"),
        ..CreateModel::default()
    };
    assert_eq!(paths(&app.create_model(admin, one_more).await.unwrap_err()), ["fallbacks[0]"]);
    world.model("end", "openai", &[]).await;
    let longer = UpdateModel { fallbacks: Some(Some(fallbacks("end"))), ..UpdateModel::default() };
    assert_eq!(paths(&app.update_model(admin, "m0", longer).await.unwrap_err()), ["fallbacks[0]"]);
}

#[tokio::test]
async fn a_first_price_has_always_held_and_a_later_one_holds_from_now_on() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let row = |meter: &str, price: &str| CreatePrice {
        provider: "openai".into(),
        model: "m".into(),
        meter: Some(meter.into()),
        price: Some(price.into()),
        ..CreatePrice::default()
    };
    let free = CreatePrice { meter: None, price: None, free: true, ..row("", "") };
    let long = CreatePrice { context_from: 1_000, ..row("input", "3") };
    let always = tollgate_domain::UnixMillis(0);
    for (body, start) in [
        (row("input", "1"), always),
        (row("output", "2"), always),
        (long, always),
        (CreatePrice { model: "other".into(), ..row("input", "1") }, always),
        (row("input", "4"), NOW),
        // It takes the place of all of them, and a price after it takes its place.
        (free, NOW),
        (row("output", "5"), NOW),
        (row("request", "6"), NOW),
    ] {
        let created = app.create_price(admin, body.clone()).await.unwrap();
        assert_eq!(created.effective_from.0, start, "{body:?}");
    }
    let own = CreatePrice { tenant: Some("acme".into()), ..row("input", "1") };
    assert_eq!(paths(&app.create_price(admin, own).await.unwrap_err()), ["tenant"]);
}

#[tokio::test]
async fn prices_leave_the_past_as_it_was_charged() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let row = |price: &str, from: Option<&str>| CreatePrice {
        provider: "openai".into(),
        model: "m".into(),
        meter: Some("request".into()),
        price: Some(price.into()),
        effective_from: from.map(str::to_owned),
        ..CreatePrice::default()
    };
    let first = app.create_price(admin, row("0.01", Some("2026-01-01T00:00:00Z"))).await.unwrap();
    assert_eq!((first.price.as_str(), first.free), ("0.01", false));
    let past = app.create_price(admin, row("0.02", Some("2026-02-01T00:00:00Z"))).await.unwrap_err();
    assert_eq!(paths(&past), ["effective_from"]);
    let now = app.create_price(admin, row("0.02", None)).await.unwrap();
    assert_eq!(now.effective_from.0, NOW);
    let later = app.create_price(admin, row("0.03", Some("2027-02-01T00:00:00Z"))).await.unwrap();
    assert_eq!(app.delete_price(admin, &now.id).await.unwrap_err().status(), 409);
    app.delete_price(admin, &later.id).await.unwrap();
    let free =
        CreatePrice { provider: "openai".into(), model: "*".into(), free: true, ..CreatePrice::default() };
    assert!(app.create_price(admin, free).await.unwrap().free);
    let nothing = CreatePrice { provider: "openai".into(), model: "*".into(), ..CreatePrice::default() };
    assert_eq!(paths(&app.create_price(admin, nothing).await.unwrap_err()), ["meter", "price"]);
}

#[tokio::test]
async fn a_wrong_master_key_is_noticed_at_the_start() {
    let world = World::new().await;
    let again = start(world.store.clone(), world.ledger.clone(), world.clock.clone(), 8).await.unwrap_err();
    assert!(again.to_string().contains("TOLLGATE_MASTER_KEY is not the one"), "{again}");
    start(world.store.clone(), world.ledger.clone(), world.clock.clone(), 7).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn policy_in_this_process_follows_every_write() {
    let world = World::new().await;
    world.tenant("acme").await;
    let key = world.key("acme", "bot", "prod").await;
    let state = |world: &World| {
        let version = world.control.policy().borrow().clone();
        version.set.iter().find_map(|object| match object {
            PolicyObject::Key(policy) if policy.id.to_string() == key.key.id => Some(policy.state),
            _ => None,
        })
    };
    world.control.policy_is_current().await.unwrap();
    assert_eq!(state(&world), Some(KeyState::Active));
    world.app().revoke_key(&world.admin, "prod").await.unwrap();
    world.control.policy_is_current().await.unwrap();
    assert_ne!(state(&world), Some(KeyState::Active));
    world.app().delete_tenant(&world.admin, "acme", true).await.unwrap();
    world.control.policy_is_current().await.unwrap();
    assert_eq!(state(&world), None);
}

#[tokio::test]
async fn a_repeated_write_gets_the_first_answer_which_lies_encrypted() {
    let world = World::new().await;
    let app = world.app();
    let write = IdempotentWrite::new(&world.admin, "key-1", &[b"POST", b"/x", b"{}"]);
    assert_eq!(app.begin_idempotent(&write).await.unwrap(), IdempotentState::First);
    assert_eq!(app.begin_idempotent(&write).await.unwrap(), IdempotentState::InProgress);
    let answer = IdempotentAnswer { status: 201, body: r#"{"secret":"tgk_canary"}"#.into() };
    app.finish_idempotent(&write, &answer).await.unwrap();
    assert!(!format!("{answer:?}").contains("canary"));
    assert_eq!(app.begin_idempotent(&write).await.unwrap(), IdempotentState::Done(answer));
    let other = IdempotentWrite::new(&world.admin, "key-1", &[b"POST", b"/x", b"{ }"]);
    assert_eq!(app.begin_idempotent(&other).await.unwrap(), IdempotentState::Mismatch);
    let stranger = Actor::new("bob", Role::PlatformAdmin);
    let stranger = IdempotentWrite::new(&stranger, "key-1", &[b"POST", b"/x", b"{}"]);
    assert_eq!(app.begin_idempotent(&stranger).await.unwrap(), IdempotentState::First);
    app.abandon_idempotent(&stranger).await.unwrap();
    assert_eq!(app.begin_idempotent(&stranger).await.unwrap(), IdempotentState::First);
}
