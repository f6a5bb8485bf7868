//! Margin rules and prices of single tenants: their fields, their starts, and as a document.

use serde_json::{Value, json};
use tollgate_domain::{Id, NanoUsd, RequestOutcome, SettlementBasis, Surface, UnixMillis, Usage, UsageEvent};

use super::harness::{NOW, World, paths};
use crate::{Actor, ApplyOptions, CreateMargin, CreatePrice, MarginQuery, Role};

const PLAIN: ApplyOptions = ApplyOptions { dry_run: false, prune: false };
const PRUNE: ApplyOptions = ApplyOptions { dry_run: false, prune: true };
const DRY_RUN: ApplyOptions = ApplyOptions { dry_run: true, prune: false };

fn margin(percent: &str) -> CreateMargin {
    CreateMargin { percent: percent.into(), ..CreateMargin::default() }
}

fn price(tenant: Option<&str>, text: &str, from: Option<&str>) -> CreatePrice {
    CreatePrice {
        provider: "openai".into(),
        model: "gpt-5-mini".into(),
        tenant: tenant.map(str::to_owned),
        meter: Some("input".into()),
        price: Some(text.into()),
        effective_from: from.map(str::to_owned),
        ..CreatePrice::default()
    }
}

/// A request of a tenant that ended now.
async fn charge(world: &World, tenant: &str) {
    let tenant = world.app().tenant(&world.admin, tenant).await.unwrap().id;
    let event = UsageEvent {
        event: Id::from_u128(1),
        request: Id::from_u128(1),
        hold: Id::from_u128(1),
        tenant: tenant.parse().unwrap(),
        project: Id::from_u128(2),
        key: Id::from_u128(3),
        end_user: None,
        labels: std::collections::BTreeMap::new(),
        surface: Surface::Chat,
        requested_model: "m".into(),
        provider: "openai".into(),
        model: "m".into(),
        streamed: false,
        admitted_at: NOW,
        finished_at: NOW,
        held: NanoUsd(1),
        cost: NanoUsd::ZERO,
        provider_cost: NanoUsd::ZERO,
        margin: None,
        provider_charge: None,
        usage: Usage::ZERO,
        charge: Vec::new(),
        basis: SettlementBasis::Provider,
        outcome: RequestOutcome::Ok,
        status: 200,
        attempts: Vec::new(),
        duration_ms: 1,
        first_byte_ms: None,
        overhead_us: 1,
        policy_revision: 1,
    };
    world.store.journal_events(&[event]).await.unwrap();
}

#[tokio::test]
async fn rules_are_checked_listed_and_deleted_before_they_hold() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let acme = world.tenant("acme").await;
    let own = CreateMargin {
        tenant: Some("acme".into()),
        provider: Some("openai".into()),
        model: Some("org/gpt-5:mini".into()),
        effective_from: Some("2027-01-01T00:00:00Z".into()),
        ..margin("-12.50")
    };
    let made = app.create_margin(admin, own.clone()).await.unwrap();
    assert_eq!((made.percent.as_str(), made.tenant_id.as_deref()), ("-12.5", Some(acme.id.as_str())));
    assert_eq!(app.margin(admin, &made.id).await.unwrap(), made);
    assert_eq!(app.create_margin(admin, own.clone()).await.unwrap_err().status(), 409);
    let general = app.create_margin(admin, margin("10")).await.unwrap();
    assert_eq!((general.effective_from.0, &general.tenant), (NOW, &None));
    let query = MarginQuery { tenant: Some("acme".into()), ..MarginQuery::default() };
    assert_eq!(app.list_margins(admin, &query).await.unwrap().data, std::slice::from_ref(&made));
    assert_eq!(app.list_margins(admin, &MarginQuery::default()).await.unwrap().data.len(), 2);
    assert_eq!(app.delete_margin(admin, &general.id).await.unwrap_err().status(), 409);
    assert_eq!(app.delete_margin(admin, &made.id).await.unwrap(), made);
    assert_eq!(app.margin(admin, &made.id).await.unwrap_err().status(), 404);

    let wrong = CreateMargin {
        tenant: None,
        provider: Some("Open AI".into()),
        model: Some("*".into()),
        percent: "10%".into(),
        effective_from: Some("tomorrow".into()),
    };
    let refused = app.create_margin(admin, wrong).await.unwrap_err();
    assert_eq!(paths(&refused), ["provider", "model", "percent", "effective_from"]);
    for percent in ["-100.01", "10000.01", "1.234", ""] {
        assert_eq!(
            paths(&app.create_margin(admin, margin(percent)).await.unwrap_err()),
            ["percent"],
            "{percent}"
        );
    }
    let of_nobody = CreateMargin { tenant: Some("nobody".into()), ..own };
    assert_eq!(paths(&app.create_margin(admin, of_nobody).await.unwrap_err()), ["tenant"]);
    // margins are the operator's own business
    let of_acme = Actor::new("bob", Role::TenantAdmin(acme.id.parse().unwrap()));
    assert_eq!(app.list_margins(&of_acme, &MarginQuery::default()).await.unwrap_err().status(), 403);
    assert_eq!(app.create_margin(&of_acme, margin("1")).await.unwrap_err().status(), 403);
}

