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
        "tenant,user,label:department,requests,input_tokens,cached_tokens,output_tokens,cost_usd,errors\r\n",
        "acme,'=cmd|' /C calc'!A0,\"support, \"\"tier 2\"\"\",3,300,0,150,0.000375,1\r\n",
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
