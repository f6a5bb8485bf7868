use http::Method;
use serde_json::{Value, json};
use tollgate_domain::{
    Attempt, AttemptOutcome, ErrorKind, EventId, HoldId, Meter, NanoUsd, RequestId, RequestOutcome,
    SettlementBasis, Surface, UnixMillis, Usage, UsageEvent,
};

use crate::harness::{NOW, TestAdmin};

/// A finished request of `acme`'s `bot` with key `prod`.
fn event(number: u128, made: &crate::harness::Populated) -> UsageEvent {
    let now = UnixMillis::parse_rfc3339(NOW).unwrap();
    let id = |object: &Value| object["id"].as_str().unwrap().to_owned();
    UsageEvent {
        event: EventId::from_u128(1_000 + number),
        request: RequestId::from_u128(1_000 + number),
        hold: HoldId::from_u128(number),
        tenant: id(&made.tenant).parse().unwrap(),
        project: id(&made.project).parse().unwrap(),
        key: id(&made.key).parse().unwrap(),
        end_user: Some("=cmd|' /C calc'!A0".to_owned()),
        labels: [("department".to_owned(), "support, \"tier 2\"".to_owned())].into(),
        surface: Surface::Chat,
        requested_model: "chat-default".to_owned(),
        provider: "openai".to_owned(),
        model: "gpt-5-mini".to_owned(),
        streamed: false,
        admitted_at: now,
        finished_at: now.plus_ms(1_000),
        held: NanoUsd(1_000_000),
        cost: NanoUsd(125_000),
        provider_cost: NanoUsd(125_000),
        margin: None,
        provider_charge: None,
        usage: Usage::ZERO.with(Meter::Input, 100).with(Meter::Output, 50),
        charge: Vec::new(),
        basis: SettlementBasis::Provider,
        outcome: if number == 3 {
            RequestOutcome::Error(ErrorKind::UpstreamError)
        } else {
            RequestOutcome::Ok
        },
        status: if number == 3 { 502 } else { 200 },
        attempts: vec![Attempt {
            provider: "openai".to_owned(),
            model: "gpt-5-mini".to_owned(),
            credential: None,
            outcome: AttemptOutcome::Ok,
            status: Some(200),
            started_at: now,
            first_byte_ms: 100,
            duration_ms: 900,
            bill: None,
        }],
        duration_ms: 1_000,
        first_byte_ms: Some(150),
        overhead_us: 90,
        policy_revision: 6,
    }
}

async fn with_three_requests() -> TestAdmin {
    let admin = TestAdmin::start().await;
    let made = admin.populate().await;
    let events: Vec<UsageEvent> = (1..=3).map(|number| event(number, &made)).collect();
    admin.store.journal_events(&events).await.unwrap();
    admin
}