#[tokio::test]
async fn nothing_is_priced_anew_that_was_charged() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    world.tenant("acme").await;
    world.tenant("idle").await;
    let past = Some("2026-01-01T00:00:00Z");
    let of = |tenant: Option<&str>| CreateMargin {
        tenant: tenant.map(str::to_owned),
        effective_from: past.map(str::to_owned),
        ..margin("5")
    };
    // nobody was charged yet
    app.create_price(admin, price(Some("acme"), "0.20", past)).await.unwrap();
    charge(&world, "acme").await;
    for refused in [
        app.create_margin(admin, of(None)).await.unwrap_err(),
        app.create_margin(admin, of(Some("acme"))).await.unwrap_err(),
        app.create_price(admin, price(Some("acme"), "0.19", Some("2026-02-01T00:00:00Z"))).await.unwrap_err(),
    ] {
        assert_eq!(paths(&refused), ["effective_from"]);
        assert!(
            refused.to_string().contains("past") || format!("{refused:?}").contains("past"),
            "{refused:?}"
        );
    }
    app.create_margin(admin, of(Some("idle"))).await.unwrap();
    app.create_price(admin, price(Some("idle"), "0.20", past)).await.unwrap();
    let row = app.create_price(admin, price(Some("acme"), "0.18", None)).await.unwrap();
    assert_eq!((row.effective_from.0, row.tenant.as_deref()), (NOW, Some("acme")));
    let later =
        app.create_price(admin, price(Some("acme"), "0.17", Some("2027-01-01T00:00:00Z"))).await.unwrap();
    app.delete_price(admin, &later.id).await.unwrap();
    // everybody's price is not the tenant's
    let general = app.create_price(admin, price(None, "0.25", None)).await.unwrap();
    assert_eq!(general.effective_from.0, UnixMillis(0));
}

#[tokio::test]
async fn a_price_that_cannot_be_meant_is_refused_with_the_reason() {
    let world = World::new().await;
    let of = |meter: &str, text: &str| CreatePrice { meter: Some(meter.into()), ..price(None, text, None) };
    for (meter, text, reason) in [
        ("input", "0.00000025", "looks like a price per token"),
        ("output", "15000", "looks like a price per token"),
        ("request", "50000", "too large an amount"),
        ("search", "0.00000001", "divided by a million"),
    ] {
        let refused = world.app().create_price(&world.admin, of(meter, text)).await.unwrap_err();
        assert_eq!(paths(&refused), ["price"], "{meter} {text}");
        assert!(format!("{refused:?}").contains(reason), "{meter} {text}: {refused:?}");
    }
    world.app().create_price(&world.admin, of("input", "0")).await.unwrap();
}

