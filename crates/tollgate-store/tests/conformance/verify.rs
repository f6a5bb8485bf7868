//! The proof: green over everything that can be journaled, and one corrupted row of each table is named.

use tollgate_domain::{
    AppliedMargin, BasisPoints, BudgetWindow, ChargeLine, CreditId, MarginId, Meter, NanoUsd, Period,
    PriceId, PricePerMillion, SettlementBasis, TenantId, TimeZoneName, UnixMillis, UsageEvent,
};
use tollgate_store::{CreditKind, JournalProof, NewCredit, StoreError};

use crate::fixture::Fixture;
use crate::samples::{NEW_YEAR, cost_of, credit, ctx, ctx_at, event, project, tenant};

crate::on_both_databases!(
    an_untouched_journal_is_proven,
    a_corrupted_row_of_each_table_is_named,
    a_corrupted_sum_is_named,
    costs_follow_from_their_lines,
    statements_balance_to_the_nano_dollar,
    a_statement_of_wrong_sums_is_refused,
);

const TENANT: TenantId = TenantId::from_u128(1);
const DAY_MS: i64 = 86_400_000;

/// An event whose cost is that of its lines.
fn priced(n: u64, tenant: u128) -> UsageEvent {
    let line = ChargeLine {
        meter: Meter::Input,
        units: 100 + n,
        price: PricePerMillion(250_000_001),
        price_row: None,
        tenant_price: false,
        source: "operator".to_owned(),
    };
    let cost = NanoUsd::round_up_from_millionths(line.price.times(line.units));
    UsageEvent { charge: vec![line], cost, provider_cost: cost, ..event(n, tenant) }
}

/// The same with a margin of a tenth on top, and for every second one a request fee at the tenant's own price.
fn with_margin(n: u64, tenant: u128) -> UsageEvent {
    let plain = priced(n, tenant);
    let own = ChargeLine {
        meter: Meter::Request,
        units: 1,
        price: PricePerMillion(7_000_000_000),
        price_row: Some(PriceId::from_u128(6)),
        tenant_price: true,
        source: "operator".to_owned(),
    };
    let provider_charge = plain.charge.clone();
    let mut sum = plain.charge[0].price.times(plain.charge[0].units) * 11_000;
    let mut charge = plain.charge.clone();
    let has_own = n.is_multiple_of(2);
    if has_own {
        sum += own.price.times(1) * 10_000;
        charge.push(own);
    }
    UsageEvent {
        charge,
        margin: Some(AppliedMargin {
            rule: MarginId::from_u128(8),
            basis_points: BasisPoints::new(1_000).unwrap(),
        }),
        provider_charge: has_own.then_some(provider_charge),
        cost: NanoUsd::round_up_with_margin(sum),
        ..plain
    }
}

async fn filled(fixture: &Fixture) -> Vec<UsageEvent> {
    let store = &fixture.store;
    for n in 1..=2 {
        store.create_tenant(&ctx(), tenant(n)).await.unwrap();
    }
    store.create_project(&ctx(), project(100, 1)).await.unwrap();
    let lapse = NEW_YEAR.plus_ms(40 * DAY_MS);
    let grant = NewCredit {
        kind: CreditKind::Grant,
        expires_at: Some(lapse),
        ..credit(1, 1, NanoUsd(90_000_000), Some("trial"))
    };
    store.grant_credit(&ctx(), grant).await.unwrap();
    let kind = |n| if n % 3 == 0 { with_margin } else { priced };
    let mut all: Vec<_> = (0..300).map(|n| kind(n)(n, 1 + u128::from(n % 5 == 0))).collect();
    all[7].end_user = Some("a\0b".to_owned());
    // as its JSON has it, this is not a NUL
    all[9].end_user = Some("\\u0000 \0\\".to_owned());
    all[8].labels.insert("na\0me".to_owned(), "𝄞\0".to_owned());
    store.journal_events(&all).await.unwrap();
    store.grant_credit(&ctx_at(NEW_YEAR.plus_ms(5 * DAY_MS)), credit(2, 1, NanoUsd(70), None)).await.unwrap();
    let (id, trial) = (CreditId::from_u128(3), CreditId::from_u128(1));
    let expired =
        store.expire_credit(&ctx_at(lapse), trial, id, NanoUsd::ZERO, NanoUsd(i64::MAX)).await.unwrap();
    assert!(expired.is_some());
    let refund = NewCredit { kind: CreditKind::Refund, ..credit(4, 1, NanoUsd(-20), Some("back")) };
    store.grant_credit(&ctx_at(NEW_YEAR.plus_ms(50 * DAY_MS)), refund).await.unwrap();
    all
}

