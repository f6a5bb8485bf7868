//! What a tenant pays: general prices, its own rows, and the margin rule that holds.

use tollgate_catalog::PriceSheet;
use tollgate_domain::{BasisPoints, MarginId, Usage};

use super::*;

const OTHER: TenantId = TenantId::from_u128(71);
const OTHER_SECRET: &str = "sk-the-key-of-another-tenant";

/// Another tenant with a key, which pays what everybody does unless a case says otherwise.
fn other_tenant() -> Vec<PolicyObject> {
    let project = ProjectId::from_u128(72);
    vec![
        PolicyObject::Tenant(TenantPolicy { id: OTHER, name: "other".to_owned(), ..tenant() }),
        PolicyObject::Project(ProjectPolicy { id: project, tenant: OTHER, ..super::project() }),
        PolicyObject::Key(KeyPolicy {
            id: KeyId::from_u128(73),
            project,
            hash: ApiKeySecret::parse(OTHER_SECRET).unwrap().hash(&pepper()),
            ..key()
        }),
    ]
}

fn rule(
    id: u128,
    tenant: Option<TenantId>,
    provider: Option<&str>,
    model: Option<&str>,
    percent: &str,
) -> PolicyObject {
    PolicyObject::Margin(MarginRule {
        id: MarginId::from_u128(id),
        tenant,
        provider: provider.map(str::to_owned),
        model: model.map(str::to_owned),
        basis_points: percent.parse().unwrap(),
        effective_from: UnixMillis(0),
    })
}

fn own_price(id: u128, model: &str, meter: Option<Meter>, per_million: &str) -> PolicyObject {
    let provider = if model.starts_with("gpt") { "openai" } else { "local" };
    PolicyObject::Price(PriceRow { tenant: Some(TENANT), ..price(id, provider, model, meter, per_million) })
}

fn sheet_of(snapshot: &Snapshot, secret: &str, requested: &str, now: UnixMillis) -> Option<PriceSheet> {
    let context = snapshot.authenticate(secret, NOW).unwrap();
    let plan = snapshot.plan(context, requested).unwrap();
    context.price_sheet(&plan.candidates[0], now)
}

/// What a million prompt tokens cost the customer and the provider bills, in micro-USD.
fn input_price(snapshot: &Snapshot, secret: &str, requested: &str) -> Option<(i64, i64)> {
    let sheet = sheet_of(snapshot, secret, requested, NOW)?;
    let charge = sheet.cost(&Usage::ZERO.with(Meter::Input, 1_000_000), ServiceTier::Standard);
    Some((charge.total.0 / 1_000, charge.provider_total.0 / 1_000))
}

/// Acme's and the other tenant's prices of a model under some objects.
fn prices(objects: Vec<PolicyObject>, requested: &str) -> [Option<(i64, i64)>; 2] {
    let snapshot = snapshot_with(other_tenant().into_iter().chain(objects));
    [SECRET, OTHER_SECRET].map(|secret| input_price(&snapshot, secret, requested))
}

#[test]
fn the_most_specific_margin_is_on_the_providers_price() {
    const MODEL: &str = "openai/gpt-5-mini";
    let some = |customer| Some((customer, 500_000));
    let all = || rule(1, None, None, None, "10");
    let acme = || rule(2, Some(TENANT), None, None, "20");
    let openai = || rule(3, None, Some("openai"), None, "30");
    let acme_openai = || rule(4, Some(TENANT), Some("openai"), None, "40");
    let mini = || rule(5, None, None, Some("gpt-5-mini"), "50");
    let acme_mini = || rule(6, Some(TENANT), None, Some("gpt-5-mini"), "60");
    let cases = [
        (vec![], some(500_000), some(500_000)),
        (vec![all()], some(550_000), some(550_000)),
        (vec![all(), acme()], some(600_000), some(550_000)),
        (vec![acme()], some(600_000), some(500_000)),
        (vec![all(), acme(), openai()], some(650_000), some(650_000)),
        (vec![acme(), openai(), acme_openai()], some(700_000), some(650_000)),
        (vec![acme_openai(), mini()], some(750_000), some(750_000)),
        (vec![acme(), mini(), acme_mini(), all()], some(800_000), some(750_000)),
        (vec![rule(7, None, Some("backup"), None, "99")], some(500_000), some(500_000)),
        (vec![rule(8, None, None, Some("gpt-5"), "99")], some(500_000), some(500_000)),
        (vec![rule(9, Some(OTHER), None, None, "-100")], some(500_000), some(0)),
    ];
    for (n, (rules, acme, other)) in cases.into_iter().enumerate() {
        assert_eq!(prices(rules, MODEL), [acme, other], "case {n}");
    }
}