#[tokio::test]
async fn usage_is_reported_by_group() {
    let admin = with_three_requests().await;
    let report = admin.get("/usage?group_by=tenant,key,label:department&bucket=day").await;
    let rows = report["data"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{report}");
    let row = &rows[0];
    for (field, count) in [("requests", 3), ("input_tokens", 300), ("output_tokens", 150), ("errors", 1)] {
        assert_eq!(row[field], count, "{row}");
    }
    assert_eq!(row["cost_usd"], "0.000375", "{row}");
    let outside = admin.get("/usage?from=2026-11-23T00:00:00Z").await;
    let requests: Vec<&Value> =
        outside["data"].as_array().unwrap().iter().map(|row| &row["requests"]).collect();
    assert!(requests.iter().all(|count| **count == 0), "{outside}");
    let error = admin.refused(422, "GET", "/usage?group_by=colour", Value::Null).await;
    assert_eq!(error["fields"][0]["path"], "group_by", "{error}");
}

#[tokio::test]
async fn usage_as_a_table_is_safe_in_a_spreadsheet() {
    let admin = with_three_requests().await;
    let path = "/usage?format=csv&group_by=tenant,user,label:department";
    let answer = admin.call("GET", path, &Value::Null).await.expect_status(200).unwrap();
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8"));
    let expected = concat!(
        "tenant,user,label:department,requests,input_tokens,cached_tokens,output_tokens,cost_usd,provider_cost_usd,errors\r\n",
        "acme,'=cmd|' /C calc'!A0,\"support, \"\"tier 2\"\"\",3,300,0,150,0.000375,0.000375,1\r\n",
    );
    assert_eq!(answer.text(), expected);
    let with_buckets = admin.call("GET", "/usage?format=csv&bucket=day", &Value::Null).await.text();
    assert!(
        with_buckets.starts_with("bucket,requests,") && with_buckets.contains("2026-11-22T00:00:00"),
        "{with_buckets}"
    );
}

#[tokio::test]
async fn receipts_are_listed_and_looked_at() {
    let admin = with_three_requests().await;
    let list = admin.get("/requests?limit=2").await;
    assert_eq!(list["data"].as_array().unwrap().len(), 2, "{list}");
    let rest = admin.get(&format!("/requests?limit=2&after={}", list["next"].as_str().unwrap())).await;
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
    let id = RequestId::from_u128(1_003).to_string();
    let receipt = admin.get(&format!("/requests/{id}")).await;
    for (field, value) in [
        ("id", json!(id)),
        ("outcome", json!("upstream_error")),
        ("status", json!(502)),
        ("basis", json!("provider")),
        ("cost", json!("0.000125")),
    ] {
        assert_eq!(receipt[field], value, "{field}: {receipt}");
    }
    assert_eq!(receipt["attempts"].as_array().unwrap().len(), 1);
}

/// What is deleted keeps its name where it is accounted for, in receipts as in reports.
#[tokio::test]
async fn deleted_objects_are_named() {
    let admin = with_three_requests().await;
    let path = "/usage?group_by=tenant,project,key";
    let named = |report: &Value| {
        let row = report["data"][0].clone();
        ["tenant", "project", "key"].map(|field| row[field].as_str().unwrap_or_default().to_owned())
    };
    for object in ["/keys/prod", "/projects/bot", "/tenants/acme"] {
        admin.call("DELETE", object, &Value::Null).await.expect_status(200).unwrap();
        let (receipts, usage) = (admin.get("/requests").await, admin.get(path).await);
        assert_eq!(named(&receipts), ["acme", "bot", "prod"], "{object}: {receipts}");
        assert_eq!(named(&usage), ["acme", "bot", "prod"], "{object}: {usage}");
    }
}

#[tokio::test]
async fn statements_are_objects_tables_and_pages() {
    let admin = with_three_requests().await;
    let credit = json!({"amount": "5", "kind": "topup", "reference": "=1+1<script>"});
    admin.post("/tenants/acme/credits", credit).await;
    for path in ["/tenants/acme/statement?month=2026-11", "/tenants/acme/statement"] {
        let statement = admin.get(path).await;
        for (field, value) in [
            ("month", json!("2026-11")),
            ("opening_balance", json!("0")),
            ("charged", json!("0.000375")),
            ("closing_balance", json!("4.999625")),
        ] {
            assert_eq!(statement[field], value, "{field}: {statement}");
        }
        assert_eq!(statement["credits_by_kind"], json!([{"kind": "topup", "amount": "5"}]));
        let sum = |name: &str| json!([{"name": name, "requests": 3, "cost": "0.000375"}]);
        assert_eq!(statement["charges_by_project"], sum("bot"));
        assert_eq!(statement["charges_by_model"], sum("openai/gpt-5-mini"));
        assert_eq!(statement["charges_by_day"], sum("2026-11-22"));
        assert_eq!(statement["charges"].as_array().unwrap().len(), 1);
    }
    let path = "/tenants/acme/statement?month=2026-11";
    let csv =
        admin.call("GET", &format!("{path}&format=csv"), &Value::Null).await.expect_status(200).unwrap();
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    let text = csv.text();
    let rows: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(rows[0], "row,day,kind,project,provider,model,requests,amount_usd,reference");
    assert_eq!(rows[1], "opening_balance,,,,,,,0,");
    assert!(
        rows[2].starts_with("credit,2026-11-22T") && rows[2].ends_with(",topup,,,,,5,'=1+1<script>"),
        "{text}"
    );
    assert_eq!(rows[3], "charge,2026-11-22,,bot,openai,gpt-5-mini,3,-0.000375,");
    assert_eq!(rows[4..], ["closing_balance,,,,,,,4.999625,", ""]);
    let html =
        admin.call("GET", &format!("{path}&format=html"), &Value::Null).await.expect_status(200).unwrap();
    assert_eq!(html.header("content-type"), Some("text/html; charset=utf-8"));
    let text = html.text();
    assert!(text.contains("=1+1&lt;script&gt;") && !text.contains("<script"), "{text}");
    assert!(text.contains("<td>Closing balance</td><td class=\"n\">4.999625</td>"), "{text}");
    for (accept, expected) in [
        ("text/csv", "text/csv; charset=utf-8"),
        ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"),
        ("application/json, text/html", "application/json"),
        ("*/*", "application/json"),
    ] {
        let mut request = admin.admin.request(Method::GET, &admin.url(path), "").unwrap();
        request.headers_mut().insert("accept", accept.parse().unwrap());
        let answer = admin.admin.send(request).await.unwrap();
        assert_eq!(answer.header("content-type"), Some(expected), "{accept}");
    }
    let next = admin.get("/tenants/acme/statement?month=2026-10").await;
    assert_eq!((&next["closing_balance"], &next["charges"]), (&json!("0"), &json!([])));
    for month in ["2026-12", "2026-13", "2026-1", "2026", "x", "2026-11-01", "99999-1", "2026%2B11"] {
        let error =
            admin.refused(422, "GET", &format!("/tenants/acme/statement?month={month}"), Value::Null).await;
        assert_eq!(error["fields"][0]["path"], "month", "{month}: {error}");
    }
    admin.refused(404, "GET", "/tenants/nobody/statement", Value::Null).await;
}

async fn verified(admin: &TestAdmin) -> Value {
    admin.call("POST", "/ledger/verify", &Value::Null).await.expect_status(202).unwrap();
    let ended = async || {
        let view = admin.get("/ledger/verify").await;
        (view["state"] != "running").then_some(view)
    };
    tollgate_testkit::wait::eventually(std::time::Duration::from_secs(30), "a verification", ended)
        .await
        .unwrap()
}

#[tokio::test]
async fn books_are_verified_on_demand() {
    let admin = TestAdmin::start().await;
    admin.populate().await;
    assert_eq!(admin.get("/ledger/verify").await["state"], "none");
    let credit = json!({"amount": "5", "kind": "topup", "reference": "r"});
    admin.post("/tenants/acme/credits", credit).await;
    let green = verified(&admin).await;
    assert_eq!(
        (&green["state"], &green["findings"], &green["credits"]),
        (&json!("green"), &json!([]), &json!(1))
    );
    assert_eq!((&green["wallets"], &green["wallets_not_compared"]), (&json!(1), &json!(0)), "{green}");
}

/// Journaled past the ledger, and without the lines that would make their cost.
#[tokio::test]
async fn wrong_books_are_named() {
    let admin = with_three_requests().await;
    let red = verified(&admin).await;
    assert_eq!(red["state"], "red", "{red}");
    let findings = red["findings"].as_array().unwrap();
    let of = |table: &str| findings.iter().filter(|finding| finding["table"] == table).collect::<Vec<_>>();
    // each by its cost and by its provider's
    assert_eq!(of("requests").len(), 6, "{red}");
    assert_eq!(of("requests")[0]["id"], RequestId::from_u128(1_001).to_string());
    assert_eq!(
        (&of("requests")[0]["expected"], &of("requests")[0]["found"]),
        (&json!("0"), &json!("0.000125"))
    );
    let ledger = of("ledger");
    assert_eq!((ledger.len(), &ledger[0]["what"]), (1, &json!("settled of the wallet")), "{red}");
    assert_eq!((&ledger[0]["expected"], &ledger[0]["found"]), (&json!("0.000375"), &json!("0")));
}
