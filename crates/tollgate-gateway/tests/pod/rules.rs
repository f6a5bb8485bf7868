//! What holds for each end user and for each model, and budgets that are raised for a time.

use http::Method;
use serde_json::{Value, json};
use tollgate_domain::{BudgetId, BudgetWindow, NanoUsd, UnixMillis};
use tollgate_policy::{BudgetIncrease, EndUserBudget, EndUserRules, ModelLimit, OwnerRules, RateLimits};
use tollgate_testkit::http::{Answer, HttpClient};
use tollgate_testkit::mock_provider::Script;

use crate::harness::{INPUT_PRICE, KEY, NOW, OUTPUT_PRICE, Pod, Setup, hello};

/// The mock's usage for [`hello`]: what one call costs.
const CALL: i64 = 10 * INPUT_PRICE + 5 * OUTPUT_PRICE;

fn end_user_budget(window: BudgetWindow, limit: NanoUsd) -> EndUserRules {
    let budgets = vec![EndUserBudget { id: BudgetId::from_u128(77), window, limit }];
    EndUserRules { budgets, ..EndUserRules::default() }
}

fn with_end_users(end_users: EndUserRules) -> Setup {
    Setup { rules: OwnerRules { end_users, ..OwnerRules::default() }, ..Setup::default() }
}

fn per_minute(requests: u64) -> RateLimits {
    RateLimits { requests_per_minute: Some(requests), ..RateLimits::default() }
}

fn hello_of(user: &str) -> Value {
    let mut body = hello("one");
    body["user"] = json!(user);
    body
}

fn error_of(answer: Answer, status: u16) -> Value {
    answer.expect_status(status).unwrap().json().unwrap()["error"].clone()
}