#[test]
fn a_tenants_own_row_goes_before_every_margin_and_leaves_the_providers_price() {
    let own = || own_price(81, "gpt-5-mini", Some(Meter::Input), "0.45");
    let with_rules = |rules: Vec<PolicyObject>| prices([vec![own()], rules].concat(), "openai/gpt-5-mini");
    let (acme, other) = (Some((450_000, 500_000)), Some((500_000, 500_000)));
    assert_eq!(with_rules(vec![]), [acme, other]);
    let raised = Some((550_000, 500_000));
    assert_eq!(with_rules(vec![rule(1, None, None, None, "10")]), [acme, raised]);
    assert_eq!(with_rules(vec![rule(1, Some(TENANT), None, Some("gpt-5-mini"), "99")]), [acme, other]);
    // what it has no row for is the provider's with the margin
    let snapshot = snapshot_with([own(), rule(1, Some(TENANT), None, None, "10")]);
    let sheet = sheet_of(&snapshot, SECRET, "openai/gpt-5-mini", NOW).unwrap();
    let usage = Usage::ZERO.with(Meter::Input, 1_000).with(Meter::Output, 1_000);
    let charge = sheet.cost(&usage, ServiceTier::Standard);
    assert_eq!((charge.total, charge.provider_total), (NanoUsd(450_000 + 2_200_000), NanoUsd(2_500_000)));
    assert_eq!(charge.lines.iter().map(|line| line.tenant_price).collect::<Vec<_>>(), [true, false]);
    let provider_lines = charge.provider_lines.unwrap();
    assert!(provider_lines.iter().all(|line| !line.tenant_price));
    assert_eq!(provider_lines[0].price_row, Some(PriceId::from_u128(33)));
    assert_eq!(charge.margin.unwrap().rule, MarginId::from_u128(1));
}

#[test]
fn a_row_for_any_model_prices_what_nothing_else_names() {
    let any = || own_price(82, ANY_MODEL, Some(Meter::Input), "3");
    let local = |model| prices(vec![any()], &format!("local/{model}"));
    // general `*` says free; acme's own says otherwise, and the provider still bills nothing
    assert_eq!(local("llama"), [Some((3_000_000, 0)), Some((0, 0))]);
    let named = || own_price(83, "llama", Some(Meter::Input), "1");
    assert_eq!(prices(vec![any(), named()], "local/llama")[0], Some((1_000_000, 0)));
    // a model with a row of its own is not the star's
    let star = PolicyObject::Price(PriceRow {
        tenant: Some(TENANT),
        ..price(84, "openai", ANY_MODEL, Some(Meter::Input), "9")
    });
    assert_eq!(prices(vec![star.clone()], "openai/gpt-5-mini")[0], Some((500_000, 500_000)));
    assert_eq!(prices(vec![star], "openai/unheard-of"), [Some((9_000_000, 9_000_000)), None]);
}