#[expect(clippy::needless_pass_by_value, reason = "callers read better without the ampersands")]
fn document(prices: Value, margins: Value) -> Value {
    json!({
        "version": 1,
        "providers": [{ "name": "openai", "dialect": "openai", "base_url": "http://127.0.0.1:9/v1" }],
        "prices": prices,
        "margins": margins,
        "tenants": [{ "name": "acme" }],
    })
}

async fn apply(world: &World, document: Value, options: ApplyOptions) -> Vec<String> {
    let document = serde_json::from_value(document).unwrap();
    let report = world.app().apply_config(&world.admin, document, options).await.unwrap();
    let changed = report.changes.into_iter().filter(|change| change.action != crate::ChangeAction::Unchanged);
    changed.map(|change| format!("{:?} {} {}", change.action, change.kind, change.name)).collect()
}

#[tokio::test]
async fn a_document_makes_them_once_and_writes_them_down() {
    let world = World::new().await;
    let first = document(
        json!([
            { "tenant": "acme", "provider": "openai", "model": "m", "input": "0.2" },
            { "provider": "openai", "model": "m", "input": "0.25", "output": "2" }
        ]),
        json!([
            { "percent": "10" },
            { "tenant": "acme", "model": "m", "percent": "12.50" },
            { "provider": "openai", "percent": "-5", "effective_from": "2027-01-01T00:00:00Z" }
        ]),
    );
    let expected = [
        "Create price openai/m input",
        "Create price openai/m output",
        "Create margin */*",
        "Create margin openai/*",
        "Create provider openai",
        "Create tenant acme",
        "Create price openai/m input",
        "Create margin */m for acme",
    ];
    assert_eq!(apply(&world, first.clone(), DRY_RUN).await, expected);
    assert_eq!(apply(&world, first.clone(), PLAIN).await, expected);
    assert_eq!(apply(&world, first.clone(), PRUNE).await, [""; 0], "a second time changes nothing");
    let exported = world.app().export_config(&world.admin).await.unwrap();
    let written = serde_json::to_value(&exported).unwrap();
    let margins = json!([
        { "percent": "10" },
        { "provider": "openai", "percent": "-5", "effective_from": "2027-01-01T00:00:00.000Z" },
        { "tenant": "acme", "model": "m", "percent": "12.5" }
    ]);
    assert_eq!(written["margins"], margins);
    let prices = written["prices"].as_array().unwrap();
    assert!(
        prices.contains(&json!({ "tenant": "acme", "provider": "openai", "model": "m", "input": "0.2" })),
        "{prices:?}"
    );
    // another installation becomes the same one
    let other = World::new().await;
    apply(&other, written, PLAIN).await;
    assert_eq!(other.app().export_config(&other.admin).await.unwrap(), exported);

    let mut next = first.clone();
    next["margins"] = json!([{ "percent": "11" }]);
    next["prices"].as_array_mut().unwrap().remove(0);
    assert_eq!(apply(&world, next.clone(), DRY_RUN).await, ["Create margin */*"]);
    world.clock.advance_ms(1);
    let changed = apply(&world, next, PRUNE).await;
    assert_eq!((changed[0].as_str(), changed.len()), ("Create margin */*", 2), "{changed:?}");
    assert!(changed[1].starts_with("Delete margin"), "the one to come: {changed:?}");
}

#[tokio::test]
async fn every_problem_of_a_document_has_its_path() {
    let twice = json!([
        { "percent": "ten" },
        { "percent": "1", "tenant": "nobody" },
        { "percent": "1", "provider": "nowhere" },
        { "percent": "2", "model": "m" },
        { "percent": "3", "model": "m" }
    ]);
    let prices = json!([{ "tenant": "nobody", "provider": "openai", "model": "m", "input": "1" }]);
    let document = serde_json::from_value(document(prices, twice)).unwrap();
    let problems = crate::validate(&document);
    let found: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    let expected =
        ["prices[0].tenant", "margins[0].percent", "margins[1].tenant", "margins[2].provider", "margins[4]"];
    assert_eq!(found, expected);
}