async fn prove(fixture: &Fixture) -> JournalProof {
    fixture.store.verify_journal().await.unwrap()
}

async fn an_untouched_journal_is_proven(fixture: &Fixture) {
    assert_eq!(prove(fixture).await, JournalProof::default());
    filled(fixture).await;
    let proof = prove(fixture).await;
    assert_eq!((proof.findings.as_slice(), proof.n_more_findings), ([].as_slice(), 0));
    assert_eq!((proof.requests, proof.credits, proof.entries, proof.wallet_totals), (300, 4, 4, 2));
    assert!(proof.spend_quarters > 300, "{}", proof.spend_quarters);
    assert!(proof.end_user_quarters > 100, "{}", proof.end_user_quarters);
}

/// As an operator with the owner's login could.
async fn drop_triggers(fixture: &Fixture) {
    for table in ["requests", "journal_entries", "credits"] {
        let drop = if fixture.is_postgres() {
            let on = if table == "requests" { "requests_default" } else { table };
            format!("DROP TRIGGER {table}_append_only ON {on}")
        } else {
            format!("DROP TRIGGER {table}_no_update")
        };
        fixture.raw(&drop).await.unwrap();
        if fixture.is_postgres() && table == "requests" {
            fixture.raw("DROP TRIGGER requests_append_only ON requests").await.unwrap();
        }
    }
}

fn literal(fixture: &Fixture, id: uuid::Uuid) -> String {
    if fixture.is_postgres() { format!("'{id}'") } else { format!("x'{}'", id.simple()) }
}