#[test]
fn a_margin_is_on_the_star_too_and_a_rule_may_name_what_it_prices() {
    let star = || PolicyObject::Price(price(85, "backup", ANY_MODEL, Some(Meter::Input), "2"));
    let some = |customer| Some((customer, 2_000_000));
    let cases = [
        (vec![star()], some(2_000_000)),
        (vec![star(), rule(1, None, None, None, "10")], some(2_200_000)),
        (
            vec![star(), rule(1, None, None, None, "10"), rule(2, None, None, Some("x"), "20")],
            some(2_400_000),
        ),
        (
            vec![star(), rule(1, Some(TENANT), None, None, "30"), rule(2, None, None, Some("y"), "20")],
            some(2_600_000),
        ),
        (
            vec![star(), rule(1, Some(TENANT), None, None, "30"), rule(2, None, None, Some("x"), "20")],
            some(2_400_000),
        ),
    ];
    for (n, (objects, acme)) in cases.into_iter().enumerate() {
        let snapshot = snapshot_with(objects);
        assert_eq!(input_price(&snapshot, SECRET, "backup/x"), acme, "case {n}");
        let context = context(&snapshot);
        let listed = snapshot.visible_models(&context).any(|info| info.id.as_ref() == "backup/x");
        assert!(!listed, "case {n}: a rule lists no model");
    }
}

#[test]
fn everything_begins_when_it_says() {
    let at = |from, object| match object {
        PolicyObject::Price(row) => PolicyObject::Price(PriceRow { effective_from: UnixMillis(from), ..row }),
        PolicyObject::Margin(rule) => {
            PolicyObject::Margin(MarginRule { effective_from: UnixMillis(from), ..rule })
        }
        other => other,
    };
    let snapshot = snapshot_with([
        at(100, rule(1, None, None, None, "10")),
        at(200, rule(2, Some(TENANT), None, None, "20")),
        at(300, own_price(86, "gpt-5-mini", Some(Meter::Input), "0.1")),
        at(400, own_price(87, "gpt-5-mini", None, "0")),
        at(500, own_price(88, "gpt-5-mini", Some(Meter::Input), "0.2")),
        at(600, rule(3, Some(TENANT), None, None, "0")),
    ]);
    let cost = |now| {
        let sheet = sheet_of(&snapshot, SECRET, "openai/gpt-5-mini", UnixMillis(now)).unwrap();
        let usage = Usage::ZERO.with(Meter::Input, 1_000).with(Meter::Output, 1_000);
        let charge = sheet.cost(&usage, ServiceTier::Standard);
        assert_eq!(charge.provider_total, NanoUsd(2_500_000), "at {now}");
        charge.total.0
    };
    for (now, nanos) in [
        (99, 2_500_000),
        (100, 2_750_000),
        (200, 3_000_000),
        (300, 100_000 + 2_400_000),
        (400, 0),
        (500, 200_000 + 2_400_000),
        (600, 200_000 + 2_000_000),
    ] {
        assert_eq!(cost(now), nanos, "at {now}");
    }
    assert!(sheet_of(&snapshot, SECRET, "openai/gpt-5-mini", UnixMillis(450)).unwrap().is_free());
}

#[test]
fn a_margin_that_takes_everything_away_is_free_of_charge() {
    let snapshot = snapshot_with([rule(1, Some(TENANT), None, None, "-100")]);
    let sheet = sheet_of(&snapshot, SECRET, "openai/gpt-5-mini", NOW).unwrap();
    assert!(sheet.is_free() && !sheet.charges(Meter::Output));
    assert_eq!(sheet.margin().unwrap().basis_points, BasisPoints::LEAST);
}

#[test]
fn rows_and_rules_of_a_tenant_that_is_gone_concern_nobody() {
    let gone = TenantId::from_u128(99);
    let row = PriceRow { tenant: Some(gone), ..price(89, "openai", "gpt-5-mini", Some(Meter::Input), "7") };
    let snapshot = snapshot_with([PolicyObject::Price(row), rule(1, Some(gone), None, None, "50")]);
    assert_eq!(input_price(&snapshot, SECRET, "openai/gpt-5-mini"), Some((500_000, 500_000)));
}