/// The mock tells so many tokens for every call.
fn fixed_usage(pod: &Pod) {
    let usage = json!({ "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 });
    pod.mock.set_default(Script::new().text("x").usage_json(usage));
}

#[tokio::test]
async fn each_end_user_has_a_budget_of_its_own() {
    // the hold of a call is far above what it costs: 100 answer tokens
    let limit = NanoUsd(CALL * 2 + 400 * OUTPUT_PRICE);
    let pod = Pod::start(with_end_users(end_user_budget(BudgetWindow::Day, limit))).await;
    fixed_usage(&pod);
    let mut spent = [0_i64; 2];
    for (n, user) in ["alice", "bob"].iter().enumerate() {
        loop {
            let answer = pod.chat(&hello_of(user)).await;
            if answer.status != 200 {
                let error = error_of(answer, 402);
                assert_eq!(error["code"], "budget_exceeded");
                let metadata = &error["metadata"];
                assert_eq!((&metadata["scope"], &metadata["window"]), (&json!("end_user"), &json!("day")));
                assert_eq!(metadata["limit_usd"], json!(limit));
                assert_eq!(metadata["retryable"], false);
                assert!(metadata["resets_at"].is_string(), "{metadata}");
                let message = error["message"].as_str().unwrap();
                assert!(message.starts_with("the end user's day budget"), "{message}");
                break;
            }
            spent[n] += 1;
            pod.wait_until_nothing_is_held().await;
            assert!(spent[n] < 1_000, "the budget never ends");
        }
    }
    assert_eq!(spent[0], spent[1], "one user's spend is no other's");
    assert!(spent[0] >= 2, "{spent:?}");
    // who names nobody is limited by the key's own budget alone
    pod.chat(&hello("one")).await.expect_status(200).unwrap();
    // the header goes before the body
    let of_alice = async |method: Method, path: &str, body: String| {
        let http = HttpClient::new().with_bearer(KEY);
        let mut request = http.request(method, &pod.url(path), body).unwrap();
        request.headers_mut().insert("x-tollgate-user", "alice".parse().unwrap());
        http.send(request).await.unwrap()
    };
    let refused = of_alice(Method::POST, "/v1/chat/completions", hello_of("carol").to_string()).await;
    error_of(refused, 402);
    // what is left is told to who asks for that user
    let key = of_alice(Method::GET, "/v1/key", String::new()).await.expect_status(200).unwrap();
    let key = key.json().unwrap();
    let budgets = key["budgets"].as_array().unwrap();
    let own = budgets.iter().find(|budget| budget["scope"] == "end_user").unwrap();
    assert_eq!(own["spent_usd"], json!(NanoUsd(spent[0] * CALL)), "{key}");
    assert_eq!(key["end_users"]["budgets"][0]["limit_usd"], json!(limit));
}

#[tokio::test]
async fn a_counter_that_the_ledger_may_have_lost_is_never_taken_for_empty() {
    let rules = end_user_budget(BudgetWindow::Total, NanoUsd::from_usd(5));
    let pod = Pod::start(with_end_users(rules)).await;
    let error = error_of(pod.chat(&hello_of("alice")).await, 503);
    assert_eq!(error["code"], "ledger_unavailable");
    assert_eq!(pod.mock.counts().n_received, 0);
    pod.chat(&hello("one")).await.expect_status(200).unwrap();
}

#[tokio::test]
async fn each_end_user_has_rate_limits_of_its_own_and_must_be_named_where_it_is_required() {
    let end_users = EndUserRules { required: true, limits: per_minute(2), ..EndUserRules::default() };
    let pod = Pod::start(with_end_users(end_users)).await;
    let error = error_of(pod.chat(&hello("one")).await, 400);
    assert_eq!((&error["code"], &error["param"]), (&json!("invalid_request"), &json!("user")));
    let long = error_of(pod.chat(&hello_of(&"u".repeat(257))).await, 400);
    assert_eq!(long["param"], "user");
    for user in ["alice", "bob"] {
        let first = pod.chat(&hello_of(user)).await.expect_status(200).unwrap();
        assert_eq!(first.header("x-ratelimit-limit-requests"), Some("2"));
        assert_eq!(first.header("x-ratelimit-remaining-requests"), Some("1"));
        pod.chat(&hello_of(user)).await.expect_status(200).unwrap();
        let refused = pod.chat(&hello_of(user)).await;
        assert!(refused.header("retry-after").is_some());
        let error = error_of(refused, 429);
        assert_eq!(error["code"], "rate_limit_exceeded");
        assert_eq!(error["metadata"]["scope"], "end_user");
    }
}

#[tokio::test]
async fn a_model_s_limit_counts_all_that_its_pattern_names_and_nothing_else() {
    let limit = |model: &str, n| ModelLimit { model: model.to_owned(), limits: per_minute(n) };
    let model_limits = vec![limit("mock/*", 2), limit("bo*", 1)];
    let rules = OwnerRules { model_limits, ..OwnerRules::default() };
    let pod = Pod::start(Setup { rules, ..Setup::default() }).await;
    for _ in 0..4 {
        pod.chat(&hello("one")).await.expect_status(200).unwrap();
    }
    pod.chat(&hello("mock/m")).await.expect_status(200).unwrap();
    pod.chat(&hello("mock/m")).await.expect_status(200).unwrap();
    let error = error_of(pod.chat(&hello("mock/m")).await, 429);
    assert_eq!(error["code"], "rate_limit_exceeded");
    assert_eq!(
        error["metadata"],
        json!({
            "scope": "model", "model": "mock/*", "limit": "requests", "value": 2, "retryable": true,
        })
    );
    assert!(error["message"].as_str().unwrap().starts_with("the model `mock/*` is limited to 2"), "{error}");
    // each rule counts apart
    pod.chat(&hello("both")).await.expect_status(200).unwrap();
    let error = error_of(pod.chat(&hello("both")).await, 429);
    assert_eq!(error["metadata"]["model"], "bo*");
    pod.chat(&hello("one")).await.expect_status(200).unwrap();
}

#[tokio::test]
async fn a_raised_budget_falls_back_at_its_end_without_a_new_policy() {
    let until = NOW.plus_ms(3_600_000);
    let increases = vec![BudgetIncrease { amount: NanoUsd::from_usd(5), until }];
    let setup = Setup { budget: Some(NanoUsd(OUTPUT_PRICE * 50)), increases, ..Setup::default() };
    let pod = Pod::start(setup).await;
    fixed_usage(&pod);
    pod.chat(&hello("one")).await.expect_status(200).unwrap();
    pod.wait_until_nothing_is_held().await;
    let limit_now = async |at: UnixMillis| {
        pod.clock.set(at);
        let key = pod.http.get(&pod.url("/v1/key")).await.unwrap().expect_status(200).unwrap();
        key.json().unwrap()["budgets"][0]["limit_usd"].clone()
    };
    let (own, raised) = (NanoUsd(OUTPUT_PRICE * 50), NanoUsd(OUTPUT_PRICE * 50 + 5_000_000_000));
    // five seconds early, because this clock may be behind
    assert_eq!(limit_now(until.plus_ms(-5_001)).await, json!(raised));
    assert_eq!(limit_now(until.plus_ms(-5_000)).await, json!(own));
    let error = error_of(pod.chat(&hello("one")).await, 402);
    assert_eq!(error["metadata"]["limit_usd"], json!(own));
}