type Case = (&'static str, &'static str, &'static str, uuid::Uuid, &'static str, &'static str);

fn cases(fixture: &Fixture, request: uuid::Uuid) -> Vec<Case> {
    let (grant, topup) = (CreditId::from_u128(1).as_uuid(), CreditId::from_u128(2).as_uuid());
    // table, what is set, which row; then the table, row and value that must be named
    let mut cases = vec![
        ("requests", "cost_nano_usd = cost_nano_usd + 1", "event_id", request, "requests", "cost_nano_usd"),
        ("requests", "provider_cost_nano_usd = 0", "event_id", request, "requests", "provider_cost_nano_usd"),
        ("requests", "input_tokens = 1", "event_id", request, "requests", "input_tokens"),
        (
            "requests",
            "admitted_at_ms = admitted_at_ms + 900000",
            "event_id",
            request,
            "requests",
            "admitted_at_ms",
        ),
        (
            "requests",
            "event = replace(event, '\"cost\":\"0.', '\"cost\":\"1.')",
            "event_id",
            request,
            "requests",
            "cost by its charge lines",
        ),
        ("requests", "event = 'no event'", "event_id", request, "requests", "event"),
        ("journal_entries", "amount_nano_usd = 1", "id", topup, "journal_entries", "amount_nano_usd"),
        ("journal_entries", "credit_account = 'grants'", "id", topup, "journal_entries", "credit_account"),
        ("journal_entries", "reference = 'x'", "id", topup, "journal_entries", "reference"),
        ("credits", "amount_nano_usd = 71", "id", topup, "journal_entries", "amount_nano_usd"),
        (
            "credits",
            "settled_before_nano_usd = 999999999999",
            "id",
            topup,
            "credits",
            "settled_before_nano_usd",
        ),
        ("credits", "sequence = 9", "id", topup, "credits", "sequence"),
        ("credits", "amount_nano_usd = -90000000", "id", grant, "credits", "sign of the amount"),
    ];
    if fixture.is_postgres() {
        cases.extend([
            ("requests", "model = 'x'", "event_id", request, "requests", "model"),
            ("requests", "labels = '{}'", "event_id", request, "requests", "labels"),
            ("requests", "is_error = NOT is_error", "event_id", request, "requests", "is_error"),
        ]);
    }
    cases
}

async fn a_corrupted_row_of_each_table_is_named(fixture: &Fixture) {
    let all = filled(fixture).await;
    drop_triggers(fixture).await;
    for (table, set, key, id, named, what) in cases(fixture, all[33].event.as_uuid()) {
        // the row as it was comes back from a copy
        let filter = format!("WHERE {key} = {}", literal(fixture, id));
        fixture.raw(&format!("CREATE TABLE copy AS SELECT * FROM {table} {filter}")).await.unwrap();
        fixture.raw(&format!("UPDATE {table} SET {set} {filter}")).await.unwrap();
        let proof = prove(fixture).await;
        let is_named = |finding: &&tollgate_store::Finding| {
            finding.table == named && finding.id == id.to_string() && finding.what == what
        };
        let finding = proof.findings.iter().find(is_named);
        let finding = finding.unwrap_or_else(|| panic!("{table}: {set}: {:#?}", proof.findings));
        assert_ne!(finding.expected, finding.found);
        let column = set.split(' ').next().unwrap();
        let back =
            format!("UPDATE {table} SET {column} = (SELECT {column} FROM copy) {filter}; DROP TABLE copy");
        fixture.raw(&back).await.unwrap();
        assert_eq!(prove(fixture).await.findings, [], "{table}: {set}");
    }
}

async fn a_corrupted_sum_is_named(fixture: &Fixture) {
    filled(fixture).await;
    let tenant = TENANT.as_uuid();
    let sums = [
        ("wallet_totals", "charged_nano_usd = charged_nano_usd - 1", "tenant_id", "charged_nano_usd"),
        ("wallet_totals", "charges = charges + 1", "tenant_id", "charges"),
        ("spend_quarters", "cost_nano_usd = cost_nano_usd + 1", "owner_id", "cost_nano_usd"),
        ("spend_quarters", "requests = requests + 1", "owner_id", "requests"),
        ("end_user_quarters", "cost_nano_usd = cost_nano_usd + 1", "tenant_id", "cost_nano_usd"),
        ("end_user_quarters", "requests = requests + 1", "tenant_id", "requests"),
    ];
    for (table, set, key, what) in sums {
        let mut filter = format!("WHERE {key} = {}", literal(fixture, tenant));
        if table == "spend_quarters" {
            let quarter = "(SELECT MIN(quarter_starts_at_ms) FROM spend_quarters AS other WHERE owner_id = spend_quarters.owner_id)";
            filter.push_str(&format!(" AND quarter_starts_at_ms = {quarter}"));
        }
        if table == "end_user_quarters" {
            filter.push_str(" AND end_user = 'user-1' AND quarter_starts_at_ms = (SELECT MIN(quarter_starts_at_ms) FROM end_user_quarters WHERE end_user = 'user-1')");
        }
        fixture.raw(&format!("UPDATE {table} SET {set} {filter}")).await.unwrap();
        let findings = prove(fixture).await.findings;
        let id = tenant.to_string();
        let is_named = |finding: &&tollgate_store::Finding| {
            finding.table == table && finding.what == what && finding.id.contains(&id)
        };
        assert_eq!(findings.iter().filter(is_named).count(), 1, "{findings:#?}");
        let column = set.split(' ').next().unwrap();
        let sign = if set.contains('+') { "-" } else { "+" };
        fixture.raw(&format!("UPDATE {table} SET {column} = {column} {sign} 1 {filter}")).await.unwrap();
    }
    // rows that are missing
    fixture
        .raw(&format!("DELETE FROM wallet_totals WHERE tenant_id = {}", literal(fixture, tenant)))
        .await
        .unwrap();
    fixture.raw("DELETE FROM end_user_quarters WHERE end_user = 'user-2'").await.unwrap();
    let found = prove(fixture).await.findings;
    for table in ["wallet_totals", "end_user_quarters"] {
        let is_missing =
            |finding: &tollgate_store::Finding| finding.table == table && finding.found == "none";
        assert!(found.iter().any(is_missing), "{table}: {found:#?}");
    }
}

async fn costs_follow_from_their_lines(fixture: &Fixture) {
    let capped = UsageEvent { held: NanoUsd(10), cost: NanoUsd(10), ..priced(1, 1) };
    let estimate = UsageEvent {
        charge: Vec::new(),
        basis: SettlementBasis::Estimated,
        held: NanoUsd(10),
        cost: NanoUsd(9),
        ..priced(2, 1)
    };
    let free = UsageEvent {
        charge: Vec::new(),
        held: NanoUsd::ZERO,
        cost: NanoUsd::ZERO,
        provider_cost: NanoUsd::ZERO,
        ..priced(3, 1)
    };
    let free_for_the_tenant = UsageEvent {
        charge: Vec::new(),
        provider_charge: Some(priced(7, 1).charge),
        held: NanoUsd::ZERO,
        cost: NanoUsd::ZERO,
        ..priced(7, 1)
    };
    let raised = [with_margin(8, 1), with_margin(9, 1)];
    fixture.store.journal_events(&raised).await.unwrap();
    fixture.store.journal_events(&[capped, estimate.clone(), free, free_for_the_tenant]).await.unwrap();
    assert_eq!(prove(fixture).await.findings, []);
    let above_hold = UsageEvent { cost: NanoUsd(11), ..estimate };
    let above_hold = UsageEvent { event: priced(4, 1).event, request: priced(4, 1).request, ..above_hold };
    let cheap = UsageEvent { cost: NanoUsd(1), ..priced(5, 1) };
    let uncharged = UsageEvent { charge: Vec::new(), ..priced(6, 1) };
    let dear = UsageEvent { provider_cost: NanoUsd(1), ..with_margin(10, 1) };
    let without_margin = UsageEvent { margin: None, ..with_margin(11, 1) };
    let wrong = [above_hold, cheap, uncharged, dear, without_margin];
    fixture.store.journal_events(&wrong).await.unwrap();
    let findings = prove(fixture).await.findings;
    let mut named: Vec<_> = findings.iter().map(|finding| finding.id.clone()).collect();
    named.dedup();
    assert_eq!(named, wrong.map(|event| event.event.to_string()), "{findings:#?}");
}

/// The days of a month in the zone of the sample tenants.
fn days_of_month(moment: UnixMillis) -> Vec<Period> {
    let zone = TimeZoneName::parse("Europe/Berlin").unwrap();
    let month = zone.periods(BudgetWindow::Month, moment).unwrap().current;
    let mut days = Vec::new();
    let mut at = month.starts_at;
    while at < month.ends_at {
        let day = zone.periods(BudgetWindow::Day, at).unwrap().current;
        at = day.ends_at;
        days.push(day);
    }
    days
}

async fn statements_balance_to_the_nano_dollar(fixture: &Fixture) {
    let all = filled(fixture).await;
    let mut closing_before = NanoUsd::ZERO;
    // December to April: the clocks go forward in March
    for month in [-5, 20, 45, 75, 100] {
        let days = days_of_month(NEW_YEAR.plus_ms(month * DAY_MS));
        let statement = fixture.store.statement(TENANT, &days).await.unwrap();
        assert_eq!(statement.opening, closing_before, "{month}");
        closing_before = statement.closing;
        let mut seen = 0;
        for (index, day) in days.iter().enumerate() {
            let of_day: Vec<_> = all
                .iter()
                .filter(|event| event.tenant == TENANT && day.contains(event.admitted_at))
                .collect();
            let lines: Vec<_> = statement.charges.iter().filter(|charge| charge.day == index).collect();
            let cost: i64 = lines.iter().map(|line| line.cost.0).sum();
            assert_eq!(NanoUsd(cost), cost_of(of_day.iter().copied()), "{month} {index}");
            let requests: u64 = lines.iter().map(|line| line.requests).sum();
            assert_eq!(requests, of_day.len() as u64);
            for line in lines {
                let same = |event: &&&UsageEvent| {
                    (event.project, &event.provider, &event.model)
                        == (line.project, &line.provider, &line.model)
                };
                assert_eq!(line.cost, cost_of(of_day.iter().copied().filter(|event| same(&event))));
                let name = (line.project.as_uuid().as_u128() == 100).then(|| "project-100".to_owned());
                assert_eq!(line.project_name, name);
            }
            seen += of_day.len();
        }
        let added: i64 = statement.postings.iter().map(|posting| posting.amount.0).sum();
        let balance = statement.opening.0 + added - statement.charged.0;
        assert_eq!(NanoUsd(balance), statement.closing);
        assert_eq!(seen > 0, month > 0 && month < 100, "{month}");
    }
    let total = fixture.store.credit_total(TENANT).await.unwrap().sum;
    let settled = fixture.store.wallet_settled(TENANT).await.unwrap();
    assert_eq!(closing_before, total.saturating_sub(settled));
    let nobody = fixture.store.statement(TenantId::from_u128(9), &days_of_month(NEW_YEAR)).await.unwrap();
    assert_eq!((nobody.opening, nobody.closing, nobody.charges), (NanoUsd::ZERO, NanoUsd::ZERO, vec![]));
    assert!(fixture.store.statement(TENANT, &[]).await.is_err());
}

async fn a_statement_of_wrong_sums_is_refused(fixture: &Fixture) {
    filled(fixture).await;
    let days = days_of_month(NEW_YEAR.plus_ms(20 * DAY_MS));
    fixture.raw("UPDATE spend_quarters SET cost_nano_usd = cost_nano_usd + 1").await.unwrap();
    let refused = fixture.store.statement(TENANT, &days).await;
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
}
